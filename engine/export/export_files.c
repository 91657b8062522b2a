/* export_files.c: what an export holds beside the weights: the files that the pack carries, config.json brought up to
 * date. */
#include "engine/base/json.h"
#include "engine/export/export_dir.h"
#include "storage/pack/packfile.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/* JSON text in as few digits as give the same numbers back: 0.1 must not become 0.10000000000000001. */
static char *dump_json(const json_t *v)
{
    char *text = json_dumps(v, JSON_INDENT(2) | JSON_REAL_PRECISION(15));
    json_t *back = text ? json_loads(text, 0, NULL) : NULL;
    if (back && !json_equal(v, back)) {
        free(text);
        text = json_dumps(v, JSON_INDENT(2) | JSON_REAL_PRECISION(17));
    }
    json_decref(back);
    return text;
}

/* config.json with the type that the weights now have, under the key it used. Order and everything else stay. */
static zo2_status write_config(const zo2_export_dir *d, zo2_dtype dtype, const char *text, size_t bytes)
{
    static const char *const names[] = {"", "float32", "float16", "bfloat16"};
    if (!dtype)
        return zo2_export_dir_file(d, "config.json", text, bytes);
    json_error_t e;
    json_t *config = zo2_json_parse(text, bytes, 0, &e);
    const char *key = json_object_get(config, "dtype") ? "dtype" : "torch_dtype";
    char *edited = NULL;
    if (config && json_object_set_new(config, key, json_string(names[dtype])) == 0)
        edited = dump_json(config);
    zo2_status s = edited ? zo2_export_dir_file(d, "config.json", edited, strlen(edited))
                          : zo2_error(ZO2_ERR_NOMEM, "out of memory for the config.json of %s", d->path);
    free(edited);
    json_decref(config);
    return s;
}

zo2_status zo2_export_files(const zo2_export_dir *d, const zo2_packfile *pack, zo2_dtype dtype)
{
    zo2_status s = ZO2_OK;
    const char *name, *data;
    size_t bytes;
    for (size_t i = 0; !s && (name = zo2_packfile_file_name(pack, i)); i++)
        if (!(s = zo2_packfile_file(pack, name, &data, &bytes)))
            s = strcmp(name, "config.json") == 0 ? write_config(d, dtype, data, bytes)
                                                 : zo2_export_dir_file(d, name, data, bytes);
    return s;
}
