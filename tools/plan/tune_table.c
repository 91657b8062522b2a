/* tune_table.c: see tune_table.h. */
#include "tools/plan/tune_table.h"

#include <inttypes.h>
#include <stdio.h>

#include "tools/cli/numbers.h"

#define LAST    8u /* layers of the row that tunes the last ones */
#define COLUMNS 12

/* Three digits that matter, without an exponent; "-" for nothing. */
static void print_figure(double v)
{
    if (v > 0)
        printf(" %.*f |", v >= 99.95 ? 0 : v >= 9.995 ? 1 : v >= 0.9995 ? 2 : 3, v);
    else
        printf(" - |");
}

static void print_seconds(const zo2_plan *p, double seconds)
{
    if (seconds > 0)
        print_figure(seconds);
    else
        printf(!(p->seconds_per_step > 0) ? " unknown |" : " - |");
}

static void print_row(const char *model, const char *what, const zo2_plan *p, uint64_t steps)
{
    const int trunk = p->trunk_bytes_per_token != 0;
    char count[CLI_TEXT_BYTES];
    printf("| %s | %s | %s |", model, what, cli_human_count(count, p->tuned_parameters));
    print_figure(1e-9 * (double)p->host_peak_bytes);
    print_figure(1e-9 * (double)p->device_peak_bytes);
    print_figure(1e-9 * (double)p->spilled_bytes);
    print_seconds(p, p->seconds_per_step);
    print_seconds(p, trunk ? p->seconds_per_step_filled : 0);
    print_figure(1e-9 * (double)p->wire_bytes_per_step);
    print_figure(trunk ? 1e-9 * (double)(p->wire_bytes_per_step_filled + p->trunk_bytes_per_step) : 0);
    print_figure(1e-6 * (double)p->trunk_bytes_per_step);
    print_figure(1e-12 * (double)p->written_bytes_per_step * (double)steps);
    putchar('\n');
}

static void print_head(uint64_t steps)
{
    char count[CLI_TEXT_BYTES];
    printf("| model | tuned | parameters that move | RAM, GB | device, GB | drives, GB | s/step | cache filled, s/step "
           "| uploaded, GB/step | cache filled, GB/step | cache, MB a batch | written in %s steps, TB |\n|",
           cli_human_count(count, steps));
    for (int column = 0; column < COLUMNS; column++)
        printf(" --- |");
    putchar('\n');
}

/* *o gets what a GPU's plan was made with, and the host's rates, so that they are measured once. */
static zo2_status plan_row(zo2_plan *p, const char *model, const gpu_target *t, const zo2_engine_opts *o)
{
    zo2_engine_opts own = *o;
    *p = (zo2_plan){.struct_size = sizeof *p};
    return t ? gpu_plan(p, model, t, &own) : zo2_plan_estimate(model, &own, p);
}

zo2_status tune_print_table(const char *model, uint64_t steps, const gpu_flags *gpu, const zo2_engine_opts *o)
{
    gpu_target target;
    zo2_plan p;
    zo2_engine_opts own = *o, whole = *o;
    whole.frozen_wire = 0; /* nothing is frozen in the first row */
    zo2_status s = gpu->gpu.given ? gpu_find(&target, gpu, o) : ZO2_OK;
    gpu_target *t = gpu->gpu.given ? &target : NULL;
    if (!s)
        s = plan_row(&p, model, t, &whole);
    if (s)
        return s;
    char last[48], layers[32];
    const uint32_t n = p.layers < LAST ? p.layers : LAST;
    snprintf(layers, sizeof layers, "last %u layers", n);
    snprintf(last, sizeof last, "layers=%" PRIu32 "-%" PRIu32, p.layers - n, p.layers - 1);
    const struct {
        const char *name, *tune;
    } rows[] = {{"all", "all"},
                {"vectors", "vectors"},
                {layers, last},
                {"lora, r = 8, of q and v", "lora:r=8,alpha=16,targets=q_proj+v_proj"}};
    print_head(steps);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        own.tune = rows[i].tune;
        if (t && p.update_rate > 0) {
            t->rates.update_rate = p.update_rate;
            t->rates.noise_rate = p.noise_rate;
        }
        s = i ? plan_row(&p, model, t, &own) : ZO2_OK;
        if (s)
            return s;
        print_row(model, rows[i].name, &p, steps);
    }
    return ZO2_OK;
}
