/* fp8_e4m3.h: one E4M3 code (OCP OFP8: bias 7, no infinity, S.1111.111 is NaN, largest 448) with a scale, C and CUDA.
 * code: one byte per weight, rows padded to 16 bytes; scale: bf16 bits, one per 128 weights of a row. CODECS.md,
 * "E4M3". */
#ifndef ZO2_CODEC_FP8_E4M3_H
#define ZO2_CODEC_FP8_E4M3_H

#include "codec/bf16.h"

#define ZO2_E4M3_MAX       448.0f
#define ZO2_E4M3_MIN_SCALE 0x0080u /* 2^-126, the smallest normal bf16 */
/* Above 448 times the largest scale whose product with 448 is finite; by luck also where bf16 rounds to infinity. */
#define ZO2_E4M3_LIMIT_BITS 0x7F7F8000u

/* code * scale, one fp32 multiplication, exact for the scales that split() writes: 4 significant bits times 8, the
 * smallest product 2^-135 with its last bit at 2^-142. NaN codes give the quiet NaN 0x7FC00000 with the code's sign. */
ZO2_HD float zo2_e4m3_get(uint8_t code, uint16_t scale)
{
    uint32_t sign = (uint32_t)(code & 0x80u) << 24, mag = code & 0x7Fu;
    /* codes below 8 are subnormal, mag * 2^-9: no fp32 subnormals on the way, which are slow on some CPUs */
    float small = zo2_mul((float)(int32_t)mag, 0x1p-9f);
    float value = mag < 8 ? small : zo2_bits_float((mag << 20) + (120u << 23));
    float product = zo2_mul(value, zo2_bf16_get(scale));
    return zo2_bits_float(sign | (mag == 0x7Fu ? 0x7FC00000u : zo2_float_bits(product)));
}

/* Smallest bf16 whose product with 448 is at least the magnitude amax (given as fp32 bits), at least 2^-126. A
 * non-finite amax gives the largest bf16, so that its group decodes to NaN and infinities where they were. */
ZO2_HD uint16_t zo2_e4m3_scale(uint32_t amax_bits)
{
    float amax = zo2_bits_float(amax_bits);
    uint32_t scale = (zo2_float_bits(zo2_div(amax, ZO2_E4M3_MAX)) + 0xFFFFu) >> 16;
    scale = scale < ZO2_E4M3_MIN_SCALE ? ZO2_E4M3_MIN_SCALE : scale;
    /* the quotient may have been rounded down onto a bf16; 448 * scale is exact (3 significant bits times 8) */
    if (zo2_mul(zo2_bits_float(scale << 16), ZO2_E4M3_MAX) < amax)
        scale++;
    return (uint16_t)(amax_bits >= 0x7F800000u ? 0x7F7Fu : scale);
}

/* w / scale rounded to fp32 (IEEE division), then that to nearest even; above 448: 448 (SATFINITE); NaN: 0x7F whatever
 * its sign. */
ZO2_HD uint8_t zo2_e4m3_encode(float w, float scale)
{
    uint32_t u = zo2_float_bits(zo2_div(w, scale)), mag = u & 0x7FFFFFFFu;
    uint32_t normal = ((mag + 0x7FFFFu + ((mag >> 20) & 1)) >> 20) - (120u << 3);
    /* below 2^-6: adding 2^14, whose ulp is 2^-9, rounds to the subnormal grid */
    uint32_t small = zo2_float_bits(zo2_add(zo2_bits_float(mag), 0x1p14f)) - 0x46800000u;
    uint32_t code = mag < 0x3C800000u ? small : normal;
    code = (code > 0x7Eu ? 0x7Eu : code) | ((u >> 24) & 0x80u);
    return (uint8_t)(mag > 0x7F800000u ? 0x7Fu : code);
}

#endif
