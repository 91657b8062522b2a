/* gather.c: embedding rows through the wire. Only the rows that a micro-batch uses are uploaded, as the wire that their chunk
 * has or will have in this step, so that the tied head sees the same weights. Rows are read before the lanes may touch
 * the tables (pipeline.h, gate). */
#include "codec/codec.h"
#include "engine/base/checked.h"
#include "engine/base/job_error.h"
#include "engine/base/pool.h"
#include "engine/forward/forward.h"
#include "engine/forward/tiles.h"
#include "engine/masters/history.h"
#include "engine/masters/masters.h"
#include "engine/method/probe.h"
#include "engine/model/arch.h"
#include "engine/model/layout.h"
#include "engine/model/wire_size.h"
#include "engine/plan/plan_types.h"
#include "engine/stream/pipeline.h"
#include "engine/stream/trace.h"
#include "kernels/backend.h"
#include "kernels/operations.h"

#include <string.h>

#define ROWS_A_TASK 16u

typedef struct gather_job {
    const zo2_forward_pass *f;
    uint32_t tensor;
    const uint32_t *rows;
    uint32_t row_offset;
    uint64_t n;
    const zo2_codec *codec;
    uint64_t base; /* step where the fold list begins */
    zo2_row_ref *refs;
    uint8_t *wire;
    zo2_job_error error;
} gather_job;

/* The step of a row's wire when it is uploaded in this pass. */
static uint64_t wire_step(const zo2_forward_pass *f, uint32_t tensor, uint64_t row)
{
    const zo2_pass *p = f->pass;
    uint32_t chunk = zo2_masters_row_chunk(p->masters, tensor, row);
    uint64_t has = p->masters->step[chunk];
    uint64_t due = zo2_pass_due_step(p, chunk);
    return due > has ? due : has;
}

static zo2_status gather_one(gather_job *job, uint64_t i)
{
    const zo2_pass *p = job->f->pass;
    uint64_t row = (uint64_t)job->rows[i] + job->row_offset;
    job->refs[i] = (zo2_row_ref){.row = row};
    if (p->weights == ZO2_PASS_NONE)
        return ZO2_OK;
    if (p->weights == ZO2_PASS_EXACT) {
        uint64_t cols = job->f->arch->tensors[job->tensor].cols;
        uint64_t row_bytes = zo2_wire_room(job->codec, 1, cols);
        float *w = (float *)(void *)(job->wire + i * row_bytes); /* fp32 wire rows are the values themselves */
        return zo2_masters_read(p->masters, p->history, job->tensor, row, 1, p->step, w);
    }
    uint64_t step = wire_step(job->f, job->tensor, row);
    uint32_t done;
    zo2_history_range(p->history, job->tensor, job->base, step, &done);
    job->refs[i].folds_done = done;
    return zo2_masters_gather(p->masters, p->history, job->tensor, row, step, job->wire, job->n, i);
}

static void gather_task(void *arg, uint64_t task)
{
    gather_job *job = arg;
    for (uint64_t i = task * ROWS_A_TASK; i < (task + 1) * ROWS_A_TASK && i < job->n; i++) {
        zo2_status s = gather_one(job, i);
        if (s)
            zo2_job_error_set(&job->error, s);
    }
}

zo2_status zo2_gather_rows(zo2_forward_pass *f, uint32_t tensor, const uint32_t *rows, uint32_t row_offset, uint64_t n,
                           zo2_act y, int accumulate)
{
    const zo2_backend_ops *ops = f->be->ops;
    const zo2_device_offsets *d = f->device;
    const zo2_pass *p = f->pass;
    const zo2_tensor *t = &f->arch->tensors[tensor];
    int is_positions = t->role == ZO2_ROLE_EMBED_POSITIONS;
    const zo2_layout *l = p->program->layout;
    const zo2_codec *codec = l->spans[l->chunks[l->units[l->tensor_unit[tensor]].first_chunk].first_span].codec;
    uint64_t refs_bytes = zo2_round_up(n * sizeof(zo2_row_ref), 256);
    gather_job job = {.f = f,
                      .tensor = tensor,
                      .rows = rows,
                      .row_offset = row_offset,
                      .n = n,
                      .codec = codec,
                      .error = ZO2_JOB_ERROR_INIT};
    zo2_status s = ZO2_OK;

    /* Each of the two tables has an area in every set, so with one or two micro-batches there is nothing to wait for,
     * and with more only for the upload of two micro-batches ago. */
    uint32_t *gathers = &f->gathers[is_positions], set = *gathers % f->host->gather_sets;
    uint32_t area = 2 * set + (is_positions ? 1 : 0);
    uint8_t *staging = f->gather + set * f->host->gather_set_bytes + (is_positions ? f->host->gather_positions : 0);
    uint64_t begin = zo2_trace_begin(f->trace);
    if ((*gathers)++ >= f->host->gather_sets)
        s = ops->sync(f->be, f->gathered[area]);
    job.refs = (zo2_row_ref *)(void *)staging;
    job.wire = staging + refs_bytes;
    job.base = p->step;
    if (p->weights == ZO2_PASS_TRAIN || p->weights == ZO2_PASS_WIRE)
        for (uint64_t i = 0; i < n; i++) {
            uint64_t step = wire_step(f, tensor, (uint64_t)rows[i] + row_offset);
            job.base = step < job.base ? step : job.base;
        }
    if (!s) {
        zo2_pool_run(f->pool, (n + ROWS_A_TASK - 1) / ROWS_A_TASK, gather_task, &job);
        s = zo2_job_error_raise(&job.error);
    }
    uint64_t wire_bytes = 0;
    if (!s)
        wire_bytes = zo2_wire_sent(codec, p->weights == ZO2_PASS_NONE ? NULL : job.wire, n, t->cols);
    uint8_t *wire = f->arena + (is_positions ? d->positions : d->rows);
    if (!s)
        s = ops->upload(f->be, ZO2_LANE_COMPUTE, f->arena + d->refs, job.refs, n * sizeof(zo2_row_ref));
    if (!s)
        s = ops->upload(f->be, ZO2_LANE_COMPUTE, wire, job.wire, wire_bytes);
    if (!s)
        s = ops->record(f->be, ZO2_LANE_COMPUTE, f->gathered[area]);
    zo2_forward_span(f, begin, "gather", tensor, ZO2_NO_TENSOR, -1, refs_bytes + wire_bytes);

    zo2_decode_rows_op op = {.wire = codec->id,
                             .src = wire,
                             .src_bytes = wire_bytes,
                             .refs = (const zo2_row_ref *)(void *)(f->arena + d->refs),
                             .rows = n,
                             .cols = t->cols,
                             .tensor_id = tensor,
                             .decays = t->decays,
                             .dist = f->dist,
                             .key = f->key,
                             .ld = y.ld,
                             .type = y.type,
                             .accumulate = accumulate};
    if (p->weights == ZO2_PASS_TRAIN || p->weights == ZO2_PASS_WIRE)
        op.fold = zo2_history_range(p->history, tensor, job.base, p->step, &op.folds);
    uint64_t stream_bytes = y.stride * zo2_element_bytes(f, y.type);
    for (uint32_t first = 0; first < f->probes->streams && !s;) {
        zo2_probe_group g = zo2_probe_group_at(f->probes, first);
        op.query = g.query;
        op.panels = g.n;
        zo2_group_eps(f, &g, tensor, op.eps);
        for (uint32_t i = 0; i < g.n; i++)
            op.panel[i] = y.p + (first + i) * stream_bytes;
        begin = zo2_trace_begin(f->trace);
        s = ops->decode_rows(f->be, &op);
        zo2_forward_span(f, begin, "decode", tensor, ZO2_NO_TENSOR, -1, wire_bytes);
        first += g.n;
    }
    return s;
}
