/* plane_cache.c: see plane_cache.h. */
#include "engine/masters/plane_cache.h"
#include "engine/base/checked.h"
#include "engine/base/host_memory.h"
#include "storage/io/aio.h"

#include <stdlib.h>
#include <string.h>

/* ---- the list of those that may be given away ---- */

static void unlink_buffer(zo2_buffer_pool *p, zo2_buffer *b)
{
    if (b->newer != ZO2_NO_BUFFER)
        p->buffer[b->newer].older = b->older;
    else
        p->newest = b->older;
    if (b->older != ZO2_NO_BUFFER)
        p->buffer[b->older].newer = b->newer;
    else
        p->oldest = b->newer;
}

static void link_newest(zo2_buffer_pool *p, zo2_buffer *b)
{
    uint32_t i = (uint32_t)(b - p->buffer);
    b->newer = ZO2_NO_BUFFER;
    b->older = p->newest;
    if (p->newest != ZO2_NO_BUFFER)
        p->buffer[p->newest].newer = i;
    else
        p->oldest = i;
    p->newest = i;
}

static void link_oldest(zo2_buffer_pool *p, zo2_buffer *b)
{
    uint32_t i = (uint32_t)(b - p->buffer);
    b->older = ZO2_NO_BUFFER;
    b->newer = p->oldest;
    if (p->oldest != ZO2_NO_BUFFER)
        p->buffer[p->oldest].older = i;
    else
        p->newest = i;
    p->oldest = i;
}

static int is_listed(const zo2_buffer *b)
{
    return !b->holders && !b->dirty;
}

/* After a change of holders or dirt; `was`: is_listed() before it. */
static void relist(zo2_buffer_pool *p, zo2_buffer *b, int was)
{
    int is = is_listed(b);
    if (was && !is)
        unlink_buffer(p, b);
    else if (!was && is && b->chunk == ZO2_NO_CHUNK)
        link_oldest(p, b);
    else if (!was && is)
        link_newest(p, b);
}

/* What was lost goes with its last holder. */
static void forget_lost(zo2_buffer_pool *p, zo2_buffer *b)
{
    if (b->holders || b->state != ZO2_BUFFER_LOST)
        return;
    p->of[b->chunk] = ZO2_NO_BUFFER;
    b->chunk = ZO2_NO_CHUNK;
    b->state = ZO2_BUFFER_EMPTY;
}

/* ---- buffers ---- */

zo2_buffer *zo2_cache_take(zo2_buffer_pool *p, uint32_t chunk)
{
    if (p->oldest == ZO2_NO_BUFFER)
        return NULL;
    zo2_buffer *b = &p->buffer[p->oldest];
    if (b->chunk != ZO2_NO_CHUNK)
        p->of[b->chunk] = ZO2_NO_BUFFER;
    b->chunk = chunk;
    b->state = ZO2_BUFFER_LOADING;
    p->of[chunk] = p->oldest;
    zo2_cache_hold(p, b, 0);
    return b;
}

void zo2_cache_hold(zo2_buffer_pool *p, zo2_buffer *b, int ahead)
{
    int listed = is_listed(b), busy = zo2_buffer_busy(b);
    b->holders++;
    b->ahead += ahead != 0;
    p->busy += zo2_buffer_busy(b) - busy;
    relist(p, b, listed);
}

void zo2_cache_drop(zo2_buffer_pool *p, zo2_buffer *b, int ahead)
{
    int listed = is_listed(b), busy = zo2_buffer_busy(b);
    b->holders--;
    b->ahead -= ahead != 0;
    p->busy -= busy - zo2_buffer_busy(b);
    forget_lost(p, b);
    relist(p, b, listed);
}

void zo2_cache_touch(zo2_buffer_pool *p, zo2_buffer *b)
{
    if (!is_listed(b))
        return;
    unlink_buffer(p, b);
    link_newest(p, b);
}

void zo2_cache_set_dirty(zo2_buffer_pool *p, zo2_buffer *b, int dirty)
{
    int listed = is_listed(b), busy = zo2_buffer_busy(b);
    b->dirty = dirty;
    p->busy = p->busy - busy + zo2_buffer_busy(b);
    relist(p, b, listed);
}

void zo2_cache_lose(zo2_buffer *b)
{
    b->state = ZO2_BUFFER_LOST;
}

/* ---- life ---- */

static uint64_t buffer_bytes(const zo2_plane_cache_config *config, int pool)
{
    return zo2_round_up(config->plane_bytes[pool], ZO2_AIO_PAGE) + (pool ? config->skew : 0);
}

uint64_t zo2_plane_cache_bytes(const zo2_plane_cache_config *config)
{
    uint64_t bytes = 0;
    for (int i = 0; i < 2; i++)
        bytes += config->buffers[i] * zo2_round_up(buffer_bytes(config, i), ZO2_AIO_PAGE);
    return bytes;
}

static zo2_status create_pool(zo2_buffer_pool *p, const zo2_plane_cache_config *config, int pool, uint8_t *memory)
{
    uint64_t stride = zo2_round_up(buffer_bytes(config, pool), ZO2_AIO_PAGE);
    p->n = config->buffers[pool];
    p->bytes = zo2_round_up(config->plane_bytes[pool], ZO2_AIO_PAGE);
    p->newest = p->oldest = ZO2_NO_BUFFER;
    p->buffer = calloc(p->n + 1, sizeof *p->buffer);
    p->of = malloc(config->n_chunks * sizeof *p->of);
    if (!p->buffer || !p->of)
        return zo2_error(ZO2_ERR_NOMEM, "no memory for the tables of %u buffers", p->n);
    memset(p->of, 0xFF, config->n_chunks * sizeof *p->of);
    for (uint32_t i = 0; i < p->n; i++) {
        p->buffer[i].at = memory + i * stride + (pool ? config->skew : 0);
        p->buffer[i].chunk = ZO2_NO_CHUNK;
        link_newest(p, &p->buffer[i]);
    }
    return ZO2_OK;
}

zo2_status zo2_plane_cache_create(zo2_plane_cache *c, const zo2_plane_cache_config *config)
{
    memset(c, 0, sizeof *c);
    uint64_t bytes = zo2_plane_cache_bytes(config);
    void *memory = NULL;
    zo2_status s = bytes ? zo2_host_map(&memory, bytes, "the buffers of spilled master weights") : ZO2_OK;
    if (s)
        return s;
    c->memory = memory;
    c->bytes = bytes;
    for (int i = 0; i < 2 && !s; i++)
        s = create_pool(&c->pool[i], config, i,
                        c->memory + (i ? config->buffers[0] * zo2_round_up(buffer_bytes(config, 0), ZO2_AIO_PAGE) : 0));
    if (s)
        zo2_plane_cache_free(c);
    return s;
}

void zo2_plane_cache_free(zo2_plane_cache *c)
{
    zo2_host_unmap(c->memory, c->bytes);
    for (int i = 0; i < 2; i++) {
        free(c->pool[i].buffer);
        free(c->pool[i].of);
    }
    memset(c, 0, sizeof *c);
}
