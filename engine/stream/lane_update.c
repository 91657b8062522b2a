/* pipeline_lanes.c: what the update and the upload lane do with each chunk. */
#include "engine/stream/pipeline_internal.h"

#include <string.h>

/* Places `need` bytes behind the newest slot, or at the front; 0 if they don't fit yet. */
static int ring_place(zo2_pipeline *p, uint32_t position, uint64_t need)
{
    const zo2_program *prog = p->pass.program;
    zo2_ring *r = &p->ring;
    uint32_t oldest = r->oldest;
    while (oldest < position && (oldest < p->released || !zo2_pipeline_slot_bytes(p, oldest)))
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

static void fail(zo2_pipeline *p, zo2_status s)
{
    zo2_job_error_set(&p->error, s);
    pthread_mutex_lock(&p->mutex);
    p->stop = 1;
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->mutex);
}

/* Exact values are staged in their slot's mirror, so the update lane takes the slot. All other wires lie in the masters:
 * then the upload lane does, and the update lane runs ahead of the ring as far as it can. */
static int stages(const zo2_pipeline *p)
{
    return p->pass.source == ZO2_SOURCE_EXACT;
}

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

/* Takes the chunk's slot; 0 if the pass stops. */
static int take_slot(zo2_pipeline *p, uint32_t position, double *seconds, const char *lane)
{
    uint64_t from = 0, used, need = zo2_pipeline_slot_bytes(p, position);
    pthread_mutex_lock(&p->mutex);
    p->pass.program->slot[position] = p->pass.program->after[position] = 0;
    while (need && !zo2_pipeline_stopped(p) && !ring_place(p, position, need))
        zo2_pipeline_block(p, &from);
    int ok = !zo2_pipeline_stopped(p);
    used = p->ring.used;
    pthread_mutex_unlock(&p->mutex);
    zo2_pipeline_spent(p, seconds, lane, "wait", position, 0, from);
    if (need)
        zo2_trace_count(p->trace, "ring", p->pass.step, used);
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

/* Before a slot's part of the staging is written again: whatever went up from there has. Its chunk was released, and
 * what was released has been uploaded before. */
static zo2_status free_staging(zo2_pipeline *p, uint32_t position, double *seconds, const char *lane)
{
    uint64_t after = p->pass.program->after[position];
    if (!after)
        return ZO2_OK;
    uint64_t from = zo2_clock_ns();
    zo2_status s = p->be->ops->sync(p->be, p->released_event[(after - 1) % ZO2_PIPELINE_EVENTS]);
    zo2_pipeline_spent(p, seconds, lane, "wait", position, 0, from);
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
        s = free_staging(p, position, &p->seconds.update.waiting, "update");
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
        int work = stages(p) || is_behind(&p->pass, prog->fetch[i].chunk, &due);
        if (work)
            publish_filled(p, i);
        if (!pass_gate(p, i) || (stages(p) && !take_slot(p, i, &p->seconds.update.waiting, "update")))
            return;
        zo2_status s = fill(p, i);
        if (s) {
            fail(p, s);
            return;
        }
        if (work)
            publish_filled(p, i + 1);
    }
    publish_filled(p, prog->n);
}

/* Number of the wire that a chunk has now: its step and one. 0: nobody can tell, because chunks share their memory. */
static uint64_t version(const zo2_pass *pass, uint32_t chunk)
{
    const zo2_layout *l = pass->program->layout;
    if (pass->masters)
        return pass->masters->shared[chunk] ? 0 : pass->masters->step[chunk] + 1;
    return zo2_unit_due_step(&l->units[l->chunks[chunk].unit], pass->step, pass->pending) + 1;
}

/* The host memory that a chunk goes up from. */
static const void *source_of(const zo2_pipeline *p, uint32_t position)
{
    const zo2_program *prog = p->pass.program;
    uint32_t chunk = prog->fetch[position].chunk;
    uint8_t *staging = p->staging + prog->slot[position];
    if (p->pass.source != ZO2_SOURCE_TRAIN && p->pass.source != ZO2_SOURCE_WIRE)
        return staging; /* where it was staged, or nothing to send */
    const void *wire = zo2_masters_wire(p->pass.masters, chunk);
    return p->bounce ? memcpy(staging, wire, prog->layout->chunks[chunk].wire_bytes) : wire;
}

/* *sent: bytes that went up. */
static zo2_status upload(zo2_pipeline *p, uint32_t position, uint64_t *sent)
{
    const zo2_program *prog = p->pass.program;
    const zo2_fetch *f = &prog->fetch[position];
    const zo2_backend_ops *ops = p->be->ops;
    zo2_resident *resident = zo2_pipeline_is_resident(p, position) ? p->pass.resident : NULL;
    uint64_t now = resident ? version(&p->pass, f->chunk) : 0;
    zo2_status s = ZO2_OK;
    *sent = 0;
    if (f->upload && !(resident && now && resident->holds[f->chunk] == now)) {
        const void *wire = source_of(p, position);
        *sent = prog->layout->chunks[f->chunk].wire_bytes;
        if (resident)
            resident->holds[f->chunk] = 0;
        if (prog->after[position])
            s = ops->wait(p->be, ZO2_LANE_UPLOAD, p->released_event[(prog->after[position] - 1) % ZO2_PIPELINE_EVENTS]);
        if (!s)
            s = ops->upload(p->be, ZO2_LANE_UPLOAD, zo2_pipeline_address(p, position), wire, *sent);
        if (!s && resident)
            resident->holds[f->chunk] = now;
    }
    return s ? s : ops->record(p->be, ZO2_LANE_UPLOAD, p->uploaded_event[position % ZO2_PIPELINE_EVENTS]);
}

void zo2_pipeline_upload_pass(zo2_pipeline *p)
{
    for (uint32_t i = 0; i < p->pass.program->n; i++) {
        uint64_t from = 0;
        pthread_mutex_lock(&p->mutex);
        while (p->filled <= i && !zo2_pipeline_stopped(p))
            zo2_pipeline_block(p, &from);
        int ok = !zo2_pipeline_stopped(p);
        pthread_mutex_unlock(&p->mutex);
        zo2_pipeline_spent(p, &p->seconds.upload.waiting, "upload", "wait", i, 0, from);
        if (!ok || (!stages(p) && !take_slot(p, i, &p->seconds.upload.waiting, "upload")))
            return;
        uint64_t bytes = 0;
        zo2_status s = ZO2_OK;
        if (p->bounce && p->pass.program->fetch[i].upload)
            s = free_staging(p, i, &p->seconds.upload.waiting, "upload");
        from = zo2_clock_ns();
        if (!s)
            s = upload(p, i, &bytes);
        if (p->pass.program->fetch[i].upload)
            zo2_pipeline_spent(p, &p->seconds.upload.busy, "upload", bytes ? "upload" : "resident", i, bytes, from);
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
