/* exp_neg.h: the exponential of softmax and log-sum-exp, one text for the CPU and the GPU. Nothing here uses fma (both
 * are built without contraction), so both get the same bits. */
#ifndef ZO2_KERNELS_EXP_NEG_H
#define ZO2_KERNELS_EXP_NEG_H

#include "codec/hd.h"
#include "codec/rn.h"

/* e^x for x <= 0 to 2 ulp; 0 below -87 and at -inf (e^-87 = 1.6e-38, the smallest normal range of fp32); NaN for NaN.
 * Without branches, so loops over it vectorise. Cody-Waite reduction with ln 2 in two parts and the polynomial of
 * Cephes' expf. */
#ifndef __CUDACC__
__attribute__((always_inline))
#endif
ZO2_HD float
zo2_exp_neg(float x)
{
    float y = x < -87.0f ? -87.0f : x;                /* in this order a NaN stays */
    float t = y * 1.44269504088896341f + 12582912.0f; /* 1.5 * 2^23: rounds to an integer in the low bits */
    float n = t - 12582912.0f;
    float r = (y - n * 0.693359375f) - n * -2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r + 1.0f;
    p *= zo2_bits_float((zo2_float_bits(t) - 0x4B400000u + 127u) << 23);
    return x < -87.0f ? 0.0f : p;
}

#endif
