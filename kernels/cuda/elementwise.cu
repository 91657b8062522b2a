/* elementwise.cu: bias with activation, and conversions of rows. x runs over columns, y over rows, z over streams. */
#include "kernels/backend.h"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/dialect.h"
#include "kernels/cuda/element.cuh"

/* The operations', without what the host needs. */
typedef struct bias_act_args {
    uint64_t m, n;
    void *y;
    uint64_t ldy, stride_y;
    const float *bias;
    uint64_t stride_bias;
    float scale;
    zo2_activation act;
} bias_act_args;

typedef struct convert_args {
    uint64_t m, n;
    const float *x;
    uint64_t stride_x;
    const uint32_t *index;
    void *y;
    uint64_t stride_y;
} convert_args;

template <typename E> ZO2_LAUNCH_BOUNDS(ZO2_CUDA_BLOCK) __global__ void zo2_bias_act_kernel(bias_act_args op)
{
    const float *bias = op.bias ? op.bias + blockIdx.z * op.stride_bias : NULL;
    for (uint64_t row = blockIdx.y; row < op.m; row += gridDim.y) {
        E *y = (E *)op.y + blockIdx.z * op.stride_y + row * op.ldy;
        for (uint64_t i = (uint64_t)blockIdx.x * blockDim.x + threadIdx.x; i < op.n;
             i += (uint64_t)gridDim.x * blockDim.x) {
            float v = zo2_get(y[i]);
            if (bias)
                v += bias[i];
            v *= op.scale;
            if (op.act == ZO2_ACT_RELU)
                v = v < 0.0f ? 0.0f : v; /* in this order a NaN stays */
            if (op.act == ZO2_ACT_GELU)
                v = 0.5f * v * (1.0f + erff(v * 0.70710678118654752f));
            zo2_put(y + i, v);
        }
    }
}

template <typename E> ZO2_LAUNCH_BOUNDS(ZO2_CUDA_BLOCK) __global__ void zo2_convert_rows_kernel(convert_args op)
{
    for (uint64_t row = blockIdx.y; row < op.m; row += gridDim.y) {
        uint64_t from = op.index ? op.index[row] : row;
        const float *x = op.x + blockIdx.z * op.stride_x + from * op.n;
        E *y = (E *)op.y + blockIdx.z * op.stride_y + row * op.n;
        for (uint64_t i = (uint64_t)blockIdx.x * blockDim.x + threadIdx.x; i < op.n;
             i += (uint64_t)gridDim.x * blockDim.x)
            zo2_put(y + i, x[i]);
    }
}

/* As many rows side by side as fill the device; a block goes on to the rows that follow by the grid's stride. */
static dim3 grid_of(const zo2_cuda *c, uint64_t m, uint64_t n, uint32_t streams)
{
    uint32_t across = zo2_cuda_blocks(c, zo2_cuda_ceil_div(n, ZO2_CUDA_BLOCK));
    uint32_t down = zo2_cuda_blocks(c, m) / across;
    down = down < 1 ? 1 : down > ZO2_CUDA_MAX_GRID_YZ ? ZO2_CUDA_MAX_GRID_YZ : down;
    return dim3(across, down, streams);
}

zo2_status zo2_cuda_bias_act(zo2_cuda *c, const zo2_bias_act_op *op)
{
    zo2_cuda_work work(c, ZO2_LANE_COMPUTE, "bias_act", 0, 0, 0);
    bias_act_args a = bias_act_args();
    a.m = op->m;
    a.n = op->n;
    a.y = op->y;
    a.ldy = op->ldy;
    a.stride_y = op->stride_y;
    a.bias = op->bias;
    a.stride_bias = op->stride_bias;
    a.scale = op->scale;
    a.act = op->act;
    ZO2_BY_TYPE(op->type, ZO2_LAUNCH((zo2_bias_act_kernel<E>), grid_of(c, op->m, op->n, op->streams), ZO2_CUDA_BLOCK, 0,
                                     c->stream[ZO2_LANE_COMPUTE], a));
    return work.done(zo2_cuda_launched(c, "zo2_bias_act_kernel"));
}

zo2_status zo2_cuda_convert_rows(zo2_cuda *c, const zo2_convert_rows_op *op)
{
    zo2_cuda_work work(c, ZO2_LANE_COMPUTE, "convert_rows", 0, 0, 0);
    convert_args a = convert_args();
    a.m = op->m;
    a.n = op->n;
    a.x = op->x;
    a.stride_x = op->stride_x;
    a.index = op->index;
    a.y = op->y;
    a.stride_y = op->stride_y;
    ZO2_BY_TYPE(op->type, ZO2_LAUNCH((zo2_convert_rows_kernel<E>), grid_of(c, op->m, op->n, op->streams),
                                     ZO2_CUDA_BLOCK, 0, c->stream[ZO2_LANE_COMPUTE], a));
    return work.done(zo2_cuda_launched(c, "zo2_convert_rows_kernel"));
}

zo2_status zo2_cuda_elementwise_load(zo2_cuda *c)
{
    ZO2_CUDA_LOAD(c, (zo2_bias_act_kernel<float>));
    ZO2_CUDA_LOAD(c, (zo2_bias_act_kernel<zo2_f16_element>));
    ZO2_CUDA_LOAD(c, (zo2_bias_act_kernel<zo2_bf16_element>));
    ZO2_CUDA_LOAD(c, (zo2_convert_rows_kernel<float>));
    ZO2_CUDA_LOAD(c, (zo2_convert_rows_kernel<zo2_f16_element>));
    ZO2_CUDA_LOAD(c, (zo2_convert_rows_kernel<zo2_bf16_element>));
    return ZO2_OK;
}
