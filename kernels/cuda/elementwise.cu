/* elementwise.cu: bias with activation, gates, and conversions of rows. x runs over columns, y over rows, z over streams. A thread
 * takes W elements at a time: 8 where every row is whole runs of 8 that begin at multiples of 16 bytes, as in all models
 * whose widths are multiples of 8, else 1. */
#include "kernels/activation.h"
#include "kernels/backend.h"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/dialect.h"
#include "kernels/cuda/element.cuh"
#include "kernels/operations.h"

/* The operations', without what the host needs. */
typedef struct bias_act_args {
    uint64_t m, n;
    void *y;
    uint64_t ldy, stride_y;
    const float *bias;
    uint64_t stride_bias;
    float scale;
    uint32_t no_padding;
} bias_act_args;

typedef struct gate_args {
    uint64_t m, n;
    void *y;
    const void *up;
    uint64_t ld, stride;
    const float *bias_gate, *bias_up;
    uint64_t stride_bias;
} gate_args;

typedef struct convert_args {
    uint64_t m, n;
    const float *x;
    uint64_t stride_x;
    const uint32_t *index;
    void *y;
    uint64_t stride_y;
} convert_args;

/* To nearest even; values are finite, or keep what they are. */
__device__ static inline float round_bf16(float v)
{
    unsigned u = __float_as_uint(v);
    if ((u & 0x7F800000u) == 0x7F800000u)
        return __uint_as_float(u & 0x007FFFFFu ? u | 0x00400000u : u);
    return __uint_as_float((u + 0x7FFFu + (u >> 16 & 1u)) & 0xFFFF0000u);
}

template <zo2_activation ACT> __device__ static inline float activate(float v)
{
    if (ACT == ZO2_ACT_RELU)
        return v < 0.0f ? 0.0f : v; /* in this order a NaN stays */
    if (ACT == ZO2_ACT_GELU)
        return 0.5f * v * (1.0f + erff(v * 0.70710678118654752f));
    if (ACT == ZO2_ACT_SILU)
        return zo2_silu(v);
    if (ACT == ZO2_ACT_GELU_TANH)
        return zo2_gelu_tanh(v);
    return v;
}

template <int W> __device__ static inline void add_bias(const float *bias, float v[W])
{
    float b[W];
    zo2_load_wide<float, W>(bias, b);
#pragma unroll
    for (int j = 0; j < W; j++)
        v[j] += b[j];
}

template <typename E, zo2_activation ACT, int W>
ZO2_LAUNCH_BOUNDS(ZO2_CUDA_BLOCK)
__global__ void zo2_bias_act_kernel(bias_act_args op)
{
    const float *bias = op.bias ? op.bias + blockIdx.z * op.stride_bias : NULL;
    for (uint64_t row = blockIdx.y; row < op.m; row += gridDim.y) {
        E *y = (E *)op.y + blockIdx.z * op.stride_y + row * op.ldy;
        for (uint64_t i = W * ((uint64_t)blockIdx.x * blockDim.x + threadIdx.x); i < op.n;
             i += W * ((uint64_t)gridDim.x * blockDim.x)) {
            float v[W];
            zo2_load_wide<E, W>(y + i, v);
            if (bias)
                add_bias<W>(bias + i, v);
#pragma unroll
            for (int j = 0; j < W; j++)
                v[j] = activate<ACT>(v[j] * op.scale);
            zo2_store_wide<E, W>(y + i, v);
        }
    }
}

template <typename E, zo2_activation ACT, int W>
ZO2_LAUNCH_BOUNDS(ZO2_CUDA_BLOCK)
__global__ void zo2_gate_kernel(gate_args op)
{
    const float *bias_gate = op.bias_gate ? op.bias_gate + blockIdx.z * op.stride_bias : NULL;
    const float *bias_up = op.bias_up ? op.bias_up + blockIdx.z * op.stride_bias : NULL;
    for (uint64_t row = blockIdx.y; row < op.m; row += gridDim.y) {
        E *y = (E *)op.y + blockIdx.z * op.stride + row * op.ld;
        const E *up = (const E *)op.up + blockIdx.z * op.stride + row * op.ld;
        for (uint64_t i = W * ((uint64_t)blockIdx.x * blockDim.x + threadIdx.x); i < op.n;
             i += W * ((uint64_t)gridDim.x * blockDim.x)) {
            float v[W], u[W];
            zo2_load_wide<E, W>(y + i, v);
            zo2_load_wide<E, W>(up + i, u);
            if (bias_gate)
                add_bias<W>(bias_gate + i, v);
            if (bias_up)
                add_bias<W>(bias_up + i, u);
#pragma unroll
            for (int j = 0; j < W; j++)
                v[j] = activate<ACT>(v[j]) * u[j];
            zo2_store_wide<E, W>(y + i, v);
        }
    }
}

template <typename E, int W> ZO2_LAUNCH_BOUNDS(ZO2_CUDA_BLOCK) __global__ void zo2_convert_rows_kernel(convert_args op)
{
    for (uint64_t row = blockIdx.y; row < op.m; row += gridDim.y) {
        uint64_t from = op.index ? op.index[row] : row;
        const float *x = op.x + blockIdx.z * op.stride_x + from * op.n;
        E *y = (E *)op.y + blockIdx.z * op.stride_y + row * op.n;
        for (uint64_t i = W * ((uint64_t)blockIdx.x * blockDim.x + threadIdx.x); i < op.n;
             i += W * ((uint64_t)gridDim.x * blockDim.x)) {
            float v[W];
            zo2_load_wide<float, W>(x + i, v);
            zo2_store_wide<E, W>(y + i, v);
        }
    }
}

/* Values rounded through bf16, fp32 to fp32: rare, and so a kernel of its own. */
template <int W> ZO2_LAUNCH_BOUNDS(ZO2_CUDA_BLOCK) __global__ void zo2_round_rows_kernel(convert_args op)
{
    for (uint64_t row = blockIdx.y; row < op.m; row += gridDim.y) {
        uint64_t from = op.index ? op.index[row] : row;
        const float *x = op.x + blockIdx.z * op.stride_x + from * op.n;
        float *y = (float *)op.y + blockIdx.z * op.stride_y + row * op.n;
        for (uint64_t i = W * ((uint64_t)blockIdx.x * blockDim.x + threadIdx.x); i < op.n;
             i += W * ((uint64_t)gridDim.x * blockDim.x)) {
            float v[W];
            zo2_load_wide<float, W>(x + i, v);
            for (int k = 0; k < W; k++)
                v[k] = round_bf16(v[k]);
            zo2_store_wide<float, W>(y + i, v);
        }
    }
}

template <typename E, int W> static void launch_bias_act(zo2_cuda *c, const zo2_bias_act_op *op, bias_act_args a)
{
    dim3 grid = zo2_cuda_grid_of_rows(c, op->m, op->n / W, op->streams);
    cudaStream_t s = c->stream[ZO2_LANE_COMPUTE];
#define ZO2_LAUNCH_ACT(ACT) \
    case ACT: ZO2_LAUNCH((zo2_bias_act_kernel<E, ACT, W>), grid, ZO2_CUDA_BLOCK, 0, s, a); break;
    switch (op->act) {
        ZO2_ACTIVATIONS(ZO2_LAUNCH_ACT)
    }
#undef ZO2_LAUNCH_ACT
}

zo2_status zo2_cuda_launch_bias_act(zo2_cuda *c, const zo2_bias_act_op *op)
{
    bias_act_args a = bias_act_args();
    a.m = op->m;
    a.n = op->n;
    a.y = op->y;
    a.ldy = op->ldy;
    a.stride_y = op->stride_y;
    a.bias = op->bias;
    a.stride_bias = op->stride_bias;
    a.scale = op->scale;
    int wide =
        zo2_cuda_wide(op->y, op->n | op->ldy | op->stride_y) && (!op->bias || zo2_cuda_wide(op->bias, op->stride_bias));
    ZO2_BY_TYPE(op->type, wide ? launch_bias_act<E, 8>(c, op, a) : launch_bias_act<E, 1>(c, op, a));
    return zo2_cuda_launched(c, "zo2_bias_act_kernel");
}

zo2_status zo2_cuda_bias_act(zo2_cuda *c, const zo2_bias_act_op *op)
{
    zo2_cuda_work work(c, ZO2_LANE_COMPUTE, "bias_act", 0, 0, 0);
    return work.done(zo2_cuda_launch_bias_act(c, op));
}

template <typename E, int W> static void launch_gate(zo2_cuda *c, const zo2_gate_op *op, gate_args a)
{
    dim3 grid = zo2_cuda_grid_of_rows(c, op->m, op->n / W, op->streams);
    cudaStream_t s = c->stream[ZO2_LANE_COMPUTE];
#define ZO2_LAUNCH_GATE(ACT) \
    case ACT: ZO2_LAUNCH((zo2_gate_kernel<E, ACT, W>), grid, ZO2_CUDA_BLOCK, 0, s, a); break;
    switch (op->act) {
        ZO2_ACTIVATIONS(ZO2_LAUNCH_GATE)
    }
#undef ZO2_LAUNCH_GATE
}

zo2_status zo2_cuda_gate(zo2_cuda *c, const zo2_gate_op *op)
{
    zo2_cuda_work work(c, ZO2_LANE_COMPUTE, "gate", 0, 0, 0);
    gate_args a = gate_args();
    a.m = op->m;
    a.n = op->n;
    a.y = op->y;
    a.up = op->up;
    a.ld = op->ld;
    a.stride = op->stride;
    a.bias_gate = op->bias_gate;
    a.bias_up = op->bias_up;
    a.stride_bias = op->stride_bias;
    uint64_t sizes = op->n | op->ld | op->stride;
    int wide = zo2_cuda_wide(op->y, sizes) && zo2_cuda_wide(op->up, sizes) &&
               (!op->bias_gate || zo2_cuda_wide(op->bias_gate, op->stride_bias)) &&
               (!op->bias_up || zo2_cuda_wide(op->bias_up, op->stride_bias));
    ZO2_BY_TYPE(op->type, wide ? launch_gate<E, 8>(c, op, a) : launch_gate<E, 1>(c, op, a));
    return work.done(zo2_cuda_launched(c, "zo2_gate_kernel"));
}

template <typename E, int W> static void launch_convert_rows(zo2_cuda *c, const zo2_convert_rows_op *op, convert_args a)
{
    ZO2_LAUNCH((zo2_convert_rows_kernel<E, W>), zo2_cuda_grid_of_rows(c, op->m, op->n / W, op->streams), ZO2_CUDA_BLOCK,
               0, c->stream[ZO2_LANE_COMPUTE], a);
}

template <int W> static void launch_round_rows(zo2_cuda *c, const zo2_convert_rows_op *op, convert_args a)
{
    ZO2_LAUNCH((zo2_round_rows_kernel<W>), zo2_cuda_grid_of_rows(c, op->m, op->n / W, op->streams), ZO2_CUDA_BLOCK, 0,
               c->stream[ZO2_LANE_COMPUTE], a);
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
    int wide = zo2_cuda_wide(op->x, op->n | op->stride_x) && zo2_cuda_wide(op->y, op->stride_y);
    if (op->through) {
        wide ? launch_round_rows<8>(c, op, a) : launch_round_rows<1>(c, op, a);
        return work.done(zo2_cuda_launched(c, "zo2_round_rows_kernel"));
    }
    ZO2_BY_TYPE(op->type, wide ? launch_convert_rows<E, 8>(c, op, a) : launch_convert_rows<E, 1>(c, op, a));
    return work.done(zo2_cuda_launched(c, "zo2_convert_rows_kernel"));
}

template <typename E, int W> static zo2_status load(zo2_cuda *c)
{
#define ZO2_LOAD_ACT(ACT)                               \
    ZO2_CUDA_LOAD(c, (zo2_bias_act_kernel<E, ACT, W>)); \
    ZO2_CUDA_LOAD(c, (zo2_gate_kernel<E, ACT, W>));
    ZO2_ACTIVATIONS(ZO2_LOAD_ACT)
#undef ZO2_LOAD_ACT
    ZO2_CUDA_LOAD(c, (zo2_convert_rows_kernel<E, W>));
    ZO2_CUDA_LOAD(c, (zo2_round_rows_kernel<W>));
    return ZO2_OK;
}

zo2_status zo2_cuda_elementwise_load(zo2_cuda *c)
{
    zo2_status s = ZO2_OK;
    for (int type = ZO2_F32; type <= ZO2_BF16 && !s; type++)
        ZO2_BY_TYPE((zo2_dtype)type, (s = load<E, 8>(c)) || (s = load<E, 1>(c)));
    return s;
}
