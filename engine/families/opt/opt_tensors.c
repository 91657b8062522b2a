/* opt_tensors.c: the tensors of an OPT model in canonical order. A tensor's place in this list is its tensor_id, which
 * seeds its noise: the order of rows[] may never change. Golden test: tests/unit/engine/test_arch_tensors.c.
 */
#include "engine/families/opt/opt.h"
#include "engine/families/tensor_list.h"
#include "engine/model/arch.h"

#include <string.h>

zo2_status zo2_opt_build_tensors(zo2_arch *a, const char *what)
{
    const uint64_t D = a->hidden, E = a->embed_dim, F = a->ffn, V = a->vocab;
    const uint64_t P = (uint64_t)a->context + ZO2_OPT_POSITION_OFFSET;
    /* enable_bias takes away the biases of linear layers only: norms keep theirs. */
    const int bias = a->bias, affine = a->affine, final_norm = a->final_norm && affine, narrow = E != D;
    // clang-format off
    const zo2_tensor_row rows[] = {
        {ZO2_ROLE_EMBED_TOKENS,    ZO2_PART_EMBEDDINGS, "embed_tokens.weight",    V, E, 1},
        {ZO2_ROLE_EMBED_POSITIONS, ZO2_PART_EMBEDDINGS, "embed_positions.weight", P, D, 1},
        {ZO2_ROLE_PROJECT_IN,      ZO2_PART_EMBEDDINGS, "project_in.weight",      D, E, narrow},
        {ZO2_ROLE_ATTN_NORM_W, ZO2_PART_LAYER, "self_attn_layer_norm.weight", 0, D, affine},
        {ZO2_ROLE_ATTN_NORM_B, ZO2_PART_LAYER, "self_attn_layer_norm.bias",   0, D, affine},
        {ZO2_ROLE_Q_W,         ZO2_PART_LAYER, "self_attn.q_proj.weight",     D, D, 1},
        {ZO2_ROLE_Q_B,         ZO2_PART_LAYER, "self_attn.q_proj.bias",       0, D, bias},
        {ZO2_ROLE_K_W,         ZO2_PART_LAYER, "self_attn.k_proj.weight",     D, D, 1},
        {ZO2_ROLE_K_B,         ZO2_PART_LAYER, "self_attn.k_proj.bias",       0, D, bias},
        {ZO2_ROLE_V_W,         ZO2_PART_LAYER, "self_attn.v_proj.weight",     D, D, 1},
        {ZO2_ROLE_V_B,         ZO2_PART_LAYER, "self_attn.v_proj.bias",       0, D, bias},
        {ZO2_ROLE_O_W,         ZO2_PART_LAYER, "self_attn.out_proj.weight",   D, D, 1},
        {ZO2_ROLE_O_B,         ZO2_PART_LAYER, "self_attn.out_proj.bias",     0, D, bias},
        {ZO2_ROLE_FFN_NORM_W,  ZO2_PART_LAYER, "final_layer_norm.weight",     0, D, affine},
        {ZO2_ROLE_FFN_NORM_B,  ZO2_PART_LAYER, "final_layer_norm.bias",       0, D, affine},
        {ZO2_ROLE_FC1_W,       ZO2_PART_LAYER, "fc1.weight",                  F, D, 1},
        {ZO2_ROLE_FC1_B,       ZO2_PART_LAYER, "fc1.bias",                    0, F, bias},
        {ZO2_ROLE_FC2_W,       ZO2_PART_LAYER, "fc2.weight",                  D, F, 1},
        {ZO2_ROLE_FC2_B,       ZO2_PART_LAYER, "fc2.bias",                    0, D, bias},
        {ZO2_ROLE_FINAL_NORM_W, ZO2_PART_HEAD, "final_layer_norm.weight",     0, D, final_norm},
        {ZO2_ROLE_FINAL_NORM_B, ZO2_PART_HEAD, "final_layer_norm.bias",       0, D, final_norm},
        {ZO2_ROLE_PROJECT_OUT,  ZO2_PART_HEAD, "project_out.weight",          E, D, narrow},
        {ZO2_ROLE_LM_HEAD,      ZO2_PART_HEAD, ZO2_OPT_HEAD,                  V, E, !a->tied},
    };
    // clang-format on
    return zo2_tensor_list_build(a, what, "model.decoder.", rows, sizeof rows / sizeof *rows);
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
