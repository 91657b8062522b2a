/* gpu_table.c: see gpu_table.h. */
#include "tools/plan/gpu_table.h"

#include <stdio.h>

#include "tools/plan/gpu_cards.h"

/* Three digits that matter, without an exponent. */
static void print_figure(double v)
{
    printf(" %.*f |", v >= 100 ? 0 : v >= 10 ? 1 : v >= 1 ? 2 : 3, v);
}

/* s: of gpu_plan() */
static void print_row(const char *model, const char *gpu, const zo2_plan *p, zo2_status s)
{
    printf("| %s | %s | %.2f | %.1f |", model, gpu, 1e-9 * (double)p->device_min_bytes,
           1e-9 * (double)p->device_peak_bytes);
    if (s == ZO2_ERR_UNSUPPORTED) {
        printf(" takes --compute fp16 | | |\n");
    } else if (s) {
        printf(" doesn't fit | | |\n");
    } else if (!(p->seconds_per_step > 0)) {
        printf(" unknown | | |\n");
    } else {
        print_figure(p->seconds_per_step);
        print_figure((double)p->batch_tokens / p->seconds_per_step);
        printf(" %s |\n", p->bottleneck);
    }
}

zo2_status gpu_print_table(const char *model, const gpu_flags *f, const zo2_engine_opts *o)
{
    double update = 0, noise = 0;
    printf("| model | GPU | least device memory, GB | planned, GB | s/step | tokens/s | bottleneck |\n"
           "| --- | --- | --- | --- | --- | --- | --- |\n");
    for (const gpu_card *c = gpu_cards; c->name; c++) {
        zo2_engine_opts own = *o;
        gpu_target t;
        zo2_plan p = {.parameters = 0};
        zo2_status s = gpu_of_card(&t, c, f, o);
        if (!s && update > 0) {
            t.rates.update_rate = update;
            t.rates.noise_rate = noise;
        }
        if (!s)
            s = gpu_plan(&p, model, &t, &own);
        if (s && ((s != ZO2_ERR_NOMEM && s != ZO2_ERR_UNSUPPORTED) || !p.parameters))
            return s;
        print_row(model, c->name, &p, s);
        update = p.update_rate;
        noise = p.noise_rate;
    }
    return ZO2_OK;
}
