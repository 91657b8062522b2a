/* gemm_bf16_pack_avx512.c: the upper halves of floats, for gemm_bf16.c. */
#include <string.h>

#include "kernels/cpu/gemm_bf16.h"

void zo2_bf16_pack_avx512(const float *from, uint64_t ld, uint64_t rows, uint64_t cols, uint16_t *to, uint64_t to_ld)
{
    for (uint64_t r = 0; r < rows; r++)
        for (uint64_t i = 0; i < cols; i++) {
            uint32_t bits;
            memcpy(&bits, &from[r * ld + i], sizeof bits);
            to[r * to_ld + i] = (uint16_t)(bits >> 16);
        }
}
