/* toy_family.c: see toy_family.h. */
#include "tests/unit/engine/toy_family.h"
#include "engine/forward/batch.h"
#include "engine/forward/forward.h"
#include "engine/forward/layer_ops.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- tensors ---- */

typedef struct row {
    zo2_role role;
    int place; /* embeddings, layer, head */
    const char *name;
    uint64_t rows, cols; /* rows 0: a vector */
} row;

static void append(zo2_arch *a, const row *r, uint32_t layer)
{
    zo2_tensor *t = &a->tensors[a->n_tensors];
    *t = (zo2_tensor){.role = r->role,
                      .id = a->n_tensors++,
                      .layer = layer,
                      .block = r->place == 0   ? 0
                               : r->place == 1 ? layer + 1
                                               : a->layers + 1,
                      .rank = r->rows ? 2 : 1,
                      .rows = r->rows ? r->rows : 1,
                      .cols = r->cols,
                      .decays = r->rows != 0,
                      .exempt = !r->rows,
                      .ones = !r->rows};
    if (r->place == 1)
        snprintf(t->name, sizeof t->name, "toy.%" PRIu32 ".%s", layer, r->name);
    else
        snprintf(t->name, sizeof t->name, "toy.%s", r->name);
    a->parameters += t->rows * t->cols;
}

static zo2_status build_tensors(zo2_arch *a, const char *what)
{
    const uint64_t D = a->hidden, A = zo2_attention_columns(a);
    const row rows[] = {
        {ZO2_ROLE_FINAL_NORM_B, 0, "embed.norm", 0, D}, /* a role has its place in a block, not in the model */
        {ZO2_ROLE_EMBED_TOKENS, 0, "embed", a->vocab, D},
        {ZO2_ROLE_FFN_NORM_W, 1, "ffn.norm", 0, D},
        {ZO2_ROLE_FC1_W, 1, "ffn.up", a->ffn, D},
        {ZO2_ROLE_FC2_W, 1, "ffn.down", D, a->ffn},
        {ZO2_ROLE_V_W, 1, "attn.v", A, D},
        {ZO2_ROLE_K_W, 1, "attn.k", A, D},
        {ZO2_ROLE_Q_W, 1, "attn.q", A, D},
        {ZO2_ROLE_O_W, 1, "attn.o", D, A},
        {ZO2_ROLE_ATTN_NORM_W, 1, "attn.norm", 0, D},
        {ZO2_ROLE_LM_HEAD, 2, "head", a->vocab, D},
        {ZO2_ROLE_FINAL_NORM_W, 2, "norm", 0, D},
    };
    const uint32_t n = sizeof rows / sizeof *rows;
    a->tensors = malloc((size_t)n * a->layers * sizeof *a->tensors);
    if (!a->tensors)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory for the tensors of %s", what);
    a->n_blocks = a->layers + 2;
    for (int place = 0; place < 3; place++)
        for (uint32_t layer = 0; layer < (place == 1 ? a->layers : 1); layer++)
            for (uint32_t i = 0; i < n; i++)
                if (rows[i].place == place && !(a->tied && rows[i].role == ZO2_ROLE_LM_HEAD))
                    append(a, &rows[i], layer);
    return ZO2_OK;
}

static const char *bare_name(const char *name)
{
    return strncmp(name, "toy.", 4) == 0 ? name + 4 : name;
}

/* ---- forward ---- */

static zo2_status embed(zo2_forward_pass *f, const zo2_micro *mb, zo2_act h)
{
    const zo2_arch *a = f->arch;
    zo2_status s = zo2_gather_rows(f, zo2_arch_find(a, ZO2_ROLE_EMBED_TOKENS, 0), f->batch->id + mb->token_at, 0,
                                   mb->tokens, h, 0);
    return s ? s : zo2_layer_norm(f, mb->tokens, a->hidden, h, zo2_vector(f, ZO2_ROLE_FINAL_NORM_B, 0), NULL, h);
}

/* Up into the second half of the wide activation, and down from there. */
static zo2_status feed_forward(zo2_forward_pass *f, uint64_t T, uint32_t layer, zo2_act h)
{
    const zo2_arch *a = f->arch;
    zo2_act n = zo2_activation_at(f, f->device->norm, T, a->hidden, f->compute);
    zo2_act wide = zo2_activation_at(f, f->device->wide, T, 2ull * a->ffn, f->compute), half = wide;
    half.p += a->ffn * zo2_element_bytes(f, f->compute);
    zo2_status s = zo2_layer_norm(f, T, a->hidden, h, zo2_vector(f, ZO2_ROLE_FFN_NORM_W, layer), NULL, n);
    if (!s)
        s = zo2_linear(f, ZO2_ROLE_FC1_W, ZO2_ROLE_FC1_B, layer, T, n, wide, a->ffn, 0, 1.0f, ZO2_ACT_GELU);
    return s ? s : zo2_linear(f, ZO2_ROLE_FC2_W, ZO2_ROLE_FC2_B, layer, T, half, h, 0, 1, 1.0f, ZO2_ACT_NONE);
}

static zo2_status attend(zo2_forward_pass *f, const zo2_micro *mb, uint32_t layer, zo2_act h)
{
    const zo2_arch *a = f->arch;
    const uint64_t T = mb->tokens, A = zo2_attention_columns(a);
    zo2_act n = zo2_activation_at(f, f->device->norm, T, a->hidden, f->compute);
    zo2_act out = zo2_activation_at(f, f->device->norm, T, A, f->compute);
    zo2_act qkv = zo2_activation_at(f, f->device->wide, T, 3 * A, f->compute);
    zo2_status s = zo2_layer_norm(f, T, a->hidden, h, zo2_vector(f, ZO2_ROLE_ATTN_NORM_W, layer), NULL, n);
    if (!s)
        s = zo2_linear(f, ZO2_ROLE_V_W, ZO2_ROLE_V_B, layer, T, n, qkv, 2 * A, 0, 1.0f, ZO2_ACT_NONE);
    if (!s)
        s = zo2_linear(f, ZO2_ROLE_K_W, ZO2_ROLE_K_B, layer, T, n, qkv, A, 0, 1.0f, ZO2_ACT_NONE);
    if (!s)
        s = zo2_linear(f, ZO2_ROLE_Q_W, ZO2_ROLE_Q_B, layer, T, n, qkv, 0, 0, 1.0f / sqrtf((float)a->head_dim),
                       ZO2_ACT_NONE);
    if (!s)
        s = zo2_attention(f, mb, qkv, out);
    return s ? s : zo2_linear(f, ZO2_ROLE_O_W, ZO2_ROLE_O_B, layer, T, out, h, 0, 1, 1.0f, ZO2_ACT_NONE);
}

static zo2_status layer_of(zo2_forward_pass *f, const zo2_micro *mb, uint32_t layer, zo2_act h)
{
    zo2_status s = feed_forward(f, mb->tokens, layer, h);
    return s ? s : attend(f, mb, layer, h);
}

static zo2_status finish(zo2_forward_pass *f, uint64_t m, zo2_act x, zo2_act y)
{
    return zo2_layer_norm(f, m, f->arch->hidden, x, zo2_vector(f, ZO2_ROLE_FINAL_NORM_W, 0), NULL, y);
}

const zo2_family toy_family = {
    .model_type = "toy",
    .class_name = "ToyForCausalLM",
    .head_name = "toy.head",
    .build_tensors = build_tensors,
    .bare_name = bare_name,
    .embed = embed,
    .layer = layer_of,
    .finish = finish,
};
