/* options.c: options as they are in force, and the host budget of an engine that is given none. */
#include "engine/run/session.h"
#include "kernels/backend.h"
#include "storage/run/journal.h"

#include <math.h>
#include <stdio.h>

#define DEFAULT_SNAPSHOT_SECONDS 1800.0

uint64_t zo2_host_budget_bytes(void)
{
    unsigned long long kib = 0;
    char line[128];
    FILE *f = fopen("/proc/meminfo", "re");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "MemAvailable: %llu kB", &kib) == 1)
            break;
    if (f)
        fclose(f);
    return kib * 1024 / 10 * 9;
}

/* Options as they are in force: what zo2_engine_get_opts() shows. */
void zo2_engine_resolve_opts(zo2_engine *e, const zo2_backend_ops *ops)
{
    zo2_engine_opts *o = &e->opts;
    const zo2_run_settings *s = &e->settings;
    o->seed = s->seed;
    o->seed_set = 1;
    o->lr = s->lr;
    o->eps = s->eps;
    o->weight_decay = s->weight_decay;
    o->clip = s->clip;
    o->warmup = s->warmup;
    if (s->schedule != ZO2_CONSTANT)
        o->total_steps = s->total_steps;
    o->schedule = s->schedule;
    o->dist = s->dist;
    o->queries = s->queries;
    o->pending = (int32_t)s->pending;
    o->micro_batch = s->micro_batch;
    o->wire = s->wire;
    o->compute = s->compute;
    o->backend = ops->kind;
    if (isnan(o->snapshot_seconds))
        o->snapshot_seconds = DEFAULT_SNAPSHOT_SECONDS;
    if (!o->host_bytes)
        o->host_bytes = zo2_host_budget_bytes();
}
