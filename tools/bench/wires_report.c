/* wires_report.c: the table of section wires, and its object in the JSON. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "tools/bench/wire_table.h"
#include "tools/cli/jsonout.h"
#include "tools/cli/numbers.h"
#include "tools/cli/report.h"

#define FIELD_BYTES 32

static void print_line(const char *wire, const char *bits, const char *error, const char *worst, const char *loss,
                       const char *correlation, const char *worst_of)
{
    printf("| %-8s | %7s | %8s | %8s | %11s | %9s | %-48s |\n", wire, bits, error, worst, loss, correlation, worst_of);
}

/* "-" where it isn't known. */
static const char *field(char out[FIELD_BYTES], const char *format, double v)
{
    if (isnan(v))
        snprintf(out, FIELD_BYTES, "-");
    else
        snprintf(out, FIELD_BYTES, format, v);
    return out;
}

static void print_lines_title(const bench_wires *w)
{
    printf("fp32's loss is %.5f, of %" PRIu64 " lines of %s.\n", w->wire[0].loss, w->scored, w->data);
    printf("corr(g): of L(W + eps z) - L(W - eps z) with fp32's; %u directions (%s z of %s, eps %g) of %" PRIu64
           " lines each, products in fp32.\n",
           w->directions, zo2_dist_name(w->dist), w->tune ? w->tune : "all weights", w->eps, w->batch);
    if (w->tune)
        printf(
            "For loss and corr(g) matrices that don't move are in the wire, and what moves in fp32; bits and errors are of "
            "all matrices.\n");
    printf("\n");
}

void bench_wires_title(const bench_wires *w)
{
    char size[CLI_TEXT_BYTES];
    printf("\n## wires: %s, %s parameters of %s\n\n", w->model, cli_human_count(size, w->info.parameters),
           zo2_dtype_name(w->info.dtype));
    printf(
        "error: what wires say minus the matrices' own values, root mean square, in %% of these; worst: of one matrix.\n");
    if (w->data)
        print_lines_title(w);
    else
        printf("--data FILE has lines for the loss and the projected gradient.\n\n");
    print_line("wire", "bits", "error", "worst", "loss - fp32", "corr(g)", "the worst one");
    print_line("--------", "------:", "-------:", "-------:", "----------:", "--------:",
               "------------------------------------------------");
    fflush(stdout);
}

/* Without the minus of a zero. */
static double rounded(double v)
{
    return fabs(v) < 0.000005 ? 0 : v;
}

void bench_wires_print(const bench_wires *w, const bench_wire *x)
{
    char bits[FIELD_BYTES], error[FIELD_BYTES], worst[FIELD_BYTES], loss[FIELD_BYTES], correlation[FIELD_BYTES];
    print_line(zo2_wire_name(x->wire), field(bits, "%.3f", x->bits), field(error, "%.4f", 100 * x->error),
               field(worst, "%.4f", 100 * x->worst), field(loss, "%+.5f", rounded(x->loss - w->wire[0].loss)),
               field(correlation, "%.6f", x->correlation), x->worst > 0 ? x->worst_of : "");
    fflush(stdout);
    if (x->refused[0])
        cli_warning("zo2-bench", "wires: %s: %s", zo2_wire_name(x->wire), x->refused);
}

static void number_or_null(cli_json *j, const char *key, double v)
{
    if (isfinite(v))
        cli_json_f64(j, key, v);
    else
        cli_json_null(j, key);
}

static void wire_json(cli_json *j, const bench_wires *w, const bench_wire *x)
{
    cli_json_open(j, NULL, '{');
    cli_json_text(j, "wire", zo2_wire_name(x->wire));
    number_or_null(j, "bits", x->bits);
    number_or_null(j, "error", x->error);
    number_or_null(j, "worst_error", x->worst);
    cli_json_text(j, "worst_tensor", x->worst > 0 ? x->worst_of : NULL);
    number_or_null(j, "loss", x->loss);
    number_or_null(j, "loss_difference", x->loss - w->wire[0].loss);
    number_or_null(j, "correlation", x->correlation);
    cli_json_text(j, "refused", x->refused[0] ? x->refused : NULL);
    cli_json_close(j, '}');
}

void bench_wires_json(cli_json *j, const bench_wires *w)
{
    cli_json_open(j, "wires", '{');
    cli_json_text(j, "model", w->model);
    cli_json_hash(j, "model_hash", w->info.model_hash);
    cli_json_text(j, "data", w->data);
    if (w->data) {
        cli_json_u64(j, "directions", w->directions);
        cli_json_u64(j, "batch", w->batch);
        cli_json_u64(j, "loss_lines", w->scored);
        cli_json_text(j, "tune", w->tune);
        cli_json_f64(j, "eps", w->eps);
        cli_json_text(j, "dist", zo2_dist_name(w->dist));
    }
    cli_json_open(j, "table", '[');
    for (unsigned k = 0; k < w->n; k++)
        wire_json(j, w, &w->wire[k]);
    cli_json_close(j, ']');
    cli_json_close(j, '}');
}
