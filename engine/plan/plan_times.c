/* plan_times.c: traffic and predicted times. */
#include "engine/model/arch.h"
#include "engine/plan/plan_internal.h"
#include "engine/plan/plan_types.h"
#include "engine/plan/plan_work.h"
#include "engine/plan/tiers.h"

#include <math.h>
#include <stdio.h>

/* Of a decode into two panels at W + eps z and W - eps z, one into a single panel at W alone: a bf16 wire is read and one panel written
 * instead of two. An assumption, nothing is measured of it; noise, which it doesn't make, is not counted as saved. */
#define PLAIN_DECODE (2.0 / 3)

/* Bytes of residual streams that go out to host memory in a step, and as many come back. */
static double staged_bytes(const zo2_full_plan *p, const zo2_work *w)
{
    return (double)p->pub.staged_bytes * w->staged_blocks;
}

/* A wire that stays on the device is uploaded once in K + 1 steps if its turn is among them, and a frozen one once and for all. */
static double wire_traffic(const zo2_work *w, const zo2_full_plan *p, const zo2_shape *s, uint32_t pending)
{
    double resident = fmin(w->moving, (double)p->resident.moving);
    double stays = pending + 1.0 - zo2_turns_part(&s->turns, pending);
    double frozen = fmax(w->frozen - (double)p->resident.frozen, 0) + fmax(w->trunk - (double)p->resident.trunk, 0);
    return w->moving - resident * stays / (pending + 1.0) + frozen;
}

double zo2_times_beside(const zo2_times *t)
{
    return fmax(fmax(t->update, t->upload), t->read + t->write);
}

static const char *bottleneck_of(const zo2_times *t)
{
    double beside = zo2_times_beside(t);
    if (t->compute >= beside)
        return "compute";
    if (t->update >= beside)
        return "update";
    if (t->upload >= beside)
        return "upload";
    return t->read >= t->write ? "read" : "write";
}

/* From the directories of a spill, where the trunk's cache is, too. */
static double bytes_read(const zo2_tiers *t, const zo2_shape *s, const zo2_work *w, uint32_t pending, int filled)
{
    double masters = zo2_tiers_read(t, pending);
    return filled ? masters - (double)t->trunk_read + (s->trunk_cache ? w->cached : 0) : masters;
}

zo2_times zo2_plan_times(const zo2_full_plan *p, const zo2_arch *a, const zo2_shape *s, const zo2_rates *r,
                         uint32_t pending, int filled)
{
    zo2_work w = zo2_plan_work(a, s, filled);
    zo2_times t;
    double touched = zo2_turns_part(&s->turns, pending) / (pending + 1),
           noise = r->noise_weights > r->update_weights ? r->noise_weights : 0;
    /* Every update takes its noise; memory is passed over once in K + 1 steps. */
    t.update_noise = noise > 0 ? w.updated * s->queries / noise : 0;
    t.update = noise > 0 ? t.update_noise + (double)a->moving * (1 / r->update_weights - 1 / noise) * touched
                         : w.updated * s->queries / r->update_weights;
    t.upload = (wire_traffic(&w, p, s, pending) + staged_bytes(p, &w) + w.cached) / r->upload_bytes;
    /* A decode folds K / 2 updates on average, each with the noise of all queries of its step, beside its own query's. */
    double fold = 1 / (r->fold_weights > 0 ? r->fold_weights : r->decode_weights);
    double folds = pending / 2.0 * s->queries / a->groups;
    double decode = 1 / r->decode_weights + folds * fold;
    double decoded = w.perturbed * s->groups;
    t.compute_noise = decoded * fmin(decode, (folds + 1) * fold) + w.late * folds * fold;
    double frozen = r->frozen_decode_weights > 0 ? r->frozen_decode_weights : r->decode_weights;
    double plain = PLAIN_DECODE * (w.late / r->decode_weights + (w.plain - w.late) / frozen);
    t.compute = w.flops / r->flops + decoded * decode + plain + w.late * folds * fold;
    const zo2_tiers *tiers = &zo2_plan_spill(p, pending)->tiers;
    t.read = r->read_bytes > 0 ? bytes_read(tiers, s, &w, pending, filled) / r->read_bytes : 0;
    t.write = r->write_bytes > 0 ? zo2_tiers_written(tiers, pending) / r->write_bytes : 0;
    t.step = fmax(t.compute, zo2_times_beside(&t));
    if (r->shared) /* an upload is a copy by one thread */
        t.step = fmax(t.step, t.update + t.compute + t.upload / (s->threads ? s->threads : 1));
    return t;
}

static void predict_spill(zo2_full_plan *p, uint32_t pending)
{
    const zo2_spill_plan *spill = zo2_plan_spill(p, pending);
    zo2_plan *q = &p->pub;
    q->ram_master_bytes = spill->tiers.ram_bytes;
    q->ram_wire_bytes = spill->tiers.wire_bytes;
    q->spill_buffer_bytes = spill->buffer_bytes;
    q->spilled_bytes = spill->tiers.disk_bytes;
    q->read_bytes_per_step = (uint64_t)zo2_tiers_read(&spill->tiers, pending);
    q->written_bytes_per_step = (uint64_t)zo2_tiers_written(&spill->tiers, pending);
}

void zo2_plan_predict(zo2_full_plan *p, const zo2_arch *a, const zo2_shape *s, const zo2_rates *r)
{
    zo2_work w = zo2_plan_work(a, s, 0), filled = zo2_plan_work(a, s, 1);
    zo2_plan *q = &p->pub;
    q->wire_bytes_per_step = (uint64_t)wire_traffic(&w, p, s, s->pending);
    q->wire_bytes_per_step_filled = (uint64_t)wire_traffic(&filled, p, s, s->pending);
    q->trunk_bytes_per_step = (uint64_t)filled.cached;
    q->staged_bytes_per_step = (uint64_t)(2 * staged_bytes(p, &w));
    q->pending = s->pending;
    if (s->spill_dirs)
        predict_spill(p, s->pending);
    if (!r)
        return;
    zo2_times t = zo2_plan_times(p, a, s, r, s->pending, 0), filled_times = zo2_plan_times(p, a, s, r, s->pending, 1);
    q->update_seconds = t.update;
    q->upload_seconds = t.upload;
    q->compute_seconds = t.compute;
    q->seconds_per_step = t.step;
    q->read_seconds = t.read;
    q->write_seconds = t.write;
    q->read_rate = r->read_bytes;
    q->write_rate = r->write_bytes;
    snprintf(q->bottleneck, sizeof q->bottleneck, "%s", bottleneck_of(&t));
    q->seconds_per_step_filled = filled_times.step;
    snprintf(q->bottleneck_filled, sizeof q->bottleneck_filled, "%s", bottleneck_of(&filled_times));
    q->probe_seconds = r->seconds;
    q->update_rate = r->update_weights;
    q->noise_rate = r->noise_weights;
    q->upload_rate = r->upload_bytes;
    q->decode_rate = r->decode_weights;
    q->fold_rate = r->fold_weights;
    q->gemm_rate = r->flops;
}
