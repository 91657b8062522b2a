/* safetensors_read.c: opens the files of a model (shards.h) and reads their bytes. */
#include "storage/checkpoint/safetensors.h"
#include "storage/checkpoint/safetensors_internal.h"
#include "storage/checkpoint/shards.h"
#include "storage/instead/instead.h"
#include "storage/io/io.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define SUFFIX ".safetensors"

zo2_status zo2_safetensors_read(const zo2_safetensors *s, const zo2_st_tensor *t, uint64_t first, uint64_t n, void *dst)
{
    if (first > t->bytes || n > t->bytes - first)
        return zo2_error(ZO2_ERR_ARG,
                         "tensor %.300s of %s has %" PRIu64 " bytes; %" PRIu64 " from %" PRIu64 " were asked for",
                         t->name, s->files[t->file].path, t->bytes, n, first);
    const zo2_st_file *f = &s->files[t->file];
    zo2_status status = zo2_io_read_along(&zo2_io_posix, f->fd, dst, n, t->offset + first, f->path);
    if (status != ZO2_OK)
        return zo2_error(status, "%s (tensor %.300s)", zo2_last_error(), t->name);
    return ZO2_OK;
}

/* ---- opening ----------------------------------------------------------------------------------------------------- */

/* Opens and checks the files. All are opened before any is read: a missing one shows at once. */
static zo2_status load_files(zo2_safetensors *s)
{
    s->files = calloc((size_t)s->shards.n_files + 1, sizeof *s->files);
    if (!s->files)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory to open %s", s->shards.path);
    for (uint32_t i = 0; i < s->shards.n_files; i++) {
        zo2_st_file *f = &s->files[s->n_files++];
        f->path = s->shards.files[i];
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

static int fits(const char *name)
{
    size_t n = strlen(name), suffix = strlen(SUFFIX);
    return name[0] != '.' && n > suffix && strcmp(name + n - suffix, SUFFIX) == 0;
}

static int file_has(const char *path, const char *tensor)
{
    zo2_safetensors *s;
    if (zo2_safetensors_open(&s, path) != ZO2_OK)
        return 0;
    int has = zo2_safetensors_find(s, tensor) != NULL;
    zo2_safetensors_close(s);
    return has;
}

static const zo2_shard_kind kind = {.single = "model" SUFFIX,
                                    .index = ZO2_ST_INDEX_NAME,
                                    .ending = SUFFIX,
                                    .wanted = ZO2_WANT_SAFETENSORS,
                                    .fits = fits,
                                    .has = file_has};

static zo2_status open_files(zo2_safetensors *s, const char *path)
{
    zo2_status status = zo2_shards_find(&s->shards, &kind, path);
    return status == ZO2_OK ? zo2_shards_blame(&s->shards, load_files(s)) : status;
}

zo2_status zo2_safetensors_open(zo2_safetensors **out, const char *path)
{
    *out = NULL;
    zo2_safetensors *s = calloc(1, sizeof *s);
    if (!s)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory to open %s", path);
    zo2_status status = open_files(s, path);
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
    for (uint32_t i = 0; i < s->n_files; i++)
        if (s->files[i].fd >= 0)
            zo2_io_posix.close(zo2_io_posix.ud, s->files[i].fd);
    for (uint64_t i = 0; i < s->n; i++)
        free((char *)(uintptr_t)s->tensors[i].name);
    zo2_shards_free(&s->shards);
    free(s->tensors);
    free(s->by_name);
    free(s->files);
    free(s);
}

/* ---- index and names of files ------------------------------------------------------------------------------------ */

static zo2_shard_place place_of(const void *model, const char *tensor, const char *file)
{
    if (!zo2_safetensors_find(model, tensor))
        return ZO2_SHARD_NOWHERE;
    return zo2_st_is_in(model, tensor, file) ? ZO2_SHARD_THERE : ZO2_SHARD_ELSEWHERE;
}

const char *zo2_safetensors_absent(const zo2_safetensors *s, const char *name, char *text, size_t n)
{
    return zo2_shards_absent(&s->shards, name, text, n);
}

void zo2_safetensors_oddities(const zo2_safetensors *s, void (*say)(void *ud, const char *text), void *ud)
{
    zo2_shards_oddities(&s->shards, place_of, s, say, ud);
}
