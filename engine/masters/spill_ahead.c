/* spill_ahead.c: the read lane's side of a spill home. */
#include "engine/masters/home.h"
#include "engine/masters/placement.h"
#include "engine/masters/plane_cache.h"
#include "engine/masters/spill_home.h"
#include "engine/model/layout.h"
#include "storage/spill/spill.h"

/* Under the mutex: whether the lane may make this buffer (NULL: another one) busy, which it isn't. */
static int has_room(const zo2_spill_home *h, const zo2_buffer_pool *p, const zo2_buffer *b)
{
    if (b && zo2_buffer_busy(b))
        return 1;
    return p->busy + h->reserved[p - h->cache.pool] < p->n && (b || p->oldest != ZO2_NO_BUFFER);
}

zo2_pin zo2_spill_home_pin(zo2_spill_home *h, uint32_t chunk, zo2_plane plane, zo2_buffer **b)
{
    zo2_buffer_pool *p = zo2_plane_pool(&h->cache, plane);
    zo2_pin pin = ZO2_PIN_FULL;
    pthread_mutex_lock(&h->mutex);
    *b = zo2_cache_find(p, chunk);
    if (has_room(h, p, *b)) {
        pin = *b ? ZO2_PIN_HELD : ZO2_PIN_ABSENT;
        if (!*b) {
            *b = zo2_cache_take(p, chunk);
            zo2_cache_hold(p, *b, 1);
            zo2_cache_drop(p, *b, 0); /* what take() holds becomes the transfer's */
        }
        zo2_cache_hold(p, *b, 1);
    }
    pthread_mutex_unlock(&h->mutex);
    return pin;
}

zo2_pin zo2_spill_home_prefetch(zo2_spill_home *h, uint32_t chunk, zo2_plane plane, uint32_t kept, zo2_buffer **b)
{
    zo2_buffer_pool *p = zo2_plane_pool(&h->cache, plane);
    zo2_pin pin = ZO2_PIN_FULL;
    pthread_mutex_lock(&h->mutex);
    *b = zo2_cache_find(p, chunk);
    if (*b) {
        zo2_cache_touch(p, *b);
        pin = ZO2_PIN_HELD;
    } else if (p->busy + kept + h->reserved[p - h->cache.pool] < p->n && (*b = zo2_cache_take(p, chunk)) != NULL) {
        zo2_cache_hold(p, *b, 1);
        zo2_cache_drop(p, *b, 0);
        pin = ZO2_PIN_ABSENT;
    }
    pthread_mutex_unlock(&h->mutex);
    return pin;
}

void zo2_spill_home_unpin(zo2_spill_home *h, zo2_plane plane, zo2_buffer *b)
{
    pthread_mutex_lock(&h->mutex);
    zo2_cache_drop(zo2_plane_pool(&h->cache, plane), b, 1);
    pthread_cond_broadcast(&h->changed);
    pthread_mutex_unlock(&h->mutex);
}

void zo2_spill_home_loaded(zo2_spill_home *h, zo2_plane plane, zo2_buffer *b, int failed)
{
    pthread_mutex_lock(&h->mutex);
    if (failed)
        zo2_cache_lose(b);
    else
        b->state = ZO2_BUFFER_READY;
    zo2_cache_drop(zo2_plane_pool(&h->cache, plane), b, 1);
    pthread_cond_broadcast(&h->changed);
    pthread_mutex_unlock(&h->mutex);
}

void zo2_spill_home_made(zo2_spill_home *h, uint32_t chunk, zo2_plane plane, zo2_buffer *b, int failed)
{
    zo2_spill_version v;
    const zo2_layout *l = h->rebuild.layout;
    int keep = !failed && plane == ZO2_PLANE_WIRE && h->spill && h->writable && h->tier[chunk] == ZO2_TIER_SPILL &&
               l->units[l->chunks[chunk].unit].frozen && !zo2_chunk_in_pack(l, chunk) &&
               !zo2_spill_home_newest(h, chunk, &v);
    pthread_mutex_lock(&h->mutex);
    if (keep && !h->writing[chunk] && !h->error.status) {
        zo2_cache_set_dirty(zo2_plane_pool(&h->cache, plane), b, 1);
        zo2_spill_home_queue(h, chunk);
    }
    pthread_mutex_unlock(&h->mutex);
    zo2_spill_home_loaded(h, plane, b, failed);
}

int zo2_spill_home_is_full(zo2_spill_home *h, uint32_t chunk, zo2_plane plane)
{
    zo2_buffer_pool *p = zo2_plane_pool(&h->cache, plane);
    pthread_mutex_lock(&h->mutex);
    int full = !has_room(h, p, zo2_cache_find(p, chunk)) && !h->error.status;
    pthread_mutex_unlock(&h->mutex);
    return full;
}

int zo2_spill_home_is_loading(zo2_spill_home *h, const zo2_buffer *b)
{
    pthread_mutex_lock(&h->mutex);
    int loading = b->state == ZO2_BUFFER_LOADING;
    pthread_mutex_unlock(&h->mutex);
    return loading;
}

void zo2_spill_home_await(zo2_spill_home *h, const zo2_buffer *b)
{
    pthread_mutex_lock(&h->mutex);
    while (b->state == ZO2_BUFFER_LOADING)
        pthread_cond_wait(&h->changed, &h->mutex);
    pthread_mutex_unlock(&h->mutex);
}
