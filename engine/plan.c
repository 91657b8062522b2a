/* plan.c: see plan.h. */
#include "engine/plan.h"
#include "engine/masters.h"
#include "engine/pool.h"
#include "storage/checked.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define ALIGN       256ull
#define CHUNK_AIM   (4ull << 20)   /* wire of a chunk when memory is no concern */
#define CHUNK_MIN   (256ull << 10) /* and when it is */
#define RING_CHUNKS 3ull           /* one decoding, one arriving, one waiting */
#define HOST_FIXED  (96ull << 20)  /* code, BLAS buffers, stacks, tables */

static uint64_t max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* Hands out consecutive aligned ranges. */
static uint64_t take(uint64_t *at, uint64_t bytes)
{
    uint64_t here = *at;
    *at += zo2_round_up(bytes, ALIGN);
    return here;
}

static int is_head(const zo2_arch *a, const zo2_tensor *t)
{
    return t->role == ZO2_ROLE_LM_HEAD || (a->tied && t->role == ZO2_ROLE_EMBED_TOKENS);
}

/* Embedding tables that are only gathered from never pass the ring. */
static int is_streamed(const zo2_arch *a, const zo2_tensor *t)
{
    return t->rank == 2 && t->role != ZO2_ROLE_EMBED_POSITIONS && (t->role != ZO2_ROLE_EMBED_TOKENS || a->tied);
}

/* ---- ring ---- */

typedef struct wire_sizes {
    uint64_t chunk; /* largest chunk */
    uint64_t tile;  /* largest tile */
    uint64_t block; /* all chunks of the largest block but the head's, which is walked tile by tile */
} wire_sizes;

static uint64_t chunks_wire(const zo2_tensor *t, zo2_wire wire, uint64_t rows, uint64_t step)
{
    const zo2_codec *codec = zo2_tensor_codec(t, wire);
    uint64_t whole = rows / step, rest = rows % step;
    uint64_t bytes = whole * zo2_round_up(codec->wire_bytes(step, t->cols), ALIGN);
    return rest ? bytes + zo2_round_up(codec->wire_bytes(rest, t->cols), ALIGN) : bytes;
}

static wire_sizes measure_wires(const zo2_arch *a, const zo2_shape *shape, zo2_wire wire, uint64_t chunk_bytes)
{
    wire_sizes w = {0};
    uint64_t block_bytes = 0;
    uint32_t block = UINT32_MAX;
    for (uint32_t i = 0; i < a->n_tensors; i++) {
        const zo2_tensor *t = &a->tensors[i];
        if (t->block != block) {
            block = t->block;
            block_bytes = zo2_round_up(4 * zo2_block_vector_floats(a, block), ALIGN);
            w.chunk = max_u64(w.chunk, block_bytes);
            w.tile = max_u64(w.tile, block_bytes);
        }
        if (!is_streamed(a, t))
            continue;
        uint64_t tn = zo2_tile_rows(t->rows, t->cols, shape->compute), step = zo2_chunk_rows(t, wire, chunk_bytes);
        tn = tn < t->rows ? tn : t->rows;
        step = step < tn ? step : tn;
        w.chunk = max_u64(w.chunk, chunks_wire(t, wire, step, step));
        w.tile = max_u64(w.tile, chunks_wire(t, wire, tn, step));
        if (!is_head(a, t))
            for (uint64_t row = 0; row < t->rows; row += tn)
                block_bytes += chunks_wire(t, wire, t->rows - row < tn ? t->rows - row : tn, step);
        w.block = max_u64(w.block, block_bytes);
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
    return max_u64(w->block, w->tile) + chunks * w->chunk;
}

/* ---- arena ---- */

static void lay_out(zo2_full_plan *p, const zo2_arch *a, const zo2_backend_ops *be, const zo2_shape *s, uint64_t ring)
{
    zo2_device_layout *d = &p->device;
    const uint64_t S = s->streams, pair = S > 1 ? 2 : 1, T = s->tokens, L = s->loss_tokens, D = a->hidden,
                   E = a->embed_dim;
    const uint64_t size = be->element_bytes(s->compute);
    uint64_t at = zo2_round_up(be->reserved_bytes, ALIGN), panel = 0, head_rows = 0, vectors = 4;
    for (uint32_t i = 0; i < a->n_tensors; i++) {
        const zo2_tensor *t = &a->tensors[i];
        if (!is_streamed(a, t))
            continue;
        uint64_t tn = zo2_tile_rows(t->rows, t->cols, s->compute);
        tn = tn < t->rows ? tn : t->rows;
        panel = max_u64(panel, tn * t->cols * size);
        if (is_head(a, t))
            head_rows = tn;
        if (tn > p->pub.largest_tile_rows)
            p->pub.largest_tile_rows = (uint32_t)tn;
    }
    for (uint32_t b = 0; b < a->n_blocks; b++)
        vectors = max_u64(vectors, zo2_block_vector_floats(a, b));

    uint64_t from = at;
    d->residual = take(&at, S * s->batch_tokens * D * 4);
    p->pub.residual_bytes = at - from;
    from = at;
    d->vector_stride = zo2_round_up(vectors, ALIGN / 4);
    d->vectors = take(&at, S * d->vector_stride * 4);
    p->pub.vector_bytes = at - from;
    from = at;
    d->lse = take(&at, S * L * sizeof(zo2_lse));
    d->logprob = take(&at, S * L * 4);
    d->index = take(&at, L * 4);
    d->target = take(&at, L * 4);
    p->pub.loss_bytes = at - from;
    from = at;
    d->panel_stride = zo2_round_up(panel, ALIGN);
    d->panels = take(&at, pair * d->panel_stride);
    p->pub.panel_bytes = at - from;
    d->ring = take(&at, ring);
    d->ring_bytes = ring;
    p->pub.ring_bytes = at - d->ring;
    d->phase = at;

    uint64_t embed = d->phase;
    const zo2_tensor *tokens = &a->tensors[zo2_arch_find(a, ZO2_ROLE_EMBED_TOKENS, 0)];
    const zo2_tensor *positions = &a->tensors[zo2_arch_find(a, ZO2_ROLE_EMBED_POSITIONS, 0)];
    uint64_t row_wire = zo2_tensor_codec(tokens, s->wire)->wire_bytes(T, E);
    d->refs = take(&embed, T * sizeof(zo2_row_ref));
    /* exact evaluation gathers fp32 rows whatever the wire */
    d->rows = take(&embed, max_u64(row_wire, zo2_codec_get(ZO2_WIRE_FP32)->wire_bytes(T, E)));
    d->positions = take(&embed, zo2_tensor_codec(positions, s->wire)->wire_bytes(T, D));
    d->embedded = embed;
    if (E != D)
        take(&embed, S * T * E * size);

    uint64_t layer = d->phase;
    d->norm = take(&layer, S * T * D * size);
    p->pub.norm_bytes = layer - d->phase;
    d->wide = take(&layer, S * T * max_u64(3 * D, a->ffn) * size);
    p->pub.layer_bytes = layer - d->wide;
    d->workspace_bytes = be->attention_workspace(a->heads, a->head_dim, s->max_keys, s->threads);
    d->workspace = take(&layer, d->workspace_bytes);
    p->pub.workspace_bytes = layer - d->workspace + be->reserved_bytes;

    uint64_t head = d->phase;
    d->gathered = take(&head, S * L * D * 4);
    d->hidden = take(&head, S * L * D * size);
    d->projected = head;
    if (E != D)
        take(&head, S * L * E * size);
    d->logits = take(&head, pair * s->loss_micro * head_rows * 4);

    /* the phases share their region; what another phase needs beyond the layers counts as workspace */
    d->bytes = max_u64(embed, max_u64(layer, head));
    p->pub.workspace_bytes += d->bytes - layer;
    p->pub.context_bytes = be->context_bytes;
    p->pub.device_peak_bytes = be->context_bytes + d->bytes;
    p->gather_bytes = d->embedded - d->phase + zo2_round_up(T * sizeof(zo2_row_ref), ALIGN);
    p->staging_bytes = p->gather_bytes + ring;
}

static void predict(zo2_full_plan *p, const zo2_arch *a, const zo2_shape *s, const zo2_rates *r)
{
    double streamed = 0, micro = ceil((double)s->batch_tokens / (double)(s->tokens ? s->tokens : 1));
    double flops = 0, wire = 0;
    for (uint32_t i = 0; i < a->n_tensors; i++) {
        const zo2_tensor *t = &a->tensors[i];
        if (!is_streamed(a, t) && t->rank == 2)
            continue;
        double n = (double)t->rows * (double)t->cols;
        wire += (double)zo2_tensor_codec(t, s->wire)->wire_bytes(t->rows, t->cols);
        streamed += n * (is_head(a, t) ? 1 : micro);
        flops += 2.0 * n * (double)s->streams * (double)(is_head(a, t) ? s->loss_tokens : s->batch_tokens);
    }
    /* scores and values of attention, causal */
    flops += 2.0 * (double)s->streams * (double)s->batch_tokens * (double)s->max_keys * a->hidden * a->layers;
    zo2_plan *q = &p->pub;
    q->wire_bytes_per_step = (uint64_t)wire;
    if (!r)
        return;
    double noise = (s->pending / 2.0 + 1) * s->queries;
    q->update_seconds = (double)a->parameters * s->queries / r->update_weights;
    q->upload_seconds = wire / r->upload_bytes;
    q->compute_seconds = flops / r->flops + streamed * noise / r->decode_weights;
    q->seconds_per_step = fmax(q->update_seconds, fmax(q->upload_seconds, q->compute_seconds));
    const char *name = q->seconds_per_step == q->compute_seconds  ? "compute"
                       : q->seconds_per_step == q->update_seconds ? "update"
                                                                  : "upload";
    snprintf(q->bottleneck, sizeof q->bottleneck, "%s", name);
}

static zo2_status too_small(const char *what, const char *flag, uint64_t have, uint64_t need)
{
    return zo2_error(
        ZO2_ERR_NOMEM,
        "the %s budget of %llu bytes is too small: the smallest that works with these settings is %llu bytes (%s %lluM)",
        what, (unsigned long long)have, (unsigned long long)need, flag, (unsigned long long)((need + 0xFFFFF) >> 20));
}

zo2_status zo2_plan_make(zo2_full_plan *out, const zo2_arch *a, const zo2_backend_ops *be, const zo2_shape *s,
                         const uint32_t *stored_as, const zo2_rates *rates)
{
    memset(out, 0, sizeof *out);
    out->pub.struct_size = sizeof out->pub;
    out->hold = s->micro_batched ? ZO2_HOLD_BLOCK : s->streams > 2 ? ZO2_HOLD_TILE : ZO2_HOLD_CHUNK;

    /* From comfortable to smallest: whole chunks in a ring of three, then one, then smaller chunks. */
    uint64_t smallest = s->chunk_bytes ? s->chunk_bytes : CHUNK_MIN;
    out->chunk_bytes = s->chunk_bytes ? s->chunk_bytes : CHUNK_AIM;
    uint64_t ring_chunks = RING_CHUNKS;
    zo2_full_plan least = *out;
    wire_sizes w = measure_wires(a, s, s->wire, smallest), exact = measure_wires(a, s, ZO2_WIRE_FP32, smallest);
    lay_out(&least, a, be, s, max_u64(ring_bytes(&w, out->hold, 1), exact.chunk));
    uint64_t min_bytes = least.pub.device_peak_bytes, budget = s->device_bytes ? s->device_bytes : min_bytes;
    for (;;) {
        w = measure_wires(a, s, s->wire, out->chunk_bytes);
        exact =
            measure_wires(a, s, ZO2_WIRE_FP32, out->chunk_bytes); /* evaluation at the masters streams fp32 chunks */
        lay_out(out, a, be, s, max_u64(ring_bytes(&w, out->hold, ring_chunks), exact.chunk));
        if (out->pub.device_peak_bytes <= budget)
            break;
        if (ring_chunks > 1)
            ring_chunks--;
        else if (out->chunk_bytes > smallest)
            out->chunk_bytes = max_u64(out->chunk_bytes / 2, smallest);
        else
            break;
    }
    out->pub.device_min_bytes = min_bytes;
    out->pub.parameters = a->parameters;
    out->pub.tokens = s->tokens / s->max_keys * s->seq;
    out->pub.batch_tokens = s->batch_tokens / s->max_keys * s->seq;
    out->pub.master_bytes = zo2_masters_estimate(a, s->wire, stored_as);
    out->pub.staging_bytes = out->staging_bytes;
    out->pub.host_peak_bytes = out->pub.master_bytes + out->staging_bytes + HOST_FIXED;
    out->pub.snapshot_bytes = 4 * a->parameters + (1u << 20);
    out->pub.journal_bytes_per_step = 48 + 48ull * s->queries;
    predict(out, a, s, rates);
    if (out->pub.device_peak_bytes > budget)
        return too_small("device", "--device-mem", budget, min_bytes);
    if (s->host_bytes && out->pub.host_peak_bytes > s->host_bytes)
        return too_small("host", "--host-mem", s->host_bytes, out->pub.host_peak_bytes);
    return ZO2_OK;
}

zo2_status zo2_shape_from_opts(zo2_shape *out, const zo2_arch *a, const zo2_backend_ops *be, const zo2_engine_opts *o)
{
    memset(out, 0, sizeof *out);
    uint64_t seq = o->max_seq ? o->max_seq : a->context, rows = o->max_rows ? o->max_rows : 16;
    if (seq > a->context)
        return zo2_error(ZO2_ERR_ARG, "sequences of %llu tokens are longer than the model's context of %u",
                         (unsigned long long)seq, a->context);
    if (rows > 1u << 24)
        return zo2_error(ZO2_ERR_ARG, "a batch of %llu rows is absurd: at most 16,777,216", (unsigned long long)rows);
    uint64_t micro = o->max_rows_micro && o->max_rows_micro < rows ? o->max_rows_micro : rows;
    out->queries = o->queries ? o->queries : 1;
    out->pending = o->pending > 0 ? (uint32_t)o->pending : 0;
    out->streams = o->read_only ? 1 : 2 * out->queries;
    uint64_t used = seq > 1 ? seq - 1 : 1;
    out->tokens = micro * used;
    out->batch_tokens = rows * used;
    out->micro_batched = micro < rows || (o->micro_batch && o->micro_batch != UINT32_MAX);
    uint64_t most = rows * used;
    out->loss_tokens = o->max_loss_tokens && o->max_loss_tokens < most ? o->max_loss_tokens : most;
    most = micro * used;
    out->loss_micro = out->loss_tokens < most ? out->loss_tokens : most;
    out->max_keys = used;
    out->seq = seq;
    out->wire = o->wire ? o->wire : ZO2_WIRE_BF16;
    out->compute = o->compute                    ? o->compute
                   : be->kind == ZO2_BACKEND_CPU ? ZO2_F32
                   : a->dtype == ZO2_BF16        ? ZO2_BF16
                                                 : ZO2_F16;
    out->threads = o->threads ? o->threads : zo2_usable_cpus();
    out->chunk_bytes = o->chunk_bytes;
    out->device_bytes = o->device_bytes;
    out->host_bytes = o->host_bytes;
    return ZO2_OK;
}
