/* options.c: options as they are in force. */
#include "engine/model/tune.h"
#include "engine/plan/plan.h"
#include "engine/plan/plan_types.h"
#include "engine/run/session.h"
#include "engine/run/settings.h"
#include "kernels/backend.h"
#include "storage/pack/packfile.h"
#include "storage/run/journal.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_SNAPSHOT_SECONDS 1800.0

static void take_host_limit(zo2_engine *e)
{
    if (e->opts.host_bytes)
        return;
    zo2_machine machine;
    zo2_machine_get(&machine);
    e->opts.host_bytes = machine.host_budget_bytes;
    memcpy(e->host_limit, machine.host_limit, sizeof e->host_limit);
}

zo2_status zo2_engine_tune(zo2_engine *e, const zo2_run_settings *run)
{
    const zo2_engine_opts *o = &e->opts;
    const char *tune = run ? run->tune : zo2_tune_or_all(o->tune);
    /* Without a run nothing moves, and matrices that are there as a wire alone can only stay as they are. */
    if (!run && !tune && o->read_only && zo2_packfile_header(e->pack->file)->dropped)
        tune = "vectors";
    e->tune = tune ? strdup(tune) : NULL;
    if (tune && !e->tune)
        return zo2_error(ZO2_ERR_NOMEM, "no memory for the choice of tensors");
    zo2_status s = zo2_arch_tune(&e->arch, &e->pack->arch, e->tune, (run ? run->tune_rotate : o->tune_rotate) != 0);
    e->arch.lora_seed = run ? run->seed : o->seed;
    return s;
}

zo2_status zo2_engine_aliases(const zo2_engine *e, uint32_t **out)
{
    uint32_t *stored_as = NULL;
    zo2_status s = zo2_packfile_aliases(e->pack->file, &stored_as);
    if (!s)
        s = zo2_arch_aliases(&e->arch, stored_as, out);
    free(stored_as);
    return s;
}

void zo2_engine_resolve_opts(zo2_engine *e)
{
    zo2_engine_opts *o = &e->opts;
    e->settings.tune = e->tune; /* the journal that has it may be closed */
    zo2_settings_to_opts(&e->settings, o);
    if (isnan(o->snapshot_seconds))
        o->snapshot_seconds = DEFAULT_SNAPSHOT_SECONDS;
    take_host_limit(e);
}

zo2_status zo2_engine_budget_pending(zo2_engine *e, const zo2_backend_ops *ops)
{
    if (!zo2_wants_budget_pending(&e->opts))
        return ZO2_OK;
    zo2_shape shape;
    uint32_t *stored_as = NULL, pending;
    take_host_limit(e); /* where the masters live, and so what is written, depends on it */
    zo2_status s = zo2_shape_from_opts(&shape, &e->arch, ops, &e->opts);
    if (!s)
        s = zo2_engine_aliases(e, &stored_as);
    if (!s)
        s = zo2_plan_budget_pending(&pending, &e->arch, ops, &shape, stored_as);
    free(stored_as);
    if (s)
        return s;
    e->opts.pending = (int32_t)pending;
    char text[120];
    snprintf(text, sizeof text, "%" PRIu32 " pending updates keep the write budget of %" PRIu64 " bytes a step",
             pending, e->opts.write_budget);
    zo2_engine_say(e, ZO2_LOG_INFO, text);
    return ZO2_OK;
}
