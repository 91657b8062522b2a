/* gguf_blocks.h: the types of GGUF's tensors: how their elements lie in blocks, and what they are as fp32. Blocks of 32 weights of a
 * row, a scale d (fp16) in front; quotients and codes as ggml's reference makes them. Private to this folder. */
#ifndef ZO2_STORAGE_CHECKPOINT_GGUF_BLOCKS_H
#define ZO2_STORAGE_CHECKPOINT_GGUF_BLOCKS_H

#include "engine/zo2.h"

#include <stdint.h>

#define ZO2_GGUF_BLOCK 32 /* elements of a block of the types that have some */

/* As the files have them. */
#define ZO2_GGUF_F32_DATA  0u
#define ZO2_GGUF_F16_DATA  1u
#define ZO2_GGUF_Q8_0_DATA 8u
#define ZO2_GGUF_BF16_DATA 30u

typedef struct zo2_gguf_block {
    uint32_t type;
    const char *name;
    uint32_t elements, bytes; /* of a block */
    zo2_dtype dtype;          /* what is given: the type itself, or F32 of those that are decoded */
    void (*decode)(const unsigned char *block, float out[ZO2_GGUF_BLOCK]); /* exact; NULL: nothing to decode */
} zo2_gguf_block;

/* The type with a number; NULL if it isn't read. */
const zo2_gguf_block *zo2_gguf_block_of(uint32_t type);

/* "Q4_K" and the like, of types that aren't read too; NULL of numbers that mean nothing here. */
const char *zo2_gguf_data_name(uint32_t type);

/* n elements, a multiple of 32, as Q8_0: d = amax / 127, codes are the nearest multiples of it, halves away from zero. out: n / 32 * 34
 * bytes. Returns the first element whose block has a scale that fp16 can't hold; n if there is none. */
uint64_t zo2_gguf_q8_0(const float *values, uint64_t n, unsigned char *out);

#endif
