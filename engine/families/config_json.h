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

zo2_status zo2_config_get_bool(const json_t *config, const char *key, int fallback, const char *path, int *out);

/* A token id: null and negative numbers say that the model has none. Lists (several ends of text) count by their first.
 */
zo2_status zo2_config_get_token(const json_t *config, const char *key, int fallback, uint32_t vocab, const char *path,
                                int *out);

/* Only a hint (every tensor says its own type), so names that mean nothing here are no error. */
zo2_dtype zo2_config_get_dtype(const json_t *config);

#endif
