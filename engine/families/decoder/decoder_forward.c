/* decoder_forward.c: LLaMA, Qwen2, Qwen3 and Mistral as Hugging Face computes them (modeling_llama.py and those made from it),
 * over packed tokens and several perturbed streams at once.
 *
 * Details that are easy to get wrong: queries and keys are normalised before they are turned, each head by itself; element j of a
 * head is turned with element j + head_dim / 2, not with its neighbour; heads of keys serve consecutive heads of queries; the
 * columns of attention need not be hidden; q, k and v may have biases where o has none; gate_proj is what goes through the
 * activation.
 *
 * Shapes: S streams, T tokens of the micro-batch, D hidden, Q and KV columns of queries and of keys, F ffn. */
#include "engine/families/decoder/decoder.h"
#include "engine/forward/batch.h"
#include "engine/forward/forward.h"
#include "engine/forward/layer_ops.h"
#include "engine/model/arch.h"
#include "kernels/operations.h"

#include <math.h>

zo2_status zo2_decoder_embed(zo2_forward_pass *f, const zo2_micro *mb, zo2_act h)
{
    const uint32_t table = zo2_arch_find(f->arch, ZO2_ROLE_EMBED_TOKENS, 0);
    return zo2_gather_rows(f, table, f->batch->id + mb->token_at, 0, mb->tokens, h, 0);
}

/* ---- a layer ---- */

/* The heads of queries or keys: normalised, if the model does that, and turned. */
static zo2_status prepare_heads(zo2_forward_pass *f, const zo2_micro *mb, uint32_t layer, zo2_role norm, uint32_t heads,
                                zo2_act x, float scale)
{
    const zo2_arch *a = f->arch;
    zo2_status s = ZO2_OK;
    if (a->qk_norm)
        s = zo2_rms_norm(f, mb->tokens, a->head_dim, heads, x, zo2_vector(f, norm, layer), x);
    return s ? s : zo2_rotate(f, mb, heads, x, scale);
}

static zo2_status attention_half(zo2_forward_pass *f, const zo2_micro *mb, uint32_t layer, zo2_act h)
{
    const zo2_arch *a = f->arch;
    const uint64_t T = mb->tokens, D = a->hidden, Q = zo2_attention_columns(a), KV = zo2_kv_columns(a);
    const float scale = 1.0f / sqrtf((float)a->head_dim);
    zo2_act n = zo2_activation_at(f, f->device->norm, T, D, f->compute);
    zo2_act out = zo2_activation_at(f, f->device->norm, T, Q, f->compute); /* n was read when it is written */
    zo2_act qkv = zo2_activation_at(f, f->device->wide, T, Q + 2 * KV, f->compute);
    zo2_status s = zo2_rms_norm(f, T, D, 1, h, zo2_vector(f, ZO2_ROLE_ATTN_NORM_W, layer), n);
    if (!s)
        s = zo2_linear(f, ZO2_ROLE_Q_W, ZO2_ROLE_Q_B, layer, T, n, qkv, 0, 0, 1.0f, ZO2_ACT_NONE);
    if (!s)
        s = zo2_linear(f, ZO2_ROLE_K_W, ZO2_ROLE_K_B, layer, T, n, qkv, Q, 0, 1.0f, ZO2_ACT_NONE);
    if (!s)
        s = zo2_linear(f, ZO2_ROLE_V_W, ZO2_ROLE_V_B, layer, T, n, qkv, Q + KV, 0, 1.0f, ZO2_ACT_NONE);
    if (!s)
        s = prepare_heads(f, mb, layer, ZO2_ROLE_Q_NORM, a->heads, qkv, scale);
    if (!s)
        s = prepare_heads(f, mb, layer, ZO2_ROLE_K_NORM, a->kv_heads, zo2_columns_from(f, qkv, Q), 1.0f);
    if (!s)
        s = zo2_attention(f, mb, qkv, out);
    return s ? s : zo2_linear(f, ZO2_ROLE_O_W, ZO2_ROLE_O_B, layer, T, out, h, 0, 1, 1.0f, ZO2_ACT_NONE);
}

/* Gate and up side by side. */
static zo2_status ffn_half(zo2_forward_pass *f, const zo2_micro *mb, uint32_t layer, zo2_act h)
{
    const zo2_arch *a = f->arch;
    const uint64_t T = mb->tokens, D = a->hidden, F = a->ffn;
    zo2_act n = zo2_activation_at(f, f->device->norm, T, D, f->compute);
    zo2_act wide = zo2_activation_at(f, f->device->wide, T, 2 * F, f->compute);
    zo2_status s = zo2_rms_norm(f, T, D, 1, h, zo2_vector(f, ZO2_ROLE_FFN_NORM_W, layer), n);
    if (!s)
        s = zo2_linear(f, ZO2_ROLE_GATE_W, ZO2_ROLE_GATE_B, layer, T, n, wide, 0, 0, 1.0f, ZO2_ACT_NONE);
    if (!s)
        s = zo2_linear(f, ZO2_ROLE_FC1_W, ZO2_ROLE_FC1_B, layer, T, n, wide, F, 0, 1.0f, ZO2_ACT_NONE);
    if (!s)
        s = zo2_gate(f, T, F, wide, zo2_columns_from(f, wide, F), a->act);
    return s ? s : zo2_linear(f, ZO2_ROLE_FC2_W, ZO2_ROLE_FC2_B, layer, T, wide, h, 0, 1, 1.0f, ZO2_ACT_NONE);
}

zo2_status zo2_decoder_layer(zo2_forward_pass *f, const zo2_micro *mb, uint32_t layer, zo2_act h)
{
    zo2_status s = attention_half(f, mb, layer, h);
    return s ? s : ffn_half(f, mb, layer, h);
}

/* ---- behind the layers ---- */

zo2_status zo2_decoder_finish(zo2_forward_pass *f, uint64_t m, zo2_act x, zo2_act y)
{
    return zo2_rms_norm(f, m, f->arch->hidden, 1, x, zo2_vector(f, ZO2_ROLE_FINAL_NORM_W, 0), y);
}
