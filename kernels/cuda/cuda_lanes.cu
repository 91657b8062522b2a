/* cuda_lanes.cu: the lanes are non-blocking streams, ordered against each other by events alone; transfers. */
#include "kernels/backend.h"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/cuda_ranges.h"
#include "kernels/operands.h"

#include <stdlib.h>

zo2_status zo2_cuda_admit(zo2_cuda *c, zo2_status s, const zo2_operands *l)
{
    uint64_t end;
    if (s || (s = zo2_operands_check(l, c->arena, c->arena_bytes, &end)))
        return s;
    return zo2_cuda_ready(c);
}

/* ---- events ---- */

zo2_status zo2_cuda_event_create(zo2_backend *b, zo2_event **out)
{
    zo2_cuda *c = (zo2_cuda *)b;
    *out = NULL;
    zo2_status s = zo2_cuda_ready(c);
    if (s)
        return s;
    zo2_event *e = (zo2_event *)calloc(1, sizeof *e);
    if (!e)
        return zo2_error(ZO2_ERR_NOMEM, "cuda backend: no memory for an event");
    /* Blocking: a thread that waits for milliseconds should not take a core from the update lane. */
    s = zo2_cuda_check(c, cudaEventCreateWithFlags(&e->event, cudaEventDisableTiming | cudaEventBlockingSync),
                       "cudaEventCreateWithFlags");
    if (s) {
        free(e);
        return s;
    }
    *out = e;
    return ZO2_OK;
}

void zo2_cuda_event_destroy(zo2_backend *b, zo2_event *e)
{
    (void)b;
    if (!e)
        return;
    (void)cudaEventDestroy(e->event);
    free(e);
}

zo2_status zo2_cuda_record(zo2_backend *b, zo2_lane lane, zo2_event *e)
{
    zo2_cuda *c = (zo2_cuda *)b;
    zo2_status s = zo2_cuda_ready(c);
    if (!s)
        s = zo2_cuda_check(c, cudaEventRecord(e->event, c->stream[lane]), "cudaEventRecord");
    if (!s)
        e->recorded.store(1, std::memory_order_release);
    return s;
}

static zo2_status recorded(zo2_cuda *c, zo2_event *e)
{
    /* CUDA would let such a wait pass. */
    if (!e->recorded.load(std::memory_order_acquire))
        return zo2_error(ZO2_ERR_INTERNAL, "cuda backend: waiting for an event that was not recorded");
    return zo2_cuda_ready(c);
}

zo2_status zo2_cuda_wait(zo2_backend *b, zo2_lane lane, zo2_event *e)
{
    zo2_cuda *c = (zo2_cuda *)b;
    zo2_status s = recorded(c, e);
    c->track[lane].waited = 1;
    return s ? s : zo2_cuda_check(c, cudaStreamWaitEvent(c->stream[lane], e->event, 0), "cudaStreamWaitEvent");
}

zo2_status zo2_cuda_sync(zo2_backend *b, zo2_event *e)
{
    zo2_cuda *c = (zo2_cuda *)b;
    zo2_status s = recorded(c, e);
    return s ? s : zo2_cuda_check(c, cudaEventSynchronize(e->event), "cudaEventSynchronize");
}

/* The lanes from `first` on, also after an error: nothing of theirs may still use the arena or host memory when this returns. */
static zo2_status await_lanes(zo2_cuda *c, zo2_lane first)
{
    zo2_status s = zo2_cuda_ready(c);
    for (int i = first; i < ZO2_LANE_COUNT; i++) {
        cudaError_t e = cudaStreamSynchronize(c->stream[i]);
        if (!s)
            s = zo2_cuda_check(c, e, "cudaStreamSynchronize");
    }
    return s ? s : zo2_cuda_spans_drain(c, first); /* after an error nobody knows when things ended */
}

static_assert(ZO2_LANE_UPLOAD == 0 && ZO2_LANE_COMPUTE == 1 && ZO2_LANE_STAGE == 2, "the caller's lanes come last");

zo2_status zo2_cuda_drain(zo2_backend *b)
{
    return await_lanes((zo2_cuda *)b, ZO2_LANE_UPLOAD);
}

zo2_status zo2_cuda_finish(zo2_backend *b)
{
    return await_lanes((zo2_cuda *)b, ZO2_LANE_COMPUTE);
}

/* ---- transfers ---- */

zo2_status zo2_cuda_upload(zo2_backend *b, zo2_lane lane, void *dst, const void *src, uint64_t bytes)
{
    zo2_cuda *c = (zo2_cuda *)b;
    zo2_operands l;
    zo2_status s = zo2_cuda_admit(c, zo2_operands_transfer(&l, "upload", dst, bytes, ZO2_OPERAND_WRITE), &l);
    if (s || l.empty)
        return s;
    zo2_cuda_work work(c, lane, "upload", 0, 0, 0);
    s = zo2_cuda_check(c, cudaMemcpyAsync(dst, src, bytes, cudaMemcpyHostToDevice, c->stream[lane]),
                       "cudaMemcpyAsync (upload)");
    return work.done(s);
}

zo2_status zo2_cuda_download(zo2_backend *b, zo2_lane lane, void *dst, const void *src, uint64_t bytes)
{
    zo2_cuda *c = (zo2_cuda *)b;
    zo2_operands l;
    zo2_status s = zo2_cuda_admit(c, zo2_operands_transfer(&l, "download", src, bytes, ZO2_OPERAND_READ), &l);
    if (s || l.empty)
        return s;
    zo2_cuda_work work(c, lane, "download", 0, 0, 0);
    s = zo2_cuda_check(c, cudaMemcpyAsync(dst, src, bytes, cudaMemcpyDeviceToHost, c->stream[lane]),
                       "cudaMemcpyAsync (download)");
    return work.done(s);
}

zo2_status zo2_cuda_copy(zo2_backend *b, void *dst, const void *src, uint64_t bytes)
{
    zo2_cuda *c = (zo2_cuda *)b;
    zo2_operands l;
    zo2_status s = zo2_cuda_admit(c, zo2_operands_copy(&l, dst, src, bytes), &l);
    if (s || l.empty)
        return s;
    zo2_cuda_work work(c, ZO2_LANE_COMPUTE, "copy", 0, 0, 0);
    s = zo2_cuda_check(c, cudaMemcpyAsync(dst, src, bytes, cudaMemcpyDeviceToDevice, c->stream[ZO2_LANE_COMPUTE]),
                       "cudaMemcpyAsync (copy)");
    return work.done(s);
}

/* Pinned: what a lane copies then moves beside the host and at the link's full speed. A refusal, for whatever reason (RLIMIT_MEMLOCK,
 * memory that an IOMMU or a virtual machine won't map, a driver's own), is not a failure of the device: that would fail the next call,
 * too. */
zo2_status zo2_cuda_host_register(zo2_backend *b, void *at, uint64_t bytes)
{
    zo2_cuda *c = (zo2_cuda *)b;
    zo2_status s = zo2_cuda_ready(c);
    if (s)
        return s;
    cudaError_t e = cudaHostRegister(at, bytes, cudaHostRegisterPortable);
    if (!e)
        return ZO2_OK;
    (void)cudaGetLastError();
    size_t free = 0, total = 0;
    if (cudaMemGetInfo(&free, &total) != cudaSuccess)
        return zo2_cuda_check(c, e, "cudaHostRegister");
    return zo2_error(ZO2_ERR_NOMEM,
                     "cuda backend: %llu bytes of host memory can't be pinned: %s (%s); see ulimit -l (RLIMIT_MEMLOCK)",
                     (unsigned long long)bytes, cudaGetErrorString(e), cudaGetErrorName(e));
}

void zo2_cuda_host_unregister(zo2_backend *b, void *at)
{
    zo2_cuda *c = (zo2_cuda *)b;
    (void)cudaSetDevice(c->device);
    (void)cudaHostUnregister(at);
    (void)cudaGetLastError(); /* after the device's loss there is nothing to unpin */
}

/* ---- around a step ---- */

void zo2_cuda_enter(zo2_backend *b)
{
    zo2_cuda *c = (zo2_cuda *)b;
    zo2_cuda_range_push("zo2 step");
    if (c->depth++ > 0)
        return;
    if (cudaGetDevice(&c->outer_device) != cudaSuccess)
        c->outer_device = -1;
    (void)cudaSetDevice(c->device);
    zo2_cuda_spans_anchor(c);
}

void zo2_cuda_leave(zo2_backend *b)
{
    zo2_cuda *c = (zo2_cuda *)b;
    if (c->in_block)
        zo2_cuda_range_pop();
    c->in_block = 0;
    zo2_cuda_range_pop();
    if (--c->depth == 0 && c->outer_device >= 0)
        (void)cudaSetDevice(c->outer_device);
}

/* Inside the step's range, on the thread that enqueues the block's operations. */
void zo2_cuda_block(zo2_backend *b, uint32_t block, uint32_t blocks)
{
    zo2_cuda *c = (zo2_cuda *)b;
    if (c->in_block)
        zo2_cuda_range_pop();
    c->in_block = 1;
    zo2_cuda_range_push_block(block, blocks);
}
