/* trunk.c: the store: an index over files or over memory. */
#include "storage/trunk/trunk.h"
#include "engine/base/checked.h"
#include "storage/io/io.h"
#include "storage/trunk/trunk_arena.h"
#include "storage/trunk/trunk_file.h"
#include "storage/trunk/trunk_index.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

struct zo2_trunk {
    zo2_trunk_config c; /* without dirs: the caller's array may be gone */
    zo2_trunk_index index;
    zo2_trunk_arena arena;
    zo2_trunk_file file[ZO2_TRUNK_MAX_FILES]; /* [c.n_dirs] */
    zo2_trunk_stats stats;
    int complained; /* as a file's, of entries in RAM */
};

/* ---- opening ----------------------------------------------------------------------------------------------------- */

static zo2_status open_files(zo2_trunk *t, const zo2_trunk_config *c)
{
    zo2_status s = ZO2_OK;
    for (uint32_t i = 0; !s && i < c->n_dirs; i++) {
        zo2_trunk_file *f = &t->file[i];
        s = zo2_trunk_file_open(f, c, i, &t->index);
        for (uint32_t k = 0; !s && f->fd >= 0 && k < i; k++)
            if (t->file[k].fd >= 0 && t->file[k].device == f->device && t->file[k].inode == f->inode)
                s = zo2_error(ZO2_ERR_ARG, "%s and %s are one file: name each folder of the trunk cache once",
                              t->file[k].path, f->path);
        t->stats.bytes += f->bytes;
    }
    return s;
}

zo2_status zo2_trunk_open(zo2_trunk **out, const zo2_trunk_config *c)
{
    *out = NULL;
    if (c->n_dirs > ZO2_TRUNK_MAX_FILES)
        return zo2_error(ZO2_ERR_ARG, "a trunk cache in %" PRIu32 " folders: at most %u", c->n_dirs,
                         ZO2_TRUNK_MAX_FILES);
    zo2_trunk *t = calloc(1, sizeof *t);
    if (!t)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory for a trunk cache");
    t->c = *c;
    t->c.io = c->io ? c->io : &zo2_io_posix;
    for (uint32_t i = 0; i < ZO2_TRUNK_MAX_FILES; i++)
        t->file[i].fd = -1;
    const zo2_trunk_config with_io = t->c;
    zo2_status s = open_files(t, &with_io);
    t->c.dirs = NULL;
    if (s) {
        zo2_trunk_close(t);
        return s;
    }
    *out = t;
    return ZO2_OK;
}

void zo2_trunk_close(zo2_trunk *t)
{
    if (!t)
        return;
    (void)zo2_trunk_sync(t); /* the log has it */
    for (uint32_t i = 0; i < ZO2_TRUNK_MAX_FILES; i++)
        zo2_trunk_file_close(&t->file[i]);
    zo2_trunk_arena_free(&t->arena);
    zo2_trunk_index_free(&t->index);
    free(t);
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

static const zo2_trunk_entry *find(const zo2_trunk *t, const zo2_trunk_key *key, uint64_t bytes)
{
    const zo2_trunk_entry *e = zo2_trunk_index_find(&t->index, key);
    return e && e->bytes == bytes ? e : NULL;
}

int zo2_trunk_has(const zo2_trunk *t, const zo2_trunk_key *key, uint64_t bytes)
{
    return find(t, key, bytes) != NULL;
}

void zo2_trunk_expect(const zo2_trunk *t, const zo2_trunk_key *key)
{
    const zo2_trunk_entry *e = zo2_trunk_index_find(&t->index, key);
    if (e && e->bytes && t->c.n_dirs) /* no bytes would mean all behind */
        (void)posix_fadvise(t->file[e->part].fd, (off_t)e->at, (off_t)e->bytes, POSIX_FADV_WILLNEED);
}

static zo2_status fetch(const zo2_trunk *t, const zo2_trunk_entry *e, void *dst)
{
    const char *where = t->c.n_dirs ? t->file[e->part].path : "the trunk cache in memory";
    if (t->c.n_dirs) {
        zo2_status s = zo2_trunk_file_read(&t->file[e->part], e, dst);
        if (s)
            return s;
    } else if (e->bytes) {
        memcpy(dst, zo2_trunk_arena_at(&t->arena, e->part, e->at), (size_t)e->bytes);
    }
    if (XXH3_64bits(dst, (size_t)e->bytes) == e->hash)
        return ZO2_OK;
    return zo2_error(ZO2_ERR_FORMAT, "%s: the rows at offset %" PRIu64 " are damaged (checksum)", where, e->at);
}

static void forget(zo2_trunk *t, const zo2_trunk_key *key, uint32_t part)
{
    int *complained = t->c.n_dirs ? &t->file[part].complained : &t->complained;
    if (!*complained)
        zo2_trunk_say(&t->c, ZO2_LOG_WARNING, "%s; they are computed again, as any others that turn out damaged",
                      zo2_last_error());
    *complained = 1;
    t->stats.damaged++;
    zo2_trunk_index_remove(&t->index, key);
}

int zo2_trunk_get(zo2_trunk *t, const zo2_trunk_key *key, void *dst, uint64_t bytes)
{
    const zo2_trunk_entry *e = find(t, key, bytes);
    if (e && !fetch(t, e, dst)) {
        t->stats.hits++;
        return 1;
    }
    if (e)
        forget(t, key, e->part);
    t->stats.misses++;
    return 0;
}

/* ---- adding ------------------------------------------------------------------------------------------------------ */

/* Says so once: what is full stays so, and each further entry would say the same. */
static int no_room(zo2_trunk *t, const char *why)
{
    if (!t->stats.full)
        zo2_trunk_say(&t->c, ZO2_LOG_INFO, "the trunk cache has %" PRIu64 " entries and takes no more: %s", t->index.n,
                      why);
    t->stats.full = 1;
    return 0;
}

/* The file that the key says, else the next one that still takes entries. */
static zo2_status add_to_files(zo2_trunk *t, zo2_trunk_entry *e, const void *src)
{
    zo2_status s = ZO2_ERR_NOTFOUND; /* no file takes anything */
    for (uint32_t k = 0; s && k < t->c.n_dirs; k++) {
        e->part = (uint32_t)((e->key.low + k) % t->c.n_dirs);
        if (!t->file[e->part].takes)
            continue;
        s = zo2_trunk_file_add(&t->file[e->part], e, src);
        if (s)
            zo2_trunk_say(&t->c, ZO2_LOG_WARNING, "%s; no more rows are kept there", zo2_last_error());
    }
    return s;
}

static int add(zo2_trunk *t, zo2_trunk_entry *e, const void *src)
{
    if (t->c.n_dirs)
        return !add_to_files(t, e, src) || no_room(t, "no file takes entries");
    if (zo2_trunk_arena_add(&t->arena, src, e->bytes, t->c.bytes - t->stats.bytes, &e->part, &e->at))
        return no_room(t, zo2_last_error());
    e->hash = XXH3_64bits(src, (size_t)e->bytes);
    return 1;
}

int zo2_trunk_put(zo2_trunk *t, const zo2_trunk_key *key, const void *src, uint64_t bytes)
{
    const uint64_t takes = zo2_trunk_entry_bytes(bytes);
    uint64_t all;
    if (find(t, key, bytes))
        return 1;
    if (t->c.n_dirs && !t->c.writable)
        return 0;
    if (!zo2_add_u64(t->stats.bytes, takes, &all) || all > t->c.bytes)
        return no_room(t, "it has its size");
    if (!zo2_trunk_index_reserve(&t->index))
        return no_room(t, "its index has no room");
    zo2_trunk_entry e = {.key = *key, .bytes = bytes};
    if (!add(t, &e, src))
        return 0;
    t->stats.bytes = all;
    return zo2_trunk_index_set(&t->index, &e) || no_room(t, "its index has no room");
}

zo2_status zo2_trunk_sync(zo2_trunk *t)
{
    zo2_status last = ZO2_OK; /* the last failure, whose text is the thread's last error */
    for (uint32_t i = 0; i < t->c.n_dirs; i++) {
        zo2_status s = zo2_trunk_file_sync(&t->file[i]);
        if (s)
            zo2_trunk_say(&t->c, ZO2_LOG_WARNING, "%s; no more rows are kept there", zo2_last_error());
        last = s ? s : last;
    }
    return last;
}

zo2_trunk_stats zo2_trunk_stats_of(const zo2_trunk *t)
{
    zo2_trunk_stats s = t->stats;
    s.entries = t->index.n;
    return s;
}

/* ---- removing ---------------------------------------------------------------------------------------------------- */

zo2_status zo2_trunk_remove(const zo2_io *io, uint64_t run, const char *const *dirs, uint32_t n_dirs)
{
    zo2_status first = ZO2_OK;
    io = io ? io : &zo2_io_posix;
    for (uint32_t i = 0; i < n_dirs; i++) {
        char *path = zo2_trunk_path(dirs[i], run);
        zo2_status s = path ? zo2_io_remove_unheld(io, path) : zo2_error(ZO2_ERR_NOMEM, "%s: out of memory", dirs[i]);
        free(path);
        first = first ? first : s;
    }
    return first;
}
