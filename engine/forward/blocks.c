/* blocks.c: the walk through the model: embeddings, layers, head. What a block computes is the family's; here is what all
 * share: the turns of the micro-batches' residual streams, a block's vectors and wires, the rows that carry loss. */
#include "engine/forward/batch.h"
#include "engine/forward/forward.h"
#include "engine/forward/layer_ops.h"
#include "engine/forward/trunk_rows.h"
#include "engine/model/arch.h"
#include "engine/model/family.h"
#include "engine/plan/plan_types.h"
#include "engine/stream/pipeline.h"
#include "engine/stream/trace.h"
#include "kernels/operations.h"

static void enter_block(const zo2_forward_pass *f, uint32_t block)
{
    if (f->be->ops->block)
        f->be->ops->block(f->be, block, f->arch->n_blocks);
}

/* ---- the fork ---- */

/* Everything from this block on is computed in all streams. */
static void fork_at(zo2_forward_pass *f, uint32_t block)
{
    f->in_trunk = block < f->arch->fork;
    if (block < f->fork)
        return;
    f->probes = f->forked;
    f->streams = f->forked->streams;
}

/* What happens to the stream of a micro-batch before a block: the trunk may end here, and one stream may become all of them. */
static zo2_status enter_stream(zo2_forward_pass *f, const zo2_micro *mb, uint32_t block, zo2_act h)
{
    zo2_status s = block == f->arch->fork ? zo2_trunk_cross(f, mb, h.p) : ZO2_OK;
    if (s || block != f->fork || f->streams < 2 || block == f->arch->n_blocks - 1)
        return s;
    zo2_convert_rows_op op = {.streams = f->streams - 1,
                              .m = mb->tokens,
                              .n = f->arch->hidden,
                              .x = (const float *)(const void *)h.p,
                              .y = h.p + 4 * h.stride,
                              .stride_y = h.stride,
                              .type = ZO2_F32};
    uint64_t begin = zo2_trace_begin(f->trace);
    s = f->be->ops->convert_rows(f->be, &op);
    zo2_forward_span(f, begin, "fork", ZO2_NO_TENSOR, ZO2_NO_TENSOR, -1, 4 * (f->streams - 1) * h.stride);
    return s;
}

/* ---- blocks ---- */

static zo2_status embed(zo2_forward_pass *f, const zo2_micro *mb)
{
    zo2_act h;
    zo2_status s = zo2_residual_take(f, mb, &h);
    f->now = mb;
    if (!s && !zo2_trunk_is_kept(f, mb))
        s = f->arch->family->embed(f, mb, h);
    return s ? s : zo2_residual_give(f);
}

static zo2_status layer_of(zo2_forward_pass *f, const zo2_micro *mb, uint32_t layer)
{
    zo2_act h;
    zo2_status s = zo2_residual_take(f, mb, &h);
    f->now = mb;
    if (!s)
        s = enter_stream(f, mb, layer + 1, h);
    if (!s && !(f->in_trunk && zo2_trunk_is_kept(f, mb)))
        s = f->arch->family->layer(f, mb, layer, h);
    return s ? s : zo2_residual_give(f);
}

/* The rows that carry loss, finished: into rows [loss_at, ...) of `hidden`. */
static zo2_status final_rows(zo2_forward_pass *f, const zo2_micro *mb, zo2_act hidden)
{
    const zo2_arch *a = f->arch;
    const uint32_t *index = (const uint32_t *)(const void *)(f->arena + f->device->index) + mb->loss_at;
    zo2_act h, rows = zo2_activation_at(f, f->device->gathered, mb->losses, a->hidden, ZO2_F32);
    zo2_status s = zo2_residual_take(f, mb, &h);
    f->now = mb;
    if (!s)
        s = enter_stream(f, mb, a->n_blocks - 1, h);
    if (f->fork == a->n_blocks - 1) /* here all streams are still one, and these rows are what becomes several */
        h.stride = 0;
    if (!s)
        s = zo2_convert_rows(f, mb->losses, a->hidden, h, index, rows);
    hidden.p += mb->loss_at * a->hidden * zo2_element_bytes(f, f->compute);
    if (!s)
        s = a->family->finish(f, mb->losses, rows, hidden);
    return s ? s : zo2_residual_give(f);
}

static zo2_status head(zo2_forward_pass *f)
{
    const zo2_arch *a = f->arch;
    const zo2_device_offsets *d = f->device;
    const uint64_t L = f->batch->losses, D = a->hidden;
    const zo2_micro *from = &f->batch->micro[f->rows_from], *end = &f->batch->micro[f->rows_to - 1];
    const uint64_t first = from->loss_at, rows = end->loss_at + end->losses - first;
    zo2_act hidden = zo2_activation_at(f, d->hidden, L, D, f->compute);
    zo2_status s = ZO2_OK;
    for (uint32_t i = f->micro_from; i < f->micro_to && !s; i++)
        s = final_rows(f, &f->batch->micro[i], hidden);
    hidden.p += first * D * zo2_element_bytes(f, f->compute);
    uint32_t out = zo2_arch_find(a, ZO2_ROLE_PROJECT_OUT, 0);
    zo2_act x = hidden;
    if (!s && out != ZO2_NO_TENSOR) {
        x = zo2_activation_at(f, d->projected, L, a->embed_dim, f->compute);
        x.p += first * a->embed_dim * zo2_element_bytes(f, f->compute);
        s = zo2_matmul(f, out, rows, hidden, x, 0, zo2_head_hold(f), NULL);
    }
    x.p -= first * x.ld * zo2_element_bytes(f, f->compute); /* zo2_head() counts loss tokens from the batch's first */
    if (!s)
        s = zo2_head(f, zo2_arch_find(a, a->tied ? ZO2_ROLE_EMBED_TOKENS : ZO2_ROLE_LM_HEAD, 0), x);
    return s;
}

static zo2_status embeddings(zo2_forward_pass *f)
{
    const zo2_micro *mb = f->batch->micro;
    enter_block(f, 0);
    fork_at(f, 0);
    zo2_status s = zo2_load_vectors(f, 0);
    for (uint32_t i = f->micro_from; i < f->micro_to && !s; i++)
        s = embed(f, &mb[i]);
    return s ? s : zo2_block_done(f, 0);
}

static zo2_status one_layer(zo2_forward_pass *f, uint32_t layer)
{
    const zo2_micro *mb = f->batch->micro;
    enter_block(f, layer + 1);
    fork_at(f, layer + 1);
    zo2_status s = zo2_load_vectors(f, layer + 1);
    for (uint32_t i = f->micro_from; i < f->micro_to && !s; i++)
        s = layer_of(f, &mb[i], layer);
    return s ? s : zo2_block_done(f, layer + 1);
}

/* A pass that ends where the trunk does. */
static zo2_status keep_trunk(zo2_forward_pass *f)
{
    zo2_status s = ZO2_OK;
    for (uint32_t i = f->micro_from; i < f->micro_to && !s; i++) {
        zo2_act h;
        s = zo2_residual_take(f, &f->batch->micro[i], &h);
        if (!s)
            s = zo2_trunk_cross(f, &f->batch->micro[i], h.p);
        if (!s)
            s = zo2_residual_give(f);
    }
    return s;
}

zo2_status zo2_forward_blocks(zo2_forward_pass *f)
{
    const zo2_arch *a = f->arch;
    const int whole = f->end_block == a->n_blocks;
    zo2_status s = ZO2_OK;
    f->turn = 0;
    f->turns = (uint64_t)(f->end_block - f->first_block + !whole) * (f->micro_to - f->micro_from);
    if (!f->first_block)
        s = embeddings(f);
    zo2_pipeline_open_gate(f->pipe); /* after an error too: nobody must wait for it */
    const uint32_t first = f->first_block ? f->first_block - 1 : 0, end = whole ? a->layers : f->end_block - 1;
    for (uint32_t layer = first; layer < end && !s; layer++)
        s = one_layer(f, layer);
    if (s || !whole)
        return s ? s : keep_trunk(f);
    enter_block(f, a->n_blocks - 1);
    fork_at(f, a->n_blocks - 1);
    s = zo2_load_vectors(f, a->n_blocks - 1);
    return s ? s : head(f);
}
