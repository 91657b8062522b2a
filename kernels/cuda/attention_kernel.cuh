/* attention_kernel.cuh: the softmax between two products, and whole attention for short sequences. Softmax is fp32. NaN
 * and +inf among the scores that a query sees make its output NaN; keys that it doesn't see are not read. */
#ifndef ZO2_KERNELS_CUDA_ATTENTION_KERNEL_CUH
#define ZO2_KERNELS_CUDA_ATTENTION_KERNEL_CUH

#include <math.h>

#include "codec/rn.h"
#include "kernels/backend.h"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/dialect.h"
#include "kernels/cuda/element.cuh"
#include "kernels/exp_neg.h"

/* ---- softmax of scores, in place ---- */

typedef struct zo2_softmax_args {
    float *scores; /* [heads][queries][ld] */
    uint64_t ld, stride;
    uint64_t keys;    /* columns; what a query doesn't see becomes 0 */
    uint64_t visible; /* columns that query 0 sees; query i sees i more */
    uint64_t queries;
} zo2_softmax_args;

/* A block a row: x is the query, y the head. Probabilities are stored as E from the row's beginning on: within a
 * stretch of ZO2_CUDA_BLOCK columns all scores are read before any is overwritten, and a stretch's probabilities end
 * before the scores that are still to be read begin. */
template <typename E> ZO2_LAUNCH_BOUNDS(ZO2_CUDA_BLOCK) __global__ void zo2_softmax_kernel(zo2_softmax_args a)
{
    ZO2_SHARED(float, part, 2 * ZO2_CUDA_WARPS);
    uint32_t lane = threadIdx.x % ZO2_CUDA_WARP, warp = threadIdx.x / ZO2_CUDA_WARP;
    float *x = a.scores + blockIdx.y * a.stride + blockIdx.x * a.ld;
    E *p = (E *)(void *)x;
    uint64_t visible = a.visible + blockIdx.x;
    float max = -INFINITY;
    for (uint64_t i = threadIdx.x; i < visible; i += ZO2_CUDA_BLOCK)
        max = x[i] > max ? x[i] : max;
    max = zo2_warp_max(max);
    if (lane == 0)
        part[warp] = max;
    __syncthreads();
    for (int i = 0; i < ZO2_CUDA_WARPS; i++)
        max = part[i] > max ? part[i] : max;
    float ref = max == -INFINITY ? 0.0f : max, sum = 0.0f;
    for (uint64_t i = threadIdx.x; i < visible; i += ZO2_CUDA_BLOCK)
        sum += zo2_exp_neg(x[i] - ref);
    sum = zo2_warp_sum(sum);
    if (lane == 0)
        part[ZO2_CUDA_WARPS + warp] = sum;
    __syncthreads();
    sum = 0.0f;
    for (int i = 0; i < ZO2_CUDA_WARPS; i++)
        sum += part[ZO2_CUDA_WARPS + i];
    for (uint64_t from = 0; from < a.keys; from += ZO2_CUDA_BLOCK) {
        uint64_t i = from + threadIdx.x;
        float v = i < visible ? zo2_exp_neg(x[i] - ref) / sum : 0.0f;
        __syncthreads();
        if (i < a.keys)
            zo2_put(p + i, v);
    }
}

/* ---- short sequences ---- */

#define ZO2_ATTENTION_SEQS 128 /* of a launch: they travel as a kernel parameter, 4 KiB at most with the rest */

typedef struct zo2_attention_batch {
    uint32_t n;
    uint32_t start[ZO2_ATTENTION_SEQS + 1]; /* queries before each sequence; the last one: all */
    zo2_seq seq[ZO2_ATTENTION_SEQS];
} zo2_attention_batch;

typedef struct zo2_attention_args {
    uint32_t head_dim, no_padding;
    const void *q, *k, *v;
    uint64_t ld, stride;
    void *out;
    uint64_t ld_out, stride_out;
} zo2_attention_args;

static_assert(sizeof(zo2_attention_batch) + sizeof(zo2_attention_args) <= 4000,
              "a kernel's parameters take at most 4 KiB");

/* Shared memory of a warp: query, running output, 32 probabilities. */
static inline size_t zo2_attention_warp_floats(uint32_t head_dim)
{
    return 2 * (size_t)head_dim + ZO2_CUDA_WARP;
}

/* A warp a query: x runs over the batch's queries, y over heads, z over streams. Lanes are keys where scores are
 * computed and columns where values are added up. */
template <typename E>
ZO2_LAUNCH_BOUNDS(ZO2_CUDA_BLOCK)
__global__ void zo2_attention_kernel(zo2_attention_args a, zo2_attention_batch batch)
{
    ZO2_DYNAMIC_SHARED(float, all);
    uint32_t lane = threadIdx.x % ZO2_CUDA_WARP, warp = threadIdx.x / ZO2_CUDA_WARP, d = a.head_dim;
    uint32_t query = blockIdx.x * ZO2_CUDA_WARPS + warp;
    if (query >= batch.start[batch.n])
        return;                       /* the whole warp, and there is no barrier of the block below */
    uint32_t low = 0, high = batch.n; /* start[low] <= query < start[high] */
    while (high - low > 1) {
        uint32_t middle = (low + high) / 2;
        if (batch.start[middle] <= query)
            low = middle;
        else
            high = middle;
    }
    zo2_seq seq = batch.seq[low];
    query -= batch.start[low];
    uint32_t keys = seq.n_prefix + query + 1;

    float *mine = all + warp * (2 * d + ZO2_CUDA_WARP), *q = mine, *sum = mine + d, *p = mine + 2 * d;
    uint64_t base = blockIdx.z * a.stride + (uint64_t)blockIdx.y * d;
    const E *from = (const E *)a.q + base + (uint64_t)(seq.first + query) * a.ld;
    for (uint32_t i = lane; i < d; i += ZO2_CUDA_WARP) {
        q[i] = zo2_get(from[i]);
        sum[i] = 0.0f;
    }
    __syncwarp();
    float max = -INFINITY, total = 0.0f;
    for (uint32_t first = 0; first < keys; first += ZO2_CUDA_WARP) {
        uint32_t key = first + lane, n = keys - first < ZO2_CUDA_WARP ? keys - first : ZO2_CUDA_WARP;
        float score = -INFINITY;
        if (key < keys) {
            uint32_t token = key < seq.n_prefix ? seq.prefix + key : seq.first + (key - seq.n_prefix);
            const E *k = (const E *)a.k + base + (uint64_t)token * a.ld;
            score = 0.0f;
            for (uint32_t i = 0; i < d; i++)
                score = zo2_fma(q[i], zo2_get(k[i]), score);
        }
        float now = zo2_warp_max(score);
        now = max > now ? max : now;
        float ref = now == -INFINITY ? 0.0f : now; /* nothing but -inf so far: exp(-inf - 0) = 0, not NaN */
        float e = zo2_exp_neg(score - ref), scale = zo2_exp_neg(max - ref);
        total = total * scale + zo2_warp_sum(e);
        max = now;
        p[lane] = e;
        __syncwarp();
        for (uint32_t i = lane; i < d; i += ZO2_CUDA_WARP) {
            float v = sum[i] * scale;
            for (uint32_t j = 0; j < n; j++) {
                uint32_t token =
                    first + j < seq.n_prefix ? seq.prefix + first + j : seq.first + (first + j - seq.n_prefix);
                v = zo2_fma(p[j], zo2_get(((const E *)a.v)[base + (uint64_t)token * a.ld + i]), v);
            }
            sum[i] = v;
        }
        __syncwarp(); /* p is overwritten next */
    }
    E *out =
        (E *)a.out + blockIdx.z * a.stride_out + (uint64_t)blockIdx.y * d + (uint64_t)(seq.first + query) * a.ld_out;
    for (uint32_t i = lane; i < d; i += ZO2_CUDA_WARP)
        zo2_put(out + i, sum[i] / total);
}

#endif
