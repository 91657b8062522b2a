/* tune.h: which part of a model a run moves: from the text of zo2_engine_opts.tune (zo2.h has its grammar) to the run's own list of
 * tensors, in which some are frozen and some may be new. Everyone else goes by that list. */
#ifndef ZO2_ENGINE_MODEL_TUNE_H
#define ZO2_ENGINE_MODEL_TUNE_H

#include "engine/model/arch.h"

/* Longest text: a list of every row of a vocabulary of a million. */
#define ZO2_TUNE_MOST (8u << 20)
/* Most terms. Names of a model are looked at for each of them, and a text may come from a file. */
#define ZO2_TUNE_TERMS 256u

/* Numbers from .. to, both included. */
typedef struct zo2_range {
    uint32_t from, to;
} zo2_range;

typedef enum zo2_term_kind {
    ZO2_TERM_ALL,
    ZO2_TERM_VECTORS,  /* biases and norms of the whole model */
    ZO2_TERM_LAYERS,   /* everything in the layers of `range` */
    ZO2_TERM_MATRICES, /* their matrices */
    ZO2_TERM_ROWS,     /* rows of the head: `range` */
    ZO2_TERM_MATCH,    /* tensors whose names match the pattern `text` */
    ZO2_TERM_LORA, /* adapters of the matrices whose bits are in `targets`, in the layers of `range` (none: in all) */
} zo2_term_kind;

typedef struct zo2_term {
    zo2_term_kind kind;
    zo2_range *range; /* [n_ranges], ascending, apart from each other; owned */
    uint32_t n_ranges;
    char *text;       /* owned */
    uint32_t targets; /* bits by place in zo2_lora_target[] */
    uint32_t rank;
    double alpha;
} zo2_term;

typedef struct zo2_choice {
    zo2_term *term; /* [n]; owned */
    uint32_t n;
} zo2_choice;

/* NULL: all. ZO2_ERR_ARG: names the term and what is wrong with it. Nothing is known of the model yet. */
zo2_status zo2_choice_parse(zo2_choice *out, const char *text);
void zo2_choice_free(zo2_choice *c); /* zeroed is fine */

/* Makes *out, which zo2_arch_free() frees, of a model: the list of tensors of a run with this choice, frozen ones marked, its own ones added,
 * all else alike. The model's own tensors keep their order. by_block: they take turns, block by block. ZO2_ERR_ARG: a layer or a
 * row that the model hasn't, a pattern that no name matches, adapters of matrices that it lacks, nothing that moves. */
zo2_status zo2_arch_tune(zo2_arch *out, const zo2_arch *model, const char *text, int by_block);

/* Which tensor's storage each of a run's tensors uses, from what the pack says of its own (NULL: each its own; *out is NULL then). Frozen
 * ones, which have other planes, share with frozen ones only. *out: malloc'ed. */
zo2_status zo2_arch_aliases(const zo2_arch *a, const uint32_t *stored_as, uint32_t **out);

#endif
