/* pipeline.c: life of the lanes, and the compute lane's side; see pipeline.h. */
#include "engine/stream/pipeline.h"
#include "engine/base/fpenv.h"
#include "engine/base/job_error.h"
#include "engine/base/thread.h"
#include "engine/stream/ahead.h"
#include "engine/stream/lane_write.h"
#include "engine/stream/lanes.h"
#include "engine/stream/reader.h"
#include "engine/stream/trace.h"
#include "kernels/backend.h"

#include <stdlib.h>
#include <unistd.h>

/* ---- threads ---- */

static void (*const pass_of_lane[ZO2_LANES_AHEAD])(zo2_pipeline *p) = {
#define X(id, name) [ZO2_TRACK_##id] = zo2_lane_##name,
    ZO2_AHEAD_MAP(X)
#undef X
};

/* What they do between passes: nothing, or run ahead of the next. */
static void (*const ahead_of_lane[ZO2_LANES_AHEAD])(zo2_pipeline *p) = {
    [ZO2_TRACK_READ] = zo2_lane_read_ahead,
    [ZO2_TRACK_UPLOAD] = zo2_lane_upload_ahead,
};

static void *run_lane(void *arg)
{
    const zo2_lane_ahead *lane = arg;
    zo2_pipeline *p = lane->pipeline;
    uint64_t seen = 0;
    fenv_t unused;
    zo2_fpenv_pin(&unused);
    pthread_mutex_lock(&p->mutex);
    for (;;) {
        while (p->passes == seen && !p->ending)
            pthread_cond_wait(&p->begun, &p->mutex);
        if (p->ending)
            break;
        seen = p->passes;
        pthread_mutex_unlock(&p->mutex);
        pass_of_lane[lane->track](p);
        pthread_mutex_lock(&p->mutex);
        p->lanes_busy--;
        pthread_cond_broadcast(&p->changed);
        if (ahead_of_lane[lane->track]) {
            pthread_mutex_unlock(&p->mutex);
            ahead_of_lane[lane->track](p);
            pthread_mutex_lock(&p->mutex);
        }
        p->lanes_on--;
        pthread_cond_broadcast(&p->changed);
    }
    pthread_mutex_unlock(&p->mutex);
    return NULL;
}

static zo2_status start_lanes(zo2_pipeline *p)
{
    for (int i = (int)p->first; i < ZO2_LANES_AHEAD; i++) {
        zo2_lane_ahead *lane = &p->lane[i];
        *lane = (zo2_lane_ahead){.pipeline = p, .track = (zo2_track)i};
        lane->started = !zo2_thread_start(&lane->thread, run_lane, lane);
        if (!lane->started)
            return zo2_error(ZO2_ERR_NOMEM, "cannot start the %s lane's thread", zo2_track_name(lane->track));
    }
    return ZO2_OK;
}

/* ---- the compute lane's side ---- */

void zo2_pipeline_start(zo2_pipeline *p)
{
    pthread_mutex_lock(&p->mutex);
    for (int i = 0; i < ZO2_LANES_AHEAD; i++)
        p->lane[i].through = 0;
    p->awaited = p->released = 0;
    p->gate = p->stop = p->goes_on = 0;
    p->lanes_busy = p->lanes_on = ZO2_LANES_AHEAD - (int)p->first;
    p->passes++;
    pthread_cond_broadcast(&p->begun);
    pthread_mutex_unlock(&p->mutex);
}

static void set_awaited(zo2_pipeline *p, uint32_t pc)
{
    pthread_mutex_lock(&p->mutex);
    p->awaited = pc;
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->mutex);
}

zo2_status zo2_pipeline_wait(zo2_pipeline *p, uint32_t pc, zo2_sent_wire *wire)
{
    const uint32_t *ready = &p->lane[ZO2_LANES_AHEAD - 1].through;
    uint64_t from = 0;
    pthread_mutex_lock(&p->mutex);
    while (*ready <= pc && !zo2_pipeline_stopped(p))
        zo2_lane_block(p, &from);
    int ok = *ready > pc && !zo2_pipeline_stopped(p);
    *wire = (zo2_sent_wire){zo2_pipeline_address(p, pc), ok ? p->pass.program->sent[pc] : 0};
    pthread_mutex_unlock(&p->mutex);
    zo2_lane_waited(p, ZO2_TRACK_COMPUTE, pc, from);
    if (!ok) {
        zo2_status s = zo2_job_error_get(&p->error);
        return s ? s : zo2_error(ZO2_ERR_CANCELLED, "the step was cancelled");
    }
    zo2_status s = p->be->ops->wait(p->be, ZO2_LANE_COMPUTE, zo2_pipeline_uploaded(p, pc));
    if (!s && pc >= p->awaited) /* no other thread writes it */
        set_awaited(p, pc + 1);
    return s;
}

zo2_status zo2_pipeline_release(zo2_pipeline *p, uint32_t pc)
{
    /* Recorded before it is published: whoever sees the release can wait for the event. */
    zo2_status s = p->be->ops->record(p->be, ZO2_LANE_COMPUTE, p->released_event[p->releases % ZO2_PIPELINE_EVENTS]);
    if (s)
        return s;
    pthread_mutex_lock(&p->mutex);
    p->releases++;
    for (; p->released < pc; p->released++) {
        p->ring.used -= zo2_pipeline_slot_bytes(p, p->released);
        p->pass.program->freed_by[p->released] = p->releases;
    }
    uint64_t used = p->ring.used;
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->mutex);
    zo2_trace_count(p->trace, "ring", p->pass.step, used);
    return ZO2_OK;
}

uint32_t zo2_pipeline_released(const zo2_pipeline *p)
{
    return p->released; /* no other thread writes it */
}

void zo2_pipeline_open_gate(zo2_pipeline *p)
{
    pthread_mutex_lock(&p->mutex);
    p->gate = 1;
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->mutex);
}

void zo2_pipeline_set_bounce(zo2_pipeline *p, int bounce)
{
    zo2_pipeline_pause(p);
    p->goes_on = 0;
    p->bounce = bounce;
}

void zo2_pipeline_set_trace(zo2_pipeline *p, zo2_tracer *trace)
{
    zo2_pipeline_pause(p);
    pthread_mutex_lock(&p->mutex); /* the write lane may look */
    p->trace = trace;
    pthread_mutex_unlock(&p->mutex);
}

static double take(_Atomic uint64_t *ns)
{
    return 1e-9 * (double)atomic_exchange_explicit(ns, 0, memory_order_relaxed);
}

zo2_pipeline_seconds zo2_pipeline_take_seconds(zo2_pipeline *p)
{
    zo2_pipeline_seconds s = {.read_bytes = atomic_exchange_explicit(&p->read_bytes, 0, memory_order_relaxed),
                              .written_bytes = atomic_exchange_explicit(&p->written_bytes, 0, memory_order_relaxed)};
    for (int i = 0; i <= ZO2_TRACK_WRITE; i++)
        s.of[i] = (zo2_lane_seconds){.busy = take(&p->busy_ns[i]), .waiting = take(&p->waiting_ns[i])};
    return s;
}

/* Waits until the lanes are through with the pass, or have stopped. */
static zo2_status await_lanes(zo2_pipeline *p, zo2_status status)
{
    uint64_t from = 0;
    pthread_mutex_lock(&p->mutex);
    if (status)
        p->stop = 1;
    p->awaited = p->pass.program->n; /* nobody waits for what is left */
    pthread_cond_broadcast(&p->changed);
    while (p->lanes_busy)
        zo2_lane_block(p, &from);
    zo2_lane_waited(p, ZO2_TRACK_COMPUTE, ZO2_NO_PC, from); /* for tables that nothing waits for, most likely */
    int cancelled = !status && !p->stop && p->lane[ZO2_TRACK_UPDATE].through < p->pass.program->n;
    pthread_mutex_unlock(&p->mutex);
    zo2_status first = zo2_job_error_raise(&p->error);
    if (first)
        return first;
    return cancelled ? zo2_error(ZO2_ERR_CANCELLED, "the step was cancelled") : status;
}

int zo2_pipeline_runs_on(const zo2_pipeline *p)
{
    return p->runs_on;
}

zo2_status zo2_pipeline_finish(zo2_pipeline *p, zo2_status status)
{
    if (!status) /* all has been used, also what nobody released: the next pass may follow */
        status = zo2_pipeline_release(p, p->pass.program->n);
    status = await_lanes(p, status);
    p->goes_on = !status && zo2_pass_is_followed(&p->pass);
    p->runs_on = p->goes_on || (!status && p->reader);
    if (!p->runs_on)
        zo2_pipeline_pause(p);
    return status;
}

/* ---- life ---- */

zo2_status zo2_pipeline_create(zo2_pipeline **out, const zo2_pipeline_config *c)
{
    zo2_backend *be = c->be;
    *out = NULL;
    zo2_pipeline *p = calloc(1, sizeof *p);
    if (!p)
        return zo2_error(ZO2_ERR_NOMEM, "no memory for the lanes");
    p->be = be;
    p->pool = c->pool;
    p->ring_base = c->ring;
    p->resident_base = c->resident;
    p->ring_bytes = c->ring_bytes;
    p->staging = c->staging;
    p->staging_bytes = c->staging_bytes;
    p->bounce = c->bounce;
    p->abort = c->abort;
    p->process = getpid();
    pthread_mutex_init(&p->mutex, NULL);
    pthread_mutex_init(&p->error.mutex, NULL);
    pthread_cond_init(&p->changed, NULL);
    pthread_cond_init(&p->begun, NULL);
    zo2_status s = ZO2_OK;
    for (uint32_t i = 0; i < ZO2_PIPELINE_EVENTS && !s; i++) {
        s = be->ops->event_create(be, &p->uploaded_event[i]);
        if (!s)
            s = be->ops->event_create(be, &p->released_event[i]);
    }
    p->first = c->spill ? ZO2_TRACK_READ : ZO2_TRACK_UPDATE;
    if (!s && c->spill)
        s = zo2_reader_create(&p->reader, c->spill, c->longest);
    if (!s && c->spill && c->spill->writable)
        s = zo2_write_lane_start(&p->writer, p, c->spill);
    if (!s)
        s = start_lanes(p);
    if (s) {
        zo2_pipeline_destroy(p);
        return s;
    }
    *out = p;
    return ZO2_OK;
}

static void end_lanes(zo2_pipeline *p)
{
    pthread_mutex_lock(&p->mutex);
    p->ending = 1;
    pthread_cond_broadcast(&p->begun);
    pthread_mutex_unlock(&p->mutex);
    for (int i = 0; i < ZO2_LANES_AHEAD; i++)
        if (p->lane[i].started)
            pthread_join(p->lane[i].thread, NULL);
    pthread_cond_destroy(&p->begun);
    pthread_cond_destroy(&p->changed);
    pthread_mutex_destroy(&p->mutex);
    pthread_mutex_destroy(&p->error.mutex);
}

void zo2_pipeline_destroy(zo2_pipeline *p)
{
    if (!p)
        return;
    if (p->process == getpid()) {
        zo2_pipeline_pause(p);
        zo2_write_lane_end(p->writer);
        (void)p->be->ops->drain(p->be); /* nothing may still read host memory */
        end_lanes(p);
        zo2_reader_destroy(p->reader);
    }
    for (uint32_t i = 0; i < ZO2_PIPELINE_EVENTS; i++) {
        p->be->ops->event_destroy(p->be, p->uploaded_event[i]);
        p->be->ops->event_destroy(p->be, p->released_event[i]);
    }
    free(p);
}
