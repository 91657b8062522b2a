/* plane_layout.h: where things are in a chunk of rows x cols, C and CUDA. CODECS.md, "Chunks". */
#ifndef ZO2_CODEC_LAYOUT_H
#define ZO2_CODEC_LAYOUT_H

#include <stdint.h>

#include "codec/hd.h"

/* Rows of values and codes begin at multiples of this, so that a 16-byte load never straddles two. */
#define ZO2_ROW_ALIGN 16
/* fp8: weights of a row that share a scale; the last group of a row may be shorter. */
#define ZO2_FP8_GROUP 128

ZO2_HD uint64_t zo2_pad16(uint64_t bytes)
{
    return (bytes + (ZO2_ROW_ALIGN - 1)) & ~(uint64_t)(ZO2_ROW_ALIGN - 1);
}

/* Bytes from one row to the next in a plane of elements of `size` bytes: 4 fp32, 2 bf16 and fp16, 1 fp8 codes. */
ZO2_HD uint64_t zo2_row_stride(uint64_t cols, uint32_t size)
{
    return zo2_pad16(size * cols);
}

/* fp8: scales of a row, and where the scales of row `row` begin in the wire of a chunk of `rows` rows (2 bytes aligned).
 */
ZO2_HD uint64_t zo2_fp8_groups(uint64_t cols)
{
    return (cols + (ZO2_FP8_GROUP - 1)) / ZO2_FP8_GROUP;
}
ZO2_HD uint64_t zo2_fp8_scales_at(uint64_t rows, uint64_t cols, uint64_t row)
{
    return rows * zo2_row_stride(cols, 1) + 2 * row * zo2_fp8_groups(cols);
}
ZO2_HD uint64_t zo2_fp8_wire_bytes(uint64_t rows, uint64_t cols)
{
    return zo2_pad16(zo2_fp8_scales_at(rows, cols, rows));
}

#endif
