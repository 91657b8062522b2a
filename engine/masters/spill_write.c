/* spill_write.c: what a spill home has to have written, the write lane's side of it, and the flush that a snapshot is. */
#include "engine/base/job_error.h"
#include "engine/masters/home.h"
#include "engine/masters/placement.h"
#include "engine/masters/plane_cache.h"
#include "engine/masters/ram_home.h"
#include "engine/masters/spill_home.h"
#include "engine/model/layout.h"
#include "storage/spill/spill.h"

#include <string.h>

/* ---- the lane ---- */

static zo2_write_wish wish(const zo2_spill_home *h)
{
    if (h->error.status)
        return h->ending ? ZO2_WISH_END : ZO2_WISH_NONE; /* nothing is written after an error */
    if (h->queue_n)
        return ZO2_WISH_JOB;
    if (h->flushed < h->flushes)
        return ZO2_WISH_FLUSH;
    return h->ending ? ZO2_WISH_END : ZO2_WISH_NONE;
}

zo2_write_wish zo2_spill_home_wish(zo2_spill_home *h, int wait)
{
    pthread_mutex_lock(&h->mutex);
    zo2_write_wish w = wish(h);
    while (wait && w == ZO2_WISH_NONE) {
        pthread_cond_wait(&h->work, &h->mutex);
        w = wish(h);
    }
    pthread_mutex_unlock(&h->mutex);
    return w;
}

/* Where a plane is that is to be written. Under the mutex. */
static const uint8_t *plane_at(zo2_spill_home *h, uint32_t chunk, zo2_plane plane)
{
    const zo2_chunk *c = &h->rebuild.layout->chunks[chunk];
    if (!(plane == ZO2_PLANE_WIRE ? c->wire_bytes : c->rest_bytes))
        return NULL;
    if (h->tier[chunk] == ZO2_TIER_RAM || (h->tier[chunk] == ZO2_TIER_WIRE && plane == ZO2_PLANE_WIRE))
        return zo2_ram_plane(h->ram, chunk, plane);
    return zo2_cache_find(zo2_plane_pool(&h->cache, plane), chunk)->at;
}

int zo2_spill_home_next_job(zo2_spill_home *h, zo2_write_job *job)
{
    pthread_mutex_lock(&h->mutex);
    int found = h->queue_n && !h->error.status;
    if (found) {
        uint32_t chunk = h->queue[h->queue_first];
        h->queue_first = (h->queue_first + 1) % h->rebuild.layout->n_chunks;
        h->queue_n--;
        h->writing[chunk] = ZO2_WRITE_RUNNING;
        memset(job, 0, sizeof *job);
        job->version.chunk = chunk;
        job->version.step = h->to_write[chunk];
        job->version.history = h->to_write_history[chunk];
        job->wire = plane_at(h, chunk, ZO2_PLANE_WIRE);
        job->rest = plane_at(h, chunk, ZO2_PLANE_REST);
    }
    pthread_mutex_unlock(&h->mutex);
    return found;
}

static void set_clean(zo2_spill_home *h, uint32_t chunk, zo2_plane plane)
{
    zo2_buffer_pool *p = zo2_plane_pool(&h->cache, plane);
    zo2_buffer *b = zo2_cache_find(p, chunk);
    if (b)
        zo2_cache_set_dirty(p, b, 0);
}

void zo2_spill_home_written(zo2_spill_home *h, const zo2_write_job *job)
{
    uint32_t chunk = job->version.chunk;
    zo2_spill_written(h->spill, &job->version); /* before the buffers may be given away */
    pthread_mutex_lock(&h->mutex);
    set_clean(h, chunk, ZO2_PLANE_WIRE);
    set_clean(h, chunk, ZO2_PLANE_REST);
    h->writing[chunk] = ZO2_WRITE_NONE;
    h->written++;
    pthread_cond_broadcast(&h->changed);
    pthread_mutex_unlock(&h->mutex);
}

void zo2_spill_home_committed(zo2_spill_home *h)
{
    pthread_mutex_lock(&h->mutex);
    h->flushed = h->flushes;
    pthread_cond_broadcast(&h->changed);
    pthread_mutex_unlock(&h->mutex);
}

void zo2_spill_home_fail(zo2_spill_home *h, zo2_status s)
{
    pthread_mutex_lock(&h->mutex);
    zo2_job_error_set(&h->error, s);
    pthread_cond_broadcast(&h->changed);
    pthread_mutex_unlock(&h->mutex);
}

void zo2_spill_home_end(zo2_spill_home *h)
{
    pthread_mutex_lock(&h->mutex);
    h->ending = 1;
    pthread_cond_signal(&h->work);
    pthread_mutex_unlock(&h->mutex);
}

/* ---- what is written ---- */

void zo2_spill_home_queue(zo2_spill_home *h, uint32_t chunk)
{
    h->writing[chunk] = ZO2_WRITE_QUEUED;
    h->to_write[chunk] = h->step[chunk];
    h->to_write_history[chunk] = h->chain(h->chain_ud, h->step[chunk]);
    h->queue[(h->queue_first + h->queue_n++) % h->rebuild.layout->n_chunks] = chunk;
    pthread_cond_signal(&h->work);
}

/* Chunks that live in RAM and aren't in the spill as they are. */
static uint64_t queue_resting(zo2_spill_home *h)
{
    uint64_t n = 0;
    for (uint32_t c = 0; c < h->rebuild.layout->n_chunks; c++) {
        zo2_spill_version v;
        if (h->owner[c] != c || h->tier[c] != ZO2_TIER_RAM || h->writing[c])
            continue;
        int kept = zo2_spill_home_newest(h, c, &v);
        if (kept ? v.step == h->step[c] : !h->step[c]) /* at step 0 the pack has it */
            continue;
        zo2_spill_home_queue(h, c);
        n++;
    }
    return n;
}

zo2_status zo2_spill_home_flush(zo2_spill_home *h, zo2_progress_fn progress, void *progress_ud)
{
    int cancelled = 0;
    pthread_mutex_lock(&h->mutex);
    uint64_t from = h->written, n = queue_resting(h);
    uint64_t mine = ++h->flushes, seen = from;
    pthread_cond_signal(&h->work);
    while (h->flushed < mine && !h->error.status) {
        pthread_cond_wait(&h->changed, &h->mutex);
        if (h->written == seen || !progress || cancelled)
            continue;
        seen = h->written;
        uint64_t done = seen - from < n ? seen - from : n;
        pthread_mutex_unlock(&h->mutex);
        cancelled = progress(progress_ud, "snapshot", done, n);
        pthread_mutex_lock(&h->mutex);
    }
    zo2_status s = zo2_job_error_again(&h->error);
    pthread_mutex_unlock(&h->mutex);
    if (!s && cancelled)
        s = zo2_error(ZO2_ERR_CANCELLED, "cancelled while writing a snapshot, which was complete all the same");
    return s;
}
