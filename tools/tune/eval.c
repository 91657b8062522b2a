/* eval.c: zo2-tune eval: loss or accuracy of a pack, or of a run, on a data file. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tools/cli/args.h"
#include "tools/cli/engine_flags.h"
#include "tools/cli/fit_advice.h"
#include "tools/cli/interrupt.h"
#include "tools/cli/jsonout.h"
#include "tools/cli/numbers.h"
#include "tools/cli/progress.h"
#include "tools/cli/report.h"
#include "tools/cli/tune_text.h"
#include "tools/tune/commands.h"
#include "tools/tune/evaluate.h"
#include "tools/tune/health.h"
#include "tools/tune/inputs.h"
#include "tools/tune/metrics.h"
#include "tools/tune/settings.h"

typedef struct eval_flags {
    cli_value model, data, run, at_step, bos, json;
    cli_engine_flags engine;
} eval_flags;

#define AT(member) offsetof(eval_flags, member)

// clang-format off
static const cli_option options[] = {
    {"model", "FILE", CLI_TEXT, AT(model), "the pack", CLI_NEEDED, 0},
    {"data", "EVAL.jsonl", CLI_TEXT, AT(data), "lines to evaluate on (-: standard input)", CLI_NEEDED, 0},
    {"run", "RUN_DIR", CLI_TEXT, AT(run), "the weights of this run, and its settings (the pack's own)", 0, 0},
    {"at-step", "N", CLI_COUNT, AT(at_step), "as they were after N steps (all)", 0, INT64_MAX},
    {"batch", "N", CLI_COUNT, AT(engine.batch), "lines in a batch (the run's, else 16)", 1, CLI_MAX_BATCH},
    {"seq", "N", CLI_COUNT, AT(engine.seq), "longest row in tokens; longer ones are cut (the run's, else the context)", 2, 0},
    {"bos", "auto|none|ID", CLI_TEXT, AT(bos), "token in front of texts and prompts (the run's, else the tokenizer's own)", 0, 0},
    {"wire", NULL, CLI_WIRE, AT(engine.wire), "evaluate through this codec too (the run's, else fp32)", 0, 0},
    {"compute", CLI_COMPUTES, CLI_CHOICE, AT(engine.compute), "type that matrices are multiplied in (the run's, else " CLI_COMPUTE_DEFAULT ")", 0, 0},
    {"backend", CLI_BACKENDS, CLI_CHOICE, AT(engine.backend), "where to compute (auto: the fastest here)", 0, 0},
    {"json", NULL, CLI_FLAG, AT(json), "one JSON object", 0, 0},
    {0},
};
// clang-format on

/* What the run was made with. Without --run all zero and the defaults, and *out NULL. *out is the caller's: run_opts needs it. */
static int read_run(const char *program, const eval_flags *f, const tune_model *m, tune_settings *settings,
                    zo2_engine_opts *run_opts, zo2_run **out)
{
    zo2_run *run = NULL;
    memset(settings, 0, sizeof *settings);
    zo2_engine_opts_init(run_opts);
    if (!f->run.given)
        return 0;
    zo2_status s = zo2_run_open(&run, f->run.text);
    *out = run;
    if (s != ZO2_OK)
        return cli_fail(program, NULL, s);
    zo2_run_get_opts(run, run_opts);
    uint64_t hash = zo2_run_model_hash(run), steps = zo2_run_steps(run);
    if (hash != m->info.model_hash)
        return cli_error(program, "%s was made from another model: its model hash is 0x%016llx, that of %s 0x%016llx",
                         f->run.text, (unsigned long long)hash, m->path, (unsigned long long)m->info.model_hash);
    if (f->at_step.given && f->at_step.u > steps)
        return cli_error(program, "--at-step %s: the run in %s has %llu steps", f->at_step.text, f->run.text,
                         (unsigned long long)steps);
    s = tune_settings_load(settings, f->run.text);
    return s == ZO2_OK || s == ZO2_ERR_NOTFOUND ? 0 : cli_fail(program, NULL, s);
}

/* The weights of the run are broken: which weren't? */
static void advise_step(const eval_flags *f, cli_progress *progress)
{
    zo2_run *run = NULL;
    tune_health health;
    uint64_t good;
    if (!f->run.given || zo2_run_open(&run, f->run.text) != ZO2_OK)
        return;
    if (tune_health_read(&health, run) == ZO2_OK && tune_health_last_good(&health, &good) &&
        (!f->at_step.given || f->at_step.u > good))
        cli_progress_message(progress,
                             "the last good weights of the run are those after %" PRIu64 " steps: --at-step %" PRIu64,
                             good, good);
    zo2_run_close(run);
}

static void print_text(const tune_evaluation *e, const zo2_engine_opts *o)
{
    char count[CLI_TEXT_BYTES], time[CLI_TEXT_BYTES], wires[CLI_TUNE_BYTES];
    const bool exact = cli_wires_exact(o);
    cli_wires_text(wires, o);
    if (e->options) {
        printf("accuracy   %.1f %%\n", 100 * e->accuracy_fp32);
        printf("loss       %.4f\n", e->loss_fp32);
    } else {
        printf("loss       %.4f\n", e->loss_fp32);
        printf("perplexity %.4g\n", exp(e->loss_fp32));
    }
    if (!exact && e->options)
        printf("through the %s wire: accuracy %.1f %%, loss %.4f\n", wires, 100 * e->accuracy, e->loss);
    else if (!exact)
        printf("through the %s wire: loss %.4f, perplexity %.4g\n", wires, e->loss, exp(e->loss));
    printf("%s examples", cli_human_count(count, e->examples));
    printf(", %s tokens", cli_human_count(count, e->tokens));
    printf(", %s\n", cli_human_time(time, e->seconds));
}

static void print_json(const tune_evaluation *e)
{
    cli_json j;
    cli_json_start(&j, stdout);
    cli_json_open(&j, NULL, '{');
    tune_metrics_evaluation(&j, "", e);
    cli_json_u64(&j, "examples", e->examples);
    cli_json_u64(&j, "loss_tokens", e->loss_tokens);
    cli_json_u64(&j, "tokens", e->tokens);
    cli_json_f64(&j, "seconds", e->seconds);
    cli_json_close(&j, '}');
    cli_json_end(&j);
}

typedef struct eval_sizes {
    const char *program;
    const zo2t_dataset *data;
} eval_sizes;

static bool other_sizes(const void *ud, uint64_t batch, uint64_t micro, zo2_engine_opts *o)
{
    const eval_sizes *e = ud;
    o->max_rows = o->max_rows_micro = o->max_seq = 0;
    o->max_loss_tokens = 0;
    return tune_raise_bounds(o, e->program, e->data, batch, (uint32_t)micro, true) == 0;
}

/* The engine that o asked for could not be opened; if a budget was too small, the message says what to do. */
static int fail_to_open(const eval_flags *f, const eval_sizes *sizes, const zo2_engine_opts *run_opts,
                        const zo2_engine_opts *o, uint64_t batch, zo2_status s)
{
    zo2_engine_opts planned = *run_opts; /* a plan knows no run, so the run's settings are named */
    planned.max_rows = o->max_rows;
    planned.max_rows_micro = o->max_rows_micro;
    planned.max_seq = o->max_seq;
    planned.max_loss_tokens = o->max_loss_tokens;
    planned.read_only = 1;
    planned.spill_dirs = o->spill_dirs;
    planned.spill_count = o->spill_count;
    if (!f->run.given)
        planned.wire = o->wire;
    cli_engine_flags_apply(&f->engine, &planned);
    return cli_fail_to_fit(sizes->program, NULL, s,
                           &(cli_fit){.model = f->model.text,
                                      .opts = &planned,
                                      .batch = batch,
                                      .micro = planned.micro_batch,
                                      .here = true,
                                      .batch_option = true,
                                      .sizes = other_sizes,
                                      .ud = sizes});
}

/* Engine on the weights asked for, sized for the data; evaluates and prints. */
static int evaluate(const char *program, const eval_flags *f, const zo2t_dataset *d, const tune_settings *settings,
                    const zo2_engine_opts *run_opts, cli_progress *progress)
{
    uint64_t batch = f->engine.batch.given ? f->engine.batch.u : settings->batch ? settings->batch : CLI_DEFAULT_BATCH;
    zo2_engine *e = NULL;
    zo2_engine_opts o;
    tune_evaluation result;
    zo2_engine_opts_init(&o);
    o.max_rows = o.max_rows_micro = o.max_seq = 0;
    o.max_loss_tokens = 0;
    uint32_t micro = run_opts->micro_batch == UINT32_MAX ? 0 : run_opts->micro_batch;
    int status = tune_raise_bounds(&o, program, d, batch, micro, true);
    if (status)
        return status;
    if (!f->run.given)
        o.wire = ZO2_WIRE_FP32;
    cli_engine_flags_apply(&f->engine, &o);
    o.read_only = 1;
    o.at_step = f->at_step.given ? (int64_t)f->at_step.u : -1;
    o.snapshot_dir = settings->snapshot_dir;
    o.spill_dirs = (const char *const *)settings->spill_dirs;
    o.spill_count = settings->spill_count;
    o.log = cli_log;
    o.log_ud = progress;
    o.progress = cli_progress_work;
    o.progress_ud = progress;
    zo2_status s = zo2_engine_open(&e, f->model.text, f->run.text, &o);
    cli_progress_clear(progress);
    if (s == ZO2_OK) {
        cli_interrupt_engine(e);
        zo2_engine_get_opts(e, &o);
        s = tune_evaluate(&result, e, d, batch, NULL, progress);
        cli_interrupt_engine(NULL);
    }
    bool opened = e != NULL;
    zo2_engine_close(e);
    if (s != ZO2_OK)
        return opened ? cli_fail(program, NULL, s) : fail_to_open(f, &(eval_sizes){program, d}, run_opts, &o, batch, s);
    tune_evaluation_warn(&result, progress);
    if (result.nonfinite_fp32)
        advise_step(f, progress);
    if (f->json.given)
        print_json(&result);
    else
        print_text(&result, &o);
    return 0;
}

int tune_eval(int argc, char **argv)
{
    eval_flags flags = {0};
    const cli_group groups[] = {{"Options", options, &flags}, {"Resources", cli_resource_options, &flags.engine}, {0}};
    const cli_command command = {
        .program = "zo2-tune eval",
        .summary = "Evaluates a model, or a run, on a data file: language-model loss, or the accuracy of choices.",
        .groups = groups,
        .notes = "The figures are those of the fp32 weights that zo2-pack export writes.",
    };
    int status;
    if (!cli_parse(&command, argc, argv, &status))
        return cli_finish(command.program, status);
    if (flags.at_step.given && !flags.run.given)
        return cli_usage_error(&command, "--at-step needs --run");

    cli_progress progress;
    cli_progress_init(&progress, command.program, false);
    cli_interrupt_install();
    tune_model model;
    tune_settings settings = {0};
    zo2_engine_opts run_opts;
    zo2_run *run = NULL;
    zo2t_dataset *data = NULL;
    uint32_t seq = 0;
    int32_t bos = -1;
    status = tune_model_open(&model, command.program, flags.model.text);
    if (!status)
        status = read_run(command.program, &flags, &model, &settings, &run_opts, &run);
    if (!status)
        status = tune_resolve_seq(&command, &model, &flags.engine.seq, settings.seq, &seq);
    if (!status)
        status = tune_resolve_bos(&command, &model, &flags.bos, settings.batch ? &settings.bos : NULL, &bos);
    if (!status)
        status = tune_data_load(&data, flags.data.text, &model, seq, bos, true, &progress);
    if (!status)
        status = evaluate(command.program, &flags, data, &settings, &run_opts, &progress);
    zo2t_dataset_close(data);
    tune_settings_free(&settings);
    zo2_run_close(run);
    tune_model_close(&model);
    return cli_finish(command.program, status);
}
