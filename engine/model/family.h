/* family.h: what an architecture family is to everyone else: a constant table. Its configuration and its tensors' names are
 * read with it, and the forward pass calls through it; only engine/families knows which families there are. */
#ifndef ZO2_ENGINE_MODEL_FAMILY_H
#define ZO2_ENGINE_MODEL_FAMILY_H

#include "engine/zo2.h"

struct json_t;
struct zo2_act;
struct zo2_arch;
struct zo2_forward_pass;
struct zo2_micro;
struct zo2_place;
struct zo2_stored;

/* A naming that checkpoints of the family come with: whose it is (zo2_checkpoint_naming()), and which parts of our tensors a stored
 * one holds: a zo2_place_fn (place.h). */
typedef struct zo2_naming {
    const char *name;
    int (*place)(const struct zo2_arch *a, const struct zo2_stored *t, uint32_t i, struct zo2_place *out);
} zo2_naming;

/* Everything is there but where it says NULL. */
typedef struct zo2_family {
    const char *model_type; /* in a config.json, and in packs */
    const char *class_name; /* of the language model in Hugging Face: "architectures" of an export */
    const void *own;        /* what functions that several families share know this one by; NULL: nothing */
    const char *head_name;  /* of the output embedding: checkpoints may store it even where the embedding is the head */

    /* ---- configuration ---- */

    /* Name of published model i ("opt-125m"), NULL past the last; and its sizes and switches into *a, of which only the family is
     * set. */
    const char *(*published_name)(const struct zo2_family *f, uint32_t i);
    void (*published)(struct zo2_arch *a, uint32_t i);
    /* Sizes and switches from a config.json whose model_type this is, into *a, of which only the family is set. path: for
     * messages. Refuses by name what isn't supported. */
    zo2_status (*read_config)(struct zo2_arch *a, const struct json_t *config, const char *path);
    /* The text of a config.json as Hugging Face would write it; malloc'ed, NULL when out of memory. */
    char *(*write_config)(const struct zo2_arch *a, zo2_dtype dtype);
    /* a->tensors, n_tensors, n_blocks and parameters from the sizes and switches, as zo2_arch_check() wants them. Tensors that
     * embed, layer or the head multiply with stand in the order of their use: wires arrive and leave in it. what: for messages.
     * On failure nothing is allocated. */
    zo2_status (*build_tensors)(struct zo2_arch *a, const char *what);
    /* The part of a stored tensor's name, or of a canonical one, that tells it from the model's others: without the prefixes
     * that checkpoints come with. NULL: no tensor of this family can have the name. */
    const char *(*bare_name)(const char *name);
    /* Ended by one without a name; NULL: Hugging Face's only. Hugging Face's needs no row where each stored tensor is one of
     * ours, whole, under its bare name or with a prefix. */
    const zo2_naming *namings;
    /* 1 for stored tensors that have no place and that nobody misses (counters of old checkpoints). */
    int (*ignores)(const char *name);

    /* ---- forward, on one micro-batch; h: its residual stream, [streams][tokens][hidden] fp32 ---- */

    zo2_status (*embed)(struct zo2_forward_pass *f, const struct zo2_micro *mb, struct zo2_act h); /* writes h */
    zo2_status (*layer)(struct zo2_forward_pass *f, const struct zo2_micro *mb, uint32_t layer, struct zo2_act h);
    /* What follows the last layer, on m rows that carry loss: x and y [streams][m][hidden], y in the compute type. */
    zo2_status (*finish)(struct zo2_forward_pass *f, uint64_t m, struct zo2_act x, struct zo2_act y);
} zo2_family;

#endif
