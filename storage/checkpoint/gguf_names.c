/* gguf_names.c: see gguf_names.h. */
#include "storage/checkpoint/gguf_names.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

enum { GGUF, HUGGINGFACE };

/* What is in front of ".weight" and ".bias". */
static const char *const outer[][2] = {
    {"token_embd", "model.embed_tokens"},
    {"output_norm", "model.norm"},
    {"output", "lm_head"},
};

/* The same within a layer. */
static const char *const inner[][2] = {
    {"attn_norm", "input_layernorm"},    {"attn_q", "self_attn.q_proj"},
    {"attn_q_norm", "self_attn.q_norm"}, {"attn_k", "self_attn.k_proj"},
    {"attn_k_norm", "self_attn.k_norm"}, {"attn_v", "self_attn.v_proj"},
    {"attn_output", "self_attn.o_proj"}, {"ffn_norm", "post_attention_layernorm"},
    {"ffn_gate", "mlp.gate_proj"},       {"ffn_up", "mlp.up_proj"},
    {"ffn_down", "mlp.down_proj"},
};

static const char *const layers[2] = {"blk.", "model.layers."};

static const char *find(const char *const table[][2], size_t rows, int from, const char *stem, size_t n)
{
    for (size_t i = 0; i < rows; i++)
        if (strlen(table[i][from]) == n && memcmp(table[i][from], stem, n) == 0)
            return table[i][!from];
    return NULL;
}

static const char *rename_tensor(int from, const char *name, char *text, size_t n)
{
    const char *ending = strrchr(name, '.'), *stem = name, *other, *digits = "";
    int length = 0;
    if (!ending || (strcmp(ending, ".weight") != 0 && strcmp(ending, ".bias") != 0))
        return NULL;
    if (strncmp(name, layers[from], strlen(layers[from])) == 0) {
        digits = name + strlen(layers[from]);
        while (isdigit((unsigned char)digits[length]))
            length++;
        if (length == 0 || digits[length] != '.' || digits + length >= ending)
            return NULL;
        stem = digits + length + 1;
        other = find(inner, sizeof inner / sizeof *inner, from, stem, (size_t)(ending - stem));
    } else {
        other = find(outer, sizeof outer / sizeof *outer, from, stem, (size_t)(ending - stem));
    }
    if (!other)
        return NULL;
    const int need = snprintf(text, n, "%s%.*s%s%s%s", length ? layers[!from] : "", length, digits, length ? "." : "",
                              other, ending);
    return need >= 0 && (size_t)need < n ? text : NULL;
}

const char *zo2_gguf_to_huggingface(const char *name, char *text, size_t n)
{
    return rename_tensor(GGUF, name, text, n);
}

const char *zo2_gguf_from_huggingface(const char *name, char *text, size_t n)
{
    return rename_tensor(HUGGINGFACE, name, text, n);
}
