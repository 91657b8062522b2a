/* spill_open.c: the files of a spill: found, made, removed. */
#include "storage/io/aio.h"
#include "storage/io/io.h"
#include "storage/spill/spill.h"
#include "storage/spill/spill_file.h"
#include "storage/spill/spill_format.h"
#include "storage/spill/spill_internal.h"
#include "storage/spill/spill_layout.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEFAULT_SPARE 0.02

/* ---- opening what is there --------------------------------------------------------------------------------------- */

static zo2_status mismatch(const char *path, const char *what)
{
    return zo2_error(ZO2_ERR_MISMATCH,
                     "%s %s, or remove it and let a new one be made: the run goes on from its journal", path, what);
}

/* To a reader with other chunks (a run's pack may have been frozen since, and matrices whose wires it has are cut where these are, and need no
 * slot) the spill is as good as none. */
static zo2_status other_chunks(const char *path)
{
    return zo2_error(ZO2_ERR_NOTFOUND, "%s has slots for other chunks: it was made with another form of the pack",
                     path);
}

/* A file that was just opened takes its place among the others. */
static zo2_status take_place(zo2_spill *s, zo2_spill_file *f, const zo2_spill_config *c, const zo2_spill_front **any)
{
    const zo2_spill_head *h = &f->front->head;
    const char *path = f->at->path;
    if (h->chunks != c->n_chunks && h->layout == c->layout && !c->writable)
        return other_chunks(path);
    if (h->layout != c->layout || h->chunks != c->n_chunks)
        return mismatch(path, "was made with other settings (chunk size, wire, data type): use those");
    if (c->writable ? h->files != c->n_dirs : h->files < c->n_dirs)
        return mismatch(path, "is one of another number of files: name all the folders of this run's spill");
    if (zo2_spill_file_is_open(s, h->index))
        return mismatch(path, "and another of the named files are the same part of a spill: name each folder once");
    if (*any && memcmp(h->weight, (*any)->head.weight, sizeof h->weight) != 0)
        return mismatch(path,
                        "was made on another occasion than its neighbours: name the folders that belong together");
    s->at[h->index] = *f->at;
    s->file[h->index] = *f;
    s->file[h->index].at = &s->at[h->index];
    *any = s->file[h->index].front;
    return ZO2_OK;
}

/* missing[d]: folder d has none. */
static zo2_status open_existing(zo2_spill *s, const zo2_spill_config *c, const zo2_spill_front **any, int *missing)
{
    zo2_status status = ZO2_OK;
    for (uint32_t d = 0; !status && d < c->n_dirs; d++) {
        zo2_aio_file at = {0};
        zo2_spill_file f = {.at = &at};
        char *path = zo2_spill_path(c->dirs[d], c->run);
        status = path ? zo2_spill_file_open(&f, s->io, path, c->run, c->writable)
                      : zo2_error(ZO2_ERR_NOMEM, "%s: out of memory", c->dirs[d]);
        missing[d] = status == ZO2_ERR_NOTFOUND;
        if (missing[d])
            status = ZO2_OK;
        else if (!status && (status = take_place(s, &f, c, any)) != ZO2_OK)
            zo2_spill_file_close(&f, s->io);
        free(path);
    }
    return status;
}

/* Slots of the sizes that the chunks have, with a spare one at least. */
static zo2_status check_slots(const zo2_spill *s, uint32_t f)
{
    const zo2_spill_front *front = s->file[f].front;
    const zo2_spill_sizes *sizes = &s->layout.sizes[f];
    int right = front->head.classes == sizes->classes;
    for (uint32_t k = 0; right && k < sizes->classes; k++)
        right = front->classes[k].slot_bytes == sizes->slot_bytes[k] && front->classes[k].slots > sizes->chunks[k];
    if (!right && !s->writable)
        return other_chunks(s->at[f].path);
    return right ? ZO2_OK : mismatch(s->at[f].path, "has slots for other chunks: use the settings it was made with");
}

/* ---- making what is missing -------------------------------------------------------------------------------------- */

static zo2_status make_file(zo2_spill *s, const zo2_spill_config *c, uint32_t dir, uint32_t index,
                            const uint32_t *weight)
{
    zo2_spill_front *front = calloc(1, sizeof *front);
    char *path = zo2_spill_path(c->dirs[dir], c->run);
    zo2_status status = ZO2_OK;
    if (!front || !path) {
        status = zo2_error(ZO2_ERR_NOMEM, "%s: out of memory to make a spill", c->dirs[dir]);
        goto done;
    }
    front->head.run = c->run;
    front->head.layout = c->layout;
    front->head.chunks = c->n_chunks;
    front->head.files = s->n_files;
    front->head.index = index;
    memcpy(front->head.weight, weight, sizeof front->head.weight);
    status = zo2_spill_plan(front, &s->layout.sizes[index], c->spare > 0 ? c->spare : DEFAULT_SPARE);
    if (!status)
        status = zo2_make_folder(s->io, c->dirs[dir]);
    if (!status)
        status = zo2_spill_file_make(s->io, path, front);
    if (!status)
        status = zo2_spill_file_open(&s->file[index], s->io, path, c->run, 1);
done:
    free(front);
    free(path);
    return status;
}

/* Folders without a file get the indices that are left, in their order. What was made goes if one can't be. */
static zo2_status make_missing(zo2_spill *s, const zo2_spill_config *c, const uint32_t *weight, const int *missing)
{
    int made[ZO2_SPILL_MAX_FILES] = {0};
    zo2_status status = ZO2_OK;
    for (uint32_t d = 0, index = 0; !status && d < c->n_dirs; d++) {
        if (!missing[d])
            continue;
        while (zo2_spill_file_is_open(s, index))
            index++;
        status = make_file(s, c, d, index, weight);
        made[index] = !status;
    }
    for (uint32_t f = 0; status && f < s->n_files; f++)
        if (made[f])
            s->io->unlink(s->io->ud, s->at[f].path);
    return status;
}

/* ---- the whole --------------------------------------------------------------------------------------------------- */

static zo2_status allocate(zo2_spill *s, const zo2_spill_config *c)
{
    const size_t n = (size_t)c->n_chunks + 1;
    zo2_spill_chunk *sizes = calloc(n, sizeof *sizes);
    s->sizes = sizes;
    s->chunk = calloc(n, sizeof *s->chunk);
    s->pending = calloc(n, sizeof *s->pending);
    s->committing = calloc(n, sizeof *s->committing);
    if (!s->sizes || !s->chunk || !s->pending || !s->committing)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory for a spill of %" PRIu32 " chunks", c->n_chunks);
    memcpy(sizes, c->chunks, c->n_chunks * sizeof *sizes);
    return ZO2_OK;
}

static zo2_status open_files(zo2_spill *s, const zo2_spill_config *c)
{
    int missing[ZO2_SPILL_MAX_FILES] = {0};
    uint32_t weight[ZO2_SPILL_MAX_FILES] = {0};
    const zo2_spill_front *any = NULL;
    zo2_status status = zo2_spill_weights(weight, c->share, c->n_dirs);
    if (!status)
        status = open_existing(s, c, &any, missing);
    if (!status && !any && !c->writable)
        status = zo2_error(ZO2_ERR_NOTFOUND, "there is no spill of this run in %s%s", c->dirs[0],
                           c->n_dirs > 1 ? " or the other folders that were named" : "");
    if (status)
        return status;
    s->n_files = any ? any->head.files : c->n_dirs;
    if (any)
        memcpy(weight, any->head.weight, sizeof weight);
    status = zo2_spill_layout_make(&s->layout, c->chunks, c->n_chunks, weight, s->n_files);
    for (uint32_t f = 0; !status && f < s->n_files; f++)
        if (zo2_spill_file_is_open(s, f))
            status = check_slots(s, f);
    if (!status && c->writable)
        status = make_missing(s, c, weight, missing);
    return status;
}

zo2_status zo2_spill_open(zo2_spill **out, const zo2_io *io, const zo2_spill_config *c)
{
    *out = NULL;
    zo2_spill *s = calloc(1, sizeof *s);
    if (!s)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory for a spill");
    s->io = io;
    s->n_chunks = c->n_chunks;
    s->writable = c->writable;
    for (uint32_t f = 0; f < ZO2_SPILL_MAX_FILES; f++)
        s->file[f].at = &s->at[f];
    pthread_mutex_init(&s->lock, NULL);
    zo2_status status = allocate(s, c);
    if (!status)
        status = open_files(s, c);
    if (!status)
        status = zo2_spill_recover(s, c);
    if (status) {
        zo2_spill_close(s);
        return status;
    }
    *out = s;
    return ZO2_OK;
}

zo2_status zo2_spill_layout_of(const zo2_io *io, uint64_t run, const char *const *dirs, uint32_t n_dirs,
                               uint64_t *layout)
{
    zo2_status status = ZO2_ERR_NOTFOUND;
    for (uint32_t d = 0; status == ZO2_ERR_NOTFOUND && d < n_dirs; d++) {
        zo2_aio_file at = {0};
        zo2_spill_file f = {.at = &at, .lock = -1};
        char *path = zo2_spill_path(dirs[d], run);
        status =
            path ? zo2_spill_file_open(&f, io, path, run, 0) : zo2_error(ZO2_ERR_NOMEM, "%s: out of memory", dirs[d]);
        if (!status) {
            *layout = f.front->head.layout;
            zo2_spill_file_close(&f, io);
        }
        free(path);
    }
    return status;
}

void zo2_spill_close(zo2_spill *s)
{
    if (!s)
        return;
    for (uint32_t f = 0; f < ZO2_SPILL_MAX_FILES; f++) {
        zo2_spill_file_close(&s->file[f], s->io);
        free(s->slots[f].state);
        free(s->slots[f].next);
    }
    zo2_spill_layout_free(&s->layout);
    pthread_mutex_destroy(&s->lock);
    free((void *)s->sizes);
    free(s->chunk);
    free(s->pending);
    free(s->committing);
    free(s->why);
    free(s);
}

uint64_t zo2_spill_bytes(const zo2_spill_config *c)
{
    uint32_t weight[ZO2_SPILL_MAX_FILES] = {0};
    zo2_spill_layout l = {0};
    zo2_spill_front *front = calloc(1, sizeof *front);
    uint64_t bytes = 0;
    zo2_status s = front ? zo2_spill_weights(weight, c->share, c->n_dirs)
                         : zo2_error(ZO2_ERR_NOMEM, "out of memory for a spill's layout");
    if (!s)
        s = zo2_spill_layout_make(&l, c->chunks, c->n_chunks, weight, c->n_dirs);
    for (uint32_t f = 0; !s && f < c->n_dirs; f++) {
        s = zo2_spill_plan(front, &l.sizes[f], c->spare > 0 ? c->spare : DEFAULT_SPARE);
        bytes += front->head.file_bytes;
    }
    zo2_spill_layout_free(&l);
    free(front);
    return s ? 0 : bytes;
}

zo2_status zo2_spill_remove(const zo2_io *io, uint64_t run, const char *const *dirs, uint32_t n_dirs)
{
    zo2_status first = ZO2_OK;
    for (uint32_t d = 0; d < n_dirs; d++) {
        char *path = zo2_spill_path(dirs[d], run);
        zo2_status s = path ? zo2_io_remove_unheld(io, path) : zo2_error(ZO2_ERR_NOMEM, "%s: out of memory", dirs[d]);
        if (path)
            zo2_outfile_clean(io, path);
        free(path);
        first = first ? first : s;
    }
    return first;
}
