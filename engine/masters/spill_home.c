/* spill_home.c: planes of spilled chunks for those who acquire them; see spill_home.h. */
#include "engine/masters/spill_home.h"
#include "engine/base/checked.h"
#include "engine/base/job_error.h"
#include "engine/base/pool.h"
#include "engine/masters/home.h"
#include "engine/masters/rebuild.h"
#include "engine/masters/plane_cache.h"
#include "engine/model/layout.h"
#include "storage/spill/spill.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

/* ---- making planes ---- */

/* A damaged version is of no use to anybody; zo2_last_error() says what is wrong with it. */
static void forget_damaged(const zo2_spill_home *h, const zo2_spill_version *v)
{
    char text[1200];
    zo2_spill_forget(h->spill, v);
    if (!h->log)
        return;
    snprintf(text, sizeof text, "%s; this part is rebuilt from the pack and the journal", zo2_last_error());
    h->log(h->log_ud, ZO2_LOG_WARNING, text);
}

int zo2_spill_home_newest(const zo2_spill_home *h, uint32_t chunk, zo2_spill_version *v)
{
    return h->spill && zo2_spill_find(h->spill, chunk, v);
}

int zo2_spill_home_find(const zo2_spill_home *h, uint32_t chunk, zo2_spill_version *v)
{
    return zo2_spill_home_newest(h, chunk, v) && v->step == h->step[chunk];
}

/* Both planes from the newest version that is intact, else from the pack; *at: their step. */
static zo2_status begin_planes(zo2_spill_home *h, uint32_t chunk, zo2_pool *pool, uint8_t *wire, uint8_t *rest,
                               uint64_t *at)
{
    zo2_spill_version v;
    zo2_status s = ZO2_ERR_NOTFOUND;
    while (s && zo2_spill_home_newest(h, chunk, &v) && v.step <= h->step[chunk]) {
        s = zo2_spill_read(h->spill, &v, wire, rest);
        if (s && s != ZO2_ERR_FORMAT)
            return s;
        if (s)
            forget_damaged(h, &v);
    }
    *at = s ? 0 : v.step;
    return s ? zo2_rebuild_planes(&h->rebuild, chunk, pool, wire, rest) : ZO2_OK;
}

/* One plane's memory where it isn't wanted but needed to make the other. */
static zo2_status spare_plane(uint8_t **plane, uint64_t bytes, void **spare)
{
    if (*plane || !bytes)
        return ZO2_OK;
    *spare = aligned_alloc(4096, (bytes + 4095) & ~4095ull);
    *plane = *spare;
    return *spare ? ZO2_OK : zo2_error(ZO2_ERR_NOMEM, "no memory for a plane of %" PRIu64 " bytes", bytes);
}

static zo2_status make_planes(zo2_spill_home *h, uint32_t chunk, zo2_pool *pool, uint8_t *wire, uint8_t *rest)
{
    const zo2_chunk *c = &h->rebuild.layout->chunks[chunk];
    void *spare[2] = {NULL, NULL};
    uint64_t at = 0;
    zo2_status s = spare_plane(&wire, c->wire_bytes, &spare[0]);
    if (!s)
        s = spare_plane(&rest, c->rest_bytes, &spare[1]);
    if (!s)
        s = begin_planes(h, chunk, pool, wire, rest, &at);
    if (!s && at < h->step[chunk])
        s = zo2_rebuild_update(h->rebuild.layout, h->history, chunk, pool, wire, rest, at, h->step[chunk]);
    free(spare[0]);
    free(spare[1]);
    return s;
}

zo2_status zo2_spill_home_load(zo2_spill_home *h, uint32_t chunk, zo2_pool *pool, uint8_t *wire, uint8_t *rest)
{
    zo2_spill_version v;
    if (zo2_spill_home_find(h, chunk, &v)) {
        zo2_status s = zo2_spill_read(h->spill, &v, wire, rest);
        if (s != ZO2_ERR_FORMAT)
            return s;
        forget_damaged(h, &v);
    }
    return make_planes(h, chunk, pool, wire, rest);
}

int zo2_spill_home_check(zo2_spill_home *h, const zo2_spill_version *v, zo2_plane plane, const uint8_t *bytes)
{
    const zo2_chunk *c = &h->rebuild.layout->chunks[v->chunk];
    int is_rest = plane == ZO2_PLANE_REST;
    if (XXH3_64bits(bytes, is_rest ? c->rest_bytes : c->wire_bytes) == (is_rest ? v->rest_hash : v->wire_hash))
        return 1;
    uint32_t n;
    zo2_error(ZO2_ERR_FORMAT, "%s: chunk %" PRIu32 " (offset %" PRIu64 "): wrong checksum",
              zo2_spill_files(h->spill, &n)[v->file].path, v->chunk, is_rest ? v->rest_at : v->wire_at);
    forget_damaged(h, v);
    return 0;
}

/* ---- planes for whoever needs them ---- */

static zo2_spill_home *of_home(zo2_home *home)
{
    return (zo2_spill_home *)(void *)home;
}

/* Reads an absent plane into a buffer that was taken for it, the mutex let go of meanwhile. */
static zo2_status load_here(zo2_spill_home *h, zo2_buffer_pool *p, zo2_buffer *b, zo2_plane plane)
{
    uint32_t chunk = b->chunk;
    pthread_mutex_unlock(&h->mutex);
    zo2_status s = zo2_spill_home_load(h, chunk, NULL, plane == ZO2_PLANE_WIRE ? b->at : NULL,
                                       plane == ZO2_PLANE_REST ? b->at : NULL);
    pthread_mutex_lock(&h->mutex);
    if (s) {
        zo2_cache_lose(b);
        zo2_cache_drop(p, b, 0);
    } else {
        b->state = ZO2_BUFFER_READY;
    }
    pthread_cond_broadcast(&h->changed);
    return s;
}

/* Under the mutex: *b is ready and held. */
static zo2_status hold_plane(zo2_spill_home *h, uint32_t chunk, zo2_plane plane, zo2_buffer **b)
{
    zo2_buffer_pool *p = zo2_plane_pool(&h->cache, plane);
    for (;;) {
        if (h->error.status)
            return zo2_job_error_again(&h->error);
        *b = zo2_cache_find(p, chunk);
        if (*b && (*b)->state == ZO2_BUFFER_READY) {
            zo2_cache_hold(p, *b, 0);
            return ZO2_OK;
        }
        if (!*b && (*b = zo2_cache_take(p, chunk)) != NULL)
            return load_here(h, p, *b, plane);
        pthread_cond_wait(&h->changed, &h->mutex);
    }
}

static zo2_status acquire(zo2_home *home, uint32_t chunk, zo2_plane plane, zo2_access access, uint8_t **at)
{
    zo2_spill_home *h = of_home(home);
    zo2_buffer *b = NULL;
    pthread_mutex_lock(&h->mutex);
    zo2_status s = hold_plane(h, chunk, plane, &b);
    /* what the disk still reads from must not change under it */
    while (!s && access == ZO2_ACCESS_WRITE && h->writing[chunk] && !h->error.status)
        pthread_cond_wait(&h->changed, &h->mutex);
    if (!s && h->error.status) {
        s = zo2_job_error_again(&h->error);
        zo2_cache_drop(zo2_plane_pool(&h->cache, plane), b, 0);
        pthread_cond_broadcast(&h->changed);
    }
    if (!s) {
        h->writers[chunk] += access == ZO2_ACCESS_WRITE;
        *at = b->at;
    }
    pthread_mutex_unlock(&h->mutex);
    return s;
}

static void release(zo2_home *home, uint32_t chunk, zo2_plane plane, zo2_access access)
{
    zo2_spill_home *h = of_home(home);
    zo2_buffer_pool *p = zo2_plane_pool(&h->cache, plane);
    pthread_mutex_lock(&h->mutex);
    zo2_buffer *b = zo2_cache_find(p, chunk);
    if (access != ZO2_ACCESS_READ)
        h->writers[chunk]--;
    if (access == ZO2_ACCESS_WRITE) {
        zo2_cache_set_dirty(p, b, 1);
        if (!h->writers[chunk])
            zo2_spill_home_queue(h, chunk);
    }
    if (access == ZO2_ACCESS_SPOILT)
        zo2_cache_lose(b);
    zo2_cache_drop(p, b, 0);
    pthread_cond_broadcast(&h->changed);
    pthread_mutex_unlock(&h->mutex);
}

static const zo2_home_kind kind = {.name = "the spill", .acquire = acquire, .release = release};

/* ---- life ---- */

zo2_status zo2_spill_home_create(zo2_spill_home *h, const zo2_spill_home_config *c)
{
    const zo2_layout *l = c->layout;
    const zo2_masters_spill *how = c->how;
    memset(h, 0, sizeof *h);
    h->home.kind = &kind;
    h->rebuild = (zo2_rebuild){.layout = l, .pack = how->pack};
    h->history = how->history;
    h->step = c->step;
    h->ram = c->ram;
    h->tier = c->tier;
    h->owner = c->owner;
    h->spill = how->spill;
    h->writable = how->writable;
    h->io = how->io;
    h->aio = how->aio;
    h->chain = how->chain;
    h->chain_ud = how->chain_ud;
    h->log = how->log;
    h->log_ud = how->log_ud;
    memcpy(h->reserved, c->reserved, sizeof h->reserved);
    pthread_mutex_init(&h->mutex, NULL);
    pthread_mutex_init(&h->error.mutex, NULL);
    pthread_cond_init(&h->changed, NULL);
    pthread_cond_init(&h->work, NULL);
    zo2_plane_cache_config cache = {.n_chunks = l->n_chunks,
                                    .buffers = {how->placement->wire_buffers, how->placement->rest_buffers},
                                    .skew = c->skew};
    for (uint32_t i = 0; i < l->n_chunks; i++) {
        cache.plane_bytes[0] = zo2_max_u64(cache.plane_bytes[0], l->chunks[i].wire_bytes);
        cache.plane_bytes[1] = zo2_max_u64(cache.plane_bytes[1], l->chunks[i].rest_bytes);
    }
    if (!cache.plane_bytes[1])
        cache.buffers[1] = 0;
    h->writing = calloc(l->n_chunks, 1);
    h->writers = calloc(l->n_chunks, 1);
    h->to_write = calloc(l->n_chunks, sizeof *h->to_write);
    h->to_write_history = calloc(l->n_chunks, sizeof *h->to_write_history);
    h->queue = calloc(l->n_chunks, sizeof *h->queue);
    zo2_status s = h->writing && h->writers && h->to_write && h->to_write_history && h->queue
                       ? zo2_plane_cache_create(&h->cache, &cache)
                       : zo2_error(ZO2_ERR_NOMEM, "no memory for the tables of %u spilled chunks", l->n_chunks);
    if (s)
        zo2_spill_home_free(h);
    return s;
}

void zo2_spill_home_free(zo2_spill_home *h)
{
    if (!h->home.kind)
        return;
    zo2_plane_cache_free(&h->cache);
    free(h->writing);
    free(h->writers);
    free(h->to_write);
    free(h->to_write_history);
    free(h->queue);
    pthread_cond_destroy(&h->changed);
    pthread_cond_destroy(&h->work);
    pthread_mutex_destroy(&h->mutex);
    pthread_mutex_destroy(&h->error.mutex);
    memset(h, 0, sizeof *h);
}
