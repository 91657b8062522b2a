/* plan_advice.c: see plan_advice.h. */
#include "tools/cli/plan_advice.h"

#include <stdio.h>

#include "tools/cli/numbers.h"

double cli_plan_seconds(const zo2_plan *p)
{
    return p->trunk_cache_bytes ? p->seconds_per_step_filled : p->seconds_per_step;
}

uint64_t cli_plan_wire_bytes(const zo2_plan *p)
{
    return p->trunk_cache_bytes ? p->wire_bytes_per_step_filled : p->wire_bytes_per_step;
}

static void print_seconds(const zo2_plan *now, const zo2_plan *then)
{
    char a[CLI_TEXT_BYTES], b[CLI_TEXT_BYTES];
    if (cli_plan_seconds(now) > 0 && cli_plan_seconds(then) > 0)
        printf("; %s a step instead of %s", cli_human_time(a, cli_plan_seconds(then)),
               cli_human_time(b, cli_plan_seconds(now)));
    putchar('\n');
}

void cli_plan_print_advice(const zo2_plan *now, const cli_wire_advices *advice)
{
    char a[CLI_TEXT_BYTES], b[CLI_TEXT_BYTES];
    const cli_wire_advice *d = &advice->device, *h = &advice->host;
    if (d->plan.parameters) {
        printf("advice         %s %s: the whole model stays on the device (%s of %s)", d->option,
               zo2_wire_name(d->wire), cli_human_size(a, d->plan.device_peak_bytes),
               cli_human_size(b, d->plan.budget_bytes));
        printf(", over the link come %s of wires instead of %s", cli_human_size(a, cli_plan_wire_bytes(&d->plan)),
               cli_human_size(b, cli_plan_wire_bytes(now)));
        print_seconds(now, &d->plan);
    }
    if (h->plan.parameters) {
        printf("advice         %s %s: all masters have room in RAM (host memory %s)", h->option, zo2_wire_name(h->wire),
               cli_human_size(a, h->plan.host_peak_bytes));
        printf(", no drive is read or written; now %s and %s", cli_human_size(a, now->read_bytes_per_step),
               cli_human_size(b, now->written_bytes_per_step));
        print_seconds(now, &h->plan);
    }
    if (d->plan.parameters || h->plan.parameters)
        printf("               (zo2-bench wires says what a wire makes of a model)\n");
}

static void one_json(cli_json *j, const char *what, const cli_wire_advice *a)
{
    if (!a->plan.parameters)
        return;
    cli_json_open(j, NULL, '{');
    cli_json_text(j, "for", what);
    cli_json_text(j, "option", a->option);
    cli_json_text(j, "wire", zo2_wire_name(a->wire));
    cli_json_u64(j, "device_peak_bytes", a->plan.device_peak_bytes);
    cli_json_u64(j, "host_peak_bytes", a->plan.host_peak_bytes);
    cli_json_u64(j, "wire_bytes_per_step", cli_plan_wire_bytes(&a->plan));
    cli_json_u64(j, "read_bytes_per_step", a->plan.read_bytes_per_step);
    cli_json_u64(j, "written_bytes_per_step", a->plan.written_bytes_per_step);
    cli_json_f64(j, "seconds_per_step", cli_plan_seconds(&a->plan));
    cli_json_close(j, '}');
}

void cli_plan_advice_json(cli_json *j, const cli_wire_advices *advice)
{
    cli_json_open(j, "advice", '[');
    one_json(j, "device", &advice->device);
    one_json(j, "host", &advice->host);
    one_json(j, "fit", &advice->fit);
    cli_json_close(j, ']');
}
