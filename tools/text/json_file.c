/* json_file.c: see json_file.h. */
#include "tools/text/json_file.h"
#include "engine/base/json.h"

#include <string.h>

zo2_status zo2t_json_object(json_t **out, const char *name, const zo2t_file *file)
{
    json_error_t e;
    *out = NULL;
    if (!file->data)
        return ZO2_OK;
    if (file->bytes > ZO2T_TEXT_FILE_BYTES)
        return zo2_error(ZO2_ERR_FORMAT, "%s: %zu bytes, at most %zu are supported", name, file->bytes,
                         ZO2T_TEXT_FILE_BYTES);
    json_t *root = zo2_json_parse(file->data, file->bytes, JSON_REJECT_DUPLICATES, &e);
    if (!root)
        return zo2_error(ZO2_ERR_FORMAT, "%s line %d: not JSON: %s", name, e.line, e.text);
    if (!json_is_object(root)) {
        json_decref(root);
        return zo2_error(ZO2_ERR_FORMAT, "%s: not an object", name);
    }
    *out = root;
    return ZO2_OK;
}

const json_t *zo2t_json_steps(const json_t *value, const char *key)
{
    const char *type = json_string_value(json_object_get(value, "type"));
    const json_t *list = json_object_get(value, key);
    return type && !strcmp(type, "Sequence") && json_is_array(list) ? list : NULL;
}

zo2_status zo2t_json_type(const char **type, const char *part, const json_t *step)
{
    *type = json_string_value(json_object_get(step, "type"));
    return *type ? ZO2_OK : zo2_error(ZO2_ERR_FORMAT, "tokenizer.json: \"%s\" has no \"type\"", part);
}
