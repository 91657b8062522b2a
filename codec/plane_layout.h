/* plane_layout.h: where things are in a chunk of rows x cols, C and CUDA. CODECS.md, "Chunks". */
#ifndef ZO2_CODEC_LAYOUT_H
#define ZO2_CODEC_LAYOUT_H

#include <stdint.h>

#include "codec/hd.h"

/* Rows of values and codes begin at multiples of this, so that a 16-byte load never straddles two. */
#define ZO2_ROW_ALIGN 16
/* Weights of a row that share a scale in the wires fp8-* and e2mM; the last group of a row may be shorter. */
#define ZO2_SCALE_GROUP 128
/* Weights of a row that share a window of exponents, in the wire that has those (bf12.h). */
#define ZO2_WINDOW 256

/* What neighbours in a row share, in a plane behind their codes. */
typedef enum zo2_shared {
    ZO2_SHARED_NOTHING,
    ZO2_SHARED_SCALE, /* a bf16 */
    ZO2_SHARED_WINDOW /* of exponents: heads of rows, with one more plane behind them */
} zo2_shared;

/* What a wire is made of, a row of wires.h: a plane of codes, a second one with further bits of each code (`more` 0: none), a
 * plane of what weights share. Constants wherever they are used. */
typedef struct zo2_wire_shape {
    uint32_t bits; /* of a code in the first plane: 32, 16, 8 or 4 */
    uint32_t more; /* in the second: 4, 2 or 0 */
    zo2_shared shared;
    uint32_t group; /* weights that share it; 0 where nothing is shared */
} zo2_wire_shape;

ZO2_HD uint64_t zo2_pad16(uint64_t bytes)
{
    return (bytes + (ZO2_ROW_ALIGN - 1)) & ~(uint64_t)(ZO2_ROW_ALIGN - 1);
}

/* Bytes from one row to the next in a plane of values of `size` bytes: 4 fp32, 2 bf16 and fp16. */
ZO2_HD uint64_t zo2_row_stride(uint64_t cols, uint32_t size)
{
    return zo2_pad16(size * cols);
}

/* The same in a plane of codes of `bits` bits. */
ZO2_HD uint64_t zo2_code_stride(uint64_t cols, uint32_t bits)
{
    return zo2_pad16((cols * bits + 7) / 8);
}

/* Where in its row the code of column `col` is: from which byte on, and, of codes shorter than a byte, from which bit of that byte on.
 * Byte j of 16 holds the codes of columns j, j + 16, ... of its stripe of 16 x 8 / bits columns, the first in its lowest bits: 16
 * neighbours are 16 bytes under one shift, and a row is never longer than its codes, padded. */
ZO2_HD uint64_t zo2_code_byte(uint64_t col, uint32_t bits)
{
    return bits >= 8 ? col * (bits / 8) : col / (128 / bits) * 16 + col % 16;
}
ZO2_HD uint32_t zo2_code_shift(uint64_t col, uint32_t bits)
{
    return bits >= 8 || bits == 0 ? 0 : bits * (uint32_t)(col / 16 % (8 / bits));
}

/* Scales of a row, in a wire that has them. */
ZO2_HD uint64_t zo2_scale_groups(zo2_wire_shape s, uint64_t cols)
{
    return (cols + (s.group - 1)) / s.group;
}

/* The head of a row of bf12: its windows' bases, a byte each, then room for its escapes, 2 bytes each. One for every window and one
 * more: the models that were looked at have an escape in 9,000 weights. */
ZO2_HD uint64_t zo2_windows(uint64_t cols)
{
    return (cols + (ZO2_WINDOW - 1)) / ZO2_WINDOW;
}
ZO2_HD uint64_t zo2_escape_room(uint64_t cols)
{
    uint64_t room = zo2_windows(cols) + 1;
    return room < 256 ? room : 256; /* a byte says which */
}
ZO2_HD uint64_t zo2_head_bytes(uint64_t cols)
{
    return zo2_windows(cols) + 2 * zo2_escape_room(cols);
}

/* Bytes of a row in the plane of what is shared, whose rows follow each other without padding. */
ZO2_HD uint64_t zo2_shared_stride(zo2_wire_shape s, uint64_t cols)
{
    if (s.shared == ZO2_SHARED_WINDOW)
        return zo2_head_bytes(cols);
    return s.shared == ZO2_SHARED_SCALE ? 2 * zo2_scale_groups(s, cols) : 0;
}

/* Where the second plane begins, and the scales (2 bytes aligned) or the head of row `row`, in the wire of a chunk of `rows`
 * rows. */
ZO2_HD uint64_t zo2_more_at(zo2_wire_shape s, uint64_t rows, uint64_t cols)
{
    return rows * zo2_code_stride(cols, s.bits);
}
ZO2_HD uint64_t zo2_scales_at(zo2_wire_shape s, uint64_t rows, uint64_t cols, uint64_t row)
{
    return zo2_more_at(s, rows, cols) + rows * zo2_code_stride(cols, s.more) + row * zo2_shared_stride(s, cols);
}

/* Where the plane behind the heads begins, whose rows are as long as the second one's. */
ZO2_HD uint64_t zo2_high_at(zo2_wire_shape s, uint64_t rows, uint64_t cols)
{
    return zo2_pad16(zo2_scales_at(s, rows, cols, rows));
}

/* Bytes of the wire, a multiple of 16. */
ZO2_HD uint64_t zo2_shape_bytes(zo2_wire_shape s, uint64_t rows, uint64_t cols)
{
    if (s.shared == ZO2_SHARED_NOTHING)
        return zo2_more_at(s, rows, cols);
    return zo2_high_at(s, rows, cols) + (s.shared == ZO2_SHARED_WINDOW ? rows * zo2_code_stride(cols, s.more) : 0);
}

#endif
