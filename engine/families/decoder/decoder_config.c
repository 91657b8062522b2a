/* decoder_config.c: config.json of the LLaMA-like families, read and written. Keys and defaults are those of Hugging Face's
 * LlamaConfig, Qwen2Config, Qwen3Config and MistralConfig: what tells these apart is a zo2_decoder_class. */
#include "engine/families/config_json.h"
#include "engine/families/decoder/decoder.h"
#include "engine/families/limits.h"
#include "engine/model/arch.h"
#include "engine/model/family.h"
#include "kernels/operations.h"

#include <inttypes.h>
#include <jansson.h>
#include <string.h>

/* What follows from the other sizes. */
static void derive(zo2_arch *a)
{
    const uint32_t qkv = (uint32_t)(zo2_attention_columns(a) + 2 * zo2_kv_columns(a));
    a->embed_dim = a->hidden;
    a->wide = qkv > 2 * a->ffn ? qkv : 2 * a->ffn;
    a->context = a->window && a->window < a->positions ? a->window : a->positions;
    a->pre_norm = a->final_norm = a->affine = 1;
    a->act = ZO2_ACT_SILU;
}

/* ---- switches ---- */

static zo2_status check_activation(const json_t *config, const char *path)
{
    char text[48];
    const json_t *v = zo2_config_get(config, "hidden_act");
    const char *name = v ? json_string_value(v) : "silu";
    if (name && (strcmp(name, "silu") == 0 || strcmp(name, "swish") == 0))
        return ZO2_OK;
    return zo2_error(ZO2_ERR_UNSUPPORTED, "%s: unsupported \"hidden_act\" %s: this version knows \"silu\"", path,
                     zo2_config_describe(v, text, sizeof text));
}

static zo2_status read_biases(const zo2_decoder_class *class, zo2_arch *a, const json_t *config, const char *path)
{
    zo2_status s = ZO2_OK;
    a->qkv_bias = class->attention_bias == ZO2_BIAS_QKV;
    if (class->attention_bias == ZO2_BIAS_KEY) {
        s = zo2_config_get_bool(config, "attention_bias", 0, path, &a->qkv_bias);
        a->out_bias = a->qkv_bias;
    }
    if (!s && class->mlp_bias)
        s = zo2_config_get_bool(config, "mlp_bias", 0, path, &a->ffn_bias);
    return s;
}

static zo2_status read_heads(const zo2_decoder_class *class, zo2_arch *a, const json_t *config, const char *path)
{
    const int divides = a->hidden % a->heads == 0;
    zo2_status s = zo2_config_get_size(config, "num_key_value_heads", class->kv_heads ? class->kv_heads : a->heads,
                                       ZO2_MAX_HIDDEN, path, &a->kv_heads);
    if (!s && zo2_config_get(config, "num_key_value_heads") == NULL && json_object_get(config, "num_key_value_heads"))
        a->kv_heads = a->heads; /* null: not the default */
    if (!s)
        s = zo2_config_get_size(config, "head_dim", class->head_dim ? class->head_dim : a->hidden / a->heads,
                                ZO2_MAX_HIDDEN, path, &a->head_dim);
    if (s)
        return s;
    const int given = class->head_dim || zo2_config_get(config, "head_dim");
    if (!divides && (class->whole_heads || !given))
        return zo2_error(ZO2_ERR_FORMAT,
                         "%s: \"num_attention_heads\" is %" PRIu32 ", which doesn't divide \"hidden_size\", %" PRIu32,
                         path, a->heads, a->hidden);
    if (a->heads % a->kv_heads != 0)
        return zo2_error(ZO2_ERR_FORMAT,
                         "%s: \"num_key_value_heads\" is %" PRIu32
                         ", which doesn't divide \"num_attention_heads\", %" PRIu32,
                         path, a->kv_heads, a->heads);
    if (a->head_dim % 2 != 0 || a->head_dim == 0)
        return zo2_error(ZO2_ERR_FORMAT,
                         "%s: heads have %" PRIu32
                         " elements; rotary positions turn pairs, so an even number is needed",
                         path, a->head_dim);
    if (zo2_attention_columns(a) > ZO2_MAX_FFN)
        return zo2_error(ZO2_ERR_FORMAT, "%s: %" PRIu32 " heads of %" PRIu32 " elements are absurd: at most %u in all",
                         path, a->heads, a->head_dim, ZO2_MAX_FFN);
    return ZO2_OK;
}

/* ---- windows of attention ---- */

/* The first layer with a window: those that "layer_types" calls so, or all from "max_window_layers" on. */
static zo2_status first_windowed(zo2_arch *a, const json_t *config, const char *path, uint32_t *first)
{
    char text[48];
    const json_t *types = zo2_config_get(config, "layer_types");
    *first = a->layers;
    if (!types)
        return ZO2_OK;
    if (!json_is_array(types) || json_array_size(types) != a->layers)
        return zo2_error(ZO2_ERR_FORMAT, "%s: \"layer_types\" is %s; a list with a string for each layer is needed",
                         path, zo2_config_describe(types, text, sizeof text));
    for (uint32_t i = 0; i < a->layers; i++) {
        const json_t *v = json_array_get(types, i);
        const char *type = json_string_value(v);
        int sliding = type && strcmp(type, "sliding_attention") == 0;
        if (!sliding && !(type && strcmp(type, "full_attention") == 0))
            return zo2_error(ZO2_ERR_UNSUPPORTED,
                             "%s: \"layer_types\" has %s: this version knows \"full_attention\", and "
                             "\"sliding_attention\" within its window",
                             path, zo2_config_describe(v, text, sizeof text));
        if (sliding && *first == a->layers)
            *first = i;
    }
    return ZO2_OK;
}

static zo2_status read_switched_window(zo2_arch *a, const json_t *config, const char *path)
{
    int on;
    uint32_t from, window = 0;
    zo2_status s = zo2_config_get_bool(config, "use_sliding_window", 0, path, &on);
    if (!s)
        s = first_windowed(a, config, path, &a->windowed_from);
    if (s)
        return s;
    const json_t *v = json_object_get(config, "sliding_window");
    if (on && !json_is_null(v))
        s = zo2_config_get_size(config, "sliding_window", 4096, INT32_MAX, path, &window);
    if (!s && !window && a->windowed_from < a->layers)
        return zo2_error(ZO2_ERR_FORMAT,
                         "%s: \"layer_types\" has \"sliding_attention\", but \"sliding_window\" is not in use", path);
    if (s || !window)
        return s;
    if (!zo2_config_get(config, "layer_types")) {
        v = zo2_config_get(config, "max_window_layers");
        from = 28;
        if (v && json_is_integer(v) && json_integer_value(v) == 0) /* all layers */
            from = 0;
        else if ((s = zo2_config_get_size(config, "max_window_layers", 28, INT32_MAX, path, &from)))
            return s;
        a->windowed_from = from < a->layers ? from : a->layers;
    }
    a->window = a->windowed_from < a->layers ? window : 0;
    return ZO2_OK;
}

static zo2_status read_window(const zo2_decoder_class *class, zo2_arch *a, const json_t *config, const char *path)
{
    zo2_status s;
    a->windowed_from = a->layers;
    switch (class->window) {
    case ZO2_WINDOW_NONE: return ZO2_OK;
    case ZO2_WINDOW_SWITCHED: return read_switched_window(a, config, path);
    case ZO2_WINDOW_ALL: break;
    }
    if (json_is_null(json_object_get(config, "sliding_window")))
        return ZO2_OK;
    s = zo2_config_get_size(config, "sliding_window", 4096, INT32_MAX, path, &a->window);
    a->windowed_from = 0;
    return s;
}

/* ---- reading and writing ---- */

zo2_status zo2_decoder_read_config(zo2_arch *a, const json_t *config, const char *path)
{
    const zo2_decoder_class *class = a->family->own;
    zo2_status s;
    double eps;
    int eos_beyond;
    if ((s = zo2_config_get_size(config, "vocab_size", class->vocab, ZO2_MAX_VOCAB, path, &a->vocab)) ||
        (s = zo2_config_get_size(config, "hidden_size", class->hidden, ZO2_MAX_HIDDEN, path, &a->hidden)) ||
        (s = zo2_config_get_size(config, "intermediate_size", class->ffn, ZO2_MAX_FFN, path, &a->ffn)) ||
        (s = zo2_config_get_size(config, "num_hidden_layers", class->layers, ZO2_MAX_LAYERS, path, &a->layers)) ||
        (s = zo2_config_get_size(config, "num_attention_heads", class->heads, ZO2_MAX_HIDDEN, path, &a->heads)) ||
        (s = zo2_config_get_size(config, "max_position_embeddings", class->context, ZO2_MAX_CONTEXT, path,
                                 &a->positions)) ||
        (s = read_heads(class, a, config, path)) || (s = check_activation(config, path)) ||
        (s = read_biases(class, a, config, path)) || (s = zo2_decoder_read_rope(a, config, path)) ||
        (s = read_window(class, a, config, path)) ||
        (s = zo2_config_get_positive(config, "rms_norm_eps", 1e-6, 1, path, &eps)) ||
        (s = zo2_config_get_bool(config, "tie_word_embeddings", 0, path, &a->tied)) ||
        (s = zo2_config_get_token(config, "bos_token_id", class->bos, a->vocab, path, &a->bos, &a->bos_beyond)) ||
        (s = zo2_config_get_token(config, "eos_token_id", class->eos, a->vocab, path, &a->eos, &eos_beyond)) ||
        (s = zo2_config_get_token(config, "pad_token_id", -1, a->vocab, path, &a->pad, &a->pad_beyond)))
        return s;
    a->norm_eps = (float)eps;
    a->qk_norm = class->qk_norm;
    a->dtype = zo2_config_get_dtype(config);
    derive(a);
    return ZO2_OK;
}

/* Windows. Of "layer_types" only the first layer with one is kept: within a context as long as the window all patterns are one. */
static int write_window(const zo2_decoder_class *class, const zo2_arch *a, json_t *c)
{
    int bad = 0;
    if (class->window == ZO2_WINDOW_NONE)
        return 0;
    bad |= json_object_set_new(c, "sliding_window", a->window ? json_integer(a->window) : json_null());
    if (class->window == ZO2_WINDOW_SWITCHED) {
        bad |= json_object_set_new(c, "max_window_layers", json_integer(a->windowed_from));
        bad |= json_object_set_new(c, "use_sliding_window", json_boolean(a->window != 0));
    }
    return bad;
}

char *zo2_decoder_write_config(const zo2_arch *a, zo2_dtype dtype)
{
    const zo2_decoder_class *class = a->family->own;
    json_t *c = json_object();
    if (!c)
        return NULL;
    int bad = json_object_set_new(c, "architectures", json_pack("[s]", a->family->class_name));
    if (class->attention_bias == ZO2_BIAS_KEY)
        bad |= json_object_set_new(c, "attention_bias", json_boolean(a->qkv_bias));
    bad |= json_object_set_new(c, "bos_token_id", zo2_config_token_or_null(a->bos));
    bad |= json_object_set_new(c, "eos_token_id", zo2_config_token_or_null(a->eos));
    bad |= json_object_set_new(c, "head_dim", json_integer(a->head_dim));
    bad |= json_object_set_new(c, "hidden_act", json_string("silu"));
    bad |= json_object_set_new(c, "hidden_size", json_integer(a->hidden));
    bad |= json_object_set_new(c, "intermediate_size", json_integer(a->ffn));
    bad |= json_object_set_new(c, "max_position_embeddings", json_integer(a->positions));
    if (class->mlp_bias)
        bad |= json_object_set_new(c, "mlp_bias", json_boolean(a->ffn_bias));
    bad |= json_object_set_new(c, "model_type", json_string(a->family->model_type));
    bad |= json_object_set_new(c, "num_attention_heads", json_integer(a->heads));
    bad |= json_object_set_new(c, "num_hidden_layers", json_integer(a->layers));
    bad |= json_object_set_new(c, "num_key_value_heads", json_integer(a->kv_heads));
    bad |= json_object_set_new(c, "pad_token_id", zo2_config_token_or_null(a->pad));
    bad |= json_object_set_new(c, "rms_norm_eps", zo2_config_float(a->norm_eps));
    bad |= json_object_set_new(c, "rope_scaling", zo2_decoder_write_rope(&a->rope));
    bad |= json_object_set_new(c, "rope_theta", json_real(a->rope.theta));
    bad |= json_object_set_new(c, "tie_word_embeddings", json_boolean(a->tied));
    bad |= json_object_set_new(c, "torch_dtype", zo2_config_dtype_name(dtype));
    bad |= json_object_set_new(c, "vocab_size", json_integer(a->vocab));
    bad |= write_window(class, a, c);
    /* The keys sorted, as in a file that Hugging Face writes; 15 digits are a decimal number's own. */
    char *text = bad ? NULL : json_dumps(c, JSON_INDENT(2) | JSON_SORT_KEYS | JSON_REAL_PRECISION(15));
    json_decref(c);
    return text;
}

/* ---- published models ---- */

const char *zo2_decoder_published_name(const zo2_family *f, uint32_t i)
{
    const zo2_decoder_class *class = f->own;
    return class->published[i].name;
}

void zo2_decoder_from_published(zo2_arch *a, uint32_t i)
{
    const zo2_decoder_class *class = a->family->own;
    const zo2_decoder_published *p = &class->published[i];
    *a = (zo2_arch){
        .family = a->family,
        .layers = p->layers,
        .hidden = p->hidden,
        .heads = p->heads,
        .kv_heads = p->kv_heads,
        .head_dim = p->head_dim,
        .ffn = p->ffn,
        .vocab = p->vocab,
        .positions = p->context,
        .tied = p->tied,
        .norm_eps = p->norm_eps,
        .rope = p->rope,
        .qkv_bias = class->attention_bias == ZO2_BIAS_QKV,
        .qk_norm = class->qk_norm,
        .windowed_from = p->layers,
        .bos = p->bos,
        .eos = p->eos,
        .pad = -1,
        .dtype = ZO2_BF16,
    };
    derive(a);
}
