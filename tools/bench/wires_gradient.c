/* wires_gradient.c: losses and projected gradients through a wire: steps of a run whose learning rate is zero, in a folder of our own.
 * z depends on seed, step and tensor, and the lines on seed and step: step n of every wire is at the same point. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "tools/bench/bench.h"
#include "tools/bench/wire_table.h"
#include "tools/cli/interrupt.h"
#include "tools/cli/progress.h"
#include "tools/cli/report.h"
#include "tools/text/batcher.h"

enum { SEED = 0 };

double bench_correlation(const double *x, const double *y, uint32_t n)
{
    double mx = 0, my = 0, xx = 0, yy = 0, xy = 0;
    for (uint32_t i = 0; i < n; i++) {
        mx += x[i] / n;
        my += y[i] / n;
    }
    for (uint32_t i = 0; i < n; i++) {
        xx += (x[i] - mx) * (x[i] - mx);
        yy += (y[i] - my) * (y[i] - my);
        xy += (x[i] - mx) * (y[i] - my);
    }
    return xx > 0 && yy > 0 ? xy / sqrt(xx * yy) : NAN;
}

static zo2_status size_for(const bench_wires *w, zo2_engine_opts *o)
{
    zo2t_bounds bounds;
    zo2_status s = zo2t_dataset_bounds(w->lines, w->batch, &bounds);
    o->max_rows = bounds.rows;
    o->max_seq = bounds.seq;
    o->max_loss_tokens = bounds.loss_tokens;
    return s;
}

static zo2_status open_engine(const bench *b, const bench_wires *w, zo2_wire wire, const char *run,
                              cli_progress *progress, zo2_engine **out)
{
    zo2_engine_opts o;
    zo2_engine_opts_init(&o);
    o.seed = SEED;
    o.seed_set = 1;
    o.lr = 0;
    o.eps = w->eps;
    o.dist = w->dist;
    o.tune = w->tune;
    o.wire = w->tune ? ZO2_WIRE_FP32 : wire; /* of a part: the wire of what stays as it is is asked for */
    o.frozen_wire = w->tune ? wire : (zo2_wire)0;
    o.compute = ZO2_F32; /* what differs is the wire alone */
    o.backend = w->backend;
    o.threads = b->options.threads.given ? b->threads : 0;
    o.snapshot_seconds = 0;
    o.log = cli_log;
    o.log_ud = progress;
    o.progress = cli_progress_work;
    o.progress_ud = progress;
    zo2_status s = size_for(w, &o);
    return s ? s : zo2_engine_open(out, w->model, run, &o);
}

static void show(cli_progress *progress, uint64_t done, uint64_t total)
{
    progress->silent = false;
    if (cli_progress_due(progress))
        cli_progress_show(progress, done, total, "");
    progress->silent = true; /* what the engine does for each batch isn't told */
}

/* The mean over the first lines of the file. */
static zo2_status score(const bench_wires *w, zo2_engine *e, double *loss, cli_progress *progress)
{
    zo2t_batcher *lines = NULL;
    zo2t_dataset_info info;
    double sum = 0;
    uint64_t n = 0, at = 0;
    zo2t_dataset_get_info(w->lines, &info);
    zo2_status s = zo2t_batcher_open_eval(&lines, w->lines);
    while (!s && at < w->scored) {
        zo2_batch batch;
        zo2_scores scores;
        zo2_scores_init(&scores);
        s = zo2t_batcher_fill(lines, at, w->batch < w->scored - at ? w->batch : w->scored - at, &batch);
        if (!s)
            s = zo2_forward(e, &batch, ZO2_WEIGHTS_WIRE, &scores);
        if (s)
            break;
        sum += info.kind == ZO2T_OPTIONS ? scores.sum_loss : scores.sum_nll;
        n += info.kind == ZO2T_OPTIONS ? scores.examples : scores.loss_tokens;
        at = batch.data_position;
        show(progress, at, w->scored);
    }
    zo2t_batcher_close(lines);
    *loss = sum / (double)n;
    return s;
}

static zo2_status step(const bench_wires *w, zo2_engine *e, double *g, cli_progress *progress)
{
    zo2t_batcher *lines = NULL;
    zo2_status s = zo2t_batcher_open_train(&lines, w->lines, SEED);
    for (uint64_t i = 0; i < w->directions && !s; i++) {
        zo2_batch batch;
        zo2_step_result r = {.struct_size = sizeof r};
        s = zo2t_batcher_fill(lines, i * w->batch, w->batch, &batch);
        if (!s)
            s = zo2_step(e, &batch, &r);
        g[i] = (r.loss_plus - r.loss_minus) / (2 * w->eps); /* in double, unlike the run's own */
        show(progress, i + 1, w->directions);
    }
    zo2t_batcher_close(lines);
    return s;
}

static zo2_status both(const bench_wires *w, zo2_engine *e, bench_wire *x, cli_progress *progress)
{
    char what[64];
    cli_interrupt_engine(e);
    progress->silent = true;
    snprintf(what, sizeof what, "%s: loss", zo2_wire_name(x->wire));
    cli_progress_begin(progress, what, 0);
    zo2_status s = score(w, e, &x->loss, progress);
    snprintf(what, sizeof what, "%s: directions", zo2_wire_name(x->wire));
    cli_progress_begin(progress, what, 0);
    if (!s)
        s = step(w, e, x->g, progress);
    progress->silent = false;
    cli_progress_clear(progress);
    cli_interrupt_engine(NULL);
    return s;
}

/* What an engine says to a wire that a model, or the whole of one, can't have. */
static bool is_refusal(zo2_status s)
{
    return s == ZO2_ERR_UNSUPPORTED || s == ZO2_ERR_NONFINITE || s == ZO2_ERR_ARG;
}

bool bench_wires_gradient(bench *b, const bench_wires *w, bench_wire *x, cli_progress *progress)
{
    char run[sizeof b->work + 16];
    zo2_engine *e = NULL;
    if (!bench_work_folder(b))
        return false;
    snprintf(run, sizeof run, "%s/run", b->work);
    zo2_status s = open_engine(b, w, x->wire, run, progress, &e);
    cli_progress_clear(progress);
    const bool opened = !s;
    if (opened)
        s = both(w, e, x, progress);
    if (s && !opened && is_refusal(s)) {
        snprintf(x->refused, sizeof x->refused, "%s", zo2_last_error());
        return true;
    }
    if (s)
        cli_fail(b->program, "wires", s);
    zo2_engine_close(e);
    if (opened)
        bench_remove_folder(b, run);
    return !s;
}
