/* wire_inline.h: one element of any wire, C and CUDA. The definition of what a wire says; loops (codec_loops.inc, decode
 * kernels) read many elements at a time and must agree with it bit for bit. A new codec gets a case here. */
#ifndef ZO2_CODEC_WIRE_INLINE_H
#define ZO2_CODEC_WIRE_INLINE_H

#include "codec/bf16.h"
#include "codec/fp16.h"
#include "codec/fp8_e4m3.h"
#include "codec/fp8_e5m2.h"
#include "codec/hd.h"
#include "codec/plane_layout.h"
#include "codec/rn.h"
#include "engine/zo2.h"

/* Little-endian values at any address. */
ZO2_HD uint16_t zo2_load16(const uint8_t *p)
{
    uint16_t v;
    memcpy(&v, p, sizeof v);
    return v;
}
ZO2_HD uint32_t zo2_load32(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

/* Element (row, col) of the wire of a chunk of rows x cols. 0 for a wire that doesn't exist. */
ZO2_HD float zo2_wire_get(zo2_wire wire, const void *plane, uint64_t rows, uint64_t cols, uint64_t row, uint64_t col)
{
    const uint8_t *bytes = (const uint8_t *)plane;
    const uint8_t *code = bytes + row * zo2_row_stride(cols, 1) + col;
    const uint8_t *half = bytes + row * zo2_row_stride(cols, 2) + 2 * col;
    const uint8_t *scale = bytes + zo2_fp8_scales_at(rows, cols, row) + 2 * (col / ZO2_FP8_GROUP);
    switch (wire) {
    case ZO2_WIRE_BF16: return zo2_bf16_get(zo2_load16(half));
    case ZO2_WIRE_FP32: return zo2_bits_float(zo2_load32(bytes + row * zo2_row_stride(cols, 4) + 4 * col));
    case ZO2_WIRE_E4M3: return zo2_e4m3_get(*code, zo2_load16(scale));
    case ZO2_WIRE_E5M2: return zo2_e5m2_get(*code, zo2_load16(scale));
    case ZO2_WIRE_FP16: return zo2_fp16_get(zo2_load16(half));
    }
    return 0.0f;
}

#endif
