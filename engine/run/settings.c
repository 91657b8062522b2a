/* settings.c: see settings.h. */
#include "engine/run/settings.h"
#include "engine/base/opts.h"
#include "engine/model/layout.h"
#include "engine/plan/plan.h"
#include "kernels/backend.h"
#include "storage/run/settings_list.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Zero leaves most fields unset, and the others are set below; but 0.0 is a value of its own. */
#define UNSET_F64(field) field = NAN;
#define UNSET_U64(field)
#define UNSET_U32(field)
#define UNSET_ENUM(field)
#define UNSET_FIRST UNSET_ENUM

void zo2_engine_opts_init_sized(zo2_engine_opts *o, size_t size)
{
    zo2_engine_opts own = {
        .struct_size = sizeof own, .warmup = UINT64_MAX, .pending = -1, .at_step = -1, .initialised = 1};
    own.snapshot_seconds = own.probe_seconds = NAN;
#define UNSET(field, type, kind, ...) UNSET_##kind(own.field)
    ZO2_RUN_SETTINGS(UNSET)
#undef UNSET
    zo2_opts_give(o, size, &own, sizeof own);
}

/* Of a struct that was only zeroed: 0 where it would be a value of its own. */
static void set_markers(zo2_engine_opts *o)
{
    zo2_engine_opts unset;
    zo2_engine_opts_init(&unset);
    double *const numbers[] = {&o->lr, &o->eps, &o->weight_decay, &o->clip, &o->snapshot_seconds, &o->probe_seconds};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        if (*numbers[i] == 0)
            *numbers[i] = NAN;
    o->warmup = o->warmup ? o->warmup : unset.warmup;
    o->pending = o->pending ? o->pending : unset.pending;
    o->at_step = o->at_step ? o->at_step : unset.at_step;
    o->initialised = 1;
}

int zo2_engine_opts_take(zo2_engine_opts *own, const zo2_engine_opts *o)
{
    zo2_engine_opts_init(own);
    if (!zo2_opts_take(own, sizeof *own, o))
        return 0;
    if (!own->initialised)
        set_markers(own);
    return 1;
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

/* ---- one setting of each kind: the run's value, the caller's or the fallback ---- */

static zo2_status take_F64(const char *name, int set, double given, double fallback, const double *run, double *out)
{
    char a[40], b[40];
    *out = run ? *run : set ? given : fallback;
    if (!run || !set || given == *run)
        return ZO2_OK;
    return differs(name, shortest(a, *run), shortest(b, given));
}

static zo2_status take_U64(const char *name, int set, uint64_t given, uint64_t fallback, const uint64_t *run,
                           uint64_t *out)
{
    char a[40], b[40];
    *out = run ? *run : set ? given : fallback;
    if (!run || !set || given == *run)
        return ZO2_OK;
    snprintf(a, sizeof a, "%llu", (unsigned long long)*run);
    snprintf(b, sizeof b, "%llu", (unsigned long long)given);
    return differs(name, a, b);
}

static zo2_status take_U32(const char *name, int set, uint32_t given, uint32_t fallback, const uint32_t *run,
                           uint32_t *out)
{
    uint64_t run_value = run ? *run : 0, value = 0;
    zo2_status s = take_U64(name, set, given, fallback, run ? &run_value : NULL, &value);
    *out = (uint32_t)value;
    return s;
}

static const char *or_unknown(const char *text)
{
    return text ? text : "an unknown value";
}

/* run and given: names of the values, NULL for unknown ones. */
static zo2_status take_ENUM(const char *name, int set, int has_run, int same, int value, const char *run,
                            const char *given, const char *taken)
{
    if (has_run && set && !same)
        return differs(name, or_unknown(run), or_unknown(given));
    return taken ? ZO2_OK : zo2_error(ZO2_ERR_ARG, "unknown value %d of setting '%s'", value, name);
}

#define TAKE_F64(field, name, set, fallback, text) \
    take_F64(name, set, o->field, fallback, run ? &run->field : NULL, &s->field)
#define TAKE_U64(field, name, set, fallback, text) \
    take_U64(name, set, o->field, fallback, run ? &run->field : NULL, &s->field)
#define TAKE_U32(field, name, set, fallback, text) \
    take_U32(name, set, (uint32_t)o->field, fallback, run ? &run->field : NULL, &s->field)
/* Enumerations have types of their own, so this one assigns by itself. */
#define TAKE_ENUM(field, name, set, fallback, text)                                                    \
    (s->field = run     ? run->field                                                                   \
                : (set) ? o->field                                                                     \
                        : (fallback),                                                                  \
     take_ENUM(name, set, run != NULL, run && run->field == o->field, (int)s->field,                   \
               run ? zo2_##text##_name(run->field) : NULL, (set) ? zo2_##text##_name(o->field) : NULL, \
               zo2_##text##_name(s->field)))

/* As enumerations. */
#define TAKE_FIRST TAKE_ENUM

/* A choice may list every row of a vocabulary; a message shows where it begins. */
#define SHOWN 80

const char *zo2_tune_or_all(const char *tune)
{
    return tune && strcmp(tune, "all") != 0 ? tune : NULL;
}

static zo2_status take_tune(const char **out, const char *given, const zo2_run_settings *run)
{
    const char *asked = zo2_tune_or_all(given);
    *out = run ? run->tune : asked;
    if (!run || !given || (!asked && !run->tune) || (asked && run->tune && strcmp(asked, run->tune) == 0))
        return ZO2_OK;
    char a[SHOWN], b[SHOWN];
    snprintf(a, sizeof a, "%s", run->tune ? run->tune : "all");
    snprintf(b, sizeof b, "%s", asked ? asked : "all");
    return differs("tune", a, b);
}

static zo2_status take_all(zo2_run_settings *s, const zo2_engine_opts *o, const zo2_run_settings *run,
                           zo2_dtype compute)
{
    zo2_status status;
#define TAKE(field, type, kind, name, valid, fault, set, fallback, text)    \
    if ((status = TAKE_##kind(field, name, set, fallback, text)) != ZO2_OK) \
        return status;
    ZO2_RUN_SETTINGS(TAKE)
#undef TAKE
    return ZO2_OK;
}

/* What a caller may ask for; a run's own values have been checked with its journal. */
static zo2_status check_values(const zo2_run_settings *s)
{
    if (s->queries > ZO2_MAX_QUERIES)
        return zo2_error(ZO2_ERR_ARG, "%u queries a step: at most %d", s->queries, ZO2_MAX_QUERIES);
    if (s->pending > ZO2_MAX_PENDING)
        return zo2_error(ZO2_ERR_ARG, "%u pending updates: at most %d", s->pending, ZO2_MAX_PENDING);
    if (!isfinite(s->eps) || !((float)s->eps > 0))
        return zo2_error(ZO2_ERR_ARG, "eps is %g: as an fp32 number it must be finite and above 0", s->eps);
#define CHECK(field, type, kind, name, valid, fault, ...) \
    if (!(valid))                                         \
        return zo2_error(ZO2_ERR_ARG, "setting '%s': %s", name, fault);
    ZO2_RUN_SETTINGS(CHECK)
#undef CHECK
    return ZO2_OK;
}

void zo2_settings_to_opts(const zo2_run_settings *s, zo2_engine_opts *o)
{
    uint64_t total_steps = o->total_steps;
#define GIVE(field, ...) o->field = s->field;
    ZO2_RUN_SETTINGS(GIVE)
#undef GIVE
    if (s->frozen_wire == s->wire) /* whatever the caller makes of `wire` then */
        o->frozen_wire = 0;
    o->seed_set = 1;
    o->tile_rule = s->tile_rule;
    o->tune = s->tune;
    if (s->schedule == ZO2_CONSTANT) /* not part of the run, which may grow: the caller's, if he gave one */
        o->total_steps = total_steps;
}

zo2_status zo2_settings_check_replay(const zo2_run_settings *s, const char *what, const char *name)
{
    if (s->noise_version != ZO2_NOISE_VERSION || s->decay_set != ZO2_DECAY_SET)
        return zo2_error(ZO2_ERR_UNSUPPORTED,
                         "%s %s has noise version %u and decay set %u; this version of zo2 replays %d and %d only",
                         what, name, s->noise_version, s->decay_set, ZO2_NOISE_VERSION, ZO2_DECAY_SET);
    return ZO2_OK;
}

zo2_status zo2_settings_check_model(const zo2_run_settings *s, const char *what, const char *name, uint64_t model_hash,
                                    const char *pack_path)
{
    if (s->model_hash != model_hash)
        return zo2_error(ZO2_ERR_MISMATCH,
                         "%s %s was made from another model: its model hash is %016llx, that of %s is %016llx", what,
                         name, (unsigned long long)s->model_hash, pack_path, (unsigned long long)model_hash);
    return ZO2_OK;
}

zo2_status zo2_settings_resolve(zo2_run_settings *out, const zo2_engine_opts *o, const zo2_run_settings *run,
                                const zo2_arch *a, uint64_t model_hash, const zo2_backend_ops *backend)
{
    memset(out, 0, sizeof *out);
    out->model_hash = model_hash;
    out->noise_version = ZO2_NOISE_VERSION;
    out->tile_rule = run ? run->tile_rule : o->tile_rule ? o->tile_rule : ZO2_TILE_RULE;
    out->decay_set = ZO2_DECAY_SET;
    if (run && run->model_hash != model_hash)
        return zo2_error(ZO2_ERR_MISMATCH,
                         "the run was made from another model: its model hash is 0x%016llx, the pack's 0x%016llx",
                         (unsigned long long)run->model_hash, (unsigned long long)model_hash);
    if (run && (run->noise_version != ZO2_NOISE_VERSION || !run->tile_rule || run->tile_rule > ZO2_TILE_RULE ||
                run->decay_set != ZO2_DECAY_SET))
        return zo2_error(ZO2_ERR_UNSUPPORTED,
                         "the run was made by another version of zo2 (noise %u, tiles %u, decay set %u)",
                         run->noise_version, run->tile_rule, run->decay_set);
    uint32_t unused;
    zo2_status s = take_U32("tile_rule", o->tile_rule != 0, o->tile_rule, 0, run ? &run->tile_rule : NULL, &unused);
    if (s)
        return s;
    if (out->tile_rule > ZO2_TILE_RULE)
        return zo2_error(ZO2_ERR_ARG, "tile rule %u: this version knows 1 to %u", out->tile_rule, ZO2_TILE_RULE);
    zo2_engine_opts given = *o;
    given.backend = backend->kind;
    s = take_all(out, &given, run, zo2_default_compute(a, backend));
    if (!s)
        s = take_tune(&out->tune, o->tune, run);
    return s ? s : check_values(out);
}
