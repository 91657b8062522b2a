/* options.c: options as they are in force, and the host budget of an engine that is given none. */
#include "engine/run/session.h"
#include "engine/run/settings.h"

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

void zo2_engine_resolve_opts(zo2_engine *e)
{
    zo2_engine_opts *o = &e->opts;
    zo2_settings_to_opts(&e->settings, o);
    if (isnan(o->snapshot_seconds))
        o->snapshot_seconds = DEFAULT_SNAPSHOT_SECONDS;
    if (!o->host_bytes)
        o->host_bytes = zo2_host_budget_bytes();
}
