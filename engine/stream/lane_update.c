/* lane_update.c: what the update lane does with each chunk: its updates, or exact values into the staging. */
#include "engine/base/clock.h"
#include "engine/base/pool.h"
#include "engine/base/slots.h"
#include "engine/masters/masters.h"
#include "engine/model/layout.h"
#include "engine/stream/lanes.h"
#include "engine/stream/pipeline.h"
#include "engine/stream/program.h"

/* Everything before `position` is through the update lane. The mutex is held. */
static void set_filled(zo2_pipeline *p, uint32_t position)
{
    if (p->filled < position) {
        p->filled = position;
        pthread_cond_broadcast(&p->changed);
    }
}

static void publish_filled(zo2_pipeline *p, uint32_t position)
{
    if (p->filled >= position) /* written by this lane alone */
        return;
    pthread_mutex_lock(&p->mutex);
    set_filled(p, position);
    pthread_mutex_unlock(&p->mutex);
}

/* Waits until a gated chunk may be updated; 0 if the pass stops. */
static int pass_gate(zo2_pipeline *p, uint32_t position)
{
    const zo2_fetch *f = &p->pass.program->fetch[position];
    uint64_t from = 0;
    pthread_mutex_lock(&p->mutex);
    while (f->gated && !p->gate && !zo2_pipeline_stopped(p)) {
        set_filled(p, position);
        zo2_pipeline_block(p, &from);
    }
    int ok = !zo2_pipeline_stopped(p);
    pthread_mutex_unlock(&p->mutex);
    zo2_pipeline_spent(p, &p->seconds.update.waiting, "update", "wait", position, 0, from);
    return ok;
}

typedef struct stage_job {
    zo2_pipeline *p;
    const zo2_span *span;
    uint8_t *wire;
    uint64_t piece_rows;
} stage_job;

static void stage_piece(void *arg, uint64_t i)
{
    stage_job *job = arg;
    const zo2_span *s = job->span;
    uint64_t row = i * job->piece_rows, rows = s->rows - row < job->piece_rows ? s->rows - row : job->piece_rows;
    zo2_masters *m = job->p->pass.masters;
    uint32_t slot = zo2_slots_take(&m->slots);
    float *w = zo2_masters_scratch(m, slot);
    zo2_masters_read(m, job->p->pass.history, s->tensor, s->row + row, rows, job->p->pass.step, w);
    s->codec->split(w, s->rows, s->cols, row, rows, job->wire, NULL);
    zo2_slots_give(&m->slots, slot);
}

/* Exact fp32 values of a chunk of the fp32 layout into the staging memory of its slot. */
static void stage_exact(zo2_pipeline *p, uint32_t position)
{
    const zo2_program *prog = p->pass.program;
    const zo2_chunk *c = &prog->layout->chunks[prog->fetch[position].chunk];
    for (uint32_t i = 0; i < c->n_spans; i++) {
        const zo2_span *span = &prog->layout->spans[c->first_span + i];
        stage_job job = {.p = p, .span = span};
        job.wire = p->staging + prog->slot[position] + span->wire_at;
        job.piece_rows = span->cols < 16384 ? 16384 / span->cols : 1;
        zo2_pool_run(p->pool, (span->rows + job.piece_rows - 1) / job.piece_rows, stage_piece, &job);
    }
}

/* Aliased layers share memory: before it is updated, the upload of the layer before has read it. *go: 0 if the pass
 * stops before that. */
static zo2_status settle_shared(zo2_pipeline *p, uint32_t position, int *go)
{
    const zo2_program *prog = p->pass.program;
    uint32_t before = prog->previous ? prog->previous[position] : UINT32_MAX;
    if (before == UINT32_MAX)
        return ZO2_OK;
    uint64_t from = zo2_clock_ns();
    pthread_mutex_lock(&p->mutex);
    while (p->uploaded <= before && !zo2_pipeline_stopped(p))
        pthread_cond_wait(&p->changed, &p->mutex);
    *go = p->uploaded > before;
    pthread_mutex_unlock(&p->mutex);
    zo2_status s = *go ? p->be->ops->sync(p->be, p->uploaded_event[before % ZO2_PIPELINE_EVENTS]) : ZO2_OK;
    zo2_pipeline_spent(p, &p->seconds.update.waiting, "update", "wait", position, 0, from);
    return s;
}

/* Whether a chunk lacks updates that it must have in this pass, up to step *due. */
static int is_behind(const zo2_pass *pass, uint32_t chunk, uint64_t *due)
{
    const zo2_layout *l = pass->program->layout;
    *due = zo2_unit_due_step(&l->units[l->chunks[chunk].unit], pass->step, pass->pending);
    return pass->source == ZO2_SOURCE_TRAIN && pass->masters->step[chunk] < *due;
}

static zo2_status fill(zo2_pipeline *p, uint32_t position)
{
    const zo2_pass *pass = &p->pass;
    const zo2_layout *l = pass->program->layout;
    uint32_t chunk = pass->program->fetch[position].chunk;
    const char *name = pass->source == ZO2_SOURCE_EXACT ? "stage" : "update";
    zo2_status s = ZO2_OK;
    uint64_t bytes = 0, due;
    int behind = is_behind(pass, chunk, &due);
    if (behind && pass->masters->shared[chunk])
        s = settle_shared(p, position, &behind);
    if (!s && pass->source == ZO2_SOURCE_EXACT)
        s = zo2_ring_free_staging(p, position, &p->seconds.update.waiting, "update");
    uint64_t from = zo2_clock_ns();
    if (!s && pass->source == ZO2_SOURCE_EXACT) {
        bytes = l->chunks[chunk].wire_bytes;
        stage_exact(p, position);
    } else if (!s && behind) {
        bytes = l->chunks[chunk].wire_bytes + l->chunks[chunk].rest_bytes;
        s = zo2_masters_update(pass->masters, pass->history, p->pool, chunk, due);
    }
    zo2_pipeline_spent(p, &p->seconds.update.busy, "update", name, position, bytes, from);
    return s;
}

/* Chunks that need nothing are passed on together, which saves a wake-up each, but before anything that takes time. */
void zo2_pipeline_update_pass(zo2_pipeline *p)
{
    const zo2_program *prog = p->pass.program;
    uint64_t due;
    for (uint32_t i = 0; i < prog->n; i++) {
        int work = zo2_pipeline_stages(p) || is_behind(&p->pass, prog->fetch[i].chunk, &due);
        if (work)
            publish_filled(p, i);
        if (!pass_gate(p, i) || (zo2_pipeline_stages(p) && !zo2_ring_take(p, i, &p->seconds.update.waiting, "update")))
            return;
        zo2_status s = fill(p, i);
        if (s) {
            zo2_pipeline_fail(p, s);
            return;
        }
        if (work)
            publish_filled(p, i + 1);
    }
    publish_filled(p, prog->n);
}
