/* gemm_bf16.h: products of bf16 values by oneDNN, on CPUs whose vector units multiply bf16 pairs (AVX512_BF16): twice the
 * rate of fp32. Builds without oneDNN have the same functions, and zo2_gemm_bf16_open() then finds nothing. Private to
 * kernels/cpu/.
 *
 * The sums are fp32 ones as elsewhere, but in another order, and a product or sum below 2^-126 counts as zero: a result
 * differs in its last bits from a machine's without the instruction. */
#ifndef ZO2_KERNELS_CPU_GEMM_BF16_H
#define ZO2_KERNELS_CPU_GEMM_BF16_H

#include <stdint.h>

#include "engine/zo2.h"

typedef struct zo2_gemm_bf16 zo2_gemm_bf16;
typedef struct zo2_gemm_bf16_shape zo2_gemm_bf16_shape;

enum { ZO2_GEMM_TILE_M = 768, ZO2_GEMM_TILE_N = 512 }; /* a task's product has no more rows and columns */

/* Memory of a slot for products of k up to this, at most: what a slot holds after the largest. 0 where open() finds
 * nothing. slot_bytes: what it holds now. */
uint64_t zo2_gemm_bf16_most_bytes(uint64_t k);
uint64_t zo2_gemm_bf16_slot_bytes(const zo2_gemm_bf16 *g);

/* slots: the most tasks at once. *out is NULL, without an error, where this build or this CPU can't do it. */
zo2_status zo2_gemm_bf16_open(zo2_gemm_bf16 **out, uint32_t slots);
void zo2_gemm_bf16_close(zo2_gemm_bf16 *g); /* NULL: nothing */

/* The products of a job are prepared between begin and its tasks, at most 4 shapes. A shape seen before (the last 64 are
 * kept) allocates nothing here. The pointer is valid until the next begin. ZO2_ERR_NOMEM, ZO2_ERR_INTERNAL. */
void zo2_gemm_bf16_begin(zo2_gemm_bf16 *g);
zo2_status zo2_gemm_bf16_prepare(zo2_gemm_bf16 *g, uint64_t m, uint64_t n, uint64_t k, zo2_gemm_bf16_shape **out);

/* y[m][n] = x[m][k] panel[n][k]^T in fp32, or added to y, on this thread alone. Rows are ldx, ldp and ldy elements apart; x
 * and panel: floats that hold bf16 values. One task at a time for a slot. 0 if oneDNN refuses. */
int zo2_gemm_bf16_run(zo2_gemm_bf16 *g, zo2_gemm_bf16_shape *s, uint32_t slot, const float *x, uint64_t ldx,
                      const float *panel, uint64_t ldp, float *y, uint64_t ldy, int accumulate);

/* [rows][cols] of floats that hold bf16 values to bf16, rows ld and to_ld elements apart. */
void zo2_bf16_pack_avx512(const float *from, uint64_t ld, uint64_t rows, uint64_t cols, uint16_t *to, uint64_t to_ld);

#endif
