/* attention_kernel.cuh: sequences as kernels of attention take them, and the plain kernel, for every type, head size and stride.
 * Softmax is fp32, over some keys at a time with a running maximum. NaN and +inf among the scores that a query sees make its
 * output NaN. */
#ifndef ZO2_KERNELS_CUDA_ATTENTION_KERNEL_CUH
#define ZO2_KERNELS_CUDA_ATTENTION_KERNEL_CUH

#include <math.h>

#include "codec/rn.h"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/dialect.h"
#include "kernels/cuda/element.cuh"
#include "kernels/exp_neg.h"
#include "kernels/operations.h"

/* ---- what both kernels take ---- */

#define ZO2_ATTENTION_SEQS 128 /* of a launch: they travel as a kernel parameter, 4 KiB at most with the rest */

/* A sequence is cut into units, of some queries each, that the grid runs over. */
typedef struct zo2_attention_batch {
    uint32_t n;
    uint32_t start[ZO2_ATTENTION_SEQS + 1]; /* units before each sequence; the last one: all */
    zo2_seq seq[ZO2_ATTENTION_SEQS];
} zo2_attention_batch;

typedef struct zo2_attention_args {
    uint32_t head_dim, group; /* heads that share one of keys and values */
    const void *q, *k, *v;
    uint64_t ld, stride, ld_kv, stride_kv;
    void *out;
    uint64_t ld_out, stride_out;
} zo2_attention_args;

static_assert(sizeof(zo2_attention_batch) + sizeof(zo2_attention_args) <= 4000,
              "a kernel's parameters take at most 4 KiB");

/* The unit's sequence. */
__device__ static inline uint32_t zo2_attention_find(const zo2_attention_batch *batch, uint32_t unit)
{
    uint32_t low = 0, high = batch->n; /* start[low] <= unit < start[high] */
    while (high - low > 1) {
        uint32_t middle = (low + high) / 2;
        if (batch->start[middle] <= unit)
            low = middle;
        else
            high = middle;
    }
    return low;
}

/* The token of a sequence's i-th key, prefix included. */
__device__ static inline uint32_t zo2_attention_token(const zo2_seq *seq, uint32_t i)
{
    return i < seq->n_prefix ? seq->prefix + i : seq->first + (i - seq->n_prefix);
}

/* ---- the plain kernel ---- */

/* Shared memory of a warp: query, running output, 32 probabilities. */
static inline size_t zo2_attention_warp_floats(uint32_t head_dim)
{
    return 2 * (size_t)head_dim + ZO2_CUDA_WARP;
}

/* A warp a query, which is the unit: x runs over the batch's queries, y over heads, z over streams. Lanes are keys where
 * scores are computed and columns where values are added up. Keys that a query doesn't see are not read. A key is read
 * N elements at a time, 8 or 1: neighbouring lanes' are a row apart, so 16 bytes cost as much as 4. */
template <class E, int N>
ZO2_LAUNCH_BOUNDS(ZO2_CUDA_BLOCK, 8)
__global__ void zo2_attention_kernel(zo2_attention_args a, zo2_attention_batch batch)
{
    ZO2_DYNAMIC_SHARED(float, all);
    uint32_t lane = threadIdx.x % ZO2_CUDA_WARP, warp = threadIdx.x / ZO2_CUDA_WARP, d = a.head_dim;
    uint32_t query = blockIdx.x * ZO2_CUDA_WARPS + warp;
    if (query >= batch.start[batch.n])
        return; /* the whole warp, and there is no barrier of the block below */
    uint32_t in_batch = zo2_attention_find(&batch, query);
    zo2_seq seq = batch.seq[in_batch];
    query -= batch.start[in_batch];
    uint32_t keys = seq.n_prefix + query + 1;

    float *mine = all + warp * (2 * d + ZO2_CUDA_WARP), *q = mine, *sum = mine + d, *p = mine + 2 * d;
    uint64_t base = blockIdx.z * a.stride_kv + (uint64_t)(blockIdx.y / a.group) * d; /* of keys and values */
    const E *from =
        (const E *)a.q + blockIdx.z * a.stride + (uint64_t)blockIdx.y * d + (uint64_t)(seq.first + query) * a.ld;
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
            const E *k = (const E *)a.k + base + (uint64_t)zo2_attention_token(&seq, key) * a.ld_kv;
            score = 0.0f;
            for (uint32_t i = 0; i < d; i += N) {
                float w[N];
                zo2_load_wide<E, N>(k + i, w);
#pragma unroll
                for (int j = 0; j < N; j++)
                    score = zo2_fma(q[i + j], w[j], score);
            }
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
                uint32_t token = zo2_attention_token(&seq, first + j);
                v = zo2_fma(p[j], zo2_get(((const E *)a.v)[base + (uint64_t)token * a.ld_kv + i]), v);
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
