/* fast_exp.h: vector helpers of the softmax, log-sum-exp and layer-norm loops.
 *
 * ZO2_CLONES builds a function for several instruction sets, the loader picks one. Nothing here uses fma and every sum
 * has a fixed order, so the variants give the same bits. Sanitizers run before the loader's choice can, hence the plain
 * build there. */
#ifndef ZO2_KERNELS_CPU_FAST_EXP_H
#define ZO2_KERNELS_CPU_FAST_EXP_H

#include <stdint.h>
#include <string.h>

#include <math.h> /* __GLIBC__ too */

#include "kernels/exp_neg.h"

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && defined(__GLIBC__) && defined(__OPTIMIZE__) && \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define ZO2_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define ZO2_CLONES
#endif

#define ZO2_INLINE static inline __attribute__((always_inline))

#define ZO2_LANES 32

/* Lanes folded in a fixed order: halves onto each other. */
ZO2_INLINE float zo2_lanes_sum(float *lane)
{
    for (int w = ZO2_LANES / 2; w; w /= 2)
        for (int j = 0; j < w; j++)
            lane[j] += lane[j + w];
    return lane[0];
}

/* Largest of x[n], at least `floor`; NaN are passed over. */
ZO2_INLINE float zo2_row_max(const float *x, uint64_t n, float floor)
{
    float lane[ZO2_LANES];
    uint64_t i = 0;
    for (int j = 0; j < ZO2_LANES; j++)
        lane[j] = floor;
    for (; i + ZO2_LANES <= n; i += ZO2_LANES)
        for (int j = 0; j < ZO2_LANES; j++)
            lane[j] = x[i + j] > lane[j] ? x[i + j] : lane[j];
    for (int j = 0; i + j < n; j++)
        lane[j] = x[i + j] > lane[j] ? x[i + j] : lane[j];
    for (int j = 1; j < ZO2_LANES; j++)
        lane[0] = lane[j] > lane[0] ? lane[j] : lane[0];
    return lane[0];
}

#endif
