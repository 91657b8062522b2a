/* e2m.h: small floats of a sign, 2 bits of exponent and M of mantissa, with a scale, C and CUDA: the wires f10 (M = 7), f8 (5) and
 * f6 (3). No infinity, no NaN: every code is a number, and a group that holds something else has a scale that isn't.
 * CODECS.md, "e2mM". */
#ifndef ZO2_CODEC_E2M_H
#define ZO2_CODEC_E2M_H

#include "codec/bf16.h"
#include "codec/group_scale.h"
#include "codec/hd.h"
#include "codec/rn.h"

#define ZO2_F10_MANTISSA 7
#define ZO2_F8_MANTISSA  5
#define ZO2_F6_MANTISSA  3

/* 2^115: scales stay below this, so that decoders may multiply one by 2^12. */
#define ZO2_E2M_LIMIT_BITS 0x79000000u
/* Scale of a group with a value from there on, an infinity or a NaN: itself a NaN, and so is then all that it decodes to. */
#define ZO2_E2M_REFUSED 0x7FC0u

/* The largest value, 2 - 2^-M. */
ZO2_HD float zo2_e2m_max(uint32_t m)
{
    return zo2_bits_float(0x40000000u - (1u << (23 - m)));
}

ZO2_HD uint16_t zo2_e2m_scale(uint32_t m, uint32_t amax_bits)
{
    uint32_t scale = zo2_group_scale(zo2_e2m_max(m), amax_bits);
    return (uint16_t)(amax_bits >= ZO2_E2M_LIMIT_BITS ? ZO2_E2M_REFUSED : scale);
}

/* Exponent and mantissa of the code of x (fp32 bits, sign ignored), |x| <= the largest value, to nearest even. Adding a power of two
 * whose ulp is the distance of the codes around x leaves the number of those steps in the sum's low bits: 2^M to 2^(M + 1) for
 * normal codes, less for subnormal ones, which share the distance of the least normal ones, 2^-2. Each power further up adds 2^M. */
ZO2_HD uint32_t zo2_e2m_code(uint32_t m, uint32_t x)
{
    uint32_t power = x & 0x7F800000u, least = 125u << 23;
    power = power < least ? least : power;
    float magic = zo2_bits_float(power + ((23 - m) << 23));
    uint32_t steps = zo2_float_bits(zo2_add(zo2_bits_float(x & 0x7FFFFFFFu), magic)) & ((4u << m) - 1);
    return steps + ((power - least) >> (23 - m));
}

/* Value times scale of a magnitude code of 2 + M bits with the sign in bit 31 of `sign`: one fp32 product, exact for the scales
 * that encoders write: at most 8 significant bits times 8, and no last bit below 2^-149. A NaN for a scale that is one. */
ZO2_HD float zo2_e2m_get(uint32_t m, uint32_t sign, uint32_t code, uint16_t scale)
{
    /* subnormal codes: no fp32 subnormals on the way, which are slow on some CPUs */
    float small = zo2_mul((float)(int32_t)code, zo2_bits_float((125u - m) << 23));
    float normal = zo2_bits_float((code << (23 - m)) + (124u << 23));
    float product = zo2_mul(code < 1u << m ? small : normal, zo2_bf16_get(scale));
    return zo2_bits_float(zo2_float_bits(product) | (sign & 0x80000000u));
}

/* The codes as wires.h has them: of two planes, the first with sign and mantissa, the second with the exponent above it. */
ZO2_HD float zo2_f10_get(uint32_t code, uint16_t scale)
{
    return zo2_e2m_get(ZO2_F10_MANTISSA, code << 24, (code >> 1 & 0x180u) | (code & 0x7Fu), scale);
}
ZO2_HD float zo2_f8_get(uint32_t code, uint16_t scale)
{
    return zo2_e2m_get(ZO2_F8_MANTISSA, code << 24, code & 0x7Fu, scale);
}
ZO2_HD float zo2_f6_get(uint32_t code, uint16_t scale)
{
    return zo2_e2m_get(ZO2_F6_MANTISSA, code << 28, (code >> 1 & 0x18u) | (code & 7u), scale);
}

#endif
