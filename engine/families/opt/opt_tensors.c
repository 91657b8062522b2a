/* opt_tensors.c: the tensors of an OPT model in canonical order. A tensor's place in this list is its tensor_id, which
 * seeds its noise: the order of specs[] may never change. Golden test: tests/unit/engine/test_arch_tensors.c.
 */
#include "engine/families/opt/opt.h"
#include "engine/model/arch.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The format of packs and every index computation rely on it. */
#define MAX_ELEMENTS ((uint64_t)1 << 40)

typedef enum place { PLACE_EMBEDDINGS, PLACE_LAYER, PLACE_HEAD } place;
typedef enum dim { DIM_ONE, DIM_HIDDEN, DIM_FFN, DIM_VOCAB, DIM_EMBED, DIM_POSITIONS } dim;

/* When a model has the tensor. enable_bias takes away the biases of linear layers only: norms keep theirs. */
typedef enum need { NEED_ALWAYS, NEED_BIAS, NEED_AFFINE, NEED_FINAL_NORM, NEED_PROJECTION, NEED_UNTIED } need;

typedef struct spec {
    zo2_role role;
    place place;
    const char *suffix; /* behind "model.decoder." or "model.decoder.layers.N." */
    dim rows, cols;     /* rows DIM_ONE: a vector */
    need need;
} spec;

// clang-format off
static const spec specs[] = {
    {ZO2_ROLE_EMBED_TOKENS,    PLACE_EMBEDDINGS, "embed_tokens.weight",    DIM_VOCAB,     DIM_EMBED,  NEED_ALWAYS},
    {ZO2_ROLE_EMBED_POSITIONS, PLACE_EMBEDDINGS, "embed_positions.weight", DIM_POSITIONS, DIM_HIDDEN, NEED_ALWAYS},
    {ZO2_ROLE_PROJECT_IN,      PLACE_EMBEDDINGS, "project_in.weight",      DIM_HIDDEN,    DIM_EMBED,  NEED_PROJECTION},
    {ZO2_ROLE_ATTN_NORM_W, PLACE_LAYER, "self_attn_layer_norm.weight", DIM_ONE,    DIM_HIDDEN, NEED_AFFINE},
    {ZO2_ROLE_ATTN_NORM_B, PLACE_LAYER, "self_attn_layer_norm.bias",   DIM_ONE,    DIM_HIDDEN, NEED_AFFINE},
    {ZO2_ROLE_Q_W,         PLACE_LAYER, "self_attn.q_proj.weight",     DIM_HIDDEN, DIM_HIDDEN, NEED_ALWAYS},
    {ZO2_ROLE_Q_B,         PLACE_LAYER, "self_attn.q_proj.bias",       DIM_ONE,    DIM_HIDDEN, NEED_BIAS},
    {ZO2_ROLE_K_W,         PLACE_LAYER, "self_attn.k_proj.weight",     DIM_HIDDEN, DIM_HIDDEN, NEED_ALWAYS},
    {ZO2_ROLE_K_B,         PLACE_LAYER, "self_attn.k_proj.bias",       DIM_ONE,    DIM_HIDDEN, NEED_BIAS},
    {ZO2_ROLE_V_W,         PLACE_LAYER, "self_attn.v_proj.weight",     DIM_HIDDEN, DIM_HIDDEN, NEED_ALWAYS},
    {ZO2_ROLE_V_B,         PLACE_LAYER, "self_attn.v_proj.bias",       DIM_ONE,    DIM_HIDDEN, NEED_BIAS},
    {ZO2_ROLE_O_W,         PLACE_LAYER, "self_attn.out_proj.weight",   DIM_HIDDEN, DIM_HIDDEN, NEED_ALWAYS},
    {ZO2_ROLE_O_B,         PLACE_LAYER, "self_attn.out_proj.bias",     DIM_ONE,    DIM_HIDDEN, NEED_BIAS},
    {ZO2_ROLE_FFN_NORM_W,  PLACE_LAYER, "final_layer_norm.weight",     DIM_ONE,    DIM_HIDDEN, NEED_AFFINE},
    {ZO2_ROLE_FFN_NORM_B,  PLACE_LAYER, "final_layer_norm.bias",       DIM_ONE,    DIM_HIDDEN, NEED_AFFINE},
    {ZO2_ROLE_FC1_W,       PLACE_LAYER, "fc1.weight",                  DIM_FFN,    DIM_HIDDEN, NEED_ALWAYS},
    {ZO2_ROLE_FC1_B,       PLACE_LAYER, "fc1.bias",                    DIM_ONE,    DIM_FFN,    NEED_BIAS},
    {ZO2_ROLE_FC2_W,       PLACE_LAYER, "fc2.weight",                  DIM_HIDDEN, DIM_FFN,    NEED_ALWAYS},
    {ZO2_ROLE_FC2_B,       PLACE_LAYER, "fc2.bias",                    DIM_ONE,    DIM_HIDDEN, NEED_BIAS},
    {ZO2_ROLE_FINAL_NORM_W, PLACE_HEAD, "final_layer_norm.weight",     DIM_ONE,    DIM_HIDDEN, NEED_FINAL_NORM},
    {ZO2_ROLE_FINAL_NORM_B, PLACE_HEAD, "final_layer_norm.bias",       DIM_ONE,    DIM_HIDDEN, NEED_FINAL_NORM},
    {ZO2_ROLE_PROJECT_OUT,  PLACE_HEAD, "project_out.weight",          DIM_EMBED,  DIM_HIDDEN, NEED_PROJECTION},
    {ZO2_ROLE_LM_HEAD,      PLACE_HEAD, ZO2_OPT_HEAD,                  DIM_VOCAB,  DIM_EMBED,  NEED_UNTIED},
};
// clang-format on

#define SPECS (sizeof specs / sizeof *specs)

static int has(const zo2_arch *a, const spec *s)
{
    switch (s->need) {
    case NEED_ALWAYS: return 1;
    case NEED_BIAS: return a->bias;
    case NEED_AFFINE: return a->affine;
    case NEED_FINAL_NORM: return a->final_norm && a->affine;
    case NEED_PROJECTION: return a->embed_dim != a->hidden;
    case NEED_UNTIED: return !a->tied;
    }
    return 0;
}

static uint64_t size_of(const zo2_arch *a, dim d)
{
    switch (d) {
    case DIM_ONE: return 1;
    case DIM_HIDDEN: return a->hidden;
    case DIM_FFN: return a->ffn;
    case DIM_VOCAB: return a->vocab;
    case DIM_EMBED: return a->embed_dim;
    case DIM_POSITIONS: return (uint64_t)a->context + ZO2_OPT_POSITION_OFFSET;
    }
    return 0;
}

static void append(zo2_arch *a, const spec *s, uint32_t layer)
{
    zo2_tensor *t = &a->tensors[a->n_tensors];
    memset(t, 0, sizeof *t);
    if (s->place == PLACE_LAYER)
        snprintf(t->name, sizeof t->name, "model.decoder.layers.%" PRIu32 ".%s", layer, s->suffix);
    else if (s->role == ZO2_ROLE_LM_HEAD)
        snprintf(t->name, sizeof t->name, "%s", s->suffix); /* the head is outside the decoder */
    else
        snprintf(t->name, sizeof t->name, "model.decoder.%s", s->suffix);
    t->role = s->role;
    t->id = a->n_tensors++;
    t->layer = layer;
    t->block = s->place == PLACE_EMBEDDINGS ? 0 : s->place == PLACE_LAYER ? layer + 1 : a->layers + 1;
    t->rank = s->rows == DIM_ONE ? 1 : 2;
    t->rows = size_of(a, s->rows);
    t->cols = size_of(a, s->cols);
    t->decays = t->rank == 2;
    t->ones = s->role == ZO2_ROLE_ATTN_NORM_W || s->role == ZO2_ROLE_FFN_NORM_W || s->role == ZO2_ROLE_FINAL_NORM_W;
    t->exempt = t->rank == 1 || s->role == ZO2_ROLE_EMBED_POSITIONS;
    a->parameters += t->rows * t->cols;
}

static void append_place(zo2_arch *a, place p, uint32_t layer)
{
    for (size_t i = 0; i < SPECS; i++)
        if (specs[i].place == p && has(a, &specs[i]))
            append(a, &specs[i], layer);
}

zo2_status zo2_opt_build_tensors(zo2_arch *a, const char *what)
{
    uint32_t outer = 0, layer = 0;
    for (size_t i = 0; i < SPECS; i++) {
        const spec *s = &specs[i];
        uint64_t rows = size_of(a, s->rows), cols = size_of(a, s->cols);
        if (!has(a, s))
            continue;
        if (rows * cols >= MAX_ELEMENTS) /* the caps on sizes keep the product far below 2^64 */
            return zo2_error(ZO2_ERR_FORMAT,
                             "%s: %s would have %" PRIu64 " x %" PRIu64 " elements; fewer than 2^40 are supported",
                             what, s->suffix, rows, cols);
        if (s->place == PLACE_LAYER)
            layer++;
        else
            outer++;
    }
    uint32_t n = outer + a->layers * layer;
    a->tensors = malloc(n * sizeof *a->tensors);
    if (!a->tensors)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory for the list of %" PRIu32 " tensors of %s", n, what);
    a->n_tensors = 0;
    a->parameters = 0;
    a->n_blocks = a->layers + 2;
    append_place(a, PLACE_EMBEDDINGS, 0);
    for (uint32_t l = 0; l < a->layers; l++)
        append_place(a, PLACE_LAYER, l);
    append_place(a, PLACE_HEAD, 0);
    return ZO2_OK;
}

int zo2_opt_ignores(const char *name)
{
    static const char counter[] = "decoder.version"; /* of old checkpoints */
    size_t n = strlen(name), m = sizeof counter - 1;
    return strcmp(name, "version") == 0 || (n >= m && strcmp(name + n - m, counter) == 0);
}

/* Files come with the prefix "model.decoder.", "decoder." or none. */
const char *zo2_opt_bare_name(const char *name)
{
    static const char *const prefixes[] = {"model.decoder.", "decoder."};
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
        size_t n = strlen(prefixes[i]);
        if (strncmp(name, prefixes[i], n) == 0) /* the head is outside the decoder */
            return strcmp(name + n, ZO2_OPT_HEAD) == 0 ? NULL : name + n;
    }
    return name;
}
