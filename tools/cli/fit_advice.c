/* fit_advice.c: see fit_advice.h. */
#include "tools/cli/fit_advice.h"

#include <inttypes.h>
#include <stdio.h>

#include "tools/cli/numbers.h"
#include "tools/cli/plan_advice.h"
#include "tools/cli/report.h"
#include "tools/cli/wire_advice.h"

#define MIB       (UINT64_C(1) << 20)
#define SEQ_LEAST 64u /* shorter rows are no advice */

static zo2_status plan_of(const cli_fit *f, const zo2_engine_opts *o, zo2_plan *plan)
{
    *plan = (zo2_plan){.struct_size = sizeof *plan};
    return zo2_plan_estimate(f->model, o, plan);
}

/* Would batches of other sizes fit into the budgets as they are? */
static bool fits(const cli_fit *f, uint64_t batch, uint64_t micro)
{
    zo2_engine_opts o = *f->opts;
    zo2_plan plan;
    if (!f->sizes(f->ud, batch, micro, &o))
        return false;
    if (f->micro_option)
        o.micro_batch = (uint32_t)micro;
    return plan_of(f, &o, &plan) == ZO2_OK;
}

/* The largest of 1 ... n - 1 that fits, as micro-batch of f->batch lines or as batch; 0: none does. */
static uint64_t largest(const cli_fit *f, uint64_t n, bool micro)
{
    uint64_t low = 0, high = n;
    while (high - low > 1) {
        uint64_t middle = low + (high - low) / 2;
        uint64_t part = f->micro_option ? 1 : f->micro && f->micro < middle ? f->micro : middle;
        if (micro ? fits(f, f->batch, middle) : fits(f, middle, part))
            low = middle;
        else
            high = middle;
    }
    return low;
}

static uint64_t whole_mib(uint64_t bytes)
{
    return (bytes + MIB - 1) / MIB * MIB;
}

/* Smaller batches; "" if there are none that fit. */
static void advise_sizes(const cli_fit *f, char *out, size_t size)
{
    uint64_t lines = f->micro && f->micro < f->batch ? f->micro : f->batch, n;
    out[0] = '\0';
    if (!f->sizes)
        return;
    if (f->micro_option && (n = largest(f, lines, true)))
        snprintf(out, size, "--micro-batch %" PRIu64, n);
    else if (f->batch_option && (n = largest(f, f->batch, false)))
        snprintf(out, size, "--batch %" PRIu64 "%s", n, f->micro_option && lines > 1 ? " --micro-batch 1" : "");
}

/* Shorter rows, by powers of two; "" if no length of them fits. */
static void advise_seq(const cli_fit *f, const zo2_plan *now, char *out, size_t size)
{
    const uint64_t rows = f->opts->max_rows ? f->opts->max_rows : 1;
    zo2_engine_opts o = *f->opts;
    zo2_plan plan;
    uint64_t seq = UINT64_C(1) << 31;
    out[0] = '\0';
    if (!f->seq_option)
        return;
    while (seq >= now->batch_tokens / rows && seq > 1)
        seq /= 2;
    for (; seq >= SEQ_LEAST; seq /= 2) {
        o.max_seq = (uint32_t)seq;
        if (plan_of(f, &o, &plan) == ZO2_OK) {
            snprintf(out, size, "--seq %" PRIu64, seq);
            return;
        }
    }
}

/* Larger budgets, the smallest that work, both if both have to grow; "" if that is no way. *short_of: host bytes that this
 * machine doesn't have for it, else 0. */
static void advise_budgets(const cli_fit *f, char *out, size_t size, uint64_t *short_of)
{
    char device[40] = "", host[40] = "";
    zo2_engine_opts o = *f->opts;
    zo2_plan plan;
    *short_of = 0;
    out[0] = '\0';
    zo2_status s = plan_of(f, &o, &plan);
    if (s == ZO2_ERR_NOMEM && o.device_bytes && o.device_bytes < plan.device_min_bytes) {
        o.device_bytes = whole_mib(plan.device_min_bytes);
        snprintf(device, sizeof device, "--device-mem %" PRIu64 "M", o.device_bytes / MIB);
        s = plan_of(f, &o, &plan);
    }
    if (s == ZO2_ERR_NOMEM && o.host_bytes && o.host_bytes < plan.host_min_bytes) {
        o.host_bytes = whole_mib(plan.host_min_bytes);
        snprintf(host, sizeof host, "--host-mem %" PRIu64 "M", o.host_bytes / MIB);
        s = plan_of(f, &o, &plan);
        uint64_t available = f->here ? zo2_host_budget_bytes() : 0;
        if (available && o.host_bytes > available)
            *short_of = o.host_bytes;
    }
    if (s == ZO2_OK && !*short_of)
        snprintf(out, size, "%s%s%s", device, *device && *host ? " " : "", host);
}

/* Would it fit into the host memory there is if masters were on a drive? */
static bool could_spill(const cli_fit *f)
{
    static const char *const somewhere[] = {"DIR"};
    zo2_engine_opts o = *f->opts;
    zo2_plan plan;
    if (!f->spill_option || o.spill_count)
        return false;
    o.spill_dirs = somewhere;
    o.spill_count = 1;
    return plan_of(f, &o, &plan) == ZO2_OK;
}

/* Another wire; "" if none makes it fit. */
static void advise_wire(const cli_fit *f, const zo2_plan *now, char *out, size_t size)
{
    cli_wire_advice wire;
    out[0] = '\0';
    if (!f->wire_option)
        return;
    cli_wire_advice_fit(&wire, &(cli_wire_search){.model = f->model, .opts = f->opts, .now = now});
    if (wire.plan.parameters)
        snprintf(out, size, "%s %s", wire.option, zo2_wire_name(wire.wire));
}

/* Host memory that this machine doesn't have. told: how much is said beside it. */
static void advise_machine(const cli_fit *f, uint64_t short_of, bool told, char *out, size_t size)
{
    char need[CLI_TEXT_BYTES], have[CLI_TEXT_BYTES];
    size_t n = 0;
    if (!told)
        n = (size_t)snprintf(out, size, "it takes %s of host memory and this machine has %s for it: ",
                             cli_human_size(need, short_of), cli_human_size(have, zo2_host_budget_bytes()));
    snprintf(out + n, size - n, "%send what else uses memory, or take a machine with more",
             could_spill(f) ? "keep the rest on a drive with --spill DIR, " : "");
}

/* now: the plan that doesn't fit. */
static void advise(const cli_fit *f, const zo2_plan *now, bool told, char *out, size_t size)
{
    char ways[4][80];
    uint64_t short_of;
    size_t n = 0;
    advise_sizes(f, ways[0], sizeof ways[0]);
    advise_seq(f, now, ways[1], sizeof ways[1]);
    advise_wire(f, now, ways[2], sizeof ways[2]);
    advise_budgets(f, ways[3], sizeof ways[3], &short_of);
    for (int i = 0; i < 4 && n < size; i++)
        if (*ways[i])
            n += (size_t)snprintf(out + n, size - n, "%s%s", n ? ", or " : "try ", ways[i]);
    if (n && n < size && short_of && could_spill(f))
        snprintf(out + n, size - n, ", or keep the rest on a drive with --spill DIR");
    else if (!n && short_of)
        advise_machine(f, short_of, told, out, size);
}

/* "": it fits, or there is no way. */
static void find_ways(const cli_fit *given, bool told, char *out, size_t size)
{
    zo2_engine_opts o = *given->opts;
    cli_fit f = *given;
    zo2_plan plan;
    out[0] = '\0';
    o.probe_seconds = 0;
    if (f.here && !o.host_bytes)
        o.host_bytes = zo2_host_budget_bytes(); /* what an engine takes */
    f.opts = &o;
    if (plan_of(&f, &o, &plan) == ZO2_ERR_NOMEM)
        advise(&f, &plan, told, out, size);
}

int cli_fail_to_fit(const char *program, const char *what, zo2_status s, const cli_fit *given)
{
    char text[1024], advice[512];
    if (s != ZO2_ERR_NOMEM)
        return cli_fail(program, what, s);
    snprintf(text, sizeof text, "%s", zo2_last_error()); /* planning changes it */
    find_ways(given, false, advice, sizeof advice);
    return cli_error(program, "%s%s%s%s%s", what ? what : "", what ? ": " : "", text, *advice ? "; " : "", advice);
}

const char *cli_fit_here(char *out, size_t size, const cli_fit *given)
{
    cli_fit f = *given;
    f.here = true;
    find_ways(&f, true, out, size);
    return out;
}
