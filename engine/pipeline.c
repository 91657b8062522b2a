/* pipeline.c: see pipeline.h. All state is guarded by one mutex and one condition; lanes hold it only to look and to
 * publish. */
#include "engine/pipeline.h"
#include "codec/fpenv.h"
#include "engine/job_error.h"
#include "engine/thread.h"

#include <pthread.h>
#include <stdlib.h>

#define EVENTS \
    64u /* re-recording an event only makes a wait more conservative, never circular: waits look back in host order */

typedef struct ring {
    uint64_t bytes, head; /* head: where the next slot may begin */
    uint32_t oldest;      /* first position whose slot is not released */
} ring;

struct zo2_pipeline {
    zo2_backend *be;
    zo2_pool *pool;
    uint8_t *ring_base, *staging;
    const atomic_int *abort;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    pthread_t update_thread, upload_thread;
    int update_started, upload_started;
    zo2_event *uploaded_event[EVENTS], *released_event[EVENTS];

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

/* Places `need` bytes behind the newest slot, or at the front; 0 if they don't fit yet. */
static int ring_place(zo2_pipeline *p, uint32_t position, uint64_t need)
{
    const zo2_program *prog = p->pass.program;
    ring *r = &p->ring;
    uint32_t oldest = r->oldest;
    while (oldest < position && (oldest < p->released || !prog->fetch[oldest].upload))
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
    return 1;
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
    const zo2_program *prog = p->pass.program;
    const zo2_fetch *f = &prog->fetch[position];
    int ok = 1;
    pthread_mutex_lock(&p->mutex);
    while (f->gated && !p->gate && !stopped(p))
        pthread_cond_wait(&p->changed, &p->mutex);
    if (f->upload)
        while (!stopped(p) && !ring_place(p, position, prog->layout->chunks[f->chunk].wire_bytes))
            pthread_cond_wait(&p->changed, &p->mutex);
    ok = !stopped(p);
    pthread_mutex_unlock(&p->mutex);
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
    pthread_mutex_lock(&p->mutex);
    while (p->uploaded < position && !stopped(p))
        pthread_cond_wait(&p->changed, &p->mutex);
    pthread_mutex_unlock(&p->mutex);
    return position ? p->be->ops->sync(p->be, p->uploaded_event[(position - 1) % EVENTS]) : ZO2_OK;
}

static zo2_status fill(zo2_pipeline *p, uint32_t position)
{
    const zo2_pass *pass = &p->pass;
    uint32_t chunk = pass->program->fetch[position].chunk;
    if (pass->source == ZO2_SOURCE_EXACT)
        return stage_exact(p, position);
    if (pass->source != ZO2_SOURCE_TRAIN)
        return ZO2_OK;
    const zo2_unit *u = &pass->program->layout->units[pass->program->layout->chunks[chunk].unit];
    uint64_t due = zo2_unit_due_step(u, pass->step, pass->pending);
    if (pass->masters->step[chunk] >= due)
        return ZO2_OK;
    zo2_status s = pass->masters->shared[chunk] ? settle_shared(p, position) : ZO2_OK;
    return s ? s : zo2_masters_update(pass->masters, pass->history, p->pool, chunk, due);
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

static zo2_status upload(zo2_pipeline *p, uint32_t position)
{
    const zo2_pass *pass = &p->pass;
    const zo2_program *prog = pass->program;
    const zo2_fetch *f = &prog->fetch[position];
    const zo2_backend_ops *ops = p->be->ops;
    zo2_status s = ZO2_OK;
    if (f->upload) {
        const void *wire = p->staging + prog->slot[position];
        if (pass->source == ZO2_SOURCE_TRAIN || pass->source == ZO2_SOURCE_WIRE)
            wire = zo2_masters_wire(pass->masters, f->chunk);
        if (prog->after[position])
            s = ops->wait(p->be, ZO2_LANE_UPLOAD, p->released_event[(prog->after[position] - 1) % EVENTS]);
        if (!s)
            s = ops->upload(p->be, ZO2_LANE_UPLOAD, p->ring_base + prog->slot[position], wire,
                            prog->layout->chunks[f->chunk].wire_bytes);
    }
    return s ? s : ops->record(p->be, ZO2_LANE_UPLOAD, p->uploaded_event[position % EVENTS]);
}

static void upload_pass(zo2_pipeline *p)
{
    for (uint32_t i = 0; i < p->pass.program->n; i++) {
        pthread_mutex_lock(&p->mutex);
        while (p->filled <= i && !stopped(p))
            pthread_cond_wait(&p->changed, &p->mutex);
        int ok = !stopped(p);
        pthread_mutex_unlock(&p->mutex);
        if (!ok)
            return;
        zo2_status s = upload(p, i);
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
    p->ring.head = 0;
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
    pthread_mutex_lock(&p->mutex);
    while (p->uploaded <= position && !stopped(p))
        pthread_cond_wait(&p->changed, &p->mutex);
    int ok = p->uploaded > position && !stopped(p);
    *wire = p->ring_base + p->pass.program->slot[position];
    pthread_mutex_unlock(&p->mutex);
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
    p->released = position;
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->mutex);
    return ZO2_OK;
}

void zo2_pipeline_open_gate(zo2_pipeline *p)
{
    pthread_mutex_lock(&p->mutex);
    p->gate = 1;
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->mutex);
}

zo2_status zo2_pipeline_finish(zo2_pipeline *p, zo2_status status)
{
    pthread_mutex_lock(&p->mutex);
    if (status)
        p->stop = 1;
    pthread_cond_broadcast(&p->changed);
    while (p->lanes_busy)
        pthread_cond_wait(&p->changed, &p->mutex);
    int cancelled = !status && !p->stop && p->filled < p->pass.program->n;
    pthread_mutex_unlock(&p->mutex);
    zo2_status first = zo2_job_error_raise(&p->error);
    if (first)
        return first;
    return cancelled ? zo2_error(ZO2_ERR_CANCELLED, "the step was cancelled") : status;
}

/* ---- life ---- */

zo2_status zo2_pipeline_create(zo2_pipeline **out, zo2_backend *be, zo2_pool *pool, void *ring_memory,
                               uint64_t ring_bytes, void *staging, const atomic_int *abort)
{
    *out = NULL;
    zo2_pipeline *p = calloc(1, sizeof *p);
    if (!p)
        return zo2_error(ZO2_ERR_NOMEM, "no memory for the lanes");
    p->be = be;
    p->pool = pool;
    p->ring_base = ring_memory;
    p->ring.bytes = ring_bytes;
    p->staging = staging;
    p->abort = abort;
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
