/* philox.h: Philox4x32-10 of Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3" (SC 2011), one block for C
 * and CUDA. A bijection of the 128-bit counter for each 64-bit key. Known answers: tests/unit/codec/test_noise_philox.c. */
#ifndef ZO2_CODEC_PHILOX_H
#define ZO2_CODEC_PHILOX_H

#include <stdint.h>

#include "codec/hd.h"

#define ZO2_PHILOX_M0     0xD2511F53u
#define ZO2_PHILOX_M1     0xCD9E8D57u
#define ZO2_PHILOX_W0     0x9E3779B9u /* golden ratio */
#define ZO2_PHILOX_W1     0xBB67AE85u /* sqrt(3) - 1 */
#define ZO2_PHILOX_ROUNDS 10

ZO2_HD void zo2_philox_round(uint32_t c[4], uint32_t k0, uint32_t k1)
{
    uint64_t p0 = (uint64_t)ZO2_PHILOX_M0 * c[0];
    uint64_t p1 = (uint64_t)ZO2_PHILOX_M1 * c[2];
    c[0] = (uint32_t)(p1 >> 32) ^ c[1] ^ k0;
    c[1] = (uint32_t)p1;
    c[2] = (uint32_t)(p0 >> 32) ^ c[3] ^ k1;
    c[3] = (uint32_t)p0;
}

/* w[4] = Philox4x32-10 of counter (c0, c1, c2, c3) and key (k0, k1). */
ZO2_HD void zo2_philox(uint32_t c0, uint32_t c1, uint32_t c2, uint32_t c3, uint32_t k0, uint32_t k1, uint32_t w[4])
{
    uint32_t c[4] = {c0, c1, c2, c3};
    for (int round = 0; round < ZO2_PHILOX_ROUNDS; round++) {
        zo2_philox_round(c, k0, k1);
        k0 += ZO2_PHILOX_W0;
        k1 += ZO2_PHILOX_W1;
    }
    for (int i = 0; i < 4; i++)
        w[i] = c[i];
}

/* The keys of all rounds, for code that uses one key for many blocks and has nowhere to hide the additions: k0 and k1
 * of round r are k[2 r] and k[2 r + 1]. */
typedef struct zo2_philox_keys {
    uint32_t k[2 * ZO2_PHILOX_ROUNDS];
} zo2_philox_keys;

ZO2_HD zo2_philox_keys zo2_philox_round_keys(uint32_t k0, uint32_t k1)
{
    zo2_philox_keys keys;
    for (uint32_t round = 0; round < ZO2_PHILOX_ROUNDS; round++) {
        keys.k[2 * round] = k0 + round * ZO2_PHILOX_W0;
        keys.k[2 * round + 1] = k1 + round * ZO2_PHILOX_W1;
    }
    return keys;
}

/* zo2_philox() of these keys' key. */
ZO2_HD void zo2_philox_keyed(uint32_t c0, uint32_t c1, uint32_t c2, uint32_t c3, const zo2_philox_keys *keys,
                             uint32_t w[4])
{
    uint32_t c[4] = {c0, c1, c2, c3};
    for (int round = 0; round < ZO2_PHILOX_ROUNDS; round++)
        zo2_philox_round(c, keys->k[2 * round], keys->k[2 * round + 1]);
    for (int i = 0; i < 4; i++)
        w[i] = c[i];
}

#endif
