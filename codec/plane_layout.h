/* plane_layout.h: where things are in a chunk of rows x cols, C and CUDA. CODECS.md, "Chunks". */
#ifndef ZO2_CODEC_LAYOUT_H
#define ZO2_CODEC_LAYOUT_H

#include <stdint.h>

#include "codec/hd.h"

#define ZO2_ROW_ALIGN \
    16 /* rows of values and codes begin at multiples of this, so that a 16-byte load never straddles */
#define ZO2_E4M3_GROUP 128 /* weights of a row that share a scale; the last group of a row may be shorter */

ZO2_HD uint64_t zo2_pad16(uint64_t bytes)
{
    return (bytes + (ZO2_ROW_ALIGN - 1)) & ~(uint64_t)(ZO2_ROW_ALIGN - 1);
}

/* Bytes from one row to the next. */
ZO2_HD uint64_t zo2_fp32_stride(uint64_t cols)
{
    return zo2_pad16(4 * cols);
}
ZO2_HD uint64_t zo2_bf16_stride(uint64_t cols)
{
    return zo2_pad16(2 * cols);
} /* of either plane */
ZO2_HD uint64_t zo2_e4m3_stride(uint64_t cols)
{
    return zo2_pad16(cols);
} /* of the codes */

/* Scales of a row, and where the scales of row `row` begin in the wire of a chunk of `rows` rows (2 bytes aligned). */
ZO2_HD uint64_t zo2_e4m3_groups(uint64_t cols)
{
    return (cols + (ZO2_E4M3_GROUP - 1)) / ZO2_E4M3_GROUP;
}
ZO2_HD uint64_t zo2_e4m3_scales_at(uint64_t rows, uint64_t cols, uint64_t row)
{
    return rows * zo2_e4m3_stride(cols) + 2 * row * zo2_e4m3_groups(cols);
}
ZO2_HD uint64_t zo2_e4m3_wire_bytes(uint64_t rows, uint64_t cols)
{
    return zo2_pad16(zo2_e4m3_scales_at(rows, cols, rows));
}

#endif
