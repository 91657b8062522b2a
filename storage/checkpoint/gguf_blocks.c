/* gguf_blocks.c: see gguf_blocks.h. Decoding is exact: fp16 times an integer of 8 bits has 19 significant bits at most, and Q4_1's
 * sum is rounded once, as ggml does it. */
#include "storage/checkpoint/gguf_blocks.h"
#include "codec/fp16.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

#define HALF (ZO2_GGUF_BLOCK / 2)

static float scale_at(const unsigned char *p)
{
    uint16_t bits;
    memcpy(&bits, p, sizeof bits);
    return zo2_fp16_get(bits);
}

/* d, then 32 signed bytes. */
static void decode_q8_0(const unsigned char *block, float out[ZO2_GGUF_BLOCK])
{
    const float d = scale_at(block);
    for (int i = 0; i < ZO2_GGUF_BLOCK; i++)
        out[i] = (float)(int8_t)block[2 + i] * d;
}

/* d, then 16 bytes: the first half of the weights in their lower four bits, the second in the upper ones; 8 is zero. */
static void decode_q4_0(const unsigned char *block, float out[ZO2_GGUF_BLOCK])
{
    const float d = scale_at(block);
    for (int i = 0; i < HALF; i++) {
        out[i] = (float)((block[2 + i] & 15) - 8) * d;
        out[HALF + i] = (float)((block[2 + i] >> 4) - 8) * d;
    }
}

/* d and the least weight m, then as Q4_0, from m on. */
static void decode_q4_1(const unsigned char *block, float out[ZO2_GGUF_BLOCK])
{
    const float d = scale_at(block), m = scale_at(block + 2);
    for (int i = 0; i < HALF; i++) {
        const float low = (float)(block[4 + i] & 15) * d, high = (float)(block[4 + i] >> 4) * d;
        out[i] = low + m;
        out[HALF + i] = high + m;
    }
}

static const zo2_gguf_block blocks[] = {
    {ZO2_GGUF_F32_DATA, "F32", 1, 4, ZO2_F32, NULL},
    {ZO2_GGUF_F16_DATA, "F16", 1, 2, ZO2_F16, NULL},
    {ZO2_GGUF_BF16_DATA, "BF16", 1, 2, ZO2_BF16, NULL},
    {ZO2_GGUF_Q8_0_DATA, "Q8_0", ZO2_GGUF_BLOCK, 34, ZO2_F32, decode_q8_0},
    {2, "Q4_0", ZO2_GGUF_BLOCK, 18, ZO2_F32, decode_q4_0},
    {3, "Q4_1", ZO2_GGUF_BLOCK, 20, ZO2_F32, decode_q4_1},
};

const zo2_gguf_block *zo2_gguf_block_of(uint32_t type)
{
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
        if (blocks[i].type == type)
            return &blocks[i];
    return NULL;
}

const char *zo2_gguf_data_name(uint32_t type)
{
    static const char *const names[] = {
        [0] = "F32",     [1] = "F16",    [2] = "Q4_0",     [3] = "Q4_1",    [6] = "Q5_0",     [7] = "Q5_1",
        [8] = "Q8_0",    [9] = "Q8_1",   [10] = "Q2_K",    [11] = "Q3_K",   [12] = "Q4_K",    [13] = "Q5_K",
        [14] = "Q6_K",   [15] = "Q8_K",  [16] = "IQ2_XXS", [17] = "IQ2_XS", [18] = "IQ3_XXS", [19] = "IQ1_S",
        [20] = "IQ4_NL", [21] = "IQ3_S", [22] = "IQ2_S",   [23] = "IQ4_XS", [24] = "I8",      [25] = "I16",
        [26] = "I32",    [27] = "I64",   [28] = "F64",     [29] = "IQ1_M",  [30] = "BF16",    [34] = "TQ1_0",
        [35] = "TQ2_0",  [39] = "MXFP4", [40] = "NVFP4",
    };
    return type < sizeof names / sizeof *names ? names[type] : NULL;
}

uint64_t zo2_gguf_q8_0(const float *values, uint64_t n, unsigned char *out)
{
    uint64_t bad = n;
    for (uint64_t i = 0; i < n; i += ZO2_GGUF_BLOCK, out += 2 + ZO2_GGUF_BLOCK) {
        float most = 0;
        for (int k = 0; k < ZO2_GGUF_BLOCK; k++)
            most = fmaxf(most, fabsf(values[i + (uint64_t)k]));
        const float d = most / 127, inverse = d != 0 ? 1 / d : 0;
        const uint16_t bits = zo2_fp16_encode(d);
        if (!isfinite(zo2_fp16_get(bits)) && bad == n)
            bad = i;
        memcpy(out, &bits, sizeof bits);
        for (int k = 0; k < ZO2_GGUF_BLOCK; k++)
            out[2 + k] = (unsigned char)(int8_t)roundf(isfinite(inverse) ? values[i + (uint64_t)k] * inverse : 0);
    }
    return bad;
}
