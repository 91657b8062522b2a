/* fp8_e4m3.h: one E4M3 code (OCP OFP8: bias 7, no infinity, S.1111.111 is NaN, largest 448) with a scale, C and CUDA.
 * code: one byte per weight, rows padded to 16 bytes; scale: bf16 bits, one per 128 weights of a row. CODECS.md,
 * "FP8". */
#ifndef ZO2_CODEC_FP8_E4M3_H
#define ZO2_CODEC_FP8_E4M3_H

#include "codec/fp8.h"
#include "codec/hd.h"

#define ZO2_E4M3_MAX 448.0f
/* Above 448 times the largest scale whose product with 448 is finite; by luck also where bf16 rounds to infinity. */
#define ZO2_E4M3_LIMIT_BITS 0x7F7F8000u

ZO2_HD zo2_fp8_format zo2_e4m3(void)
{
    zo2_fp8_format f = {3, 7, 0x80, 0x7E, ZO2_E4M3_MAX};
    return f;
}

/* See fp8.h. */
ZO2_HD float zo2_e4m3_get(uint8_t code, uint16_t scale)
{
    return zo2_fp8_get(zo2_e4m3(), code, scale);
}
ZO2_HD uint16_t zo2_e4m3_scale(uint32_t amax_bits)
{
    return zo2_fp8_scale(zo2_e4m3(), amax_bits);
}
ZO2_HD uint8_t zo2_e4m3_encode(float w, float scale)
{
    return zo2_fp8_encode(zo2_e4m3(), w, scale);
}

#endif
