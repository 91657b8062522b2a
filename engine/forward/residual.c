/* residual.c: where the residual stream of a micro-batch is. Usually all of them are on the device for the whole pass.
 * When the budget is short, the plan gives room for two and the others wait in host memory: while one is worked on, the
 * stage lane brings the one before it out and the next one in. The compute lane and the host wait for nothing but that.
 *
 * A pass takes turns: turn k is one block's work on micro-batch k mod M, in buffer k mod 2. When turn k is over, the
 * stage lane takes its stream out and brings that of turn k + 2 into the same buffer, in that order. M >= 3, so turn
 * k + 2's stream was taken out earlier, on the same lane. */
#include "engine/base/clock.h"
#include "engine/forward/batch.h"
#include "engine/forward/forward.h"
#include "engine/stream/trace.h"
#include "kernels/backend.h"

static uint32_t micros_of(const zo2_forward_pass *f)
{
    return f->micro_to - f->micro_from;
}

/* Two streams fit the two buffers for good. */
static int moves(const zo2_forward_pass *f)
{
    return f->device->staged && micros_of(f) > 2;
}

static uint8_t *buffer(const zo2_forward_pass *f, uint64_t turn)
{
    return f->arena + f->device->residual + turn % 2 * f->device->residual_stride;
}

/* Of what a turn leaves: before the fork it is one stream. */
static uint64_t bytes_after(const zo2_forward_pass *f, const zo2_micro *m, uint64_t turn)
{
    uint32_t streams = f->first_block + turn / micros_of(f) < f->fork ? 1 : f->forked->streams;
    return (uint64_t)streams * m->tokens * f->arch->hidden * 4;
}

/* Where a micro-batch's streams begin, in a region with room for all of them. */
static uint64_t place_of(const zo2_forward_pass *f, const zo2_micro *m)
{
    uint64_t before = m->token_at - f->batch->micro[f->micro_from].token_at;
    return (uint64_t)f->forked->streams * before * f->arch->hidden * 4;
}

static uint8_t *waiting_at(const zo2_forward_pass *f, const zo2_micro *m)
{
    return f->residual + place_of(f, m);
}

static const zo2_micro *micro_of(const zo2_forward_pass *f, uint64_t turn)
{
    return &f->batch->micro[f->micro_from + turn % micros_of(f)];
}

static zo2_act stream_at(const zo2_forward_pass *f, const zo2_micro *m, uint8_t *p)
{
    return (zo2_act){.p = p, .ld = f->arch->hidden, .stride = m->tokens * f->arch->hidden, .type = ZO2_F32};
}

zo2_status zo2_residual_take(zo2_forward_pass *f, const zo2_micro *m, zo2_act *h)
{
    if (moves(f)) {
        *h = stream_at(f, m, buffer(f, f->turn));
        if (f->turn < 2)
            return ZO2_OK;
        return f->be->ops->wait(f->be, ZO2_LANE_COMPUTE, f->staged[f->turn % 2]);
    }
    if (f->device->staged)
        *h = stream_at(f, m, buffer(f, (uint64_t)(m - &f->batch->micro[f->micro_from])));
    else /* a pass over one micro-batch of several (evaluation) has the region to itself */
        *h = stream_at(f, m, f->arena + f->device->residual + place_of(f, m));
    return ZO2_OK;
}

static void stage_span(const zo2_forward_pass *f, const char *name, uint64_t bytes, uint64_t begin)
{
    zo2_trace_what what = {.lane = zo2_track_name(ZO2_TRACK_STAGE),
                           .name = name,
                           .step = f->pass->step,
                           .chunk = -1,
                           .tile = -1,
                           .bytes = bytes};
    if (f->trace)
        zo2_trace_span(f->trace, &what, begin, zo2_clock_ns());
}

static zo2_status take_out(zo2_forward_pass *f, uint64_t turn)
{
    const zo2_micro *m = micro_of(f, turn);
    uint64_t begin = zo2_trace_begin(f->trace), bytes = bytes_after(f, m, turn);
    zo2_status s = f->be->ops->download(f->be, ZO2_LANE_STAGE, waiting_at(f, m), buffer(f, turn), bytes);
    stage_span(f, "download", bytes, begin);
    return s;
}

static zo2_status bring_in(zo2_forward_pass *f, uint64_t turn)
{
    const zo2_micro *m = micro_of(f, turn);
    uint64_t begin = zo2_trace_begin(f->trace), bytes = bytes_after(f, m, turn - micros_of(f));
    zo2_status s = f->be->ops->upload(f->be, ZO2_LANE_STAGE, buffer(f, turn), waiting_at(f, m), bytes);
    stage_span(f, "upload", bytes, begin);
    return s;
}

zo2_status zo2_residual_give(zo2_forward_pass *f)
{
    const zo2_backend_ops *ops = f->be->ops;
    uint64_t turn = f->turn++, M = micros_of(f);
    if (!moves(f))
        return ZO2_OK;
    zo2_status s = ops->record(f->be, ZO2_LANE_COMPUTE, f->computed[turn % 2]);
    if (!s)
        s = ops->wait(f->be, ZO2_LANE_STAGE, f->computed[turn % 2]);
    if (!s && turn + M < f->turns) /* not in the last block: it only reads */
        s = take_out(f, turn);
    if (!s && turn + 2 >= M && turn + 2 < f->turns) /* the first block makes the streams */
        s = bring_in(f, turn + 2);
    return s ? s : ops->record(f->be, ZO2_LANE_STAGE, f->staged[turn % 2]);
}
