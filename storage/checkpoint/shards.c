/* shards.c: see shards.h. */
#include "storage/checkpoint/shards.h"
#include "storage/io/io.h"
#include "storage/io/listing.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static zo2_status no_memory(const zo2_shards *s)
{
    return zo2_error(ZO2_ERR_NOMEM, "out of memory to open %s", s->path);
}

/* Files dir/names[i], or dir itself where names is NULL (n = 1). */
static zo2_status set_files(zo2_shards *s, const char *dir, const char *const *names, uint32_t n)
{
    s->files = calloc((size_t)n + 1, sizeof *s->files);
    int made = s->files != NULL;
    for (uint32_t i = 0; i < n && made; i++) {
        s->files[i] = names ? zo2_path_join(dir, names[i]) : strdup(dir);
        made = s->files[i] != NULL;
        s->n_files = i + 1;
    }
    return made ? ZO2_OK : no_memory(s);
}

/* ---- an index ------------------------------------------------------------------------------------------------------ */

/* Takes the files that aren't there out of s->files: their names become s->missing. names[n]: those of s->files. */
static zo2_status set_missing(zo2_shards *s, char *const *names, uint32_t n)
{
    struct stat st;
    uint32_t present = 0;
    s->missing = calloc((size_t)n + 1, sizeof *s->missing);
    if (!s->missing)
        return no_memory(s);
    for (uint32_t i = 0; i < n; i++) {
        char *path = s->files[i];
        if (stat(path, &st) != 0 && errno != ENOENT)
            return zo2_io_error("cannot examine", path);
        if (stat(path, &st) == 0) {
            s->files[i] = s->files[present]; /* one that is missing: freed below */
            s->files[present++] = path;
        } else if (!(s->missing[s->n_missing++] = strdup(names[i]))) {
            return no_memory(s);
        }
    }
    for (uint32_t i = present; i < n; i++)
        free(s->files[i]);
    s->n_files = present;
    return ZO2_OK;
}

static void free_names(char **names, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        free(names[i]);
    free(names);
}

static zo2_status find_by_index(zo2_shards *s, const char *path)
{
    char **names;
    uint32_t n;
    zo2_status status = zo2_shards_load_index(path, &s->index, &names, &n);
    if (status != ZO2_OK)
        return status;
    if (!(s->index_path = strdup(path)))
        status = no_memory(s);
    else if ((status = set_files(s, s->path, (const char *const *)names, n)) == ZO2_OK)
        status = set_missing(s, names, n);
    free_names(names, n);
    return status == ZO2_OK && !s->n_files && s->n_missing ? zo2_shards_blame(s, ZO2_ERR_NOTFOUND) : status;
}

zo2_status zo2_shards_blame(const zo2_shards *s, zo2_status status)
{
    char text[800];
    if (status == ZO2_OK || !s->n_missing)
        return status;
    return zo2_error(ZO2_ERR_NOTFOUND, "%s", zo2_shards_missing_text(s, s->missing[0], text, sizeof text));
}

/* ---- a folder ------------------------------------------------------------------------------------------------------ */

/* Of names[n] those whose files look right, or all if none does; returns how many. */
static uint64_t keep_right(const zo2_shards *s, const char **names, uint64_t n)
{
    uint64_t kept = 0;
    for (uint64_t i = 0; i < n; i++) {
        char *path = zo2_path_join(s->path, names[i]);
        if (path && s->kind->looks_right(path)) {
            const char *right = names[i];
            names[i] = names[kept];
            names[kept++] = right;
        }
        free(path);
    }
    return kept ? kept : n;
}

/* Every file of the folder that fits, in the order of their names. */
static zo2_status find_all(zo2_shards *s)
{
    zo2_listing list;
    uint64_t n = 0;
    zo2_status status = zo2_listing_make(&list, s->path);
    if (status != ZO2_OK)
        return status;
    const char **names = malloc(((size_t)list.n + 1) * sizeof *names); /* those of the list */
    for (uint64_t i = 0; names && i < list.n; i++)
        if (s->kind->fits(list.names[i]))
            names[n++] = list.names[i];
    if (names && s->kind->looks_right)
        n = keep_right(s, names, n);
    if (!names)
        status = zo2_error(ZO2_ERR_NOMEM, "out of memory for the list of %s", s->path);
    else if (n == 0)
        status = zo2_error(ZO2_ERR_NOTFOUND, "%s has no *%s file", s->path, s->kind->ending);
    else if (n > ZO2_MAX_SHARDS)
        status = zo2_error(ZO2_ERR_FORMAT, "%s has more than %u *%s files", s->path, ZO2_MAX_SHARDS, s->kind->ending);
    else
        status = set_files(s, s->path, names, (uint32_t)n);
    free(names);
    zo2_listing_free(&list);
    return status;
}

static zo2_status find_in_folder(zo2_shards *s)
{
    struct stat st;
    char *single = zo2_path_join(s->path, s->kind->single), *index = zo2_path_join(s->path, s->kind->index);
    zo2_status status;
    if (!single || !index)
        status = no_memory(s);
    else if (stat(single, &st) == 0)
        status = set_files(s, single, NULL, 1);
    else if (stat(index, &st) == 0)
        status = find_by_index(s, index);
    else
        status = find_all(s);
    free(single);
    free(index);
    return status;
}

zo2_status zo2_shards_find(zo2_shards *out, const zo2_shard_kind *kind, const char *path)
{
    struct stat st;
    *out = (zo2_shards){.kind = kind};
    if (stat(path, &st) != 0)
        return zo2_io_error("cannot open model", path);
    if (!(out->path = strdup(path)))
        return zo2_error(ZO2_ERR_NOMEM, "out of memory to open %s", path);
    return S_ISDIR(st.st_mode) ? find_in_folder(out) : set_files(out, path, NULL, 1);
}

void zo2_shards_free(zo2_shards *s)
{
    free_names(s->files, s->n_files);
    free_names(s->missing, s->n_missing);
    json_decref(s->index);
    free(s->index_path);
    free(s->path);
    *s = (zo2_shards){0};
}
