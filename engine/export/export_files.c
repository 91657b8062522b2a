/* export_files.c: what an export holds beside the weights: the files that the pack carries, config.json brought up to
 * date. */
#include "engine/base/json.h"
#include "engine/export/export_dir.h"
#include "engine/export/json_edit.h"
#include "engine/model/arch.h"
#include "engine/pack/pack_api.h"
#include "storage/pack/packfile.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A config.json on its way: what it says, and its text, of which only what changes is new. */
typedef struct config {
    const json_t *root;
    char *text;
    int failed; /* out of memory */
} config;

static void set(config *c, const char *key, const char *value)
{
    char *edited = c->failed ? NULL : zo2_json_edit(c->text, strlen(c->text), key, value);
    c->failed = !edited;
    if (edited) {
        free(c->text);
        c->text = edited;
    }
}

/* The class that loads what is written: a checkpoint that another one saved (OPTModel, OPTForSequenceClassification)
 * has left what that one has of its own, and its name, behind. */
static void set_class(config *c, const char *class_name)
{
    char value[80];
    const json_t *is = json_object_get(c->root, "architectures");
    const char *name = json_array_size(is) == 1 ? json_string_value(json_array_get(is, 0)) : NULL;
    snprintf(value, sizeof value, "[\"%s\"]", class_name);
    if (!name || strcmp(name, class_name) != 0)
        set(c, "architectures", value);
}

/* Hugging Face loads weights in the type that config.json names. Was one asked for, it is that; else one that would
 * cost the weights bits is replaced by their own. One that is wider is a wish that costs nothing. */
static void set_dtype(config *c, zo2_dtype asked, zo2_dtype own)
{
    static const char *const keys[] = {"dtype", "torch_dtype"}; /* since transformers 5, and before */
    static const char *const names[] = {"", "float32", "float16", "bfloat16"};
    char value[16];
    int there = 0;
    snprintf(value, sizeof value, "\"%s\"", names[asked ? asked : own]);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const json_t *v = json_object_get(c->root, keys[i]);
        const char *is = json_string_value(v);
        int loses = is && strcmp(is, names[own]) != 0 && strcmp(is, "float32") != 0 && strcmp(is, "float64") != 0;
        if (v && (asked || loses))
            set(c, keys[i], value);
        there |= v != NULL;
    }
    if (asked && !there)
        set(c, "torch_dtype", value);
}

static zo2_status write_config(const zo2_export_dir *d, const zo2_pack *pack, const zo2_arch *model, zo2_dtype dtype,
                               const char *text, size_t bytes)
{
    json_error_t e;
    zo2_pack_info info;
    zo2_status s = zo2_pack_get_info(pack, &info);
    if (s)
        return s;
    json_t *root = zo2_json_parse(text, bytes, 0, &e);
    config c = {.root = root, .text = strndup(text, bytes)};
    c.failed = !root || !c.text;
    set_class(&c, pack->arch.family->class_name);
    set_dtype(&c, dtype, info.dtype);
    const json_t *tied = json_object_get(root, "tie_word_embeddings");
    const int parted = pack->arch.tied && !model->tied;        /* by the run */
    if (parted || (tied && json_is_true(tied) != model->tied)) /* null, which Hugging Face no longer reads */
        set(&c, "tie_word_embeddings", model->tied ? "true" : "false");
    s = c.failed ? zo2_error(ZO2_ERR_NOMEM, "out of memory for the config.json of %s", d->path)
                 : zo2_export_dir_file(d, "config.json", c.text, strlen(c.text));
    free(c.text);
    json_decref(root);
    return s;
}

zo2_status zo2_export_files(const zo2_export_dir *d, const zo2_pack *pack, const zo2_arch *model, zo2_dtype dtype)
{
    zo2_status s = ZO2_OK;
    const char *name, *data;
    size_t bytes;
    for (size_t i = 0; !s && (name = zo2_packfile_file_name(pack->file, i)); i++)
        if (!(s = zo2_packfile_file(pack->file, name, &data, &bytes)))
            s = strcmp(name, "config.json") == 0 ? write_config(d, pack, model, dtype, data, bytes)
                                                 : zo2_export_dir_file(d, name, data, bytes);
    return s;
}
