/* wire_inline.h: one element of any wire, C and CUDA. The definition of what a wire says, made of the rows of wires.h; loops
 * (codec_loops.inc, decode kernels) read many elements at a time and must agree with it bit for bit. */
#ifndef ZO2_CODEC_WIRE_INLINE_H
#define ZO2_CODEC_WIRE_INLINE_H

#include "codec/bf12.h"
#include "codec/hd.h"
#include "codec/plane_layout.h"
#include "codec/wires.h"
#include "engine/zo2.h"

/* A code of `bits` bits of a row: little-endian, at any address. */
ZO2_HD uint32_t zo2_load_code(const uint8_t *row, uint64_t col, uint32_t bits)
{
    uint32_t v = 0;
    memcpy(&v, row + zo2_code_byte(col, bits), bits >= 8 ? bits / 8 : 1);
    return bits >= 8 ? v : v >> zo2_code_shift(col, bits) & ((1u << bits) - 1);
}

/* Element (row, col) of the wire of a chunk of rows x cols. 0 for a wire that doesn't exist. */
ZO2_HD float zo2_wire_get(zo2_wire wire, const void *plane, uint64_t rows, uint64_t cols, uint64_t row, uint64_t col)
{
    const uint8_t *at = (const uint8_t *)plane;
    uint32_t code;
    uint16_t scale = 0;
    switch (wire) {
#define ZO2_WIRE_VALUE(wire, number, text, codec, bits, more, what, size, value)                                      \
    case wire: {                                                                                                      \
        zo2_wire_shape shape = zo2_wire_shape_of(wire);                                                               \
        code = zo2_load_code(at + row * zo2_code_stride(cols, bits), col, bits);                                      \
        if (more)                                                                                                     \
            code |= zo2_load_code(at + zo2_more_at(shape, rows, cols) + row * zo2_code_stride(cols, more), col, more) \
                    << bits % 32;                                                                                     \
        if (shape.shared == ZO2_SHARED_WINDOW)                                                                        \
            code = zo2_bf12_code(at + zo2_scales_at(shape, rows, cols, row),                                          \
                                 at + zo2_high_at(shape, rows, cols) + row * zo2_code_stride(cols, more), cols, col,  \
                                 code);                                                                               \
        else if (shape.shared == ZO2_SHARED_SCALE)                                                                    \
            memcpy(&scale, at + zo2_scales_at(shape, rows, cols, row) + 2 * (col / shape.group), 2);                  \
        return value;                                                                                                 \
    }
        ZO2_WIRE_MAP(ZO2_WIRE_VALUE)
#undef ZO2_WIRE_VALUE
    }
    return 0.0f;
}

#endif
