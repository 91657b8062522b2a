/* export_opts.c: see export_opts.h. */
#include "engine/export/export_opts.h"
#include "engine/base/opts.h"
#include "engine/model/arch.h"
#include "engine/model/tune.h"
#include "storage/pack/packfile.h"
#include "storage/run/journal.h"

#include <inttypes.h>

void zo2_export_opts_init_sized(zo2_export_opts *o, size_t size)
{
    zo2_export_opts own = {.struct_size = sizeof own, .at_step = -1, .initialised = 1};
    zo2_opts_give(o, size, &own, sizeof own);
}

zo2_status zo2_export_opts_own(zo2_export_opts *own, const zo2_export_opts *o, const char *call)
{
    zo2_export_opts_init(own);
    if (!zo2_opts_take(own, sizeof *own, o))
        return zo2_error(ZO2_ERR_ARG, "%s: struct_size is not set: use zo2_export_opts_init()", call);
    if (!own->initialised && !own->at_step) /* only zeroed */
        own->at_step = -1;
    return ZO2_OK;
}

zo2_status zo2_export_check_layers(const zo2_packfile *pack, const char *path)
{
    if (zo2_packfile_header(pack)->aliased)
        return zo2_error(ZO2_ERR_UNSUPPORTED,
                         "%s stores one layer for all, so the weights of a run on it mean nothing and aren't exported",
                         path);
    return ZO2_OK;
}

zo2_status zo2_export_arch(zo2_arch *arch, const zo2_arch *model, const zo2_run_settings *set)
{
    zo2_arch_free(arch);
    zo2_status s = zo2_arch_tune(arch, model, set ? set->tune : NULL, set && set->tune_rotate);
    arch->lora_seed = set ? set->seed : 0;
    return s;
}

zo2_status zo2_export_steps(int64_t at_step, uint64_t have, const char *what, const char *name, uint64_t *steps)
{
    if (at_step >= 0 && (uint64_t)at_step > have)
        return zo2_error(ZO2_ERR_ARG, "%s %s has %" PRIu64 " steps; there is no step %" PRId64 " to export at", what,
                         name, have, at_step);
    *steps = at_step < 0 ? have : (uint64_t)at_step;
    return ZO2_OK;
}
