/* train_summary.c: what zo2-tune train says about evaluations and at the end. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/cli/jsonout.h"
#include "tools/cli/numbers.h"
#include "tools/cli/report.h"
#include "tools/cli/tune_text.h"
#include "tools/tune/evaluate.h"
#include "tools/tune/health.h"
#include "tools/tune/metrics.h"
#include "tools/tune/train.h"
#include "tools/tune/train_dist.h"

enum { LAST_STEPS = 100 };

/* "loss 0.8995, accuracy 70.4 %" */
static const char *figures(char *out, size_t size, double loss, double accuracy)
{
    if (isnan(accuracy))
        snprintf(out, size, "loss %.4f, perplexity %.4g", loss, exp(loss));
    else
        snprintf(out, size, "loss %.4f, accuracy %.1f %%", loss, 100 * accuracy);
    return out;
}

void train_show_evaluation(train *t, uint64_t steps, const tune_evaluation *e)
{
    char text[96], wire[320] = "";
    tune_evaluation_warn(e, &t->progress);
    if (t->flags->quiet.given || t->flags->json.given)
        return;
    if (!cli_wires_exact(&t->opts)) {
        char there[64], wires[CLI_TUNE_BYTES];
        snprintf(wire, sizeof wire, " (through the %s wire: %s)", cli_wires_text(wires, &t->opts),
                 figures(there, sizeof there, e->loss, e->accuracy));
    }
    printf("after %" PRIu64 " steps: evaluation %s%s\n", steps,
           figures(text, sizeof text, e->loss_fp32, e->accuracy_fp32), wire);
    fflush(stdout);
}

/* Mean loss of the journal's last steps that weren't skipped; NaN if there is none. */
static double last_loss(const zo2_run *run, uint64_t *over)
{
    uint64_t steps = zo2_run_steps(run), n = 0;
    double sum = 0;
    *over = steps < LAST_STEPS ? steps : LAST_STEPS;
    for (uint64_t i = steps - *over; i < steps; i++) {
        zo2_run_record r;
        if (zo2_run_record_get(run, i, &r) == ZO2_OK && !r.skipped) {
            sum += (r.loss_plus + r.loss_minus) / 2;
            n++;
        }
    }
    return n ? sum / (double)n : NAN;
}

/* A path as a shell takes it: quoted where it has to be. For free(). */
static char *shell_word(const char *s)
{
    /* a word that begins with a dash would be taken for an option */
    const char *dot = *s == '-' ? "./" : "";
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./+,:@%";
    char *out = malloc(strlen(dot) + 4 * strlen(s) + 3), *to = out;
    if (!out)
        return NULL;
    to = stpcpy(to, dot);
    if (*s && s[strspn(s, plain)] == '\0') {
        strcpy(to, s);
        return out;
    }
    *to++ = '\'';
    for (; *s; s++) {
        if (*s == '\'') {
            memcpy(to, "'\\'", 3);
            to += 3;
        }
        *to++ = *s;
    }
    *to++ = '\'';
    *to = '\0';
    return out;
}

/* Is a whole model to be exported of which this pack has not all bits? Adapters are written without it. */
static bool needs_whole_pack(const train *t)
{
    zo2_frozen_wire_info w;
    if (t->opts.tune && !strncmp(t->opts.tune, "lora:", 5))
        return false;
    for (size_t i = 0; zo2_pack_frozen_wire(t->model.pack, i, &w) == ZO2_OK; i++)
        if (w.dropped)
            return true;
    return false;
}

#define WHOLE "WHOLE.zo2" /* stands for a name that nobody here knows */

char *train_export_command(const train *t, const uint64_t *step)
{
    char *model = shell_word(needs_whole_pack(t) ? WHOLE : t->flags->model.text), *run = shell_word(t->flags->run.text),
         *command = NULL;
    char at_step[40] = "";
    if (step)
        snprintf(at_step, sizeof at_step, " --at-step %" PRIu64, *step);
    if (!model || !run || asprintf(&command, "zo2-pack export %s OUT --run %s%s", model, run, at_step) < 0)
        command = NULL;
    free(model);
    free(run);
    return command;
}

/* The lane that was busy longest in this session's steps, and what part of their time that was. */
static const char *bottleneck(const train *t, double *share)
{
    const struct {
        const char *name;
        double busy;
    } lanes[] = {{"compute", t->compute_busy},
                 {"update", t->update_busy},
                 {"upload", t->upload_busy},
                 {"read", t->read_busy},
                 {"write", t->write_busy}};
    size_t longest = 0;
    for (size_t i = 1; i < sizeof lanes / sizeof *lanes; i++)
        if (lanes[i].busy > lanes[longest].busy)
            longest = i;
    *share = t->seconds > 0 ? lanes[longest].busy / t->seconds : NAN;
    return lanes[longest].name;
}

/* What a summary has to say. */
typedef struct summary {
    uint64_t steps, over;
    double loss; /* mean of the last `over` steps */
    size_t evaluations;
    const tune_metrics_eval *best; /* NULL: none, or none was finite */
    char *export_command;          /* NULL: there is nothing worth it */
} summary;

/* Of the best evaluation, of the last good step of a run that is broken, else of the last step. */
static char *worth_exporting(const train *t, const summary *a)
{
    uint64_t good;
    if (a->best)
        return train_export_command(t, &a->best->steps);
    if (a->evaluations)
        return NULL;
    if (!tune_health_broken(&t->health))
        return train_export_command(t, NULL);
    return tune_health_last_good(&t->health, &good) ? train_export_command(t, &good) : NULL;
}

static void print_json(const train *t, const summary *a)
{
    const tune_metrics_eval *best = a->best;
    cli_json j;
    cli_json_start(&j, stdout);
    cli_json_open(&j, NULL, '{');
    cli_json_bool(&j, "summary", true);
    cli_json_u64(&j, "steps", a->steps);
    cli_json_u64(&j, "steps_this_session", a->steps - t->steps_before);
    cli_json_f64(&j, "final_loss", a->loss);
    train_health_json(&j, &t->health);
    cli_json_f64(&j, "seconds", t->seconds);
    cli_json_u64(&j, "tokens", t->tokens);
    cli_json_f64(&j, "tokens_per_second", t->seconds > 0 ? (double)t->tokens / t->seconds : NAN);
    if (t->seconds > 0) {
        double share;
        cli_json_text(&j, "bottleneck", bottleneck(t, &share));
        cli_json_f64(&j, "bottleneck_share", share);
    }
    if (best) {
        cli_json_u64(&j, "best_at_step", best->steps);
        cli_json_f64(&j, "best_eval_loss_fp32", best->loss);
        if (!isnan(best->accuracy))
            cli_json_f64(&j, "best_eval_accuracy_fp32", best->accuracy);
    }
    cli_json_text(&j, "export_command", a->export_command);
    cli_json_close(&j, '}');
    cli_json_end(&j);
}

static void print_text(const train *t, const summary *a)
{
    char time[CLI_TEXT_BYTES], text[96];
    uint64_t here = a->steps - t->steps_before;
    const tune_metrics_eval *best = a->best;
    printf("%" PRIu64 " steps", a->steps);
    if (here && here < a->steps)
        printf(", %" PRIu64 " of them now", here);
    if (here)
        printf(" in %s, %.0f tokens/s", cli_human_time(time, t->seconds),
               t->seconds > 0 ? (double)t->tokens / t->seconds : 0);
    printf("; loss %.4f (mean of the last %" PRIu64 ")\n", a->loss, a->over);
    if (here) {
        double share;
        const char *name = bottleneck(t, &share);
        printf("bottleneck: %s %.0f %%\n", name, 100 * share);
        train_rank_summary(t);
    }
    train_health_text(&t->health);
    if (best)
        printf("best evaluation after %" PRIu64 " step%s: %s%s\n", best->steps, best->steps == 1 ? "" : "s",
               figures(text, sizeof text, best->loss, best->accuracy),
               best->steps ? "" : "; training has not improved on the model it began with");
    else if (a->evaluations)
        puts("no evaluation had a finite loss: there is nothing worth exporting");
    if (a->export_command)
        printf("export: %s\n", a->export_command);
    if (a->export_command && needs_whole_pack(t))
        printf(WHOLE " is the pack that %s was made from\n", t->flags->model.text);
}

int train_summary(train *t)
{
    zo2_run *run = NULL;
    tune_metrics_eval *evals = NULL;
    summary a = {0};
    zo2_status s = zo2_run_open(&run, t->flags->run.text);
    if (s == ZO2_OK)
        s = tune_metrics_evaluations(t->flags->run.text, &evals, &a.evaluations);
    if (s != ZO2_OK) {
        zo2_run_close(run);
        return cli_fail(t->command->program, NULL, s);
    }
    a.best = tune_metrics_best(evals, a.evaluations);
    a.steps = zo2_run_steps(run);
    a.loss = last_loss(run, &a.over);
    a.export_command = worth_exporting(t, &a);
    if (t->flags->json.given)
        print_json(t, &a);
    else if (!t->flags->quiet.given)
        print_text(t, &a);
    free(a.export_command);
    free(evals);
    zo2_run_close(run);
    return 0;
}
