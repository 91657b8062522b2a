/* gguf_config_write.c: GGUF's metadata of a model from its config.json, with the keys that llama.cpp's converter writes. */
#include "storage/checkpoint/gguf_rope.h"
#include "storage/checkpoint/gguf_write.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* Mistral's files have LLaMA's architecture, which is the same arithmetic. */
static const char *architecture_of(const char *model_type)
{
    static const char *const names[][2] = {
        {"llama", "llama"}, {"mistral", "llama"}, {"qwen2", "qwen2"}, {"qwen3", "qwen3"}};
    for (size_t i = 0; model_type && i < sizeof names / sizeof *names; i++)
        if (strcmp(names[i][0], model_type) == 0)
            return names[i][1];
    return NULL;
}

/* KEY of the architecture. */
typedef struct keys {
    zo2_gguf_keys *k;
    const char *architecture;
    char key[96];
} keys;

static const char *key(keys *k, const char *name)
{
    snprintf(k->key, sizeof k->key, "%s.%s", k->architecture, name);
    return k->key;
}

static uint32_t size_of(const json_t *config, const char *name)
{
    const json_int_t n = json_integer_value(json_object_get(config, name));
    return n > 0 && n <= UINT32_MAX ? (uint32_t)n : 0;
}

static double number_of(const json_t *object, const char *name, double fallback)
{
    const json_t *v = json_object_get(object, name);
    return json_is_number(v) ? json_number_value(v) : fallback;
}

/* Tokens that attention may look back on: llama.cpp's files of these models know no windows, so the context ends where one would be
 * felt. */
static uint32_t context_of(const json_t *config)
{
    const uint32_t all = size_of(config, "max_position_embeddings"), window = size_of(config, "sliding_window");
    const json_t *on = json_object_get(config, "use_sliding_window");
    return window && window < all && !json_is_false(on) ? window : all;
}

static zo2_status put_yarn(keys *k, const json_t *scaling, double factor, const char *what)
{
    const double fast = number_of(scaling, "beta_fast", 32), slow = number_of(scaling, "beta_slow", 1);
    const double usual = 0.1 * log(factor) + 1, attention = number_of(scaling, "attention_factor", usual);
    if (fabs(attention - usual) > 1e-6 * usual || json_is_false(json_object_get(scaling, "truncate")))
        return zo2_error(
            ZO2_ERR_UNSUPPORTED,
            "%s: llama.cpp has YaRN with the usual attention factor and whole borders only (\"attention_factor\", "
            "\"truncate\" of \"rope_scaling\")",
            what);
    zo2_gguf_put_u32(k->k, key(k, "rope.scaling.original_context_length"),
                     size_of(scaling, "original_max_position_embeddings"));
    if (fast != 32)
        zo2_gguf_put_f32(k->k, key(k, "rope.scaling.yarn_beta_fast"), (float)fast);
    if (slow != 1)
        zo2_gguf_put_f32(k->k, key(k, "rope.scaling.yarn_beta_slow"), (float)slow);
    return ZO2_OK;
}

/* llama3's is a tensor: zo2_gguf_rope_table(). */
static zo2_status put_scaling(keys *k, const json_t *config, const char *what)
{
    const json_t *scaling = json_object_get(config, "rope_scaling");
    const char *type = json_string_value(json_object_get(scaling, "rope_type"));
    const double factor = number_of(scaling, "factor", 1);
    if (!type || strcmp(type, "default") == 0 || strcmp(type, "llama3") == 0)
        return ZO2_OK;
    if (strcmp(type, "linear") != 0 && strcmp(type, "yarn") != 0)
        return zo2_error(ZO2_ERR_UNSUPPORTED,
                         "%s: positions that are scaled by %s aren't written as GGUF by this version", what, type);
    zo2_gguf_put_text(k->k, key(k, "rope.scaling.type"), type);
    zo2_gguf_put_f32(k->k, key(k, "rope.scaling.factor"), (float)factor);
    return strcmp(type, "yarn") == 0 ? put_yarn(k, scaling, factor, what) : ZO2_OK;
}

zo2_status zo2_gguf_put_config(zo2_gguf_keys *k, const json_t *config, const char *what)
{
    const char *type = json_string_value(json_object_get(config, "model_type"));
    keys own = {.k = k, .architecture = architecture_of(type)};
    if (!own.architecture)
        return zo2_error(
            ZO2_ERR_UNSUPPORTED,
            "%s: llama.cpp has no architecture for %s models, so there is no GGUF of them: export a directory instead",
            what, type ? type : "such");
    if (strcmp(own.architecture, "qwen3") == 0 && json_is_true(json_object_get(config, "attention_bias")))
        return zo2_error(ZO2_ERR_UNSUPPORTED,
                         "%s: llama.cpp's qwen3 has no bias behind attention, so it loads no GGUF of this model "
                         "(\"attention_bias\"): export a directory instead",
                         what);
    const uint32_t head_dim = size_of(config, "head_dim");
    zo2_gguf_put_text(k, "general.architecture", own.architecture);
    zo2_gguf_put_text(k, "general.type", "model");
    zo2_gguf_put_u32(k, key(&own, "block_count"), size_of(config, "num_hidden_layers"));
    zo2_gguf_put_u32(k, key(&own, "context_length"), context_of(config));
    zo2_gguf_put_u32(k, key(&own, "embedding_length"), size_of(config, "hidden_size"));
    zo2_gguf_put_u32(k, key(&own, "feed_forward_length"), size_of(config, "intermediate_size"));
    zo2_gguf_put_u32(k, key(&own, "attention.head_count"), size_of(config, "num_attention_heads"));
    zo2_gguf_put_u32(k, key(&own, "attention.head_count_kv"), size_of(config, "num_key_value_heads"));
    zo2_gguf_put_u32(k, key(&own, "attention.key_length"), head_dim);
    zo2_gguf_put_u32(k, key(&own, "attention.value_length"), head_dim);
    zo2_gguf_put_u32(k, key(&own, "rope.dimension_count"), head_dim);
    zo2_gguf_put_u32(k, key(&own, "vocab_size"), size_of(config, "vocab_size"));
    zo2_gguf_put_f32(k, key(&own, "rope.freq_base"), (float)number_of(config, "rope_theta", 10000));
    zo2_gguf_put_f32(k, key(&own, "attention.layer_norm_rms_epsilon"), (float)number_of(config, "rms_norm_eps", 1e-6));
    return put_scaling(&own, config, what);
}

int zo2_gguf_rope_table(const json_t *config, float *factors, uint32_t pairs)
{
    const json_t *scaling = json_object_get(config, "rope_scaling");
    const char *type = json_string_value(json_object_get(scaling, "rope_type"));
    const zo2_gguf_rope r = {.theta = number_of(config, "rope_theta", 10000),
                             .factor = number_of(scaling, "factor", 1),
                             .low = number_of(scaling, "low_freq_factor", 1),
                             .high = number_of(scaling, "high_freq_factor", 4),
                             .original = size_of(scaling, "original_max_position_embeddings")};
    if (!type || strcmp(type, "llama3") != 0)
        return 0;
    for (uint32_t i = 0; i < pairs; i++)
        factors[i] = (float)zo2_gguf_rope_factor(&r, i, pairs);
    return 1;
}
