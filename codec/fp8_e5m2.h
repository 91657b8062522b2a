/* fp8_e5m2.h: one E5M2 code (OCP OFP8: bias 15, S.11111.00 is infinity, S.11111.mm with mm > 0 NaN, largest 57344) with a
 * scale, C and CUDA. code: one byte per weight, rows padded to 16 bytes; scale: bf16 bits, one per 128 weights of a row.
 * No encoder writes an infinity. CODECS.md, "FP8". */
#ifndef ZO2_CODEC_FP8_E5M2_H
#define ZO2_CODEC_FP8_E5M2_H

#include "codec/fp8.h"
#include "codec/hd.h"

#define ZO2_E5M2_MAX 57344.0f
/* 57344 is 448 times a power of two, so the bound is E4M3's. */
#define ZO2_E5M2_LIMIT_BITS 0x7F7F8000u

ZO2_HD zo2_fp8_format zo2_e5m2(void)
{
    zo2_fp8_format f = {2, 15, 0x7C, 0x7B, ZO2_E5M2_MAX};
    return f;
}

/* See fp8.h. */
ZO2_HD float zo2_e5m2_get(uint8_t code, uint16_t scale)
{
    return zo2_fp8_get(zo2_e5m2(), code, scale);
}
ZO2_HD uint16_t zo2_e5m2_scale(uint32_t amax_bits)
{
    return zo2_fp8_scale(zo2_e5m2(), amax_bits);
}
ZO2_HD uint8_t zo2_e5m2_encode(float w, float scale)
{
    return zo2_fp8_encode(zo2_e5m2(), w, scale);
}

#endif
