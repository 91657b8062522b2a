/* cpu_backend.c: life, lanes, events and transfers of the cpu backend, the reference. The arena is ordinary memory.
 * Every call has finished when it returns, so an event is only a flag; waiting for one that wasn't recorded would be a
 * scheduling error and is reported as such. The upload lane and the compute lane may be driven by two threads. */
#include "kernels/cpu/cpu_backend.h"

#include <stdlib.h>
#include <string.h>

#include "engine/base/host_memory.h"
#include "kernels/cpu/blas.h"
#include "kernels/operations.h"

struct zo2_event {
    atomic_int recorded;
};

/* 16-bit values are kept as fp32 ones already rounded. */
static uint32_t element_bytes(zo2_dtype compute)
{
    (void)compute;
    return 4;
}

static void close_cpu(zo2_backend *b)
{
    zo2_cpu *c = (zo2_cpu *)b;
    if (!c)
        return;
    zo2_host_unmap(c->arena, c->arena_bytes);
    zo2_blas_release(&c->room);
    zo2_gemm_bf16_close(c->bf16);
    zo2_slots_free(&c->slots);
    free(c->row_panels);
    free(c);
}

static zo2_status open_cpu(zo2_backend **out, const zo2_backend_config *config)
{
    *out = NULL;
    if (!config->arena_bytes)
        return zo2_error(ZO2_ERR_ARG, "cpu backend: the arena has no bytes");
    zo2_cpu *c = calloc(1, sizeof *c);
    if (!c)
        goto no_memory;
    c->base.ops = &zo2_backend_cpu;
    c->parallel = config->parallel;
    if (!c->parallel.threads)
        c->parallel.threads = 1;
    c->base.threads = c->parallel.threads;
    c->arena_bytes = config->arena_bytes;
    atomic_init(&c->peak, 0);
    if (!zo2_slots_create(&c->slots, c->parallel.threads))
        goto no_memory;
    zo2_status status = zo2_gemm_bf16_open(&c->bf16, c->parallel.threads);
    if (!status)
        status = zo2_host_map(&c->arena, c->arena_bytes, "the cpu backend's arena");
    if (!status)
        status = zo2_blas_reserve(&c->room, c->parallel.threads);
    if (!status)
        status = zo2_blas_load(&c->blas);
    if (status) {
        close_cpu(&c->base);
        return status;
    }
    zo2_host_touch(c->arena, c->arena_bytes, &c->parallel);
    *out = &c->base;
    return ZO2_OK;

no_memory:
    close_cpu(c ? &c->base : NULL);
    return zo2_error(ZO2_ERR_NOMEM, "cpu backend: no memory to open it");
}

static void *arena_of(zo2_backend *b)
{
    return ((zo2_cpu *)b)->arena;
}

static uint64_t peak_bytes(zo2_backend *b)
{
    return atomic_load_explicit(&((zo2_cpu *)b)->peak, memory_order_relaxed);
}

static void enter(zo2_backend *b)
{
    zo2_cpu *c = (zo2_cpu *)b;
    zo2_blas_release(&c->room);
    zo2_blas_enter(c->blas);
}

static void leave(zo2_backend *b)
{
    zo2_blas_leave(((zo2_cpu *)b)->blas);
}

static zo2_status event_create(zo2_backend *b, zo2_event **out)
{
    (void)b;
    *out = malloc(sizeof **out);
    if (!*out)
        return zo2_error(ZO2_ERR_NOMEM, "cpu backend: no memory for an event");
    atomic_init(&(*out)->recorded, 0);
    return ZO2_OK;
}

static void event_destroy(zo2_backend *b, zo2_event *e)
{
    (void)b;
    free(e);
}

static zo2_status record(zo2_backend *b, zo2_lane lane, zo2_event *e)
{
    (void)b;
    (void)lane;
    atomic_store_explicit(&e->recorded, 1, memory_order_release); /* publishes what the lane's thread wrote */
    return ZO2_OK;
}

static zo2_status sync_event(zo2_backend *b, zo2_event *e)
{
    (void)b;
    if (!atomic_load_explicit(&e->recorded, memory_order_acquire))
        return zo2_error(ZO2_ERR_INTERNAL, "cpu backend: waiting for an event that was not recorded");
    return ZO2_OK;
}

static zo2_status wait_event(zo2_backend *b, zo2_lane lane, zo2_event *e)
{
    (void)lane;
    return sync_event(b, e);
}

static zo2_status drain(zo2_backend *b)
{
    (void)b;
    return ZO2_OK;
}

static zo2_status upload(zo2_backend *b, zo2_lane lane, void *dst, const void *src, uint64_t bytes)
{
    zo2_operands l;
    zo2_status s = zo2_cpu_admit((zo2_cpu *)b, zo2_operands_transfer(&l, "upload", dst, bytes, ZO2_OPERAND_WRITE), &l);
    (void)lane;
    if (!s && !l.empty)
        memcpy(dst, src, bytes);
    return s;
}

static zo2_status download(zo2_backend *b, zo2_lane lane, void *dst, const void *src, uint64_t bytes)
{
    zo2_operands l;
    zo2_status s = zo2_cpu_admit((zo2_cpu *)b, zo2_operands_transfer(&l, "download", src, bytes, ZO2_OPERAND_READ), &l);
    (void)lane;
    if (!s && !l.empty)
        memcpy(dst, src, bytes);
    return s;
}

/* The entries of the operations: operands are let in, then it is done. */
#define OPERATION(op, type)                                                                 \
    static zo2_status op(zo2_backend *b, const type *operands)                              \
    {                                                                                       \
        zo2_operands l;                                                                     \
        zo2_status s = zo2_cpu_admit((zo2_cpu *)b, zo2_operands_##op(&l, b, operands), &l); \
        return s || l.empty ? s : zo2_cpu_##op((zo2_cpu *)b, operands);                     \
    }
ZO2_BACKEND_OPERATIONS(OPERATION)

const zo2_backend_ops zo2_backend_cpu = {
#define ENTRY(op, type) .op = op,
    ZO2_BACKEND_OPERATIONS(ENTRY)
#undef ENTRY
        .kind = ZO2_BACKEND_CPU,
    .context_bytes = 0,
    .reserved_bytes = 0,
    .chunk_bytes = (uint64_t)4 << 20,
    .ring_bytes = 0,
    .device_open = NULL,
    .device_close = NULL,
    .element_bytes = element_bytes,
    .attention_workspace = zo2_cpu_attention_workspace,
    .gemm_host_bytes = zo2_cpu_gemm_host_bytes,
    .open = open_cpu,
    .close = close_cpu,
    .arena = arena_of,
    .peak_bytes = peak_bytes,
    .enter = enter,
    .leave = leave,
    .host_register = NULL,
    .host_unregister = NULL,
    .event_create = event_create,
    .event_destroy = event_destroy,
    .record = record,
    .wait = wait_event,
    .sync = sync_event,
    .drain = drain,
    .finish = drain,
    .observe = NULL,
    .upload = upload,
    .download = download,
};
