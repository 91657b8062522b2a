/* rn.h: fp32 operations with one rounding each (to nearest even), and bit casts. Everything whose bits must agree
 * between machines is written with these, so that no compiler contracts, reassociates or approximates: the C build has
 * -ffp-contract=off, device code uses the _rn intrinsics, which nvcc never merges into an fma. */
#ifndef ZO2_CODEC_RN_H
#define ZO2_CODEC_RN_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "codec/hd.h"

#ifdef __CUDA_ARCH__
ZO2_HD float zo2_add(float a, float b)
{
    return __fadd_rn(a, b);
}
ZO2_HD float zo2_sub(float a, float b)
{
    return __fsub_rn(a, b);
}
ZO2_HD float zo2_mul(float a, float b)
{
    return __fmul_rn(a, b);
}
ZO2_HD float zo2_div(float a, float b)
{
    return __fdiv_rn(a, b);
}
ZO2_HD float zo2_sqrt(float a)
{
    return __fsqrt_rn(a);
}
ZO2_HD float zo2_fma(float a, float b, float c)
{
    return __fmaf_rn(a, b, c);
} /* a * b + c, rounded once */
#else
ZO2_HD float zo2_add(float a, float b)
{
    return a + b;
}
ZO2_HD float zo2_sub(float a, float b)
{
    return a - b;
}
ZO2_HD float zo2_mul(float a, float b)
{
    return a * b;
}
ZO2_HD float zo2_div(float a, float b)
{
    return a / b;
}
ZO2_HD float zo2_sqrt(float a)
{
    return sqrtf(a);
} /* IEEE: correctly rounded everywhere */
/* Without FMA hardware this is a library call: slow, but rounded once all the same (glibc's is). */
ZO2_HD float zo2_fma(float a, float b, float c)
{
    return fmaf(a, b, c);
}
#endif

ZO2_HD uint32_t zo2_float_bits(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

ZO2_HD float zo2_bits_float(uint32_t u)
{
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

#endif
