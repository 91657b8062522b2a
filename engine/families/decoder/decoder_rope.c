/* decoder_rope.c: rotary positions in a config.json. Older files have "rope_theta" and "rope_scaling" (whose type is "type" or
 * "rope_type"), newer ones all in "rope_parameters"; what wins where both are there, and what a missing key means, is
 * as in Hugging Face's RotaryEmbeddingConfigMixin. */
#include "engine/families/config_json.h"
#include "engine/families/decoder/decoder.h"
#include "engine/families/limits.h"
#include "engine/model/arch.h"
#include "engine/model/rope.h"

#include <jansson.h>
#include <math.h>
#include <string.h>

#define DEFAULT_THETA 10000.0
#define MOST          1e15 /* of a number here: far beyond any published one */

static const struct {
    const char *name;
    zo2_rope_kind kind;
} kinds[] = {
    {"default", ZO2_ROPE_DEFAULT},
    {"linear", ZO2_ROPE_LINEAR},
    {"llama3", ZO2_ROPE_LLAMA3},
    {"yarn", ZO2_ROPE_YARN},
};

#define KINDS (sizeof kinds / sizeof *kinds)

static zo2_status find_kind(const json_t *parameters, const char *path, zo2_rope_kind *out)
{
    char text[48];
    const json_t *v = zo2_config_get(parameters, "rope_type");
    if (!v)
        v = zo2_config_get(parameters, "type");
    *out = ZO2_ROPE_DEFAULT;
    if (!v)
        return ZO2_OK;
    for (size_t i = 0; i < KINDS; i++)
        if (json_is_string(v) && strcmp(json_string_value(v), kinds[i].name) == 0) {
            *out = kinds[i].kind;
            return ZO2_OK;
        }
    return zo2_error(ZO2_ERR_UNSUPPORTED,
                     "%s: unsupported scaling of rotary positions %s: this version knows \"default\", \"linear\", "
                     "\"llama3\" and \"yarn\"",
                     path, zo2_config_describe(v, text, sizeof text));
}

/* The object that counts; an empty one is none. */
static zo2_status find_parameters(const json_t *config, const char *path, json_t **out)
{
    static const char *const keys[] = {"rope_scaling", "rope_parameters"};
    char text[48];
    *out = NULL;
    for (size_t i = 0; i < 2 && !*out; i++) {
        json_t *v = json_object_get(config, keys[i]);
        if (v && !json_is_object(v) && !json_is_null(v))
            return zo2_error(ZO2_ERR_FORMAT, "%s: \"%s\" is %s; an object or null is needed", path, keys[i],
                             zo2_config_describe(v, text, sizeof text));
        if (json_object_size(v))
            *out = v;
    }
    return ZO2_OK;
}

/* What would make it another computation. */
static zo2_status refuse_others(const json_t *config, json_t *parameters, const char *path)
{
    const char *key;
    json_t *v;
    char text[48];
    json_object_foreach(parameters, key, v)
    {
        if (json_is_object(v))
            return zo2_error(
                ZO2_ERR_UNSUPPORTED,
                "%s: rotary positions of their own for \"%.40s\": this version knows one kind for all layers", path,
                key);
    }
    const json_t *partial = zo2_config_get(parameters, "partial_rotary_factor");
    if (!partial)
        partial = zo2_config_get(config, "partial_rotary_factor");
    if (partial && json_number_value(partial) != 1.0)
        return zo2_error(ZO2_ERR_UNSUPPORTED, "%s: \"partial_rotary_factor\" is %s: this version turns whole heads",
                         path, zo2_config_describe(partial, text, sizeof text));
    return ZO2_OK;
}

/* ---- scalings ---- */

/* A key that has no default. */
static zo2_status need_number(const json_t *p, const char *key, const char *path, double *out)
{
    if (!zo2_config_get(p, key))
        return zo2_error(ZO2_ERR_FORMAT, "%s: this scaling of rotary positions needs \"%s\"", path, key);
    return zo2_config_get_positive(p, key, 0, MOST, path, out);
}

static zo2_status read_original(const json_t *config, const json_t *p, uint32_t positions, const char *path,
                                uint32_t *out)
{
    static const char key[] = "original_max_position_embeddings";
    return zo2_config_get_size(zo2_config_get(config, key) ? config : p, key, positions, ZO2_MAX_CONTEXT, path, out);
}

static zo2_status read_llama3(zo2_rope *r, const json_t *p, const char *path)
{
    zo2_status s;
    if ((s = need_number(p, "factor", path, &r->factor)) || (s = need_number(p, "low_freq_factor", path, &r->low)) ||
        (s = need_number(p, "high_freq_factor", path, &r->high)))
        return s;
    return r->high > r->low ? ZO2_OK
                            : zo2_error(ZO2_ERR_FORMAT,
                                        "%s: \"high_freq_factor\" is %g; more than \"low_freq_factor\", %g, is needed",
                                        path, r->high, r->low);
}

static double yarn_scale(double factor, double by)
{
    return factor <= 1 ? 1 : 0.1 * by * log(factor) + 1;
}

static zo2_status read_yarn(zo2_rope *r, const json_t *p, uint32_t positions, const char *path)
{
    zo2_status s;
    double scale, scale_all;
    if ((s = zo2_config_get_positive(p, "factor", (double)positions / r->original, MOST, path, &r->factor)) ||
        (s = zo2_config_get_positive(p, "beta_fast", 32, MOST, path, &r->beta_fast)) ||
        (s = zo2_config_get_positive(p, "beta_slow", 1, MOST, path, &r->beta_slow)) ||
        (s = zo2_config_get_bool(p, "truncate", 1, path, &r->truncate)) ||
        (s = zo2_config_get_positive(p, "mscale", 0, MOST, path, &scale)) ||
        (s = zo2_config_get_positive(p, "mscale_all_dim", 0, MOST, path, &scale_all)))
        return s;
    const double fallback = scale > 0 && scale_all > 0 ? yarn_scale(r->factor, scale) / yarn_scale(r->factor, scale_all)
                                                       : yarn_scale(r->factor, 1);
    if (r->theta == 1) /* it divides by log(theta) */
        return zo2_error(ZO2_ERR_FORMAT, "%s: \"rope_theta\" is 1, which \"yarn\" can't scale", path);
    return zo2_config_get_positive(p, "attention_factor", fallback, MOST, path, &r->attention);
}

zo2_status zo2_decoder_read_rope(zo2_arch *a, const json_t *config, const char *path)
{
    zo2_rope *r = &a->rope;
    json_t *p;
    zo2_status s = find_parameters(config, path, &p);
    if (!s)
        s = refuse_others(config, p, path);
    if (!s)
        s = find_kind(p, path, &r->kind);
    if (!s)
        s = zo2_config_get_positive(zo2_config_get(p, "rope_theta") ? p : config, "rope_theta", DEFAULT_THETA, MOST,
                                    path, &r->theta);
    if (!s && (r->kind == ZO2_ROPE_LLAMA3 || r->kind == ZO2_ROPE_YARN))
        s = read_original(config, p, a->positions, path, &r->original);
    if (!s && r->kind == ZO2_ROPE_LINEAR)
        s = need_number(p, "factor", path, &r->factor);
    if (!s && r->kind == ZO2_ROPE_LLAMA3)
        s = read_llama3(r, p, path);
    if (!s && r->kind == ZO2_ROPE_YARN)
        s = read_yarn(r, p, a->positions, path);
    return s;
}

json_t *zo2_decoder_write_rope(const zo2_rope *r)
{
    if (r->kind <= ZO2_ROPE_DEFAULT)
        return json_null();
    json_t *p = json_object();
    int bad = !p || json_object_set_new(p, "factor", json_real(r->factor));
    for (size_t i = 0; i < KINDS; i++)
        if (kinds[i].kind == r->kind)
            bad |= json_object_set_new(p, "rope_type", json_string(kinds[i].name));
    if (r->kind == ZO2_ROPE_LLAMA3) {
        bad |= json_object_set_new(p, "high_freq_factor", json_real(r->high));
        bad |= json_object_set_new(p, "low_freq_factor", json_real(r->low));
    }
    if (r->kind == ZO2_ROPE_YARN) {
        bad |= json_object_set_new(p, "attention_factor", json_real(r->attention));
        bad |= json_object_set_new(p, "beta_fast", json_real(r->beta_fast));
        bad |= json_object_set_new(p, "beta_slow", json_real(r->beta_slow));
        bad |= json_object_set_new(p, "truncate", json_boolean(r->truncate));
    }
    if (r->kind != ZO2_ROPE_LINEAR)
        bad |= json_object_set_new(p, "original_max_position_embeddings", json_integer(r->original));
    if (!bad)
        return p;
    json_decref(p);
    return NULL;
}
