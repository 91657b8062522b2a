/* cuda_backend.cu: the table of the cuda backend. */
#include "kernels/cuda/cuda_backend.h"

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

static constexpr zo2_backend_ops make_ops()
{
    zo2_backend_ops o = {};
    o.kind = ZO2_BACKEND_CUDA;
    o.context_bytes = ZO2_CUDA_CONTEXT_BYTES;
    o.reserved_bytes = ZO2_CUDA_RESERVED_BYTES;
    o.probe = zo2_cuda_probe;
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
    o.observe = zo2_cuda_observe;
    o.upload = zo2_cuda_upload;
    o.download = zo2_cuda_download;
    o.copy = zo2_cuda_copy;
    o.decode = zo2_cuda_decode;
    o.decode_rows = zo2_cuda_decode_rows;
    o.gemm = zo2_cuda_gemm;
    o.bias_act = zo2_cuda_bias_act;
    o.layernorm = zo2_cuda_layernorm;
    o.attention = zo2_cuda_attention;
    o.gather = zo2_cuda_gather;
    o.lse_init = zo2_cuda_lse_init;
    o.lse_tile = zo2_cuda_lse_tile;
    o.lse_finish = zo2_cuda_lse_finish;
    return o;
}

const zo2_backend_ops zo2_backend_cuda = make_ops();
