/* norm.cu: layer normalisation: one warp a row, two passes over it (mean, then variance about it). Lane j sums elements
 * j, j + 32, ... and lanes are folded as on the cpu, so the bits are the cpu backend's. */
#include "codec/rn.h"
#include "kernels/backend.h"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/dialect.h"
#include "kernels/cuda/element.cuh"

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

template <typename E> ZO2_LAUNCH_BOUNDS(ZO2_CUDA_BLOCK) __global__ void zo2_layernorm_kernel(layernorm_args op)
{
    uint32_t lane = threadIdx.x % ZO2_CUDA_WARP, warp = threadIdx.x / ZO2_CUDA_WARP;
    const float *gamma = op.gamma ? op.gamma + blockIdx.y * op.stride_vec : NULL;
    const float *beta = op.beta ? op.beta + blockIdx.y * op.stride_vec : NULL;
    for (uint64_t row = (uint64_t)blockIdx.x * ZO2_CUDA_WARPS + warp; row < op.m;
         row += (uint64_t)gridDim.x * ZO2_CUDA_WARPS) {
        const float *x = op.x + blockIdx.y * op.stride_x + row * op.n;
        E *y = (E *)op.y + blockIdx.y * op.stride_y + row * op.n;
        float sum = 0.0f;
        for (uint64_t i = lane; i < op.n; i += ZO2_CUDA_WARP)
            sum += x[i];
        float mean = zo2_warp_sum(sum) / (float)op.n;
        sum = 0.0f;
        for (uint64_t i = lane; i < op.n; i += ZO2_CUDA_WARP)
            sum += (x[i] - mean) * (x[i] - mean);
        float inverse = 1.0f / zo2_sqrt(zo2_warp_sum(sum) / (float)op.n + op.eps);
        /* y may be x: each lane reads an element before it writes it, and nobody else's. */
        for (uint64_t i = lane; i < op.n; i += ZO2_CUDA_WARP) {
            float v = (x[i] - mean) * inverse;
            if (gamma)
                v *= gamma[i];
            if (beta)
                v += beta[i];
            zo2_put(y + i, v);
        }
    }
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
    dim3 grid(zo2_cuda_blocks(c, zo2_cuda_ceil_div(op->m, ZO2_CUDA_WARPS)), op->streams);
    ZO2_BY_TYPE(op->type,
                ZO2_LAUNCH((zo2_layernorm_kernel<E>), grid, ZO2_CUDA_BLOCK, 0, c->stream[ZO2_LANE_COMPUTE], a));
    return work.done(zo2_cuda_launched(c, "zo2_layernorm_kernel"));
}

zo2_status zo2_cuda_norm_load(zo2_cuda *c)
{
    ZO2_CUDA_LOAD(c, (zo2_layernorm_kernel<float>));
    ZO2_CUDA_LOAD(c, (zo2_layernorm_kernel<zo2_f16_element>));
    ZO2_CUDA_LOAD(c, (zo2_layernorm_kernel<zo2_bf16_element>));
    return ZO2_OK;
}
