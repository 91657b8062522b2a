/* lse.cu: streaming log-sum-exp: one warp a loss token and stream. Sums are fp32 over 32 lanes within 1,024 logits and
 * double across, in the cpu backend's order and with its exponential: the same bits. What isn't finite: see
 * kernels/cpu/lse.c. */
#include <math.h>

#include "kernels/backend.h"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/dialect.h"
#include "kernels/cuda/element.cuh"
#include "kernels/exp_neg.h"

#define LSE_BLOCK 1024

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
} lse_args;

ZO2_LAUNCH_BOUNDS(ZO2_CUDA_BLOCK) __global__ void zo2_lse_tile_kernel(lse_args op)
{
    uint32_t lane = threadIdx.x % ZO2_CUDA_WARP, warp = threadIdx.x / ZO2_CUDA_WARP;
    for (uint64_t row = (uint64_t)blockIdx.x * ZO2_CUDA_WARPS + warp; row < op.m;
         row += (uint64_t)gridDim.x * ZO2_CUDA_WARPS) {
        const float *x = op.logits + blockIdx.y * op.stride + row * op.ld;
        zo2_lse *state = op.state + blockIdx.y * op.stride_state + row;
        float before = state->max, max = before;
        for (uint64_t i = lane; i < op.n; i += ZO2_CUDA_WARP)
            max = x[i] > max ? x[i] : max;
        max = zo2_warp_max(max);
        float ref = max == -INFINITY ? 0.0f : max; /* nothing but -inf so far: exp(-inf - 0) = 0, not NaN */
        double sum = 0;
        for (uint64_t from = 0; from < op.n; from += LSE_BLOCK) {
            uint64_t end = op.n - from < LSE_BLOCK ? op.n : from + LSE_BLOCK;
            float part = 0.0f;
            for (uint64_t i = from + lane; i < end; i += ZO2_CUDA_WARP)
                part += zo2_exp_neg(x[i] - ref);
            sum += (double)zo2_warp_sum(part);
        }
        __syncwarp(); /* every lane has read the state's maximum */
        if (lane == 0) {
            state->sum = (float)((double)state->sum * (double)zo2_exp_neg(before - ref) + sum);
            state->max = max;
            if (op.target[row] >= op.first && op.target[row] - op.first < op.n)
                state->target = x[op.target[row] - op.first];
        }
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
    dim3 grid(zo2_cuda_blocks(c, zo2_cuda_ceil_div(op->m, ZO2_CUDA_WARPS)), op->streams);
    ZO2_LAUNCH(zo2_lse_tile_kernel, grid, ZO2_CUDA_BLOCK, 0, c->stream[ZO2_LANE_COMPUTE], a);
    return work.done(zo2_cuda_launched(c, "zo2_lse_tile_kernel"));
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
    ZO2_CUDA_LOAD(c, zo2_lse_tile_kernel);
    ZO2_CUDA_LOAD(c, zo2_lse_finish_kernel);
    return ZO2_OK;
}
