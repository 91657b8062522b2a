/* cuda_device.cu: finding a device, opening and closing the backend, its memory. */
#include "codec/update.h"
#include "kernels/backend.h"
#include "kernels/cuda/cuda_backend.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef unsigned long long ull;

/* ---- which device ---- */

static zo2_status no_device(cudaError_t e)
{
    int driver = 0, runtime = 0;
    (void)cudaGetLastError();
    if (cudaDriverGetVersion(&driver) != cudaSuccess)
        driver = 0;
    (void)cudaRuntimeGetVersion(&runtime);
    if (e == cudaErrorInsufficientDriver && !driver)
        return zo2_error(ZO2_ERR_DEVICE,
                         "no NVIDIA driver is loaded: install one for CUDA %d.%d or newer, or use the "
                         "cpu backend",
                         runtime / 1000, runtime % 1000 / 10);
    if (e == cudaErrorInsufficientDriver)
        return zo2_error(ZO2_ERR_DEVICE,
                         "the NVIDIA driver is too old: it serves CUDA %d.%d and this build needs %d.%d; update it, or "
                         "use the cpu backend",
                         driver / 1000, driver % 1000 / 10, runtime / 1000, runtime % 1000 / 10);
    if (e == cudaSuccess || e == cudaErrorNoDevice)
        return zo2_error(ZO2_ERR_DEVICE,
                         "there is no CUDA device here (or CUDA_VISIBLE_DEVICES hides it): use the cpu backend");
    return zo2_error(ZO2_ERR_DEVICE, "cudaGetDeviceCount: %s (%s)", cudaGetErrorString(e), cudaGetErrorName(e));
}

zo2_status zo2_cuda_find_device(int *device)
{
    int n = 0, major = 0, minor = 0;
    cudaError_t e = cudaGetDeviceCount(&n);
    if (e || n <= 0)
        return no_device(e);
    for (int i = 0; i < n; i++) {
        e = cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, i);
        if (!e)
            e = cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, i);
        if (e)
            return zo2_cuda_check(NULL, e, "cudaDeviceGetAttribute");
        if (10 * major + minor >= ZO2_CUDA_MIN_CC) {
            *device = i;
            return ZO2_OK;
        }
    }
    return zo2_error(ZO2_ERR_DEVICE,
                     "the CUDA device is too old: compute capability %d.%d, needed is %d.%d (Turing) or newer; use the "
                     "cpu backend",
                     major, minor, ZO2_CUDA_MIN_CC / 10, ZO2_CUDA_MIN_CC % 10);
}

/* ---- life ---- */

static uint64_t in_use(void)
{
    size_t free = 0, total = 0;
    return cudaMemGetInfo(&free, &total) == cudaSuccess ? total - free : 0;
}

/* Raises the measured peak. */
static void measure(zo2_cuda *c)
{
    uint64_t now = in_use(), peak = c->peak.load(std::memory_order_relaxed);
    while (peak < now && !c->peak.compare_exchange_weak(peak, now, std::memory_order_relaxed))
        ;
}

uint64_t zo2_cuda_peak_bytes(zo2_backend *b)
{
    zo2_cuda *c = (zo2_cuda *)b;
    if (!c->failed.load(std::memory_order_relaxed) && cudaSetDevice(c->device) == cudaSuccess)
        measure(c);
    return c->peak.load(std::memory_order_relaxed);
}

/* What open() adds to a device. An error that was met stays: CUDA's are the context's. */
static void end_use(zo2_cuda *c)
{
    for (int i = 0; i < ZO2_LANE_COUNT; i++)
        if (c->stream[i])
            (void)cudaStreamSynchronize(c->stream[i]);
    zo2_cuda_spans_close(c);
    if (c->arena)
        (void)cudaFree(c->arena);
    c->arena = NULL;
    c->n_folded = 0;
    c->peak.store(0, std::memory_order_relaxed);
}

static void end_device(zo2_cuda *c)
{
    if (c->blas)
        (void)cublasDestroy(c->blas);
    for (int i = 0; i < ZO2_LANE_COUNT; i++)
        if (c->stream[i])
            (void)cudaStreamDestroy(c->stream[i]);
    free(c);
}

/* Returns of errors of the device's loss are dropped, which nobody can help here. */
static void end(zo2_cuda *c, int lent)
{
    if (!c)
        return;
    int outer = -1;
    (void)cudaGetDevice(&outer);
    (void)cudaSetDevice(c->device);
    end_use(c);
    if (!lent)
        end_device(c);
    (void)cudaGetLastError();
    if (outer >= 0)
        (void)cudaSetDevice(outer);
}

void zo2_cuda_close(zo2_backend *b)
{
    zo2_cuda *c = (zo2_cuda *)b;
    end(c, c && c->lent);
}

void zo2_cuda_device_close(zo2_device *d)
{
    end((zo2_cuda *)(void *)d, 0);
}

static zo2_status open_streams(zo2_cuda *c)
{
    for (int i = 0; i < ZO2_LANE_COUNT; i++) {
        cudaError_t e = cudaStreamCreateWithFlags(&c->stream[i], cudaStreamNonBlocking);
        if (e)
            return zo2_cuda_check(c, e, "cudaStreamCreateWithFlags");
    }
    return ZO2_OK;
}

static zo2_status open_blas(zo2_cuda *c)
{
    cublasStatus_t e = cublasCreate(&c->blas);
    if (!e)
        e = cublasSetStream(c->blas, c->stream[ZO2_LANE_COMPUTE]);
    if (!e)
        e = cublasSetMathMode(c->blas,
                              (cublasMath_t)(CUBLAS_DEFAULT_MATH | CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION));
    return zo2_cuda_check_blas(c, e, "cublasCreate");
}

static zo2_status set_workspace(zo2_cuda *c, void *at)
{
    c->blas_workspace = at;
    return zo2_cuda_check_blas(c, cublasSetWorkspace(c->blas, at, ZO2_CUDA_BLAS_BYTES), "cublasSetWorkspace");
}

/* One product of each type and type of result, in borrowed memory: cuBLAS loads its kernels at their first use, and what they take must be
 * known before the arena is sized. Large shapes have kernels of their own; ZO2_CUDA_SLACK_BYTES are for those. */
static zo2_status load_blas(zo2_cuda *c)
{
    const zo2_dtype types[] = {ZO2_F16, ZO2_BF16, ZO2_F32};
    const uint64_t n = 64, k = 32, matrix = n * n * 4;
    unsigned char *scratch = NULL;
    zo2_status s = zo2_cuda_check(c, cudaMalloc((void **)&scratch, ZO2_CUDA_BLAS_BYTES + 3 * matrix),
                                  "cudaMalloc (loading cuBLAS)");
    if (s)
        return s;
    unsigned char *a = scratch + ZO2_CUDA_BLAS_BYTES, *w = a + matrix, *y = w + matrix;
    s = set_workspace(c, scratch);
    if (!s)
        s = zo2_cuda_check(c, cudaMemsetAsync(a, 0, 3 * matrix, c->stream[ZO2_LANE_COMPUTE]), "cudaMemsetAsync");
    for (unsigned i = 0; i < 5 && !s; i++) { /* fp32 has one */
        zo2_dtype type = types[i / 2];
        zo2_cuda_product p = {};
        p.batch = 1;
        p.m = p.n = p.ldc = n;
        p.k = p.lda = p.ldw = k;
        p.a = a;
        p.w = w;
        p.c = y;
        p.type = type;
        p.c_type = i % 2 ? type : ZO2_F32;
        if (type != ZO2_BF16 || c->capability >= 80)
            s = zo2_cuda_multiply(c, &p);
        int done;
        if (!s && p.c_type == ZO2_F32 && (type != ZO2_BF16 || c->capability >= 80))
            s = zo2_cuda_multiply_biased(c, &p, (const float *)(const void *)a, 0, &done);
    }
    cudaError_t e = cudaStreamSynchronize(c->stream[ZO2_LANE_COMPUTE]);
    if (!s)
        s = zo2_cuda_check(c, e, "cudaStreamSynchronize (loading cuBLAS)");
    (void)cudaFree(scratch);
    return s;
}

static zo2_status load_kernels(zo2_cuda *c)
{
    zo2_status (*const load[])(zo2_cuda *) = {zo2_cuda_decode_load, zo2_cuda_norm_load,      zo2_cuda_elementwise_load,
                                              zo2_cuda_rope_load,   zo2_cuda_attention_load, zo2_cuda_lse_load};
    zo2_status s = ZO2_OK;
    for (unsigned i = 0; i < sizeof load / sizeof load[0] && !s; i++)
        s = load[i](c);
    return s;
}

/* Context, streams, cuBLAS, kernels: what takes device memory beside the arena. */
static zo2_status open_context(zo2_cuda *c)
{
    cudaDeviceProp prop;
    zo2_status s = zo2_cuda_check(c, cudaSetDevice(c->device), "cudaSetDevice");
    if (!s)
        s = zo2_cuda_check(c, cudaGetDeviceProperties(&prop, c->device), "cudaGetDeviceProperties");
    if (s)
        return s;
    snprintf(c->name, sizeof c->name, "%.*s", (int)sizeof c->name - 1, prop.name);
    c->capability = 10 * prop.major + prop.minor;
    c->processors = prop.multiProcessorCount > 0 ? (uint32_t)prop.multiProcessorCount : 1;
    s = open_streams(c);
    if (!s)
        s = open_blas(c);
    if (!s)
        s = load_kernels(c);
    return s ? s : load_blas(c);
}

static zo2_status open_arena(zo2_cuda *c, uint64_t bytes)
{
    void *p = NULL;
    size_t free = 0, total = 0;
    zo2_status s = zo2_cuda_check(c, cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
    if (s)
        return s;
    cudaError_t e = cudaMalloc(&p, bytes);
    if (e == cudaErrorMemoryAllocation) {
        (void)cudaGetLastError();
        return zo2_error(
            ZO2_ERR_NOMEM,
            "device %d, %s, has %llu of %llu bytes free and the plan needs %llu: end what else uses it, or "
            "give it a smaller device budget, batch or sequence",
            c->device, c->name, (ull)free, (ull)total, (ull)bytes);
    }
    c->arena = (unsigned char *)p;
    c->arena_bytes = bytes;
    c->fold_table = (zo2_update *)(void *)(c->arena + ZO2_CUDA_BLAS_BYTES);
    if (!e) {
        measure(c);
        return set_workspace(c, c->arena);
    }
    return zo2_cuda_check(c, e, "cudaMalloc");
}

/* A backend with its context and no arena yet. */
static zo2_status create(zo2_cuda **out)
{
    int device = 0;
    *out = NULL;
    zo2_status s = zo2_cuda_find_device(&device);
    if (s)
        return s;
    zo2_cuda *c = (zo2_cuda *)calloc(1, sizeof *c); /* its atomics are zero as bytes, too */
    if (!c)
        return zo2_error(ZO2_ERR_NOMEM, "cuda backend: no memory");
    c->base.threads = 1;
    c->device = device;
    s = open_context(c);
    if (s)
        end(c, 0);
    else
        *out = c;
    return s;
}

/* The device that is lent, or one of its own. */
static zo2_status take(zo2_cuda **out, zo2_device *lent)
{
    zo2_cuda *c = (zo2_cuda *)(void *)lent;
    if (!c)
        return create(out);
    if (c->arena)
        return zo2_error(ZO2_ERR_INTERNAL, "cuda backend: the device is in use; it serves one backend at a time");
    *out = c;
    return zo2_cuda_ready(c);
}

zo2_status zo2_cuda_open(zo2_backend **out, const zo2_backend_config *config)
{
    zo2_cuda *c = NULL;
    int outer = -1;
    *out = NULL;
    if (config->arena_bytes <= ZO2_CUDA_RESERVED_BYTES)
        return zo2_error(ZO2_ERR_ARG, "cuda backend: an arena of %llu bytes; its own part takes %llu",
                         (ull)config->arena_bytes, (ull)ZO2_CUDA_RESERVED_BYTES);
    (void)cudaGetDevice(&outer);
    zo2_status s = take(&c, config->device);
    if (!s) /* now, and not when a run exists whose settings can't change any more */
        s = zo2_cuda_multiplies(c, config->compute);
    if (!s)
        s = open_arena(c, config->arena_bytes);
    if (s && c)
        zo2_cuda_close(&c->base);
    if (outer >= 0)
        (void)cudaSetDevice(outer);
    (void)cudaGetLastError();
    if (!s)
        *out = &c->base;
    return s;
}

/* CUDA doesn't say what a context takes; on an otherwise idle device it is all that is in use. Where more is in use
 * than a context can take, others are there too and the assumed size stands. */
zo2_status zo2_cuda_device_open(zo2_device **out, zo2_device_info *info)
{
    zo2_cuda *c = NULL;
    int outer = -1;
    size_t free = 0, total = 0;
    *out = NULL;
    memset(info, 0, sizeof *info);
    (void)cudaGetDevice(&outer);
    zo2_status s = create(&c);
    if (!s)
        s = zo2_cuda_check(c, cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
    if (!s) {
        uint64_t used = total - free, own = used < 2 * ZO2_CUDA_CONTEXT_BYTES ? used : ZO2_CUDA_CONTEXT_BYTES;
        info->context_bytes = own + ZO2_CUDA_SLACK_BYTES;
        info->free_bytes = free + own;
        snprintf(info->name, sizeof info->name, "%s", c->name);
        c->lent = 1;
        *out = (zo2_device *)(void *)c;
    } else {
        end(c, 0);
    }
    if (outer >= 0)
        (void)cudaSetDevice(outer);
    (void)cudaGetLastError();
    return s;
}
