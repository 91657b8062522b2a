/* decode_noise.cuh: the noise of 8 consecutive elements, for a thread of the decode kernels. The words and the arithmetic are
 * the codec headers'. Noise comes in Philox blocks of 4 (Gaussian) or 128 elements (Rademacher) counted from the tensor's
 * first element. Of a Rademacher block a thread uses 8 of the 128 bits: passing the block around the warp would save some
 * five instructions an element, which is nothing beside the panels' stores. */
#ifndef ZO2_KERNELS_CUDA_DECODE_NOISE_CUH
#define ZO2_KERNELS_CUDA_DECODE_NOISE_CUH

#include "codec/noise_inline.h"
#include "codec/philox.h"
#include "kernels/cuda/dialect.h"

/* Signs from the lowest 8 bits, 0 for +1 as zo2_rademacher() has it: here a selection, which takes an instruction less. */
__device__ static inline void zo2_signs8(uint32_t bits, float z[8])
{
#pragma unroll
    for (int i = 0; i < 8; i++)
        z[i] = bits >> i & 1 ? -1.0f : 1.0f;
}

/* ---- index a multiple of 8: blocks are used from their beginning, bits lie in one word ---- */

__device__ static inline void zo2_gaussian8(uint32_t tensor_id, uint32_t query, const zo2_philox_keys &keys,
                                            uint64_t index, float z[8])
{
    uint64_t call = index / ZO2_GAUSSIAN_PER_CALL; /* even: call + 1 has the same upper half */
#pragma unroll
    for (uint32_t i = 0; i < 2; i++) {
        uint32_t w[4];
        zo2_philox_keyed((uint32_t)call + i, (uint32_t)(call >> 32), tensor_id, query, &keys, w);
        zo2_gaussian4_of(w, z + 4 * i);
    }
}

__device__ static inline void zo2_rademacher8(uint32_t tensor_id, uint32_t query, const zo2_philox_keys &keys,
                                              uint64_t index, float z[8])
{
    uint64_t call = index / ZO2_RADEMACHER_PER_CALL;
    uint32_t w[4], at = (uint32_t)index % ZO2_RADEMACHER_PER_CALL;
    zo2_philox_keyed((uint32_t)call, (uint32_t)(call >> 32), tensor_id, query, &keys, w);
    uint32_t bits = (at < 64 ? (at < 32 ? w[0] : w[1]) : (at < 96 ? w[2] : w[3])) >> (at % 32);
    zo2_signs8(bits, z);
}

template <int D>
__device__ static inline void zo2_noise8(uint32_t tensor_id, uint32_t query, const zo2_philox_keys &keys,
                                         uint64_t index, float z[8])
{
    if (D == ZO2_RADEMACHER)
        zo2_rademacher8(tensor_id, query, keys, index, z);
    else
        zo2_gaussian8(tensor_id, query, keys, index, z);
}

/* ---- any index ---- */

/* Two Philox blocks, three where `index` is no multiple of four. The first two go round by round together: so a round's key
 * is made once, and needed no longer. */
__device__ static inline void zo2_gaussian8_at(uint32_t tensor_id, uint32_t query, uint64_t key, uint64_t index,
                                               float z[8])
{
    uint64_t call = index / ZO2_GAUSSIAN_PER_CALL;
    uint32_t off = (uint32_t)(index % ZO2_GAUSSIAN_PER_CALL), k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
    uint32_t w[4] = {(uint32_t)call, (uint32_t)(call >> 32), tensor_id, query};
    uint32_t x[4] = {(uint32_t)(call + 1), (uint32_t)((call + 1) >> 32), tensor_id, query};
    float v[8 + ZO2_GAUSSIAN_PER_CALL];
#pragma unroll
    for (int round = 0; round < ZO2_PHILOX_ROUNDS; round++) {
        zo2_philox_round(w, k0, k1);
        zo2_philox_round(x, k0, k1);
        k0 += ZO2_PHILOX_W0;
        k1 += ZO2_PHILOX_W1;
    }
    zo2_gaussian4_of(w, v);
    zo2_gaussian4_of(x, v + 4);
    if (off) { /* a shift by `off` whose indices are constants, so that v stays in registers */
        zo2_gaussian4(key, query, tensor_id, call + 2, v + 8);
#pragma unroll
        for (int i = 0; i < 8 + 3; i++)
            v[i] = off & 1 ? v[i + 1] : v[i];
#pragma unroll
        for (int i = 0; i < 8; i++)
            v[i] = off & 2 ? v[i + 2] : v[i];
    }
#pragma unroll
    for (int i = 0; i < 8; i++)
        z[i] = v[i];
}

/* 8 bits from bit `index` of the endless row of words; they may reach into the next word or block. */
__device__ static inline void zo2_rademacher8_at(uint32_t tensor_id, uint32_t query, uint64_t key, uint64_t index,
                                                 float z[8])
{
    uint32_t at = (uint32_t)(index % ZO2_RADEMACHER_PER_CALL), w[4], shift = at % 32;
    uint64_t call = index / ZO2_RADEMACHER_PER_CALL;
    zo2_noise_words(key, query, tensor_id, call, w);
    uint32_t low = at < 64 ? (at < 32 ? w[0] : w[1]) : (at < 96 ? w[2] : w[3]);
    uint32_t high = at < 64 ? (at < 32 ? w[1] : w[2]) : w[3];
    if (at > ZO2_RADEMACHER_PER_CALL - 8) {
        zo2_noise_words(key, query, tensor_id, call + 1, w);
        high = w[0];
    }
    zo2_signs8(shift > 32 - 8 ? low >> shift | high << (32 - shift) : low >> shift, z);
}

template <int D>
__device__ static inline void zo2_noise8_at(uint32_t tensor_id, uint32_t query, uint64_t key, uint64_t index,
                                            float z[8])
{
    if (D == ZO2_RADEMACHER)
        zo2_rademacher8_at(tensor_id, query, key, index, z);
    else
        zo2_gaussian8_at(tensor_id, query, key, index, z);
}

#endif
