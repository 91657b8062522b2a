/* train_setup.c: everything before the first step: which run this is, and whether the command fits it. Whether the machine does:
 * train_fit.c. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/cli/args.h"
#include "tools/cli/engine_flags.h"
#include "tools/cli/interrupt.h"
#include "tools/cli/numbers.h"
#include "tools/cli/progress.h"
#include "tools/cli/report.h"
#include "tools/tune/health.h"
#include "tools/tune/inputs.h"
#include "tools/tune/metrics.h"
#include "tools/tune/settings.h"
#include "tools/tune/trace.h"
#include "tools/tune/train.h"
#include "tools/tune/train_dist.h"
#include "tools/tune/warn.h"

/* "--NAME ...: the run has ...": a difference from the run, by name. Returns the exit status. */
static int differs(const train *t, const char *name, const char *here, const char *there)
{
    return cli_error(t->command->program,
                     "--%s %s: the run in %s was made with %s, and that can't change; leave the option out, "
                     "or start another run",
                     name, here, t->flags->run.text, there);
}

/* ---- which run ----------------------------------------------------------------------------------------------------
 */

/* Settles whether the run exists, and reads what it was made with: opts holds its settings then. */
static int find_run(train *t)
{
    const char *program = t->command->program, *dir = t->flags->run.text;
    zo2_run *run = NULL;
    zo2_engine_opts_init(&t->opts);
    tune_health_init(&t->health);
    zo2_status s = zo2_run_open(&run, dir);
    if (s == ZO2_ERR_NOTFOUND)
        return 0;
    if (s != ZO2_OK)
        return cli_fail(program, NULL, s);
    t->existed = true;
    t->steps_before = zo2_run_steps(run);
    s = tune_health_read(&t->health, run);
    zo2_run_get_opts(run, &t->opts);
    if (t->opts.tune && !(t->tune = strdup(t->opts.tune)))
        s = zo2_error(ZO2_ERR_NOMEM, "out of memory");
    t->opts.tune = t->tune; /* the run's goes with it */
    uint64_t hash = zo2_run_model_hash(run);
    zo2_run_close(run);
    if (s != ZO2_OK)
        return cli_fail(program, NULL, s);

    bool stuck = t->health.skipped_in_row >= TUNE_MAX_SKIPPED;
    if (!t->flags->resume.given && !stuck)
        return cli_error(
            program, "%s has a run of %" PRIu64 " steps already: continue it with --resume, or choose another --run",
            dir, t->steps_before);
    if (hash != t->model.info.model_hash)
        return cli_error(program,
                         "%s was made from another model: its model hash is 0x%016" PRIx64 ", that of %s 0x%016" PRIx64,
                         dir, hash, t->flags->model.text, t->model.info.model_hash);
    if (stuck && !t->flags->retry_skipped.given)
        return train_refuse_skipped(t);
    s = tune_settings_load(&t->settings, dir);
    if (s == ZO2_ERR_NOTFOUND && t->steps_before == 0) /* the session that made it ended there and then */
        return 0;
    if (s == ZO2_ERR_NOTFOUND)
        return cli_error(program,
                         "%s/settings.json is missing, so nobody knows how the run's batches were made; put it back "
                         "(from a copy), or start another run",
                         dir);
    return s == ZO2_OK ? 0 : cli_fail(program, NULL, s);
}

/* Batch, sequence, BOS, steps: as given, else the run's, else the defaults; differences from the run are refused. */
static int resolve_settings(train *t)
{
    const train_flags *f = t->flags;
    tune_settings *s = &t->settings;
    bool known = s->batch != 0; /* settings.json was there */
    char here[CLI_TEXT_BYTES], there[CLI_TEXT_BYTES];

    uint64_t batch = f->engine.batch.given ? f->engine.batch.u : known ? s->batch : CLI_DEFAULT_BATCH;
    uint32_t seq;
    int32_t bos;
    int status = tune_resolve_seq(t->command, &t->model, &f->engine.seq, s->seq, &seq);
    if (!status)
        status = tune_resolve_bos(t->command, &t->model, &f->bos, known ? &s->bos : NULL, &bos);
    if (status)
        return status;
    if (known && batch != s->batch) {
        snprintf(there, sizeof there, "%" PRIu64, s->batch);
        return differs(t, "batch", f->engine.batch.text, there);
    }
    if (known && seq != s->seq) {
        snprintf(there, sizeof there, "%u", s->seq);
        return differs(t, "seq", f->engine.seq.text, there);
    }
    if (known && bos != s->bos) {
        snprintf(there, sizeof there, s->bos < 0 ? "none" : "%d", s->bos);
        return differs(t, "bos", f->bos.text, there);
    }

    uint64_t steps = f->steps.given ? f->steps.u : known ? s->steps : CLI_DEFAULT_STEPS;
    if (known && steps != s->steps) {
        snprintf(here, sizeof here, "%" PRIu64, steps);
        snprintf(there, sizeof there, "%" PRIu64, s->steps);
        bool constant = t->opts.schedule == ZO2_CONSTANT;
        if (!constant || steps < s->steps)
            return cli_error(t->command->program, "--steps %s: the run in %s was made with %s%s", here, f->run.text,
                             there,
                             constant ? ", and that may only grow"
                                      : "; its learning-rate schedule ends there, so that can't change");
    }
    t->settings_changed = !known || steps != s->steps;
    if (f->engine.endurance.given) {
        t->settings_changed |= s->endurance != f->engine.endurance.u;
        s->endurance = f->engine.endurance.u;
    }
    s->batch = batch;
    s->seq = seq;
    s->bos = bos;
    s->steps = steps;
    s->model_hash = t->model.info.model_hash;
    return 0;
}

/* ---- data ----------------------------------------------------------------------------------------------------------
 */

static int load_data(train *t)
{
    const train_flags *f = t->flags;
    tune_settings *s = &t->settings;
    bool known = s->train_hash != 0; /* settings.json was there */
    int status = tune_data_load(&t->data, f->data.text, &t->model, s->seq, s->bos, !t->existed, &t->progress);
    if (status)
        return status;
    zo2t_dataset_info info;
    zo2t_dataset_get_info(t->data, &info);
    if (known && info.file_hash != s->train_hash)
        return cli_error(t->command->program,
                         "--data %s is not the run's training file%s%s: its XXH3 is 0x%016" PRIx64
                         ", that of the run's 0x%016" PRIx64 "; give that file, or start another run",
                         f->data.text, s->train ? ", which was " : "", s->train ? zo2t_lines_name(s->train) : "",
                         info.file_hash, s->train_hash);
    if (known && s->ids_hash && info.ids_hash != s->ids_hash)
        return cli_error(
            t->command->program,
            "--data %s has other tokens than when the run was made: %s has another tokenizer now, or this version "
            "reads it differently; put the old files back with zo2-pack tokenizer, or start another run",
            f->data.text, t->model.path);
    t->settings_changed |= info.ids_hash != s->ids_hash;
    s->train_hash = info.file_hash;
    s->ids_hash = info.ids_hash;
    return f->eval.given
               ? tune_data_load(&t->eval_data, f->eval.text, &t->model, s->seq, s->bos, !t->existed, &t->progress)
               : 0;
}

/* ---- options
 * ------------------------------------------------------------------------------------------------ */

/* Stores everything given in o. */
static void apply_flags(const train *t, zo2_engine_opts *o)
{
    const train_flags *f = t->flags;
    cli_engine_flags_apply(&f->engine, o);
    if (f->engine.tune.given)
        o->tune = t->tune ? t->tune : "all";
#define APPLY(name, value) \
    if (f->name.given)     \
        o->name = f->name.value;
    TRAIN_SETTINGS(APPLY)
#undef APPLY
    o->seed_set |= f->seed.given;
    if (f->schedule.given)
        o->schedule = zo2_schedule_parse(f->schedule.text);
    if (f->snapshot_every.given)
        o->snapshot_seconds = f->snapshot_every.f;
    if (f->no_snapshot.given)
        o->snapshot_seconds = 0; /* at the end, which train.c leaves out */
    o->total_steps = t->settings.steps;
    o->snapshot_dir = f->snapshot.given ? f->snapshot.text : t->settings.snapshot_dir;
    if (!o->spill_dirs && t->settings.spill_count) {
        o->spill_dirs = (const char *const *)t->settings.spill_dirs;
        o->spill_count = t->settings.spill_count;
    }
}

int train_setup(train *t, const cli_command *c, const train_flags *f, struct train_rank *rank)
{
    memset(t, 0, sizeof *t);
    t->command = c;
    t->flags = f;
    t->rank = rank;
    t->metrics.fd = -1;
    cli_progress_init(&t->progress, c->program, f->quiet.given);
    if (f->log_every.given && !t->progress.tty)
        t->progress.interval = HUGE_VAL; /* lines come by steps, see train.c */

    int status = tune_model_open(&t->model, c->program, f->model.text);
    if (!status)
        status = find_run(t);
    if (!status)
        status = resolve_settings(t);
    if (!status)
        status = load_data(t);
    if (!status)
        status = train_resolve_tune(t);
    if (status)
        return status;

    /* For the plan: the run's own values with what was given on top. (The engine refuses differences by name later.) */
    apply_flags(t, &t->opts);
    if (!t->opts.spill_count && (f->engine.write_budget.given || f->engine.endurance.given))
        return cli_usage_error(c, "--write-budget and --endurance are for --spill");
    train_spill_chunks(t);
    uint32_t micro = t->opts.micro_batch;
    status = train_bounds(t, &t->opts, t->settings.batch, micro == UINT32_MAX ? 0 : micro);
    if (status)
        return status;
    t->opts.log = cli_log;
    t->opts.log_ud = &t->progress;
    t->opts.progress = cli_progress_work;
    t->opts.progress_ud = &t->progress;
    if (train_rank_reports(t))
        tune_warn_train(t);
    if (t->rank->d && train_rank_reports(t))
        train_rank_warn(t);
    return 0;
}

/* ---- start
 * ------------------------------------------------------------------------------------------------------------ */

static int save_settings(train *t)
{
    const train_flags *f = t->flags;
    tune_settings *s = &t->settings;
    char *before = s->snapshot_dir ? strdup(s->snapshot_dir) : NULL;
    if (f->snapshot.given)
        tune_remember(&s->snapshot_dir, f->snapshot.text);
    bool moved = f->snapshot.given && (!before || !s->snapshot_dir || strcmp(before, s->snapshot_dir) != 0);
    free(before);
    if (f->engine.spill.n)
        moved |= tune_settings_set_spill(s, f->engine.spill.texts, f->engine.spill.n) != 0;
    if (!t->settings_changed && !moved)
        return 0;
    tune_remember(&s->model, f->model.text);
    tune_remember(&s->train, f->data.text);
    tune_remember(&s->eval, f->eval.text);
    zo2_status status = tune_settings_save(s, f->run.text);
    return status == ZO2_OK ? 0 : cli_fail(t->command->program, NULL, status);
}

static int open_metrics(train *t)
{
    zo2_run *run = NULL;
    uint64_t rebuilt = 0;
    zo2_status s = zo2_run_open(&run, t->flags->run.text);
    if (s == ZO2_OK)
        s = tune_metrics_open(&t->metrics, t->flags->run.text, run, &rebuilt);
    zo2_run_close(run);
    if (s != ZO2_OK)
        return cli_fail(t->command->program, NULL, s);
    if (rebuilt && !t->progress.quiet)
        cli_progress_message(&t->progress, "metrics.jsonl: %" PRIu64 " missing line%s made again from the journal",
                             rebuilt, rebuilt == 1 ? "" : "s");
    return 0;
}

int train_start(train *t)
{
    int status = train_rank_make_places(t);
    if (!status)
        status = train_check_disk(t);
    if (status)
        return status;
    /* For the engine: only what was given; it fills in the run's values and refuses differences. */
    zo2_engine_opts o;
    zo2_engine_opts_init(&o);
    apply_flags(t, &o);
    o.max_rows = t->opts.max_rows;
    o.max_rows_micro = t->opts.max_rows_micro;
    o.max_seq = t->opts.max_seq;
    o.max_loss_tokens = t->opts.max_loss_tokens;
    o.log = t->opts.log;
    o.log_ud = t->opts.log_ud;
    o.progress = t->opts.progress;
    o.progress_ud = t->opts.progress_ud;
    o.resume = t->flags->resume.given;
    if (t->rank->d) {
        o.split = dist_split_work;
        o.exchange = dist_exchange;
        o.exchange_ud = t->rank->d;
    }
    zo2_status s = ZO2_OK;
    if (t->flags->trace.given) {
        s = tune_trace_open(&t->trace, t->flags->trace.text);
        o.trace = tune_trace_event;
        o.trace_ud = t->trace;
    }
    if (s == ZO2_OK)
        s = zo2_engine_open(&t->engine, t->flags->model.text, t->flags->run.text, &o);
    cli_progress_clear(&t->progress);
    if (s != ZO2_OK) {
        status = train_fail_to_fit(t, NULL, s);
        if (s == ZO2_ERR_NONFINITE) /* by an update of the journal's */
            train_advise_good(t);
        return status;
    }
    cli_interrupt_engine(t->engine);
    zo2_engine_get_opts(t->engine, &t->opts);
    t->plan.struct_size = sizeof t->plan;
    zo2_engine_get_plan(t->engine, &t->plan);
    t->metrics.spills = t->plan.spill_bytes != 0;
    train_say_spill(t);
    if (train_rank_reports(t))
        tune_warn_eps(t);

    status = train_say_tune(t);
    if (!status)
        status = save_settings(t);
    if (!status)
        status = open_metrics(t);
    if (status)
        return status;
    s = zo2t_batcher_open_train(&t->batcher, t->data, t->opts.seed);
    return s == ZO2_OK ? 0 : cli_fail(t->command->program, NULL, s);
}

void train_free(train *t)
{
    cli_progress_clear(&t->progress);
    cli_interrupt_engine(NULL);
    tune_metrics_close(&t->metrics);
    zo2t_batcher_close(t->batcher);
    zo2_engine_close(t->engine);
    if (tune_trace_close(t->trace) != ZO2_OK)
        cli_progress_message(&t->progress, "warning: the trace is not whole: %s", zo2_last_error());
    zo2t_dataset_close(t->data);
    zo2t_dataset_close(t->eval_data);
    tune_model_close(&t->model);
    tune_settings_free(&t->settings);
    free(t->tune);
}
