/* shards_index.c: model.safetensors.index.json and its like, {"metadata": {..}, "weight_map": {tensor: shard}}. */
#include "engine/base/json.h"
#include "storage/checkpoint/shards.h"
#include "storage/instead/instead.h"
#include "storage/io/io.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

#define MAX_NAME 255 /* bytes of a file's name, on every Linux file system */

/* The index comes with the model: a shard's name must not lead out of its folder. */
static int is_plain_name(const char *name)
{
    return *name && strlen(name) <= MAX_NAME && !strpbrk(name, "/\\") && strcmp(name, ".") != 0 &&
           strcmp(name, "..") != 0;
}

static zo2_status shard_names(const char *path, json_t *map, char ***shards, uint32_t *n)
{
    const char *tensor;
    json_t *shard;
    size_t all = 0;
    char **names = malloc((json_object_size(map) + 1) * sizeof *names);
    zo2_status s = names ? ZO2_OK : zo2_error(ZO2_ERR_NOMEM, "out of memory for the shard names of %s", path);
    /* Entries in a row mostly name the same shard: the last one is compared before anything is kept. */
    json_object_foreach(map, tensor, shard)
    {
        const char *name = json_string_value(shard);
        if (s != ZO2_OK)
            break;
        if (!name || !is_plain_name(name))
            s = zo2_error(ZO2_ERR_FORMAT,
                          "%s: weight_map gives tensor %.300s the shard \"%.200s\", which is not a plain file name",
                          path, tensor, name ? name : "(no string)");
        else if ((all == 0 || strcmp(names[all - 1], name) != 0) && !(names[all++] = strdup(name)))
            s = zo2_error(ZO2_ERR_NOMEM, "out of memory for the shard names of %s", path);
    }
    size_t kept = 0;
    if (s == ZO2_OK && all > 0) {
        qsort(names, all, sizeof *names, by_text);
        for (size_t i = 0; i < all; i++)
            if (kept > 0 && strcmp(names[kept - 1], names[i]) == 0)
                free(names[i]);
            else
                names[kept++] = names[i];
        all = kept;
    }
    if (s == ZO2_OK && kept > ZO2_MAX_SHARDS)
        s = zo2_error(ZO2_ERR_FORMAT, "%s names %zu shards, more than %u", path, kept, ZO2_MAX_SHARDS);
    if (s != ZO2_OK) {
        for (size_t i = 0; i < all; i++)
            free(names[i]);
        free(names);
        return s;
    }
    *shards = names;
    *n = (uint32_t)kept;
    return ZO2_OK;
}

zo2_status zo2_shards_load_index(const char *path, json_t **index, char ***shards, uint32_t *n)
{
    char *text;
    size_t bytes;
    json_error_t problem;
    *index = NULL;
    *shards = NULL;
    *n = 0;
    zo2_status s = zo2_io_slurp(path, ZO2_MAX_INDEX_BYTES, &text, &bytes);
    if (s != ZO2_OK)
        return s;
    json_t *root = zo2_json_parse(text, bytes, JSON_REJECT_DUPLICATES, &problem);
    free(text);
    json_t *map = json_object_get(root, "weight_map");
    if (!root)
        s = zo2_error(ZO2_ERR_FORMAT, "%s is not valid JSON: line %d: %s; get the file again", path, problem.line,
                      problem.text);
    else if (!json_is_object(map))
        s = zo2_error(ZO2_ERR_FORMAT, "%s has no weight_map object; get the file again", path);
    else
        s = shard_names(path, map, shards, n);
    if (s != ZO2_OK) {
        json_decref(root);
        return s == ZO2_ERR_FORMAT ? zo2_explain_file(s, path, ZO2_WANT_JSON) : s;
    }
    *index = root;
    return ZO2_OK;
}
