/* opt_forward.c: OPT as Hugging Face computes it (modeling_opt.py), over packed tokens and several perturbed streams at
 * once.
 *
 * Details that are easy to get wrong: positions begin at row 2 and count real tokens; q is scaled after its bias,
 * before the product; opt-350m has projections in and out, norms after each residual addition, and no final norm; each
 * layer's second norm is called final_layer_norm; positions are added after project_in; the head is tied to the
 * embedding.
 *
 * Shapes: S streams, T tokens of the micro-batch, D hidden, E embedding, F ffn. */
#include "engine/forward/batch.h"
#include "engine/forward/forward.h"
#include "engine/forward/layer_ops.h"
#include "engine/model/arch.h"
#include "engine/plan/plan_types.h"
#include "engine/stream/pipeline.h"
#include "kernels/backend.h"

#include <math.h>

#define POSITION_OFFSET 2u

/* ---- embeddings ---- */

static zo2_status embed(zo2_forward_pass *f, const zo2_micro *mb)
{
    const zo2_arch *a = f->arch;
    uint32_t table = zo2_arch_find(a, ZO2_ROLE_EMBED_TOKENS, 0), in = zo2_arch_find(a, ZO2_ROLE_PROJECT_IN, 0);
    zo2_act h, x;
    zo2_status s = zo2_residual_take(f, mb, &h);
    if (s)
        return s;
    x = h;
    if (in != ZO2_NO_TENSOR)
        x = zo2_activation_at(f, f->device->embedded, mb->tokens, a->embed_dim, f->compute);
    s = zo2_gather_rows(f, table, f->batch->id + mb->token_at, 0, mb->tokens, x, 0);
    if (!s && in != ZO2_NO_TENSOR)
        s = zo2_matmul(f, in, mb->tokens, x, h, 0, f->hold);
    if (!s)
        s = zo2_gather_rows(f, zo2_arch_find(a, ZO2_ROLE_EMBED_POSITIONS, 0), f->batch->position + mb->token_at,
                            POSITION_OFFSET, mb->tokens, h, 1);
    return s ? s : zo2_residual_give(f);
}

/* ---- a layer ---- */

static zo2_status attention_half(zo2_forward_pass *f, const zo2_micro *mb, uint32_t layer, zo2_act h)
{
    const zo2_arch *a = f->arch;
    const uint64_t T = mb->tokens, D = a->hidden;
    const float *gamma = zo2_vector(f, ZO2_ROLE_ATTN_NORM_W, layer), *beta = zo2_vector(f, ZO2_ROLE_ATTN_NORM_B, layer);
    zo2_act n = zo2_activation_at(f, f->device->norm, T, D, f->compute);
    zo2_act qkv = zo2_activation_at(f, f->device->wide, T, 3 * D, f->compute);
    zo2_status s = a->pre_norm ? zo2_layer_norm(f, T, D, h, gamma, beta, n) : zo2_convert_rows(f, T, D, h, NULL, n);
    if (!s)
        s = zo2_linear(f, ZO2_ROLE_Q_W, ZO2_ROLE_Q_B, layer, T, n, qkv, 0, 0, 1.0f / sqrtf((float)a->head_dim),
                       ZO2_ACT_NONE);
    if (!s)
        s = zo2_linear(f, ZO2_ROLE_K_W, ZO2_ROLE_K_B, layer, T, n, qkv, D, 0, 1.0f, ZO2_ACT_NONE);
    if (!s)
        s = zo2_linear(f, ZO2_ROLE_V_W, ZO2_ROLE_V_B, layer, T, n, qkv, 2 * D, 0, 1.0f, ZO2_ACT_NONE);
    if (!s)
        s = zo2_attention(f, mb, qkv, n);
    if (!s)
        s = zo2_linear(f, ZO2_ROLE_O_W, ZO2_ROLE_O_B, layer, T, n, h, 0, 1, 1.0f, ZO2_ACT_NONE);
    if (!s && !a->pre_norm)
        s = zo2_layer_norm(f, T, D, h, gamma, beta, h);
    return s;
}

static zo2_status ffn_half(zo2_forward_pass *f, const zo2_micro *mb, uint32_t layer, zo2_act h)
{
    const zo2_arch *a = f->arch;
    const uint64_t T = mb->tokens, D = a->hidden;
    const float *gamma = zo2_vector(f, ZO2_ROLE_FFN_NORM_W, layer), *beta = zo2_vector(f, ZO2_ROLE_FFN_NORM_B, layer);
    zo2_act n = zo2_activation_at(f, f->device->norm, T, D, f->compute);
    zo2_act wide = zo2_activation_at(f, f->device->wide, T, a->ffn, f->compute);
    zo2_status s = a->pre_norm ? zo2_layer_norm(f, T, D, h, gamma, beta, n) : zo2_convert_rows(f, T, D, h, NULL, n);
    if (!s)
        s = zo2_linear(f, ZO2_ROLE_FC1_W, ZO2_ROLE_FC1_B, layer, T, n, wide, 0, 0, 1.0f, a->act);
    if (!s)
        s = zo2_linear(f, ZO2_ROLE_FC2_W, ZO2_ROLE_FC2_B, layer, T, wide, h, 0, 1, 1.0f, ZO2_ACT_NONE);
    if (!s && !a->pre_norm)
        s = zo2_layer_norm(f, T, D, h, gamma, beta, h);
    return s;
}

static zo2_status layer_of(zo2_forward_pass *f, const zo2_micro *mb, uint32_t layer)
{
    zo2_act h;
    zo2_status s = zo2_residual_take(f, mb, &h);
    if (!s)
        s = attention_half(f, mb, layer, h);
    if (!s)
        s = ffn_half(f, mb, layer, h);
    return s ? s : zo2_residual_give(f);
}

/* ---- head ---- */

/* The rows that carry loss, normalised: into rows [loss_at, ...) of `hidden`. */
static zo2_status final_rows(zo2_forward_pass *f, const zo2_micro *mb, zo2_act hidden)
{
    const zo2_arch *a = f->arch;
    const uint32_t *index = (const uint32_t *)(const void *)(f->arena + f->device->index) + mb->loss_at;
    const float *gamma = zo2_vector(f, ZO2_ROLE_FINAL_NORM_W, 0), *beta = zo2_vector(f, ZO2_ROLE_FINAL_NORM_B, 0);
    zo2_act h, rows = zo2_activation_at(f, f->device->gathered, mb->losses, a->hidden, ZO2_F32);
    zo2_status s = zo2_residual_take(f, mb, &h);
    if (!s)
        s = zo2_convert_rows(f, mb->losses, a->hidden, h, index, rows);
    hidden.p += mb->loss_at * a->hidden * zo2_element_bytes(f, f->compute);
    if (!s)
        s = a->final_norm ? zo2_layer_norm(f, mb->losses, a->hidden, rows, gamma, beta, hidden)
                          : zo2_convert_rows(f, mb->losses, a->hidden, rows, NULL, hidden);
    return s ? s : zo2_residual_give(f);
}

static zo2_status head(zo2_forward_pass *f)
{
    const zo2_arch *a = f->arch;
    const zo2_device_layout *d = f->device;
    const uint64_t L = f->batch->losses, D = a->hidden;
    const zo2_micro *from = &f->batch->micro[f->micro_from], *end = &f->batch->micro[f->micro_to - 1];
    const uint64_t first = from->loss_at, rows = end->loss_at + end->losses - first;
    zo2_act hidden = zo2_activation_at(f, d->hidden, L, D, f->compute);
    zo2_status s = ZO2_OK;
    for (uint32_t i = f->micro_from; i < f->micro_to && !s; i++)
        s = final_rows(f, &f->batch->micro[i], hidden);
    hidden.p += first * D * zo2_element_bytes(f, f->compute);
    uint32_t out = zo2_arch_find(a, ZO2_ROLE_PROJECT_OUT, 0);
    zo2_act x = hidden;
    if (!s && out != ZO2_NO_TENSOR) {
        x = zo2_activation_at(f, d->projected, L, a->embed_dim, f->compute);
        x.p += first * a->embed_dim * zo2_element_bytes(f, f->compute);
        s = zo2_matmul(f, out, rows, hidden, x, 0, zo2_head_hold(f));
    }
    x.p -= first * x.ld * zo2_element_bytes(f, f->compute); /* zo2_head() counts loss tokens from the batch's first */
    if (!s)
        s = zo2_head(f, zo2_arch_find(a, a->tied ? ZO2_ROLE_EMBED_TOKENS : ZO2_ROLE_LM_HEAD, 0), x);
    return s;
}

static void enter_block(const zo2_forward_pass *f, uint32_t block)
{
    if (f->be->ops->block)
        f->be->ops->block(f->be, block, f->arch->n_blocks);
}

zo2_status zo2_opt_forward(zo2_forward_pass *f)
{
    const zo2_arch *a = f->arch;
    const zo2_micro *mb = f->batch->micro;
    zo2_status s = ZO2_OK;
    f->turn = 0;
    f->turns = (a->layers + 2ull) * (f->micro_to - f->micro_from);
    enter_block(f, 0);
    for (uint32_t i = f->micro_from; i < f->micro_to && !s; i++)
        s = embed(f, &mb[i]);
    if (!s)
        s = zo2_block_done(f, 0);
    zo2_pipeline_open_gate(f->pipe); /* after an error too: nobody must wait for it */
    for (uint32_t layer = 0; layer < a->layers && !s; layer++) {
        enter_block(f, layer + 1);
        s = zo2_load_vectors(f, layer + 1);
        for (uint32_t i = f->micro_from; i < f->micro_to && !s; i++)
            s = layer_of(f, &mb[i], layer);
        if (!s)
            s = zo2_block_done(f, layer + 1);
    }
    enter_block(f, a->n_blocks - 1);
    if (!s)
        s = zo2_load_vectors(f, a->n_blocks - 1);
    return s ? s : head(f);
}
