/* core.c: see core.h. */
#include "engine/forward/core.h"
#include "engine/base/host_memory.h"
#include "engine/base/pool.h"
#include "engine/forward/batch.h"
#include "engine/forward/core_spill.h"
#include "engine/forward/rope_table.h"
#include "engine/forward/trunk_rows.h"
#include "engine/masters/history.h"
#include "engine/masters/masters.h"
#include "engine/masters/plane_cache.h"
#include "engine/masters/ram_home.h"
#include "engine/model/layout.h"
#include "engine/plan/plan.h"
#include "engine/plan/plan_types.h"
#include "engine/plan/resident.h"
#include "engine/stream/pipeline.h"
#include "engine/stream/program.h"
#include "engine/stream/trace.h"
#include "kernels/backend.h"
#include "storage/spill/spill.h"

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
    zo2_core *c = ud;
    zo2_trace_what what = {.lane = zo2_track_of_device(lane), .name = name, .step = c->step, .chunk = -1, .tile = -1};
    c->device_ns[lane] += end_ns - begin_ns;
    if (c->tracer.fn)
        zo2_trace_span(&c->tracer, &what, begin_ns, end_ns);
}

/* Rows of the vocabulary that the head takes from elsewhere. */
static zo2_status upload_skip(zo2_core *c)
{
    const zo2_arch *a = c->arch;
    const uint64_t words = zo2_skip_words(a);
    uint32_t *skip = (uint32_t *)(void *)(c->staging + c->plan.host.skip);
    memset(skip, 0, words * sizeof *skip);
    for (uint32_t i = 0; i < a->n_rows; i++)
        skip[a->row[i] / 32] |= 1u << a->row[i] % 32;
    return c->ops->upload(c->be, ZO2_LANE_COMPUTE, (uint8_t *)c->ops->arena(c->be) + c->plan.device.skip, skip,
                          words * sizeof *skip);
}

static zo2_status create_device(zo2_core *c)
{
    const zo2_device_offsets *d = &c->plan.device;
    zo2_backend_config config = {.arena_bytes = d->bytes,
                                 .parallel = zo2_pool_parallel(c->pool),
                                 .compute = c->shape.compute,
                                 .device = c->device};
    zo2_status s = c->ops->open(&c->be, &config);
    if (!s)
        s = create_events(c, c->gathered, 4);
    if (!s)
        s = create_events(c, c->computed, 2);
    if (!s)
        s = create_events(c, c->staged, 2);
    if (!s)
        s = create_staging(c);
    if (!s && d->rope_positions)
        s = zo2_rope_upload(c->be, c->arch, d->rope_positions, c->ops->arena(c->be), d->rope,
                            (float *)(void *)(c->staging + c->plan.host.rope));
    if (!s && c->ops->observe)
        s = c->ops->observe(c->be, device_span, c);
    if (!s && c->arch->n_rows)
        s = upload_skip(c);
    if (s)
        return s;
    uint64_t rows = c->shape.batch_tokens / c->shape.max_keys;
    return zo2_batch_reserve(&c->packed, rows * c->shape.seq, rows);
}

static zo2_status create_moves(zo2_core *c)
{
    if (!c->arch->frozen && c->arch->groups < 2)
        return ZO2_OK;
    c->moves = malloc(c->arch->n_tensors);
    return c->moves ? ZO2_OK : zo2_error(ZO2_ERR_NOMEM, "no memory for a table of the model's tensors");
}

static zo2_status create_pipeline(zo2_core *c)
{
    const zo2_device_offsets *d = &c->plan.device;
    uint8_t *arena = c->ops->arena(c->be);
    zo2_pipeline_config pipeline = {.be = c->be,
                                    .pool = c->pool,
                                    .ring = arena + d->ring,
                                    .ring_bytes = d->ring_bytes,
                                    .resident = arena + d->resident,
                                    .staging = c->staging + c->plan.host.ring,
                                    .staging_bytes = c->plan.host.ring_bytes,
                                    .abort = &c->abort,
                                    .spill = zo2_masters_are_spilled(&c->masters) ? &c->masters.spill : NULL,
                                    .longest = c->layout.n_chunks};
    return zo2_pipeline_create(&c->pipe, &pipeline);
}

zo2_status zo2_core_create(zo2_core *c, const zo2_core_config *config)
{
    memset(c, 0, sizeof *c);
    c->arch = config->arch;
    c->ops = config->ops;
    c->device = config->device;
    c->shape = config->shape;
    c->dist = config->settings->dist;
    c->seed = config->settings->seed;
    c->eps = (float)config->settings->eps;
    c->pending = config->settings->pending;
    c->micro_batch = config->settings->micro_batch;
    atomic_init(&c->abort, 0);
    pthread_mutex_init(&c->tracer.mutex, NULL);
    zo2_history_init(&c->history, config->settings, config->arch);
    zo2_status s = create_moves(c);
    if (!s)
        s = zo2_plan_make(&c->plan, c->arch, c->ops, &c->shape, config->stored_as, NULL);
    if (!s)
        s = zo2_pool_create(&c->pool, c->shape.threads);
    if (!s)
        s = zo2_layout_create(&c->layout, c->arch, c->shape.wires, c->shape.compute, c->shape.tile_rule,
                              c->plan.chunk_bytes);
    if (!s)
        s = zo2_layout_create(&c->exact, c->arch, zo2_one_wire(ZO2_WIRE_FP32), c->shape.compute, c->shape.tile_rule,
                              c->plan.chunk_bytes);
    if (!s)
        s = zo2_resident_create(&c->resident, &c->layout, c->plan.resident_spare);
    if (!s)
        s = zo2_program_create(&c->train, &c->layout, 0, c->arch->n_blocks, 1);
    if (!s)
        s = zo2_program_create(&c->wire, &c->layout, 0, c->arch->n_blocks, 0);
    if (!s)
        s = zo2_program_create(&c->exact_program, &c->exact, 0, c->arch->n_blocks, 0);
    if (!s)
        s = create_device(c);
    if (!s && config->with_masters) {
        c->has_masters = 1;
        s = config->spill ? zo2_core_create_spilled(c, config)
                          : zo2_masters_create(&c->masters, &c->layout, config->stored_as, c->pool, NULL);
        if (!s)
            s = zo2_program_share(&c->train, &c->masters);
    }
    if (!s)
        s = zo2_trunk_rows_open(c, config->trunk, config->settings);
    if (!s && c->has_masters && c->trunk.store)
        s = zo2_program_share(&c->trunk.train, &c->masters);
    if (!s)
        s = create_pipeline(c);
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
            c->ops->host_unregister(c->be, c->masters.ram.memory);
        if (c->ops->host_unregister && c->buffers_registered)
            c->ops->host_unregister(c->be, c->masters.spill.cache.memory);
        if (c->ops->host_unregister && c->staging_registered)
            c->ops->host_unregister(c->be, c->staging);
        destroy_events(c, c->gathered, 4);
        destroy_events(c, c->computed, 2);
        destroy_events(c, c->staged, 2);
        c->ops->close(c->be);
    }
    if (c->ops->device_close)
        c->ops->device_close(c->device);
    zo2_host_unmap(c->staging, c->plan.host.bytes);
    zo2_masters_free(&c->masters);
    zo2_spill_close(c->spill);
    zo2_history_free(&c->history);
    zo2_resident_free(&c->resident);
    zo2_program_free(&c->train);
    zo2_program_free(&c->wire);
    zo2_program_free(&c->exact_program);
    zo2_layout_free(&c->layout);
    zo2_layout_free(&c->exact);
    zo2_packed_free(&c->packed);
    zo2_trunk_rows_close(&c->trunk);
    free(c->moves);
    zo2_pool_destroy(c->pool);
    pthread_mutex_destroy(&c->tracer.mutex);
    memset(c, 0, sizeof *c);
}

int zo2_core_register_masters(zo2_core *c)
{
    if (!c->ops->host_register)
        return 1;
    const zo2_ram_home *ram = &c->masters.ram;
    const zo2_plane_cache *buffers = &c->masters.spill.cache;
    c->masters_registered = ram->bytes && !c->ops->host_register(c->be, ram->memory, ram->bytes);
    int all = c->masters_registered || !ram->bytes;
    c->buffers_registered = all && buffers->bytes && !c->ops->host_register(c->be, buffers->memory, buffers->bytes);
    all = all && (c->buffers_registered || !buffers->bytes);
    zo2_pipeline_set_bounce(c->pipe, !all);
    return all;
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
    c->micro_from = 0;
    c->micro_to = p->micros;
    for (uint32_t i = 0; i < p->micros; i++) {
        tokens = p->micro[i].tokens > tokens ? p->micro[i].tokens : tokens;
        losses = p->micro[i].losses > losses ? p->micro[i].losses : losses;
    }
    if (p->longest > c->shape.seq)
        return zo2_error(ZO2_ERR_ARG,
                         "a row of %llu tokens is longer than the %llu that the engine was opened for (max_seq)",
                         (ull)p->longest, (ull)c->shape.seq);
    const struct {
        const char *what, *unit, *option;
        uint64_t have, most;
    } limits[] = {
        {"the batch", "tokens to compute", "max_rows, max_seq", p->tokens, c->shape.batch_tokens},
        {"the batch", "loss tokens", "max_loss_tokens", p->losses, c->shape.loss_tokens},
        {"a micro-batch", "tokens to compute", "max_rows_micro, max_seq", tokens, c->shape.tokens},
        {"a micro-batch", "loss tokens", "max_rows_micro, max_seq", losses, c->shape.loss_micro},
    };
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++)
        if (limits[i].have > limits[i].most)
            return zo2_error(ZO2_ERR_ARG, "%s has %llu %s, more than the %llu that the engine was opened for (%s)",
                             limits[i].what, (ull)limits[i].have, limits[i].unit, (ull)limits[i].most,
                             limits[i].option);
    return ZO2_OK;
}
