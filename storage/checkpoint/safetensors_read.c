/* safetensors_read.c: opens a file, the shards of an index or a folder of files, and reads their bytes. */
#include "storage/checkpoint/safetensors.h"
#include "storage/checkpoint/safetensors_internal.h"
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
            return zo2_io_error("cannot open", f->path);
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

/* Names the first shard that isn't there, and how many. */
static zo2_status check_present(const zo2_safetensors *s, const char *index)
{
    struct stat st;
    const char *first = NULL;
    uint32_t missing = 0;
    for (uint32_t i = 0; i < s->n_files; i++)
        if (stat(s->files[i].path, &st) != 0) {
            if (errno != ENOENT)
                return zo2_io_error("cannot examine", s->files[i].path);
            first = first ? first : s->files[i].path;
            missing++;
        }
    if (first)
        return zo2_error(ZO2_ERR_NOTFOUND,
                         "%s is missing (%" PRIu32 " of the %" PRIu32 " shards that %s names are); download the rest",
                         first, missing, s->n_files, index);
    return ZO2_OK;
}

static zo2_status open_index(zo2_safetensors *s, const char *dir, const char *path)
{
    json_t *index;
    char **names;
    uint32_t n;
    zo2_status status = zo2_st_load_index(path, &index, &names, &n);
    if (status != ZO2_OK)
        return status;
    if ((status = set_files(s, dir, names, n)) == ZO2_OK && (status = check_present(s, path)) == ZO2_OK &&
        (status = load_files(s)) == ZO2_OK)
        status = zo2_st_check_index(s, path, index);
    free_names(names, n);
    json_decref(index);
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
    free(s->tensors);
    free(s->by_name);
    free(s->files);
    free(s->path);
    free(s);
}
