/* pipeline.c: life of the lanes, and the compute lane's side; see pipeline.h. */
#include "engine/stream/pipeline.h"
#include "engine/base/clock.h"
#include "engine/base/fpenv.h"
#include "engine/base/job_error.h"
#include "engine/base/thread.h"
#include "engine/stream/lanes.h"
#include "engine/stream/trace.h"
#include "kernels/backend.h"

#include <stdlib.h>

/* ---- threads ---- */

static void lane(zo2_pipeline *p, void (*run)(zo2_pipeline *))
{
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
        run(p);
        pthread_mutex_lock(&p->mutex);
        p->lanes_busy--;
        pthread_cond_broadcast(&p->changed);
    }
    pthread_mutex_unlock(&p->mutex);
}

static void *update_lane(void *arg)
{
    lane(arg, zo2_pipeline_update_pass);
    return NULL;
}

static void *upload_lane(void *arg)
{
    lane(arg, zo2_pipeline_upload_pass);
    return NULL;
}

/* ---- the compute lane's side ---- */

zo2_status zo2_pipeline_begin(zo2_pipeline *p, const zo2_pass *pass)
{
    pthread_mutex_lock(&p->mutex);
    p->pass = *pass;
    p->ring.head = p->ring.used = 0;
    p->ring.oldest = 0;
    p->filled = p->uploaded = p->released = 0;
    p->releases = 0;
    p->gate = p->stop = 0;
    p->lanes_busy = 2;
    p->passes++;
    pthread_cond_broadcast(&p->begun);
    pthread_mutex_unlock(&p->mutex);
    return ZO2_OK;
}

zo2_status zo2_pipeline_wait(zo2_pipeline *p, uint32_t position, zo2_sent_wire *wire)
{
    uint64_t from = 0;
    pthread_mutex_lock(&p->mutex);
    while (p->uploaded <= position && !zo2_pipeline_stopped(p))
        zo2_pipeline_block(p, &from);
    int ok = p->uploaded > position && !zo2_pipeline_stopped(p);
    *wire = (zo2_sent_wire){zo2_pipeline_address(p, position), ok ? p->pass.program->sent[position] : 0};
    pthread_mutex_unlock(&p->mutex);
    zo2_pipeline_spent(p, &p->seconds.compute_waiting, "compute", "wait", position, 0, from);
    if (!ok) {
        zo2_status s = zo2_job_error_get(&p->error);
        return s ? s : zo2_error(ZO2_ERR_CANCELLED, "the step was cancelled");
    }
    return p->be->ops->wait(p->be, ZO2_LANE_COMPUTE, p->uploaded_event[position % ZO2_PIPELINE_EVENTS]);
}

zo2_status zo2_pipeline_release(zo2_pipeline *p, uint32_t position)
{
    /* Recorded before it is published: whoever sees the release can wait for the event. */
    zo2_status s = p->be->ops->record(p->be, ZO2_LANE_COMPUTE, p->released_event[p->releases % ZO2_PIPELINE_EVENTS]);
    if (s)
        return s;
    pthread_mutex_lock(&p->mutex);
    p->releases++;
    while (p->released < position)
        p->ring.used -= zo2_pipeline_slot_bytes(p, p->released++);
    uint64_t used = p->ring.used;
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->mutex);
    zo2_trace_count(p->trace, "ring", p->pass.step, used);
    return ZO2_OK;
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
    p->bounce = bounce;
}

void zo2_pipeline_set_trace(zo2_pipeline *p, zo2_tracer *trace)
{
    p->trace = trace;
}

zo2_pipeline_seconds zo2_pipeline_take_seconds(zo2_pipeline *p)
{
    zo2_pipeline_seconds s = p->seconds;
    p->seconds = (zo2_pipeline_seconds){0};
    return s;
}

zo2_status zo2_pipeline_finish(zo2_pipeline *p, zo2_status status)
{
    uint64_t from = 0;
    pthread_mutex_lock(&p->mutex);
    if (status)
        p->stop = 1;
    pthread_cond_broadcast(&p->changed);
    while (p->lanes_busy)
        zo2_pipeline_block(p, &from);
    if (from) { /* for tables that nothing waits for, most likely */
        uint64_t to = zo2_clock_ns();
        zo2_trace_what what = {.lane = "compute", .name = "wait", .step = p->pass.step, .chunk = -1, .tile = -1};
        p->seconds.compute_waiting += 1e-9 * (double)(to - from);
        zo2_trace_span(p->trace, &what, from, to);
    }
    int cancelled = !status && !p->stop && p->filled < p->pass.program->n;
    pthread_mutex_unlock(&p->mutex);
    zo2_status first = zo2_job_error_raise(&p->error);
    if (first)
        return first;
    return cancelled ? zo2_error(ZO2_ERR_CANCELLED, "the step was cancelled") : status;
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
    p->ring.bytes = c->ring_bytes;
    p->staging = c->staging;
    p->bounce = c->bounce;
    p->abort = c->abort;
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
    if (!s) {
        p->update_started = !zo2_thread_start(&p->update_thread, update_lane, p);
        p->upload_started = !zo2_thread_start(&p->upload_thread, upload_lane, p);
        if (!p->update_started || !p->upload_started)
            s = zo2_error(ZO2_ERR_NOMEM, "cannot start the lanes' threads");
    }
    if (s) {
        zo2_pipeline_destroy(p);
        return s;
    }
    *out = p;
    return ZO2_OK;
}

void zo2_pipeline_destroy(zo2_pipeline *p)
{
    if (!p)
        return;
    pthread_mutex_lock(&p->mutex);
    p->ending = 1;
    pthread_cond_broadcast(&p->begun);
    pthread_mutex_unlock(&p->mutex);
    if (p->update_started)
        pthread_join(p->update_thread, NULL);
    if (p->upload_started)
        pthread_join(p->upload_thread, NULL);
    for (uint32_t i = 0; i < ZO2_PIPELINE_EVENTS; i++) {
        p->be->ops->event_destroy(p->be, p->uploaded_event[i]);
        p->be->ops->event_destroy(p->be, p->released_event[i]);
    }
    pthread_cond_destroy(&p->begun);
    pthread_cond_destroy(&p->changed);
    pthread_mutex_destroy(&p->mutex);
    pthread_mutex_destroy(&p->error.mutex);
    free(p);
}
