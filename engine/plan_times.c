/* plan_times.c: traffic, predicted times, and proposals. */
#include "engine/plan_internal.h"

#include <math.h>
#include <stdio.h>

#define MOST_PENDING 15u /* proposed: a decode makes K / 2 + 1 noise values */

/* What a step has to do, from shape and architecture. */
typedef struct work {
    double parameters;
    double streamed; /* weights that are decoded, for each query */
    double flops;
    double wire; /* bytes of all wires that go up when they change */
} work;

static work measure(const zo2_arch *a, const zo2_shape *s)
{
    work w = {.parameters = (double)a->parameters};
    double micro = ceil((double)s->batch_tokens / (double)(s->tokens ? s->tokens : 1));
    for (uint32_t i = 0; i < a->n_tensors; i++) {
        const zo2_tensor *t = &a->tensors[i];
        if (!zo2_is_streamed(a, t) && t->rank == 2)
            continue;
        int head = zo2_is_head(a, t);
        double n = (double)t->rows * (double)t->cols;
        w.wire += (double)zo2_tensor_codec(t, s->wire)->wire_bytes(t->rows, t->cols);
        w.streamed += n * (head ? 1 : micro);
        w.flops += 2.0 * n * (double)s->streams * (double)(head ? s->loss_tokens : s->batch_tokens);
    }
    /* scores and values of attention, causal */
    w.flops += 2.0 * (double)s->streams * (double)s->batch_tokens * (double)s->max_keys * a->hidden * a->layers;
    return w;
}

typedef struct times {
    double update, upload, compute;
    double update_noise, compute_noise; /* of them, spent on making z */
} times;

static times predict(const work *w, const zo2_full_plan *p, const zo2_shape *s, const zo2_rates *r, uint32_t pending)
{
    times t;
    double touched = 1.0 / (pending + 1), noise = r->noise_weights > r->update_weights ? r->noise_weights : 0;
    /* Every update takes its noise; memory is passed over once in K + 1 steps. */
    t.update_noise = noise > 0 ? w->parameters * s->queries / noise : 0;
    t.update = noise > 0 ? t.update_noise + w->parameters * (1 / r->update_weights - 1 / noise) * touched
                         : w->parameters * s->queries / r->update_weights;
    double resident = (double)p->device.resident_bytes;
    t.upload = (w->wire - resident + resident * touched) / r->upload_bytes;
    t.compute_noise = w->streamed * s->queries * (pending / 2.0 + 1) / r->decode_weights;
    t.compute = w->flops / r->flops + t.compute_noise;
    return t;
}

static double longest(const times *t)
{
    return fmax(t->update, fmax(t->upload, t->compute));
}

/* K that makes a step shortest, the smaller of equals; worth a twentieth at least. And the distribution: Rademacher's
 * noise costs a fraction, which matters where noise is half of the busiest lane. */
static void propose(zo2_plan *q, const work *w, const zo2_full_plan *p, const zo2_shape *s, const zo2_rates *r)
{
    times now = predict(w, p, s, r, s->pending), best = now;
    q->proposed_pending = s->pending;
    for (uint32_t k = 0; k <= MOST_PENDING; k++) {
        times t = predict(w, p, s, r, k);
        if (longest(&t) < 0.95 * longest(&best)) {
            best = t;
            q->proposed_pending = k;
        }
    }
    q->proposed_seconds = longest(&best);
    double noise = best.update >= best.compute ? best.update_noise : best.compute_noise;
    q->proposed_dist = s->dist;
    if (s->dist == ZO2_GAUSSIAN && best.upload < longest(&best) && noise > 0.5 * longest(&best))
        q->proposed_dist = ZO2_RADEMACHER;
}

void zo2_plan_predict(zo2_full_plan *p, const zo2_arch *a, const zo2_shape *s, const zo2_rates *r)
{
    work w = measure(a, s);
    zo2_plan *q = &p->pub;
    double resident = (double)p->device.resident_bytes;
    q->wire_bytes_per_step = (uint64_t)(w.wire - fmin(w.wire, resident) * s->pending / (s->pending + 1.0));
    /* out after every block but the head, in again before the next */
    q->staged_bytes_per_step = 2 * q->staged_bytes * (a->layers + 1ull);
    if (!r)
        return;
    times t = predict(&w, p, s, r, s->pending);
    q->update_seconds = t.update;
    q->upload_seconds = t.upload;
    q->compute_seconds = t.compute;
    q->seconds_per_step = longest(&t);
    const char *name = q->seconds_per_step == t.compute  ? "compute"
                       : q->seconds_per_step == t.update ? "update"
                                                         : "upload";
    snprintf(q->bottleneck, sizeof q->bottleneck, "%s", name);
    propose(q, &w, p, s, r);
}
