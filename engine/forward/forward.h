/* forward.h: one streaming pass over the model. The model's family says what is computed; the functions here
 * say how: wires arrive through the pipeline, are decoded tile by tile and multiplied, and are let go as
 * early as the plan allows. */
#ifndef ZO2_ENGINE_FORWARD_FORWARD_H
#define ZO2_ENGINE_FORWARD_FORWARD_H

#include "engine/base/pool.h"
#include "engine/forward/batch.h"
#include "engine/forward/trunk_rows.h"
#include "engine/method/probe.h"
#include "engine/model/arch.h"
#include "engine/plan/plan_types.h"
#include "engine/stream/pipeline.h"
#include "engine/stream/trace.h"
#include "kernels/backend.h"
#include "kernels/operations.h"

/* Sees every tile of logits before it is reduced: logits[streams][m][n] (fp32, device address) of streams from `stream`
 * on, loss tokens from `loss` on and vocabulary rows from `row` on. For tests, on backends whose memory the host can
 * read. */
typedef void (*zo2_head_observer)(void *ud, uint32_t stream, uint32_t streams, uint64_t loss, uint64_t m, uint64_t row,
                                  uint64_t n, const float *logits, uint64_t ld, uint64_t stride);

typedef struct zo2_forward_pass {
    const zo2_arch *arch;
    const zo2_device_offsets *device;
    zo2_backend *be;
    uint8_t *arena;
    zo2_pipeline *pipe;
    zo2_pool *pool;
    const zo2_pass *pass;
    const zo2_packed *batch;
    uint32_t micro_from, micro_to; /* micro-batches of this pass */
    /* Those whose loss rows the head's own layers multiply at once. How a library sums depends on the number of rows, so they are the
     * same wherever part of a batch is computed; rows of those that aren't in the pass have any values */
    uint32_t rows_from, rows_to;
    const zo2_probe_plan *probes; /* where each stream evaluates, of those that there are in the block in work */
    uint32_t streams;             /* probes->streams */
    /* Blocks below `fork` are computed in one stream, at W; those below arch->fork, which are the trunk, example by example. */
    const zo2_probe_plan *forked; /* what probes become there */
    uint32_t fork;
    uint32_t first_block, end_block;    /* of this pass */
    const struct zo2_trunk_rows *trunk; /* what is kept of it */
    uint8_t *trunk_rows;                /* host: zo2_host_offsets.trunk */
    int in_trunk;
    const zo2_micro *now; /* the micro-batch in work */
    zo2_hold hold;
    zo2_dtype compute;
    zo2_dist dist;
    uint64_t key;
    float eps;
    /* gathered rows on their way: the areas take turns, and one is free again when its event has passed */
    uint8_t *gather; /* host: zo2_host_offsets.gather */
    const zo2_host_offsets *host;
    zo2_event *const *gathered; /* [2 gather_sets] */
    uint32_t gathers[2];        /* calls of zo2_gather_rows() so far: for embeddings, for positions */
    /* residual streams of several micro-batches (residual.c) */
    uint8_t *residual;                          /* host: zo2_host_offsets.residual */
    zo2_event *const *computed, *const *staged; /* [2] */
    uint64_t turn, turns;                       /* turns: blocks that touch the streams, times micro-batches */
    zo2_progress_fn progress;
    void *progress_ud;
    zo2_head_observer observer;
    void *observer_ud;
    zo2_tracer *trace; /* NULL: off */
} zo2_forward_pass;

/* A span of the compute lane from `begin` (zo2_trace_begin()) to now. tensor and unit: ZO2_NO_TENSOR for none; chunk: -1
 * for none. */
void zo2_forward_span(const zo2_forward_pass *f, uint64_t begin, const char *name, uint32_t tensor, uint32_t unit,
                      int64_t chunk, uint64_t bytes);

/* A matrix of activations on the device: [streams][m][n] at ld and stride, in elements of type. */
typedef struct zo2_act {
    uint8_t *p;
    uint64_t ld, stride;
    zo2_dtype type;
} zo2_act;

/* Stored size of an element of a type on this backend. */
uint64_t zo2_element_bytes(const zo2_forward_pass *f, zo2_dtype type);
/* An activation in the arena, rows of n elements dense. */
zo2_act zo2_activation_at(const zo2_forward_pass *f, uint64_t offset, uint64_t m, uint64_t n, zo2_dtype type);
/* The residual stream of a micro-batch, between take and give the compute lane's to use. Micro-batches of the pass take
 * their turns in order, block after block: the first block writes the streams, the last only reads them, and
 * f->turns = blocks * micro-batches. */
zo2_status zo2_residual_take(zo2_forward_pass *f, const zo2_micro *m, zo2_act *h);
zo2_status zo2_residual_give(zo2_forward_pass *f);

/* Fetches a block's vectors and decodes them for all streams. zo2_vector() then gives stream 0's, NULL if the model has
 * none of that role; streams are device->vector_stride apart. */
zo2_status zo2_load_vectors(zo2_forward_pass *f, uint32_t block);
const float *zo2_vector(const zo2_forward_pass *f, zo2_role role, uint32_t layer);

/* What follows a product: y = act((y + bias) * scale). */
typedef struct zo2_product_end {
    const float *bias; /* of stream 0, as zo2_vector() gives it; NULL: none */
    float scale;
    zo2_activation act;
} zo2_product_end;

/* hold: when the wire may go, f->hold but for matrices that see all micro-batches at once.
 * y = x W^T (or y += x W^T) in all streams, W a matrix of the model, tile by tile: y's columns are W's rows. Then `end`
 * (NULL: nothing): with each tile's product, or right behind it, while a device's cache has the result. */
zo2_status zo2_matmul(zo2_forward_pass *f, uint32_t tensor, uint64_t m, zo2_act x, zo2_act y, int accumulate,
                      zo2_hold hold, const zo2_product_end *end);
/* How long the head block's wires stay: its matrices see all micro-batches tile by tile, so never for the whole block.
 */
zo2_hold zo2_head_hold(const zo2_forward_pass *f);
/* The same for the output embedding: its tiles of logits go into the loss tokens' running log-sum-exp instead of
 * memory. x: [streams][losses]. */
zo2_status zo2_head(zo2_forward_pass *f, uint32_t tensor, zo2_act x);
/* A block's last use of its wires, when they were held for all micro-batches. */
zo2_status zo2_block_done(zo2_forward_pass *f, uint32_t block);

/* Gathered rows of a table, decoded into y (and added, if accumulate) in all streams. rows[i] of the micro-batch's n
 * tokens. For each micro-batch the embedding's rows once, and the positions' at most once. */
zo2_status zo2_gather_rows(zo2_forward_pass *f, uint32_t tensor, const uint32_t *rows, uint32_t row_offset, uint64_t n,
                           zo2_act y, int accumulate);

/* The whole model: ends with the loss tokens' log-probabilities at device->logprob, [streams][losses of the batch]. */
zo2_status zo2_forward_blocks(zo2_forward_pass *f);

#endif
