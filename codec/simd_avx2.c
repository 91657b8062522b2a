/* simd_avx2.c: the loops for AVX2, FMA and F16C. Only Philox needs intrinsics: gcc makes its 32 x 32 -> 64
 * multiplications from twice the instructions (measured: 1.6 ns a word instead of 0.55). */
#include "codec/philox.h"
#include "codec/simd.h"
#include "codec/simd_includes.h"

#include <immintrin.h>

/* Each block's counter lives in the low halves of four 64-bit lanes, one per word, because that is what vpmuludq reads
 * and where its product has both halves. The upper halves hold garbage, which no product reads. Even-numbered blocks
 * are in one vector, odd ones in another, so that a blend puts the words in order. One such pair fills the 16
 * registers; iterations overlap. */
ZO2_UNSHARED static void philox_planes(uint32_t *restrict w, uint32_t calls, uint32_t lo, uint32_t hi,
                                       uint32_t tensor_id, uint32_t query, uint32_t k0, uint32_t k1)
{
    enum { VECTORS = 2, BLOCKS = 4 * VECTORS };
    const __m256i m0 = _mm256_set1_epi64x(ZO2_PHILOX_M0), m1 = _mm256_set1_epi64x(ZO2_PHILOX_M1);
    const __m256i even = _mm256_set_epi64x(6, 4, 2, 0);
    for (uint32_t first = 0; first < calls; first += BLOCKS) {
        __m256i c[4][VECTORS];
#pragma GCC unroll 2
        for (int v = 0; v < VECTORS; v++) {
            c[0][v] = _mm256_add_epi64(even, _mm256_set1_epi64x((int64_t)lo + first + 8 * (v / 2) + v % 2));
            c[1][v] = _mm256_set1_epi64x(hi);
            c[2][v] = _mm256_set1_epi64x(tensor_id);
            c[3][v] = _mm256_set1_epi64x(query);
        }
#pragma GCC unroll 10
        for (uint32_t round = 0; round < ZO2_PHILOX_ROUNDS; round++) {
            __m256i a = _mm256_set1_epi64x(k0 + round * ZO2_PHILOX_W0);
            __m256i b = _mm256_set1_epi64x(k1 + round * ZO2_PHILOX_W1);
#pragma GCC unroll 2
            for (int v = 0; v < VECTORS; v++) {
                __m256i p0 = _mm256_mul_epu32(c[0][v], m0), p1 = _mm256_mul_epu32(c[2][v], m1);
                c[0][v] = _mm256_xor_si256(_mm256_xor_si256(c[1][v], a), _mm256_srli_epi64(p1, 32));
                c[1][v] = p1;
                c[2][v] = _mm256_xor_si256(_mm256_xor_si256(c[3][v], b), _mm256_srli_epi64(p0, 32));
                c[3][v] = p0;
            }
        }
        for (int j = 0; j < 4; j++) {
            for (int v = 0; v < VECTORS; v += 2) {
                __m256i odd = _mm256_slli_epi64(c[j][v + 1], 32);
                _mm256_storeu_si256((__m256i *)(w + (uint32_t)j * calls + first + 4 * v),
                                    _mm256_blend_epi32(c[j][v], odd, 0xAA));
            }
        }
    }
}

#define ZO2_SIMD_TABLE zo2_simd_avx2
#define ZO2_SIMD_NAME  "avx2"
#include "codec/simd_loops.inc"
