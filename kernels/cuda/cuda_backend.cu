/* cuda_backend.cu: the table of the cuda backend. */
#include "kernels/backend.h"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/operands.h"
#include "kernels/operations.h"

static uint32_t element_bytes(zo2_dtype compute)
{
    return zo2_cuda_element_bytes(compute);
}

static zo2_status usable(void)
{
    int device;
    return zo2_cuda_find_device(&device);
}

static void *arena_of(zo2_backend *b)
{
    return ((zo2_cuda *)b)->arena;
}

static zo2_status open_device(zo2_backend **out, const zo2_backend_config *config)
{
    zo2_status s = zo2_cuda_open(out, config);
    if (!s)
        (*out)->ops = &zo2_backend_cuda;
    return s;
}

/* The entries of the operations: operands are let in, then it is enqueued. */
#define OPERATION(op, type)                                                                   \
    static zo2_status op(zo2_backend *b, const type *operands)                                \
    {                                                                                         \
        zo2_operands l;                                                                       \
        zo2_status s = zo2_cuda_admit((zo2_cuda *)b, zo2_operands_##op(&l, b, operands), &l); \
        return s || l.empty ? s : zo2_cuda_##op((zo2_cuda *)b, operands);                     \
    }
ZO2_BACKEND_OPERATIONS(OPERATION)

static constexpr zo2_backend_ops make_ops()
{
    zo2_backend_ops o = {};
    o.kind = ZO2_BACKEND_CUDA;
    o.context_bytes = ZO2_CUDA_CONTEXT_BYTES;
    o.reserved_bytes = ZO2_CUDA_RESERVED_BYTES;
    o.chunk_bytes = (uint64_t)16 << 20; /* launches and events cost 3-5 us a chunk, 0.3 ms of a link of 55 GB/s */
    o.ring_bytes = (uint64_t)256 << 20; /* such a link's bytes in 4.9 ms, some times what a layer's attention takes */
    o.device_open = zo2_cuda_device_open;
    o.device_close = zo2_cuda_device_close;
    o.usable = usable;
    o.element_bytes = element_bytes;
    o.attention_workspace = zo2_cuda_attention_workspace;
    o.open = open_device;
    o.close = zo2_cuda_close;
    o.arena = arena_of;
    o.peak_bytes = zo2_cuda_peak_bytes;
    o.enter = zo2_cuda_enter;
    o.leave = zo2_cuda_leave;
    o.block = zo2_cuda_block;
    o.host_register = zo2_cuda_host_register;
    o.host_unregister = zo2_cuda_host_unregister;
    o.event_create = zo2_cuda_event_create;
    o.event_destroy = zo2_cuda_event_destroy;
    o.record = zo2_cuda_record;
    o.wait = zo2_cuda_wait;
    o.sync = zo2_cuda_sync;
    o.drain = zo2_cuda_drain;
    o.finish = zo2_cuda_finish;
    o.observe = zo2_cuda_observe;
    o.upload = zo2_cuda_upload;
    o.download = zo2_cuda_download;
    o.copy = zo2_cuda_copy;
#define ENTRY(op, type) o.op = op;
    ZO2_BACKEND_OPERATIONS(ENTRY)
    return o;
}

const zo2_backend_ops zo2_backend_cuda = make_ops();
