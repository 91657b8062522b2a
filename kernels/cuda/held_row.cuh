/* held_row.cuh: a row that several passes read, as floats in shared memory: device memory is read once, 16 bytes at a time. */
#ifndef ZO2_KERNELS_CUDA_HELD_ROW_CUH
#define ZO2_KERNELS_CUDA_HELD_ROW_CUH

#include "codec/rn.h"
#include "kernels/cuda/dialect.h"
#include "kernels/cuda/element.cuh"

template <class E> __device__ static inline uint4 zo2_row_part(const E *at)
{
    return __ldcg((const uint4 *)(const void *)at);
}

template <class E, class F> __device__ static inline void zo2_hold_part(uint4 part, float *held, uint32_t at, F &seen)
{
    constexpr int n = zo2_element_word<E>::n;
    float w[4 * n];
    zo2_element_word<E>::get(part.x, w);
    zo2_element_word<E>::get(part.y, w + n);
    zo2_element_word<E>::get(part.z, w + 2 * n);
    zo2_element_word<E>::get(part.w, w + 3 * n);
#pragma unroll
    for (uint32_t i = 0; i < 4 * n; i++)
        seen(at + i, w[i]);
#pragma unroll
    for (int i = 0; i < 4 * n; i += 4)
        *(uint4 *)(void *)(held + at + i) = make_uint4(zo2_float_bits(w[i]), zo2_float_bits(w[i + 1]),
                                                       zo2_float_bits(w[i + 2]), zo2_float_bits(w[i + 3]));
}

/* Copies n elements from x to held, both from where 16-byte accesses may go, n whole 16 bytes of x, by THREADS threads side by side:
 * a warp's or a block's. seen(number, float &) gets each once, on the thread that copies it, and may change what is held. Several
 * loads of a thread are under way at a time, since shared memory has room for few warps. Barriers are the caller's. */
template <uint32_t THREADS, class E, class F>
__device__ static inline void zo2_hold_row(const E *x, uint32_t n, float *held, F seen)
{
    constexpr uint32_t loads = 4, piece = 4 * zo2_element_word<E>::n, step = piece * THREADS;
    uint32_t i = piece * (threadIdx.x % THREADS);
    for (; i + (loads - 1) * step < n; i += loads * step) {
        uint4 part[loads];
#pragma unroll
        for (uint32_t j = 0; j < loads; j++)
            part[j] = zo2_row_part(x + i + j * step);
#pragma unroll
        for (uint32_t j = 0; j < loads; j++)
            zo2_hold_part<E>(part[j], held, i + j * step, seen);
    }
    for (; i < n; i += step)
        zo2_hold_part<E>(zo2_row_part(x + i), held, i, seen);
}

#endif
