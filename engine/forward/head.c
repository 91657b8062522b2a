/* head.c: the output embedding: tiles of logits into the streaming log-sum-exp of the loss tokens. */
#include "engine/forward/batch.h"
#include "engine/forward/forward.h"
#include "engine/forward/tiles.h"
#include "engine/method/probe.h"
#include "engine/model/arch.h"
#include "engine/model/layout.h"
#include "engine/plan/plan_types.h"
#include "engine/stream/trace.h"
#include "kernels/operations.h"

zo2_hold zo2_head_hold(const zo2_forward_pass *f)
{
    return f->hold == ZO2_HOLD_CHUNK ? ZO2_HOLD_CHUNK : ZO2_HOLD_TILE;
}

/* Logits of one tile for the loss tokens of one micro-batch, into the running log-sum-exp. */
static zo2_status head_tile(zo2_forward_pass *f, uint32_t unit, const zo2_tensor *t, const zo2_probe_group *g,
                            const zo2_micro *mb, zo2_act x)
{
    const zo2_unit *u = &f->pass->program->layout->units[unit];
    const zo2_device_offsets *d = f->device;
    const int by_itself = t->role == ZO2_ROLE_HEAD_ROWS;
    uint64_t L = f->batch->losses;
    zo2_gemm_op op = zo2_tile_gemm(f, g, u, t->cols, mb->losses);
    op.x = x.p + (g->first * x.stride + mb->loss_at * x.ld) * zo2_element_bytes(f, x.type);
    op.ldx = x.ld;
    op.stride_x = x.stride;
    op.y = f->arena + d->logits;
    op.ldy = u->rows;
    op.stride_y = mb->losses * u->rows;
    op.y_type = ZO2_F32;
    zo2_status s = zo2_tile_multiply(f, unit, &op);
    if (s)
        return s;
    const float *logits = op.y;
    if (f->observer)
        f->observer(f->observer_ud, g->first, op.batch, mb->loss_at, mb->losses, u->row, u->rows, logits, op.ldy,
                    op.stride_y);
    zo2_lse_op lse = {.streams = op.batch,
                      .m = mb->losses,
                      .n = u->rows,
                      .logits = logits,
                      .ld = op.ldy,
                      .stride = op.stride_y,
                      .target =
                          (const uint32_t *)(void *)(f->arena + (by_itself ? d->row_target : d->target)) + mb->loss_at,
                      .first = u->row,
                      .state = (zo2_lse *)(void *)(f->arena + d->lse) + g->first * L + mb->loss_at,
                      .stride_state = L};
    if (f->arch->n_rows && !by_itself) {
        lse.skip = (const uint32_t *)(const void *)(f->arena + d->skip);
        lse.skip_rows = 32 * zo2_skip_words(f->arch);
    }
    uint64_t begin = zo2_trace_begin(f->trace);
    s = f->be->ops->lse_tile(f->be, &lse);
    zo2_forward_span(f, begin, "head", t->id, unit, -1, 0);
    return s;
}

/* There is room for the logits of as many streams as a decoding has panels. */
static zo2_status head_tiles(zo2_forward_pass *f, uint32_t unit, const zo2_tensor *t, const zo2_probe_group *g,
                             const zo2_micro *mb, zo2_act x)
{
    const uint32_t most = zo2_probe_panels(f->probes), end = g->first + g->streams;
    zo2_status s = ZO2_OK;
    for (zo2_probe_group part = *g; part.first < end && !s; part.first += part.streams) {
        part.streams = end - part.first < most ? end - part.first : most;
        part.shared = g->shared;
        s = head_tile(f, unit, t, &part, mb, x);
    }
    return s;
}

static zo2_status head_of(zo2_forward_pass *f, uint32_t tensor, zo2_act x)
{
    const zo2_layout *l = f->pass->program->layout;
    const zo2_tensor *t = &f->arch->tensors[tensor];
    uint32_t first = l->tensor_unit[tensor], end = zo2_units_end(l, first);
    zo2_hold hold = zo2_head_hold(f);
    zo2_status s = ZO2_OK;
    for (uint32_t unit = first; unit < end && !s; unit++) {
        for (uint32_t at = 0; at < f->probes->streams && !s;) {
            zo2_probe_group g = zo2_probe_group_of(f->probes, tensor, at);
            s = zo2_tile_decode(f, unit, &g, hold);
            for (uint32_t i = f->micro_from; i < f->micro_to && !s; i++)
                s = head_tiles(f, unit, t, &g, &f->batch->micro[i], x);
            at += g.streams;
        }
    }
    return s;
}

zo2_status zo2_head(zo2_forward_pass *f, uint32_t tensor, zo2_act x)
{
    const uint32_t rows = zo2_arch_find(f->arch, ZO2_ROLE_HEAD_ROWS, 0);
    zo2_status s = rows == ZO2_NO_TENSOR ? ZO2_OK : head_of(f, rows, x);
    return s ? s : head_of(f, tensor, x);
}
