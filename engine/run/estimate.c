/* estimate.c: zo2_plan_estimate() and zo2_plan_for_device(): the engine's own plan for an architecture, with predicted times:
 * by rates measured here, or given. */
#include "engine/base/clock.h"
#include "engine/base/finish.h"
#include "engine/base/opts.h"
#include "engine/families/families.h"
#include "engine/measure/rates.h"
#include "engine/model/arch.h"
#include "engine/model/layout.h"
#include "engine/model/tune.h"
#include "engine/pack/dropped.h"
#include "engine/plan/plan.h"
#include "engine/plan/plan_types.h"
#include "engine/run/settings.h"
#include "kernels/backend.h"
#include "storage/pack/packfile.h"

#include <math.h>
#include <stdlib.h>

#define PROBE_SECONDS 5.0
#define SPILL_PART    0.4 /* of them, for the directories of a spill */

/* The null backend computes nothing, and a plan may be made for a device that isn't here. */
static int can_measure(const zo2_backend_ops *ops)
{
    return ops->kind != ZO2_BACKEND_NULL && (!ops->usable || !ops->usable());
}

/* Which tensors share memory; and a run that the pack lacks source bits for is no plan. */
static zo2_status ask_pack(const char *pack, const zo2_arch *a, zo2_wires wires, int read_only, uint32_t **out)
{
    zo2_packfile *file = NULL;
    uint32_t *stored_as = NULL;
    zo2_status s = zo2_packfile_open(&file, pack);
    if (!s && !read_only)
        s = zo2_dropped_check_run(file, a, wires);
    if (!s)
        s = zo2_packfile_aliases(file, &stored_as);
    if (!s)
        s = zo2_arch_aliases(a, stored_as, out);
    free(stored_as);
    zo2_packfile_close(file);
    return s;
}

/* Of an architecture alone: who asks for a wire of frozen matrices gets the plan for a pack that has it (zo2-pack freeze), in its narrow room, which matrices
 * of real models fit into (codec/CODECS.md, "bf12"). */
static void expect_wire(zo2_arch *a, zo2_wire frozen)
{
    for (uint32_t i = 0; i < a->n_tensors && zo2_wire_name(frozen); i++)
        a->tensors[i].stored_wires = a->tensors[i].narrow_wires = 1u << frozen;
}

/* What is asked for: `rates` of a device that isn't here, or NULL. */
typedef struct question {
    const char *function, *arch_or_pack;
    const zo2_device_rates *rates;
} question;

static int is_rate(double v)
{
    return isfinite(v) && v > 0;
}

static zo2_status check_rates(const char *function, const zo2_device_rates *r)
{
    const struct {
        const char *name;
        double value;
        int needed;
    } list[] = {
        {"upload_rate", r->upload_rate, 1},
        {"gemm_rate", r->gemm_rate, 1},
        {"decode_rate", r->decode_rate, 1},
        {"fold_rate", r->fold_rate, 0},
        {"update_rate", r->update_rate, 0},
        {"noise_rate", r->noise_rate, 0},
        {"frozen_decode_rate", r->frozen_decode_rate, 0},
    };
    for (size_t i = 0; i < sizeof list / sizeof *list; i++)
        if (!is_rate(list[i].value) && (list[i].needed || list[i].value != 0))
            return zo2_error(ZO2_ERR_ARG, "%s: %s is %g, which is no speed", function, list[i].name, list[i].value);
    return ZO2_OK;
}

/* The device's rates as given, the host's as given or measured. *known 0: the host's are not to be had. */
static zo2_status given_rates(zo2_rates *out, int *known, const zo2_device_rates *r, const zo2_arch *a,
                              const zo2_shape *shape, double seconds)
{
    zo2_status s = ZO2_OK;
    *out = (zo2_rates){.update_weights = r->update_rate, .noise_weights = r->noise_rate};
    *known = r->update_rate > 0 || seconds > 0;
    if (!(r->update_rate > 0) && seconds > 0)
        s = zo2_measure_host_rates(out, a, shape, seconds);
    out->upload_bytes = r->upload_rate;
    out->flops = r->gemm_rate;
    out->decode_weights = r->decode_rate;
    out->fold_weights = r->fold_rate;
    out->frozen_decode_weights = r->frozen_decode_rate;
    return s;
}

/* A plan alone has no host limit; how masters are spilled depends on the one that a run has. */
static void take_host_limit(zo2_shape *shape, zo2_machine *machine)
{
    if (!shape->spill_dirs || shape->host_bytes)
        return;
    zo2_machine_get(machine);
    shape->host_bytes = machine->host_budget_bytes;
    shape->host_limit = machine->host_limit;
}

static int measures_drives(const zo2_engine_opts *o)
{
    return o->spill_dirs && o->spill_count && !(o->spill_read_rate > 0 && o->spill_write_rate > 0);
}

/* Of one directory: as given, else measured in `seconds`. One that isn't there (yet) has none. */
static zo2_status rates_of_drive(zo2_storage_rates *out, const zo2_engine_opts *o, const char *dir, double seconds)
{
    *out = (zo2_storage_rates){0};
    zo2_status s = measures_drives(o) && seconds > 0 ? zo2_measure_storage_rates(out, dir, 0, seconds) : ZO2_OK;
    if (o->spill_read_rate > 0)
        out->read_bytes = o->spill_read_rate;
    if (o->spill_write_rate > 0)
        out->write_bytes = o->spill_write_rate;
    return s == ZO2_ERR_NOTFOUND ? ZO2_OK : s;
}

/* Chunks go to directories by the rates at which they read, so all of these have read their part at once; the one that writes its
 * part slowest ends last. */
static zo2_status drive_rates(zo2_rates *rates, const zo2_engine_opts *o, double seconds)
{
    double read = 0, slowest = INFINITY, from = zo2_now();
    zo2_status s = ZO2_OK;
    for (uint32_t i = 0; o->spill_dirs && i < o->spill_count && !s; i++) {
        zo2_storage_rates r;
        s = rates_of_drive(&r, o, o->spill_dirs[i], seconds / o->spill_count);
        if (!(r.read_bytes > 0 && r.write_bytes > 0))
            return s; /* nobody knows */
        read += r.read_bytes;
        slowest = fmin(slowest, r.write_bytes / r.read_bytes);
    }
    rates->read_bytes = read;
    rates->write_bytes = read > 0 ? read * slowest : 0;
    if (measures_drives(o))
        rates->seconds += zo2_now() - from;
    return s;
}

static zo2_status make_plan(zo2_full_plan *plan, const question *q, const zo2_engine_opts *opts)
{
    /* The null backend has a GPU's sizes, in every build, and asks no device that happens to be here. */
    const zo2_backend_ops *ops = zo2_backend_get(q->rates ? ZO2_BACKEND_NULL : opts->backend);
    if (!ops)
        return zo2_error(ZO2_ERR_UNSUPPORTED, "the %s backend is not part of this build",
                         zo2_backend_name(opts->backend));
    zo2_arch model = {0}, arch = {0};
    zo2_shape shape;
    zo2_rates rates;
    zo2_machine machine;
    zo2_device *device = NULL;
    uint64_t pack_bytes = 0;
    uint32_t *stored_as = NULL;
    zo2_status s = zo2_arch_load(&model, q->arch_or_pack, &pack_bytes);
    if (!s && !pack_bytes)
        expect_wire(&model, opts->frozen_wire);
    if (!s)
        s = zo2_arch_tune(&arch, &model, opts->tune, opts->tune_rotate != 0);
    if (!s)
        s = zo2_shape_from_opts(&shape, &arch, ops, opts);
    if (!s)
        device = zo2_shape_ask_device(&shape, ops);
    if (!s && pack_bytes)
        s = ask_pack(q->arch_or_pack, &arch, shape.wires, opts->read_only, &stored_as);
    if (!s)
        take_host_limit(&shape, &machine);
    if (!s && zo2_wants_budget_pending(opts))
        s = zo2_plan_budget_pending(&shape.pending, &arch, ops, &shape, stored_as);
    double seconds = isnan(opts->probe_seconds) ? PROBE_SECONDS : opts->probe_seconds;
    double others = measures_drives(opts) ? seconds * (1 - SPILL_PART) : seconds;
    int timed = !s && seconds > 0 && can_measure(ops);
    if (!s && q->rates)
        s = given_rates(&rates, &timed, q->rates, &arch, &shape, others);
    else if (timed)
        s = zo2_measure_rates(&rates, &arch, ops, device, &shape, others);
    if (timed && !s)
        s = drive_rates(&rates, opts, seconds * SPILL_PART);
    if (!s) {
        s = zo2_plan_make(plan, &arch, ops, &shape, stored_as, timed ? &rates : NULL);
        plan->pub.pack_bytes = pack_bytes;
        plan->pub.budget_bytes = shape.device_bytes;
    }
    if (ops->device_close)
        ops->device_close(device);
    free(stored_as);
    zo2_arch_free(&arch);
    zo2_arch_free(&model);
    return s;
}

static zo2_status answer(const question *q, const zo2_engine_opts *o, zo2_plan *out, size_t size)
{
    zo2_full_plan plan = {0};
    zo2_engine_opts opts;
    plan.pub.struct_size = sizeof plan.pub;
    zo2_opts_give(out, size, &plan.pub, sizeof plan.pub);
    if (!zo2_engine_opts_take(&opts, o))
        return zo2_error(ZO2_ERR_ARG, "%s: struct_size is not set; call zo2_engine_opts_init() first", q->function);
    zo2_status s = q->rates ? check_rates(q->function, q->rates) : ZO2_OK;
    if (!s)
        s = make_plan(&plan, q, &opts);
    plan.pub.struct_size = sizeof plan.pub;
    zo2_opts_give(out, size, &plan.pub, sizeof plan.pub);
    return zo2_finish(s);
}

zo2_status zo2_plan_estimate_sized(const char *arch_or_pack, const zo2_engine_opts *o, zo2_plan *out, size_t size)
{
    if (!arch_or_pack || !out)
        return zo2_error(ZO2_ERR_ARG, "zo2_plan_estimate: the architecture and out are needed");
    return answer(&(question){"zo2_plan_estimate", arch_or_pack, NULL}, o, out, size);
}

zo2_status zo2_plan_for_device_sized(const char *arch_or_pack, const zo2_engine_opts *o, const zo2_device_rates *rates,
                                     zo2_plan *out, size_t size)
{
    zo2_device_rates own = {.struct_size = sizeof own};
    if (!arch_or_pack || !out || !rates)
        return zo2_error(ZO2_ERR_ARG, "zo2_plan_for_device: the architecture, rates and out are needed");
    if (!zo2_opts_take(&own, sizeof own, rates))
        return zo2_error(ZO2_ERR_ARG, "zo2_plan_for_device: struct_size of the rates is not set");
    return answer(&(question){"zo2_plan_for_device", arch_or_pack, &own}, o, out, size);
}
