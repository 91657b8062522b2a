/* train.h: the state of zo2-tune train, shared by its setup (train_setup.c, train_fit.c), loop (train.c), summary
 * (train_summary.c) and what is said of broken runs (train_health.c). */
#ifndef ZO2_TOOLS_TUNE_TRAIN_H
#define ZO2_TOOLS_TUNE_TRAIN_H

#include <stdbool.h>

#include "engine/zo2.h"
#include "tools/cli/args.h"
#include "tools/cli/engine_flags.h"
#include "tools/cli/jsonout.h"
#include "tools/cli/pace.h"
#include "tools/cli/progress.h"
#include "tools/cli/wear.h"
#include "tools/text/batcher.h"
#include "tools/tune/evaluate.h"
#include "tools/tune/health.h"
#include "tools/tune/inputs.h"
#include "tools/tune/metrics.h"
#include "tools/tune/settings.h"
#include "tools/tune/trace.h"

/* Numeric settings of a run that only training has: X(name in zo2_engine_opts, value's field in cli_value). */
#define TRAIN_SETTINGS(X) \
    X(lr, f)              \
    X(warmup, u)          \
    X(eps, f)             \
    X(weight_decay, f)    \
    X(clip, f)            \
    X(seed, u)

typedef struct train_flags {
    cli_value model, data, run, eval, eval_every, steps, bos, schedule;
#define FLAG(name, value) cli_value name;
    TRAIN_SETTINGS(FLAG)
#undef FLAG
    cli_value snapshot_every, snapshot, no_snapshot, log_every, trace, resume, retry_skipped, dry_run, quiet, json;
    cli_value distribute, share, check_every;
    cli_engine_flags engine;
} train_flags;

enum { TRAIN_GROUPS = 12 };

/* The command with its options stored in *f; it points to groups. */
void train_command(cli_command *out, cli_group groups[TRAIN_GROUPS], train_flags *f);
/* That of zo2-tune warm, which takes what makes the run. */
void warm_command(cli_command *out, cli_group groups[TRAIN_GROUPS], train_flags *f);

typedef struct train {
    const cli_command *command;
    const train_flags *flags;
    struct train_rank *rank; /* train_dist.h */
    cli_progress progress;
    tune_model model;
    zo2t_dataset *data, *eval_data; /* eval_data: NULL without --eval */
    tune_settings settings;         /* in force */
    bool existed;                   /* the run did */
    bool settings_changed;          /* settings.json has to be written */
    uint64_t steps_before;          /* done when this session began */
    tune_health health;             /* of all its steps */
    char *tune; /* the choice of tensors, as the library takes it: given, else the run's; NULL: all */
    zo2_engine_opts opts;
    zo2_engine *engine;
    zo2_plan plan; /* that the engine runs by */
    zo2t_batcher *batcher;
    tune_metrics_file metrics;
    tune_trace *trace; /* NULL without --trace */
    /* results of this session */
    tune_evaluation first_eval; /* before step 0 */
    tune_evaluation last_eval;
    cli_pace pace;
    double seconds; /* spent in steps */
    uint64_t tokens;
    double update_busy, upload_busy, compute_busy, read_busy, write_busy; /* seconds of the lanes */
    uint64_t most_skipped;                                                /* in a row: so many end the session */
    bool warned_exploded;
} train;

/* Up to the engine's opening: model, run, data, options, all checks. 0 or the exit status. train_free() in any case. */
int train_setup(train *t, const cli_command *c, const train_flags *f, struct train_rank *rank);
/* Opens engine and metrics and writes settings.json. 0 or the exit status. */
int train_start(train *t);
void train_free(train *t);

/* Sizes of the largest batch of `batch` lines in micro-batches of `micro` (0: the whole batch) into o, from the data. 0 or the exit
 * status. */
int train_bounds(const train *t, zo2_engine_opts *o, uint64_t batch, uint32_t micro);
/* The last call planned: what was wrong and, if a budget was too small, what to do. Returns the exit status. */
int train_fail_to_fit(const train *t, const char *what, zo2_status s);
/* The plan on stdout, for --dry-run. Returns the exit status. */
int train_show_plan(train *t);
/* Before step 0: two snapshots, or a spill, must fit, or the run would lose its way back when the disk is full. 0 or the exit status. */
int train_check_disk(const train *t);

/* ---- train_tune.c: which tensors move ---- */

/* Once the data are there: makes t->tune of what was given, rows=answers resolved. 0 or the exit status. */
int train_resolve_tune(train *t);
/* What moves, as a message; nothing if it is all. 0 or the exit status. */
int train_say_tune(train *t);

/* ---- train_spill.c: masters that spill to drives ---- */

/* A run that has spilled goes on with the chunks of that spill, and so does its plan: sets opts.chunk_bytes. */
void train_spill_chunks(train *t);
/* What the run writes to them altogether. */
cli_wear train_wear(const train *t, const zo2_plan *plan);
/* More than they endure? Are the directories there, and have they room? 0 or the exit status. */
int train_check_spill(const train *t, const zo2_plan *plan);
/* Where masters live, as a message; nothing if it is RAM. */
void train_say_spill(train *t);

/* ---- train_summary.c ---- */

/* One line about an evaluation on stdout (not with --quiet or --json); a warning if it has scores that are not finite. */
void train_show_evaluation(train *t, uint64_t steps, const tune_evaluation *e);
/* What was done, the best evaluation and how to export it. Returns the exit status. */
int train_summary(train *t);
/* "zo2-pack export MODEL OUT --run RUN [--at-step *step]" as a shell takes it, for free(); NULL: out of memory. */
char *train_export_command(const train *t, const uint64_t *step);

/* ---- train_health.c: runs that break ---- */

/* Is the loss exploding? Says so once a session. Called after each step, and before the first of a resumed run. */
void train_warn_exploded(train *t);
/* Says on stderr how to get the last good weights of a run that is broken; nothing if none are known to be good. */
void train_advise_good(const train *t);
/* The last steps were skipped, too many of them. Returns the exit status. */
int train_too_many_skipped(train *t);
/* The same of a run that is to be resumed. Skipped steps changed no weight: more of them with the same settings would end
 * the same way. Only another batch could help, so who wants to try that says so. */
int train_refuse_skipped(const train *t);
/* Skipped steps, explosion and last good step, into an open object; as lines on stdout, none if all is well. */
void train_health_json(cli_json *j, const tune_health *h);
void train_health_text(const tune_health *h);

#endif
