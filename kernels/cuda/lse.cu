/* lse.cu: streaming log-sum-exp of each loss token and stream. Sums are fp32 over 32 lanes within 1,024 logits and double
 * across, in the cpu backend's order and with its exponential: the same bits. So the maximum comes first: a running one would
 * rescale sums on the way, and round them. What isn't finite: see kernels/cpu/lse.c. */
#include <math.h>

#include "kernels/backend.h"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/dialect.h"
#include "kernels/cuda/element.cuh"
#include "kernels/cuda/held_row.cuh"
#include "kernels/exp_neg.h"
#include "kernels/operations.h"

#define LSE_BLOCK  1024
#define LSE_BLOCKS 11 /* of a row in shared memory, beside what the block has there */

ZO2_LAUNCH_BOUNDS(ZO2_CUDA_BLOCK) __global__ void zo2_lse_init_kernel(zo2_lse *state, uint64_t n)
{
    for (uint64_t i = (uint64_t)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += (uint64_t)gridDim.x * blockDim.x) {
        zo2_lse s = {-INFINITY, 0.0f, NAN, 0.0f};
        state[i] = s;
    }
}

typedef struct lse_args { /* the operation's, without what the host needs */
    uint64_t m, n;
    const float *logits;
    uint64_t ld, stride;
    const uint32_t *target;
    uint64_t first;
    zo2_lse *state;
    uint64_t stride_state;
    const uint32_t *skip;
} lse_args;

/* Whether row op.first + i is skipped: its number has 32 bits. */
__device__ static inline bool skips(const lse_args &op, uint32_t i)
{
    uint32_t row = (uint32_t)op.first + i;
    return __ldg(op.skip + row / 32) >> (row % 32) & 1;
}

/* Its logit as it counts. SKIP: whether there are rows to skip at all. */
template <bool SKIP> __device__ static inline float counted(const lse_args &op, uint32_t i, float logit)
{
    return SKIP && skips(op, i) ? -INFINITY : logit;
}

/* Nothing but -inf so far: exp(-inf - 0) = 0, not NaN. */
__device__ static inline float reference_of(float max)
{
    return max == -INFINITY ? 0.0f : max;
}

/* Sum of LSE_BLOCK logits or fewer, logit(i) for i < n; all lanes of a warp get it. */
template <class F> __device__ static inline float sum_of(uint32_t n, float ref, F logit)
{
    float part = 0.0f;
    zo2_lane_each(n, [&](uint32_t i) { part += zo2_exp_neg(logit(i) - ref); });
    return zo2_warp_sum(part);
}

/* On one thread, when no other reads the state any more. `sum`: of the tile; `before`: the state's maximum. */
template <bool SKIP>
__device__ static inline void take_tile(const lse_args &op, uint64_t row, const float *x, zo2_lse *state, float before,
                                        float max, double sum)
{
    state->sum = (float)((double)state->sum * (double)zo2_exp_neg(before - reference_of(max)) + sum);
    state->max = max;
    if (op.target[row] < op.first || op.target[row] - op.first >= op.n)
        return;
    uint32_t i = op.target[row] - (uint32_t)op.first;
    if (!SKIP || !skips(op, i))
        state->target = x[i];
}

/* A row a block, read once: whole runs of 8 from multiples of 16 bytes, LSE_BLOCKS * LSE_BLOCK logits at most. Warps take
 * blocks of logits in turn; thread 0 adds their sums in order. */
template <bool SKIP> ZO2_LAUNCH_BOUNDS(ZO2_CUDA_BLOCK) __global__ void zo2_lse_held_kernel(lse_args op)
{
    ZO2_DYNAMIC_SHARED(float, held);
    ZO2_SHARED(float, highest, ZO2_CUDA_WARPS);
    ZO2_SHARED(float, sums, LSE_BLOCKS);
    uint32_t lane = threadIdx.x % ZO2_CUDA_WARP, warp = threadIdx.x / ZO2_CUDA_WARP, n = (uint32_t)op.n;
    for (uint64_t row = blockIdx.x; row < op.m; row += gridDim.x) {
        const float *x = op.logits + blockIdx.y * op.stride + row * op.ld;
        zo2_lse *state = op.state + blockIdx.y * op.stride_state + row;
        float before = state->max, max = before;
        zo2_hold_row<ZO2_CUDA_BLOCK>(x, n, held, [&](uint32_t i, float &v) {
            v = counted<SKIP>(op, i, v);
            max = fmaxf(v, max);
        });
        max = zo2_warp_max(max);
        if (lane == 0)
            highest[warp] = max;
        __syncthreads();
#pragma unroll
        for (uint32_t w = 0; w < ZO2_CUDA_WARPS; w++)
            max = fmaxf(highest[w], max);
        for (uint32_t b = warp; b * LSE_BLOCK < n; b += ZO2_CUDA_WARPS) {
            uint32_t left = n - b * LSE_BLOCK;
            const float *at = held + b * LSE_BLOCK;
            float sum =
                sum_of(left < LSE_BLOCK ? left : LSE_BLOCK, reference_of(max), [at](uint32_t i) { return at[i]; });
            if (lane == 0)
                sums[b] = sum;
        }
        __syncthreads(); /* and then warps may go on to the next row: what they write there, nobody reads here any more */
        if (threadIdx.x == 0) {
            double sum = 0;
            for (uint32_t b = 0; b * LSE_BLOCK < n; b++)
                sum += (double)sums[b];
            take_tile<SKIP>(op, row, x, state, before, max, sum);
        }
    }
}

/* A row a warp, any row: it is read twice, one logit at a time. */
template <bool SKIP> ZO2_LAUNCH_BOUNDS(ZO2_CUDA_BLOCK) __global__ void zo2_lse_tile_kernel(lse_args op)
{
    uint32_t lane = threadIdx.x % ZO2_CUDA_WARP, warp = threadIdx.x / ZO2_CUDA_WARP;
    for (uint64_t row = (uint64_t)blockIdx.x * ZO2_CUDA_WARPS + warp; row < op.m;
         row += (uint64_t)gridDim.x * ZO2_CUDA_WARPS) {
        const float *x = op.logits + blockIdx.y * op.stride + row * op.ld;
        zo2_lse *state = op.state + blockIdx.y * op.stride_state + row;
        float before = state->max, max = before;
        zo2_lane_each(op.n, [&](uint64_t i) { max = fmaxf(counted<SKIP>(op, (uint32_t)i, x[i]), max); });
        max = zo2_warp_max(max);
        double sum = 0;
        for (uint64_t from = 0; from < op.n; from += LSE_BLOCK)
            sum += (double)sum_of((uint32_t)(op.n - from < LSE_BLOCK ? op.n - from : LSE_BLOCK), reference_of(max),
                                  [&](uint32_t i) { return counted<SKIP>(op, (uint32_t)from + i, x[from + i]); });
        __syncwarp(); /* every lane has read the state's maximum */
        if (lane == 0)
            take_tile<SKIP>(op, row, x, state, before, max, sum);
    }
}

ZO2_LAUNCH_BOUNDS(ZO2_CUDA_BLOCK)
__global__ void zo2_lse_finish_kernel(const zo2_lse *state, uint64_t n, float *logprob)
{
    for (uint64_t i = (uint64_t)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += (uint64_t)gridDim.x * blockDim.x)
        /* a target that no tile held is still NaN */
        logprob[i] = (float)(((double)state[i].target - (double)state[i].max) - log((double)state[i].sum));
}

zo2_status zo2_cuda_lse_init(zo2_cuda *c, const zo2_lse_init_op *op)
{
    zo2_cuda_work work(c, ZO2_LANE_COMPUTE, "lse_init", 0, 0, 0);
    ZO2_LAUNCH(zo2_lse_init_kernel, zo2_cuda_blocks(c, zo2_cuda_ceil_div(op->n, ZO2_CUDA_BLOCK)), ZO2_CUDA_BLOCK, 0,
               c->stream[ZO2_LANE_COMPUTE], op->state, op->n);
    return work.done(zo2_cuda_launched(c, "zo2_lse_init_kernel"));
}

zo2_status zo2_cuda_lse_tile(zo2_cuda *c, const zo2_lse_op *op)
{
    zo2_cuda_work work(c, ZO2_LANE_COMPUTE, "lse_tile", 0, op->first, op->n);
    lse_args a = lse_args();
    a.m = op->m;
    a.n = op->n;
    a.logits = op->logits;
    a.ld = op->ld;
    a.stride = op->stride;
    a.target = op->target;
    a.first = op->first;
    a.state = op->state;
    a.stride_state = op->stride_state;
    a.skip = op->skip;
    int held = op->n <= LSE_BLOCKS * LSE_BLOCK && zo2_cuda_wide(op->logits, op->n | op->ld | op->stride);
    dim3 grid(zo2_cuda_blocks(c, held ? op->m : zo2_cuda_ceil_div(op->m, ZO2_CUDA_WARPS)), op->streams);
    cudaStream_t s = c->stream[ZO2_LANE_COMPUTE];
    if (held && op->skip)
        ZO2_LAUNCH(zo2_lse_held_kernel<true>, grid, ZO2_CUDA_BLOCK, op->n * sizeof(float), s, a);
    else if (held)
        ZO2_LAUNCH(zo2_lse_held_kernel<false>, grid, ZO2_CUDA_BLOCK, op->n * sizeof(float), s, a);
    else if (op->skip)
        ZO2_LAUNCH(zo2_lse_tile_kernel<true>, grid, ZO2_CUDA_BLOCK, 0, s, a);
    else
        ZO2_LAUNCH(zo2_lse_tile_kernel<false>, grid, ZO2_CUDA_BLOCK, 0, s, a);
    return work.done(zo2_cuda_launched(c, held ? "zo2_lse_held_kernel" : "zo2_lse_tile_kernel"));
}

zo2_status zo2_cuda_lse_finish(zo2_cuda *c, const zo2_lse_finish_op *op)
{
    zo2_cuda_work work(c, ZO2_LANE_COMPUTE, "lse_finish", 0, 0, 0);
    ZO2_LAUNCH(zo2_lse_finish_kernel, zo2_cuda_blocks(c, zo2_cuda_ceil_div(op->n, ZO2_CUDA_BLOCK)), ZO2_CUDA_BLOCK, 0,
               c->stream[ZO2_LANE_COMPUTE], op->state, op->n, op->logprob);
    return work.done(zo2_cuda_launched(c, "zo2_lse_finish_kernel"));
}

zo2_status zo2_cuda_lse_load(zo2_cuda *c)
{
    ZO2_CUDA_LOAD(c, zo2_lse_init_kernel);
    ZO2_CUDA_LOAD(c, zo2_lse_held_kernel<false>);
    ZO2_CUDA_LOAD(c, zo2_lse_held_kernel<true>);
    ZO2_CUDA_LOAD(c, zo2_lse_tile_kernel<false>);
    ZO2_CUDA_LOAD(c, zo2_lse_tile_kernel<true>);
    ZO2_CUDA_LOAD(c, zo2_lse_finish_kernel);
    return ZO2_OK;
}
