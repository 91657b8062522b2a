/* rope.cu: rotary positions: x runs over the pairs of a row, y over rows, z over streams. A thread turns W pairs at a time: 8 where
 * half a head is whole runs of 8 that begin at multiples of 16 bytes, else 1. The angles of a row are read again for each
 * head, from the first-level cache. */
#include "kernels/backend.h"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/dialect.h"
#include "kernels/cuda/element.cuh"
#include "kernels/operations.h"

typedef struct rope_args { /* the operation's, without what the host needs */
    uint64_t m;
    uint32_t heads, half; /* elements of half a head */
    void *x;
    uint64_t ld, stride;
    const float *table;
    const uint32_t *position;
    float scale;
    uint32_t no_padding;
} rope_args;

template <typename E, int W> ZO2_LAUNCH_BOUNDS(ZO2_CUDA_BLOCK) __global__ void zo2_rope_kernel(rope_args op)
{
    uint32_t pieces = op.half / W, all = op.heads * pieces; /* of half a head, of a row */
    for (uint64_t row = blockIdx.y; row < op.m; row += gridDim.y) {
        E *x = (E *)op.x + blockIdx.z * op.stride + row * op.ld;
        const float *table = op.table + (uint64_t)op.position[row] * 2 * op.half;
        for (uint32_t i = blockIdx.x * blockDim.x + threadIdx.x; i < all; i += gridDim.x * blockDim.x) {
            uint32_t head = i / pieces, j = (i - head * pieces) * W;
            E *first = x + head * 2 * op.half + j, *second = first + op.half;
            float a[W], b[W], cosine[W], sine[W];
            zo2_load_wide<E, W>(first, a);
            zo2_load_wide<E, W>(second, b);
            zo2_load_wide<float, W>(table + j, cosine);
            zo2_load_wide<float, W>(table + op.half + j, sine);
#pragma unroll
            for (int k = 0; k < W; k++) {
                float one = (a[k] * cosine[k] - b[k] * sine[k]) * op.scale;
                b[k] = (b[k] * cosine[k] + a[k] * sine[k]) * op.scale;
                a[k] = one;
            }
            zo2_store_wide<E, W>(first, a);
            zo2_store_wide<E, W>(second, b);
        }
    }
}

template <typename E, int W> static void launch(zo2_cuda *c, const zo2_rope_op *op, rope_args a)
{
    dim3 grid = zo2_cuda_grid_of_rows(c, op->m, (uint64_t)a.heads * (a.half / W), op->streams);
    ZO2_LAUNCH((zo2_rope_kernel<E, W>), grid, ZO2_CUDA_BLOCK, 0, c->stream[ZO2_LANE_COMPUTE], a);
}

zo2_status zo2_cuda_rope(zo2_cuda *c, const zo2_rope_op *op)
{
    if ((uint64_t)op->heads * op->head_dim > INT32_MAX || op->streams > ZO2_CUDA_MAX_GRID_YZ)
        return zo2_error(ZO2_ERR_DEVICE, "rope: %u heads of %u, %u streams are more than this backend takes", op->heads,
                         op->head_dim, op->streams);
    zo2_cuda_work work(c, ZO2_LANE_COMPUTE, "rope", 0, 0, 0);
    rope_args a = rope_args();
    a.m = op->m;
    a.heads = op->heads;
    a.half = op->head_dim / 2;
    a.x = op->x;
    a.ld = op->ld;
    a.stride = op->stride;
    a.table = op->table;
    a.position = op->position;
    a.scale = op->scale;
    int wide = zo2_cuda_wide(op->x, a.half | op->ld | op->stride) && zo2_cuda_wide(op->table, a.half);
    ZO2_BY_TYPE(op->type, wide ? launch<E, 8>(c, op, a) : launch<E, 1>(c, op, a));
    return work.done(zo2_cuda_launched(c, "zo2_rope_kernel"));
}

template <typename E> static zo2_status load(zo2_cuda *c)
{
    ZO2_CUDA_LOAD(c, (zo2_rope_kernel<E, 8>));
    ZO2_CUDA_LOAD(c, (zo2_rope_kernel<E, 1>));
    return ZO2_OK;
}

zo2_status zo2_cuda_rope_load(zo2_cuda *c)
{
    zo2_status s = ZO2_OK;
    for (int type = ZO2_F32; type <= ZO2_BF16 && !s; type++)
        ZO2_BY_TYPE((zo2_dtype)type, s = load<E>(c));
    return s;
}
