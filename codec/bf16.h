/* bf16.h: one bf16 value, C and CUDA: the upper half of an fp32. As a wire it is rounded half away from zero by
 * split(), because then the two 16-bit planes together are the fp32 master; as a storage type (bf16_encode) to nearest
 * even. CODECS.md, "bf16". */
#ifndef ZO2_CODEC_BF16_H
#define ZO2_CODEC_BF16_H

#include "codec/hd.h"
#include "codec/rn.h"

/* Magnitudes from this on round to infinity: refused for the bf16 wire. */
#define ZO2_BF16_LIMIT_BITS 0x7F7F8000u

ZO2_HD float zo2_bf16_get(uint16_t code)
{
    return zo2_bits_float((uint32_t)code << 16);
}

/* The planes of fp32 bits u: a bijection of all 2^32 values (arithmetic modulo 2^32). */
ZO2_HD uint16_t zo2_bf16_hi(uint32_t u)
{
    return (uint16_t)((u + 0x8000u) >> 16);
}
ZO2_HD uint16_t zo2_bf16_lo(uint32_t u)
{
    return (uint16_t)u;
}
/* hi is one too large exactly where lo is negative as a signed number. */
ZO2_HD uint32_t zo2_bf16_join(uint16_t hi, uint16_t lo)
{
    return ((uint32_t)hi << 16) + (uint32_t)(int32_t)(int16_t)lo;
}

/* Two values at a time: words of two neighbours' halves, as little-endian planes have them, the even one below. What
 * vector code wants, which has 32-bit lanes. */
ZO2_HD uint32_t zo2_bf16_join_even(uint32_t hi, uint32_t lo)
{
    return (hi << 16) + (uint32_t)((int32_t)(lo << 16) >> 16);
}
ZO2_HD uint32_t zo2_bf16_join_odd(uint32_t hi, uint32_t lo)
{
    return (hi & 0xFFFF0000u) + (uint32_t)((int32_t)lo >> 16);
}
ZO2_HD uint32_t zo2_bf16_hi2(uint32_t even, uint32_t odd)
{
    return ((even + 0x8000u) >> 16) | ((odd + 0x8000u) & 0xFFFF0000u);
}
ZO2_HD uint32_t zo2_bf16_lo2(uint32_t even, uint32_t odd)
{
    return (even & 0xFFFFu) | (odd << 16);
}

/* Nearest even; overflow to infinity; NaN keeps its sign and upper payload and becomes quiet. */
ZO2_HD uint16_t zo2_bf16_encode(float f)
{
    uint32_t u = zo2_float_bits(f);
    uint32_t rounded = (u + 0x7FFFu + ((u >> 16) & 1)) >> 16;
    uint32_t nan = (u >> 16) | 0x40u;
    return (uint16_t)((u & 0x7FFFFFFFu) > 0x7F800000u ? nan : rounded);
}

#endif
