/* spill.c: the life of a slot. A version is written beside the last committed one, never over it; a commit makes it durable in
 * two steps, data before headers, and only then is the other slot free. */
#include "storage/spill/spill.h"
#include "storage/io/aio.h"
#include "storage/io/io.h"
#include "storage/spill/spill_file.h"
#include "storage/spill/spill_format.h"
#include "storage/spill/spill_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

/* ---- slots; with the lock held ----------------------------------------------------------------------------------- */

void zo2_spill_free_slot(zo2_spill *s, uint32_t file, uint32_t slot)
{
    zo2_spill_slots *slots = &s->slots[file];
    const size_t k = (size_t)(zo2_spill_slot_class(&s->file[file], slot) - s->file[file].front->classes);
    slots->state[slot] = ZO2_SPILL_FREE;
    slots->next[slot] = ZO2_SPILL_NONE;
    if (slots->last[k] == ZO2_SPILL_NONE)
        slots->first[k] = slot;
    else
        slots->next[slots->last[k]] = slot;
    slots->last[k] = slot;
}

static uint32_t take_slot(zo2_spill *s, uint32_t file, uint32_t k)
{
    zo2_spill_slots *slots = &s->slots[file];
    const uint32_t slot = slots->first[k];
    if (slot == ZO2_SPILL_NONE)
        return slot;
    slots->first[k] = slots->next[slot];
    if (slots->first[k] == ZO2_SPILL_NONE)
        slots->last[k] = ZO2_SPILL_NONE;
    slots->state[slot] = ZO2_SPILL_TAKEN;
    return slot;
}

static uint8_t *state_of(const zo2_spill *s, uint32_t chunk, uint32_t slot)
{
    return &s->slots[s->layout.file[chunk]].state[slot];
}

/* A slot that is written and won't be committed. */
static void drop_written(zo2_spill *s, uint32_t chunk, uint32_t slot)
{
    s->n_written--;
    zo2_spill_free_slot(s, s->layout.file[chunk], slot);
}

void zo2_spill_adopt(zo2_spill *s, uint32_t chunk, uint32_t slot)
{
    const zo2_spill_slot *h = &s->file[s->layout.file[chunk]].table[slot];
    zo2_spill_state_of_chunk *c = &s->chunk[chunk];
    c->newest = slot;
    c->step = h->step;
    c->history = h->history;
    c->wire_hash = h->wire_hash;
    c->rest_hash = h->rest_hash;
}

static void set_place(const zo2_spill *s, zo2_spill_version *v)
{
    v->file = s->layout.file[v->chunk];
    v->wire_at = zo2_spill_slot_offset(zo2_spill_slot_class(&s->file[v->file], v->slot), v->slot);
    v->rest_at = v->wire_at + zo2_spill_pages(s->sizes[v->chunk].wire_bytes);
}

/* ---- versions ---------------------------------------------------------------------------------------------------- */

const zo2_aio_file *zo2_spill_files(const zo2_spill *s, uint32_t *n)
{
    *n = s->n_files;
    return s->at;
}

int zo2_spill_find(zo2_spill *s, uint32_t chunk, zo2_spill_version *v)
{
    assert(chunk < s->n_chunks);
    pthread_mutex_lock(&s->lock);
    const zo2_spill_state_of_chunk *c = &s->chunk[chunk];
    const int found = c->newest != ZO2_SPILL_NONE;
    if (found) {
        *v = (zo2_spill_version){.chunk = chunk,
                                 .slot = c->newest,
                                 .step = c->step,
                                 .wire_hash = c->wire_hash,
                                 .rest_hash = c->rest_hash,
                                 .history = c->history};
        set_place(s, v);
    }
    pthread_mutex_unlock(&s->lock);
    return found;
}

/* A committed slot stays what it is on the disk until the chunk is committed again, and isn't found any more. */
void zo2_spill_forget(zo2_spill *s, const zo2_spill_version *v)
{
    pthread_mutex_lock(&s->lock);
    zo2_spill_state_of_chunk *c = &s->chunk[v->chunk];
    const int is_newest =
        c->newest == v->slot && c->step == v->step && c->wire_hash == v->wire_hash && c->rest_hash == v->rest_hash;
    if (is_newest) {
        c->newest = ZO2_SPILL_NONE;
        if (*state_of(s, v->chunk, v->slot) == ZO2_SPILL_WRITTEN) {
            drop_written(s, v->chunk, v->slot);
            if (c->committed != ZO2_SPILL_NONE)
                zo2_spill_adopt(s, v->chunk, c->committed);
        }
    }
    pthread_mutex_unlock(&s->lock);
}

int zo2_spill_take(zo2_spill *s, uint32_t chunk, zo2_spill_version *v)
{
    assert(chunk < s->n_chunks && s->writable && zo2_spill_keeps(s, chunk));
    pthread_mutex_lock(&s->lock);
    const uint32_t slot = s->failed ? ZO2_SPILL_NONE : take_slot(s, s->layout.file[chunk], s->layout.class_of[chunk]);
    if (slot != ZO2_SPILL_NONE) {
        *v = (zo2_spill_version){.chunk = chunk, .slot = slot};
        set_place(s, v);
    }
    pthread_mutex_unlock(&s->lock);
    return slot != ZO2_SPILL_NONE;
}

void zo2_spill_written(zo2_spill *s, const zo2_spill_version *v)
{
    pthread_mutex_lock(&s->lock);
    zo2_spill_state_of_chunk *c = &s->chunk[v->chunk];
    assert(*state_of(s, v->chunk, v->slot) == ZO2_SPILL_TAKEN);
    if (c->newest != ZO2_SPILL_NONE && *state_of(s, v->chunk, c->newest) == ZO2_SPILL_WRITTEN)
        drop_written(s, v->chunk, c->newest);
    *state_of(s, v->chunk, v->slot) = ZO2_SPILL_WRITTEN;
    s->n_written++;
    c->newest = v->slot;
    c->step = v->step;
    c->history = v->history;
    c->wire_hash = v->wire_hash;
    c->rest_hash = v->rest_hash;
    if (!c->listed)
        s->pending[s->n_pending++] = v->chunk;
    c->listed = 1;
    pthread_mutex_unlock(&s->lock);
}

void zo2_spill_give_back(zo2_spill *s, const zo2_spill_version *v)
{
    pthread_mutex_lock(&s->lock);
    assert(*state_of(s, v->chunk, v->slot) == ZO2_SPILL_TAKEN);
    zo2_spill_free_slot(s, v->file, v->slot);
    pthread_mutex_unlock(&s->lock);
}

uint32_t zo2_spill_uncommitted(zo2_spill *s)
{
    pthread_mutex_lock(&s->lock);
    const uint32_t n = s->n_written;
    pthread_mutex_unlock(&s->lock);
    return n;
}

/* ---- commit ------------------------------------------------------------------------------------------------------ */

/* What is written so far, with its headers in the tables in memory: s->committing[0 .. n). touched[f]: file f is concerned. */
static uint32_t begin_commit(zo2_spill *s, int *touched)
{
    uint32_t n = 0;
    pthread_mutex_lock(&s->lock);
    s->generation += s->n_written > 0;
    for (uint32_t i = 0; i < s->n_pending; i++) {
        const uint32_t chunk = s->pending[i], f = s->layout.file[chunk];
        zo2_spill_state_of_chunk *c = &s->chunk[chunk];
        c->listed = 0;
        if (c->newest == ZO2_SPILL_NONE || *state_of(s, chunk, c->newest) != ZO2_SPILL_WRITTEN)
            continue; /* forgotten */
        *state_of(s, chunk, c->newest) = ZO2_SPILL_COMMITTING;
        const zo2_spill_slot h = {
            .chunk = chunk,
            .slot = c->newest,
            .step = c->step,
            .generation = s->generation,
            .history = c->history,
            .wire_hash = c->wire_hash,
            .rest_hash = c->rest_hash,
            .wire_bytes = (uint32_t)s->sizes[chunk].wire_bytes,
            .rest_bytes = (uint32_t)s->sizes[chunk].rest_bytes,
        };
        zo2_spill_slot_set(&s->file[f], &h);
        touched[f] = 1;
        s->committing[n++] = (zo2_spill_commit_of){chunk, c->newest};
    }
    s->n_pending = 0;
    s->n_written = 0;
    pthread_mutex_unlock(&s->lock);
    return n;
}

static zo2_status sync_files(zo2_spill *s, const int *touched)
{
    for (uint32_t f = 0; f < s->n_files; f++)
        if (touched[f] && s->io->fdatasync(s->io->ud, s->at[f].buffered))
            return zo2_io_error("cannot sync", s->at[f].path);
    return ZO2_OK;
}

static zo2_status write_tables(zo2_spill *s, const int *touched)
{
    zo2_status status = ZO2_OK;
    for (uint32_t f = 0; !status && f < s->n_files; f++)
        if (touched[f])
            status = zo2_spill_table_write(&s->file[f], s->io);
    return status;
}

static void end_commit(zo2_spill *s, uint32_t n)
{
    pthread_mutex_lock(&s->lock);
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t chunk = s->committing[i].chunk, slot = s->committing[i].slot;
        zo2_spill_state_of_chunk *c = &s->chunk[chunk];
        const uint32_t old = c->committed;
        c->committed = slot;
        *state_of(s, chunk, slot) = ZO2_SPILL_COMMITTED;
        if (old == ZO2_SPILL_NONE)
            continue;
        if (c->newest == old) /* a still newer version was forgotten meanwhile */
            zo2_spill_adopt(s, chunk, slot);
        zo2_spill_free_slot(s, s->layout.file[chunk], old);
    }
    pthread_mutex_unlock(&s->lock);
}

static zo2_status fail(zo2_spill *s, zo2_status status)
{
    char *why = strdup(zo2_last_error());
    pthread_mutex_lock(&s->lock);
    s->failed = status;
    s->why = why;
    pthread_mutex_unlock(&s->lock);
    return status;
}

zo2_status zo2_spill_commit(zo2_spill *s)
{
    int touched[ZO2_SPILL_MAX_FILES] = {0};
    if (s->failed)
        return zo2_error(s->failed, "%s", s->why ? s->why : "an earlier commit of the spill failed");
    const uint32_t n = begin_commit(s, touched);
    zo2_status status = sync_files(s, touched); /* the data */
    if (!status)
        status = write_tables(s, touched);
    if (!status)
        status = sync_files(s, touched);
    if (status)
        return fail(s, status);
    end_commit(s, n);
    return ZO2_OK;
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

static zo2_status check_plane(const zo2_aio_file *at, uint32_t chunk, uint64_t offset, uint64_t bytes, uint64_t hash,
                              const void *plane)
{
    if (XXH3_64bits(plane, (size_t)bytes) == hash)
        return ZO2_OK;
    return zo2_error(ZO2_ERR_FORMAT, "%s: chunk %" PRIu32 " at byte %" PRIu64 " is damaged (checksum)", at->path, chunk,
                     offset);
}

zo2_status zo2_spill_check(const zo2_spill *s, const zo2_spill_version *v, int is_rest, const void *plane)
{
    const zo2_spill_chunk *size = &s->sizes[v->chunk];
    return is_rest ? check_plane(&s->at[v->file], v->chunk, v->rest_at, size->rest_bytes, v->rest_hash, plane)
                   : check_plane(&s->at[v->file], v->chunk, v->wire_at, size->wire_bytes, v->wire_hash, plane);
}

zo2_status zo2_spill_read_plane(const zo2_aio_file *at, const zo2_io *io, uint32_t chunk, uint64_t offset,
                                uint64_t bytes, uint64_t hash, void *to)
{
    zo2_status status = bytes ? zo2_aio_file_read(at, io, to, zo2_spill_pages(bytes), offset) : ZO2_OK;
    return status ? status : check_plane(at, chunk, offset, bytes, hash, to);
}

zo2_status zo2_spill_read(zo2_spill *s, const zo2_spill_version *v, void *wire, void *rest)
{
    const zo2_spill_chunk *size = &s->sizes[v->chunk];
    const zo2_aio_file *at = &s->at[v->file];
    zo2_status status = ZO2_OK;
    if (wire)
        status = zo2_spill_read_plane(at, s->io, v->chunk, v->wire_at, size->wire_bytes, v->wire_hash, wire);
    if (!status && rest)
        status = zo2_spill_read_plane(at, s->io, v->chunk, v->rest_at, size->rest_bytes, v->rest_hash, rest);
    return status;
}
