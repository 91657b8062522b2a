/* config_json.h: reading a config.json as Hugging Face means it: a key that is missing or null has its default. */
#ifndef ZO2_ENGINE_FAMILIES_CONFIG_JSON_H
#define ZO2_ENGINE_FAMILIES_CONFIG_JSON_H

#include "engine/zo2.h"
#include <jansson.h>

/* The text of a value for a message, cut to a few characters. */
const char *zo2_config_describe(const json_t *v, char *buf, size_t n);

/* NULL for keys that are missing or null. */
const json_t *zo2_config_get(const json_t *config, const char *key);

zo2_status zo2_config_get_size(const json_t *config, const char *key, uint32_t fallback, uint32_t max, const char *path,
                               uint32_t *out);

/* A number from 1e-15 to most; the fallback may be 0. */
zo2_status zo2_config_get_positive(const json_t *config, const char *key, double fallback, double most,
                                   const char *path, double *out);

zo2_status zo2_config_get_bool(const json_t *config, const char *key, int fallback, const char *path, int *out);

/* A token id. None, -1, are null, negative numbers, [] and ids beyond the vocabulary: Hugging Face loads such models,
 * and nothing here ever looks such a token up. *beyond: it was such an id. Of a list (several ends of text) the first
 * id in the vocabulary counts. */
zo2_status zo2_config_get_token(const json_t *config, const char *key, int fallback, uint32_t vocab, const char *path,
                                int *out, int *beyond);

/* Refuses a configuration that says that the weights are quantised, with the key that says so: read as they are stored, without
 * their scales, they would be another model's. */
zo2_status zo2_config_check_plain(const json_t *config, const char *path);

/* Only a hint (every tensor says its own type), so names that mean nothing here are no error. */
zo2_dtype zo2_config_get_dtype(const json_t *config);

/* Values of configurations that are written; NULL when out of memory. */
json_t *zo2_config_token_or_null(int id);
json_t *zo2_config_dtype_name(zo2_dtype dtype); /* "float16"; "float32" for what isn't a type */
/* The shortest decimal number that is this float. */
json_t *zo2_config_float(float value);

#endif
