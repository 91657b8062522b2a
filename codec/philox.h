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

/* w[4] = Philox4x32-10 of counter (c0, c1, c2, c3) and key (k0, k1). */
ZO2_HD void zo2_philox(uint32_t c0, uint32_t c1, uint32_t c2, uint32_t c3, uint32_t k0, uint32_t k1, uint32_t w[4])
{
    for (int round = 0; round < ZO2_PHILOX_ROUNDS; round++) {
        uint64_t p0 = (uint64_t)ZO2_PHILOX_M0 * c0;
        uint64_t p1 = (uint64_t)ZO2_PHILOX_M1 * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)p1;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)p0;
        k0 += ZO2_PHILOX_W0;
        k1 += ZO2_PHILOX_W1;
    }
    w[0] = c0;
    w[1] = c1;
    w[2] = c2;
    w[3] = c3;
}

#endif
