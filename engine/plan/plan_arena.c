/* plan_arena.c: offsets and sizes: the ring, the arena's buffers, the host's. */
#include "codec/codec.h"
#include "engine/base/checked.h"
#include "engine/model/arch.h"
#include "engine/model/layout.h"
#include "engine/model/wire_size.h"
#include "engine/plan/plan_internal.h"
#include "engine/plan/plan_types.h"
#include "kernels/backend.h"
#include "kernels/operations.h"

#define ALIGN 256ull

/* ---- ring ---- */

typedef struct wire_sizes {
    uint64_t chunk; /* largest chunk */
    uint64_t tile;  /* largest tile */
    uint64_t block; /* all chunks of the largest block but the head's, which is walked tile by tile */
} wire_sizes;

static uint64_t chunks_wire(const zo2_tensor *t, zo2_wires wires, uint64_t rows, uint64_t step)
{
    uint64_t whole = rows / step, rest = rows % step;
    uint64_t bytes = whole * zo2_round_up(zo2_tensor_wire_room(t, wires, step), ALIGN);
    return rest ? bytes + zo2_round_up(zo2_tensor_wire_room(t, wires, rest), ALIGN) : bytes;
}

static wire_sizes wire_sizes_of(const zo2_arch *a, const zo2_shape *shape, zo2_wires wires, uint64_t chunk_bytes)
{
    wire_sizes w = {0};
    uint64_t block_bytes = 0;
    uint32_t block = UINT32_MAX;
    for (uint32_t i = 0; i < a->n_tensors; i++) {
        const zo2_tensor *t = &a->tensors[i];
        if (t->block != block) {
            block = t->block;
            block_bytes = zo2_round_up(zo2_block_vector_wire(a, block), ALIGN);
            w.chunk = zo2_max_u64(w.chunk, block_bytes);
            w.tile = zo2_max_u64(w.tile, block_bytes);
        }
        if (!zo2_is_streamed(a, t))
            continue;
        uint64_t tn = zo2_tile_rows(shape->tile_rule, t->rows, t->cols, shape->compute),
                 step = zo2_chunk_rows(t, wires, chunk_bytes);
        tn = tn < t->rows ? tn : t->rows;
        step = step < tn ? step : tn;
        w.chunk = zo2_max_u64(w.chunk, chunks_wire(t, wires, step, step));
        w.tile = zo2_max_u64(w.tile, chunks_wire(t, wires, tn, step));
        if (!zo2_is_head(a, t))
            for (uint64_t row = 0; row < t->rows; row += tn)
                block_bytes += chunks_wire(t, wires, t->rows - row < tn ? t->rows - row : tn, step);
        w.block = zo2_max_u64(w.block, block_bytes);
    }
    return w;
}

/* A first-in first-out ring wastes less than one chunk where it wraps; what is held as a whole needs that much more. */
static uint64_t ring_bytes(const wire_sizes *w, zo2_hold hold, uint64_t chunks)
{
    switch (hold) {
    case ZO2_HOLD_CHUNK: return chunks * w->chunk;
    case ZO2_HOLD_TILE: return w->tile + chunks * w->chunk;
    case ZO2_HOLD_BLOCK: break;
    }
    return zo2_max_u64(w->block, w->tile) + chunks * w->chunk;
}

/* ---- arena ---- */

/* Hands out consecutive aligned ranges. */
static uint64_t take(uint64_t *at, uint64_t bytes)
{
    uint64_t here = *at;
    *at += zo2_round_up(bytes, ALIGN);
    return here;
}

typedef struct extents {
    uint64_t panel;     /* bytes of the largest panel */
    uint64_t head_rows; /* TN of the head, and of rows of it that move */
    uint64_t vectors;   /* floats of the largest block's */
} extents;

static extents extents_of(zo2_full_plan *p, const zo2_arch *a, const zo2_shape *s, uint64_t size)
{
    extents e = {.vectors = 4};
    for (uint32_t i = 0; i < a->n_tensors; i++) {
        const zo2_tensor *t = &a->tensors[i];
        if (!zo2_is_streamed(a, t))
            continue;
        uint64_t tn = zo2_min_u64(zo2_tile_rows(s->tile_rule, t->rows, t->cols, s->compute), t->rows);
        e.panel = zo2_max_u64(e.panel, tn * t->cols * size);
        if (zo2_is_head(a, t) || t->role == ZO2_ROLE_HEAD_ROWS)
            e.head_rows = zo2_max_u64(e.head_rows, tn);
        if (tn > p->pub.largest_tile_rows)
            p->pub.largest_tile_rows = (uint32_t)tn;
    }
    for (uint32_t b = 0; b < a->n_blocks; b++)
        e.vectors = zo2_max_u64(e.vectors, zo2_block_vector_floats(a, b));
    return e;
}

/* What is there in all phases. */
static uint64_t lay_out_fixed(zo2_full_plan *p, const zo2_arch *a, const zo2_backend_ops *be, const zo2_shape *s,
                              const extents *e, const zo2_plan_cut *cut, uint64_t ring)
{
    zo2_device_offsets *d = &p->device;
    const uint64_t S = s->streams, L = s->loss_tokens, D = a->hidden;
    uint64_t at = zo2_round_up(be->reserved_bytes, ALIGN), from = at;
    d->staged = cut->staged;
    d->residual_stride = zo2_round_up(S * s->tokens * D * 4, ALIGN);
    d->residual = take(&at, cut->staged ? 2 * d->residual_stride : S * s->batch_tokens * D * 4);
    p->pub.residual_bytes = at - from;
    from = at;
    d->vector_stride = zo2_round_up(e->vectors, ALIGN / 4);
    d->vectors = take(&at, S * d->vector_stride * 4);
    d->rope_positions = a->rope.kind ? s->max_keys : 0;
    d->rope = take(&at, d->rope_positions * a->head_dim * 4);
    d->rope_rows = take(&at, a->rope.kind ? s->batch_tokens * 4 : 0);
    p->pub.vector_bytes = at - from;
    from = at;
    d->lse = take(&at, S * L * sizeof(zo2_lse));
    d->logprob = take(&at, S * L * 4);
    d->index = take(&at, L * 4);
    d->target = take(&at, L * 4);
    d->row_target = take(&at, a->n_rows ? L * 4 : 0);
    d->skip = take(&at, zo2_skip_words(a) * 4);
    p->pub.loss_bytes = at - from;
    from = at;
    d->panel_stride = zo2_round_up(e->panel, ALIGN);
    d->panels = take(&at, s->panels * d->panel_stride);
    p->pub.panel_bytes = at - from;
    d->ring = take(&at, ring);
    d->ring_bytes = ring;
    p->pub.ring_bytes = at - d->ring;
    d->resident = take(&at, cut->resident_bytes);
    d->resident_bytes = p->pub.resident_bytes = at - d->resident;
    return at;
}

/* Embedding, layers and head, one after the other in the same region. */
static void lay_out_phases(zo2_full_plan *p, const zo2_arch *a, const zo2_backend_ops *be, const zo2_shape *s,
                           const extents *e)
{
    zo2_device_offsets *d = &p->device;
    const uint64_t S = s->streams, T = s->tokens, L = s->loss_tokens, D = a->hidden, E = a->embed_dim;
    const uint64_t size = be->element_bytes(s->compute);
    const zo2_tensor *tokens = &a->tensors[zo2_arch_find(a, ZO2_ROLE_EMBED_TOKENS, 0)];
    const uint32_t positions = zo2_arch_find(a, ZO2_ROLE_EMBED_POSITIONS, 0);

    uint64_t embed = d->phase;
    uint64_t row_wire = zo2_tensor_wire_room(tokens, s->wires, T);
    d->refs = take(&embed, T * sizeof(zo2_row_ref));
    /* exact evaluation gathers fp32 rows whatever the wire */
    d->rows = take(&embed, zo2_max_u64(row_wire, zo2_wire_room(zo2_codec_get(ZO2_WIRE_FP32), T, E)));
    d->positions = embed;
    if (positions != ZO2_NO_TENSOR)
        take(&embed, zo2_tensor_wire_room(&a->tensors[positions], s->wires, T));
    d->embedded = embed;
    if (E != D)
        take(&embed, S * T * E * size);

    uint64_t layer = d->phase;
    d->norm = take(&layer, S * T * zo2_max_u64(D, zo2_attention_columns(a)) * size);
    p->pub.norm_bytes = layer - d->phase;
    d->wide = take(&layer, S * T * a->wide * size);
    d->lora = take(&layer, S * T * a->lora_rank * size);
    p->pub.layer_bytes = layer - d->wide;
    d->workspace_bytes = be->attention_workspace(a->heads, a->head_dim, s->max_keys, s->threads);
    d->workspace = take(&layer, d->workspace_bytes);
    p->pub.workspace_bytes = layer - d->workspace + be->reserved_bytes;

    uint64_t head = d->phase;
    d->gathered = take(&head, S * s->loss_micro * D * 4);
    d->hidden = take(&head, S * L * D * size);
    d->projected = head;
    if (E != D)
        take(&head, S * L * E * size);
    d->logits = take(&head, s->panels * s->loss_micro * e->head_rows * 4);

    /* the phases share their region; what another phase needs beyond the layers counts as workspace */
    d->bytes = zo2_max_u64(embed, zo2_max_u64(layer, head));
    p->pub.workspace_bytes += d->bytes - layer;
}

/* ---- host ---- */

static void lay_out_host(zo2_full_plan *p, const zo2_arch *a, const zo2_shape *s, uint64_t ring)
{
    zo2_host_offsets *h = &p->host;
    const zo2_device_offsets *d = &p->device;
    const uint64_t refs = zo2_round_up(s->tokens * sizeof(zo2_row_ref), ALIGN);
    uint64_t at = 0, set = 0;
    /* Two sets when micro-batches follow each other: one is filled while the other's rows are on their way. */
    h->gather_sets = s->micro_batched ? 2 : 1;
    take(&set, refs + (d->positions - d->rows));
    h->gather_positions = take(&set, refs + (d->embedded - d->positions));
    h->gather_set_bytes = set;
    h->gather = take(&at, h->gather_sets * set);
    h->index = take(&at, s->loss_tokens * 4);
    h->target = take(&at, s->loss_tokens * 4);
    h->row_target = take(&at, a->n_rows ? s->loss_tokens * 4 : 0);
    h->skip = take(&at, zo2_skip_words(a) * 4);
    h->rope = take(&at, zo2_min_u64(d->rope_positions, ZO2_ROPE_PIECE) * a->head_dim * 4);
    h->rope_rows = take(&at, a->rope.kind ? s->batch_tokens * 4 : 0);
    h->trunk = take(&at, s->trunk_cache ? s->batch_tokens * a->hidden * 4 : 0);
    h->logprob = take(&at, s->streams * s->loss_tokens * 4);
    h->residual = take(&at, d->staged ? s->streams * s->batch_tokens * a->hidden * 4 : 0);
    h->residual_bytes = at - h->residual;
    h->ring = take(&at, ring);
    h->ring_bytes = ring;
    h->bytes = zo2_round_up(at, 4096);
    p->pub.staged_bytes = h->residual_bytes;
    p->pub.staging_bytes = h->bytes;
}

void zo2_plan_lay_out(zo2_full_plan *p, const zo2_arch *a, const zo2_backend_ops *be, const zo2_shape *s,
                      const zo2_plan_cut *cut)
{
    /* evaluation at the masters streams fp32 chunks through the same ring */
    wire_sizes w = wire_sizes_of(a, s, s->wires, cut->chunk_bytes),
               exact = wire_sizes_of(a, s, zo2_one_wire(ZO2_WIRE_FP32), cut->chunk_bytes);
    extents e = extents_of(p, a, s, be->element_bytes(s->compute));
    uint64_t ring = zo2_max_u64(ring_bytes(&w, p->hold, cut->ring_chunks), exact.chunk);
    p->chunk_bytes = cut->chunk_bytes;
    p->device.phase = lay_out_fixed(p, a, be, s, &e, cut, ring);
    lay_out_phases(p, a, be, s, &e);
    lay_out_host(p, a, s, zo2_max_u64(ring_bytes(&w, p->hold, cut->staging_chunks), exact.chunk));
    p->pub.context_bytes = s->context_bytes;
    p->pub.device_peak_bytes = s->context_bytes + p->device.bytes;
}
