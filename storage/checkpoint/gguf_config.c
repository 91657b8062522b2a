/* gguf_config.c: the config.json of a GGUF model. llama.cpp's keys begin with the architecture's name, those of files of Mistral with
 * "llama", which does the same arithmetic: they become LLaMA models. */
#include "storage/checkpoint/gguf_config.h"
#include "storage/checkpoint/gguf_meta.h"
#include "storage/checkpoint/gguf_names.h"
#include "storage/checkpoint/gguf_rope.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ARCHITECTURES "llama (Mistral's, too), qwen2 and qwen3"
#define MAX_PAIRS     4096u /* of a head's elements */

/* What is read, and what it is called elsewhere. */
static const struct architecture {
    const char *name, *class_name;
    int biases; /* LLaMA: q, k, v and o may have some; elsewhere it is settled */
} architectures[] = {
    {"llama", "LlamaForCausalLM", 1},
    {"qwen2", "Qwen2ForCausalLM", 0},
    {"qwen3", "Qwen3ForCausalLM", 0},
};

typedef struct job {
    const zo2_gguf *m;
    const zo2_gguf_header *h;
    const char *path;
    const struct architecture *is;
    json_t *out;
    int bad; /* out of memory */
} job;

static void set(job *j, const char *key, json_t *value)
{
    j->bad |= json_object_set_new(j->out, key, value);
}

/* The shortest decimal that is this float: metadata has fp32, of which 1e-05 would be 9.99999974738e-06. */
static json_t *real(double value)
{
    char text[32];
    for (int digits = 1; digits <= 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtof(text, NULL) == (float)value)
            break;
    }
    return json_real(strtod(text, NULL));
}

/* ---- keys ------------------------------------------------------------------------------------------------------------- */

/* ARCHITECTURE.NAME */
static const zo2_gguf_value *get(const job *j, const char *name)
{
    char key[128];
    snprintf(key, sizeof key, "%s.%s", j->is->name, name);
    return zo2_gguf_get(j->h, key);
}

/* A size; of an array, one for each layer, the one that all have. *there: the key is. */
static zo2_status get_size(const job *j, const char *name, uint64_t *out, int *there)
{
    const zo2_gguf_value *v = get(j, name);
    uint64_t other;
    *there = v != NULL;
    if (!v)
        return ZO2_OK;
    if (!zo2_gguf_uint(v, 0, out) || *out > INT32_MAX)
        return zo2_error(ZO2_ERR_FORMAT, "%s: %s.%s isn't a size", j->path, j->is->name, name);
    for (uint64_t i = 1; i < v->n; i++)
        if (!zo2_gguf_uint(v, i, &other) || other != *out)
            return zo2_error(ZO2_ERR_UNSUPPORTED,
                             "%s: %s.%s isn't the same in all layers, which this version can't have", j->path,
                             j->is->name, name);
    return ZO2_OK;
}

static zo2_status need_size(const job *j, const char *name, uint64_t *out)
{
    int there;
    zo2_status s = get_size(j, name, out, &there);
    return s || there ? s : zo2_error(ZO2_ERR_FORMAT, "%s: the key %s.%s is missing", j->path, j->is->name, name);
}

static zo2_status get_number(const job *j, const char *name, double fallback, double *out)
{
    const zo2_gguf_value *v = get(j, name);
    *out = fallback;
    if (v && (!zo2_gguf_number(v, 0, out) || !isfinite(*out)))
        return zo2_error(ZO2_ERR_FORMAT, "%s: %s.%s isn't a number", j->path, j->is->name, name);
    return ZO2_OK;
}

/* ---- what isn't known -------------------------------------------------------------------------------------------------- */

static zo2_status find_architecture(job *j)
{
    char name[104];
    zo2_gguf_text text;
    const zo2_gguf_value *v = zo2_gguf_get(j->h, "general.architecture"), *type = zo2_gguf_get(j->h, "general.type");
    if (type && zo2_gguf_string(type, &text) && !zo2_gguf_is(text, "model"))
        return zo2_error(ZO2_ERR_UNSUPPORTED, "%s is no model but, says general.type, %s", j->path,
                         zo2_gguf_quote(name, text));
    if (!v || !zo2_gguf_string(v, &text))
        return zo2_error(ZO2_ERR_FORMAT, "%s: the key general.architecture is missing", j->path);
    for (size_t i = 0; i < sizeof architectures / sizeof *architectures; i++)
        if (zo2_gguf_is(text, architectures[i].name))
            j->is = &architectures[i];
    return j->is ? ZO2_OK
                 : zo2_error(ZO2_ERR_UNSUPPORTED, "%s: general.architecture is %s; this version knows " ARCHITECTURES,
                             j->path, zo2_gguf_quote(name, text));
}

/* Keys that change the arithmetic, unless they are 0. */
static zo2_status refuse_others(const job *j)
{
    static const char *const keys[] = {
        "expert_count",           "logit_scale",         "embedding_scale",          "residual_scale",
        "attention.scale",        "attention.clamp_kqv", "attention.max_alibi_bias", "attn_logit_softcapping",
        "final_logit_softcapping"};
    const zo2_gguf_value *causal = get(j, "attention.causal");
    double value;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        zo2_status s = get_number(j, keys[i], 0, &value);
        if (s)
            return s;
        if (value != 0)
            return zo2_error(ZO2_ERR_UNSUPPORTED, "%s: %s.%s is %g, which this version doesn't know", j->path,
                             j->is->name, keys[i], value);
    }
    if (causal && causal->type == ZO2_GGUF_BOOL && !*causal->at)
        return zo2_error(ZO2_ERR_UNSUPPORTED, "%s: %s.attention.causal is false: it is no language model", j->path,
                         j->is->name);
    return ZO2_OK;
}

/* ---- positions --------------------------------------------------------------------------------------------------------- */

/* llama3's scaling, from the table that stands for it. */
static zo2_status put_table(job *j, const zo2_gguf_tensor *t, double theta, uint64_t head_dim)
{
    float factors[MAX_PAIRS];
    zo2_gguf_rope r = {.theta = theta};
    if (t->rank != 1 || t->dtype != ZO2_F32 || t->elements != head_dim / 2 || t->elements > MAX_PAIRS)
        return zo2_error(ZO2_ERR_FORMAT, "%s: %s doesn't fit heads of %" PRIu64 " elements", j->path, t->name,
                         head_dim);
    zo2_status s = zo2_gguf_read(j->m, t, 0, t->elements, factors);
    if (s)
        return s;
    if (!zo2_gguf_rope_fit(&r, factors, (uint32_t)t->elements))
        return zo2_error(
            ZO2_ERR_UNSUPPORTED,
            "%s: %s has other factors than Llama 3's scaling of positions makes, and this version knows no other table",
            j->path, t->name);
    set(j, "rope_scaling",
        json_pack("{s:s, s:o, s:o, s:o, s:I}", "rope_type", "llama3", "factor", real(r.factor), "low_freq_factor",
                  real(r.low), "high_freq_factor", real(r.high), "original_max_position_embeddings",
                  (json_int_t)r.original));
    return ZO2_OK;
}

static zo2_status put_yarn(job *j, double factor)
{
    double ext, attn, fast, slow;
    uint64_t original;
    zo2_status s;
    if ((s = need_size(j, "rope.scaling.original_context_length", &original)) ||
        (s = get_number(j, "rope.scaling.yarn_ext_factor", 1, &ext)) ||
        (s = get_number(j, "rope.scaling.yarn_attn_factor", 1, &attn)) ||
        (s = get_number(j, "rope.scaling.attn_factor", attn, &attn)) ||
        (s = get_number(j, "rope.scaling.yarn_beta_fast", 32, &fast)) ||
        (s = get_number(j, "rope.scaling.yarn_beta_slow", 1, &slow)))
        return s;
    if (ext != 1 || attn != 1)
        return zo2_error(ZO2_ERR_UNSUPPORTED,
                         "%s: YaRN with an ext_factor or attn_factor of its own isn't known to this version", j->path);
    set(j, "rope_scaling",
        json_pack("{s:s, s:o, s:o, s:o, s:I}", "rope_type", "yarn", "factor", real(factor), "beta_fast", real(fast),
                  "beta_slow", real(slow), "original_max_position_embeddings", (json_int_t)original));
    return ZO2_OK;
}

static zo2_status put_scaling(job *j, double theta, uint64_t head_dim)
{
    char name[104];
    const zo2_gguf_value *v = get(j, "rope.scaling.type");
    const zo2_gguf_tensor *table = zo2_gguf_find(j->m, ZO2_GGUF_ROPE_FREQS);
    zo2_gguf_text type = {"none", 4};
    double factor, old;
    zo2_status s;
    if (v && !zo2_gguf_string(v, &type))
        return zo2_error(ZO2_ERR_FORMAT, "%s: %s.rope.scaling.type isn't a string", j->path, j->is->name);
    if ((s = get_number(j, "rope.scaling.factor", 0, &factor)) || (s = get_number(j, "rope.scale_linear", 0, &old)))
        return s;
    if (!v && old > 0) {
        type = (zo2_gguf_text){"linear", 6};
        factor = old;
    }
    const int none = zo2_gguf_is(type, "none") || (zo2_gguf_is(type, "linear") && (factor == 0 || factor == 1));
    if (table && none)
        return put_table(j, table, theta, head_dim);
    if (table)
        return zo2_error(ZO2_ERR_UNSUPPORTED,
                         "%s has %s and another scaling of positions (%s): this version knows one at a time", j->path,
                         table->name, zo2_gguf_quote(name, type));
    if (none)
        return ZO2_OK;
    if (!zo2_gguf_is(type, "linear") && !zo2_gguf_is(type, "yarn"))
        return zo2_error(ZO2_ERR_UNSUPPORTED,
                         "%s: positions are scaled by %s; this version knows linear, yarn and llama3's table", j->path,
                         zo2_gguf_quote(name, type));
    if (factor < 1)
        return zo2_error(ZO2_ERR_FORMAT, "%s: %s.rope.scaling.factor isn't 1 or more", j->path, j->is->name);
    if (zo2_gguf_is(type, "yarn"))
        return put_yarn(j, factor);
    set(j, "rope_scaling", json_pack("{s:s, s:o}", "rope_type", "linear", "factor", real(factor)));
    return ZO2_OK;
}

/* ---- sizes ------------------------------------------------------------------------------------------------------------- */

static zo2_status put_heads(job *j, uint64_t hidden, uint64_t *head_dim)
{
    uint64_t heads, kv, values, turned;
    int there;
    zo2_status s;
    if ((s = need_size(j, "attention.head_count", &heads)))
        return s;
    if (heads == 0)
        return zo2_error(ZO2_ERR_FORMAT, "%s: %s.attention.head_count is 0", j->path, j->is->name);
    kv = heads;
    *head_dim = hidden / heads;
    if ((s = get_size(j, "attention.head_count_kv", &kv, &there)) ||
        (s = get_size(j, "attention.key_length", head_dim, &there)))
        return s;
    values = turned = *head_dim;
    if ((s = get_size(j, "attention.value_length", &values, &there)) ||
        (s = get_size(j, "rope.dimension_count", &turned, &there)))
        return s;
    if (values != *head_dim || turned != *head_dim)
        return zo2_error(ZO2_ERR_UNSUPPORTED,
                         "%s: heads have %" PRIu64 " elements, their values %" PRIu64 ", and positions turn %" PRIu64
                         ": this version knows models in which these are one number",
                         j->path, *head_dim, values, turned);
    set(j, "num_attention_heads", json_integer((json_int_t)heads));
    set(j, "num_key_value_heads", json_integer((json_int_t)kv));
    set(j, "head_dim", json_integer((json_int_t)*head_dim));
    return ZO2_OK;
}

static zo2_status put_sizes(job *j)
{
    uint64_t layers, context, hidden, ffn, window, head_dim;
    const zo2_gguf_tensor *embedding = zo2_gguf_find(j->m, "token_embd.weight");
    double theta, eps;
    int windowed;
    zo2_status s;
    if (!embedding || embedding->rank != 2)
        return zo2_error(ZO2_ERR_NOTFOUND,
                         "%s has no matrix token_embd.weight: it is no language model, or not all of it", j->path);
    if ((s = need_size(j, "block_count", &layers)) || (s = need_size(j, "context_length", &context)) ||
        (s = need_size(j, "embedding_length", &hidden)) || (s = need_size(j, "feed_forward_length", &ffn)) ||
        (s = get_size(j, "attention.sliding_window", &window, &windowed)) ||
        (s = get_number(j, "rope.freq_base", 10000, &theta)) ||
        (s = get_number(j, "attention.layer_norm_rms_epsilon", 1e-6, &eps)) || (s = put_heads(j, hidden, &head_dim)) ||
        (s = put_scaling(j, theta, head_dim)))
        return s;
    if (windowed && window > 0 && window < context) /* within it nothing is cut off */
        context = window;
    set(j, "vocab_size", json_integer((json_int_t)embedding->shape[0]));
    set(j, "hidden_size", json_integer((json_int_t)hidden));
    set(j, "intermediate_size", json_integer((json_int_t)ffn));
    set(j, "num_hidden_layers", json_integer((json_int_t)layers));
    set(j, "max_position_embeddings", json_integer((json_int_t)context));
    set(j, "rope_theta", real(theta));
    set(j, "rms_norm_eps", real(eps));
    return ZO2_OK;
}

static void put_token(job *j, const char *key, const char *from)
{
    const zo2_gguf_value *v = zo2_gguf_get(j->h, from);
    uint64_t id;
    set(j, key, v && zo2_gguf_uint(v, 0, &id) && id <= INT32_MAX ? json_integer((json_int_t)id) : json_null());
}

static void put_switches(job *j)
{
    static const char *const types[] = {NULL, "float32", "float16", "bfloat16"};
    if (j->is->biases) {
        set(j, "attention_bias", json_boolean(zo2_gguf_find(j->m, "blk.0.attn_q.bias") != NULL));
        set(j, "mlp_bias", json_boolean(zo2_gguf_find(j->m, "blk.0.ffn_gate.bias") != NULL));
    }
    set(j, "tie_word_embeddings", json_boolean(zo2_gguf_find(j->m, "output.weight") == NULL));
    set(j, "hidden_act", json_string("silu"));
    set(j, "torch_dtype", json_string(types[zo2_gguf_find(j->m, "token_embd.weight")->dtype]));
    put_token(j, "bos_token_id", "tokenizer.ggml.bos_token_id");
    put_token(j, "eos_token_id", "tokenizer.ggml.eos_token_id");
    put_token(j, "pad_token_id", "tokenizer.ggml.padding_token_id");
}

zo2_status zo2_gguf_config(const zo2_gguf *m, char **text, size_t *bytes)
{
    job j = {.m = m, .h = &m->files[0].header, .path = m->files[0].path, .out = json_object()};
    *text = NULL;
    zo2_status s =
        j.out ? find_architecture(&j) : zo2_error(ZO2_ERR_NOMEM, "out of memory for the configuration of %s", j.path);
    if (!s && !(s = refuse_others(&j)) && !(s = put_sizes(&j))) {
        set(&j, "model_type", json_string(j.is->name));
        set(&j, "architectures", json_pack("[s]", j.is->class_name));
        put_switches(&j);
        *text = j.bad ? NULL : json_dumps(j.out, JSON_INDENT(2) | JSON_SORT_KEYS | JSON_REAL_PRECISION(15));
        if (!*text)
            s = zo2_error(ZO2_ERR_NOMEM, "out of memory for the configuration of %s", j.path);
    }
    json_decref(j.out);
    *bytes = *text ? strlen(*text) : 0;
    return s;
}
