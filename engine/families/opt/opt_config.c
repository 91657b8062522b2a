/* opt_config.c: config.json of the OPT family, read and written. Keys and defaults are those of Hugging Face's
 * OPTConfig: a key that is missing or null has its default there too, so published files that leave keys out mean the
 * same here. */
#include "engine/families/config_json.h"
#include "engine/families/limits.h"
#include "engine/families/opt/opt.h"
#include "engine/model/arch.h"
#include "engine/model/family.h"
#include "kernels/operations.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What follows from the other sizes. */
static void derive(zo2_arch *a)
{
    a->kv_heads = a->heads;
    a->head_dim = a->hidden / a->heads;
    a->wide = 3 * a->hidden > a->ffn ? 3 * a->hidden : a->ffn;
}

static zo2_status get_activation(const json_t *config, const char *path, zo2_activation *out)
{
    char text[48];
    const json_t *v = zo2_config_get(config, "activation_function");
    const char *name = v ? json_string_value(v) : "relu";
    if (name && strcmp(name, "relu") == 0)
        *out = ZO2_ACT_RELU;
    else if (name && strcmp(name, "gelu") == 0)
        *out = ZO2_ACT_GELU;
    else
        return zo2_error(ZO2_ERR_UNSUPPORTED,
                         "%s: unsupported \"activation_function\" %s: this version knows \"relu\" and \"gelu\"", path,
                         zo2_config_describe(v, text, sizeof text));
    return ZO2_OK;
}

zo2_status zo2_opt_read_config(zo2_arch *a, const json_t *config, const char *path)
{
    zo2_status s;
    int remove_final_norm, eos_beyond;
    if ((s = zo2_config_get_size(config, "vocab_size", 50272, ZO2_MAX_VOCAB, path, &a->vocab)) ||
        (s = zo2_config_get_size(config, "hidden_size", 768, ZO2_MAX_HIDDEN, path, &a->hidden)) ||
        (s = zo2_config_get_size(config, "num_hidden_layers", 12, ZO2_MAX_LAYERS, path, &a->layers)) ||
        (s = zo2_config_get_size(config, "num_attention_heads", 12, ZO2_MAX_HIDDEN, path, &a->heads)) ||
        (s = zo2_config_get_size(config, "ffn_dim", 3072, ZO2_MAX_FFN, path, &a->ffn)) ||
        (s = zo2_config_get_size(config, "max_position_embeddings", 2048, ZO2_MAX_CONTEXT, path, &a->context)) ||
        (s = zo2_config_get_size(config, "word_embed_proj_dim", a->hidden, ZO2_MAX_HIDDEN, path, &a->embed_dim)) ||
        (s = zo2_config_get_bool(config, "do_layer_norm_before", 1, path, &a->pre_norm)) ||
        (s = zo2_config_get_bool(config, "_remove_final_layer_norm", 0, path, &remove_final_norm)) ||
        (s = zo2_config_get_bool(config, "enable_bias", 1, path, &a->bias)) ||
        (s = zo2_config_get_bool(config, "layer_norm_elementwise_affine", 1, path, &a->affine)) ||
        (s = zo2_config_get_bool(config, "tie_word_embeddings", 1, path, &a->tied)) ||
        (s = get_activation(config, path, &a->act)) ||
        (s = zo2_config_get_token(config, "bos_token_id", 2, a->vocab, path, &a->bos, &a->bos_beyond)) ||
        (s = zo2_config_get_token(config, "eos_token_id", 2, a->vocab, path, &a->eos, &eos_beyond)) ||
        (s = zo2_config_get_token(config, "pad_token_id", 1, a->vocab, path, &a->pad, &a->pad_beyond)))
        return s;
    if (a->hidden % a->heads != 0)
        return zo2_error(ZO2_ERR_FORMAT,
                         "%s: \"num_attention_heads\" is %" PRIu32 ", which doesn't divide \"hidden_size\", %" PRIu32,
                         path, a->heads, a->hidden);
    derive(a);
    a->final_norm = a->pre_norm && !remove_final_norm;
    a->norm_eps = 1e-5f; /* not in OPT's configuration: torch's default */
    a->dtype = zo2_config_get_dtype(config);
    return ZO2_OK;
}

char *zo2_opt_write_config(const zo2_arch *a, zo2_dtype dtype)
{
    json_t *c = json_object();
    if (!c)
        return NULL;
    /* The keys in the order of a file that Hugging Face writes: sorted. */
    int bad = json_object_set_new(c, "_remove_final_layer_norm", json_boolean(a->pre_norm && !a->final_norm));
    bad |= json_object_set_new(c, "activation_function", json_string(a->act == ZO2_ACT_GELU ? "gelu" : "relu"));
    bad |= json_object_set_new(c, "architectures", json_pack("[s]", ZO2_OPT_CLASS));
    bad |= json_object_set_new(c, "bos_token_id", zo2_config_token_or_null(a->bos));
    bad |= json_object_set_new(c, "do_layer_norm_before", json_boolean(a->pre_norm));
    bad |= json_object_set_new(c, "enable_bias", json_boolean(a->bias));
    bad |= json_object_set_new(c, "eos_token_id", zo2_config_token_or_null(a->eos));
    bad |= json_object_set_new(c, "ffn_dim", json_integer(a->ffn));
    bad |= json_object_set_new(c, "hidden_size", json_integer(a->hidden));
    bad |= json_object_set_new(c, "layer_norm_elementwise_affine", json_boolean(a->affine));
    bad |= json_object_set_new(c, "max_position_embeddings", json_integer(a->context));
    bad |= json_object_set_new(c, "model_type", json_string("opt"));
    bad |= json_object_set_new(c, "num_attention_heads", json_integer(a->heads));
    bad |= json_object_set_new(c, "num_hidden_layers", json_integer(a->layers));
    bad |= json_object_set_new(c, "pad_token_id", zo2_config_token_or_null(a->pad));
    bad |= json_object_set_new(c, "tie_word_embeddings", json_boolean(a->tied));
    bad |= json_object_set_new(c, "torch_dtype", zo2_config_dtype_name(dtype));
    bad |= json_object_set_new(c, "vocab_size", json_integer(a->vocab));
    bad |= json_object_set_new(c, "word_embed_proj_dim", json_integer(a->embed_dim));
    char *text = bad ? NULL : json_dumps(c, JSON_INDENT(2));
    json_decref(c);
    return text;
}

/* ---- published models ---- */

/* The published models: ffn 4 x hidden, vocabulary 50,272, context 2,048, relu, tied, fp16. */
static const struct published {
    const char *name;
    uint32_t layers, hidden, heads, embed_dim;
    int pre_norm;
} published[] = {
    {"opt-125m", 12, 768, 12, 768, 1},   {"opt-350m", 24, 1024, 16, 512, 0},  {"opt-1.3b", 24, 2048, 32, 2048, 1},
    {"opt-2.7b", 32, 2560, 32, 2560, 1}, {"opt-6.7b", 32, 4096, 32, 4096, 1}, {"opt-13b", 40, 5120, 40, 5120, 1},
    {"opt-30b", 48, 7168, 56, 7168, 1},  {"opt-66b", 64, 9216, 72, 9216, 1},  {"opt-175b", 96, 12288, 96, 12288, 1},
};

const char *zo2_opt_published_name(const zo2_family *f, uint32_t i)
{
    (void)f;
    return i < sizeof published / sizeof *published ? published[i].name : NULL;
}

void zo2_opt_published(zo2_arch *a, uint32_t i)
{
    const struct published *p = &published[i];
    *a = (zo2_arch){
        .layers = p->layers,
        .hidden = p->hidden,
        .heads = p->heads,
        .ffn = 4 * p->hidden,
        .vocab = 50272,
        .embed_dim = p->embed_dim,
        .context = 2048,
        .pre_norm = p->pre_norm,
        .final_norm = p->pre_norm,
        .bias = 1,
        .affine = 1,
        .tied = 1,
        .act = ZO2_ACT_RELU,
        .norm_eps = 1e-5f,
        .bos = 2,
        .eos = 2,
        .pad = 1,
        .dtype = ZO2_F16,
    };
    derive(a);
}
