/* attention.cu: causal attention with shared prefixes, in one of two ways that the shape alone chooses:
 *
 *     long sequences whose prefix lies right before them (or is empty): by blocks of queries and groups of heads,
 *     scores = q k^T and out = p v by cuBLAS, a softmax kernel between them. The scores of a block and a group are all
 *     that exists at a time: [heads of the group][queries][keys] in fp32, which the probabilities overwrite.
 *
 *     short ones, which are many, and prefixes elsewhere: one kernel for all of them, a warp a query and head, with a
 *     running softmax over 32 keys at a time: see attention_kernel.cuh. */
#include <string.h>

#include "kernels/backend.h"
#include "kernels/cuda/attention_kernel.cuh"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/dialect.h"
#include "kernels/cuda/element.cuh"
#include "kernels/operands.h"

#define BLOCK_QUERIES 256 /* a later block sees more keys, so blocks also save most of what causality makes useless */
#define LONG_QUERIES  64  /* from here on cuBLAS: below, its launches cost more than the work */
#define GROUP_BYTES   ((uint64_t)64 << 20) /* of scores, at least one head */

/* ---- workspace ---- */

static uint64_t padded_keys(uint64_t keys)
{
    return (keys + 63) / 64 * 64; /* rows of scores and of probabilities begin at multiples of 128 bytes */
}

static uint64_t head_bytes(uint64_t max_keys)
{
    return (max_keys < BLOCK_QUERIES ? max_keys : BLOCK_QUERIES) * padded_keys(max_keys) * sizeof(float);
}

static uint32_t group_heads(uint32_t heads, uint64_t max_keys)
{
    uint64_t most = GROUP_BYTES / head_bytes(max_keys);
    uint64_t groups = zo2_cuda_ceil_div(heads, most < 1 ? 1 : most);
    return (uint32_t)zo2_cuda_ceil_div(heads, groups); /* 20 + 20 rather than 32 + 8: a small product is a slow one */
}

/* Never less for fewer keys: plans are made for the longest row. */
uint64_t zo2_cuda_attention_workspace(uint32_t heads, uint32_t head_dim, uint64_t max_keys, uint32_t threads)
{
    (void)head_dim;
    (void)threads;
    uint64_t head = head_bytes(max_keys ? max_keys : 1);
    uint64_t all = heads < UINT64_MAX / head ? heads * head : UINT64_MAX;
    uint64_t most = head > GROUP_BYTES ? head : GROUP_BYTES;
    return all < most ? all : most;
}

/* ---- long sequences ---- */

typedef struct long_block {
    uint32_t stream, head, heads;
    uint64_t first_key, keys; /* tokens */
    uint64_t first_query, queries;
} long_block;

static const void *at(const void *base, uint64_t elements, zo2_dtype type)
{
    return (const unsigned char *)base + elements * zo2_cuda_element_bytes(type);
}

static zo2_status run_block(zo2_cuda *c, const zo2_attention_op *op, const long_block *k)
{
    uint64_t d = op->head_dim, column = k->head * d, ld = padded_keys(k->keys);
    uint64_t base = k->stream * op->stride + column;
    zo2_cuda_product p = zo2_cuda_product();
    p.batch = k->heads;
    p.m = k->queries;
    p.n = k->keys;
    p.k = d;
    p.a = at(op->q, base + k->first_query * op->ld, op->type);
    p.lda = op->ld;
    p.stride_a = d;
    p.w = at(op->k, base + k->first_key * op->ld, op->type);
    p.ldw = op->ld;
    p.stride_w = d;
    p.transposed = 1;
    p.c = op->workspace;
    p.ldc = ld;
    p.stride_c = k->queries * ld;
    p.type = op->type;
    p.c_type = ZO2_F32;
    zo2_status s = zo2_cuda_multiply(c, &p);
    if (s)
        return s;

    zo2_softmax_args a = zo2_softmax_args();
    a.scores = (float *)op->workspace;
    a.ld = ld;
    a.stride = k->queries * ld;
    a.keys = k->keys;
    a.visible = k->first_query + 1 - k->first_key; /* of the first query */
    a.queries = k->queries;
    dim3 grid((uint32_t)k->queries, k->heads);
    ZO2_BY_TYPE(op->type, ZO2_LAUNCH((zo2_softmax_kernel<E>), grid, ZO2_CUDA_BLOCK, 0, c->stream[ZO2_LANE_COMPUTE], a));
    if ((s = zo2_cuda_launched(c, "zo2_softmax_kernel")))
        return s;

    uint64_t per_float = sizeof(float) / zo2_cuda_element_bytes(op->type); /* probabilities in the scores' place */
    p.n = d;
    p.k = k->keys;
    p.a = op->workspace;
    p.lda = ld * per_float;
    p.stride_a = k->queries * ld * per_float;
    p.w = at(op->v, base + k->first_key * op->ld, op->type);
    p.transposed = 0;
    p.c = (void *)at(op->out, k->stream * op->stride_out + column + k->first_query * op->ld_out, op->type);
    p.ldc = op->ld_out;
    p.stride_c = d;
    p.c_type = op->type;
    return zo2_cuda_multiply(c, &p);
}

static int is_long(const zo2_seq *s)
{
    return s->n >= LONG_QUERIES && (!s->n_prefix || s->prefix + s->n_prefix == s->first);
}

static zo2_status run_long(zo2_cuda *c, const zo2_attention_op *op, const zo2_seq *seq, uint32_t group)
{
    long_block k;
    zo2_status s = ZO2_OK;
    k.first_key = seq->n_prefix ? seq->prefix : seq->first;
    for (k.stream = 0; k.stream < op->streams; k.stream++)
        for (uint64_t q = 0; q < seq->n; q += BLOCK_QUERIES)
            for (k.head = 0; k.head < op->heads && !s; k.head += group) {
                k.heads = op->heads - k.head < group ? op->heads - k.head : group;
                k.first_query = seq->first + q;
                k.queries = seq->n - q < BLOCK_QUERIES ? seq->n - q : BLOCK_QUERIES;
                k.keys = k.first_query + k.queries - k.first_key;
                s = run_block(c, op, &k);
            }
    return s;
}

/* ---- short ones ---- */

static zo2_status run_batch(zo2_cuda *c, const zo2_attention_op *op, const zo2_attention_batch *batch)
{
    uint32_t queries = batch->start[batch->n];
    if (!queries)
        return ZO2_OK;
    zo2_attention_args a = zo2_attention_args();
    a.head_dim = op->head_dim;
    a.q = op->q;
    a.k = op->k;
    a.v = op->v;
    a.ld = op->ld;
    a.stride = op->stride;
    a.out = op->out;
    a.ld_out = op->ld_out;
    a.stride_out = op->stride_out;
    dim3 grid((uint32_t)zo2_cuda_ceil_div(queries, ZO2_CUDA_WARPS), op->heads, op->streams);
    size_t shared = ZO2_CUDA_WARPS * zo2_attention_warp_floats(op->head_dim) * sizeof(float);
    ZO2_BY_TYPE(op->type, ZO2_LAUNCH((zo2_attention_kernel<E>), grid, ZO2_CUDA_BLOCK, shared,
                                     c->stream[ZO2_LANE_COMPUTE], a, *batch));
    return zo2_cuda_launched(c, "zo2_attention_kernel");
}

static zo2_status run_short(zo2_cuda *c, const zo2_attention_op *op)
{
    zo2_attention_batch batch = zo2_attention_batch();
    zo2_status s = ZO2_OK;
    for (uint32_t i = 0; i < op->n_seqs && !s; i++) {
        if (!op->seqs[i].n || is_long(&op->seqs[i]))
            continue;
        batch.seq[batch.n] = op->seqs[i];
        batch.start[batch.n + 1] = batch.start[batch.n] + op->seqs[i].n;
        if (++batch.n < ZO2_ATTENTION_SEQS)
            continue;
        s = run_batch(c, op, &batch);
        batch.n = 0;
    }
    return s ? s : run_batch(c, op, &batch);
}

zo2_status zo2_cuda_attention(zo2_cuda *c, const zo2_attention_op *op)
{
    if (op->heads > ZO2_CUDA_MAX_GRID_YZ || op->streams > ZO2_CUDA_MAX_GRID_YZ ||
        ZO2_CUDA_WARPS * zo2_attention_warp_floats(op->head_dim) * sizeof(float) > ZO2_CUDA_SHARED_BYTES)
        return zo2_error(ZO2_ERR_DEVICE, "attention: %u heads of %u, %u streams are more than this backend takes",
                         op->heads, op->head_dim, op->streams);
    zo2_cuda_work work(c, ZO2_LANE_COMPUTE, "attention", 0, 0, 0);
    uint32_t group = group_heads(op->heads, zo2_attention_max_keys(op));
    zo2_status s = ZO2_OK;
    for (uint32_t i = 0; i < op->n_seqs && !s; i++)
        if (is_long(&op->seqs[i]))
            s = run_long(c, op, &op->seqs[i], group);
    return work.done(s ? s : run_short(c, op));
}

zo2_status zo2_cuda_attention_load(zo2_cuda *c)
{
    ZO2_CUDA_LOAD(c, (zo2_softmax_kernel<float>));
    ZO2_CUDA_LOAD(c, (zo2_softmax_kernel<zo2_f16_element>));
    ZO2_CUDA_LOAD(c, (zo2_softmax_kernel<zo2_bf16_element>));
    ZO2_CUDA_LOAD(c, (zo2_attention_kernel<float>));
    ZO2_CUDA_LOAD(c, (zo2_attention_kernel<zo2_f16_element>));
    ZO2_CUDA_LOAD(c, (zo2_attention_kernel<zo2_bf16_element>));
    return ZO2_OK;
}
