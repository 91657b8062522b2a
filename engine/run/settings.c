/* settings.c: see settings.h. */
#include "engine/run/settings.h"
#include "engine/base/opts.h"
#include "engine/model/layout.h"
#include "kernels/backend.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_LR  1e-6
#define DEFAULT_EPS 1e-3

void zo2_engine_opts_init_sized(zo2_engine_opts *o, size_t size)
{
    zo2_engine_opts own = {.struct_size = sizeof own, .warmup = UINT64_MAX, .pending = -1, .at_step = -1};
    own.lr = own.eps = own.weight_decay = own.clip = own.snapshot_seconds = own.probe_seconds = NAN;
    zo2_opts_give(o, size, &own, sizeof own);
}

/* Names are the tools' flags. */
static zo2_status differs(const char *name, const char *run, const char *given)
{
    return zo2_error(
        ZO2_ERR_MISMATCH,
        "setting '%s' differs: the run has %s, this call has %s; leave it out to go on with the run's value, or start a new run",
        name, run, given);
}

/* The fewest digits that read back as the same double: 1e-06, not 9.9999999999999995e-07. text[40]. */
static const char *shortest(char *text, double value)
{
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(text, 40, "%.*g", digits, value);
        if (strtod(text, NULL) == value)
            break;
    }
    return text;
}

static zo2_status take_double(const char *name, double given, double fallback, const double *run, double *out)
{
    if (!run) {
        *out = isnan(given) ? fallback : given;
        return ZO2_OK;
    }
    *out = *run;
    if (isnan(given) || given == *run)
        return ZO2_OK;
    char a[40], b[40];
    return differs(name, shortest(a, *run), shortest(b, given));
}

static zo2_status take_number(const char *name, int is_set, uint64_t given, uint64_t fallback, const uint64_t *run,
                              uint64_t *out)
{
    if (!run) {
        *out = is_set ? given : fallback;
        return ZO2_OK;
    }
    *out = *run;
    if (!is_set || given == *run)
        return ZO2_OK;
    char a[40], b[40];
    snprintf(a, sizeof a, "%llu", (unsigned long long)*run);
    snprintf(b, sizeof b, "%llu", (unsigned long long)given);
    return differs(name, a, b);
}

static zo2_status take_name(const char *name, int given, int fallback, const int *run, const char *(*text)(int),
                            int *out)
{
    if (!run) {
        *out = given ? given : fallback;
        return ZO2_OK;
    }
    *out = *run;
    return !given || given == *run ? ZO2_OK : differs(name, text(*run), text(given));
}

static const char *or_unknown(const char *s)
{
    return s ? s : "an unknown value";
}

static const char *wire_text(int v)
{
    return or_unknown(zo2_wire_name((zo2_wire)v));
}

static const char *dtype_text(int v)
{
    return or_unknown(zo2_dtype_name((zo2_dtype)v));
}

static const char *dist_text(int v)
{
    return or_unknown(zo2_dist_name((zo2_dist)v));
}

static const char *schedule_text(int v)
{
    return or_unknown(zo2_schedule_name((zo2_schedule)v));
}

static const char *backend_text(int v)
{
    return or_unknown(zo2_backend_name((zo2_backend_kind)v));
}

static zo2_status take_names(zo2_run_settings *out, const zo2_engine_opts *o, const zo2_run_settings *run,
                             const zo2_arch *a, const zo2_backend_ops *backend)
{
    int compute = backend->kind == ZO2_BACKEND_CPU ? ZO2_F32 : a->dtype == ZO2_BF16 ? ZO2_BF16 : ZO2_F16;
    struct {
        const char *name;
        int given, fallback, run;
        const char *(*text)(int);
        int value;
    } n[] = {{"lr-schedule", (int)o->schedule, ZO2_CONSTANT, run ? (int)run->schedule : 0, schedule_text, 0},
             {"dist", (int)o->dist, ZO2_GAUSSIAN, run ? (int)run->dist : 0, dist_text, 0},
             {"wire", (int)o->wire, ZO2_WIRE_BF16, run ? (int)run->wire : 0, wire_text, 0},
             {"compute", (int)o->compute, compute, run ? (int)run->compute : 0, dtype_text, 0},
             {"backend", (int)backend->kind, (int)backend->kind, run ? (int)run->backend : 0, backend_text, 0}};
    for (size_t i = 0; i < sizeof n / sizeof *n; i++) {
        zo2_status s = take_name(n[i].name, n[i].given, n[i].fallback, run ? &n[i].run : NULL, n[i].text, &n[i].value);
        if (s)
            return s;
        if (!strcmp(n[i].text(n[i].value), or_unknown(NULL)))
            return zo2_error(ZO2_ERR_ARG, "unknown value %d of setting '%s'", n[i].value, n[i].name);
    }
    out->schedule = (zo2_schedule)n[0].value;
    out->dist = (zo2_dist)n[1].value;
    out->wire = (zo2_wire)n[2].value;
    out->compute = (zo2_dtype)n[3].value;
    out->backend = (zo2_backend_kind)n[4].value;
    return ZO2_OK;
}

static zo2_status take_numbers(zo2_run_settings *out, const zo2_engine_opts *o, const zo2_run_settings *run)
{
    uint64_t queries = 0, pending = 0, micro = 0;
    uint64_t run_queries = run ? run->queries : 0, run_pending = run ? run->pending : 0,
             run_micro = run ? run->micro_batch : 0;
    zo2_status s = take_number("seed", o->seed_set || o->seed, o->seed, 0, run ? &run->seed : NULL, &out->seed);
    if (!s)
        s = take_number("warmup", o->warmup != UINT64_MAX, o->warmup, 0, run ? &run->warmup : NULL, &out->warmup);
    if (!s)
        s = take_number("queries", o->queries != 0, o->queries, 1, run ? &run_queries : NULL, &queries);
    if (!s)
        s = take_number("pending", o->pending >= 0, (uint64_t)(o->pending < 0 ? 0 : o->pending), 0,
                        run ? &run_pending : NULL, &pending);
    if (!s)
        s = take_number("micro-batch", o->micro_batch != 0, o->micro_batch, UINT32_MAX, run ? &run_micro : NULL,
                        &micro);
    out->queries = (uint32_t)queries;
    out->pending = (uint32_t)pending;
    out->micro_batch = (uint32_t)micro;
    if (s)
        return s;
    if (queries > ZO2_MAX_QUERIES)
        return zo2_error(ZO2_ERR_ARG, "%llu queries a step: at most %d", (unsigned long long)queries, ZO2_MAX_QUERIES);
    if (pending > ZO2_MAX_PENDING)
        return zo2_error(ZO2_ERR_ARG, "%llu pending updates: at most %d", (unsigned long long)pending, ZO2_MAX_PENDING);
    /* A constant schedule has no end, so its run may grow. */
    out->total_steps = 0;
    if (out->schedule != ZO2_CONSTANT)
        s = take_number("steps", o->total_steps != 0, o->total_steps, ZO2_DEFAULT_STEPS, run ? &run->total_steps : NULL,
                        &out->total_steps);
    return s;
}

static zo2_status take_doubles(zo2_run_settings *out, const zo2_engine_opts *o, const zo2_run_settings *run)
{
    zo2_status s = take_double("lr", o->lr, DEFAULT_LR, run ? &run->lr : NULL, &out->lr);
    if (!s)
        s = take_double("eps", o->eps, DEFAULT_EPS, run ? &run->eps : NULL, &out->eps);
    if (!s)
        s = take_double("weight-decay", o->weight_decay, 0, run ? &run->weight_decay : NULL, &out->weight_decay);
    if (!s)
        s = take_double("clip", o->clip, 0, run ? &run->clip : NULL, &out->clip);
    if (s)
        return s;
    if (!isfinite(out->lr) || out->lr < 0 || !isfinite(out->weight_decay) || out->weight_decay < 0 ||
        !isfinite(out->clip) || out->clip < 0)
        return zo2_error(ZO2_ERR_ARG, "lr, weight-decay and clip must be finite and not negative");
    if (!isfinite(out->eps) || !((float)out->eps > 0))
        return zo2_error(ZO2_ERR_ARG, "eps is %g: as an fp32 number it must be finite and above 0", out->eps);
    return ZO2_OK;
}

zo2_status zo2_settings_resolve(zo2_run_settings *out, const zo2_engine_opts *o, const zo2_run_settings *run,
                                const zo2_arch *a, uint64_t model_hash, const zo2_backend_ops *backend)
{
    memset(out, 0, sizeof *out);
    out->model_hash = model_hash;
    out->noise_version = ZO2_NOISE_VERSION;
    out->tile_rule = ZO2_TILE_RULE;
    out->decay_set = ZO2_DECAY_SET;
    if (run && run->model_hash != model_hash)
        return zo2_error(ZO2_ERR_MISMATCH,
                         "the run was made from another model: its model hash is 0x%016llx, the pack's 0x%016llx",
                         (unsigned long long)run->model_hash, (unsigned long long)model_hash);
    if (run &&
        (run->noise_version != ZO2_NOISE_VERSION || run->tile_rule != ZO2_TILE_RULE || run->decay_set != ZO2_DECAY_SET))
        return zo2_error(ZO2_ERR_UNSUPPORTED,
                         "the run was made by another version of zo2 (noise %u, tiles %u, decay set %u)",
                         run->noise_version, run->tile_rule, run->decay_set);
    zo2_status s = take_names(out, o, run, a, backend);
    if (!s)
        s = take_numbers(out, o, run);
    return s ? s : take_doubles(out, o, run);
}
