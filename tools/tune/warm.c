/* warm.c: zo2-tune warm: what of a run's model stays as it is, computed for all lines before the first step. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "tools/cli/args.h"
#include "tools/cli/interrupt.h"
#include "tools/cli/jsonout.h"
#include "tools/cli/numbers.h"
#include "tools/cli/progress.h"
#include "tools/cli/report.h"
#include "tools/cli/tune_text.h"
#include "tools/tune/commands.h"
#include "tools/tune/train.h"
#include "tools/tune/train_dist.h"

typedef struct warmed {
    uint64_t lines; /* that the cache was asked to keep */
    uint64_t kept;  /* of them are there now */
    double seconds;
} warmed;

/* All lines of d, in the file's order. What was done before an error counts. */
static zo2_status warm_file(warmed *w, train *t, const zo2t_dataset *d, const char *what)
{
    zo2t_dataset_info info;
    zo2t_batcher *b = NULL;
    zo2t_dataset_get_info(d, &info);
    zo2_status s = zo2t_batcher_open_eval(&b, d);
    cli_progress_begin(&t->progress, what, 0);
    for (uint64_t at = 0; s == ZO2_OK && at < info.examples;) {
        zo2_batch batch = {.struct_size = sizeof batch};
        uint64_t kept = 0;
        s = cli_interrupted() ? zo2_error(ZO2_ERR_CANCELLED, "interrupted")
                              : zo2t_batcher_fill(b, at, t->settings.batch, &batch);
        if (s == ZO2_OK)
            s = zo2_warm(t->engine, &batch, &kept);
        if (s != ZO2_OK)
            break;
        w->lines += batch.data_position - at;
        w->kept += kept;
        at = batch.data_position;
        if (cli_progress_due(&t->progress))
            cli_progress_show(&t->progress, at, info.examples, "");
    }
    zo2t_batcher_close(b);
    cli_progress_clear(&t->progress);
    return s;
}

static void print_json(const warmed *w)
{
    cli_json j;
    cli_json_start(&j, stdout);
    cli_json_open(&j, NULL, '{');
    cli_json_u64(&j, "lines", w->lines);
    cli_json_u64(&j, "kept", w->kept);
    cli_json_f64(&j, "seconds", w->seconds);
    cli_json_close(&j, '}');
    cli_json_end(&j);
}

static void print_text(const train *t, const warmed *w)
{
    char lines[CLI_TEXT_BYTES], kept[CLI_TEXT_BYTES], time[CLI_TEXT_BYTES], size[CLI_TEXT_BYTES];
    printf("%s of %s lines are kept, after %s\n", cli_human_count(kept, w->kept), cli_human_count(lines, w->lines),
           cli_human_time(time, w->seconds));
    if (w->kept < w->lines)
        printf("the rest has no room in --trunk-cache %s: steps compute it each time\n",
               cli_human_size(size, t->opts.trunk_cache));
    puts("go on with zo2-tune train --resume, and the same --trunk-cache");
}

static int warm_all(train *t)
{
    warmed w = {0};
    const double began = cli_clock();
    t->progress.silent = true; /* the bar counts lines, not what the engine does for each */
    zo2_status s = warm_file(&w, t, t->data, "warming");
    if (s == ZO2_OK && t->eval_data)
        s = warm_file(&w, t, t->eval_data, "warming the evaluation's lines");
    w.seconds = cli_clock() - began;
    if (s == ZO2_ERR_CANCELLED && cli_interrupted()) {
        cli_progress_message(&t->progress, "interrupted; %" PRIu64 " lines are kept, and the same command goes on",
                             w.kept);
        return CLI_EXIT_INTERRUPTED;
    }
    if (s != ZO2_OK)
        return cli_fail(t->command->program, NULL, s);
    if (t->flags->json.given)
        print_json(&w);
    else if (!t->flags->quiet.given)
        print_text(t, &w);
    return 0;
}

/* A cache that ends with this command, or one that stays empty, is a mistake. 0 or the exit status. */
static int check_use(const train *t)
{
    char text[CLI_TUNE_BYTES];
    zo2_tune_info info;
    if (!t->opts.spill_count)
        return cli_error(t->command->program,
                         "without --spill DIR the cache is in RAM, and ends with this command: give a --spill, or let "
                         "zo2-tune train fill it in its first epoch");
    zo2_status s = zo2_tune_count(t->model.path, t->opts.tune, &info);
    if (s != ZO2_OK)
        return cli_fail(t->command->program, "--tune", s);
    if (!info.token_bytes)
        return cli_error(
            t->command->program,
            "the run tunes %s: no layer is below all that moves, so there is nothing to keep; a --tune that "
            "leaves the first layers as they are, in a run of its own, has",
            cli_tune_text(text, t->opts.tune, false));
    return 0;
}

/* A run that is there is the one that is meant. */
static bool is_there(const char *dir)
{
    zo2_run *run = NULL;
    const bool there = zo2_run_open(&run, dir) == ZO2_OK;
    zo2_run_close(run);
    return there;
}

int tune_warm(int argc, char **argv)
{
    train_flags flags = {0};
    cli_group groups[TRAIN_GROUPS];
    cli_command command;
    int status;
    warm_command(&command, groups, &flags);
    if (!cli_parse(&command, argc, argv, &status))
        return cli_finish(command.program, status);
    if (!flags.engine.trunk_cache.u)
        return cli_usage_error(&command, "--trunk-cache SIZE is needed: the most bytes that are to be kept");
    if (flags.eval.given && !strcmp(flags.data.text, "-") && !strcmp(flags.eval.text, "-"))
        return cli_usage_error(&command, "--data - --eval -: standard input can be read once only");

    cli_interrupt_install();
    flags.resume.given = is_there(flags.run.text);
    train t;
    train_rank alone = {.d = NULL};
    status = train_setup(&t, &command, &flags, &alone);
    if (!status)
        status = check_use(&t);
    if (!status)
        status = train_start(&t);
    if (!status)
        status = warm_all(&t);
    train_free(&t);
    return cli_finish(command.program, status);
}
