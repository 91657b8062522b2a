/* held_row.cuh: a row of floats that several passes read, in shared memory: device memory is read once, 16 bytes at a time. */
#ifndef ZO2_KERNELS_CUDA_HELD_ROW_CUH
#define ZO2_KERNELS_CUDA_HELD_ROW_CUH

#include "codec/rn.h"
#include "kernels/cuda/dialect.h"

__device__ static inline uint4 zo2_row_part(const float *at)
{
    return __ldcg((const uint4 *)(const void *)at);
}

template <class F> __device__ static inline void zo2_hold_part(uint4 part, float *held, F &seen)
{
    *(uint4 *)(void *)held = part;
    seen(zo2_bits_float(part.x));
    seen(zo2_bits_float(part.y));
    seen(zo2_bits_float(part.z));
    seen(zo2_bits_float(part.w));
}

/* Copies n floats from x to held, both from where 16-byte accesses may go, n a multiple of 4, by THREADS threads side by side:
 * a warp's or a block's. seen(float) gets each once, on the thread that copies it. Several loads of a thread are under way at a
 * time, since shared memory has room for few warps. Barriers are the caller's. */
template <uint32_t THREADS, class F>
__device__ static inline void zo2_hold_row(const float *x, uint32_t n, float *held, F seen)
{
    constexpr uint32_t loads = 4, step = 4 * THREADS;
    uint32_t i = 4 * (threadIdx.x % THREADS);
    for (; i + (loads - 1) * step < n; i += loads * step) {
        uint4 part[loads];
#pragma unroll
        for (uint32_t j = 0; j < loads; j++)
            part[j] = zo2_row_part(x + i + j * step);
#pragma unroll
        for (uint32_t j = 0; j < loads; j++)
            zo2_hold_part(part[j], held + i + j * step, seen);
    }
    for (; i < n; i += step)
        zo2_hold_part(zo2_row_part(x + i), held + i, seen);
}

#endif
