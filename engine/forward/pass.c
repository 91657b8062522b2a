/* pass.c: the two passes of a core: a step's perturbed streams, and the unperturbed one of an evaluation. */
#include "codec/update.h"
#include "engine/base/clock.h"
#include "engine/base/fpenv.h"
#include "engine/forward/core.h"
#include "engine/forward/forward.h"
#include "engine/forward/trunk_rows.h"
#include "engine/method/probe.h"
#include "engine/method/rotation.h"
#include "engine/model/arch.h"
#include "engine/plan/plan_types.h"
#include "engine/stream/pipeline.h"
#include "engine/stream/program.h"
#include "engine/stream/trace.h"
#include "kernels/backend.h"
#include "kernels/operations.h"

#include <math.h>
#include <string.h>

/* A span of the compute lane that belongs to no chunk. */
static void span(zo2_core *c, const char *name, uint64_t bytes, uint64_t begin)
{
    zo2_trace_what what = {.lane = zo2_track_name(ZO2_TRACK_COMPUTE),
                           .name = name,
                           .step = c->history.steps,
                           .chunk = -1,
                           .tile = -1,
                           .bytes = bytes};
    if (c->tracer.fn)
        zo2_trace_span(&c->tracer, &what, begin, zo2_clock_ns());
}

/* Where each token of the batch stands in its row. */
static zo2_status upload_positions(zo2_core *c, uint8_t *arena)
{
    uint64_t bytes = c->packed.tokens * 4, begin = zo2_clock_ns();
    uint8_t *rows = c->staging + c->plan.host.rope_rows;
    memcpy(rows, c->packed.position, bytes);
    zo2_status s = c->ops->upload(c->be, ZO2_LANE_COMPUTE, arena + c->plan.device.rope_rows, rows, bytes);
    span(c, "positions", bytes, begin);
    return s;
}

/* Targets as the head's rows that move are numbered. */
static zo2_status upload_row_targets(zo2_core *c, uint8_t *arena)
{
    const zo2_arch *a = c->arch;
    uint32_t *to = (uint32_t *)(void *)(c->staging + c->plan.host.row_target);
    for (uint64_t i = 0; i < c->packed.losses; i++) {
        uint32_t low = 0, high = a->n_rows;
        while (low < high) {
            uint32_t middle = low + (high - low) / 2;
            if (a->row[middle] < c->packed.target[i])
                low = middle + 1;
            else
                high = middle;
        }
        to[i] = low < a->n_rows && a->row[low] == c->packed.target[i] ? low : UINT32_MAX;
    }
    return c->ops->upload(c->be, ZO2_LANE_COMPUTE, arena + c->plan.device.row_target, to, c->packed.losses * 4);
}

static zo2_status upload_losses(zo2_core *c, uint8_t *arena, uint32_t streams)
{
    const zo2_device_offsets *d = &c->plan.device;
    uint64_t bytes = c->packed.losses * 4, begin = zo2_clock_ns();
    uint8_t *index = c->staging + c->plan.host.index, *target = c->staging + c->plan.host.target;
    memcpy(index, c->packed.index, bytes);
    memcpy(target, c->packed.target, bytes);
    zo2_status s = c->ops->upload(c->be, ZO2_LANE_COMPUTE, arena + d->index, index, bytes);
    if (!s)
        s = c->ops->upload(c->be, ZO2_LANE_COMPUTE, arena + d->target, target, bytes);
    if (!s && c->arch->n_rows)
        s = upload_row_targets(c, arena);
    if (!s)
        s = c->ops->lse_init(
            c->be, &(zo2_lse_init_op){.state = (zo2_lse *)(void *)(arena + d->lse), .n = streams * c->packed.losses});
    span(c, "targets", 2 * bytes, begin);
    return s || !c->arch->rope.kind ? s : upload_positions(c, arena);
}

static zo2_status download_logprobs(zo2_core *c, uint8_t *arena, uint32_t streams)
{
    const zo2_device_offsets *d = &c->plan.device;
    uint64_t n = streams * c->packed.losses, begin = zo2_clock_ns();
    zo2_status s = c->ops->lse_finish(c->be, &(zo2_lse_finish_op){.state = (zo2_lse *)(void *)(arena + d->lse),
                                                                  .n = n,
                                                                  .logprob = (float *)(void *)(arena + d->logprob)});
    if (!s)
        s = c->ops->download(c->be, ZO2_LANE_COMPUTE, c->logprob, arena + d->logprob, n * 4);
    zo2_status finished = c->ops->finish(c->be);
    span(c, "losses", n * 4, begin);
    return s ? s : finished;
}

/* One pass over micro-batches [from, to): the lanes run ahead, this thread computes. */
static zo2_status run_pass(zo2_core *c, zo2_forward_pass *f, const zo2_pass *pass, uint32_t from, uint32_t to)
{
    f->arch = c->arch;
    f->device = &c->plan.device;
    f->be = c->be;
    f->arena = c->ops->arena(c->be);
    f->pipe = c->pipe;
    f->pool = c->pool;
    f->pass = pass;
    f->batch = &c->packed;
    f->micro_from = from;
    f->micro_to = to;
    if (!f->rows_to) {
        f->rows_from = from;
        f->rows_to = to;
    }
    f->compute = c->shape.compute;
    f->dist = c->dist;
    f->host = &c->plan.host;
    f->gather = c->staging + c->plan.host.gather;
    f->gathered = c->gathered;
    f->residual = c->staging + c->plan.host.residual;
    f->computed = c->computed;
    f->staged = c->staged;
    f->end_block = f->end_block ? f->end_block : c->arch->n_blocks;
    f->trunk = &c->trunk;
    f->trunk_rows = c->staging + c->plan.host.trunk;
    f->progress = c->progress;
    f->progress_ud = c->progress_ud;
    f->observer = c->observer;
    f->observer_ud = c->observer_ud;
    f->trace = c->tracer.fn ? &c->tracer : NULL;
    zo2_status s = zo2_pipeline_begin(c->pipe, pass);
    if (s)
        return s;
    s = zo2_pipeline_finish(c->pipe, zo2_forward_blocks(f));
    uint64_t begin = zo2_clock_ns();
    /* The upload lane may be ahead of the next step already. */
    zo2_status finished = zo2_pipeline_runs_on(c->pipe) ? c->ops->finish(c->be) : c->ops->drain(c->be);
    span(c, "wait", 0, begin);
    s = s ? s : finished;
    if (s)
        (void)zo2_pipeline_rest(c->pipe); /* nothing may still use the arena */
    else
        zo2_trunk_rows_keep(c, from, to);
    return s;
}

/* What a pass changes in the process, given back at its end; and when it began. */
typedef struct pass_scope {
    fenv_t fenv;
    uint64_t begin_ns;
} pass_scope;

static void enter(zo2_core *c, pass_scope *scope)
{
    atomic_store(&c->step, c->history.steps);
    scope->begin_ns = zo2_clock_ns();
    zo2_fpenv_pin(&scope->fenv);
    if (c->ops->enter)
        c->ops->enter(c->be);
}

static void leave(zo2_core *c, const pass_scope *scope)
{
    if (c->ops->leave)
        c->ops->leave(c->be);
    zo2_fpenv_restore(&scope->fenv);
    zo2_pipeline_seconds seconds = zo2_pipeline_take_seconds(c->pipe);
    double total = 1e-9 * (double)(zo2_clock_ns() - scope->begin_ns), device[ZO2_LANE_COUNT];
    for (int i = 0; i < ZO2_LANE_COUNT; i++)
        device[i] = 1e-9 * (double)atomic_exchange(&c->device_ns[i], 0);
    c->update = seconds.of[ZO2_TRACK_UPDATE];
    c->upload = seconds.of[ZO2_TRACK_UPLOAD];
    c->read = seconds.of[ZO2_TRACK_READ];
    c->write = seconds.of[ZO2_TRACK_WRITE];
    c->read_bytes = seconds.read_bytes;
    c->written_bytes = seconds.written_bytes;
    c->compute.waiting = seconds.of[ZO2_TRACK_COMPUTE].waiting;
    if (c->ops->observe) { /* the host only issued work; what it waited for may have run beside the device's */
        c->compute.waiting = fmax(0, total - device[ZO2_LANE_COMPUTE]);
        c->upload.busy = device[ZO2_LANE_UPLOAD];
    }
    c->upload.busy = fmin(total, c->upload.busy); /* some of it between the steps */
    c->upload.waiting = fmin(c->upload.waiting, total - c->upload.busy);
    c->compute.busy = total - c->compute.waiting;
    atomic_store(&c->abort, 0);
}

/* What moves in this step: c->moves. Returns the first block with a tensor that does. */
static uint32_t turn_of(zo2_core *c)
{
    const zo2_arch *a = c->arch;
    const uint32_t group = zo2_rotation_group(&c->history.settings, a->groups, c->history.steps);
    for (uint32_t i = 0; i < a->n_tensors; i++)
        c->moves[i] = (uint8_t)zo2_moves(&a->tensors[i], group);
    return zo2_arch_fork(a, group);
}

/* Memory was planned for so many streams, decoded so often and so many at once. */
static zo2_status fits(const zo2_core *c, const zo2_probe_plan *p)
{
    const zo2_shape *s = &c->shape;
    if (p->streams < 1 || p->streams > s->streams || zo2_probe_panels(p) > s->panels || zo2_probe_groups(p) > s->groups)
        return zo2_error(ZO2_ERR_INTERNAL, "a step of %u streams where %u were planned for", p->streams, s->streams);
    return ZO2_OK;
}

zo2_status zo2_core_train_pass(zo2_core *c, const zo2_probe_plan *probes)
{
    pass_scope scope;
    uint8_t *arena = c->ops->arena(c->be);
    zo2_pass pass = {.program = &c->train,
                     .weights = c->has_masters ? ZO2_PASS_TRAIN : ZO2_PASS_NONE,
                     .masters = c->has_masters ? &c->masters : NULL,
                     .history = &c->history,
                     .step = c->history.steps,
                     .pending = c->pending,
                     .resident = &c->resident};
    zo2_probe_plan at_w, forked = *probes;
    zo2_probe_unperturbed(&at_w);
    zo2_forward_pass f = {.probes = &at_w,
                          .streams = 1,
                          .forked = &forked,
                          .rows_to = c->packed.micros,
                          .hold = c->plan.hold,
                          .key = zo2_noise_key(c->seed, c->history.steps),
                          .eps = c->eps};
    if (c->moves) {
        f.fork = turn_of(c);
        forked.moves = c->moves;
    }
    enter(c, &scope);
    zo2_status s = fits(c, probes);
    if (!s && zo2_trunk_rows_find(c, 0)) {
        pass.program = &c->trunk.train;
        f.first_block = c->arch->fork;
    }
    if (!s)
        s = upload_losses(c, arena, probes->streams);
    if (!s)
        s = run_pass(c, &f, &pass, c->micro_from, c->micro_to);
    if (!s)
        s = download_logprobs(c, arena, probes->streams);
    leave(c, &scope);
    return s;
}

zo2_status zo2_core_eval_pass(zo2_core *c, zo2_pass_weights weights)
{
    pass_scope scope;
    uint8_t *arena = c->ops->arena(c->be);
    zo2_program *whole = weights == ZO2_PASS_EXACT ? &c->exact_program : &c->wire;
    zo2_pass pass = {.weights = weights,
                     .masters = &c->masters,
                     .history = &c->history,
                     .step = c->history.steps,
                     .pending = c->pending,
                     .resident = weights == ZO2_PASS_EXACT ? NULL : &c->resident};
    zo2_probe_plan at_w;
    zo2_probe_unperturbed(&at_w);
    enter(c, &scope);
    zo2_trunk_rows_find(c, weights == ZO2_PASS_EXACT);
    zo2_status s = upload_losses(c, arena, 1);
    /* Evaluation need not share uploads between micro-batches: each is a pass of its own, and no wire is held. */
    for (uint32_t i = c->micro_from; i < c->micro_to && !s; i++) {
        zo2_forward_pass f = {.probes = &at_w, .streams = 1, .forked = &at_w, .hold = ZO2_HOLD_CHUNK};
        const int kept = c->trunk.store && c->trunk.kept[i];
        pass.program = kept ? weights == ZO2_PASS_EXACT ? &c->trunk.exact : &c->trunk.wire : whole;
        f.first_block = kept ? c->arch->fork : 0;
        s = run_pass(c, &f, &pass, i, i + 1);
    }
    if (!s)
        s = download_logprobs(c, arena, 1);
    leave(c, &scope);
    return s;
}

zo2_status zo2_core_warm_pass(zo2_core *c)
{
    pass_scope scope;
    zo2_pass pass = {.program = &c->trunk.below,
                     .weights = ZO2_PASS_WIRE,
                     .masters = &c->masters,
                     .history = &c->history,
                     .step = c->history.steps,
                     .pending = c->pending,
                     .resident = &c->resident};
    zo2_probe_plan at_w;
    zo2_probe_unperturbed(&at_w);
    if (!c->trunk.store || zo2_trunk_rows_find(c, 0))
        return ZO2_OK;
    enter(c, &scope);
    zo2_forward_pass f = {
        .probes = &at_w, .streams = 1, .forked = &at_w, .hold = c->plan.hold, .end_block = c->arch->fork};
    zo2_status s = c->arch->rope.kind ? upload_positions(c, c->ops->arena(c->be)) : ZO2_OK;
    if (!s)
        s = run_pass(c, &f, &pass, c->micro_from, c->micro_to);
    leave(c, &scope);
    return s;
}
