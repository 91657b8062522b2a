/* lane_update.c: what the update lane does with each chunk: its updates, or exact values into the staging. */
#include "engine/base/clock.h"
#include "engine/base/job_error.h"
#include "engine/base/pool.h"
#include "engine/base/slots.h"
#include "engine/masters/masters.h"
#include "engine/masters/rebuild.h"
#include "engine/model/layout.h"
#include "engine/stream/lanes.h"
#include "engine/stream/pipeline.h"
#include "engine/stream/program.h"

/* Waits until a gated chunk may be updated; 0 if the pass stops. */
static int pass_gate(zo2_pipeline *p, uint32_t pc)
{
    const zo2_fetch *f = &p->pass.program->fetch[pc];
    uint64_t from = 0;
    pthread_mutex_lock(&p->mutex);
    while (f->gated && !p->gate && !zo2_pipeline_stopped(p)) {
        zo2_lane_set_through(p, ZO2_TRACK_UPDATE, pc);
        zo2_lane_block(p, &from);
    }
    int ok = !zo2_pipeline_stopped(p);
    pthread_mutex_unlock(&p->mutex);
    zo2_lane_waited(p, ZO2_TRACK_UPDATE, pc, from);
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
    zo2_masters *m = job->p->pass.masters;
    uint32_t slot = zo2_slots_take(&m->slots);
    float *w = zo2_masters_scratch(m, slot);
    zo2_status status = zo2_masters_read(m, job->p->pass.history, s->tensor, s->row + row, rows, job->p->pass.step, w);
    if (!status)
        s->codec->split(w, s->rows, s->cols, row, rows, job->wire, NULL);
    else
        zo2_job_error_set(&job->error, status);
    zo2_slots_give(&m->slots, slot);
}

/* Exact fp32 values of a chunk of the fp32 layout into the staging memory of its slot. */
static zo2_status stage_exact(zo2_pipeline *p, uint32_t pc)
{
    const zo2_program *prog = p->pass.program;
    const zo2_chunk *c = &prog->layout->chunks[prog->fetch[pc].chunk];
    const zo2_masters *m = p->pass.masters;
    zo2_status s = ZO2_OK;
    const uint32_t tensor = prog->layout->spans[c->first_span].tensor;
    if (zo2_masters_lack_rest(m, tensor) && !zo2_masters_are_wire(m, tensor)) {
        /* chunk by chunk of the pack, not row by row */
        const zo2_rebuild exact = {.layout = prog->layout, .pack = m->exact.pack, .window = m->exact.window};
        return zo2_rebuild_planes(&exact, prog->fetch[pc].chunk, p->pool, p->staging + prog->slot[pc], NULL);
    }
    for (uint32_t i = 0; i < c->n_spans && !s; i++) {
        const zo2_span *span = &prog->layout->spans[c->first_span + i];
        stage_job job = {.p = p, .span = span, .error = ZO2_JOB_ERROR_INIT};
        job.wire = p->staging + prog->slot[pc] + span->wire_at;
        job.piece_rows = span->cols < ZO2_MASTERS_PIECE ? ZO2_MASTERS_PIECE / span->cols : 1;
        zo2_pool_run(p->pool, (span->rows + job.piece_rows - 1) / job.piece_rows, stage_piece, &job);
        s = zo2_job_error_raise(&job.error);
    }
    return s;
}

/* Aliased layers share memory: before it is updated, the upload of the layer before has read it. *go: 0 if the pass
 * stops before that. */
static zo2_status settle_shared(zo2_pipeline *p, uint32_t pc, int *go)
{
    const zo2_program *prog = p->pass.program;
    uint32_t before = prog->previous ? prog->previous[pc] : UINT32_MAX;
    if (before == UINT32_MAX)
        return ZO2_OK;
    uint64_t from = zo2_clock_ns();
    pthread_mutex_lock(&p->mutex);
    const uint32_t *uploaded = &p->lane[ZO2_TRACK_UPLOAD].through;
    while (*uploaded <= before && !zo2_pipeline_stopped(p))
        pthread_cond_wait(&p->changed, &p->mutex);
    *go = *uploaded > before;
    pthread_mutex_unlock(&p->mutex);
    zo2_status s = *go ? p->be->ops->sync(p->be, zo2_pipeline_uploaded(p, before)) : ZO2_OK;
    zo2_lane_waited(p, ZO2_TRACK_UPDATE, pc, from);
    return s;
}

/* Whether a chunk lacks updates that it must have in this pass, up to step *due. */
static int is_behind(const zo2_pass *pass, uint32_t chunk, uint64_t *due)
{
    if (pass->weights != ZO2_PASS_TRAIN && pass->weights != ZO2_PASS_WIRE)
        return 0;
    *due = zo2_pass_due_step(pass, chunk);
    return pass->masters->step[chunk] < *due;
}

static zo2_status fill(zo2_pipeline *p, uint32_t pc)
{
    const zo2_pass *pass = &p->pass;
    const zo2_layout *l = pass->program->layout;
    uint32_t chunk = pass->program->fetch[pc].chunk;
    const char *name = pass->weights == ZO2_PASS_EXACT ? "stage" : "update";
    zo2_status s = ZO2_OK;
    uint64_t bytes = 0, due;
    int behind = is_behind(pass, chunk, &due);
    if (behind && pass->masters->shared[chunk])
        s = settle_shared(p, pc, &behind);
    if (!s && pass->weights == ZO2_PASS_EXACT)
        s = zo2_ring_free_staging(p, ZO2_TRACK_UPDATE, pc);
    uint64_t from = zo2_clock_ns();
    if (!s && pass->weights == ZO2_PASS_EXACT) {
        bytes = l->chunks[chunk].wire_bytes;
        s = stage_exact(p, pc);
    } else if (!s && behind) {
        bytes = l->chunks[chunk].wire_bytes + l->chunks[chunk].rest_bytes;
        s = zo2_masters_update(pass->masters, pass->history, p->pool, chunk, due);
    }
    zo2_lane_worked(p, ZO2_TRACK_UPDATE, name, pc, bytes, from);
    return s;
}

/* Chunks that need nothing are passed on together, which saves a wake-up each, but before anything that takes time. */
void zo2_lane_update(zo2_pipeline *p)
{
    const zo2_program *prog = p->pass.program;
    uint64_t due;
    for (uint32_t i = 0; i < prog->n; i++) {
        if (!zo2_lane_await(p, ZO2_TRACK_UPDATE, i))
            return;
        int work = zo2_pipeline_stages(p) || is_behind(&p->pass, prog->fetch[i].chunk, &due);
        if (work)
            zo2_lane_publish(p, ZO2_TRACK_UPDATE, i);
        if (!pass_gate(p, i) || (zo2_pipeline_stages(p) && !zo2_ring_take(p, ZO2_TRACK_UPDATE, i)))
            return;
        zo2_status s = fill(p, i);
        if (s) {
            zo2_lane_fail(p, s);
            return;
        }
        if (work)
            zo2_lane_publish(p, ZO2_TRACK_UPDATE, i + 1);
    }
    zo2_lane_publish(p, ZO2_TRACK_UPDATE, prog->n);
}
