/* step_process.c: see step_process.h. */
#include "tools/bench/step_process.h"
#include "tools/cli/args.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tools/bench/memory.h"
#include "tools/cli/interrupt.h"
#include "tools/cli/progress.h"
#include "tools/cli/report.h"

/* Means of the last request's steps. */
typedef struct means {
    double seconds, gemm, lane;
} means;

/* The trace of the compute lane. */
static void add_gemm(void *ud, const zo2_trace_event *e)
{
    double *seconds = ud;
    if (e->kind == ZO2_TRACE_SPAN && strcmp(e->name, "gemm") == 0)
        *seconds += 1e-9 * (double)(e->end_ns - e->begin_ns);
}

static double busiest(const zo2_step_result *r)
{
    return fmax(r->compute.busy, fmax(r->update.busy, r->upload.busy));
}

static zo2_status take_steps(zo2_engine *e, const zo2_batch *batch, unsigned long passes, double *gemm, means *out)
{
    zo2_status s = ZO2_OK;
    double lane = 0;
    *gemm = 0;
    double from = cli_clock();
    for (unsigned long i = 0; i < passes && !s; i++) {
        zo2_step_result r = {.struct_size = sizeof r};
        s = zo2_step(e, batch, &r);
        lane += busiest(&r);
    }
    *out = (means){(cli_clock() - from) / (double)passes, *gemm / (double)passes, lane / (double)passes};
    return s;
}

static int serve(zo2_engine *e, const zo2_batch *batch, double *gemm, FILE *in, FILE *out)
{
    char line[256], what[16];
    means last = {0};
    fprintf(out, "ready %s\n", zo2_version());
    fflush(out);
    while (fgets(line, sizeof line, in)) {
        unsigned long passes = 1;
        if (sscanf(line, "%15s %lu", what, &passes) < 1)
            return CLI_EXIT_FAILED;
        if (strcmp(what, "step") == 0) {
            zo2_status s = take_steps(e, batch, passes ? passes : 1, gemm, &last);
            if (s)
                return cli_fail("zo2-bench", "a training step", s);
            fprintf(out, "%.9f %.0f\n", last.seconds, bench_peak_resident_bytes());
        } else
            fprintf(out, "%.9f\n", strcmp(what, "gemm") == 0 ? last.gemm : last.lane);
        fflush(out);
    }
    return CLI_EXIT_OK;
}

int bench_step_serve(void *ud, FILE *in, FILE *out)
{
    const bench_step_process *how = ud;
    int status = CLI_EXIT_FAILED;
    double gemm = 0; /* seconds of the steps taken, by the trace */
    zo2_engine *e = NULL;
    zo2_engine_opts o;
    int32_t *tokens = malloc(how->tokens * sizeof *tokens);
    uint8_t *loss = malloc(how->tokens);
    bench_reset_peak();
    zo2_engine_opts_init(&o);
    o.backend = ZO2_BACKEND_CPU;
    o.threads = how->threads;
    o.max_rows = 1;
    o.max_seq = how->tokens;
    o.wire = how->wire;
    o.dist = how->dist;
    o.snapshot_seconds = 0;
    o.trace = add_gemm;
    o.trace_ud = &gemm;
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
            zo2_batch batch = {
                .struct_size = sizeof batch, .rows = 1, .seq = how->tokens, .tokens = tokens, .loss = loss};
            status = serve(e, &batch, &gemm, in, out);
            cli_interrupt_engine(NULL);
        }
    }
    zo2_engine_close(e);
    free(tokens);
    free(loss);
    return status;
}
