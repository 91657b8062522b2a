/* opt_forward.c: OPT as Hugging Face computes it (modeling_opt.py), over packed tokens and several perturbed streams at
 * once.
 *
 * Details that are easy to get wrong: positions begin at row 2 and count real tokens; q is scaled after its bias,
 * before the product; opt-350m has projections in and out, norms after each residual addition, and no final norm; each
 * layer's second norm is called final_layer_norm; positions are added after project_in; the head is tied to the
 * embedding.
 *
 * Shapes: S streams, T tokens of the micro-batch, D hidden, E embedding, F ffn. */
#include "engine/families/opt/opt.h"
#include "engine/forward/batch.h"
#include "engine/forward/forward.h"
#include "engine/forward/layer_ops.h"
#include "engine/model/arch.h"
#include "kernels/operations.h"

#include <math.h>

/* ---- embeddings ---- */

zo2_status zo2_opt_embed(zo2_forward_pass *f, const zo2_micro *mb, zo2_act h)
{
    const zo2_arch *a = f->arch;
    uint32_t table = zo2_arch_find(a, ZO2_ROLE_EMBED_TOKENS, 0), in = zo2_arch_find(a, ZO2_ROLE_PROJECT_IN, 0);
    zo2_act x = h;
    if (in != ZO2_NO_TENSOR)
        x = zo2_activation_at(f, f->device->embedded, mb->tokens, a->embed_dim, f->compute);
    zo2_status s = zo2_gather_rows(f, table, f->batch->id + mb->token_at, 0, mb->tokens, x, 0);
    if (!s && in != ZO2_NO_TENSOR)
        s = zo2_matmul(f, in, mb->tokens, x, h, 0, f->hold, NULL);
    if (!s)
        s = zo2_gather_rows(f, zo2_arch_find(a, ZO2_ROLE_EMBED_POSITIONS, 0), f->batch->position + mb->token_at,
                            ZO2_OPT_POSITION_OFFSET, mb->tokens, h, 1);
    return s;
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

zo2_status zo2_opt_layer(zo2_forward_pass *f, const zo2_micro *mb, uint32_t layer, zo2_act h)
{
    zo2_status s = attention_half(f, mb, layer, h);
    return s ? s : ffn_half(f, mb, layer, h);
}

/* ---- behind the layers ---- */

zo2_status zo2_opt_finish(zo2_forward_pass *f, uint64_t m, zo2_act x, zo2_act y)
{
    const zo2_arch *a = f->arch;
    const float *gamma = zo2_vector(f, ZO2_ROLE_FINAL_NORM_W, 0), *beta = zo2_vector(f, ZO2_ROLE_FINAL_NORM_B, 0);
    return a->final_norm ? zo2_layer_norm(f, m, a->hidden, x, gamma, beta, y)
                         : zo2_convert_rows(f, m, a->hidden, x, NULL, y);
}
