/* settings.h: from a caller's options to what a run is: defaults filled in, or the run's own values and no differences.
 */
#ifndef ZO2_ENGINE_RUN_SETTINGS_H
#define ZO2_ENGINE_RUN_SETTINGS_H

#include "engine/model/arch.h"
#include "engine/model/layout.h"
#include "kernels/backend.h"
#include "storage/run/journal.h"

/* The options of a caller, whose struct may be shorter or longer, or only zeroed; NULL: the defaults. 0: its struct_size was
 * not set. */
int zo2_engine_opts_take(zo2_engine_opts *own, const zo2_engine_opts *o);

/* run NULL: a new run, unset fields get defaults. Otherwise unset fields are the run's and others must be equal:
 * ZO2_ERR_MISMATCH names the setting and both values. ZO2_ERR_ARG for values out of range. backend: the one in use. */
zo2_status zo2_settings_resolve(zo2_run_settings *out, const zo2_engine_opts *o, const zo2_run_settings *run,
                                const zo2_arch *a, uint64_t model_hash, const zo2_backend_ops *backend);

/* A choice of tensors as settings have it: NULL where that is all of them. */
const char *zo2_tune_or_all(const char *tune);

/* Is K of a new run with these options to be what their write budget has room for (zo2_plan_budget_pending())? */
static inline int zo2_wants_budget_pending(const zo2_engine_opts *o)
{
    return o->write_budget && o->spill_dirs && o->spill_count && o->pending < 0;
}

static inline zo2_wires zo2_settings_wires(const zo2_run_settings *s)
{
    return (zo2_wires){.moving = s->wire, .frozen = s->frozen_wire};
}

/* The settings as options; fields that a run doesn't fix stay as they are. */
void zo2_settings_to_opts(const zo2_run_settings *s, zo2_engine_opts *o);

/* Can this version replay steps of a run with these settings, on a pack with this model hash? ZO2_ERR_UNSUPPORTED: noise or decay
 * set of another version. ZO2_ERR_MISMATCH: they are of another model; both hashes are named. what, name: "the run in", DIR. */
zo2_status zo2_settings_check_replay(const zo2_run_settings *s, const char *what, const char *name);
zo2_status zo2_settings_check_model(const zo2_run_settings *s, const char *what, const char *name, uint64_t model_hash,
                                    const char *pack_path);

#endif
