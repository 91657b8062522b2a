/* train.c: zo2-tune train: the loop. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/cli/interrupt.h"
#include "tools/cli/numbers.h"
#include "tools/cli/report.h"
#include "tools/cli/tune_text.h"
#include "tools/tune/commands.h"
#include "tools/tune/train.h"
#include "tools/tune/train_dist.h"
#include "tools/tune/train_join.h"

enum { SMOOTH = 50 };

/* What the progress line shows: means over the last steps. */
typedef struct recent {
    double loss[SMOOTH], seconds[SMOOTH];
    uint64_t tokens[SMOOTH], n;
    /* bytes, of a run that spills */
    uint64_t read[SMOOTH], written[SMOOTH];
    uint64_t ram, wires, spill, pack; /* where masters are now */
} recent;

static void recent_add(recent *w, const zo2_step_result *r)
{
    uint64_t i = w->n++ % SMOOTH;
    w->loss[i] = (r->loss_plus + r->loss_minus) / 2;
    w->seconds[i] = r->seconds;
    w->tokens[i] = r->tokens;
    w->read[i] = r->read_bytes;
    w->written[i] = r->written_bytes;
    w->ram = r->ram_master_bytes;
    w->wires = r->ram_wire_bytes;
    w->spill = r->spilled_bytes;
    w->pack = r->pack_master_bytes;
}

/* "; RAM 3 GiB + wires 12 GiB, spill 640 GiB, pack 12 GiB" */
static void homes_text(char *out, size_t size, const recent *w)
{
    char ram[CLI_TEXT_BYTES], wires[CLI_TEXT_BYTES], spill[CLI_TEXT_BYTES], pack[CLI_TEXT_BYTES];
    snprintf(out, size, "; RAM %s + wires %s, spill %s, pack %s", cli_human_size(ram, w->ram),
             cli_human_size(wires, w->wires), cli_human_size(spill, w->spill), cli_human_size(pack, w->pack));
}

static const char *recent_text(char *out, size_t size, const recent *w, uint64_t steps, bool spills)
{
    char in[CLI_TEXT_BYTES], back[CLI_TEXT_BYTES], homes[160];
    double loss = 0, seconds = 0;
    uint64_t tokens = 0, read = 0, written = 0, n = 0, all = w->n < SMOOTH ? w->n : SMOOTH;
    for (uint64_t i = 0; i < SMOOTH && i < w->n; i++) {
        seconds += w->seconds[i];
        tokens += w->tokens[i];
        read += w->read[i];
        written += w->written[i];
        if (isfinite(w->loss[i])) {
            loss += w->loss[i];
            n++;
        }
    }
    int end = snprintf(out, size, "step %" PRIu64 ", loss %.4f, %.0f tokens/s", steps, n ? loss / (double)n : NAN,
                       seconds > 0 ? (double)tokens / seconds : 0);
    if (spills && all && end > 0 && (size_t)end < size) {
        homes_text(homes, sizeof homes, w);
        snprintf(out + end, size - (size_t)end, ", %s read and %s written a step%s", cli_human_size(in, read / all),
                 cli_human_size(back, written / all), homes);
    }
    return out;
}

static void show_progress(train *t, const recent *w, uint64_t steps, uint64_t target)
{
    char details[320];
    bool by_steps = t->flags->log_every.given && !t->progress.tty;
    bool due = by_steps ? steps % t->flags->log_every.u == 0 || steps == target : cli_progress_due(&t->progress);
    if (!due)
        return;
    uint64_t evaluations = t->eval_data ? cli_pace_evaluations(steps, target, t->flags->eval_every.u) : 0;
    cli_progress_show_left(&t->progress, steps, target,
                           recent_text(details, sizeof details, w, steps, t->plan.spill_bytes != 0),
                           cli_pace_left(&t->pace, target - steps, evaluations));
}

/* What the time left is made of. */
static void begin_pace(train *t)
{
    t->pace.passes_per_step = 2.0 * t->opts.queries;
    t->pace.snapshot_every = t->opts.snapshot_seconds;
    if (t->eval_data) {
        zo2t_dataset_info info;
        zo2t_dataset_get_info(t->eval_data, &info);
        t->pace.evaluation_pass_tokens = (cli_wires_exact(&t->opts) ? 1 : 2) * (double)info.tokens;
    }
}

static zo2_status evaluate(train *t, uint64_t steps, tune_evaluation *out)
{
    zo2_status s = tune_evaluate(out, t->engine, t->eval_data, t->settings.batch, t->rank->d, &t->progress);
    cli_progress_begin(&t->progress, "training", steps);
    if (s == ZO2_OK) {
        cli_pace_evaluation(&t->pace, out->seconds);
        if (train_rank_reports(t))
            train_show_evaluation(t, steps, out);
    }
    return s;
}

/* Is there an evaluation after `steps` of `target` steps? */
static bool evaluation_due(const train *t, uint64_t steps, uint64_t target)
{
    const cli_value *every = &t->flags->eval_every;
    return t->eval_data && (steps == target || (every->given && steps % every->u == 0));
}

/* One step, its evaluation and its metrics line. */
static zo2_status one_step(train *t, uint64_t target, recent *w, uint64_t *steps, uint64_t *position)
{
    zo2_batch batch = {.struct_size = sizeof batch};
    zo2_step_result r = {.struct_size = sizeof r};
    double began = cli_clock();
    zo2_status s = zo2t_batcher_fill(t->batcher, *position, t->settings.batch, &batch);
    if (t->rank->d && cli_interrupted()) /* the others learn of it where they wait for this step */
        zo2_step_abort(t->engine);
    if (s == ZO2_OK)
        s = zo2_step(t->engine, &batch, &r);
    if (s != ZO2_OK)
        return s;
    *position = batch.data_position;
    *steps = r.step + 1;
    cli_pace_step(&t->pace, cli_clock() - began, r.seconds, r.tokens);
    tune_health_add(&t->health, (r.loss_plus + r.loss_minus) / 2, r.skipped);
    if (!r.skipped)
        t->most_skipped = TUNE_MAX_SKIPPED;
    t->seconds += r.seconds;
    t->tokens += r.tokens;
    t->update_busy += r.update.busy;
    t->upload_busy += r.upload.busy;
    t->compute_busy += r.compute.busy;
    t->read_busy += r.read.busy;
    t->write_busy += r.write.busy;
    recent_add(w, &r);
    train_rank_count(t, &r);
    if (r.skipped && !t->progress.quiet)
        cli_progress_message(&t->progress, "step %" PRIu64 " was skipped: its loss is not finite", r.step);
    if (train_rank_reports(t))
        train_warn_exploded(t);

    t->last_eval.done = false;
    if (evaluation_due(t, *steps, target))
        s = evaluate(t, *steps, &t->last_eval);
    /* The step is done and journaled whatever became of its evaluation: it gets its line. */
    const tune_metrics_evals evals = {.before = r.step == 0 ? &t->first_eval : NULL,
                                      .after = &t->last_eval,
                                      .work = t->rank->d ? dist_work_seconds(t->rank->d) : NULL,
                                      .ranks = t->rank->d ? dist_ranks(t->rank->d) : 0};
    zo2_status written = tune_metrics_append(&t->metrics, &r, &evals);
    if (t->flags->json.given) {
        tune_metrics_write(stdout, &r, &evals, t->metrics.spills, false);
        fflush(stdout); /* whoever reads it reads it now */
    }
    if (s == ZO2_OK)
        s = train_rank_check(t, *steps);
    if (s == ZO2_OK)
        s = written;
    if (s == ZO2_OK)
        show_progress(t, w, *steps, target);
    return s;
}

/* The last steps of the session were skipped: too many in a row, or all there were. */
static bool ends_skipped(const train *t)
{
    uint64_t n = t->health.skipped_in_row;
    return n >= t->most_skipped || (n && n >= t->health.steps - t->steps_before);
}

/* A step, or what goes with it, failed. */
static int failed(const train *t, zo2_status s, uint64_t steps)
{
    cli_fail(t->command->program, NULL, s);
    if (s == ZO2_ERR_NONFINITE) { /* going on would end at the same place */
        fprintf(stderr, "Try a smaller --lr, or --clip, in another run.\n");
        train_advise_good(t);
    } else {
        fprintf(stderr, "The run has %" PRIu64 " good step%s; --resume goes on from there.\n", steps,
                steps == 1 ? "" : "s");
    }
    return CLI_EXIT_FAILED;
}

static int end_of_loop(train *t, zo2_status s, uint64_t steps)
{
    bool interrupted =
        (cli_interrupted() && (s == ZO2_OK || s == ZO2_ERR_CANCELLED)) || (t->rank->d && s == ZO2_ERR_CANCELLED);
    if (s != ZO2_OK && !interrupted)
        return failed(t, s, steps);
    if (steps > t->steps_before && !t->flags->no_snapshot.given) { /* nothing new, nothing to save */
        t->progress.detached = true;
        t->progress.silent = false;
        cli_progress_begin(&t->progress, "saving", 0);
        if (interrupted && train_rank_reports(t))
            cli_progress_message(&t->progress, "interrupted; saving the weights (Ctrl-C again quits at once)");
        s = zo2_snapshot(t->engine);
        cli_progress_clear(&t->progress);
        if (s != ZO2_OK) /* a snapshot only saves time: the journal has it all */
            cli_progress_message(&t->progress, "warning: no snapshot: %s; a resume replays the journal instead",
                                 zo2_last_error());
    }
    if (interrupted && !train_rank_reports(t))
        return CLI_EXIT_INTERRUPTED;
    if (interrupted) {
        cli_progress_message(&t->progress, "interrupted after %" PRIu64 " step%s; go on with --resume", steps,
                             steps == 1 ? "" : "s");
        return CLI_EXIT_INTERRUPTED;
    }
    if (!train_rank_reports(t))
        return ends_skipped(t) ? CLI_EXIT_FAILED : CLI_EXIT_OK;
    return ends_skipped(t) ? train_too_many_skipped(t) : train_summary(t);
}

static int loop(train *t)
{
    zo2_engine_state state;
    zo2_engine_get_state(t->engine, &state);
    t->steps_before = state.step;
    uint64_t steps = state.step, position = state.data_position, target = t->settings.steps;
    recent w = {.n = 0};
    zo2_status s = ZO2_OK;
    if (steps >= target && !train_rank_reports(t))
        return CLI_EXIT_OK;
    if (steps >= target) {
        cli_progress_message(&t->progress, "the run has its %" PRIu64 " steps already; %s", steps,
                             t->opts.schedule == ZO2_CONSTANT
                                 ? "go on with a larger --steps"
                                 : "its learning-rate schedule ends there, so more of them take another run");
        return train_summary(t);
    }
    if (state.resumed && steps && !t->progress.quiet)
        cli_progress_message(&t->progress, "going on after %" PRIu64 " of %" PRIu64 " steps", steps, target);
    if (train_rank_reports(t))
        train_warn_exploded(t);
    t->most_skipped = TUNE_MAX_SKIPPED + (t->flags->retry_skipped.given ? t->health.skipped_in_row : 0);
    begin_pace(t);
    t->progress.silent = true; /* the bar counts steps, not what the engine does for each */
    cli_progress_begin(&t->progress, "training", steps);
    if (t->eval_data && steps == 0)
        s = evaluate(t, 0, &t->first_eval);
    while (s == ZO2_OK && steps < target && t->health.skipped_in_row < t->most_skipped &&
           (t->rank->d || !cli_interrupted()))
        s = one_step(t, target, &w, &steps, &position);
    if (s != ZO2_OK && t->rank->d)
        dist_failed(t->rank->d, s);
    cli_progress_clear(&t->progress);
    return end_of_loop(t, s, steps);
}

int tune_train(int argc, char **argv)
{
    train_flags flags = {0};
    cli_group groups[TRAIN_GROUPS];
    cli_command command;
    int status;
    train_command(&command, groups, &flags);
    if (!cli_parse(&command, argc, argv, &status))
        return cli_finish(command.program, status);
    if (flags.eval_every.given && !flags.eval.given)
        return cli_usage_error(&command, "--eval-every needs --eval EVAL.jsonl");
    if (flags.no_snapshot.given && (flags.snapshot.given || flags.snapshot_every.given))
        return cli_usage_error(&command, "--no-snapshot goes with neither --snapshot nor --snapshot-every");
    if (flags.snapshot.given && flags.engine.spill.n)
        return cli_usage_error(&command, "--snapshot is not for --spill: the directories have the snapshot, too");
    if (flags.retry_skipped.given && !flags.resume.given)
        return cli_usage_error(&command, "--retry-skipped needs --resume");
    if (flags.engine.tune_order.given && !flags.engine.tune_rotate.given && !flags.resume.given)
        return cli_usage_error(&command, "--tune-order needs --tune-rotate N");

    if (flags.eval.given && !strcmp(flags.data.text, "-") && !strcmp(flags.eval.text, "-"))
        return cli_usage_error(&command, "--data - --eval -: standard input can be read once only");

    if ((flags.share.given || flags.check_every.given) && !flags.distribute.given)
        return cli_usage_error(&command, "--share and --check-every need --distribute");
    if (flags.distribute.given &&
        (!strcmp(flags.data.text, "-") || (flags.eval.given && !strcmp(flags.eval.text, "-"))))
        return cli_usage_error(&command, "--distribute: standard input is read by one rank only; give a file");

    cli_interrupt_install();
    train t;
    train_rank rank;
    status = train_rank_open(&rank, &command, &flags);
    if (status) {
        train_rank_close(&rank, status);
        return cli_finish(command.program, status);
    }
    if (rank.d && flags.resume.given)
        status = train_join_run(&rank, &command, flags.run.text);
    if (status) {
        train_rank_close(&rank, status);
        return cli_finish(command.program, status);
    }
    status = train_rank_agree(&t, train_setup(&t, &command, &flags, &rank));
    if (!status && flags.dry_run.given)
        status = train_rank_reports(&t) ? train_show_plan(&t) : 0;
    else if (!status)
        status = train_rank_agree(&t, train_start(&t));
    if (!status && !flags.dry_run.given)
        status = loop(&t);
    train_free(&t);
    train_rank_close(&rank, status);
    return cli_finish(command.program, status);
}
