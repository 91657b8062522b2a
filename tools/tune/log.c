/* log.c: zo2-tune log: what a run did, from its journal, settings.json and metrics.jsonl. Works while it trains. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/cli/args.h"
#include "tools/cli/jsonout.h"
#include "tools/cli/report.h"
#include "tools/cli/run_print.h"
#include "tools/text/lines.h"
#include "tools/tune/choice.h"
#include "tools/tune/commands.h"
#include "tools/tune/health.h"
#include "tools/tune/metrics.h"
#include "tools/tune/settings.h"

enum { TABLE_ROWS = 20 };

static void print_settings(const char *dir, const zo2_engine_opts *o, uint64_t model_hash, const tune_settings *s)
{
    printf("run            %s\n", dir);
    printf("model          0x%016" PRIx64 "%s%s\n", model_hash, s->model ? "  " : "", s->model ? s->model : "");
    if (s->train)
        printf("data           %s\n", zo2t_lines_name(s->train));
    if (s->batch) {
        char bos[24] = "none";
        if (s->bos >= 0)
            snprintf(bos, sizeof bos, "%d", s->bos);
        printf("batch          %" PRIu64 " lines of at most %u tokens, bos %s\n", s->batch, s->seq, bos);
    }
    if (o->micro_batch && o->micro_batch != UINT32_MAX)
        printf("micro-batch    %u lines\n", o->micro_batch);
    cli_run_print(o, tune_has_answers(s->tune));
}

/* What is wrong with the run, if anything. */
static zo2_status print_health(const zo2_run *run)
{
    tune_health h;
    uint64_t good;
    zo2_status s = tune_health_read(&h, run);
    if (s != ZO2_OK)
        return s;
    if (h.skipped)
        printf("skipped        %" PRIu64 " of %" PRIu64 " steps, the last %" PRIu64
               " in a row: a loss was not finite\n",
               h.skipped, h.steps, h.skipped_in_row);
    if (h.exploded)
        printf("exploded       the loss at step %" PRIu64 ", and it has not come back\n", h.exploded_at);
    if (tune_health_broken(&h) && tune_health_last_good(&h, &good))
        printf("last good      the weights after %" PRIu64 " steps: --at-step %" PRIu64 "\n", good, good);
    return ZO2_OK;
}

/* Means over equal windows of the run. */
static zo2_status print_losses(const zo2_run *run)
{
    uint64_t steps = zo2_run_steps(run), window = (steps + TABLE_ROWS - 1) / TABLE_ROWS;
    if (!steps)
        return ZO2_OK;
    printf("\n%17s  %10s  %12s  %10s  %s\n", "steps", "mean loss", "mean |grad|", "lr", "skipped");
    for (uint64_t first = 0; first < steps; first += window) {
        uint64_t end = first + window < steps ? first + window : steps, n = 0, skipped = 0;
        double loss = 0, grad = 0, lr = 0;
        for (uint64_t i = first; i < end; i++) {
            zo2_run_record r;
            zo2_status s = zo2_run_record_get(run, i, &r);
            if (s != ZO2_OK)
                return s;
            lr = r.lr;
            if (r.skipped) {
                skipped++;
                continue;
            }
            loss += (r.loss_plus + r.loss_minus) / 2;
            grad += fabs(r.projected_grad);
            n++;
        }
        char range[48];
        snprintf(range, sizeof range, "%" PRIu64 " - %" PRIu64, first, end - 1);
        printf("%17s  %10.4f  %12.4g  %10.4g  %" PRIu64 "\n", range, n ? loss / (double)n : NAN,
               n ? grad / (double)n : NAN, lr, skipped);
    }
    return ZO2_OK;
}

static zo2_status print_evaluations(const char *dir)
{
    tune_metrics_eval *e = NULL;
    size_t n = 0;
    zo2_status s = tune_metrics_evaluations(dir, &e, &n);
    if (s != ZO2_OK || !n)
        return s;
    const tune_metrics_eval *best = tune_metrics_best(e, n); /* NULL if no loss is finite */
    printf("\n%17s  %10s  %s\n", "evaluated after", "loss", isnan(e[0].accuracy) ? "" : "accuracy");
    for (size_t i = 0; i < n; i++) {
        printf("%17" PRIu64 "  %10.4f", e[i].steps, e[i].loss);
        if (!isnan(e[i].accuracy))
            printf("  %6.1f %%", 100 * e[i].accuracy);
        puts(&e[i] == best ? "  best" : "");
    }
    free(e);
    return ZO2_OK;
}

static zo2_status print_json(const zo2_run *run)
{
    uint64_t steps = zo2_run_steps(run);
    for (uint64_t i = 0; i < steps; i++) {
        zo2_run_record r;
        zo2_status s = zo2_run_record_get(run, i, &r);
        if (s != ZO2_OK)
            return s;
        cli_json j;
        cli_json_start(&j, stdout);
        cli_json_open(&j, NULL, '{');
        cli_json_u64(&j, "step", r.step);
        cli_json_f64(&j, "loss", (r.loss_plus + r.loss_minus) / 2);
        cli_json_f64(&j, "loss_plus", r.loss_plus);
        cli_json_f64(&j, "loss_minus", r.loss_minus);
        cli_json_f64(&j, "projected_grad", r.projected_grad);
        cli_json_f64(&j, "lr", r.lr);
        cli_json_u64(&j, "tokens", r.tokens);
        cli_json_u64(&j, "data_position", r.data_position);
        cli_json_bool(&j, "skipped", r.skipped);
        cli_json_f64(&j, "decay", r.d);
        cli_json_open(&j, "queries", '[');
        for (uint32_t q = 0; q < r.queries; q++) {
            cli_json_open(&j, NULL, '{');
            cli_json_f64(&j, "loss_plus", r.query[q].loss_plus);
            cli_json_f64(&j, "loss_minus", r.query[q].loss_minus);
            cli_json_f64(&j, "g_raw", r.query[q].g_raw);
            cli_json_f64(&j, "g_clipped", r.query[q].g_clipped);
            cli_json_f64(&j, "c", r.query[q].c);
            cli_json_close(&j, '}');
        }
        cli_json_close(&j, ']');
        cli_json_close(&j, '}');
        cli_json_end(&j);
    }
    return ZO2_OK;
}

static zo2_status print_tables(const char *dir, const zo2_run *run)
{
    tune_settings settings;
    zo2_engine_opts o;
    zo2_status s = tune_settings_load(&settings, dir);
    if (s == ZO2_OK || s == ZO2_ERR_NOTFOUND) { /* a run of another program has no settings.json */
        zo2_run_get_opts(run, &o);
        print_settings(dir, &o, zo2_run_model_hash(run), &settings);
        printf("steps          %" PRIu64, zo2_run_steps(run));
        if (settings.steps)
            printf(" of %" PRIu64, settings.steps);
        putchar('\n');
        s = print_health(run);
        if (s == ZO2_OK)
            s = print_losses(run);
    }
    tune_settings_free(&settings);
    return s == ZO2_OK ? print_evaluations(dir) : s;
}

int tune_log(int argc, char **argv)
{
    cli_value json = {0};
    static const cli_option options[] = {
        {"json", NULL, CLI_FLAG, 0, "the journal's records, one JSON object per line", 0, 0},
        {0},
    };
    const char *dir = NULL;
    const cli_positional positionals[] = {{"RUN_DIR", "directory of the run", &dir, false}, {0}};
    const cli_group groups[] = {{"Options", options, &json}, {0}};
    const cli_command command = {
        .program = "zo2-tune log",
        .summary = "Shows what a run did: settings, losses, evaluations. Works while it trains.",
        .positionals = positionals,
        .groups = groups,
    };
    int status;
    if (!cli_parse(&command, argc, argv, &status))
        return cli_finish(command.program, status);
    zo2_run *run = NULL;
    zo2_status s = zo2_run_open(&run, dir);
    if (s == ZO2_OK)
        s = json.given ? print_json(run) : print_tables(dir, run);
    if (s != ZO2_OK)
        status = cli_fail(command.program, NULL, s);
    zo2_run_close(run);
    return cli_finish(command.program, status);
}
