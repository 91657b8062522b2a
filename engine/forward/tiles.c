/* tiles.c: from wires to products, one panel tile after the other. */
#include "engine/forward/tiles.h"
#include "codec/update.h"
#include "engine/forward/batch.h"
#include "engine/masters/history.h"
#include "engine/method/probe.h"
#include "engine/model/arch.h"
#include "engine/model/wire_size.h"
#include "engine/stream/pipeline.h"
#include "engine/stream/program.h"
#include "engine/stream/trace.h"

uint64_t zo2_element_bytes(const zo2_forward_pass *f, zo2_dtype type)
{
    return type == ZO2_F32 ? 4 : f->be->ops->element_bytes(type);
}

zo2_act zo2_activation_at(const zo2_forward_pass *f, uint64_t offset, uint64_t m, uint64_t n, zo2_dtype type)
{
    return (zo2_act){.p = f->arena + offset, .ld = n, .stride = m * n, .type = type};
}

zo2_status zo2_tile_fetch(zo2_forward_pass *f, uint32_t pc, zo2_sent_wire *wire)
{
    if (f->progress && f->progress(f->progress_ud, "chunks", pc, f->pass->program->n))
        return zo2_error(ZO2_ERR_CANCELLED, "the step was cancelled");
    return zo2_pipeline_wait(f->pipe, pc, wire);
}

/* Updates that the wire of a chunk lacks. */
static const zo2_update *fold_of(const zo2_forward_pass *f, uint32_t chunk, uint32_t tensor, uint32_t *count)
{
    const zo2_pass *p = f->pass;
    *count = 0;
    if (p->weights != ZO2_PASS_TRAIN && p->weights != ZO2_PASS_WIRE)
        return NULL;
    return zo2_history_range(p->history, tensor, p->masters->step[chunk], p->step, count);
}

void zo2_group_eps(const zo2_forward_pass *f, const zo2_probe_group *g, uint32_t tensor, float eps[ZO2_MAX_PANELS])
{
    int moves = !f->probes->moves || f->probes->moves[tensor];
    for (uint32_t i = 0; i < g->n; i++)
        eps[i] = moves ? (float)g->sign[i] * f->eps : 0;
}

zo2_status zo2_decode_span(zo2_forward_pass *f, uint32_t chunk, const zo2_span *s, zo2_sent_wire wire,
                           const zo2_probe_group *g, uint8_t *to, uint64_t stride, zo2_dtype type)
{
    const zo2_tensor *t = &f->arch->tensors[s->tensor];
    zo2_decode_op op = {.wire = s->codec->id,
                        .src = wire.at + s->wire_at,
                        .src_bytes = zo2_span_sent(s, wire.bytes),
                        .rows = s->rows,
                        .cols = s->cols,
                        .first_row = s->row,
                        .tensor_id = t->id,
                        .decays = t->decays,
                        .dist = f->dist,
                        .key = f->key,
                        .query = g->query,
                        .panels = g->n,
                        .ld = s->cols,
                        .type = type};
    for (uint32_t i = 0; i < g->n; i++)
        op.panel[i] = to + i * stride;
    zo2_group_eps(f, g, s->tensor, op.eps);
    op.fold = fold_of(f, chunk, s->tensor, &op.folds);
    uint64_t begin = zo2_trace_begin(f->trace);
    zo2_status status = f->be->ops->decode(f->be, &op);
    zo2_forward_span(f, begin, "decode", s->tensor, f->pass->program->layout->chunks[chunk].unit, chunk, op.src_bytes);
    return status;
}

/* ---- panel tiles ---- */

/* A release lets go of everything before it. So whoever takes tiles out of their order would find wires overwritten, or wait
 * for ever; where a whole block is held any order will do. */
static zo2_status check_order(const zo2_forward_pass *f, uint32_t unit, zo2_hold hold)
{
    const zo2_tensor *t = &f->arch->tensors[f->pass->program->layout->units[unit].tensor];
    if (hold == ZO2_HOLD_BLOCK || zo2_pipeline_released(f->pipe) == f->pass->program->first_pc[unit])
        return ZO2_OK;
    return zo2_error(ZO2_ERR_INTERNAL, "%s is multiplied out of the order of the model's tensors", t->name);
}

zo2_status zo2_tile_decode(zo2_forward_pass *f, uint32_t unit, const zo2_probe_group *g, zo2_hold hold)
{
    const zo2_layout *l = f->pass->program->layout;
    const zo2_unit *u = &l->units[unit];
    uint32_t pc = f->pass->program->first_pc[unit];
    int last = g->first + g->streams == f->probes->streams;
    zo2_status s = g->first ? ZO2_OK : check_order(f, unit, hold);
    for (uint32_t c = 0; c < u->n_chunks && !s; c++) {
        zo2_sent_wire wire;
        const zo2_span *span = &l->spans[l->chunks[u->first_chunk + c].first_span];
        uint64_t offset = (span->row - u->row) * span->cols * zo2_element_bytes(f, f->compute);
        s = zo2_tile_fetch(f, pc + c, &wire);
        if (!s)
            s = zo2_decode_span(f, u->first_chunk + c, span, wire, g, f->arena + f->device->panels + offset,
                                f->device->panel_stride, f->compute);
        if (!s && hold == ZO2_HOLD_CHUNK)
            s = zo2_pipeline_release(f->pipe, pc + c + 1);
    }
    if (!s && hold == ZO2_HOLD_TILE && last)
        s = zo2_pipeline_release(f->pipe, pc + u->n_chunks);
    return s;
}

zo2_gemm_op zo2_tile_gemm(const zo2_forward_pass *f, const zo2_probe_group *g, const zo2_unit *u, uint64_t cols,
                          uint64_t m)
{
    const uint64_t stride = f->device->panel_stride / zo2_element_bytes(f, f->compute);
    return (zo2_gemm_op){.batch = g->streams,
                         .m = m,
                         .n = u->rows,
                         .k = cols,
                         .panel = f->arena + f->device->panels,
                         .ld_panel = cols,
                         .stride_panel = g->shared ? 0 : stride,
                         .type = f->compute};
}

/* A tile's product. */
zo2_status zo2_tile_multiply(const zo2_forward_pass *f, uint32_t unit, const zo2_gemm_op *op)
{
    uint64_t begin = zo2_trace_begin(f->trace);
    zo2_status s = f->be->ops->gemm(f->be, op);
    zo2_forward_span(f, begin, "gemm", f->pass->program->layout->units[unit].tensor, unit, -1, 0);
    return s;
}

/* Units of a matrix: [first, end). */
uint32_t zo2_units_end(const zo2_layout *l, uint32_t first)
{
    uint32_t end = first;
    while (end < l->n_units && l->units[end].tensor == l->units[first].tensor)
        end++;
    return end;
}

/* The product itself adds a bias to fp32. A 16-bit y is rounded first, and what else there is is an operation of its own. */
static int is_bias_alone(const zo2_product_end *end, zo2_dtype y_type)
{
    return end->scale == 1.0f && end->act == ZO2_ACT_NONE && y_type == ZO2_F32;
}

/* A tile's product, and what follows it. bias: of the group's first stream and the tile's first row. */
static zo2_status multiply_and_end(const zo2_forward_pass *f, uint32_t unit, zo2_gemm_op *op,
                                   const zo2_product_end *end, const float *bias)
{
    int alone = is_bias_alone(end, op->y_type);
    op->bias = alone ? bias : NULL;
    op->stride_bias = f->device->vector_stride;
    zo2_status s = zo2_tile_multiply(f, unit, op);
    if (s || alone)
        return s;
    zo2_bias_act_op then = {.streams = op->batch,
                            .m = op->m,
                            .n = op->n,
                            .y = op->y,
                            .ldy = op->ldy,
                            .stride_y = op->stride_y,
                            .bias = bias,
                            .stride_bias = f->device->vector_stride,
                            .scale = end->scale,
                            .act = end->act,
                            .type = op->y_type};
    uint64_t begin = zo2_trace_begin(f->trace);
    s = f->be->ops->bias_act(f->be, &then);
    zo2_forward_span(f, begin, "activation", f->pass->program->layout->units[unit].tensor, unit, -1, 0);
    return s;
}

/* A tile's panels with rows [from, from + m) of x in the group's streams. */
typedef struct product {
    uint32_t tensor;
    zo2_act x, y;
    int accumulate;
    const zo2_product_end *end;
} product;

static zo2_status multiply_rows(const zo2_forward_pass *f, const product *p, uint32_t unit, const zo2_probe_group *g,
                                uint64_t from, uint64_t m)
{
    const zo2_unit *u = &f->pass->program->layout->units[unit];
    const zo2_act x = p->x, y = p->y;
    zo2_gemm_op op = zo2_tile_gemm(f, g, u, f->arch->tensors[p->tensor].cols, m);
    op.x = x.p + (g->first * x.stride + from * x.ld) * zo2_element_bytes(f, x.type);
    op.ldx = x.ld;
    op.stride_x = x.stride;
    op.y = y.p + (g->first * y.stride + from * y.ld + u->row) * zo2_element_bytes(f, y.type);
    op.ldy = y.ld;
    op.stride_y = y.stride;
    op.y_type = y.type;
    op.accumulate = p->accumulate;
    if (!p->end)
        return zo2_tile_multiply(f, unit, &op);
    const float *bias = p->end->bias;
    return multiply_and_end(f, unit, &op, p->end, bias ? bias + g->first * f->device->vector_stride + u->row : NULL);
}

/* In the trunk each example has a product of its own: how a library sums depends on the number of rows, and what is kept of an example
 * must not depend on its neighbours. */
static zo2_status multiply(const zo2_forward_pass *f, const product *p, uint32_t unit, const zo2_probe_group *g,
                           uint64_t m)
{
    if (!f->in_trunk)
        return multiply_rows(f, p, unit, g, 0, m);
    zo2_status s = ZO2_OK;
    for (uint32_t i = 0; i < f->now->examples && !s; i++) {
        const zo2_packed_example *own = &f->batch->example[f->now->example_at + i];
        s = multiply_rows(f, p, unit, g, own->first, own->tokens);
    }
    return s;
}

zo2_status zo2_matmul(zo2_forward_pass *f, uint32_t tensor, uint64_t m, zo2_act x, zo2_act y, int accumulate,
                      zo2_hold hold, const zo2_product_end *end)
{
    const zo2_layout *l = f->pass->program->layout;
    const product p = {.tensor = tensor, .x = x, .y = y, .accumulate = accumulate, .end = end};
    uint32_t first = l->tensor_unit[tensor], last = zo2_units_end(l, first);
    zo2_status s = ZO2_OK;
    for (uint32_t unit = first; unit < last && !s; unit++) {
        for (uint32_t at = 0; at < f->probes->streams && !s;) {
            zo2_probe_group g = zo2_probe_group_of(f->probes, tensor, at);
            s = zo2_tile_decode(f, unit, &g, hold);
            if (!s)
                s = multiply(f, &p, unit, &g, m);
            at += g.streams;
        }
    }
    return s;
}

zo2_status zo2_block_done(zo2_forward_pass *f, uint32_t block)
{
    if (f->hold != ZO2_HOLD_BLOCK)
        return ZO2_OK;
    const zo2_program *p = f->pass->program;
    uint32_t end = 0;
    for (uint32_t i = 0; i < p->n; i++)
        if (p->fetch[i].upload && !p->fetch[i].gated &&
            p->layout->units[p->layout->chunks[p->fetch[i].chunk].unit].block <= block)
            end = i + 1;
    return end ? zo2_pipeline_release(f->pipe, end) : ZO2_OK;
}
