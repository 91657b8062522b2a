/* shape.c: from a caller's options to the shape that a plan depends on. */
#include "engine/base/machine.h"
#include "engine/method/method.h"
#include "engine/method/probe.h"
#include "engine/model/arch.h"
#include "engine/model/layout.h"
#include "engine/plan/plan.h"
#include "engine/plan/plan_types.h"
#include "engine/plan/tiers.h"
#include "kernels/backend.h"

#include <string.h>

zo2_dtype zo2_default_compute(const zo2_arch *a, const zo2_backend_ops *be)
{
    return be->kind == ZO2_BACKEND_CPU ? ZO2_F32 : a->dtype == ZO2_BF16 ? ZO2_BF16 : ZO2_F16;
}

/* The pool's. Beside a device the threads that enqueue computing and uploads keep a CPU each: held up by updates, they would hold up
 * the device. */
static uint32_t default_threads(const zo2_backend_ops *be)
{
    const uint32_t lanes = be->kind == ZO2_BACKEND_CPU ? 0 : 2, cpus = zo2_usable_cpus();
    return cpus > lanes ? cpus - lanes : 1;
}

/* A setting that changes nothing would be one that somebody relies on in vain. */
static zo2_status check_wires(const zo2_arch *a, zo2_wires wires)
{
    int frozen = 0;
    for (uint32_t i = 0; i < a->n_tensors; i++)
        frozen = frozen || (a->tensors[i].frozen && !a->tensors[i].exempt);
    if (!zo2_wire_name(wires.frozen))
        return zo2_error(ZO2_ERR_ARG, "unknown value %d of setting 'frozen-wire'", (int)wires.frozen);
    if (frozen || wires.frozen == wires.moving)
        return ZO2_OK;
    return zo2_error(ZO2_ERR_ARG,
                     "setting 'frozen-wire': %s is for matrices that don't move, and of this run all do; leave it out, "
                     "or choose with 'tune' what moves",
                     zo2_wire_name(wires.frozen));
}

zo2_status zo2_shape_from_opts(zo2_shape *out, const zo2_arch *a, const zo2_backend_ops *be, const zo2_engine_opts *o)
{
    memset(out, 0, sizeof *out);
    uint64_t seq = o->max_seq ? o->max_seq : a->context, rows = o->max_rows ? o->max_rows : 16;
    if (seq > a->context)
        return zo2_error(ZO2_ERR_ARG, "sequences of %llu tokens are longer than the model's context of %u%s",
                         (unsigned long long)seq, a->context,
                         a->context < a->positions
                             ? ", which is the window of its attention: this version knows no longer ones"
                             : "");
    if (rows > 1u << 24)
        return zo2_error(ZO2_ERR_ARG, "a batch of %llu rows is absurd: at most 16,777,216", (unsigned long long)rows);
    uint64_t micro = o->max_rows_micro && o->max_rows_micro < rows ? o->max_rows_micro : rows;
    out->queries = o->queries ? o->queries : 1;
    out->dist = o->dist ? o->dist : ZO2_GAUSSIAN;
    out->pending = o->pending > 0 ? (uint32_t)o->pending : 0;
    zo2_probe_plan probes;
    if (o->read_only)
        zo2_probe_unperturbed(&probes);
    else
        zo2_method_get()->probes(out->queries, 0, &probes);
    out->streams = probes.streams;
    out->groups = zo2_probe_groups(&probes);
    out->panels = zo2_probe_panels(&probes);
    uint64_t used = seq > 1 ? seq - 1 : 1;
    out->tokens = micro * used;
    out->batch_tokens = rows * used;
    out->micro_batched = micro < rows || (o->micro_batch && o->micro_batch != UINT32_MAX);
    uint64_t most = rows * used;
    out->loss_tokens = o->max_loss_tokens && o->max_loss_tokens < most ? o->max_loss_tokens : most;
    most = micro * used;
    out->loss_micro = out->loss_tokens < most ? out->loss_tokens : most;
    out->max_keys = used;
    out->seq = seq;
    out->wires = zo2_one_wire(o->wire ? o->wire : ZO2_WIRE_BF16);
    if (o->frozen_wire)
        out->wires.frozen = o->frozen_wire;
    zo2_status s = check_wires(a, out->wires);
    if (s)
        return s;
    out->compute = o->compute ? o->compute : zo2_default_compute(a, be);
    out->tile_rule = o->tile_rule ? o->tile_rule : ZO2_TILE_RULE;
    out->threads = o->threads ? o->threads : default_threads(be);
    out->chunk_bytes = o->chunk_bytes;
    out->device_bytes = o->device_bytes;
    out->host_bytes = o->host_bytes;
    out->host_limit = NULL;
    out->spill_dirs = o->spill_dirs ? o->spill_count : 0;
    out->write_budget = o->write_budget;
    out->context_bytes = be->context_bytes;
    out->turns = (zo2_turns){.groups = a->groups, .steps = o->tune_rotate};
    out->trunk_row = zo2_has_trunk(a) ? (o->trunk_type == ZO2_BF16 ? 2ull : 4ull) * a->hidden : 0;
    out->trunk_cache = zo2_has_trunk(a) ? o->trunk_cache : 0;
    return ZO2_OK;
}

zo2_device *zo2_shape_ask_device(zo2_shape *shape, const zo2_backend_ops *be)
{
    zo2_device *device = NULL;
    zo2_device_info info;
    if (!be->device_open || be->device_open(&device, &info))
        return NULL;
    shape->context_bytes = info.context_bytes;
    if (!shape->device_bytes)
        shape->device_bytes = info.free_bytes / 10 * 9;
    return device;
}
