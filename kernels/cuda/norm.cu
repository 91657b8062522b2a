/* norm.cu: layer normalisation: one warp a row, two sums over it (mean, then variance about it); and normalisation by the root of
 * the mean square, one warp a norm. Lane j sums elements j, j + 32, ... and lanes are folded as on the cpu, so the bits are the
 * cpu backend's. */
#include "codec/rn.h"
#include "kernels/backend.h"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/dialect.h"
#include "kernels/cuda/element.cuh"
#include "kernels/cuda/held_row.cuh"
#include "kernels/operations.h"

typedef struct layernorm_args { /* the operation's, without what the host needs */
    uint64_t m, n;
    const float *x;
    uint64_t stride_x;
    const float *gamma, *beta;
    uint64_t stride_vec;
    void *y;
    uint64_t stride_y;
    float eps;
    uint32_t no_padding;
} layernorm_args;

/* Both sums of a row; N: the type of its length. Lane j adds elements j, j + 32, ... */
typedef struct row_sums {
    float mean, inverse;
} row_sums;

template <typename N> __device__ static inline row_sums sums_of(const float *x, N n, float eps)
{
    row_sums r;
    float sum = 0.0f;
    zo2_lane_each(n, [&](N i) { sum += x[i]; });
    r.mean = zo2_warp_sum(sum) / (float)n;
    sum = 0.0f;
    zo2_lane_each(n, [&](N i) { sum += (x[i] - r.mean) * (x[i] - r.mean); });
    r.inverse = 1.0f / zo2_sqrt(zo2_warp_sum(sum) / (float)n + eps);
    return r;
}

/* The row's result, W elements of a lane at a time. y may be x: a lane reads elements before it writes them, and nobody
 * else's. */
template <int W, typename E, typename N>
__device__ static inline void normalise(const float *x, N n, row_sums r, const float *gamma, const float *beta, E *y)
{
    for (N i = W * (threadIdx.x % ZO2_CUDA_WARP); i < n; i += W * ZO2_CUDA_WARP) {
        float v[W], by[W];
        zo2_load_wide<float, W>(x + i, v);
#pragma unroll
        for (int j = 0; j < W; j++)
            v[j] = (v[j] - r.mean) * r.inverse;
        if (gamma) {
            zo2_load_wide<float, W>(gamma + i, by);
#pragma unroll
            for (int j = 0; j < W; j++)
                v[j] *= by[j];
        }
        if (beta) {
            zo2_load_wide<float, W>(beta + i, by);
#pragma unroll
            for (int j = 0; j < W; j++)
                v[j] += by[j];
        }
        zo2_store_wide<E, W>(y + i, v);
    }
}

/* HELD: a row is read once, 16 bytes at a time, into the warp's shared memory, and the passes read it there; rows are whole
 * runs of 8 from multiples of 16 bytes. Otherwise any row: it is read three times, one element at a time. */
template <typename E, bool HELD>
ZO2_LAUNCH_BOUNDS(ZO2_CUDA_BLOCK)
__global__ void zo2_layernorm_kernel(layernorm_args op)
{
    uint32_t warp = threadIdx.x / ZO2_CUDA_WARP, warps = blockDim.x / ZO2_CUDA_WARP;
    const float *gamma = op.gamma ? op.gamma + blockIdx.y * op.stride_vec : NULL;
    const float *beta = op.beta ? op.beta + blockIdx.y * op.stride_vec : NULL;
    for (uint64_t row = (uint64_t)blockIdx.x * warps + warp; row < op.m; row += (uint64_t)gridDim.x * warps) {
        const float *x = op.x + blockIdx.y * op.stride_x + row * op.n;
        E *y = (E *)op.y + blockIdx.y * op.stride_y + row * op.n;
        if constexpr (HELD) {
            ZO2_DYNAMIC_SHARED(float, all);
            uint32_t n = (uint32_t)op.n;
            float *held = all + warp * n;
            zo2_hold_row<ZO2_CUDA_WARP>(x, n, held, [](uint32_t, float) {});
            __syncwarp();
            normalise<8>(held, n, sums_of(held, n, op.eps), gamma, beta, y);
            __syncwarp(); /* the next row overwrites it */
        } else {
            normalise<1>(x, op.n, sums_of(x, op.n, op.eps), gamma, beta, y);
        }
    }
}

/* Warps of a block whose rows of n elements fit into its shared memory; 0: not one. */
static uint32_t warps_held(uint64_t n)
{
    uint64_t rows = ZO2_CUDA_SHARED_BYTES / sizeof(float) / n;
    return rows < ZO2_CUDA_WARPS ? (uint32_t)rows : ZO2_CUDA_WARPS;
}

zo2_status zo2_cuda_layernorm(zo2_cuda *c, const zo2_layernorm_op *op)
{
    zo2_cuda_work work(c, ZO2_LANE_COMPUTE, "layernorm", 0, 0, 0);
    layernorm_args a = layernorm_args();
    a.m = op->m;
    a.n = op->n;
    a.x = op->x;
    a.stride_x = op->stride_x;
    a.gamma = op->gamma;
    a.beta = op->beta;
    a.stride_vec = op->stride_vec;
    a.y = op->y;
    a.stride_y = op->stride_y;
    a.eps = op->eps;
    int wide = zo2_cuda_wide(op->x, op->n | op->stride_x) && zo2_cuda_wide(op->y, op->stride_y) &&
               (!op->gamma || zo2_cuda_wide(op->gamma, op->stride_vec)) &&
               (!op->beta || zo2_cuda_wide(op->beta, op->stride_vec));
    uint32_t held = wide ? warps_held(op->n) : 0, warps = held ? held : ZO2_CUDA_WARPS;
    size_t shared = held * op->n * sizeof(float);
    dim3 grid(zo2_cuda_blocks(c, zo2_cuda_ceil_div(op->m, warps)), op->streams);
    cudaStream_t s = c->stream[ZO2_LANE_COMPUTE];
    if (held)
        ZO2_BY_TYPE(op->type, ZO2_LAUNCH((zo2_layernorm_kernel<E, true>), grid, warps * ZO2_CUDA_WARP, shared, s, a))
    else
        ZO2_BY_TYPE(op->type, ZO2_LAUNCH((zo2_layernorm_kernel<E, false>), grid, ZO2_CUDA_BLOCK, 0, s, a))
    return work.done(zo2_cuda_launched(c, "zo2_layernorm_kernel"));
}

/* ---- by the root of the mean square ---- */

typedef struct rmsnorm_args {
    uint64_t m, n;
    const void *x;
    uint64_t ldx, stride_x;
    const float *gamma;
    uint64_t stride_vec;
    void *y;
    uint64_t ldy, stride_y;
    uint32_t groups;
    uint32_t step_rows, step_groups; /* how far a warp's next norm is: the grid's warps, over the norms of a row */
    float eps;
} rmsnorm_args;

/* x is what was read, or the floats that it was read into. */
template <typename X, typename N> __device__ static inline float inverse_root(const X *x, N n, float eps)
{
    float sum = 0.0f;
    zo2_lane_each(n, [&](N i) {
        float v = zo2_get(x[i]);
        sum += v * v;
    });
    return 1.0f / zo2_sqrt(zo2_warp_sum(sum) / (float)n + eps);
}

/* As normalise() above: y may be x. */
template <int W, typename X, typename E, typename N>
__device__ static inline void times_inverse(const X *x, N n, float inverse, const float *gamma, E *y)
{
    for (N i = W * (threadIdx.x % ZO2_CUDA_WARP); i < n; i += W * ZO2_CUDA_WARP) {
        float v[W], by[W];
        zo2_load_wide<X, W>(x + i, v);
#pragma unroll
        for (int j = 0; j < W; j++)
            v[j] *= inverse;
        if (gamma) {
            zo2_load_wide<float, W>(gamma + i, by);
#pragma unroll
            for (int j = 0; j < W; j++)
                v[j] *= by[j];
        }
        zo2_store_wide<E, W>(y + i, v);
    }
}

/* X to E. HELD as above; otherwise a norm's elements are read twice, one at a time. */
template <typename X, typename E, bool HELD>
ZO2_LAUNCH_BOUNDS(ZO2_CUDA_BLOCK)
__global__ void zo2_rmsnorm_kernel(rmsnorm_args op)
{
    uint32_t warp = threadIdx.x / ZO2_CUDA_WARP, warps = blockDim.x / ZO2_CUDA_WARP, first = blockIdx.x * warps + warp;
    const float *gamma = op.gamma ? op.gamma + blockIdx.y * op.stride_vec : NULL;
    uint64_t row = first / op.groups;
    uint32_t group = first % op.groups;
    while (row < op.m) {
        const X *x = (const X *)op.x + blockIdx.y * op.stride_x + row * op.ldx + group * op.n;
        E *y = (E *)op.y + blockIdx.y * op.stride_y + row * op.ldy + group * op.n;
        if constexpr (HELD) {
            ZO2_DYNAMIC_SHARED(float, all);
            uint32_t n = (uint32_t)op.n;
            float *held = all + warp * n;
            zo2_hold_row<ZO2_CUDA_WARP>(x, n, held, [](uint32_t, float) {});
            __syncwarp();
            times_inverse<8>(held, n, inverse_root(held, n, op.eps), gamma, y);
            __syncwarp(); /* the next one overwrites it */
        } else {
            times_inverse<1>(x, op.n, inverse_root(x, op.n, op.eps), gamma, y);
        }
        row += op.step_rows;
        group += op.step_groups;
        if (group >= op.groups) {
            group -= op.groups;
            row++;
        }
    }
}

template <typename X, typename E> static void launch_rmsnorm(zo2_cuda *c, const zo2_rmsnorm_op *op, rmsnorm_args a)
{
    int wide = zo2_cuda_wide(op->x, op->n | op->ldx | op->stride_x) && zo2_cuda_wide(op->y, op->ldy | op->stride_y) &&
               (!op->gamma || zo2_cuda_wide(op->gamma, op->stride_vec));
    uint32_t held = wide ? warps_held(op->n) : 0, warps = held ? held : ZO2_CUDA_WARPS;
    size_t shared = held * op->n * sizeof(float);
    dim3 grid(zo2_cuda_blocks(c, zo2_cuda_ceil_div(op->m * op->groups, warps)), op->streams);
    a.step_rows = grid.x * warps / op->groups;
    a.step_groups = grid.x * warps % op->groups;
    cudaStream_t s = c->stream[ZO2_LANE_COMPUTE];
    if (held)
        ZO2_LAUNCH((zo2_rmsnorm_kernel<X, E, true>), grid, warps * ZO2_CUDA_WARP, shared, s, a);
    else
        ZO2_LAUNCH((zo2_rmsnorm_kernel<X, E, false>), grid, ZO2_CUDA_BLOCK, 0, s, a);
}

zo2_status zo2_cuda_rmsnorm(zo2_cuda *c, const zo2_rmsnorm_op *op)
{
    zo2_cuda_work work(c, ZO2_LANE_COMPUTE, "rmsnorm", 0, 0, 0);
    rmsnorm_args a = rmsnorm_args();
    a.m = op->m;
    a.n = op->n;
    a.x = op->x;
    a.ldx = op->ldx;
    a.stride_x = op->stride_x;
    a.gamma = op->gamma;
    a.stride_vec = op->stride_vec;
    a.y = op->y;
    a.ldy = op->ldy;
    a.stride_y = op->stride_y;
    a.groups = op->groups;
    a.eps = op->eps;
    if (op->x_type == ZO2_F32)
        ZO2_BY_TYPE(op->type, (launch_rmsnorm<float, E>(c, op, a)))
    else
        ZO2_BY_TYPE(op->type, (launch_rmsnorm<E, E>(c, op, a)))
    return work.done(zo2_cuda_launched(c, "zo2_rmsnorm_kernel"));
}

template <typename X, typename E> static zo2_status load_rmsnorm(zo2_cuda *c)
{
    ZO2_CUDA_LOAD(c, (zo2_rmsnorm_kernel<X, E, true>));
    ZO2_CUDA_LOAD(c, (zo2_rmsnorm_kernel<X, E, false>));
    return ZO2_OK;
}

zo2_status zo2_cuda_norm_load(zo2_cuda *c)
{
    ZO2_CUDA_LOAD(c, (zo2_layernorm_kernel<float, true>));
    ZO2_CUDA_LOAD(c, (zo2_layernorm_kernel<float, false>));
    ZO2_CUDA_LOAD(c, (zo2_layernorm_kernel<zo2_f16_element, true>));
    ZO2_CUDA_LOAD(c, (zo2_layernorm_kernel<zo2_f16_element, false>));
    ZO2_CUDA_LOAD(c, (zo2_layernorm_kernel<zo2_bf16_element, true>));
    ZO2_CUDA_LOAD(c, (zo2_layernorm_kernel<zo2_bf16_element, false>));
    zo2_status s = load_rmsnorm<float, float>(c);
    if (!s)
        s = load_rmsnorm<float, zo2_f16_element>(c);
    if (!s)
        s = load_rmsnorm<float, zo2_bf16_element>(c);
    if (!s)
        s = load_rmsnorm<zo2_f16_element, zo2_f16_element>(c);
    return s ? s : load_rmsnorm<zo2_bf16_element, zo2_bf16_element>(c);
}
