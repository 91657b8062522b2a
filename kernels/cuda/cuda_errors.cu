/* cuda_errors.cu: what CUDA says, with what the backend was doing. */
#include "kernels/backend.h"
#include "kernels/cuda/cuda_backend.h"

#include <stdio.h>
#include <string.h>

void zo2_cuda_doing_set(zo2_cuda *c, zo2_lane lane, const char *op, uint32_t tensor, uint64_t row, uint64_t rows)
{
    zo2_cuda_doing *d = &c->doing[lane];
    d->op.store(op, std::memory_order_relaxed);
    d->tensor.store(tensor, std::memory_order_relaxed);
    d->row.store(row, std::memory_order_relaxed);
    d->rows.store(rows, std::memory_order_relaxed);
}

/* "decode of tensor 12, rows 0 to 1024" */
static void describe(const zo2_cuda_doing *d, char *text, size_t size)
{
    const char *op = d->op.load(std::memory_order_relaxed);
    unsigned long long row = d->row.load(std::memory_order_relaxed), rows = d->rows.load(std::memory_order_relaxed);
    if (rows)
        snprintf(text, size, "%s of tensor %u, rows %llu to %llu", op, d->tensor.load(std::memory_order_relaxed), row,
                 row + rows);
    else
        snprintf(text, size, "%s", op ? op : "nothing");
}

static zo2_status failure(zo2_cuda *c, zo2_status s, const char *call, const char *name, const char *text)
{
    char text_and_work[600], upload[128], compute[128];
    if (!c)
        return zo2_error(s, "cuda backend: %s: %s (%s)", call, text, name);
    describe(&c->doing[ZO2_LANE_UPLOAD], upload, sizeof upload);
    describe(&c->doing[ZO2_LANE_COMPUTE], compute, sizeof compute);
    snprintf(text_and_work, sizeof text_and_work, "%s: %s (%s) on device %d, %s; last enqueued: %s; %s", call, text,
             name, c->device, c->name, compute, upload);
    if (!c->failing.exchange(1, std::memory_order_relaxed)) {
        memcpy(c->first_error, text_and_work, sizeof text_and_work);
        c->failed.store(1, std::memory_order_release);
    }
    return zo2_error(s, "cuda backend: %s", text_and_work);
}

zo2_status zo2_cuda_check(zo2_cuda *c, cudaError_t e, const char *call)
{
    if (e == cudaSuccess)
        return ZO2_OK;
    (void)cudaGetLastError(); /* the error that is not sticky is told once */
    return failure(c, e == cudaErrorMemoryAllocation ? ZO2_ERR_NOMEM : ZO2_ERR_DEVICE, call, cudaGetErrorName(e),
                   cudaGetErrorString(e));
}

zo2_status zo2_cuda_check_blas(zo2_cuda *c, cublasStatus_t e, const char *call)
{
    if (e == CUBLAS_STATUS_SUCCESS)
        return ZO2_OK;
    return failure(c, e == CUBLAS_STATUS_ALLOC_FAILED ? ZO2_ERR_NOMEM : ZO2_ERR_DEVICE, call, "cuBLAS",
                   cublasGetStatusString(e));
}

zo2_status zo2_cuda_launched(zo2_cuda *c, const char *kernel)
{
    return zo2_cuda_check(c, cudaGetLastError(), kernel);
}

zo2_status zo2_cuda_ready(zo2_cuda *c)
{
    if (c->failed.load(
            std::memory_order_acquire)) /* on this thread or another lane's: whoever is asked names the cause */
        return zo2_error(ZO2_ERR_DEVICE, "cuda backend: the device failed (close the engine and resume the run): %s",
                         c->first_error);
    return zo2_cuda_check(c, cudaSetDevice(c->device), "cudaSetDevice");
}
