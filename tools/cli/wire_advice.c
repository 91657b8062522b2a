/* wire_advice.c: see wire_advice.h. */
#include "tools/cli/wire_advice.h"

#include <stdio.h>
#include <string.h>

#define SHORTER 0.95 /* of a step, or it isn't worth a word */

/* What the other wire is to do. */
typedef enum aim_of {
    ON_DEVICE, /* the wires stay on the device */
    IN_RAM,    /* the masters have room in RAM */
    FITTING    /* the budgets are kept */
} aim_of;

/* And the option that it is for. */
typedef struct search {
    const cli_wire_search *asked;
    aim_of aim;
    bool frozen; /* of matrices that don't move, else of all */
} search;

static zo2_wire planned_wire(const search *s)
{
    const zo2_engine_opts *o = s->asked->opts;
    const zo2_wire wire = o->wire ? o->wire : ZO2_WIRE_BF16;
    return s->frozen && o->frozen_wire ? o->frozen_wire : wire;
}

static zo2_status plan_here(const char *model, zo2_engine_opts *o, const zo2_plan *timed, zo2_plan *out)
{
    if (!timed)
        o->probe_seconds = 0;
    return zo2_plan_estimate(model, o, out);
}

/* Sizes alone are planned fast. */
static zo2_status plan_with(zo2_plan *out, const search *s, zo2_wire wire, bool timed)
{
    const cli_wire_search *a = s->asked;
    zo2_engine_opts o = *a->opts;
    *out = (zo2_plan){.struct_size = sizeof *out};
    if (s->frozen) {
        o.frozen_wire = wire;
    } else {
        o.wire = wire;
        o.frozen_wire = 0;
    }
    if (o.spill_count && a->now->read_rate > 0 && a->now->write_rate > 0) {
        o.spill_read_rate = a->now->read_rate / o.spill_count;
        o.spill_write_rate = a->now->write_rate / o.spill_count;
    }
    return a->plan ? a->plan(a->ud, &o, timed ? a->now : NULL, out)
                   : plan_here(a->model, &o, timed ? a->now : NULL, out);
}

static bool is_there(const search *s, const zo2_plan *p)
{
    switch (s->aim) {
    case ON_DEVICE: return p->resident_whole != 0;
    case IN_RAM: return !p->read_bytes_per_step && !p->written_bytes_per_step;
    default: return true; /* it was planned */
    }
}

/* RAM is short, for what moves: masters with less room are those whose wire is a part of them, and of these the shorter. */
static bool is_smaller(const zo2_plan *p, const zo2_plan *than)
{
    return p->master_bytes == than->master_bytes ? p->wire_bytes_per_step < than->wire_bytes_per_step
                                                 : p->master_bytes < than->master_bytes;
}

static bool ram_is_short(const search *s)
{
    const zo2_engine_opts *o = s->asked->opts;
    return s->aim == IN_RAM || (s->aim == FITTING && o->host_bytes && s->asked->now->host_min_bytes > o->host_bytes);
}

/* The wire that takes most room loses least. */
static bool is_better(const search *s, const zo2_plan *p, const zo2_plan *than)
{
    if (!than->parameters)
        return true;
    if (s->aim == ON_DEVICE)
        return p->resident_bytes > than->resident_bytes;
    if (s->frozen)
        return p->frozen_bytes > than->frozen_bytes;
    return ram_is_short(s) ? is_smaller(p, than) : p->wire_bytes_per_step > than->wire_bytes_per_step;
}

/* bf12 and i4 are for what nothing moves: the bf16 wire, packed, and one that is searched for. */
static bool is_candidate(const search *s, zo2_wire wire)
{
    return wire != planned_wire(s) && (s->frozen || (wire != ZO2_WIRE_BF12 && wire != ZO2_WIRE_I4));
}

/* Newer wires come first: of equal sizes they lose less. */
static void find_sizes(cli_wire_advice *out, const search *s)
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
}

static bool is_shorter(const zo2_plan *now, const zo2_plan *then)
{
    if (cli_plan_seconds(now) > 0 && cli_plan_seconds(then) > 0)
        return cli_plan_seconds(then) < SHORTER * cli_plan_seconds(now);
    return cli_plan_wire_bytes(then) < cli_plan_wire_bytes(now) || then->read_bytes_per_step < now->read_bytes_per_step;
}

/* Its times, too, where those of the plan are known; nothing is left of one that takes as long. */
static void weigh(cli_wire_advice *out, const search *s)
{
    const zo2_plan *now = s->asked->now;
    if (out->plan.parameters && cli_plan_seconds(now) > 0 && plan_with(&out->plan, s, out->wire, true) != ZO2_OK)
        memset(&out->plan, 0, sizeof out->plan);
    if (out->plan.parameters && !is_shorter(now, &out->plan))
        memset(&out->plan, 0, sizeof out->plan);
}

/* What doesn't move first: it loses nothing that training would have to make good. */
static void find_for(cli_wire_advice *out, const cli_wire_search *asked, aim_of aim)
{
    search s = {.asked = asked, .aim = aim};
    const bool fits = aim != FITTING;
    if (fits && is_there(&s, asked->now))
        return;
    for (int frozen = asked->now->frozen_bytes != 0; frozen >= 0 && !out->plan.parameters; frozen--) {
        s.frozen = frozen != 0;
        find_sizes(out, &s);
        if (fits)
            weigh(out, &s);
    }
}

void cli_wire_advice_find(cli_wire_advices *out, const cli_wire_search *s)
{
    memset(out, 0, sizeof *out);
    if (s->now->budget_bytes)
        find_for(&out->device, s, ON_DEVICE);
    if (s->now->spill_bytes)
        find_for(&out->host, s, IN_RAM);
}

void cli_wire_advice_fit(cli_wire_advice *out, const cli_wire_search *s)
{
    char text[1024];
    snprintf(text, sizeof text, "%s", zo2_last_error());
    memset(out, 0, sizeof *out);
    find_for(out, s, FITTING);
    zo2_error(ZO2_ERR_NOMEM, "%s", text); /* planning has changed it */
}
