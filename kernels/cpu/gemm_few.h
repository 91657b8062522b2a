/* gemm_few.h: products of few rows with a panel. A BLAS packs the panel first, which costs as much as reading it several
 * times; with so few rows nothing is gained by that. Here the panel is read once, where it lies. Private to kernels/cpu/.
 *
 * An element's sum has one order whatever the instruction set and the rows beside it: 16 partial sums, of which number l
 * takes the products at l, l + 16, ... in this order, each added with one rounding (fma); then l and l + 8, the results l
 * and l + 4, and so on. */
#ifndef ZO2_KERNELS_CPU_GEMM_FEW_H
#define ZO2_KERNELS_CPU_GEMM_FEW_H

#include <stdint.h>

#define ZO2_FEW_ROWS  16 /* still 1.3 to 1.9 times as fast as OpenBLAS with AVX-512, 1.1 to 1.5 with AVX2 (measured) */
#define ZO2_FEW_STRIP 24 /* panel rows whose sums are kept at a time: parts of n are best multiples of it */

/* y[m][n] = x[m][k] panel[n][k]^T, or added to y; rows are ldx, ldp and ldy values apart, at any alignment of floats.
 * 1 <= m <= ZO2_FEW_ROWS. Thread-safe; y doesn't overlap the others. */
typedef void (*zo2_gemm_few)(const float *x, uint64_t ldx, uint64_t m, const float *panel, uint64_t ldp, uint64_t n,
                             uint64_t k, float *y, uint64_t ldy, int accumulate);

#ifndef ZO2_NO_X86_SIMD
void zo2_gemm_few_avx2(const float *x, uint64_t ldx, uint64_t m, const float *panel, uint64_t ldp, uint64_t n,
                       uint64_t k, float *y, uint64_t ldy, int accumulate);
void zo2_gemm_few_avx512(const float *x, uint64_t ldx, uint64_t m, const float *panel, uint64_t ldp, uint64_t n,
                         uint64_t k, float *y, uint64_t ldy, int accumulate);
#endif

/* The one of an instruction set, "avx2" or "avx512", the best one for NULL; NULL if it can't run here. CPUs without a fused
 * multiply-add in vectors have none: there BLAS does it. */
zo2_gemm_few zo2_gemm_few_get(const char *name);

#endif
