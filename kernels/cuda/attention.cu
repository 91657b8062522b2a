/* attention.cu: causal attention with shared prefixes. All sequences, heads and streams are one launch (128 sequences are: they
 * travel as its parameters), and scores are never in memory. Type, head size and alignment alone choose the kernel:
 *
 *     fp16 and bf16, heads of at most 128 elements, everything a multiple of 16 bytes: tensor cores (attention_tiles.cuh)
 *     the rest, and bf16 where tensor cores don't take it: a warp a query and head (attention_kernel.cuh) */
#include <string.h>

#include "kernels/backend.h"
#include "kernels/cuda/attention_kernel.cuh"
#include "kernels/cuda/attention_tiles.cuh"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/dialect.h"
#include "kernels/cuda/element.cuh"
#include "kernels/operands.h"
#include "kernels/operations.h"

/* OPT's head sizes; another one takes the next of them, with zeros behind its elements. */
#define ZO2_TILE_SIZES(X) X(64) X(80) X(128)
#define ZO2_TILE_MAX      128

#define ZO2_TILES_FIT(D) \
    static_assert(sizeof(zo2_attention_tiles<zo2_f16_element, D>) <= ZO2_CUDA_SHARED_BYTES, "every device has as much");
ZO2_TILE_SIZES(ZO2_TILES_FIT)

uint64_t zo2_cuda_attention_workspace(uint32_t heads, uint32_t head_dim, uint64_t max_keys, uint32_t threads)
{
    (void)heads;
    (void)head_dim;
    (void)max_keys;
    (void)threads;
    return 0;
}

static int is_tiled(const zo2_cuda *c, const zo2_attention_op *op)
{
    uint64_t sizes = op->ld | op->stride | op->head_dim, sizes_kv = op->ld_kv | op->stride_kv,
             sizes_out = op->ld_out | op->stride_out;
    return (op->type == ZO2_F16 || (op->type == ZO2_BF16 && c->bf16_matrices)) && op->head_dim <= ZO2_TILE_MAX &&
           zo2_cuda_wide(op->q, sizes) && zo2_cuda_wide(op->k, sizes_kv) && zo2_cuda_wide(op->v, sizes_kv) &&
           zo2_cuda_wide(op->out, sizes_out);
}

template <class E>
static void launch_tiles(dim3 grid, cudaStream_t stream, const zo2_attention_args &a, const zo2_attention_batch &batch)
{
#define ZO2_LAUNCH_TILES(D)                                                                        \
    if (a.head_dim <= D) {                                                                         \
        ZO2_LAUNCH((zo2_attention_tiles_kernel<E, D>), grid, ZO2_CUDA_BLOCK, 0, stream, a, batch); \
        return;                                                                                    \
    }
    ZO2_TILE_SIZES(ZO2_LAUNCH_TILES)
}

static zo2_status run_batch(zo2_cuda *c, const zo2_attention_op *op, const zo2_attention_batch *batch, int tiled)
{
    uint32_t units = batch->start[batch->n];
    if (!units)
        return ZO2_OK;
    zo2_attention_args a = zo2_attention_args();
    a.head_dim = op->head_dim;
    a.group = op->heads / op->kv_heads;
    a.q = op->q;
    a.k = op->k;
    a.v = op->v;
    a.ld = op->ld;
    a.stride = op->stride;
    a.ld_kv = op->ld_kv;
    a.stride_kv = op->stride_kv;
    a.out = op->out;
    a.ld_out = op->ld_out;
    a.stride_out = op->stride_out;
    cudaStream_t stream = c->stream[ZO2_LANE_COMPUTE];
    if (tiled) {
        dim3 grid(units, op->heads, op->streams);
        if (op->type == ZO2_F16)
            launch_tiles<zo2_f16_element>(grid, stream, a, *batch);
        else
            launch_tiles<zo2_bf16_element>(grid, stream, a, *batch);
        return zo2_cuda_launched(c, "zo2_attention_tiles_kernel");
    }
    dim3 grid((uint32_t)zo2_cuda_ceil_div(units, ZO2_CUDA_WARPS), op->heads, op->streams);
    size_t shared = ZO2_CUDA_WARPS * zo2_attention_warp_floats(op->head_dim) * sizeof(float);
    if (zo2_cuda_wide(op->k, op->ld_kv | op->stride_kv | op->head_dim))
        ZO2_BY_TYPE(op->type, ZO2_LAUNCH((zo2_attention_kernel<E, 8>), grid, ZO2_CUDA_BLOCK, shared, stream, a, *batch))
    else
        ZO2_BY_TYPE(op->type, ZO2_LAUNCH((zo2_attention_kernel<E, 1>), grid, ZO2_CUDA_BLOCK, shared, stream, a, *batch))
    return zo2_cuda_launched(c, "zo2_attention_kernel");
}

static zo2_status run_all(zo2_cuda *c, const zo2_attention_op *op, int tiled)
{
    zo2_attention_batch batch = zo2_attention_batch();
    uint32_t queries = tiled ? ZO2_TILE_QUERIES : 1; /* of a unit */
    for (uint32_t i = 0; i < op->n_seqs; i++) {
        if (!op->seqs[i].n)
            continue;
        batch.seq[batch.n] = op->seqs[i];
        batch.start[batch.n + 1] = batch.start[batch.n] + (uint32_t)zo2_cuda_ceil_div(op->seqs[i].n, queries);
        if (++batch.n < ZO2_ATTENTION_SEQS)
            continue;
        zo2_status s = run_batch(c, op, &batch, tiled);
        if (s)
            return s;
        batch.n = 0;
    }
    return run_batch(c, op, &batch, tiled);
}

zo2_status zo2_cuda_attention(zo2_cuda *c, const zo2_attention_op *given)
{
    const zo2_attention_op full = zo2_attention_full(given), *op = &full;
    int tiled = is_tiled(c, op);
    size_t shared = tiled ? 0 : ZO2_CUDA_WARPS * zo2_attention_warp_floats(op->head_dim) * sizeof(float);
    if (op->heads > ZO2_CUDA_MAX_GRID_YZ || op->streams > ZO2_CUDA_MAX_GRID_YZ || shared > ZO2_CUDA_SHARED_BYTES)
        return zo2_error(ZO2_ERR_DEVICE, "attention: %u heads of %u, %u streams are more than this backend takes",
                         op->heads, op->head_dim, op->streams);
    zo2_cuda_work work(c, ZO2_LANE_COMPUTE, "attention", 0, 0, 0);
    return work.done(run_all(c, op, tiled));
}

zo2_status zo2_cuda_attention_load(zo2_cuda *c)
{
#define ZO2_LOAD_TILES(D)                                               \
    ZO2_CUDA_LOAD(c, (zo2_attention_tiles_kernel<zo2_f16_element, D>)); \
    ZO2_CUDA_LOAD(c, (zo2_attention_tiles_kernel<zo2_bf16_element, D>));
    ZO2_TILE_SIZES(ZO2_LOAD_TILES)
    ZO2_CUDA_LOAD(c, (zo2_attention_kernel<float, 8>));
    ZO2_CUDA_LOAD(c, (zo2_attention_kernel<float, 1>));
    ZO2_CUDA_LOAD(c, (zo2_attention_kernel<zo2_f16_element, 8>));
    ZO2_CUDA_LOAD(c, (zo2_attention_kernel<zo2_f16_element, 1>));
    ZO2_CUDA_LOAD(c, (zo2_attention_kernel<zo2_bf16_element, 8>));
    ZO2_CUDA_LOAD(c, (zo2_attention_kernel<zo2_bf16_element, 1>));
    /* What it was compiled for counts, not the device alone: an old architecture's PTX runs on new devices. */
    cudaFuncAttributes attributes;
    cudaError_t e = cudaFuncGetAttributes(&attributes, (zo2_attention_tiles_kernel<zo2_bf16_element, ZO2_TILE_MAX>));
    c->bf16_matrices = attributes.ptxVersion >= 80;
    return zo2_cuda_check(c, e, "cudaFuncGetAttributes");
}
