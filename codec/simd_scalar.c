/* simd_scalar.c: the loops for any CPU. On x86-64 without AVX2 fmaf() is a library call that rounds once: slow and
 * right. */
#include "codec/philox.h"
#include "codec/simd.h"
#include "codec/simd_includes.h"

ZO2_UNSHARED static void philox_planes(uint32_t *restrict w, uint32_t calls, uint32_t lo, uint32_t hi,
                                       uint32_t tensor_id, uint32_t query, uint32_t k0, uint32_t k1)
{
    for (uint32_t i = 0; i < calls; i++) {
        uint32_t block[4];
        zo2_philox(lo + i, hi, tensor_id, query, k0, k1, block);
        for (uint32_t j = 0; j < 4; j++)
            w[j * calls + i] = block[j];
    }
}

#define ZO2_SIMD_TABLE zo2_simd_scalar
#define ZO2_SIMD_NAME  "scalar"
#include "codec/simd_loops.inc"
