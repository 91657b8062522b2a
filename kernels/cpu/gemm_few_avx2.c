/* gemm_few_avx2.c: gemm_few.h for AVX2 and FMA: 16 lanes in two registers, six sums in twelve. */
#include "kernels/cpu/gemm_few.h"

#include <immintrin.h>

typedef struct lanes {
    __m256 low, high;
} lanes;
#define M_BLOCK 3
#define N_BLOCK 2

static inline lanes lanes_load(const float *p)
{
    return (lanes){_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)};
}

static inline void lanes_store(float *p, lanes v)
{
    _mm256_storeu_ps(p, v.low);
    _mm256_storeu_ps(p + 8, v.high);
}

static inline lanes lanes_fma(lanes a, lanes b, lanes c)
{
    return (lanes){_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)};
}

#define ZO2_GEMM_FEW zo2_gemm_few_avx2
#include "kernels/cpu/gemm_few.inc"
