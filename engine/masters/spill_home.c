/* spill_home.c: planes of spilled chunks for those who acquire them; see spill_home.h. */
#include "engine/masters/spill_home.h"
#include "engine/base/checked.h"
#include "engine/base/host_memory.h"
#include "engine/base/job_error.h"
#include "engine/masters/home.h"
#include "engine/masters/pack_window.h"
#include "engine/masters/plane_cache.h"
#include "engine/masters/rebuild.h"
#include "engine/model/layout.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
    h->rebuild = (zo2_rebuild){.layout = l, .pack = how->pack, .window = &h->window};
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
    h->spare_bytes = zo2_max_u64(zo2_max_u64(cache.plane_bytes[0], cache.plane_bytes[1]), 1);
    h->most_spares = c->tasks + 1; /* the read lane's thread makes planes, too */
    h->spare = calloc(h->most_spares, sizeof *h->spare);
    zo2_status s = h->writing && h->writers && h->to_write && h->to_write_history && h->queue && h->spare
                       ? zo2_plane_cache_create(&h->cache, &cache)
                       : zo2_error(ZO2_ERR_NOMEM, "no memory for the tables of %u spilled chunks", l->n_chunks);
    if (!s)
        s = zo2_pack_window_create(&h->window, how->pack, how->io, c->tasks + 1);
    if (s)
        zo2_spill_home_free(h);
    return s;
}

void zo2_spill_home_say(const zo2_spill_home *h, const char *what, const zo2_aio *queue)
{
    char text[300];
    if (!h->log)
        return;
    snprintf(text, sizeof text, "the spill is %s through %s", what, zo2_aio_describe(queue));
    h->log(h->log_ud, ZO2_LOG_INFO, text);
}

void zo2_spill_home_free(zo2_spill_home *h)
{
    if (!h->home.kind)
        return;
    zo2_pack_window_free(&h->window);
    zo2_plane_cache_free(&h->cache);
    free(h->writing);
    free(h->writers);
    free(h->to_write);
    free(h->to_write_history);
    free(h->queue);
    for (uint32_t i = 0; i < h->n_spares; i++)
        zo2_host_unmap(h->spare[i], h->spare_bytes);
    free(h->spare);
    pthread_cond_destroy(&h->changed);
    pthread_cond_destroy(&h->work);
    pthread_mutex_destroy(&h->mutex);
    pthread_mutex_destroy(&h->error.mutex);
    memset(h, 0, sizeof *h);
}
