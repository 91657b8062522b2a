/* safetensors_read.c: opens a file, the shards of an index or a folder of files, and reads their bytes. */
#include "storage/checkpoint/safetensors.h"
#include "storage/checkpoint/safetensors_internal.h"
#include "storage/instead/instead.h"
#include "storage/io/io.h"
#include "storage/io/listing.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define SUFFIX ".safetensors"

zo2_status zo2_safetensors_read(const zo2_safetensors *s, const zo2_st_tensor *t, uint64_t first, uint64_t n, void *dst)
{
    if (first > t->bytes || n > t->bytes - first)
        return zo2_error(ZO2_ERR_ARG,
                         "tensor %.300s of %s has %" PRIu64 " bytes; %" PRIu64 " from %" PRIu64 " were asked for",
                         t->name, s->files[t->file].path, t->bytes, n, first);
    const zo2_st_file *f = &s->files[t->file];
    zo2_status status = zo2_io_read(&zo2_io_posix, f->fd, dst, n, t->offset + first, f->path);
    if (status != ZO2_OK)
        return zo2_error(status, "%s (tensor %.300s)", zo2_last_error(), t->name);
    return ZO2_OK;
}

/* ---- opening ----------------------------------------------------------------------------------------------------- */

/* Opens and checks the files whose paths are set. All are opened before any is read: a missing one shows at once. */
static zo2_status load_files(zo2_safetensors *s)
{
    for (uint32_t i = 0; i < s->n_files; i++) {
        zo2_st_file *f = &s->files[i];
        f->fd = zo2_io_posix.open(zo2_io_posix.ud, f->path, O_RDONLY | O_NONBLOCK, 0);
        if (f->fd < 0)
            return zo2_explain_file(zo2_io_error("cannot open", f->path), f->path, ZO2_WANT_SAFETENSORS);
    }
    for (uint32_t i = 0; i < s->n_files; i++) {
        zo2_status status = zo2_st_load_file(s, i);
        if (status != ZO2_OK)
            return status;
    }
    return zo2_st_sort_names(s);
}

/* Files dir/names[i], or dir itself where names is NULL (n = 1). */
static zo2_status set_files(zo2_safetensors *s, const char *dir, char **names, uint32_t n)
{
    s->files = calloc((size_t)n + 1, sizeof *s->files);
    if (!s->files)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory to open %s", dir);
    for (uint32_t i = 0; i < n; i++) {
        s->files[i].fd = -1;
        s->files[i].path = names ? zo2_path_join(dir, names[i]) : strdup(dir);
        s->n_files = i + 1;
        if (!s->files[i].path)
            return zo2_error(ZO2_ERR_NOMEM, "out of memory to open %s", dir);
    }
    return ZO2_OK;
}

static void free_names(char **names, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        free(names[i]);
    free(names);
}

/* Takes the files that aren't there out of s->files: their names become s->missing. names[n]: those of s->files. */
static zo2_status set_missing(zo2_safetensors *s, char *const *names, uint32_t n)
{
    struct stat st;
    uint32_t present = 0;
    s->missing = calloc((size_t)n + 1, sizeof *s->missing);
    if (!s->missing)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory to open %s", s->path);
    for (uint32_t i = 0; i < n; i++) {
        if (stat(s->files[i].path, &st) != 0 && errno != ENOENT)
            return zo2_io_error("cannot examine", s->files[i].path);
        if (stat(s->files[i].path, &st) == 0) {
            zo2_st_file kept = s->files[present];
            s->files[present++] = s->files[i];
            s->files[i] = kept; /* one that is missing: freed below */
        } else if (!(s->missing[s->n_missing++] = strdup(names[i]))) {
            return zo2_error(ZO2_ERR_NOMEM, "out of memory to open %s", s->path);
        }
    }
    for (uint32_t i = present; i < n; i++)
        free(s->files[i].path);
    s->n_files = present;
    return ZO2_OK;
}

/* A missing shard is named before the damage of another one. */
static zo2_status load_shards(zo2_safetensors *s)
{
    char text[800];
    zo2_status status = s->n_files || !s->n_missing ? load_files(s) : ZO2_ERR_NOTFOUND;
    if (status == ZO2_OK || !s->n_missing)
        return status;
    return zo2_error(ZO2_ERR_NOTFOUND, "%s", zo2_st_missing_text(s, s->missing[0], text, sizeof text));
}

static zo2_status open_index(zo2_safetensors *s, const char *dir, const char *path)
{
    char **names;
    uint32_t n;
    zo2_status status = zo2_st_load_index(path, &s->index, &names, &n);
    if (status != ZO2_OK)
        return status;
    if (!(s->index_path = strdup(path)))
        status = zo2_error(ZO2_ERR_NOMEM, "out of memory to open %s", dir);
    else if ((status = set_files(s, dir, names, n)) == ZO2_OK && (status = set_missing(s, names, n)) == ZO2_OK)
        status = load_shards(s);
    free_names(names, n);
    return status;
}

static int is_visible_safetensors(const char *name)
{
    size_t n = strlen(name), suffix = strlen(SUFFIX);
    return name[0] != '.' && n > suffix && strcmp(name + n - suffix, SUFFIX) == 0;
}

/* Every *.safetensors of a folder, in the order of their names. */
static zo2_status open_all(zo2_safetensors *s, const char *dir)
{
    zo2_listing list;
    uint64_t n = 0;
    zo2_status status = zo2_listing_make(&list, dir);
    if (status != ZO2_OK)
        return status;
    char **names = malloc(((size_t)list.n + 1) * sizeof *names); /* those of the list */
    for (uint64_t i = 0; names && i < list.n; i++)
        if (is_visible_safetensors(list.names[i]))
            names[n++] = list.names[i];
    if (!names)
        status = zo2_error(ZO2_ERR_NOMEM, "out of memory for the list of %s", dir);
    else if (n == 0)
        status = zo2_error(ZO2_ERR_NOTFOUND, "%s has no *.safetensors file", dir);
    else if (n > ZO2_ST_MAX_SHARDS)
        status = zo2_error(ZO2_ERR_FORMAT, "%s has more than %u *.safetensors files", dir, ZO2_ST_MAX_SHARDS);
    else
        status = set_files(s, dir, names, (uint32_t)n);
    free(names);
    zo2_listing_free(&list);
    return status == ZO2_OK ? load_files(s) : status;
}

static zo2_status open_folder(zo2_safetensors *s, const char *dir)
{
    struct stat st;
    char model[] = "model" SUFFIX, *names[] = {model};
    char *single = zo2_path_join(dir, model);
    char *index = zo2_path_join(dir, ZO2_ST_INDEX_NAME);
    zo2_status status;
    if (!single || !index) {
        status = zo2_error(ZO2_ERR_NOMEM, "out of memory to open %s", dir);
    } else if (stat(single, &st) == 0) {
        if ((status = set_files(s, dir, names, 1)) == ZO2_OK)
            status = load_files(s);
    } else if (stat(index, &st) == 0) {
        status = open_index(s, dir, index);
    } else {
        status = open_all(s, dir);
    }
    free(single);
    free(index);
    return status;
}

zo2_status zo2_safetensors_open(zo2_safetensors **out, const char *path)
{
    struct stat st;
    *out = NULL;
    if (stat(path, &st) != 0)
        return zo2_io_error("cannot open model", path);
    zo2_safetensors *s = calloc(1, sizeof *s);
    if (!s || !(s->path = strdup(path))) {
        zo2_safetensors_close(s);
        return zo2_error(ZO2_ERR_NOMEM, "out of memory to open %s", path);
    }
    zo2_status status;
    if (S_ISDIR(st.st_mode))
        status = open_folder(s, path);
    else if ((status = set_files(s, path, NULL, 1)) == ZO2_OK)
        status = load_files(s);
    if (status != ZO2_OK) {
        zo2_safetensors_close(s);
        return status;
    }
    *out = s;
    return ZO2_OK;
}

void zo2_safetensors_close(zo2_safetensors *s)
{
    if (!s)
        return;
    for (uint32_t i = 0; i < s->n_files; i++) {
        if (s->files[i].fd >= 0)
            zo2_io_posix.close(zo2_io_posix.ud, s->files[i].fd);
        free(s->files[i].path);
    }
    for (uint64_t i = 0; i < s->n; i++)
        free((char *)(uintptr_t)s->tensors[i].name);
    free_names(s->missing, s->n_missing);
    json_decref(s->index);
    free(s->index_path);
    free(s->tensors);
    free(s->by_name);
    free(s->files);
    free(s->path);
    free(s);
}
