/* plan.c: see plan.h. The whole plan, and what is said when a budget is too small for it. */
#include "engine/plan/plan.h"
#include "engine/masters/masters.h"
#include "engine/model/arch.h"
#include "engine/model/layout.h"
#include "engine/model/wire_size.h"
#include "engine/plan/plan_internal.h"
#include "engine/plan/plan_types.h"
#include "kernels/backend.h"

#include <stdio.h>
#include <string.h>

static zo2_status too_small(const char *what, uint64_t have, uint64_t need, const char *within)
{
    const int in_gib = (have > need ? have : need) >> 30 != 0;
    const double unit = in_gib ? 1 << 30 : 1 << 20;
    const char *name = in_gib ? "GiB" : "MiB";
    return zo2_error(ZO2_ERR_NOMEM,
                     "the %s budget of %llu bytes (%.2f %s) is too small: the smallest that works with these settings "
                     "is %llu bytes (%.2f %s)%s",
                     what, (unsigned long long)have, (double)have / unit, name, (unsigned long long)need,
                     (double)need / unit, name, within);
}

static zo2_status host_too_small(const zo2_shape *s, uint64_t need)
{
    char advice[360] = "";
    if (s->host_limit)
        snprintf(advice, sizeof advice, "; the budget is 90 %% of what %s leaves", s->host_limit);
    return too_small("host", s->host_bytes, need, advice);
}

/* Counts rows, as a caller of the library does; how many lines of a data file those are, and which options set them, is the
 * tools' to say (tools/cli/fit_advice.h). */
static zo2_status device_too_small(const zo2_arch *a, const zo2_backend_ops *be, const zo2_shape *s, uint64_t need)
{
    char within[120];
    uint64_t rows = s->batch_tokens / s->max_keys, micro = zo2_plan_largest_micro(a, be, s, rows);
    uint64_t batch = micro ? 0 : zo2_plan_largest_batch(a, be, s, rows);
    snprintf(within, sizeof within, "; even one row of %llu tokens is too much for it", (unsigned long long)s->seq);
    if (micro)
        snprintf(within, sizeof within, "; within it, micro-batches of up to %llu row%s work",
                 (unsigned long long)micro, micro == 1 ? "" : "s");
    else if (batch > 1)
        snprintf(within, sizeof within, "; within it, batches of up to %llu rows in micro-batches of one row work",
                 (unsigned long long)batch);
    else if (batch)
        snprintf(within, sizeof within, "; within it, a batch of one row works");
    return too_small("device", s->device_bytes, need, within);
}

/* fp32 values of what moves and has storage of its own, and room for the table. */
static uint64_t snapshot_bytes(const zo2_arch *a, const uint32_t *stored_as)
{
    uint64_t values = 0;
    for (uint32_t i = 0; i < a->n_tensors; i++)
        if (!a->tensors[i].frozen && (!stored_as || stored_as[i] == i))
            values += a->tensors[i].rows * a->tensors[i].cols;
    return 4 * values + (1u << 20);
}

/* Of the masters: what doesn't move, which is wires alone. */
static uint64_t frozen_bytes(const zo2_arch *a, zo2_wires wires, const uint32_t *stored_as)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < a->n_tensors; i++)
        if (a->tensors[i].frozen && (!stored_as || stored_as[i] == i))
            bytes += zo2_tensor_wire_room(&a->tensors[i], wires, a->tensors[i].rows);
    return bytes;
}

static void say_what_moves(zo2_plan *q, const zo2_arch *a, const zo2_shape *s, const uint32_t *stored_as)
{
    q->layers = a->layers;
    q->tuned_parameters = a->moving;
    q->trunk_blocks = a->fork;
    q->frozen_bytes = frozen_bytes(a, s->wires, stored_as);
    q->trunk_bytes_per_token = s->trunk_row;
    q->trunk_cache_bytes = s->trunk_cache;
}

zo2_status zo2_plan_make(zo2_full_plan *out, const zo2_arch *a, const zo2_backend_ops *be, const zo2_shape *s,
                         const uint32_t *stored_as, const zo2_rates *rates)
{
    int fits;
    zo2_status status = zo2_plan_place(out, a, be, s, stored_as, &fits);
    if (status)
        return status;
    out->pub.parameters = a->parameters;
    out->pub.threads = s->threads;
    out->pub.compute = s->compute;
    out->pub.tokens = s->tokens / s->max_keys * s->seq;
    out->pub.batch_tokens = s->batch_tokens / s->max_keys * s->seq;
    out->pub.master_bytes = zo2_masters_estimate(a, s->wires, stored_as);
    out->pub.snapshot_bytes = snapshot_bytes(a, stored_as);
    say_what_moves(&out->pub, a, s, stored_as);
    out->pub.journal_bytes_per_step = 48 + 48ull * s->queries;
    zo2_plan_predict(out, a, s, rates);
    if (rates)
        status = zo2_plan_propose(out, a, be, s, stored_as, rates);
    if (status)
        return status;
    if (!fits)
        return device_too_small(a, be, s, out->pub.device_min_bytes);
    if (s->host_bytes && out->pub.host_peak_bytes > s->host_bytes)
        return host_too_small(s, out->pub.host_min_bytes);
    return ZO2_OK;
}
