/* i4.h: weights in 4 bits: the nearest of 16 integers times a scale that ZO2_I4_GROUP of a row share, C and CUDA. For matrices that
 * nothing tunes and that shall fit somewhere. The integers are closest to each other around 0, where most weights are; the largest has
 * no negative counterpart, so a scale is negative where the group's largest weight is. CODECS.md, "i4". */
#ifndef ZO2_CODEC_I4_H
#define ZO2_CODEC_I4_H

#include "codec/bf16.h"
#include "codec/hd.h"
#include "codec/rn.h"

#define ZO2_I4_GROUP 32
/* 2^115: weights from there on are refused, so that decoders may multiply a scale by 2^16. */
#define ZO2_I4_LIMIT_BITS 0x79000000u
/* Scale of a group with a value from there on, an infinity or a NaN: itself a NaN, and so is then all that it decodes to. */
#define ZO2_I4_REFUSED   0x7FC0u
#define ZO2_I4_MIN_SCALE 0x0380u /* 2^-120: 64 / scale is finite */

/* The grid, a signed byte each: codes 0 to 7, from the lowest byte on, and 8 to 15, which but for the first are their negatives. */
#define ZO2_I4_LOW  0x66503F3023170B00u /* 0, 11, 23, 35, 48, 63, 80, 102 */
#define ZO2_I4_HIGH 0x9AB0C1D0DDE9F57Fu /* 127, -11, -23, -35, -48, -63, -80, -102 */

/* Scales that the search tries, and which: the largest magnitude times so many 2^-14, which puts it on 140 to 93 of the grid. With 129 it is
 * on 127 to within a bf16's rounding: weights that come from the grid stay. */
#define ZO2_I4_SCALES        16u
#define ZO2_I4_MULTIPLIER(k) (117u + 4u * (k))

/* Grid value of a code; bits above its four are ignored. */
ZO2_HD int32_t zo2_i4_value(uint32_t code)
{
    return (int8_t)((code & 8u ? ZO2_I4_HIGH : ZO2_I4_LOW) >> (8u * (code & 7u)));
}

/* One fp32 product, exact: 7 significant bits times 8. Zeros are +0, whatever the scale's sign. */
ZO2_HD float zo2_i4_get(uint32_t code, uint16_t scale)
{
    return zo2_add(zo2_mul((float)zo2_i4_value(code), zo2_bf16_get(scale)), 0.0f);
}

/* Magnitude (bf16 bits) of scale k of a group whose largest magnitude is amax (fp32 bits, below ZO2_I4_LIMIT_BITS). */
ZO2_HD uint32_t zo2_i4_scale(uint32_t k, uint32_t amax_bits)
{
    float scale = zo2_mul(zo2_bits_float(amax_bits), zo2_mul((float)(int32_t)ZO2_I4_MULTIPLIER(k), 0x1p-14f));
    uint32_t bits = zo2_float_bits(scale);
    bits = (bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16; /* to nearest even */
    return bits < ZO2_I4_MIN_SCALE ? ZO2_I4_MIN_SCALE : bits;
}

/* w / scale in 64ths, to nearest even; `inverse` is 64 / scale, one IEEE division. Below 2^14 in magnitude. Adding 1.5 2^23 leaves the
 * integer in the sum's low bits. */
ZO2_HD int32_t zo2_i4_steps(float w, float inverse)
{
    return (int32_t)zo2_float_bits(zo2_add(zo2_mul(w, inverse), 0x1.8p23f)) - 0x4B400000;
}

#endif
