/* attention_tiles.cuh: attention in fp16 and bf16 on tensor cores, in the manner of FlashAttention: scores exist for one tile at a
 * time, in shared memory.
 *
 * A block takes 64 queries of one head, 16 for each of its four warps, and passes over their keys in tiles of 32, which all its
 * warps share. Of a tile a warp makes scores q k^T (16 x 32, fp32), from them weights exp(score - running maximum), and adds
 * weights times v to its 16 rows of the result. These stay in registers; where a maximum grew, they are scaled first. Their
 * layout there is the device's secret: a matrix whose row r holds the factor of row r is loaded just like them, and the two are
 * multiplied element by element.
 *
 * A query's result depends on its keys and their order alone: tiles begin at multiples of 32 keys, prefix included, whatever the
 * block; a tile that no query of a warp sees is skipped; in others what a query doesn't see has weight 0, and keys behind the
 * last one of the block are zeros, not somebody else's. */
#ifndef ZO2_KERNELS_CUDA_ATTENTION_TILES_CUH
#define ZO2_KERNELS_CUDA_ATTENTION_TILES_CUH

#include <math.h>

#include <mma.h>

#include "kernels/cuda/attention_kernel.cuh"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/dialect.h"
#include "kernels/cuda/element.cuh"
#include "kernels/operations.h"

#define ZO2_TILE_ROWS    16 /* of a warp, and the side of the matrices that tensor cores multiply */
#define ZO2_TILE_QUERIES (ZO2_TILE_ROWS * ZO2_CUDA_WARPS)
#define ZO2_TILE_KEYS    32

/* Tensor cores take bf16 from sm_80 on. */
template <class E> struct zo2_matrix_element;
template <> struct zo2_matrix_element<zo2_f16_element> {
    typedef __half type;
    static constexpr bool here = true;
};
template <> struct zo2_matrix_element<zo2_bf16_element> {
    typedef __nv_bfloat16 type;
    static constexpr bool here = ZO2_ARCH >= 800;
};

/* Shared memory, for heads of up to D elements. Rows are 16 bytes longer than their content, so that eight of them, as tensor
 * cores load them, lie in different banks. A warp's scores become, in place, weights (the first 16 floats of a row, as 32 E) and
 * factors of the scaling (16 floats behind them). */
template <class E, int D> struct alignas(32) zo2_attention_tiles {
    static constexpr uint32_t LD = D + 8, LD_SCORE = ZO2_TILE_KEYS + 4;
    E q[ZO2_TILE_QUERIES * LD], k[ZO2_TILE_KEYS * LD], v[ZO2_TILE_KEYS * LD];
    float score[ZO2_CUDA_WARPS][ZO2_TILE_ROWS * LD_SCORE];
};

/* `rows` tokens of a tile, 16 bytes at a time: between global and shared memory they rest in registers. */
template <class E, int D, int ROWS> struct zo2_attention_rows {
    static constexpr uint32_t PIECES = D / 8, N = (ROWS * PIECES + ZO2_CUDA_BLOCK - 1) / ZO2_CUDA_BLOCK;
    uint4 piece[N];

    /* Row r is token(r) of `from`; what is beyond `rows` or `d` is zero. */
    template <class F> __device__ inline void fetch(const E *from, uint64_t ld, uint32_t rows, uint32_t d, F token)
    {
#pragma unroll
        for (uint32_t j = 0; j < N; j++) {
            uint32_t i = j * ZO2_CUDA_BLOCK + threadIdx.x, row = i / PIECES, column = i % PIECES * 8;
            piece[j] = row < rows && column < d ? *(const uint4 *)(const void *)(from + token(row) * ld + column)
                                                : make_uint4(0, 0, 0, 0);
        }
    }
    __device__ inline void put(E *to) const
    {
#pragma unroll
        for (uint32_t j = 0; j < N; j++) {
            uint32_t i = j * ZO2_CUDA_BLOCK + threadIdx.x, row = i / PIECES, column = i % PIECES * 8;
            if (ROWS * PIECES % ZO2_CUDA_BLOCK == 0 || row < ROWS)
                *(uint4 *)(void *)(to + row * (D + 8) + column) = piece[j];
        }
    }
};

/* Half a row of scores, which a lane holds: the running maximum, the scores' weights, their sum, the factor for what was before. */
__device__ static inline float zo2_attention_weights(float w[ZO2_TILE_ROWS], float *max, float *sum)
{
    const float log2_e = 1.44269504f;
    float now = *max;
#pragma unroll
    for (int i = 0; i < ZO2_TILE_ROWS; i++)
        now = w[i] > now ? w[i] : now;
    float other = __shfl_xor_sync(0xFFFFFFFFu, now, 1);
    now = other > now ? other : now;
    float ref = now == -INFINITY ? 0.0f : now; /* nothing but -inf so far: exp(-inf - 0) = 0, not NaN */
    float factor = exp2f((*max - ref) * log2_e), part = 0.0f;
#pragma unroll
    for (int i = 0; i < ZO2_TILE_ROWS; i++) {
        w[i] = exp2f((w[i] - ref) * log2_e);
        part += w[i];
    }
    *sum = *sum * factor + (part + __shfl_xor_sync(0xFFFFFFFFu, part, 1));
    *max = now;
    return factor;
}

/* x runs over the batch's blocks of queries, y over heads, z over streams. */
template <class E, int D>
ZO2_LAUNCH_BOUNDS(ZO2_CUDA_BLOCK, 3)
__global__ void zo2_attention_tiles_kernel(zo2_attention_args a, zo2_attention_batch batch)
{
    if constexpr (zo2_matrix_element<E>::here) {
        using namespace nvcuda;
        typedef typename zo2_matrix_element<E>::type M;
        typedef zo2_attention_tiles<E, D> tiles;
        typedef wmma::fragment<wmma::accumulator, 16, 16, 16, float> sums;
        constexpr uint32_t LD = tiles::LD, LD_SCORE = tiles::LD_SCORE, LD_WEIGHT = 2 * LD_SCORE;
        ZO2_SHARED(tiles, shared, 1);
        tiles *t = shared;
        uint32_t lane = threadIdx.x % ZO2_CUDA_WARP, warp = threadIdx.x / ZO2_CUDA_WARP, d = a.head_dim;
        uint32_t unit =
            batch.start[batch.n] - 1 - blockIdx.x; /* a sequence's later blocks see more keys: they go first */
        uint32_t in_batch = zo2_attention_find(&batch, unit);
        zo2_seq seq = batch.seq[in_batch];
        uint32_t first_query = (unit - batch.start[in_batch]) * ZO2_TILE_QUERIES,
                 of_warp = first_query + warp * ZO2_TILE_ROWS;
        uint32_t queries = seq.n - first_query < ZO2_TILE_QUERIES ? seq.n - first_query : ZO2_TILE_QUERIES;
        uint32_t keys = seq.n_prefix + first_query + queries;
        uint32_t warp_keys = of_warp >= seq.n                  ? 0
                             : seq.n - of_warp < ZO2_TILE_ROWS ? seq.n_prefix + seq.n
                                                               : seq.n_prefix + of_warp + ZO2_TILE_ROWS;
        /* The lane's half of a row of scores. */
        uint32_t row = lane / 2, half = lane % 2, query = of_warp + row, visible = seq.n_prefix + query + 1;
        float *score = t->score[warp], *mine = score + row * LD_SCORE;
        uint64_t base = blockIdx.z * a.stride_kv + (uint64_t)(blockIdx.y / a.group) * d; /* of keys and values */

        zo2_attention_rows<E, D, ZO2_TILE_QUERIES> q;
        q.fetch((const E *)a.q + blockIdx.z * a.stride + (uint64_t)blockIdx.y * d +
                    (uint64_t)(seq.first + first_query) * a.ld,
                a.ld, queries, d, [](uint32_t i) { return (uint64_t)i; });
        q.put(t->q);
        zo2_attention_rows<E, D, ZO2_TILE_KEYS> k, v;
        uint32_t first = 0;
        auto token = [&](uint32_t i) { return (uint64_t)zo2_attention_token(&seq, first + i); };
        k.fetch((const E *)a.k + base, a.ld_kv, keys, d, token);
        v.fetch((const E *)a.v + base, a.ld_kv, keys, d, token);

        sums out[D / 16];
#pragma unroll
        for (int n = 0; n < D / 16; n++)
            wmma::fill_fragment(out[n], 0.0f);
        float max = -INFINITY, total = 0.0f;
        for (uint32_t tile = 0; tile < keys; tile += ZO2_TILE_KEYS) {
            __syncthreads(); /* all warps have done the tile before */
            k.put(t->k);
            v.put(t->v);
            __syncthreads();
            first = tile + ZO2_TILE_KEYS;
            if (first < keys) { /* on their way while this tile is worked on */
                k.fetch((const E *)a.k + base, a.ld_kv, keys - first, d, token);
                v.fetch((const E *)a.v + base, a.ld_kv, keys - first, d, token);
            }
            if (tile >= warp_keys)
                continue;

            sums s[2];
            wmma::fill_fragment(s[0], 0.0f);
            wmma::fill_fragment(s[1], 0.0f);
#pragma unroll
            for (int i = 0; i < D / 16; i++) {
                wmma::fragment<wmma::matrix_a, 16, 16, 16, M, wmma::row_major> x;
                wmma::load_matrix_sync(x, (const M *)(const void *)(t->q + warp * ZO2_TILE_ROWS * LD + i * 16), LD);
#pragma unroll
                for (int n = 0; n < 2; n++) {
                    wmma::fragment<wmma::matrix_b, 16, 16, 16, M, wmma::col_major> y;
                    wmma::load_matrix_sync(y, (const M *)(const void *)(t->k + n * 16 * LD + i * 16), LD);
                    wmma::mma_sync(s[n], x, y, s[n]);
                }
            }
            wmma::store_matrix_sync(score, s[0], LD_SCORE, wmma::mem_row_major);
            wmma::store_matrix_sync(score + 16, s[1], LD_SCORE, wmma::mem_row_major);
            __syncwarp();

            float w[ZO2_TILE_ROWS];
#pragma unroll
            for (int i = 0; i < ZO2_TILE_ROWS; i += 4) {
                float4 four = *(const float4 *)(const void *)(mine + half * 16 + i);
                w[i] = four.x;
                w[i + 1] = four.y;
                w[i + 2] = four.z;
                w[i + 3] = four.w;
            }
            uint32_t sees = visible > tile + half * 16 ? visible - tile - half * 16 : 0;
#pragma unroll
            for (uint32_t i = 0; i < ZO2_TILE_ROWS; i++)
                w[i] = i < sees ? w[i] : -INFINITY;
            float factor = zo2_attention_weights(w, &max, &total);
            __syncwarp(); /* the other half of the row has been read, too */
            uint4 *weights = (uint4 *)(void *)mine + half * 2;
            weights[0] = zo2_make_wide<E>(w);
            weights[1] = zo2_make_wide<E>(w + 8);
            float4 factors = make_float4(factor, factor, factor, factor);
            *(float4 *)(void *)(mine + 16 + half * 8) = factors;
            *(float4 *)(void *)(mine + 20 + half * 8) = factors;
            __syncwarp();

            if (__any_sync(0xFFFFFFFFu, factor != 1.0f)) {
                sums scale;
                wmma::load_matrix_sync(scale, score + 16, LD_SCORE, wmma::mem_row_major);
#pragma unroll
                for (int n = 0; n < D / 16; n++)
#pragma unroll
                    for (int i = 0; i < sums::num_elements; i++)
                        out[n].x[i] *= scale.x[i];
            }
#pragma unroll
            for (int i = 0; i < 2; i++) {
                wmma::fragment<wmma::matrix_a, 16, 16, 16, M, wmma::row_major> x;
                wmma::load_matrix_sync(x, (const M *)(const void *)score + i * 16, LD_WEIGHT);
#pragma unroll
                for (int n = 0; n < D / 16; n++) {
                    wmma::fragment<wmma::matrix_b, 16, 16, 16, M, wmma::row_major> y;
                    wmma::load_matrix_sync(y, (const M *)(const void *)(t->v + i * 16 * LD + n * 16), LD);
                    wmma::mma_sync(out[n], x, y, out[n]);
                }
            }
        }
        if (!warp_keys)
            return; /* and there is no barrier of the block below */

        float inverse = 1.0f / total;
        E *to = (E *)a.out + blockIdx.z * a.stride_out + (uint64_t)blockIdx.y * d +
                (uint64_t)(seq.first + query) * a.ld_out;
#pragma unroll
        for (uint32_t n = 0; n < D / 16; n++) {
            __syncwarp(); /* what was there has been read */
            wmma::store_matrix_sync(score, out[n], LD_SCORE, wmma::mem_row_major);
            __syncwarp();
            float w[8];
#pragma unroll
            for (int i = 0; i < 8; i++)
                w[i] = mine[half * 8 + i] * inverse;
            if (query < seq.n && n * 16 + half * 8 < d)
                zo2_store_wide<E, 8>(to + n * 16 + half * 8, w);
        }
    }
}

#endif
