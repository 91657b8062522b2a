/* spill_load.c: where a spill home has a chunk's planes from: the spill, else pack and history. */
#include "engine/base/host_memory.h"
#include "engine/base/pool.h"
#include "engine/masters/home.h"
#include "engine/masters/rebuild.h"
#include "engine/masters/spill_home.h"
#include "engine/model/layout.h"
#include "storage/spill/spill.h"

#include <stdio.h>

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

/* ---- a plane that isn't wanted but needed to make the other ----
 * Its memory is kept for the next time: blocks of megabytes that come and go on several threads leave an allocator holding many times
 * what is used. */

static zo2_status take_spare(zo2_spill_home *h, uint8_t **plane)
{
    pthread_mutex_lock(&h->mutex);
    *plane = h->n_spares ? h->spare[--h->n_spares] : NULL;
    pthread_mutex_unlock(&h->mutex);
    void *fresh = NULL;
    zo2_status s = *plane ? ZO2_OK : zo2_host_map(&fresh, h->spare_bytes, "a plane");
    *plane = *plane ? *plane : fresh;
    return s;
}

static void give_spare(zo2_spill_home *h, uint8_t *plane)
{
    pthread_mutex_lock(&h->mutex);
    int keep = h->n_spares < h->most_spares;
    if (keep)
        h->spare[h->n_spares++] = plane;
    pthread_mutex_unlock(&h->mutex);
    if (!keep)
        zo2_host_unmap(plane, h->spare_bytes);
}

static zo2_status make_planes(zo2_spill_home *h, uint32_t chunk, zo2_pool *pool, uint8_t *wire, uint8_t *rest)
{
    const zo2_chunk *c = &h->rebuild.layout->chunks[chunk];
    uint8_t *spare = NULL;
    uint64_t at = 0;
    zo2_status s = (wire || !c->wire_bytes) && (rest || !c->rest_bytes) ? ZO2_OK : take_spare(h, &spare);
    wire = wire ? wire : spare; /* one of them is wanted */
    rest = rest || !c->rest_bytes ? rest : spare;
    if (!s)
        s = begin_planes(h, chunk, pool, wire, rest, &at);
    if (!s && at < h->step[chunk])
        s = zo2_rebuild_update(h->rebuild.layout, h->history, chunk, pool, wire, rest, at, h->step[chunk]);
    if (spare)
        give_spare(h, spare);
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
    if (!zo2_spill_check(h->spill, v, plane == ZO2_PLANE_REST, bytes))
        return 1;
    forget_damaged(h, v);
    return 0;
}
