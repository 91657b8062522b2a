/* fp16.h: one IEEE half, C and CUDA, with integer and exact fp32 operations only; the same bits as the F16C
 * instructions, NaN included. */
#ifndef ZO2_CODEC_FP16_H
#define ZO2_CODEC_FP16_H

#include "codec/hd.h"
#include "codec/rn.h"

/* 65520: magnitudes from this on round to infinity: refused for the fp16 wire. */
#define ZO2_FP16_LIMIT_BITS 0x477FF000u

/* Exact; a signalling NaN becomes quiet. */
ZO2_HD float zo2_fp16_get(uint16_t code)
{
    uint32_t sign = (uint32_t)(code & 0x8000u) << 16, mag = code & 0x7FFFu;
    uint32_t normal = (mag << 13) + (112u << 23);
    uint32_t special = (mag << 13) | 0x7F800000u | (mag > 0x7C00u ? 0x00400000u : 0u);
    uint32_t small = zo2_float_bits(zo2_mul((float)(int32_t)mag, 0x1p-24f)); /* zero and subnormal ones */
    return zo2_bits_float(sign | (mag >= 0x7C00u ? special : mag < 0x0400u ? small : normal));
}

/* Nearest even; overflow (from 65520 on) to infinity; NaN keeps its sign and upper payload and becomes quiet. */
ZO2_HD uint16_t zo2_fp16_encode(float f)
{
    uint32_t u = zo2_float_bits(f), mag = u & 0x7FFFFFFFu;
    uint32_t normal = ((mag + 0xFFFu + ((mag >> 13) & 1)) >> 13) - (112u << 10);
    /* below 2^-14: adding 1/2, whose ulp is 2^-24, rounds to the subnormal grid */
    uint32_t small = zo2_float_bits(zo2_add(zo2_bits_float(mag), 0.5f)) - 0x3F000000u;
    uint32_t nan = 0x7E00u | ((mag >> 13) & 0x3FFu);
    uint32_t big = mag > 0x7F800000u ? nan : 0x7C00u;
    uint32_t code = mag >= 0x47800000u ? big : mag < 0x38800000u ? small : normal;
    return (uint16_t)(code | ((u >> 16) & 0x8000u));
}

#endif
