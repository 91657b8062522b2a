/* wire_advice.c: see wire_advice.h. */
#include "tools/plan/wire_advice.h"

#include <string.h>

#define SHORTER 0.95 /* of a step, or it isn't worth a word */

/* What the other wire is to do, and the option that it is for. */
typedef struct search {
    const char *model;
    const gpu_flags *gpu;
    const zo2_engine_opts *opts;
    const zo2_plan *now;
    bool host, frozen; /* masters in RAM, else wires on the device; of matrices that don't move, else of all */
} search;

static zo2_wire planned_wire(const search *s)
{
    const zo2_wire wire = s->opts->wire ? s->opts->wire : ZO2_WIRE_BF16;
    return s->frozen && s->opts->frozen_wire ? s->opts->frozen_wire : wire;
}

/* Sizes alone are planned fast. For times, speeds that don't depend on the wire aren't measured again. */
static zo2_status plan_with(zo2_plan *out, const search *s, zo2_wire wire, bool timed)
{
    zo2_engine_opts o = *s->opts;
    gpu_target target;
    *out = (zo2_plan){.struct_size = sizeof *out};
    if (!timed)
        o.probe_seconds = 0;
    if (s->frozen) {
        o.frozen_wire = wire;
    } else {
        o.wire = wire;
        o.frozen_wire = 0;
    }
    if (o.spill_count && s->now->read_rate > 0 && s->now->write_rate > 0) {
        o.spill_read_rate = s->now->read_rate / o.spill_count;
        o.spill_write_rate = s->now->write_rate / o.spill_count;
    }
    if (!s->gpu->gpu.given)
        return zo2_plan_estimate(s->model, &o, out);
    zo2_status status = gpu_find(&target, s->gpu, &o);
    if (!status && (!timed || (s->frozen && !(target.rates.update_rate > 0)))) {
        target.rates.update_rate = timed ? s->now->update_rate : 0;
        target.rates.noise_rate = timed ? s->now->noise_rate : 0;
    }
    return status ? status : gpu_plan(out, s->model, &target, &o);
}

static bool is_there(const search *s, const zo2_plan *p)
{
    return s->host ? !p->read_bytes_per_step && !p->written_bytes_per_step : p->resident_whole != 0;
}

/* Of wires that don't move the one that takes most room loses least; masters with less room are those whose wire is a part of them. */
static bool is_better(const search *s, const zo2_plan *p, const zo2_plan *than)
{
    if (!than->parameters)
        return true;
    if (s->host && !s->frozen)
        return p->master_bytes < than->master_bytes;
    return s->host ? p->frozen_bytes > than->frozen_bytes : p->resident_bytes > than->resident_bytes;
}

/* bf12 and i4 are for what nothing moves: the bf16 wire, packed, and one that is searched for. */
static bool is_candidate(const search *s, zo2_wire wire)
{
    return wire != planned_wire(s) && (s->frozen || (wire != ZO2_WIRE_BF12 && wire != ZO2_WIRE_I4));
}

static bool is_shorter(const zo2_plan *now, const zo2_plan *then)
{
    if (cli_plan_seconds(now) > 0 && cli_plan_seconds(then) > 0)
        return cli_plan_seconds(then) < SHORTER * cli_plan_seconds(now);
    return cli_plan_wire_bytes(then) < cli_plan_wire_bytes(now) || then->read_bytes_per_step < now->read_bytes_per_step;
}

/* Newer wires come first: of equal sizes they lose less. */
static void find(cli_wire_advice *out, const search *s)
{
    int last = 0;
    memset(out, 0, sizeof *out);
    out->option = s->frozen ? "--frozen-wire" : "--wire";
    while (zo2_wire_name((zo2_wire)(last + 1)))
        last++;
    for (int wire = last; wire > 0; wire--) {
        zo2_plan p;
        if (is_candidate(s, (zo2_wire)wire) && plan_with(&p, s, (zo2_wire)wire, false) == ZO2_OK && is_there(s, &p) &&
            is_better(s, &p, &out->plan)) {
            out->plan = p;
            out->wire = (zo2_wire)wire;
        }
    }
    if (out->plan.parameters && cli_plan_seconds(s->now) > 0 && plan_with(&out->plan, s, out->wire, true) != ZO2_OK)
        memset(&out->plan, 0, sizeof out->plan);
    if (out->plan.parameters && !is_shorter(s->now, &out->plan))
        memset(&out->plan, 0, sizeof out->plan);
}

/* What doesn't move first: it loses nothing that training would have to make good. */
static void find_for(cli_wire_advice *out, search s)
{
    if (is_there(&s, s.now))
        return;
    if (s.now->frozen_bytes) {
        s.frozen = true;
        find(out, &s);
    }
    if (!out->plan.parameters) {
        s.frozen = false;
        find(out, &s);
    }
}

void wire_advice_find(cli_wire_advices *out, const char *model, const gpu_flags *gpu, const zo2_engine_opts *o,
                      const zo2_plan *now)
{
    const search s = {.model = model, .gpu = gpu, .opts = o, .now = now};
    memset(out, 0, sizeof *out);
    if (now->budget_bytes)
        find_for(&out->device, s);
    if (now->spill_bytes) {
        search host = s;
        host.host = true;
        find_for(&out->host, host);
    }
}
