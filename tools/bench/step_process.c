/* step_process.c: see step_process.h. */
#include "tools/bench/step_process.h"

#include <stdlib.h>
#include <string.h>

#include "tools/cli/interrupt.h"
#include "tools/cli/progress.h"
#include "tools/cli/report.h"

static double peak_resident_bytes(void)
{
    char line[128];
    double kib = 0;
    FILE *f = fopen("/proc/self/status", "re");
    while (f && fgets(line, sizeof line, f))
        sscanf(line, "VmHWM: %lf kB", &kib);
    if (f)
        fclose(f);
    return kib * 1024;
}

/* What the parent had mapped before doesn't count. */
static void reset_peak(void)
{
    FILE *f = fopen("/proc/self/clear_refs", "we");
    if (!f)
        return;
    fputs("5", f);
    fclose(f);
}

static int serve(zo2_engine *e, const bench_step_process *how, const int32_t *tokens, const uint8_t *loss, FILE *in,
                 FILE *out)
{
    char line[256];
    zo2_batch batch = {.struct_size = sizeof batch, .rows = 1, .seq = how->tokens, .tokens = tokens, .loss = loss};
    fprintf(out, "ready %s\n", zo2_version());
    fflush(out);
    while (fgets(line, sizeof line, in)) {
        unsigned long passes = 1;
        zo2_status s = ZO2_OK;
        sscanf(line, "step %lu", &passes);
        double from = cli_clock();
        for (unsigned long i = 0; i < passes && !s; i++)
            s = zo2_step(e, &batch, NULL);
        if (s)
            return cli_fail("zo2-bench", "a training step", s);
        fprintf(out, "%.9f %.0f\n", (cli_clock() - from) / (double)passes, peak_resident_bytes());
        fflush(out);
    }
    return CLI_EXIT_OK;
}

int bench_step_serve(void *ud, FILE *in, FILE *out)
{
    const bench_step_process *how = ud;
    int status = CLI_EXIT_FAILED;
    zo2_engine *e = NULL;
    zo2_engine_opts o;
    int32_t *tokens = malloc(how->tokens * sizeof *tokens);
    uint8_t *loss = malloc(how->tokens);
    reset_peak();
    zo2_engine_opts_init(&o);
    o.backend = ZO2_BACKEND_CPU;
    o.threads = how->threads;
    o.max_rows = 1;
    o.max_seq = how->tokens;
    o.wire = how->wire;
    o.dist = how->dist;
    o.snapshot_seconds = 0;
    if (tokens && loss) {
        for (uint32_t i = 0; i < how->tokens; i++) {
            tokens[i] = (int32_t)((i * 2654435761u) % how->vocab); /* any tokens do */
            loss[i] = i > 0;
        }
        zo2_status s = zo2_engine_open(&e, how->pack, how->run, &o);
        if (s)
            cli_fail("zo2-bench", "cannot open the run", s);
        else {
            cli_interrupt_engine(e);
            status = serve(e, how, tokens, loss, in, out);
            cli_interrupt_engine(NULL);
        }
    }
    zo2_engine_close(e);
    free(tokens);
    free(loss);
    return status;
}
