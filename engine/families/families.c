/* families.c: the table of families, and architectures by name or from a file. */
#include "engine/families/families.h"
#include "engine/base/json.h"
#include "engine/families/config_json.h"
#include "engine/families/llama/llama_family.h"
#include "engine/families/mistral/mistral_family.h"
#include "engine/families/opt/opt_family.h"
#include "engine/families/qwen2/qwen2_family.h"
#include "engine/families/qwen3/qwen3_family.h"
#include "engine/model/arch.h"
#include "engine/model/family.h"
#include "storage/instead/instead.h"
#include "storage/io/io.h"
#include "storage/pack/packfile.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define MAX_CONFIG_BYTES ((uint64_t)16 << 20)

/* One row a family. */
static const zo2_family *const families[] = {
    &zo2_family_opt, &zo2_family_llama, &zo2_family_qwen2, &zo2_family_qwen3, &zo2_family_mistral,
};

#define FAMILIES (sizeof families / sizeof *families)

/* ---- by name ---- */

/* "opt-125m, opt-350m, ..." */
static const char *list_names(char *buf, size_t n)
{
    size_t at = 0;
    for (size_t f = 0; f < FAMILIES; f++) {
        const char *name;
        for (uint32_t i = 0; (name = families[f]->published_name(families[f], i)) && at < n; i++)
            at += (size_t)snprintf(buf + at, n - at, "%s%s", at ? ", " : "", name);
    }
    return buf;
}

/* The family of a published model, and which of its models it is. */
static const zo2_family *find_published(const char *name, uint32_t *model)
{
    const char *is;
    for (size_t f = 0; f < FAMILIES; f++)
        for (*model = 0; (is = families[f]->published_name(families[f], *model)); ++*model)
            if (strcmp(is, name) == 0)
                return families[f];
    return NULL;
}

const char *zo2_arch_published(uint32_t i)
{
    for (size_t f = 0; f < FAMILIES; f++)
        for (uint32_t model = 0; families[f]->published_name(families[f], model); model++)
            if (i-- == 0)
                return families[f]->published_name(families[f], model);
    return NULL;
}

/* Sizes and switches are set: the tensors, and the tables over them. */
static zo2_status complete(zo2_arch *a, const zo2_family *family, const char *what)
{
    a->family = family;
    snprintf(a->name, sizeof a->name, "%s", family->model_type);
    zo2_status s = family->build_tensors(a, what);
    if (!s)
        s = zo2_arch_index(a);
    if (!s)
        s = zo2_arch_check(a);
    if (s)
        zo2_arch_free(a);
    return s;
}

zo2_status zo2_arch_from_name(zo2_arch *out, const char *name)
{
    char names[1024];
    uint32_t model;
    const zo2_family *family = find_published(name, &model);
    memset(out, 0, sizeof *out);
    if (!family)
        return zo2_error(ZO2_ERR_NOTFOUND, "unknown architecture '%s': the names are %s", name,
                         list_names(names, sizeof names));
    out->family = family;
    family->published(out, model);
    return complete(out, family, name);
}

/* ---- configurations ---- */

/* No "model_type". Hugging Face's Auto classes can't load such a model either; "architectures" may tell what is missing. */
static zo2_status refuse_untyped(const json_t *config, const char *path)
{
    const char *class_name = json_string_value(json_array_get(json_object_get(config, "architectures"), 0));
    for (size_t f = 0; f < FAMILIES && class_name; f++)
        if (strcmp(families[f]->class_name, class_name) == 0)
            return zo2_error(ZO2_ERR_FORMAT,
                             "%s has no \"model_type\", but \"architectures\" is %s: add \"model_type\": \"%s\"", path,
                             class_name, families[f]->model_type);
    return zo2_error(ZO2_ERR_FORMAT, "%s has no \"model_type\": it isn't the config.json of a Hugging Face model",
                     path);
}

static zo2_status find_family(const json_t *config, const char *path, const zo2_family **out)
{
    char text[48], known[256] = "";
    const json_t *v = zo2_config_get(config, "model_type");
    if (!v)
        return refuse_untyped(config, path);
    const char *name = json_string_value(v);
    if (!name)
        return zo2_error(ZO2_ERR_FORMAT, "%s: \"model_type\" is %s; a string is needed", path,
                         zo2_config_describe(v, text, sizeof text));
    size_t at = 0;
    for (size_t f = 0; f < FAMILIES && at < sizeof known; f++) {
        *out = families[f];
        if (strcmp(families[f]->model_type, name) == 0)
            return ZO2_OK;
        at += (size_t)snprintf(known + at, sizeof known - at, "%s%s", f ? ", " : "", families[f]->model_type);
    }
    return zo2_error(ZO2_ERR_UNSUPPORTED, "unsupported architecture '%.40s' in %s: this version knows %s", name, path,
                     known);
}

zo2_status zo2_arch_from_config(zo2_arch *out, const char *json, size_t bytes, const char *path)
{
    zo2_status s;
    json_error_t e;
    const zo2_family *family = NULL;
    memset(out, 0, sizeof *out);
    json_t *config = zo2_json_parse(json, bytes, JSON_REJECT_DUPLICATES, &e);
    if (!config)
        return zo2_error(ZO2_ERR_FORMAT, "%s is not valid JSON: line %d, column %d: %s", path, e.line, e.column,
                         e.text);
    if (!json_is_object(config))
        s = zo2_error(ZO2_ERR_FORMAT, "%s is not a configuration: a JSON object is needed", path);
    else if (!(s = find_family(config, path, &family)) && !(s = zo2_config_check_plain(config, path))) {
        out->family = family;
        s = family->read_config(out, config, path);
    }
    json_decref(config);
    if (!s)
        return complete(out, family, path);
    memset(out, 0, sizeof *out);
    return s;
}

char *zo2_arch_config_json(const zo2_arch *a, zo2_dtype dtype)
{
    return a->family->write_config(a, dtype);
}

/* ---- files ---- */

static zo2_status load_config(zo2_arch *out, const char *path)
{
    char *text = NULL;
    size_t bytes = 0;
    zo2_status s = zo2_io_slurp(path, MAX_CONFIG_BYTES, &text, &bytes);
    if (!s)
        s = zo2_arch_from_config(out, text, bytes, path);
    free(text);
    return s == ZO2_ERR_FORMAT || s == ZO2_ERR_NOTFOUND ? zo2_explain_file(s, path, ZO2_WANT_JSON) : s;
}

static zo2_status load_directory(zo2_arch *out, const char *dir)
{
    char *path = zo2_path_join(dir, "config.json");
    if (!path)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory for the name of %s/config.json", dir);
    zo2_status s = load_config(out, path);
    free(path);
    return s == ZO2_ERR_NOTFOUND ? zo2_explain_folder(s, dir, ZO2_WANT_MODEL_FOLDER) : s;
}

void zo2_arch_find_wires(zo2_arch *a, const zo2_packfile *pack)
{
    const zo2_packheader *h = zo2_packfile_header(pack);
    for (uint32_t i = 0; i < h->wires; i++) {
        const zo2_packwire w = zo2_packfile_wire(pack, i);
        if (w.tensor >= a->n_tensors || !zo2_wire_name(w.wire))
            continue;
        a->tensors[w.tensor].stored_wires |= 1u << w.wire;
        if (zo2_packfile_is_narrow(pack, w.tensor, w.wire))
            a->tensors[w.tensor].narrow_wires |= 1u << w.wire;
    }
    for (uint32_t i = 0; i < a->n_tensors && i < h->tensors; i++) { /* behind the one that it is stored as */
        const zo2_tensor *as = &a->tensors[zo2_packfile_tensor(pack, i)->stored_as];
        a->tensors[i].stored_wires = as->stored_wires;
        a->tensors[i].narrow_wires = as->narrow_wires;
    }
}

static zo2_status load_pack(zo2_arch *out, const char *path, uint64_t *pack_bytes)
{
    zo2_packfile *file = NULL;
    const char *text = NULL;
    size_t bytes = 0;
    zo2_status s = zo2_packfile_open(&file, path);
    if (!s)
        s = zo2_packfile_file(file, "config.json", &text, &bytes);
    if (!s)
        s = zo2_arch_from_config(out, text, bytes, path);
    if (!s)
        zo2_arch_find_wires(out, file);
    if (!s && pack_bytes)
        *pack_bytes = zo2_packfile_header(file)->file_bytes;
    zo2_packfile_close(file);
    return s;
}

/* A JSON text starts with white space or a brace, a pack with its magic. */
static int looks_like_json(const char *path)
{
    FILE *f = fopen(path, "rbe");
    int c = f ? fgetc(f) : EOF;
    if (f)
        fclose(f);
    return c == '{' || c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

zo2_status zo2_arch_load(zo2_arch *out, const char *arch_or_path, uint64_t *pack_bytes)
{
    struct stat st;
    char names[1024];
    uint32_t model;
    memset(out, 0, sizeof *out);
    if (pack_bytes)
        *pack_bytes = 0;
    if (find_published(arch_or_path, &model))
        return zo2_arch_from_name(out, arch_or_path);
    if (stat(arch_or_path, &st) != 0) {
        if (errno != ENOENT && errno != ENOTDIR)
            return zo2_io_error("cannot examine", arch_or_path);
        zo2_status s = zo2_error(ZO2_ERR_NOTFOUND, "'%s' is neither a file nor the name of an architecture: %s",
                                 arch_or_path, list_names(names, sizeof names));
        return zo2_explain_file(s, arch_or_path, ZO2_WANT_MODEL_FOLDER);
    }
    if (S_ISDIR(st.st_mode))
        return load_directory(out, arch_or_path);
    return looks_like_json(arch_or_path) ? load_config(out, arch_or_path) : load_pack(out, arch_or_path, pack_bytes);
}
