/* config_json.c: values of a config.json, checked, with errors that name file and key. */
#include "engine/families/config_json.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The text of a value for a message, cut to a few characters. */
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

/* A token id: null and negative numbers say that the model has none. Lists (several ends of text) count by their first.
 */
zo2_status zo2_config_get_token(const json_t *config, const char *key, int fallback, uint32_t vocab, const char *path,
                                int *out)
{
    char text[48];
    const json_t *v = json_object_get(config, key);
    if (json_is_array(v))
        v = json_array_get(v, 0);
    *out = -1;
    if (!v && !json_object_get(config, key))
        *out = fallback < (int)vocab ? fallback : -1; /* a default must not refuse a tiny vocabulary */
    else if (json_is_integer(v) && json_integer_value(v) < (json_int_t)vocab)
        *out = json_integer_value(v) < 0 ? -1 : (int)json_integer_value(v);
    else if (v && !json_is_null(v))
        return zo2_error(ZO2_ERR_FORMAT,
                         "%s: \"%s\" is %s; a token id below vocab_size, %" PRIu32 ", or null is needed", path, key,
                         zo2_config_describe(v, text, sizeof text), vocab);
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
