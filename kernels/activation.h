/* activation.h: activations that are made of one exponential, one text for the CPU and the GPU: both get the same bits, as of
 * exp_neg.h. Without branches. NaN stays; -inf becomes NaN. */
#ifndef ZO2_KERNELS_ACTIVATION_H
#define ZO2_KERNELS_ACTIVATION_H

#include "codec/hd.h"
#include "codec/rn.h"
#include "kernels/exp_neg.h"

/* x / (1 + e^-z), from the exponential of -|z|, which can't overflow. */
#ifndef __CUDACC__
__attribute__((always_inline))
#endif
ZO2_HD float
zo2_times_sigmoid(float x, float z)
{
    float e = zo2_exp_neg(z < 0.0f ? z : -z);
    return zo2_div(z < 0.0f ? x * e : x, 1.0f + e);
}

/* To 4 ulp, and 0 below -87. */
#ifndef __CUDACC__
__attribute__((always_inline))
#endif
ZO2_HD float
zo2_silu(float x)
{
    return zo2_times_sigmoid(x, x);
}

/* (1 + tanh(u)) / 2 is 1 / (1 + e^-2u); the constants are 2 sqrt(2 / pi), and that times 0.044715. */
#ifndef __CUDACC__
__attribute__((always_inline))
#endif
ZO2_HD float
zo2_gelu_tanh(float x)
{
    return zo2_times_sigmoid(x, x * (1.5957691216f + 0.0713548162726f * (x * x)));
}

#endif
