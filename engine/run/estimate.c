/* estimate.c: zo2_plan_estimate(): the engine's own plan for an architecture, with predicted times. */
#include "engine/base/finish.h"
#include "engine/base/opts.h"
#include "engine/families/families.h"
#include "engine/measure/rates.h"
#include "engine/model/arch.h"
#include "engine/plan/plan.h"
#include "engine/plan/plan_types.h"
#include "engine/run/settings.h"
#include "kernels/backend.h"
#include "storage/pack/packfile.h"

#include <math.h>
#include <stdlib.h>

#define PROBE_SECONDS 5.0

/* The null backend computes nothing, and a plan may be made for a device that isn't here. */
static int can_measure(const zo2_backend_ops *ops)
{
    return ops->kind != ZO2_BACKEND_NULL && (!ops->usable || !ops->usable());
}

static zo2_status find_aliases(const char *pack, uint32_t **out)
{
    zo2_packfile *file = NULL;
    zo2_status s = zo2_packfile_open(&file, pack);
    if (!s)
        s = zo2_packfile_aliases(file, out);
    zo2_packfile_close(file);
    return s;
}

zo2_status zo2_plan_estimate_sized(const char *arch_or_pack, const zo2_engine_opts *o, zo2_plan *out, size_t size)
{
    if (!arch_or_pack || !out)
        return zo2_error(ZO2_ERR_ARG, "zo2_plan_estimate: the architecture and out are needed");
    zo2_full_plan plan = {0};
    zo2_engine_opts opts;
    plan.pub.struct_size = sizeof plan.pub;
    zo2_opts_give(out, size, &plan.pub, sizeof plan.pub);
    if (!zo2_engine_opts_take(&opts, o))
        return zo2_error(ZO2_ERR_ARG, "zo2_plan_estimate: struct_size is not set; call zo2_engine_opts_init() first");
    const zo2_backend_ops *ops = zo2_backend_get(opts.backend);
    if (!ops)
        return zo2_error(ZO2_ERR_UNSUPPORTED, "the %s backend is not part of this build",
                         zo2_backend_name(opts.backend));
    zo2_arch arch = {0};
    zo2_shape shape;
    zo2_rates rates;
    uint64_t pack_bytes = 0;
    uint32_t *stored_as = NULL;
    zo2_status s = zo2_arch_load(&arch, arch_or_pack, &pack_bytes);
    if (!s)
        s = zo2_shape_from_opts(&shape, &arch, ops, &opts);
    if (!s && pack_bytes)
        s = find_aliases(arch_or_pack, &stored_as);
    double seconds = isnan(opts.probe_seconds) ? PROBE_SECONDS : opts.probe_seconds;
    int timed = !s && seconds > 0 && can_measure(ops);
    if (timed)
        s = zo2_measure_rates(&rates, &arch, ops, &shape, seconds);
    if (!s) {
        s = zo2_plan_make(&plan, &arch, ops, &shape, stored_as, timed ? &rates : NULL);
        plan.pub.pack_bytes = pack_bytes;
        zo2_opts_give(out, size, &plan.pub, sizeof plan.pub);
    }
    free(stored_as);
    zo2_arch_free(&arch);
    return zo2_finish(s);
}
