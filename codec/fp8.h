/* fp8.h: what the two 8-bit floating-point formats have in common, C and CUDA: the arithmetic of a code of MANTISSA bits
 * with its scale. fp8_e4m3.h and fp8_e5m2.h name the formats and fill in their numbers. CODECS.md, "FP8". */
#ifndef ZO2_CODEC_FP8_H
#define ZO2_CODEC_FP8_H

#include "codec/bf16.h"
#include "codec/group_scale.h"
#include "codec/hd.h"
#include "codec/rn.h"

#define ZO2_FP8_NAN 0x7Fu
/* Scale of a group with a NaN or infinity, the largest bf16; no finite group needs it. */
#define ZO2_FP8_NONFINITE 0x7F7Fu

/* A format; compile-time constants wherever these functions are used, so nothing of it is left in machine code. */
typedef struct zo2_fp8_format {
    uint32_t mantissa; /* bits */
    uint32_t bias;
    uint32_t infinity; /* its code, 0x80 if the format has none */
    uint32_t largest;  /* code of the largest finite value */
    float max;         /* that value; 7/4 times a power of two in both formats */
} zo2_fp8_format;

/* 2^n as fp32, -126 <= n <= 127. */
ZO2_HD float zo2_fp8_pow2(int32_t n)
{
    return zo2_bits_float((uint32_t)(n + 127) << 23);
}

/* code * scale (bf16 bits), one fp32 multiplication, exact for the scales that encoders write: at most 4 significant bits
 * times 8, and no last bit below 2^-149. NaN codes give the quiet NaN 0x7FC00000 with the code's sign. */
ZO2_HD float zo2_fp8_get(zo2_fp8_format f, uint8_t code, uint16_t scale)
{
    /* the code in the topmost byte: in the lowest, compilers work with vectors of bytes and widen every part on its own */
    uint32_t x = (uint32_t)code << 24, mag = x & 0x7F000000u;
    /* subnormal codes: no fp32 subnormals on the way, which are slow on some CPUs */
    float small = zo2_mul((float)(int32_t)mag, zo2_fp8_pow2(1 - 24 - (int32_t)(f.bias + f.mantissa)));
    float normal = zo2_bits_float((mag >> (1 + f.mantissa)) + ((127 - f.bias) << 23));
    float product = zo2_mul(mag < 1u << (24 + f.mantissa) ? small : normal, zo2_bf16_get(scale));
    uint32_t special = mag == f.infinity << 24 ? 0x7F800000u : 0x7FC00000u;
    return zo2_bits_float((x & 0x80000000u) | (mag > f.largest << 24 ? special : zo2_float_bits(product)));
}

/* The scale of a group whose largest magnitude is amax (fp32 bits). A non-finite amax gives the largest bf16, so that its group
 * decodes to NaN and infinities where they were. */
ZO2_HD uint16_t zo2_fp8_scale(zo2_fp8_format f, uint32_t amax_bits)
{
    uint32_t scale = zo2_group_scale(f.max, amax_bits);
    return (uint16_t)(amax_bits >= 0x7F800000u ? ZO2_FP8_NONFINITE : scale);
}

/* The code of x (fp32 bits), |x| <= f.max, to nearest even. Adding a power of two whose ulp is the distance of the codes
 * around x leaves, rounded, the number of those steps in the sum's low bits: 2^mantissa to 2^(mantissa + 1) for normal
 * codes, less for subnormal ones, which share the distance of the least normal ones. Each power further up adds 2^mantissa
 * to the code. */
ZO2_HD uint32_t zo2_fp8_code(zo2_fp8_format f, uint32_t x)
{
    uint32_t mag = x & 0x7FFFFFFFu, power = x & 0x7F800000u, least = (128 - f.bias) << 23;
    power = power < least ? least : power;
    /* the code of the least normal value is 2^mantissa steps, so `offset` undoes the power's share in the code; added to
     * the low bits beforehand it rounds nothing differently, because it is even */
    uint32_t offset = 0u - ((128 - f.bias) << f.mantissa);
    uint32_t magic = power + ((23 - f.mantissa) << 23) + (offset & 0xFFu);
    uint32_t sum = zo2_float_bits(zo2_add(zo2_bits_float(mag), zo2_bits_float(magic)));
    /* put together in the topmost byte: in the lowest, compilers narrow every part to bytes before they combine them */
    uint32_t code = (sum + (power >> (23 - f.mantissa))) << 24;
    return ((code & 0x7FFFFFFFu) | (x & 0x80000000u)) >> 24;
}

/* w / scale rounded to fp32 (IEEE division), then that to nearest even; beyond the largest finite value: that value
 * (SATFINITE), infinities too; NaN: 0x7F whatever its sign. */
ZO2_HD uint8_t zo2_fp8_encode(zo2_fp8_format f, float w, float scale)
{
    uint32_t x = zo2_float_bits(zo2_div(w, scale)), mag = x & 0x7FFFFFFFu, most = zo2_float_bits(f.max);
    uint32_t code = zo2_fp8_code(f, (x & 0x80000000u) | (mag < most ? mag : most));
    return (uint8_t)(mag > 0x7F800000u ? ZO2_FP8_NAN : code);
}

#endif
