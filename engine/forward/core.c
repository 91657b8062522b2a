/* core.c: see core.h. */
#include "engine/forward/core.h"
#include "engine/base/fpenv.h"
#include "engine/base/host_memory.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef unsigned long long ull;

static zo2_status create_staging(zo2_core *c)
{
    uint64_t bytes = c->plan.host.bytes;
    void *staging;
    zo2_status s = zo2_host_map(&staging, bytes, "staging");
    if (s)
        return s;
    c->staging = staging;
    zo2_host_touch(staging, c->plan.host.ring, NULL); /* the mirror of the ring serves evaluation only */
    c->logprob = (float *)(void *)(c->staging + c->plan.host.logprob);
    if (!c->ops->host_register)
        return ZO2_OK;
    s = c->ops->host_register(c->be, staging, bytes);
    c->staging_registered = !s;
    return s;
}

static zo2_status create_events(zo2_core *c, zo2_event **events, uint32_t n)
{
    zo2_status s = ZO2_OK;
    for (uint32_t i = 0; i < n && !s; i++)
        s = c->ops->event_create(c->be, &events[i]);
    return s;
}

static void destroy_events(zo2_core *c, zo2_event **events, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        c->ops->event_destroy(c->be, events[i]);
}

/* Where work is queued, only the device knows when it was done. */
static void device_span(void *ud, zo2_lane lane, const char *name, uint64_t begin_ns, uint64_t end_ns)
{
    static const char *const tracks[ZO2_LANE_COUNT] = {"device upload", "device compute", "device stage"};
    zo2_core *c = ud;
    zo2_trace_what what = {.lane = tracks[lane], .name = name, .step = c->history.steps, .chunk = -1, .tile = -1};
    c->device_ns[lane] += end_ns - begin_ns;
    if (c->tracer.fn)
        zo2_trace_span(&c->tracer, &what, begin_ns, end_ns);
}

static zo2_status create_device(zo2_core *c)
{
    const zo2_device_layout *d = &c->plan.device;
    zo2_backend_config config = {
        .arena_bytes = d->bytes, .parallel = zo2_pool_parallel(c->pool), .compute = c->shape.compute};
    zo2_status s = c->ops->open(&c->be, &config);
    if (!s)
        s = create_events(c, c->gathered, 4);
    if (!s)
        s = create_events(c, c->computed, 2);
    if (!s)
        s = create_events(c, c->staged, 2);
    if (!s)
        s = create_staging(c);
    if (s)
        return s;
    if (c->ops->observe)
        c->ops->observe(c->be, device_span, c);
    uint64_t rows = c->shape.batch_tokens / c->shape.max_keys;
    s = zo2_batch_reserve(&c->packed, rows * c->shape.seq, rows);
    if (s)
        return s;
    uint8_t *arena = c->ops->arena(c->be);
    zo2_pipeline_config pipeline = {.be = c->be,
                                    .pool = c->pool,
                                    .ring = arena + d->ring,
                                    .ring_bytes = d->ring_bytes,
                                    .resident = arena + d->resident,
                                    .staging = c->staging + c->plan.host.ring,
                                    .abort = &c->abort};
    return zo2_pipeline_create(&c->pipe, &pipeline);
}

zo2_status zo2_core_create(zo2_core *c, const zo2_core_config *config)
{
    memset(c, 0, sizeof *c);
    c->arch = config->arch;
    c->ops = config->ops;
    c->shape = config->shape;
    c->dist = config->settings->dist;
    c->seed = config->settings->seed;
    c->eps = (float)config->settings->eps;
    c->pending = config->settings->pending;
    c->micro_batch = config->settings->micro_batch;
    atomic_init(&c->abort, 0);
    pthread_mutex_init(&c->tracer.mutex, NULL);
    zo2_history_init(&c->history, config->settings);
    zo2_status s = zo2_plan_make(&c->plan, c->arch, c->ops, &c->shape, config->stored_as, NULL);
    if (!s)
        s = zo2_pool_create(&c->pool, c->shape.threads);
    if (!s)
        s = zo2_layout_create(&c->layout, c->arch, c->shape.wire, c->shape.compute, c->plan.chunk_bytes);
    if (!s)
        s = zo2_layout_create(&c->exact, c->arch, ZO2_WIRE_FP32, c->shape.compute, c->plan.chunk_bytes);
    if (!s)
        s = zo2_resident_create(&c->resident, &c->layout, c->plan.resident_spare);
    if (!s)
        s = zo2_program_create(&c->train, &c->layout, 1);
    if (!s)
        s = zo2_program_create(&c->wire, &c->layout, 0);
    if (!s)
        s = zo2_program_create(&c->exact_program, &c->exact, 0);
    if (!s)
        s = create_device(c);
    if (!s && config->with_masters) {
        c->has_masters = 1;
        s = zo2_masters_create(&c->masters, &c->layout, config->stored_as, c->pool);
        if (!s)
            s = zo2_program_share(&c->train, &c->masters);
    }
    if (s)
        zo2_core_destroy(c);
    return s;
}

void zo2_core_destroy(zo2_core *c)
{
    if (!c->arch) /* zeroed: nothing was made */
        return;
    zo2_pipeline_destroy(c->pipe);
    if (c->be) {
        if (c->ops->host_unregister && c->masters_registered)
            c->ops->host_unregister(c->be, c->masters.memory);
        if (c->ops->host_unregister && c->staging_registered)
            c->ops->host_unregister(c->be, c->staging);
        destroy_events(c, c->gathered, 4);
        destroy_events(c, c->computed, 2);
        destroy_events(c, c->staged, 2);
        c->ops->close(c->be);
    }
    zo2_host_unmap(c->staging, c->plan.host.bytes);
    zo2_masters_free(&c->masters);
    zo2_history_free(&c->history);
    zo2_resident_free(&c->resident);
    zo2_program_free(&c->train);
    zo2_program_free(&c->wire);
    zo2_program_free(&c->exact_program);
    zo2_layout_free(&c->layout);
    zo2_layout_free(&c->exact);
    zo2_packed_free(&c->packed);
    zo2_pool_destroy(c->pool);
    pthread_mutex_destroy(&c->tracer.mutex);
    memset(c, 0, sizeof *c);
}

int zo2_core_register_masters(zo2_core *c)
{
    if (!c->ops->host_register)
        return 1;
    c->masters_registered = !c->ops->host_register(c->be, c->masters.memory, c->masters.bytes);
    zo2_pipeline_set_bounce(c->pipe, !c->masters_registered);
    return c->masters_registered;
}

void zo2_core_trace(zo2_core *c, zo2_trace_fn fn, void *ud)
{
    c->tracer.fn = fn;
    c->tracer.ud = ud;
    zo2_pipeline_set_trace(c->pipe, fn ? &c->tracer : NULL);
}

zo2_status zo2_core_pack(zo2_core *c, const zo2_batch *b)
{
    zo2_packed *p = &c->packed;
    zo2_status s = zo2_batch_pack(p, b, c->arch->vocab, c->arch->context, c->micro_batch);
    if (s)
        return s;
    uint64_t tokens = 0, losses = 0;
    for (uint32_t i = 0; i < p->micros; i++) {
        tokens = p->micro[i].tokens > tokens ? p->micro[i].tokens : tokens;
        losses = p->micro[i].losses > losses ? p->micro[i].losses : losses;
    }
    if (p->longest > c->shape.seq)
        return zo2_error(ZO2_ERR_ARG,
                         "a row of %llu tokens is longer than the %llu that the engine was opened for (max_seq)",
                         (ull)p->longest, (ull)c->shape.seq);
    if (tokens > c->shape.tokens || p->tokens > c->shape.batch_tokens || p->losses > c->shape.loss_tokens ||
        losses > c->shape.loss_micro)
        return zo2_error(
            ZO2_ERR_ARG,
            "the batch (%llu tokens, %llu loss tokens) is larger than the engine was opened for (max_rows, max_rows_micro, "
            "max_seq, max_loss_tokens: %llu tokens, %llu loss tokens)",
            (ull)p->tokens, (ull)p->losses, (ull)c->shape.batch_tokens, (ull)c->shape.loss_tokens);
    return ZO2_OK;
}

/* ---- passes ---- */

/* A span of the compute lane that belongs to no chunk. */
static void span(zo2_core *c, const char *name, uint64_t bytes, uint64_t begin)
{
    zo2_trace_what what = {
        .lane = "compute", .name = name, .step = c->history.steps, .chunk = -1, .tile = -1, .bytes = bytes};
    if (c->tracer.fn)
        zo2_trace_span(&c->tracer, &what, begin, zo2_clock_ns());
}

static zo2_status upload_losses(zo2_core *c, uint8_t *arena, uint32_t streams)
{
    const zo2_device_layout *d = &c->plan.device;
    uint64_t bytes = c->packed.losses * 4, begin = zo2_clock_ns();
    uint8_t *index = c->staging + c->plan.host.index, *target = c->staging + c->plan.host.target;
    memcpy(index, c->packed.index, bytes);
    memcpy(target, c->packed.target, bytes);
    zo2_status s = c->ops->upload(c->be, ZO2_LANE_COMPUTE, arena + d->index, index, bytes);
    if (!s)
        s = c->ops->upload(c->be, ZO2_LANE_COMPUTE, arena + d->target, target, bytes);
    if (!s)
        s = c->ops->lse_init(c->be, (zo2_lse *)(void *)(arena + d->lse), streams * c->packed.losses);
    span(c, "targets", 2 * bytes, begin);
    return s;
}

static zo2_status download_logprobs(zo2_core *c, uint8_t *arena, uint32_t streams)
{
    const zo2_device_layout *d = &c->plan.device;
    uint64_t n = streams * c->packed.losses, begin = zo2_clock_ns();
    zo2_status s =
        c->ops->lse_finish(c->be, (zo2_lse *)(void *)(arena + d->lse), n, (float *)(void *)(arena + d->logprob));
    if (!s)
        s = c->ops->download(c->be, ZO2_LANE_COMPUTE, c->logprob, arena + d->logprob, n * 4);
    zo2_status drained = c->ops->drain(c->be);
    span(c, "losses", n * 4, begin);
    return s ? s : drained;
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
    f->compute = c->shape.compute;
    f->dist = c->dist;
    f->host = &c->plan.host;
    f->gather = c->staging + c->plan.host.gather;
    f->gathered = c->gathered;
    f->residual = c->staging + c->plan.host.residual;
    f->computed = c->computed;
    f->staged = c->staged;
    f->progress = c->progress;
    f->progress_ud = c->progress_ud;
    f->observer = c->observer;
    f->observer_ud = c->observer_ud;
    f->trace = c->tracer.fn ? &c->tracer : NULL;
    zo2_status s = zo2_pipeline_begin(c->pipe, pass);
    if (!s)
        s = zo2_opt_forward(f);
    s = zo2_pipeline_finish(c->pipe, s);
    uint64_t begin = zo2_clock_ns();
    zo2_status drained = c->ops->drain(c->be); /* after an error too: nothing may still use the arena */
    span(c, "wait", 0, begin);
    return s ? s : drained;
}

/* What a pass changes in the process, given back at its end; and when it began. */
typedef struct pass_scope {
    fenv_t fenv;
    uint64_t begin_ns;
} pass_scope;

static void enter(zo2_core *c, pass_scope *scope)
{
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
    double total = 1e-9 * (double)(zo2_clock_ns() - scope->begin_ns);
    c->update = seconds.update;
    c->upload = seconds.upload;
    c->compute.waiting = seconds.compute_waiting;
    if (c->ops->observe) { /* the host only issued work; what it waited for may have run beside the device's */
        c->compute.waiting = fmax(0, total - 1e-9 * (double)c->device_ns[ZO2_LANE_COMPUTE]);
        c->upload.busy = fmin(total, 1e-9 * (double)c->device_ns[ZO2_LANE_UPLOAD]);
        c->upload.waiting = fmin(c->upload.waiting, total - c->upload.busy);
    }
    c->compute.busy = total - c->compute.waiting;
    memset(c->device_ns, 0, sizeof c->device_ns);
    atomic_store(&c->abort, 0);
}

zo2_status zo2_core_train_pass(zo2_core *c)
{
    pass_scope scope;
    uint8_t *arena = c->ops->arena(c->be);
    zo2_pass pass = {.program = &c->train,
                     .source = c->has_masters ? ZO2_SOURCE_TRAIN : ZO2_SOURCE_NONE,
                     .masters = c->has_masters ? &c->masters : NULL,
                     .history = &c->history,
                     .step = c->history.steps,
                     .pending = c->pending,
                     .resident = &c->resident};
    zo2_forward_pass f = {.queries = c->shape.queries,
                          .streams = c->shape.streams,
                          .hold = c->plan.hold,
                          .key = zo2_noise_key(c->seed, c->history.steps),
                          .eps = c->eps};
    enter(c, &scope);
    zo2_status s = upload_losses(c, arena, f.streams);
    if (!s)
        s = run_pass(c, &f, &pass, 0, c->packed.micros);
    if (!s)
        s = download_logprobs(c, arena, f.streams);
    leave(c, &scope);
    return s;
}

zo2_status zo2_core_eval_pass(zo2_core *c, zo2_source source)
{
    pass_scope scope;
    uint8_t *arena = c->ops->arena(c->be);
    zo2_pass pass = {.program = source == ZO2_SOURCE_EXACT ? &c->exact_program : &c->wire,
                     .source = source,
                     .masters = &c->masters,
                     .history = &c->history,
                     .step = c->history.steps,
                     .resident = source == ZO2_SOURCE_EXACT ? NULL : &c->resident};
    enter(c, &scope);
    zo2_status s = upload_losses(c, arena, 1);
    /* Evaluation need not share uploads between micro-batches: each is a pass of its own, and no wire is held. */
    for (uint32_t i = 0; i < c->packed.micros && !s; i++) {
        zo2_forward_pass f = {.streams = 1, .hold = ZO2_HOLD_CHUNK};
        s = run_pass(c, &f, &pass, i, i + 1);
    }
    if (!s)
        s = download_logprobs(c, arena, 1);
    leave(c, &scope);
    return s;
}
