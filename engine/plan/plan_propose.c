/* plan_propose.c: which settings would make a step shorter, or use it better. Nothing of it is applied: they are a run's
 * own, and change what is trained. */
#include "engine/model/arch.h"
#include "engine/plan/plan_internal.h"
#include "engine/plan/plan_types.h"
#include "kernels/backend.h"

#include <math.h>

#define MOST_PENDING 15u  /* proposed: a decode folds K / 2 updates; more where each saves writes to drives */
#define WORTH        0.95 /* a step must be a twentieth shorter */
#define MOST_GROWTH  256u /* times the batch that was asked for */

/* A way to take steps. */
typedef struct way {
    uint64_t micro; /* rows */
    uint32_t pending;
    zo2_times t;
} way;

typedef struct search {
    const zo2_arch *a;
    const zo2_backend_ops *be;
    const zo2_shape *s;
    const uint32_t *stored_as;
    const zo2_rates *r;
    uint64_t rows;
    int filled; /* steps of a run that keeps the trunk's rows have them soon */
} search;

static uint64_t micro_of(const zo2_shape *s)
{
    return s->tokens / s->max_keys;
}

/* The plan of other numbers of rows; *fits: within both budgets (streams that wait take host memory). */
static zo2_status plan_of(const search *x, const zo2_shape *s, zo2_full_plan *p, int *fits)
{
    zo2_status status = zo2_plan_place(p, x->a, x->be, s, x->stored_as, fits);
    if (s->host_bytes && p->pub.host_peak_bytes > s->host_bytes)
        *fits = 0;
    return status;
}

/* The K that makes steps with this plan shortest. */
static void try_pendings(const search *x, const zo2_full_plan *p, const zo2_shape *s, way *best)
{
    const uint32_t most = s->spill_dirs ? ZO2_MAX_PENDING : MOST_PENDING;
    for (uint32_t k = 0; k <= most; k++) {
        if (s->write_budget && zo2_plan_written(p, k) > (double)s->write_budget)
            continue;
        zo2_times t = zo2_plan_times(p, x->a, s, x->r, k, x->filled);
        if (t.step < WORTH * best->t.step)
            *best = (way){.micro = micro_of(s), .pending = k, .t = t};
    }
}

static zo2_status try_micro(const search *x, uint64_t micro, way *best)
{
    zo2_shape s = zo2_shape_resized(x->s, x->rows, micro);
    zo2_full_plan p;
    int fits;
    if (micro == micro_of(x->s)) /* its plan is there, and was tried */
        return ZO2_OK;
    zo2_status status = plan_of(x, &s, &p, &fits);
    if (!status && fits)
        try_pendings(x, &p, &s, best);
    return status;
}

/* The largest that fits, then all rows, half of them, and so on: larger ones decode less often, smaller ones leave room
 * for wires that stay. */
static zo2_status try_micros(const search *x, way *best)
{
    uint64_t largest = zo2_plan_largest_micro(x->a, x->be, x->s, x->rows);
    zo2_status status = largest ? try_micro(x, largest, best) : ZO2_OK;
    for (uint64_t parts = 1; parts < 2 * x->rows && !status; parts *= 2) {
        uint64_t micro = (x->rows + parts - 1) / parts;
        if (micro < largest)
            status = try_micro(x, micro, best);
    }
    return status;
}

/* Half of the time that is worth something goes into making noise. */
static int noise_bound(const search *x, const zo2_times *t)
{
    if (x->r->shared)
        return t->update_noise + t->compute_noise > 0.5 * t->step;
    if (fmax(t->upload, t->read + t->write) >= fmax(t->update, t->compute))
        return 0;
    return (t->update >= t->compute ? t->update_noise : t->compute_noise) > 0.5 * t->step;
}

/* What a step of `rows` rows takes at the way's K in the largest micro-batch that fits; *micro 0: none does. */
static zo2_status time_of_rows(const search *x, const way *like, uint64_t rows, uint64_t *micro, zo2_times *t)
{
    zo2_full_plan p;
    int fits;
    *micro = x->s->device_bytes       ? zo2_plan_largest_micro(x->a, x->be, x->s, rows)
             : like->micro == x->rows ? rows
                                      : like->micro;
    if (!*micro)
        return ZO2_OK;
    zo2_shape s = zo2_shape_resized(x->s, rows, *micro);
    zo2_status status = plan_of(x, &s, &p, &fits);
    *t = zo2_plan_times(&p, x->a, &s, x->r, like->pending, x->filled);
    if (!fits)
        *micro = 0;
    return status;
}

/* Doubles the batch until computing takes as long as what doesn't depend on it, then meets between. */
static zo2_status propose_batch(const search *x, const way *best, zo2_plan *q)
{
    uint64_t low = x->rows, high = 0, micro;
    zo2_times t = best->t;
    /* Lanes that share the host's cores gain by a larger batch as long as computing isn't most of a step. */
    if (t.compute >= WORTH * zo2_times_beside(&t))
        return ZO2_OK;
    zo2_status status = ZO2_OK;
    while (!status && !high && 2 * low <= MOST_GROWTH * x->rows && 2 * low <= 1u << 24) {
        status = time_of_rows(x, best, 2 * low, &micro, &t);
        if (status || !micro || t.compute > zo2_times_beside(&t))
            high = 2 * low;
        else
            low *= 2;
    }
    while (!status && high > low + 1) {
        uint64_t middle = low + (high - low) / 2;
        status = time_of_rows(x, best, middle, &micro, &t);
        if (!micro || t.compute > zo2_times_beside(&t))
            high = middle;
        else
            low = middle;
    }
    if (status || low == x->rows)
        return status;
    status = time_of_rows(x, best, low, &micro, &t);
    q->proposed_batch = (uint32_t)low;
    q->proposed_batch_micro = (uint32_t)micro;
    q->proposed_batch_seconds = t.step;
    return status;
}

zo2_status zo2_plan_propose(zo2_full_plan *p, const zo2_arch *a, const zo2_backend_ops *be, const zo2_shape *s,
                            const uint32_t *stored_as, const zo2_rates *r)
{
    search x = {.a = a,
                .be = be,
                .s = s,
                .stored_as = stored_as,
                .r = r,
                .rows = s->batch_tokens / s->max_keys,
                .filled = s->trunk_cache != 0};
    way best = {.micro = micro_of(s), .pending = s->pending, .t = zo2_plan_times(p, a, s, r, s->pending, x.filled)};
    zo2_plan *q = &p->pub;
    int fits = !s->device_bytes || q->device_peak_bytes <= s->device_bytes;
    zo2_status status = ZO2_OK;
    if (fits)
        try_pendings(&x, p, s, &best);
    else
        best.t.step = INFINITY; /* whatever fits is better */
    if (s->device_bytes)
        status = try_micros(&x, &best);
    if (status)
        return status;
    if (isinf(best.t.step)) { /* not even one row fits */
        best.micro = 0;
        best.t = zo2_plan_times(p, a, s, r, s->pending, x.filled);
    }
    q->proposed_pending = best.pending;
    q->proposed_seconds = best.t.step;
    q->proposed_micro_batch = s->device_bytes ? (uint32_t)best.micro : 0;
    q->proposed_dist = s->dist == ZO2_GAUSSIAN && noise_bound(&x, &best.t) ? ZO2_RADEMACHER : s->dist;
    return fits ? propose_batch(&x, &best, q) : ZO2_OK;
}
