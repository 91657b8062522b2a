/* rope.h: rotary positions (arXiv 2104.09864) and the ways in which their frequencies are stretched for longer contexts. Pair j of
 * a head, elements j and j + head_dim / 2, is turned by position * frequency[j]. */
#ifndef ZO2_ENGINE_MODEL_ROPE_H
#define ZO2_ENGINE_MODEL_ROPE_H

#include <stdint.h>

typedef enum zo2_rope_kind {
    ZO2_ROPE_NONE = 0, /* no rotations */
    ZO2_ROPE_DEFAULT,
    ZO2_ROPE_LINEAR, /* all frequencies / factor */
    ZO2_ROPE_LLAMA3, /* the low ones / factor, the high ones as they are, a blend in between */
    ZO2_ROPE_YARN,   /* arXiv 2309.00071 */
} zo2_rope_kind;

typedef struct zo2_rope {
    zo2_rope_kind kind;
    double theta;                /* frequency[j] = theta^(-2 j / head_dim) before any stretching */
    double factor;               /* all but DEFAULT */
    uint32_t original;           /* LLAMA3, YARN: tokens of the context that was trained with */
    double low, high;            /* LLAMA3: low_freq_factor, high_freq_factor */
    double attention;            /* YARN: factor of all cosines and sines */
    double beta_fast, beta_slow; /* YARN: turns within the original context, where the blend begins and ends */
    int truncate;                /* YARN: those places are rounded to whole pairs */
} zo2_rope;

/* frequency[head_dim / 2], rounded where Hugging Face's modeling_rope_utils.py rounds: fp32 from the first division on. Its power
 * function may differ in the last bit. */
void zo2_rope_frequencies(const zo2_rope *r, uint32_t head_dim, float *frequency);

/* Row `position` of the table: head_dim / 2 cosines, then as many sines. As there, the angle is one fp32 product; its cosine and sine
 * are computed in double and rounded, then multiplied with the attention factor in fp32. */
void zo2_rope_row(const zo2_rope *r, uint32_t head_dim, const float *frequency, uint32_t position, float *row);

#endif
