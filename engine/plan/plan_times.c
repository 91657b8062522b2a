/* plan_times.c: traffic and predicted times. */
#include "engine/model/arch.h"
#include "engine/model/wire_size.h"
#include "engine/plan/plan_internal.h"
#include "engine/plan/plan_types.h"
#include "engine/plan/tiers.h"

#include <math.h>
#include <stdio.h>

/* What a step has to do, from shape and architecture. */
typedef struct work {
    double parameters;
    double streamed; /* weights that are decoded, for each query */
    double flops;
    double wire; /* bytes of all wires that are uploaded when they change */
} work;

static work work_of(const zo2_arch *a, const zo2_shape *s)
{
    work w = {.parameters = (double)a->parameters};
    double micro = ceil((double)s->batch_tokens / (double)(s->tokens ? s->tokens : 1));
    for (uint32_t i = 0; i < a->n_tensors; i++) {
        const zo2_tensor *t = &a->tensors[i];
        if (!zo2_is_streamed(a, t) && !zo2_is_vector(t))
            continue;
        int head = zo2_is_head(a, t);
        double n = (double)t->rows * (double)t->cols;
        w.wire += (double)zo2_tensor_wire_room(t, s->wire, t->rows);
        w.streamed += n * (head ? 1 : micro);
        w.flops += 2.0 * n * (double)s->streams * (double)(head ? s->loss_tokens : s->batch_tokens);
    }
    /* scores and values of attention, causal */
    w.flops += 2.0 * (double)s->streams * (double)s->batch_tokens * (double)s->max_keys *
               (double)zo2_attention_columns(a) * a->layers;
    return w;
}

/* Bytes of residual streams that go out to host memory in a step, and as many come back: after every block but the
 * head. */
static double staged_bytes(const zo2_full_plan *p, const zo2_arch *a)
{
    return (double)p->pub.staged_bytes * (a->layers + 1.0);
}

/* A wire that stays on the device is uploaded once in K + 1 steps. */
static double wire_traffic(const work *w, const zo2_full_plan *p, uint32_t pending)
{
    double resident = fmin(w->wire, (double)p->device.resident_bytes);
    return w->wire - resident * pending / (pending + 1.0);
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

zo2_times zo2_plan_times(const zo2_full_plan *p, const zo2_arch *a, const zo2_shape *s, const zo2_rates *r,
                         uint32_t pending)
{
    work w = work_of(a, s);
    zo2_times t;
    double touched = 1.0 / (pending + 1), noise = r->noise_weights > r->update_weights ? r->noise_weights : 0;
    /* Every update takes its noise; memory is passed over once in K + 1 steps. */
    t.update_noise = noise > 0 ? w.parameters * s->queries / noise : 0;
    t.update = noise > 0 ? t.update_noise + w.parameters * (1 / r->update_weights - 1 / noise) * touched
                         : w.parameters * s->queries / r->update_weights;
    t.upload = (wire_traffic(&w, p, pending) + staged_bytes(p, a)) / r->upload_bytes;
    /* A decode folds K / 2 updates on average, each with the noise of all queries of its step, beside its own query's. */
    double fold = 1 / (r->fold_weights > 0 ? r->fold_weights : r->decode_weights), folds = pending / 2.0 * s->queries;
    double decode = 1 / r->decode_weights + folds * fold;
    double decoded = w.streamed * s->groups;
    t.compute_noise = decoded * fmin(decode, (folds + 1) * fold);
    t.compute = w.flops / r->flops + decoded * decode;
    const zo2_tiers *tiers = &zo2_plan_spill(p, pending)->tiers;
    t.read = r->read_bytes > 0 ? zo2_tiers_read(tiers, pending) / r->read_bytes : 0;
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
    work w = work_of(a, s);
    zo2_plan *q = &p->pub;
    q->wire_bytes_per_step = (uint64_t)wire_traffic(&w, p, s->pending);
    q->staged_bytes_per_step = (uint64_t)(2 * staged_bytes(p, a));
    q->pending = s->pending;
    if (s->spill_dirs)
        predict_spill(p, s->pending);
    if (!r)
        return;
    zo2_times t = zo2_plan_times(p, a, s, r, s->pending);
    q->update_seconds = t.update;
    q->upload_seconds = t.upload;
    q->compute_seconds = t.compute;
    q->seconds_per_step = t.step;
    q->read_seconds = t.read;
    q->write_seconds = t.write;
    q->read_rate = r->read_bytes;
    q->write_rate = r->write_bytes;
    snprintf(q->bottleneck, sizeof q->bottleneck, "%s", bottleneck_of(&t));
    q->probe_seconds = r->seconds;
    q->update_rate = r->update_weights;
    q->noise_rate = r->noise_weights;
    q->upload_rate = r->upload_bytes;
    q->decode_rate = r->decode_weights;
    q->fold_rate = r->fold_weights;
    q->gemm_rate = r->flops;
}
