/* gemm_few_avx512.c: gemm_few.h for AVX-512. 24 sums, three panel vectors and one of x in 32 registers. */
#include "kernels/cpu/gemm_few.h"

#include <immintrin.h>

typedef __m512 lanes;
#define M_BLOCK 8
#define N_BLOCK 3

static inline lanes lanes_load(const float *p)
{
    return _mm512_loadu_ps(p);
}

static inline void lanes_store(float *p, lanes v)
{
    _mm512_storeu_ps(p, v);
}

static inline lanes lanes_fma(lanes a, lanes b, lanes c)
{
    return _mm512_fmadd_ps(a, b, c);
}

#define ZO2_GEMM_FEW zo2_gemm_few_avx512
#include "kernels/cpu/gemm_few.inc"
