/* wire_inline.h: one element of any wire, C and CUDA. The definition of what a wire says, made of the rows of wires.h; loops
 * (codec_loops.inc, decode kernels) read many elements at a time and must agree with it bit for bit. */
#ifndef ZO2_CODEC_WIRE_INLINE_H
#define ZO2_CODEC_WIRE_INLINE_H

#include "codec/hd.h"
#include "codec/plane_layout.h"
#include "codec/wires.h"
#include "engine/zo2.h"

/* A little-endian value of 1, 2 or 4 bytes at any address. */
ZO2_HD uint32_t zo2_load_code(const uint8_t *p, uint32_t bytes)
{
    uint32_t v = 0;
    memcpy(&v, p, bytes);
    return v;
}

/* Element (row, col) of the wire of a chunk of rows x cols. 0 for a wire that doesn't exist. */
ZO2_HD float zo2_wire_get(zo2_wire wire, const void *plane, uint64_t rows, uint64_t cols, uint64_t row, uint64_t col)
{
    const uint8_t *at = (const uint8_t *)plane;
    const uint8_t *scale_at = at + zo2_fp8_scales_at(rows, cols, row) + 2 * (col / ZO2_FP8_GROUP);
    uint32_t code;
    uint16_t scale = 0;
    switch (wire) {
#define ZO2_WIRE_VALUE(wire, number, text, codec, bytes, scaled, value)                    \
    case wire:                                                                             \
        code = zo2_load_code(at + row * zo2_row_stride(cols, bytes) + bytes * col, bytes); \
        if (scaled)                                                                        \
            scale = (uint16_t)zo2_load_code(scale_at, 2);                                  \
        return value;
        ZO2_WIRE_MAP(ZO2_WIRE_VALUE)
#undef ZO2_WIRE_VALUE
    }
    return 0.0f;
}

#endif
