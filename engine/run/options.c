/* options.c: options as they are in force. */
#include "engine/run/session.h"
#include "engine/run/settings.h"

#include <math.h>
#include <string.h>

#define DEFAULT_SNAPSHOT_SECONDS 1800.0

void zo2_engine_resolve_opts(zo2_engine *e)
{
    zo2_engine_opts *o = &e->opts;
    zo2_settings_to_opts(&e->settings, o);
    if (isnan(o->snapshot_seconds))
        o->snapshot_seconds = DEFAULT_SNAPSHOT_SECONDS;
    if (!o->host_bytes) {
        zo2_machine machine;
        zo2_machine_get(&machine);
        o->host_bytes = machine.host_budget_bytes;
        memcpy(e->host_limit, machine.host_limit, sizeof e->host_limit);
    }
}
