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

/* sqrt(x), x in [2^-60, 2^60], rounded once, from r, which is 1 / sqrt(x) with a relative error below 2^-21: one step of
 * Goldschmidt's iteration, and one correction by the exact remainder. The result does not depend on r's error, which
 * tests/unit/codec/test_rn_sqrt.c shows for every mantissa. (Without the step it does: r off by its last bit gives the
 * wrong neighbour for 5 mantissas.) */
ZO2_HD float zo2_sqrt_refine(float x, float r)
{
    float g = zo2_mul(x, r), h = zo2_mul(0.5f, r);
    float e = zo2_fma(-g, h, 0.5f);
    g = zo2_fma(g, e, g);
    h = zo2_fma(h, e, h);
    return zo2_fma(zo2_fma(-g, g, x), h, g);
}

/* zo2_sqrt(x) for x in [2^-60, 2^60]. A device's correctly rounded square root looks at its argument first and branches;
 * this doesn't. PTX promises a relative error of 2^-22.9. */
ZO2_HD float zo2_sqrt_bounded(float x)
{
#ifdef __CUDA_ARCH__
    float r;
    asm("rsqrt.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(x));
    return zo2_sqrt_refine(x, r);
#else
    return zo2_sqrt(x);
#endif
}

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
