/* safetensors_write.c: a model as one safetensors file, or as shards with an index. Shapes are known beforehand, so
 * every header is written first and the data stream behind it, in order. Nothing has its final name before everything
 * is written and synced. */
#include "engine/base/checked.h"
#include "storage/checkpoint/safetensors.h"
#include "storage/checkpoint/safetensors_internal.h"
#include "storage/checkpoint/shards.h"
#include "storage/io/io.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

typedef struct shard {
    char name[48];
    uint64_t first, end; /* tensors */
    uint64_t data_bytes;
    zo2_outfile file; /* from its first byte to the commit */
    char *path;       /* of the renamed file: set by the commit */
} shard;

struct zo2_st_writer {
    const zo2_io *io;
    char *dir;
    const char *name; /* of the one file; NULL: a model's, or its shards' */
    zo2_status failed;
    zo2_st_tensor *tensors; /* names are ours; offset: from the start of the shard's data */
    uint64_t n, total;
    shard *shards;
    uint32_t n_shards;
    uint32_t current; /* shard being written; n_shards: all are done */
    int begun;        /* the current shard's header is written */
    uint64_t at;      /* in the current file */
    uint64_t left;    /* data bytes of the current shard still to come */
};

static zo2_status fail(zo2_st_writer *w, zo2_status s)
{
    if (w->failed == ZO2_OK)
        w->failed = s;
    return s;
}

static zo2_status out_of_memory(const char *dir)
{
    return zo2_error(ZO2_ERR_NOMEM, "out of memory to write safetensors to %s", dir);
}

/* ---- plan -------------------------------------------------------------------------------------------------------- */

static int by_name(const void *a, const void *b)
{
    return strcmp((*(const zo2_st_tensor *const *)a)->name, (*(const zo2_st_tensor *const *)b)->name);
}

static zo2_status check_unique(const zo2_st_writer *w)
{
    const zo2_st_tensor **sorted = malloc(((size_t)w->n + 1) * sizeof *sorted);
    zo2_status s = ZO2_OK;
    if (!sorted)
        return out_of_memory(w->dir);
    for (uint64_t i = 0; i < w->n; i++)
        sorted[i] = &w->tensors[i];
    qsort(sorted, (size_t)w->n, sizeof *sorted, by_name);
    for (uint64_t i = 1; s == ZO2_OK && i < w->n; i++)
        if (strcmp(sorted[i - 1]->name, sorted[i]->name) == 0)
            s = zo2_error(ZO2_ERR_ARG, "cannot write to %s: two tensors are named %.300s", w->dir, sorted[i]->name);
    free(sorted);
    return s;
}

static zo2_status take_tensor(zo2_st_writer *w, const zo2_st_tensor *t)
{
    zo2_st_tensor *mine = &w->tensors[w->n];
    const zo2_st_dtype *type = t->dtype ? zo2_st_dtype_of(t->dtype) : zo2_st_dtype_find(t->dtype_name);
    const char *fault = NULL;
    *mine = *t;
    for (uint32_t i = 0; i < t->rank && i < ZO2_ST_MAX_RANK; i++)
        if (t->shape[i] > INT64_MAX) /* beyond the integers of JSON; only thinkable beside a 0 */
            fault = "its size overflows";
    if (!t->name || strcmp(t->name, "__metadata__") == 0)
        fault = "it has no name of its own";
    else if (!type)
        fault = "its type is unknown";
    else if (t->rank > ZO2_ST_MAX_RANK)
        fault = "it has too many dimensions";
    else if (!zo2_st_size(t->shape, t->rank, type->bits, &mine->elements, &mine->bytes) ||
             !zo2_add_u64(w->total, mine->bytes, &w->total) || w->total > INT64_MAX)
        fault = "its size overflows";
    if (fault)
        return zo2_error(ZO2_ERR_ARG, "cannot write tensor %.300s to %s: %s", t->name ? t->name : "(none)", w->dir,
                         fault);
    snprintf(mine->dtype_name, sizeof mine->dtype_name, "%s", type->name);
    if (!(mine->name = strdup(t->name)))
        return out_of_memory(w->dir);
    w->n++;
    return ZO2_OK;
}

/* Tensors go into shards in order; a shard is full when the next tensor would make it larger than split_bytes. */
static zo2_status split(zo2_st_writer *w, uint64_t split_bytes)
{
    uint64_t n_shards = 1, bytes = 0;
    int whole = split_bytes == 0 || w->total <= split_bytes;
    for (int pass = 0; pass < 2; pass++) { /* count, then fill in */
        if (pass == 1 && !(w->shards = calloc((size_t)n_shards, sizeof *w->shards)))
            return out_of_memory(w->dir);
        n_shards = 1;
        bytes = 0;
        for (uint64_t i = 0; i < w->n; i++) {
            zo2_st_tensor *t = &w->tensors[i];
            if (!whole && bytes > 0 && (bytes > split_bytes || t->bytes > split_bytes - bytes)) {
                n_shards++;
                bytes = 0;
            }
            if (pass == 1) {
                shard *f = &w->shards[n_shards - 1];
                if (f->end == 0)
                    f->first = i;
                f->end = i + 1;
                t->offset = bytes;
                f->data_bytes = bytes + t->bytes;
            }
            bytes += t->bytes;
        }
        if (n_shards > ZO2_MAX_SHARDS)
            return zo2_error(ZO2_ERR_ARG, "shards of %" PRIu64 " bytes make more than %u files in %s; use larger ones",
                             split_bytes, ZO2_MAX_SHARDS, w->dir);
    }
    w->n_shards = (uint32_t)n_shards;
    for (uint32_t i = 0; i < w->n_shards; i++)
        if (w->n_shards == 1)
            snprintf(w->shards[i].name, sizeof w->shards[i].name, "%s", w->name ? w->name : "model.safetensors");
        else
            snprintf(w->shards[i].name, sizeof w->shards[i].name, "model-%05" PRIu32 "-of-%05" PRIu32 ".safetensors",
                     i + 1, w->n_shards);
    return ZO2_OK;
}

/* ---- headers ----------------------------------------------------------------------------------------------------- */

static int set_tensor(json_t *header, const zo2_st_tensor *t)
{
    json_t *o = json_object(), *shape = json_array(), *offsets = json_array();
    int bad = 0;
    for (uint32_t i = 0; i < t->rank; i++)
        bad |= json_array_append_new(shape, json_integer((json_int_t)t->shape[i]));
    bad |= json_array_append_new(offsets, json_integer((json_int_t)t->offset));
    bad |= json_array_append_new(offsets, json_integer((json_int_t)(t->offset + t->bytes)));
    bad |= json_object_set_new(o, "dtype", json_string(t->dtype_name));
    bad |= json_object_set_new(o, "shape", shape);
    bad |= json_object_set_new(o, "data_offsets", offsets);
    return json_object_set_new(header, t->name, o) | bad; /* refuses names that are not UTF-8 */
}

/* Eight bytes of length and the JSON, padded with spaces to a multiple of 8. */
static zo2_status make_header(const zo2_st_writer *w, const shard *f, char **out, uint64_t *bytes)
{
    json_t *header = json_object(), *metadata = json_object();
    int bad = json_object_set_new(metadata, "format", json_string("pt"));
    bad |= json_object_set_new(header, "__metadata__", metadata);
    for (uint64_t i = f->first; i < f->end && !bad; i++)
        if ((bad = set_tensor(header, &w->tensors[i])) != 0) {
            json_decref(header);
            return zo2_error(ZO2_ERR_ARG, "cannot write the name of tensor %.300s to %s: not UTF-8, or out of memory",
                             w->tensors[i].name, w->dir);
        }
    size_t n = bad ? 0 : json_dumpb(header, NULL, 0, JSON_COMPACT);
    uint64_t padded = zo2_round_up(n, 8);
    char *text = n ? malloc((size_t)padded + 8) : NULL;
    if (text)
        json_dumpb(header, text + 8, n, JSON_COMPACT);
    json_decref(header);
    if (!text)
        return out_of_memory(w->dir);
    if (padded > ZO2_ST_MAX_HEADER) {
        free(text);
        return zo2_error(ZO2_ERR_UNSUPPORTED, "the header of %s/%s exceeds 100,000,000 bytes; use smaller shards",
                         w->dir, f->name);
    }
    memcpy(text, &padded, 8);
    memset(text + 8 + n, ' ', (size_t)(padded - n));
    *out = text;
    *bytes = padded + 8;
    return ZO2_OK;
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */

static zo2_status open_file(zo2_st_writer *w, zo2_outfile *f, const char *name)
{
    char *path = zo2_path_join(w->dir, name);
    zo2_status s = path ? zo2_outfile_open(f, w->io, path, 0) : out_of_memory(w->dir);
    free(path);
    return s;
}

static zo2_status begin_shard(zo2_st_writer *w)
{
    shard *f = &w->shards[w->current];
    char *header = NULL;
    uint64_t bytes = 0;
    zo2_status s = make_header(w, f, &header, &bytes);
    if (s != ZO2_OK)
        return s;
    s = open_file(w, &f->file, f->name);
    if (s == ZO2_OK)
        s = zo2_io_write(w->io, f->file.fd, header, bytes, 0, f->file.tmp);
    free(header);
    w->begun = 1;
    w->at = bytes;
    w->left = f->data_bytes;
    return s;
}

/* Begins shards and ends complete ones, until one needs data or all are done. A complete one is synced at once: the
 * commit then has less to wait for. */
static zo2_status advance(zo2_st_writer *w)
{
    while (w->current < w->n_shards) {
        if (!w->begun) {
            zo2_status s = begin_shard(w);
            if (s != ZO2_OK)
                return s;
        }
        if (w->left > 0)
            break;
        const zo2_outfile *f = &w->shards[w->current].file;
        if (w->current + 1 < w->n_shards && w->io->fsync(w->io->ud, f->fd) != 0)
            return zo2_io_error("cannot sync", f->tmp);
        w->current++;
        w->begun = 0;
    }
    return ZO2_OK;
}

/* Before the first byte, not at the last shard: is a name taken? */
static zo2_status check_free(const zo2_st_writer *w)
{
    struct stat st;
    zo2_status s = ZO2_OK;
    for (uint32_t i = 0; s == ZO2_OK && i <= w->n_shards; i++) {
        if (i == w->n_shards && w->n_shards == 1)
            break; /* no index */
        char *path = zo2_path_join(w->dir, i < w->n_shards ? w->shards[i].name : ZO2_ST_INDEX_NAME);
        if (!path)
            s = out_of_memory(w->dir);
        else if (lstat(path, &st) == 0)
            s = zo2_error(ZO2_ERR_EXISTS, "%s exists already; remove it or write to another folder", path);
        free(path);
    }
    return s;
}

static zo2_status open_writer(zo2_st_writer **out, const zo2_io *io, const char *dir, const char *name,
                              const zo2_st_tensor *tensors, uint64_t n, uint64_t split_bytes)
{
    *out = NULL;
    zo2_st_writer *w = calloc(1, sizeof *w);
    if (!w)
        return out_of_memory(dir);
    w->io = io;
    w->name = name;
    w->dir = strdup(dir);
    w->tensors = n < SIZE_MAX / sizeof *w->tensors ? calloc((size_t)n + 1, sizeof *w->tensors) : NULL;
    zo2_status s = w->dir && w->tensors ? ZO2_OK : out_of_memory(dir);
    for (uint64_t i = 0; s == ZO2_OK && i < n; i++)
        s = take_tensor(w, &tensors[i]);
    if (s == ZO2_OK)
        s = check_unique(w);
    if (s == ZO2_OK)
        s = split(w, split_bytes);
    if (s == ZO2_OK)
        s = check_free(w);
    if (s == ZO2_OK)
        s = advance(w);
    if (s != ZO2_OK) {
        zo2_st_writer_close(w);
        return s;
    }
    *out = w;
    return ZO2_OK;
}

zo2_status zo2_st_writer_open(zo2_st_writer **out, const zo2_io *io, const char *dir, const zo2_st_tensor *tensors,
                              uint64_t n, uint64_t split_bytes)
{
    return open_writer(out, io, dir, NULL, tensors, n, split_bytes);
}

zo2_status zo2_st_writer_open_file(zo2_st_writer **out, const zo2_io *io, const char *dir, const char *name,
                                   const zo2_st_tensor *tensors, uint64_t n)
{
    return open_writer(out, io, dir, name, tensors, n, 0);
}

zo2_status zo2_st_writer_append(zo2_st_writer *w, const void *data, uint64_t bytes)
{
    const unsigned char *p = data;
    if (w->failed != ZO2_OK)
        return zo2_error(w->failed, "writing to %s failed before; nothing more can be added", w->dir);
    while (bytes > 0) {
        if (w->current == w->n_shards)
            return fail(w, zo2_error(ZO2_ERR_ARG, "%" PRIu64 " bytes more than the tensors of %s have", bytes, w->dir));
        const zo2_outfile *f = &w->shards[w->current].file;
        uint64_t now = bytes < w->left ? bytes : w->left;
        zo2_status s = zo2_io_write(w->io, f->fd, p, now, w->at, f->tmp);
        if (s != ZO2_OK)
            return fail(w, s);
        p += now;
        bytes -= now;
        w->at += now;
        w->left -= now;
        if ((s = advance(w)) != ZO2_OK)
            return fail(w, s);
    }
    return ZO2_OK;
}

/* ---- commit ------------------------------------------------------------------------------------------------------ */

static zo2_status write_index(zo2_st_writer *w)
{
    json_t *index = json_object(), *metadata = json_object(), *map = json_object();
    int bad = json_object_set_new(metadata, "total_size", json_integer((json_int_t)w->total));
    for (uint32_t f = 0; f < w->n_shards; f++)
        for (uint64_t i = w->shards[f].first; i < w->shards[f].end; i++)
            bad |= json_object_set_new(map, w->tensors[i].name, json_string(w->shards[f].name));
    bad |= json_object_set_new(index, "metadata", metadata);
    bad |= json_object_set_new(index, "weight_map", map);
    char *text = bad ? NULL : json_dumps(index, JSON_INDENT(2) | JSON_SORT_KEYS);
    json_decref(index);
    if (!text)
        return out_of_memory(w->dir);
    size_t n = strlen(text);
    text[n] = '\n'; /* in place of the NUL */
    zo2_outfile file = {0};
    zo2_status s = open_file(w, &file, ZO2_ST_INDEX_NAME);
    if (s == ZO2_OK)
        s = zo2_io_write(w->io, file.fd, text, n + 1, 0, file.tmp);
    if (s == ZO2_OK)
        s = zo2_outfile_commit(&file);
    zo2_outfile_abort(&file);
    free(text);
    return s;
}

zo2_status zo2_st_writer_commit(zo2_st_writer *w)
{
    if (w->failed != ZO2_OK)
        return zo2_error(w->failed, "writing to %s failed before; nothing can be committed", w->dir);
    if (w->current < w->n_shards)
        return fail(w, zo2_error(ZO2_ERR_ARG, "%s/%s still lacks %" PRIu64 " bytes of its tensors", w->dir,
                                 w->shards[w->current].name, w->left));
    zo2_status s = ZO2_OK;
    for (uint32_t i = 0; s == ZO2_OK && i < w->n_shards; i++) {
        shard *f = &w->shards[i];
        char *path = zo2_path_join(w->dir, f->name);
        s = path ? zo2_outfile_commit(&f->file) : out_of_memory(w->dir);
        if (s == ZO2_OK)
            f->path = path;
        else
            free(path);
    }
    if (s == ZO2_OK && w->n_shards > 1)
        s = write_index(w); /* last: a reader that finds the index finds the shards */
    for (uint32_t i = 0; s != ZO2_OK && i < w->n_shards; i++)
        if (w->shards[i].path)
            w->io->unlink(w->io->ud, w->shards[i].path); /* on error nothing is left */
    if (s != ZO2_OK)
        return fail(w, s);
    w->failed = ZO2_ERR_ARG; /* complete: nothing more can be added */
    return ZO2_OK;
}

void zo2_st_writer_close(zo2_st_writer *w)
{
    if (!w)
        return;
    for (uint32_t i = 0; i < w->n_shards; i++) {
        zo2_outfile_abort(&w->shards[i].file);
        free(w->shards[i].path);
    }
    for (uint64_t i = 0; w->tensors && i < w->n; i++)
        free((char *)(uintptr_t)w->tensors[i].name);
    free(w->shards);
    free(w->tensors);
    free(w->dir);
    free(w);
}
