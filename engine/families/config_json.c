/* config_json.c: values of a config.json, checked, with errors that name file and key. */
#include "engine/families/config_json.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *zo2_config_describe(const json_t *v, char *buf, size_t n)
{
    char *text = json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT);
    snprintf(buf, n, "%s", text ? text : "?");
    if (text && strlen(text) >= n)
        memcpy(buf + n - 4, "...", 4);
    free(text);
    return buf;
}

/* NULL for keys that are missing or null. */
const json_t *zo2_config_get(const json_t *config, const char *key)
{
    const json_t *v = json_object_get(config, key);
    return json_is_null(v) ? NULL : v;
}

zo2_status zo2_config_get_size(const json_t *config, const char *key, uint32_t fallback, uint32_t max, const char *path,
                               uint32_t *out)
{
    char text[48];
    const json_t *v = zo2_config_get(config, key);
    *out = fallback;
    if (!v)
        return ZO2_OK;
    if (!json_is_integer(v) || json_integer_value(v) < 1 || json_integer_value(v) > (json_int_t)max)
        return zo2_error(ZO2_ERR_FORMAT, "%s: \"%s\" is %s; a whole number from 1 to %" PRIu32 " is needed", path, key,
                         zo2_config_describe(v, text, sizeof text), max);
    *out = (uint32_t)json_integer_value(v);
    return ZO2_OK;
}

#define LEAST 1e-15 /* quotients of such numbers stay in the range of floats */

zo2_status zo2_config_get_positive(const json_t *config, const char *key, double fallback, double most,
                                   const char *path, double *out)
{
    char text[48];
    const json_t *v = zo2_config_get(config, key);
    *out = fallback;
    if (!v)
        return ZO2_OK;
    *out = json_number_value(v);
    if (!json_is_number(v) || !(*out >= LEAST && *out <= most))
        return zo2_error(ZO2_ERR_FORMAT, "%s: \"%s\" is %s; a number from %g to %g is needed", path, key,
                         zo2_config_describe(v, text, sizeof text), LEAST, most);
    return ZO2_OK;
}

zo2_status zo2_config_get_bool(const json_t *config, const char *key, int fallback, const char *path, int *out)
{
    char text[48];
    const json_t *v = zo2_config_get(config, key);
    *out = fallback;
    if (!v)
        return ZO2_OK;
    if (!json_is_boolean(v))
        return zo2_error(ZO2_ERR_FORMAT, "%s: \"%s\" is %s; true or false is needed", path, key,
                         zo2_config_describe(v, text, sizeof text));
    *out = json_is_true(v);
    return ZO2_OK;
}

/* A whole number: an integer, or the real number that one beyond 64 bits was read as. */
static int is_whole(const json_t *v)
{
    return json_is_integer(v) || (json_is_real(v) && floor(json_real_value(v)) == json_real_value(v));
}

static int in_vocabulary(const json_t *v, uint32_t vocab)
{
    return json_number_value(v) >= 0 && json_number_value(v) < vocab;
}

/* Of several ends of text the first that the model can write. NULL: no number, which is right for [] only. */
static const json_t *first_usable(const json_t *list, uint32_t vocab)
{
    const json_t *first = json_array_get(list, 0);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *v = json_array_get(list, i);
        if (!is_whole(v))
            return NULL;
        if (!in_vocabulary(first, vocab))
            first = v;
    }
    return first;
}

zo2_status zo2_config_get_token(const json_t *config, const char *key, int fallback, uint32_t vocab, const char *path,
                                int *out, int *beyond)
{
    char text[48];
    const json_t *given = json_object_get(config, key), *v = json_is_array(given) ? first_usable(given, vocab) : given;
    *out = -1;
    *beyond = 0;
    if (!given) {
        *out = fallback < (int)vocab ? fallback : -1; /* a default must not refuse a tiny vocabulary */
        return ZO2_OK;
    }
    if (json_is_null(given) || (json_is_array(given) && json_array_size(given) == 0))
        return ZO2_OK;
    if (!v || !is_whole(v))
        return zo2_error(ZO2_ERR_FORMAT,
                         "%s: \"%s\" is %s; a token id below vocab_size, %" PRIu32 ", or null is needed", path, key,
                         zo2_config_describe(given, text, sizeof text), vocab);
    if (in_vocabulary(v, vocab))
        *out = (int)json_number_value(v);
    *beyond = json_number_value(v) >= vocab;
    return ZO2_OK;
}

/* Only a hint (every tensor says its own type), so names that mean nothing here are no error. */
zo2_dtype zo2_config_get_dtype(const json_t *config)
{
    const json_t *v = zo2_config_get(config, "dtype");
    if (!v)
        v = zo2_config_get(config, "torch_dtype");
    const char *name = v ? json_string_value(v) : NULL;
    if (!name)
        return (zo2_dtype)0;
    if (strncmp(name, "torch.", 6) == 0)
        name += 6;
    return strcmp(name, "float32") == 0    ? ZO2_F32
           : strcmp(name, "float16") == 0  ? ZO2_F16
           : strcmp(name, "bfloat16") == 0 ? ZO2_BF16
                                           : (zo2_dtype)0;
}

/* ---- writing ---- */

json_t *zo2_config_token_or_null(int id)
{
    return id < 0 ? json_null() : json_integer(id);
}

json_t *zo2_config_dtype_name(zo2_dtype dtype)
{
    static const char *const names[] = {"float32", "float32", "float16", "bfloat16"};
    return json_string(names[dtype >= ZO2_F32 && dtype <= ZO2_BF16 ? dtype : ZO2_F32]);
}

json_t *zo2_config_float(float value)
{
    char text[32];
    for (int digits = 1; digits <= 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, (double)value);
        if (strtof(text, NULL) == value)
            break;
    }
    return json_real(strtod(text, NULL));
}
