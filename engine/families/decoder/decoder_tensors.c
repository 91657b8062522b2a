/* decoder_tensors.c: the tensors of a LLaMA-like model in canonical order. A tensor's place in this list is its tensor_id, which
 * seeds its noise: the order of rows[] may never change. Golden test: tests/unit/engine/test_arch_decoder.c. */
#include "engine/families/decoder/decoder.h"
#include "engine/families/tensor_list.h"
#include "engine/model/arch.h"
#include "storage/checkpoint/gguf_names.h"

#include <string.h>

#define PREFIX "model."

zo2_status zo2_decoder_build_tensors(zo2_arch *a, const char *what)
{
    const uint64_t D = a->hidden, F = a->ffn, V = a->vocab, H = a->head_dim;
    const uint64_t Q = zo2_attention_columns(a), KV = zo2_kv_columns(a);
    const int qkv = a->qkv_bias, out = a->out_bias, ffn = a->ffn_bias, norms = a->qk_norm;
    // clang-format off
    const zo2_tensor_row rows[] = {
        {ZO2_ROLE_EMBED_TOKENS, ZO2_PART_EMBEDDINGS, "embed_tokens.weight", V, D, 1},
        {ZO2_ROLE_ATTN_NORM_W, ZO2_PART_LAYER, "input_layernorm.weight",          0,  D, 1},
        {ZO2_ROLE_Q_W,         ZO2_PART_LAYER, "self_attn.q_proj.weight",         Q,  D, 1},
        {ZO2_ROLE_Q_B,         ZO2_PART_LAYER, "self_attn.q_proj.bias",           0,  Q, qkv},
        {ZO2_ROLE_Q_NORM,      ZO2_PART_LAYER, "self_attn.q_norm.weight",         0,  H, norms},
        {ZO2_ROLE_K_W,         ZO2_PART_LAYER, "self_attn.k_proj.weight",         KV, D, 1},
        {ZO2_ROLE_K_B,         ZO2_PART_LAYER, "self_attn.k_proj.bias",           0, KV, qkv},
        {ZO2_ROLE_K_NORM,      ZO2_PART_LAYER, "self_attn.k_norm.weight",         0,  H, norms},
        {ZO2_ROLE_V_W,         ZO2_PART_LAYER, "self_attn.v_proj.weight",         KV, D, 1},
        {ZO2_ROLE_V_B,         ZO2_PART_LAYER, "self_attn.v_proj.bias",           0, KV, qkv},
        {ZO2_ROLE_O_W,         ZO2_PART_LAYER, "self_attn.o_proj.weight",         D,  Q, 1},
        {ZO2_ROLE_O_B,         ZO2_PART_LAYER, "self_attn.o_proj.bias",           0,  D, out},
        {ZO2_ROLE_FFN_NORM_W,  ZO2_PART_LAYER, "post_attention_layernorm.weight", 0,  D, 1},
        {ZO2_ROLE_GATE_W,      ZO2_PART_LAYER, "mlp.gate_proj.weight",            F,  D, 1},
        {ZO2_ROLE_GATE_B,      ZO2_PART_LAYER, "mlp.gate_proj.bias",              0,  F, ffn},
        {ZO2_ROLE_FC1_W,       ZO2_PART_LAYER, "mlp.up_proj.weight",              F,  D, 1},
        {ZO2_ROLE_FC1_B,       ZO2_PART_LAYER, "mlp.up_proj.bias",                0,  F, ffn},
        {ZO2_ROLE_FC2_W,       ZO2_PART_LAYER, "mlp.down_proj.weight",            D,  F, 1},
        {ZO2_ROLE_FC2_B,       ZO2_PART_LAYER, "mlp.down_proj.bias",              0,  D, ffn},
        {ZO2_ROLE_FINAL_NORM_W, ZO2_PART_HEAD, "norm.weight",    0, D, 1},
        {ZO2_ROLE_LM_HEAD,      ZO2_PART_HEAD, ZO2_DECODER_HEAD, V, D, !a->tied},
    };
    // clang-format on
    return zo2_tensor_list_build(a, what, PREFIX, rows, sizeof rows / sizeof *rows);
}

/* Frequencies that old checkpoints store, and factors of them in GGUF files: they follow from the configuration. */
int zo2_decoder_ignores(const char *name)
{
    static const char table[] = "rotary_emb.inv_freq";
    size_t n = strlen(name), m = sizeof table - 1;
    return (n >= m && strcmp(name + n - m, table) == 0) || strcmp(name, ZO2_GGUF_ROPE_FREQS) == 0;
}

/* Files of the model without its head have no prefix. */
const char *zo2_decoder_bare_name(const char *name)
{
    const size_t n = sizeof PREFIX - 1;
    if (strncmp(name, PREFIX, n) != 0)
        return name;
    return strcmp(name + n, ZO2_DECODER_HEAD) == 0 ? NULL : name + n; /* the head is outside */
}
