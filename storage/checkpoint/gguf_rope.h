/* gguf_rope.h: llama3's scaled positions. llama.cpp stores what each frequency is divided by (rope_freqs.weight), Hugging Face the
 * four numbers that this follows from. Private to this folder. */
#ifndef ZO2_STORAGE_CHECKPOINT_GGUF_ROPE_H
#define ZO2_STORAGE_CHECKPOINT_GGUF_ROPE_H

#include <stdint.h>

typedef struct zo2_gguf_rope {
    double theta, factor, low, high; /* low_freq_factor, high_freq_factor */
    uint64_t original;               /* original_max_position_embeddings */
} zo2_gguf_rope;

/* What frequency i of `pairs` is divided by. */
double zo2_gguf_rope_factor(const zo2_gguf_rope *r, uint32_t i, uint32_t pairs);

/* 1 and r's factor, low, high and original, of theta and what `pairs` frequencies are divided by: numbers that give all of these to
 * a part in 10,000. 0: there are none. Of several that do, published models' are taken. */
int zo2_gguf_rope_fit(zo2_gguf_rope *r, const float *factors, uint32_t pairs);

#endif
