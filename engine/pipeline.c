/* pipeline.c: see pipeline.h. All state is guarded by one mutex and one condition; lanes hold it only to look and to
 * publish. */
#include "engine/pipeline.h"
#include "codec/fpenv.h"
#include "engine/job_error.h"
#include "engine/thread.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define EVENTS \
    64u /* re-recording an event only makes a wait more conservative, never circular: waits look back in host order */

typedef struct ring {
    uint64_t bytes, head; /* head: where the next slot may begin */
    uint64_t used;        /* of slots that are not released */
    uint32_t oldest;      /* first position whose slot is not released */
} ring;

struct zo2_pipeline {
    zo2_backend *be;
    zo2_pool *pool;
    uint8_t *ring_base, *resident_base, *staging;
    int bounce;
    const atomic_int *abort;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    pthread_t update_thread, upload_thread;
    int update_started, upload_started;
    zo2_event *uploaded_event[EVENTS], *released_event[EVENTS];
    zo2_tracer *trace;
    zo2_pipeline_seconds seconds; /* each field is its lane's alone while a pass runs */

    zo2_pass pass;
    uint64_t passes; /* begun so far: wakes the lanes */
    ring ring;
    uint32_t filled, uploaded; /* positions through each lane */
    uint32_t released;         /* positions the compute lane is done with */
    uint64_t releases;         /* calls of release() */
    int gate, stop, ending;
    int lanes_busy;
    zo2_job_error error;
};

/* ---- ring ---- */

static int is_resident(const zo2_pipeline *p, uint32_t position)
{
    const zo2_pass *pass = &p->pass;
    return pass->resident && pass->resident->at[pass->program->fetch[position].chunk] != ZO2_NOT_RESIDENT;
}

/* Bytes of the ring that a position needs. A wire that goes up by way of the staging takes its place there. */
static uint64_t slot_bytes(const zo2_pipeline *p, uint32_t position)
{
    const zo2_program *prog = p->pass.program;
    const zo2_fetch *f = &prog->fetch[position];
    int passes = f->upload && (p->bounce || !is_resident(p, position));
    return passes ? prog->layout->chunks[f->chunk].wire_bytes : 0;
}

/* Places `need` bytes behind the newest slot, or at the front; 0 if they don't fit yet. */
static int ring_place(zo2_pipeline *p, uint32_t position, uint64_t need)
{
    const zo2_program *prog = p->pass.program;
    ring *r = &p->ring;
    uint32_t oldest = r->oldest;
    while (oldest < position && (oldest < p->released || !slot_bytes(p, oldest)))
        oldest++;
    r->oldest = oldest;
    if (oldest == position) { /* empty */
        if (need > r->bytes)
            return 0;
        r->head = 0;
    } else {
        uint64_t tail = prog->slot[oldest];
        if (r->head > tail) {
            if (need > r->bytes - r->head) {
                if (need > tail)
                    return 0;
                r->head = 0;
            }
        } else if (need > tail - r->head) {
            return 0;
        }
    }
    p->pass.program->slot[position] = r->head;
    p->pass.program->after[position] = p->releases;
    r->head += need;
    r->used += need;
    return 1;
}

/* ---- time ---- */

static zo2_trace_what about(const zo2_pipeline *p, const char *lane, const char *name, uint32_t position,
                            uint64_t bytes)
{
    const zo2_layout *l = p->pass.program->layout;
    uint32_t chunk = p->pass.program->fetch[position].chunk;
    const zo2_unit *u = &l->units[l->chunks[chunk].unit];
    int group = u->tensor == ZO2_NO_TENSOR;
    return (zo2_trace_what){.lane = lane,
                            .name = name,
                            .step = p->pass.step,
                            .chunk = chunk,
                            .tile = group ? -1 : (int64_t)u->tile,
                            .tensor = group ? NULL : l->arch->tensors[u->tensor].name,
                            .bytes = bytes};
}

/* Adds the time since `from` to a lane's seconds and to the trace. from 0: it didn't happen. */
static void spent(zo2_pipeline *p, double *seconds, const char *lane, const char *name, uint32_t position,
                  uint64_t bytes, uint64_t from)
{
    if (!from)
        return;
    uint64_t to = zo2_clock_ns();
    *seconds += 1e-9 * (double)(to - from);
    if (p->trace) {
        zo2_trace_what what = about(p, lane, name, position, bytes);
        zo2_trace_span(p->trace, &what, from, to);
    }
}

/* Waits on the condition, under the mutex; *from: when the lane began to wait. */
static void block(zo2_pipeline *p, uint64_t *from)
{
    if (!*from)
        *from = zo2_clock_ns();
    pthread_cond_wait(&p->changed, &p->mutex);
}

/* ---- lanes ---- */

static int stopped(zo2_pipeline *p)
{
    return p->stop || atomic_load(p->abort);
}

static void fail(zo2_pipeline *p, zo2_status s)
{
    zo2_job_error_set(&p->error, s);
    pthread_mutex_lock(&p->mutex);
    p->stop = 1;
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->mutex);
}

/* Takes the chunk's slot; 0 if the pass stops. */
static int acquire(zo2_pipeline *p, uint32_t position)
{
    const zo2_fetch *f = &p->pass.program->fetch[position];
    uint64_t from = 0, used, need = slot_bytes(p, position);
    pthread_mutex_lock(&p->mutex);
    p->pass.program->slot[position] = p->pass.program->after[position] = 0;
    while (f->gated && !p->gate && !stopped(p))
        block(p, &from);
    while (need && !stopped(p) && !ring_place(p, position, need))
        block(p, &from);
    int ok = !stopped(p);
    used = p->ring.used;
    pthread_mutex_unlock(&p->mutex);
    spent(p, &p->seconds.update.waiting, "update", "wait", position, 0, from);
    if (need)
        zo2_trace_count(p->trace, "ring", p->pass.step, used);
    return ok;
}

typedef struct stage_job {
    zo2_pipeline *p;
    const zo2_span *span;
    uint8_t *wire;
    uint64_t piece_rows;
    zo2_job_error error;
} stage_job;

static void stage_piece(void *arg, uint64_t i)
{
    stage_job *job = arg;
    const zo2_span *s = job->span;
    uint64_t row = i * job->piece_rows, rows = s->rows - row < job->piece_rows ? s->rows - row : job->piece_rows;
    float *w = malloc(rows * s->cols * sizeof *w);
    if (!w) {
        zo2_job_error_set(&job->error,
                          zo2_error(ZO2_ERR_NOMEM, "no memory to stage %llu rows", (unsigned long long)rows));
        return;
    }
    zo2_masters_read(job->p->pass.masters, job->p->pass.history, s->tensor, s->row + row, rows, job->p->pass.step, w);
    s->codec->split(w, s->rows, s->cols, row, rows, job->wire, NULL);
    free(w);
}

/* Exact fp32 values of a chunk of the fp32 layout into the staging memory of its slot. */
static zo2_status stage_exact(zo2_pipeline *p, uint32_t position)
{
    const zo2_program *prog = p->pass.program;
    const zo2_chunk *c = &prog->layout->chunks[prog->fetch[position].chunk];
    zo2_status s = ZO2_OK;
    for (uint32_t i = 0; i < c->n_spans && !s; i++) {
        const zo2_span *span = &prog->layout->spans[c->first_span + i];
        stage_job job = {.p = p, .span = span, .error = ZO2_JOB_ERROR_INIT};
        job.wire = p->staging + prog->slot[position] + span->wire_at;
        job.piece_rows = span->cols < 16384 ? 16384 / span->cols : 1;
        zo2_pool_run(p->pool, (span->rows + job.piece_rows - 1) / job.piece_rows, stage_piece, &job);
        s = zo2_job_error_raise(&job.error);
    }
    return s;
}

/* Aliased layers share memory: wait until the uploads issued before this chunk have read it. */
static zo2_status settle_shared(zo2_pipeline *p, uint32_t position)
{
    uint64_t from = zo2_clock_ns();
    pthread_mutex_lock(&p->mutex);
    while (p->uploaded < position && !stopped(p))
        pthread_cond_wait(&p->changed, &p->mutex);
    int issued = p->uploaded >= position;
    pthread_mutex_unlock(&p->mutex);
    zo2_status s = position && issued ? p->be->ops->sync(p->be, p->uploaded_event[(position - 1) % EVENTS]) : ZO2_OK;
    spent(p, &p->seconds.update.waiting, "update", "wait", position, 0, from);
    return s;
}

/* Before a slot's part of the staging is written again: whatever went up from there has. Its chunk was released, and
 * what was released has been uploaded before. */
static zo2_status free_staging(zo2_pipeline *p, uint32_t position, double *seconds, const char *lane)
{
    uint64_t after = p->pass.program->after[position];
    if (!after)
        return ZO2_OK;
    uint64_t from = zo2_clock_ns();
    zo2_status s = p->be->ops->sync(p->be, p->released_event[(after - 1) % EVENTS]);
    spent(p, seconds, lane, "wait", position, 0, from);
    return s;
}

static zo2_status fill(zo2_pipeline *p, uint32_t position)
{
    const zo2_pass *pass = &p->pass;
    const zo2_layout *l = pass->program->layout;
    uint32_t chunk = pass->program->fetch[position].chunk;
    const char *name = pass->source == ZO2_SOURCE_EXACT ? "stage" : "update";
    zo2_status s = ZO2_OK;
    uint64_t bytes = 0, due = zo2_unit_due_step(&l->units[l->chunks[chunk].unit], pass->step, pass->pending);
    int behind = pass->source == ZO2_SOURCE_TRAIN && pass->masters->step[chunk] < due;
    if (behind && pass->masters->shared[chunk])
        s = settle_shared(p, position);
    if (!s && pass->source == ZO2_SOURCE_EXACT)
        s = free_staging(p, position, &p->seconds.update.waiting, "update");
    uint64_t from = zo2_clock_ns();
    if (!s && pass->source == ZO2_SOURCE_EXACT) {
        bytes = l->chunks[chunk].wire_bytes;
        s = stage_exact(p, position);
    } else if (!s && behind) {
        bytes = l->chunks[chunk].wire_bytes + l->chunks[chunk].rest_bytes;
        s = zo2_masters_update(pass->masters, pass->history, p->pool, chunk, due);
    }
    spent(p, &p->seconds.update.busy, "update", name, position, bytes, from);
    return s;
}

static void update_pass(zo2_pipeline *p)
{
    for (uint32_t i = 0; i < p->pass.program->n; i++) {
        if (!acquire(p, i))
            return;
        zo2_status s = fill(p, i);
        if (s) {
            fail(p, s);
            return;
        }
        pthread_mutex_lock(&p->mutex);
        p->filled = i + 1;
        pthread_cond_broadcast(&p->changed);
        pthread_mutex_unlock(&p->mutex);
    }
}

/* Number of the wire that a chunk has now: its step and one. 0: nobody can tell, because chunks share their memory. */
static uint64_t version(const zo2_pass *pass, uint32_t chunk)
{
    const zo2_layout *l = pass->program->layout;
    if (pass->masters)
        return pass->masters->shared[chunk] ? 0 : pass->masters->step[chunk] + 1;
    return zo2_unit_due_step(&l->units[l->chunks[chunk].unit], pass->step, pass->pending) + 1;
}

static uint8_t *device_address(const zo2_pipeline *p, uint32_t position)
{
    const zo2_program *prog = p->pass.program;
    if (is_resident(p, position))
        return p->resident_base + p->pass.resident->at[prog->fetch[position].chunk];
    return p->ring_base + prog->slot[position];
}

/* The host memory that a chunk goes up from. */
static zo2_status source_of(zo2_pipeline *p, uint32_t position, const void **wire)
{
    const zo2_program *prog = p->pass.program;
    uint32_t chunk = prog->fetch[position].chunk;
    uint8_t *staging = p->staging + prog->slot[position];
    zo2_status s = ZO2_OK;
    *wire = staging;
    if (p->pass.source != ZO2_SOURCE_TRAIN && p->pass.source != ZO2_SOURCE_WIRE)
        return ZO2_OK; /* staged, or nothing to send */
    *wire = zo2_masters_wire(p->pass.masters, chunk);
    if (!p->bounce)
        return ZO2_OK;
    s = free_staging(p, position, &p->seconds.upload.waiting, "upload");
    if (!s)
        memcpy(staging, *wire, prog->layout->chunks[chunk].wire_bytes);
    *wire = staging;
    return s;
}

/* *sent: bytes that went up. */
static zo2_status upload(zo2_pipeline *p, uint32_t position, uint64_t *sent)
{
    const zo2_program *prog = p->pass.program;
    const zo2_fetch *f = &prog->fetch[position];
    const zo2_backend_ops *ops = p->be->ops;
    zo2_resident *resident = is_resident(p, position) ? p->pass.resident : NULL;
    uint64_t now = resident ? version(&p->pass, f->chunk) : 0;
    zo2_status s = ZO2_OK;
    *sent = 0;
    if (f->upload && !(resident && now && resident->holds[f->chunk] == now)) {
        const void *wire;
        *sent = prog->layout->chunks[f->chunk].wire_bytes;
        if (resident)
            resident->holds[f->chunk] = 0;
        s = source_of(p, position, &wire);
        if (!s && prog->after[position])
            s = ops->wait(p->be, ZO2_LANE_UPLOAD, p->released_event[(prog->after[position] - 1) % EVENTS]);
        if (!s)
            s = ops->upload(p->be, ZO2_LANE_UPLOAD, device_address(p, position), wire, *sent);
        if (!s && resident)
            resident->holds[f->chunk] = now;
    }
    return s ? s : ops->record(p->be, ZO2_LANE_UPLOAD, p->uploaded_event[position % EVENTS]);
}

static void upload_pass(zo2_pipeline *p)
{
    for (uint32_t i = 0; i < p->pass.program->n; i++) {
        uint64_t from = 0;
        pthread_mutex_lock(&p->mutex);
        while (p->filled <= i && !stopped(p))
            block(p, &from);
        int ok = !stopped(p);
        pthread_mutex_unlock(&p->mutex);
        spent(p, &p->seconds.upload.waiting, "upload", "wait", i, 0, from);
        if (!ok)
            return;
        uint64_t bytes;
        from = zo2_clock_ns();
        zo2_status s = upload(p, i, &bytes);
        if (p->pass.program->fetch[i].upload)
            spent(p, &p->seconds.upload.busy, "upload", bytes ? "upload" : "resident", i, bytes, from);
        if (s) {
            fail(p, s);
            return;
        }
        pthread_mutex_lock(&p->mutex);
        p->uploaded = i + 1;
        pthread_cond_broadcast(&p->changed);
        pthread_mutex_unlock(&p->mutex);
    }
}

static void lane(zo2_pipeline *p, void (*run)(zo2_pipeline *))
{
    uint64_t seen = 0;
    fenv_t unused;
    zo2_fpenv_pin(&unused);
    pthread_mutex_lock(&p->mutex);
    for (;;) {
        while (p->passes == seen && !p->ending)
            pthread_cond_wait(&p->changed, &p->mutex);
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
    lane(arg, update_pass);
    return NULL;
}

static void *upload_lane(void *arg)
{
    lane(arg, upload_pass);
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
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->mutex);
    return ZO2_OK;
}

zo2_status zo2_pipeline_wait(zo2_pipeline *p, uint32_t position, const void **wire)
{
    uint64_t from = 0;
    pthread_mutex_lock(&p->mutex);
    while (p->uploaded <= position && !stopped(p))
        block(p, &from);
    int ok = p->uploaded > position && !stopped(p);
    *wire = device_address(p, position);
    pthread_mutex_unlock(&p->mutex);
    spent(p, &p->seconds.compute_waiting, "compute", "wait", position, 0, from);
    if (!ok) {
        zo2_status s = zo2_job_error_get(&p->error);
        return s ? s : zo2_error(ZO2_ERR_CANCELLED, "the step was cancelled");
    }
    return p->be->ops->wait(p->be, ZO2_LANE_COMPUTE, p->uploaded_event[position % EVENTS]);
}

zo2_status zo2_pipeline_release(zo2_pipeline *p, uint32_t position)
{
    /* Recorded before it is published: whoever sees the release can wait for the event. */
    zo2_status s = p->be->ops->record(p->be, ZO2_LANE_COMPUTE, p->released_event[p->releases % EVENTS]);
    if (s)
        return s;
    pthread_mutex_lock(&p->mutex);
    p->releases++;
    while (p->released < position)
        p->ring.used -= slot_bytes(p, p->released++);
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
        block(p, &from);
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
    zo2_status s = ZO2_OK;
    for (uint32_t i = 0; i < EVENTS && !s; i++) {
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
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->mutex);
    if (p->update_started)
        pthread_join(p->update_thread, NULL);
    if (p->upload_started)
        pthread_join(p->upload_thread, NULL);
    for (uint32_t i = 0; i < EVENTS; i++) {
        p->be->ops->event_destroy(p->be, p->uploaded_event[i]);
        p->be->ops->event_destroy(p->be, p->released_event[i]);
    }
    pthread_cond_destroy(&p->changed);
    pthread_mutex_destroy(&p->mutex);
    pthread_mutex_destroy(&p->error.mutex);
    free(p);
}
