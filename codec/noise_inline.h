/* noise_inline.h: the noise of one element, C and CUDA. z is a pure function of (key, query, tensor_id, element index);
 * the key is one of (seed, step). Loops over many elements: simd_loops.inc (CPU) and the decode kernels; they must
 * agree with this text bit for bit. Noise version 1 (ZO2_NOISE_VERSION): stored runs depend on every constant.
 * CODECS.md, "Noise".
 *
 * Gaussian and Rademacher noise of one key read the same Philox blocks. A run uses one distribution, so that is no
 * correlation. */
#ifndef ZO2_CODEC_NOISE_INLINE_H
#define ZO2_CODEC_NOISE_INLINE_H

#include "codec/hd.h"
#include "codec/normal.h"
#include "codec/philox.h"
#include "codec/rn.h"
#include "engine/zo2.h"

#define ZO2_GAUSSIAN_PER_CALL   4   /* elements one Philox block serves */
#define ZO2_RADEMACHER_PER_CALL 128 /* one bit each */

/* A bijection of 64-bit numbers in which every output bit depends on every input bit (splitmix64's finaliser,
 * Stafford's mix 13). */
ZO2_HD uint64_t zo2_mix64(uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    return x ^ (x >> 31);
}

/* Bijective in step for each seed, and in seed for each step. Not a sum: seeds s and s + 1 share no step's noise. */
ZO2_HD uint64_t zo2_noise_key_inline(uint64_t seed, uint64_t step)
{
    return zo2_mix64(step ^ zo2_mix64(seed + 0x9E3779B97F4A7C15u));
}

/* The four words of Philox block `call` of a tensor. */
ZO2_HD void zo2_noise_words(uint64_t key, uint32_t query, uint32_t tensor_id, uint64_t call, uint32_t w[4])
{
    zo2_philox((uint32_t)call, (uint32_t)(call >> 32), tensor_id, query, (uint32_t)key, (uint32_t)(key >> 32), w);
}

/* z[4] of elements 4 * call ... 4 * call + 3 from the words of block `call`: words 0 and 1 give the first two, words 2
 * and 3 the others. */
ZO2_HD void zo2_gaussian4_of(const uint32_t w[4], float z[4])
{
    zo2_normal_pair(w[0], w[1], z, z + 1);
    zo2_normal_pair(w[2], w[3], z + 2, z + 3);
}

ZO2_HD void zo2_gaussian4(uint64_t key, uint32_t query, uint32_t tensor_id, uint64_t call, float z[4])
{
    uint32_t w[4];
    zo2_noise_words(key, query, tensor_id, call, w);
    zo2_gaussian4_of(w, z);
}

/* The bit is the sign bit: 0 gives +1, 1 gives -1. bit < 32. */
ZO2_HD float zo2_rademacher(uint32_t word, uint32_t bit)
{
    return zo2_bits_float(0x3F800000u | ((word << (31 - bit)) & 0x80000000u));
}

/* z of one element. The definition; far too slow for loops. */
ZO2_HD float zo2_noise_at(uint64_t key, uint32_t query, uint32_t tensor_id, uint64_t index, zo2_dist dist)
{
    if (dist == ZO2_RADEMACHER) {
        uint32_t w[4];
        zo2_noise_words(key, query, tensor_id, index / ZO2_RADEMACHER_PER_CALL, w);
        return zo2_rademacher(w[index / 32 % 4], (uint32_t)(index % 32));
    }
    float z[4];
    zo2_gaussian4(key, query, tensor_id, index / ZO2_GAUSSIAN_PER_CALL, z);
    return z[index % 4];
}

#endif
