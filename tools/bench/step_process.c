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

enum { MOST_LAYERS = 1024 };

/* What the trace said of the last request's steps. */
typedef struct seen {
    double gemm; /* seconds */
    double uploaded;
    bool multiplied[MOST_LAYERS], brought[MOST_LAYERS];
} seen;

/* Means of the last request's steps. */
typedef struct means {
    double seconds, lane;
} means;

static bool is_upload(const zo2_trace_event *e)
{
    return strcmp(e->lane, "upload") == 0 && strcmp(e->name, "upload") == 0;
}

static void look(void *ud, const zo2_trace_event *e)
{
    seen *s = ud;
    if (e->kind != ZO2_TRACE_SPAN)
        return;
    const char *at = e->tensor ? strstr(e->tensor, "layers.") : NULL;
    const unsigned long layer = at ? strtoul(at + strlen("layers."), NULL, 10) : MOST_LAYERS;
    const bool gemm = strcmp(e->name, "gemm") == 0;
    if (gemm)
        s->gemm += 1e-9 * (double)(e->end_ns - e->begin_ns);
    if (is_upload(e) || strcmp(e->name, "gather") == 0 || strcmp(e->name, "trunk rows") == 0)
        s->uploaded += (double)e->bytes;
    if (layer < MOST_LAYERS) {
        s->multiplied[layer] |= gemm;
        s->brought[layer] |= is_upload(e);
    }
}

static unsigned count(const bool *of)
{
    unsigned n = 0;
    for (int i = 0; i < MOST_LAYERS; i++)
        n += of[i];
    return n;
}

static double busiest(const zo2_step_result *r)
{
    return fmax(r->compute.busy, fmax(r->update.busy, r->upload.busy));
}

static zo2_status take_steps(zo2_engine *e, const zo2_batch *batch, unsigned long passes, seen *trace, means *out)
{
    zo2_status s = ZO2_OK;
    double lane = 0;
    memset(trace, 0, sizeof *trace);
    double from = cli_clock();
    for (unsigned long i = 0; i < passes && !s; i++) {
        zo2_step_result r = {.struct_size = sizeof r};
        s = zo2_step(e, batch, &r);
        lane += busiest(&r);
    }
    *out = (means){(cli_clock() - from) / (double)passes, lane / (double)passes};
    trace->gemm /= (double)passes;
    trace->uploaded /= (double)passes;
    return s;
}

static double figure(const char *what, const means *m, const seen *s)
{
    if (strcmp(what, "gemm") == 0)
        return s->gemm;
    if (strcmp(what, "uploaded") == 0)
        return s->uploaded;
    if (strcmp(what, "products") == 0)
        return count(s->multiplied);
    return strcmp(what, "wires") == 0 ? count(s->brought) : m->lane;
}

static int serve(zo2_engine *e, const zo2_batch *batch, uint64_t kept, seen *trace, FILE *in, FILE *out)
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
            zo2_status s = take_steps(e, batch, passes ? passes : 1, trace, &last);
            if (s)
                return cli_fail("zo2-bench", "a training step", s);
            fprintf(out, "%.9f %.0f\n", last.seconds, bench_peak_resident_bytes());
        } else if (strcmp(what, "kept") == 0)
            fprintf(out, "%llu\n", (unsigned long long)kept);
        else
            fprintf(out, "%.9f\n", figure(what, &last, trace));
        fflush(out);
    }
    return CLI_EXIT_OK;
}

/* ---- the batch ---- */

typedef struct arrays {
    zo2_batch batch;
    int32_t *tokens;
    uint8_t *loss;
    uint32_t *example, *label;
} arrays;

static void free_arrays(arrays *a)
{
    free(a->tokens);
    free(a->loss);
    free(a->example);
    free(a->label);
}

static bool make_batch(arrays *a, const bench_step_process *how)
{
    const uint32_t n = how->rows * how->seq;
    *a = (arrays){.tokens = malloc(n * sizeof *a->tokens),
                  .loss = malloc(n),
                  .example = malloc(how->rows * sizeof *a->example),
                  .label = malloc(how->rows * sizeof *a->label)};
    if (!a->tokens || !a->loss || !a->example || !a->label)
        return false;
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t at = i % how->seq;
        a->tokens[i] = (int32_t)((i * 2654435761u) % how->vocab); /* any tokens do */
        a->loss[i] = at > 0 && (!how->labelled || at + 2 >= how->seq);
    }
    for (uint32_t r = 0; r < how->rows; r++) {
        a->example[r] = r / 2;
        a->label[r] = r % 2;
    }
    a->batch = (zo2_batch){
        .struct_size = sizeof a->batch, .rows = how->rows, .seq = how->seq, .tokens = a->tokens, .loss = a->loss};
    if (how->labelled) {
        a->batch.examples = how->rows / 2;
        a->batch.example = a->example;
        a->batch.label = a->label;
    }
    return true;
}

/* ---- the process ---- */

static void set_opts(zo2_engine_opts *o, const bench_step_process *how, seen *trace)
{
    zo2_engine_opts_init(o);
    o->backend = ZO2_BACKEND_CPU;
    o->threads = how->threads;
    o->max_rows = how->rows;
    o->max_seq = how->seq;
    o->queries = how->queries;
    o->wire = how->wire;
    o->dist = how->dist;
    o->tune = how->tune;
    o->trunk_cache = how->trunk_cache;
    o->snapshot_seconds = 0;
    o->trace = look;
    o->trace_ud = trace;
}

int bench_step_serve(void *ud, FILE *in, FILE *out)
{
    const bench_step_process *how = ud;
    int status = CLI_EXIT_FAILED;
    static seen trace; /* the process is for this call alone */
    zo2_engine *e = NULL;
    zo2_engine_opts o;
    arrays a;
    uint64_t kept = 0; /* examples whose trunk is */
    bench_reset_peak();
    set_opts(&o, how, &trace);
    if (make_batch(&a, how)) {
        zo2_status s = zo2_engine_open(&e, how->pack, how->run, &o);
        if (!s && how->trunk_cache && (s = zo2_warm(e, &a.batch, &kept)) == ZO2_ERR_UNSUPPORTED)
            s = ZO2_OK; /* there is no trunk, and `kept` says so */
        if (s)
            cli_fail("zo2-bench", "cannot open the run", s);
        else {
            cli_interrupt_engine(e);
            status = serve(e, &a.batch, kept, &trace, in, out);
            cli_interrupt_engine(NULL);
        }
    }
    zo2_engine_close(e);
    free_arrays(&a);
    return status;
}
