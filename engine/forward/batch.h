/* batch.h: a caller's padded batch, checked and packed: real tokens back to back, no padding anywhere. Rows of one
 * example share the computation of their common beginning (the prompt of a multiple-choice line), and tokens that no
 * loss token depends on are left out; neither changes what is computed for the others. */
#ifndef ZO2_ENGINE_FORWARD_BATCH_H
#define ZO2_ENGINE_FORWARD_BATCH_H

#include "kernels/operations.h"

/* An example that has something to be computed. */
typedef struct zo2_packed_example {
    uint32_t first, tokens; /* of its micro-batch */
    uint32_t seq_at, seqs;
} zo2_packed_example;

/* A micro-batch: at least one loss token, so at least one token. */
typedef struct zo2_micro {
    uint64_t token_at; /* first of its tokens in the packed arrays */
    uint32_t tokens;
    uint32_t seq_at, seqs;
    uint32_t example_at, examples;
    uint64_t loss_at;
    uint32_t losses;
    uint32_t row_at; /* rows of the batch up to the next one's; of the last one all that are left */
} zo2_micro;

typedef struct zo2_packed {
    uint32_t micros;
    zo2_micro *micro;
    uint64_t tokens;             /* packed */
    uint32_t *id;                /* [tokens] */
    uint32_t *position;          /* [tokens]: real tokens before it in its row */
    zo2_packed_example *example; /* the examples, in order */
    zo2_seq *seq;                /* token numbers count from the micro-batch's first */
    uint64_t losses;
    uint32_t *index;  /* [losses]: token of the micro-batch whose output predicts it */
    uint32_t *target; /* [losses]: its id */
    uint32_t rows;
    uint32_t *row_losses; /* [rows] */
    double *row_score;    /* [rows]: scratch of losses: mean log-probability of the row's loss tokens */
    uint32_t examples;
    uint32_t *example_rows; /* [examples] */
    const uint32_t *label;  /* the caller's; NULL: language-model loss */
    uint64_t real_tokens;   /* of the batch as given */
    uint64_t longest;       /* tokens of the longest row */
    /* Scratch of zo2_batch_pack(): real tokens moved to the left of each row. */
    uint32_t *compact_length; /* [rows] */
    int32_t *compact_token;   /* [rows][seq] */
    uint8_t *compact_loss;    /* [rows][seq] */
    void *memory;             /* of all arrays, reused */
    uint64_t capacity;
} zo2_packed;

/* Memory for batches of up to `places` = rows x seq places, so that packing them allocates nothing. Optional: packing
 * takes what it lacks. *p is zeroed before its first use. */
zo2_status zo2_batch_reserve(zo2_packed *p, uint64_t places, uint64_t rows);

/* Checks everything and packs. micro_batch: examples per micro-batch (UINT32_MAX: all). *out is zeroed before its first
 * use and may be used again. ZO2_ERR_ARG names row and place. */
zo2_status zo2_batch_pack(zo2_packed *out, const zo2_batch *b, uint32_t vocab, uint32_t context, uint32_t micro_batch);
void zo2_packed_free(zo2_packed *p); /* zeroed is fine */

/* What one stream's log-probabilities mean. */
typedef struct zo2_loss {
    double loss; /* language model: mean of -log p; labelled: mean cross-entropy */
    double sum_nll;
    double sum_loss;    /* labelled: sum of cross-entropies */
    uint64_t correct;   /* labelled; an example with a score that isn't finite never is */
    uint64_t nonfinite; /* examples with such a score */
} zo2_loss;

/* row_nll[rows]: sums of -log p over each row's loss tokens, of rows [from, to); logprob: of the batch's loss tokens from that row's
 * first one on. In double in fixed order; NaN stays NaN. */
void zo2_row_sums(double *row_nll, const zo2_packed *p, uint32_t from, uint32_t to, const float *logprob);
/* row_nll[rows] of one stream, which may be p->row_score; fills that. Sums as above. */
void zo2_loss_of_rows(zo2_loss *out, zo2_packed *p, const double *row_nll);
/* Both: logprob[losses] of one stream. */
void zo2_loss_compute(zo2_loss *out, zo2_packed *p, const float *logprob);

#endif
