/* simd_avx512.c: the loops for AVX-512 F, BW, DQ and VL. Only Philox needs intrinsics: see simd_avx2.c (measured: 0.9
 * ns a word by the compiler, 0.35 by hand). */
#include "codec/philox.h"
#include "codec/simd.h"
#include "codec/simd_includes.h"

#include <immintrin.h>

/* As in simd_avx2.c: counters in the low halves of 64-bit lanes, even-numbered blocks and odd ones in separate vectors.
 * `vectors` is a constant where this is inlined: 4 hide the multiplier's latency, 2 serve short runs. */
static inline __attribute__((always_inline)) void philox_group(uint32_t *restrict w, uint32_t calls, uint32_t lo,
                                                               uint32_t hi, uint32_t tensor_id, uint32_t query,
                                                               uint32_t k0, uint32_t k1, int vectors)
{
    const __m512i m0 = _mm512_set1_epi64(ZO2_PHILOX_M0), m1 = _mm512_set1_epi64(ZO2_PHILOX_M1);
    const __m512i even = _mm512_set_epi64(14, 12, 10, 8, 6, 4, 2, 0);
    __m512i c[4][4];
    for (int v = 0; v < vectors; v++) {
        c[0][v] = _mm512_add_epi64(even, _mm512_set1_epi64((int64_t)lo + 16 * (v / 2) + v % 2));
        c[1][v] = _mm512_set1_epi64(hi);
        c[2][v] = _mm512_set1_epi64(tensor_id);
        c[3][v] = _mm512_set1_epi64(query);
    }
#pragma GCC unroll 10
    for (uint32_t round = 0; round < ZO2_PHILOX_ROUNDS; round++) {
        __m512i a = _mm512_set1_epi64(k0 + round * ZO2_PHILOX_W0), b = _mm512_set1_epi64(k1 + round * ZO2_PHILOX_W1);
        for (int v = 0; v < vectors; v++) {
            __m512i p0 = _mm512_mul_epu32(c[0][v], m0), p1 = _mm512_mul_epu32(c[2][v], m1);
            c[0][v] = _mm512_ternarylogic_epi64(_mm512_srli_epi64(p1, 32), c[1][v], a, 0x96); /* 0x96: xor of three */
            c[1][v] = p1;
            c[2][v] = _mm512_ternarylogic_epi64(_mm512_srli_epi64(p0, 32), c[3][v], b, 0x96);
            c[3][v] = p0;
        }
    }
    for (int j = 0; j < 4; j++) {
        for (int v = 0; v < vectors; v += 2) { /* odd lanes take the even ones of the odd-numbered blocks */
            __m512i both = _mm512_mask_shuffle_epi32(c[j][v], 0xAAAA, c[j][v + 1], _MM_PERM_CCAA);
            _mm512_storeu_si512(w + (uint32_t)j * calls + 8 * v, both);
        }
    }
}

ZO2_UNSHARED static void philox_planes(uint32_t *restrict w, uint32_t calls, uint32_t lo, uint32_t hi,
                                       uint32_t tensor_id, uint32_t query, uint32_t k0, uint32_t k1)
{
    uint32_t first = 0;
    for (; first + 32 <= calls; first += 32)
        philox_group(w + first, calls, lo + first, hi, tensor_id, query, k0, k1, 4);
    for (; first < calls; first += 16)
        philox_group(w + first, calls, lo + first, hi, tensor_id, query, k0, k1, 2);
}

#define ZO2_SIMD_TABLE zo2_simd_avx512
#define ZO2_SIMD_NAME  "avx512"
#include "codec/simd_loops.inc"
