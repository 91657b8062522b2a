/* section_wires.c: what every wire makes of a user's own model: bits, error of its weights, and with lines of text the loss and how
 * far the projected gradient still is that of the exact weights. Nothing is compared in time here. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/bench/bench.h"
#include "tools/bench/wire_table.h"
#include "tools/cli/interrupt.h"
#include "tools/cli/progress.h"
#include "tools/cli/report.h"

/* What was added up of a wire's matrices. */
typedef struct sums {
    double squares, error_squares, weights, wire_bytes;
} sums;

static double relative(double error_squares, double squares)
{
    return squares > 0 ? sqrt(error_squares / squares) : 0;
}

/* All of a number that has a name, fp32 first; --wire leaves fp32 and that one. */
static bool list_wires(const bench *b, bench_wires *w)
{
    unsigned most = 1;
    while (zo2_wire_name((zo2_wire)most))
        most++;
    w->wire = calloc(most, sizeof *w->wire);
    for (unsigned i = 1; w->wire && i <= most; i++) {
        const zo2_wire wire = i == 1 ? ZO2_WIRE_FP32 : (zo2_wire)(i - 1); /* once more where its own turn is */
        if (i > 1 && (wire == ZO2_WIRE_FP32 ||
                      (b->options.wire.given && strcmp(b->options.wire.text, zo2_wire_name(wire)) != 0)))
            continue;
        bench_wire *x = &w->wire[w->n++];
        *x = (bench_wire){.wire = wire, .bits = NAN, .error = NAN, .worst = NAN, .loss = NAN, .correlation = NAN};
        x->g = malloc((w->directions ? w->directions : 1) * sizeof *x->g);
        if (!x->g)
            break;
    }
    if (w->wire && w->n && w->wire[w->n - 1].g)
        return true;
    cli_error(b->program, "out of memory");
    return false;
}

/* One tensor through one wire. A wire that can't hold it is out of the list of those that are asked. */
static bool look_at(const bench *b, const bench_wires *w, bench_wire *x, sums *sum, const zo2_tensor_info *t)
{
    zo2_wire_error e;
    if (t->rank != 2 || x->refused[0])
        return true;
    zo2_status s = zo2_pack_wire_error(w->pack, t->id, x->wire, b->threads, &e);
    if (s == ZO2_ERR_NONFINITE || s == ZO2_ERR_UNSUPPORTED) {
        snprintf(x->refused, sizeof x->refused, "%s", zo2_last_error());
        return true;
    }
    if (s) {
        cli_fail(b->program, "wires", s);
        return false;
    }
    if (e.wire != x->wire) /* positions have fp32 */
        return true;
    sum->squares += e.squares;
    sum->error_squares += e.error_squares;
    sum->weights += (double)e.weights;
    sum->wire_bytes += (double)e.wire_bytes;
    const double here = relative(e.error_squares, e.squares);
    if (!(here <= x->worst)) { /* NAN before the first */
        x->worst = here;
        snprintf(x->worst_of, sizeof x->worst_of, "%s", t->name);
    }
    return true;
}

/* Tensor by tensor, so that one that is larger than a cache is read from the drive once for all wires. */
static bool look_at_weights(const bench *b, bench_wires *w, cli_progress *progress)
{
    bool ok = true;
    uint64_t done = 0;
    sums *sum = calloc(w->n, sizeof *sum);
    if (!sum) {
        cli_error(b->program, "out of memory");
        return false;
    }
    cli_progress_begin(progress, "encoding", 0);
    for (uint64_t i = 0; i < w->info.tensors && ok; i++) {
        zo2_tensor_info t;
        zo2_pack_tensor(w->pack, i, &t); /* there are so many */
        for (unsigned k = 0; k < w->n && ok; k++) {
            ok = !cli_interrupted() && look_at(b, w, &w->wire[k], &sum[k], &t);
            done += t.rows * t.cols;
            if (cli_progress_due(progress))
                cli_progress_show(progress, done, w->info.parameters * w->n, "");
        }
    }
    cli_progress_clear(progress);
    for (unsigned k = 0; k < w->n && ok; k++) {
        bench_wire *x = &w->wire[k];
        if (x->refused[0]) {
            x->worst = NAN;
            continue;
        }
        x->bits = 8 * sum[k].wire_bytes / sum[k].weights;
        x->error = relative(sum[k].error_squares, sum[k].squares);
    }
    free(sum);
    return ok;
}

static bool measure(bench *b, bench_wires *w, cli_progress *progress)
{
    if (!look_at_weights(b, w, progress))
        return false;
    for (unsigned k = 0; k < w->n; k++) {
        bench_wire *x = &w->wire[k];
        if (w->lines && !x->refused[0]) {
            if (!bench_wires_gradient(b, w, x, progress))
                return false;
            if (k == 0 && x->refused[0]) { /* nothing to compare with */
                cli_error(b->program, "wires: %s", x->refused);
                return false;
            }
        }
        if (w->lines && !x->refused[0])
            x->correlation = bench_correlation(w->wire[0].g, x->g, w->directions);
        if (k == 0 && !b->options.json.given)
            bench_wires_title(w);
        if (!b->options.json.given)
            bench_wires_print(w, x);
    }
    return true;
}

static bool open_model(const bench *b, bench_wires *w)
{
    const bench_options *o = &b->options;
    if (!o->model.given) {
        cli_error(b->program, "wires: which model? Give its pack with --model");
        return false;
    }
    w->model = o->model.text;
    w->tune = o->tune.given && strcmp(o->tune.text, "all") != 0 ? o->tune.text : NULL;
    w->eps = o->eps.given ? o->eps.f : 1e-3;
    w->dist = o->dist.given ? zo2_dist_parse(o->dist.text) : ZO2_GAUSSIAN;
    w->backend = o->backend.given ? (zo2_backend_kind)zo2_backend_parse(o->backend.text) : ZO2_BACKEND_CPU;
    zo2_status s = zo2_pack_open(&w->pack, w->model);
    if (!s)
        s = zo2_pack_get_info(w->pack, &w->info);
    if (s)
        cli_fail(b->program, "wires", s);
    for (uint64_t i = 0; !s && i < w->info.tensors; i++)
        if (!zo2_pack_has_source(w->pack, i)) {
            cli_error(
                b->program,
                "wires: zo2-pack freeze --drop-source left matrices of %s without source bits, which wires are compared "
                "with: use the pack that it was made from",
                w->model);
            return false;
        }
    return !s;
}

void bench_wires_free(bench_wires *w)
{
    if (!w)
        return;
    for (unsigned k = 0; k < w->n; k++)
        free(w->wire[k].g);
    free(w->wire);
    zo2t_dataset_close(w->lines);
    zo2_pack_close(w->pack);
    free(w);
}

bool bench_wires_section(bench *b)
{
    cli_progress progress;
    bench_wires *w = calloc(1, sizeof *w);
    if (!w) {
        cli_error(b->program, "out of memory");
        return false;
    }
    b->wires = w; /* main frees it, when it is printed */
    cli_progress_init(&progress, b->program, false);
    return open_model(b, w) && bench_wires_lines(b, w, &progress) && list_wires(b, w) && measure(b, w, &progress);
}
