/* lane_write.c: see lane_write.h. */
#include "engine/stream/lane_write.h"
#include "engine/base/checked.h"
#include "engine/base/clock.h"
#include "engine/base/thread.h"
#include "engine/masters/spill_home.h"
#include "engine/model/layout.h"
#include "engine/stream/lanes.h"
#include "engine/stream/pipeline.h"
#include "engine/stream/trace.h"
#include "storage/io/aio.h"
#include "storage/spill/spill.h"

#include <stdlib.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#define JOBS           16u         /* chunks written at once: some hundred MiB */
#define COMMIT_SECONDS 30.0        /* what a crash may cost, beside the steps since */
#define REQUESTS       (2u * JOBS) /* a job is two */

typedef struct job {
    zo2_write_job what;
    uint64_t bytes;
    uint32_t left; /* transfers under way; 0: the job is free */
} job;

struct zo2_writer {
    zo2_pipeline *pipeline;
    zo2_spill_home *home;
    zo2_aio *queue;
    pthread_t thread;
    int started;
    job jobs[JOBS];
    uint32_t running;
    double committed; /* when */
};

static void report(zo2_writer *w, const char *name, int64_t chunk, uint64_t step, uint64_t bytes, uint64_t from)
{
    zo2_pipeline *p = w->pipeline;
    uint64_t to = zo2_clock_ns();
    atomic_fetch_add_explicit(&p->busy_ns[ZO2_TRACK_WRITE], to - from, memory_order_relaxed);
    atomic_fetch_add_explicit(&p->written_bytes, bytes, memory_order_relaxed);
    pthread_mutex_lock(&p->mutex);
    zo2_tracer *trace = p->trace;
    pthread_mutex_unlock(&p->mutex);
    zo2_trace_what what = {.lane = zo2_track_name(ZO2_TRACK_WRITE),
                           .name = name,
                           .step = step,
                           .chunk = chunk,
                           .tile = -1,
                           .bytes = bytes};
    zo2_trace_span(trace, &what, from, to);
}

static zo2_status commit(zo2_writer *w)
{
    uint64_t from = zo2_clock_ns();
    zo2_status s = zo2_spill_uncommitted(w->home->spill) ? zo2_spill_commit(w->home->spill) : ZO2_OK;
    w->committed = zo2_now();
    report(w, "commit", -1, 0, 0, from);
    return s;
}

/* Takes one transfer that is done; the last of a job makes its version the newest. */
static zo2_status finish_one(zo2_writer *w)
{
    zo2_aio_done done;
    uint64_t from = zo2_clock_ns();
    if (!zo2_aio_reap(w->queue, &done, 1, 1))
        return ZO2_OK;
    if (done.status)
        return zo2_error(done.status, "%s", zo2_aio_last_error(w->queue));
    job *j = &w->jobs[done.tag];
    if (--j->left)
        return ZO2_OK;
    w->running--;
    zo2_spill_home_written(w->home, &j->what);
    report(w, "write", j->what.version.chunk, j->what.version.step, j->bytes, from);
    pthread_mutex_lock(&w->pipeline->mutex);
    pthread_cond_broadcast(&w->pipeline->changed); /* the read lane may wait for a buffer */
    pthread_mutex_unlock(&w->pipeline->mutex);
    return ZO2_OK;
}

/* A slot for the job, after a commit if need be, and after that of the chunks whose transfers are under way. */
static zo2_status take_slot(zo2_writer *w, zo2_spill_version *v)
{
    zo2_status s = ZO2_OK;
    zo2_spill_version slot;
    while (!s && !zo2_spill_take(w->home->spill, v->chunk, &slot)) {
        if (!zo2_spill_uncommitted(w->home->spill) && !w->running)
            return zo2_error(ZO2_ERR_INTERNAL, "the spill has no free slot for chunk %u", v->chunk);
        if (!zo2_spill_uncommitted(w->home->spill))
            s = finish_one(w);
        else
            s = commit(w);
    }
    if (s)
        return s;
    slot.step = v->step;
    slot.history = v->history;
    *v = slot;
    return ZO2_OK;
}

static zo2_status submit(zo2_writer *w, job *j, const uint8_t *plane, uint64_t bytes, uint64_t at)
{
    zo2_aio_request r = {.op = ZO2_AIO_WRITE,
                         .file = j->what.version.file,
                         .buffer = (void *)(uintptr_t)plane,
                         .bytes = zo2_round_up(bytes, ZO2_AIO_PAGE),
                         .offset = at,
                         .tag = (uint64_t)(j - w->jobs)};
    zo2_status s = zo2_aio_submit(w->queue, &r);
    j->left += !s;
    return s;
}

static zo2_status start_one(zo2_writer *w)
{
    job *j = w->jobs;
    while (j->left)
        j++;
    if (!zo2_spill_home_next_job(w->home, &j->what))
        return ZO2_OK;
    zo2_spill_version *v = &j->what.version;
    const zo2_chunk *c = &w->home->rebuild.layout->chunks[v->chunk];
    zo2_status s = take_slot(w, v);
    if (s)
        return s;
    uint64_t from = zo2_clock_ns();
    v->wire_hash = XXH3_64bits(j->what.wire, c->wire_bytes);
    v->rest_hash = XXH3_64bits(j->what.rest, c->rest_bytes); /* of no bytes, if there is none: SPILL.md */
    j->bytes = c->wire_bytes + c->rest_bytes;
    w->running++;
    s = submit(w, j, j->what.wire, c->wire_bytes, v->wire_at);
    if (!s && j->what.rest)
        s = submit(w, j, j->what.rest, c->rest_bytes, v->rest_at);
    report(w, "hash", v->chunk, v->step, 0, from);
    return s;
}

/* One thing; *ended: nothing is left to do. */
static zo2_status work(zo2_writer *w, int *ended)
{
    zo2_write_wish wish = zo2_spill_home_wish(w->home, !w->running);
    if (w->running && zo2_now() - w->committed > COMMIT_SECONDS)
        return commit(w);
    if (wish == ZO2_WISH_JOB && w->running < JOBS && zo2_aio_room(w->queue) >= 2)
        return start_one(w);
    if (w->running)
        return finish_one(w);
    zo2_status s = wish == ZO2_WISH_JOB ? ZO2_OK : commit(w);
    if (!s && wish == ZO2_WISH_FLUSH)
        zo2_spill_home_committed(w->home);
    *ended = wish == ZO2_WISH_END;
    return s;
}

static void *run(void *arg)
{
    zo2_writer *w = arg;
    int ended = 0;
    zo2_status s = ZO2_OK;
    while (!ended && !s)
        s = work(w, &ended);
    if (s) {
        zo2_spill_home_fail(w->home, s);
        pthread_mutex_lock(&w->pipeline->mutex);
        pthread_cond_broadcast(&w->pipeline->changed);
        pthread_mutex_unlock(&w->pipeline->mutex);
        while (zo2_aio_in_flight(w->queue)) { /* buffers are read from until then */
            zo2_aio_done done;
            zo2_aio_reap(w->queue, &done, 1, 1);
        }
    }
    return NULL;
}

zo2_status zo2_write_lane_start(zo2_writer **out, zo2_pipeline *p, zo2_spill_home *home)
{
    *out = NULL;
    zo2_writer *w = calloc(1, sizeof *w);
    if (!w)
        return zo2_error(ZO2_ERR_NOMEM, "no memory for the write lane");
    w->pipeline = p;
    w->home = home;
    w->committed = zo2_now();
    zo2_aio_config config = {.choice = home->aio,
                             .io = home->io,
                             .arena = home->cache.memory,
                             .arena_bytes = home->cache.bytes,
                             .depth = REQUESTS};
    config.files = zo2_spill_files(home->spill, &config.n_files);
    zo2_status s = zo2_aio_open(&w->queue, &config);
    if (!s && zo2_thread_start(&w->thread, run, w))
        s = zo2_error(ZO2_ERR_NOMEM, "cannot start the write lane's thread");
    w->started = !s;
    if (s) {
        zo2_write_lane_end(w);
        return s;
    }
    zo2_spill_home_say(home, "written", w->queue);
    *out = w;
    return ZO2_OK;
}

void zo2_write_lane_end(zo2_writer *w)
{
    if (!w)
        return;
    if (w->started) {
        zo2_spill_home_end(w->home);
        pthread_join(w->thread, NULL);
    }
    zo2_aio_close(w->queue);
    free(w);
}
