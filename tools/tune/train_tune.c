/* train_tune.c: which tensors a run moves: what was given beside what the run has, and what is said of it. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/cli/args.h"
#include "tools/cli/numbers.h"
#include "tools/cli/progress.h"
#include "tools/cli/report.h"
#include "tools/cli/tune_text.h"
#include "tools/tune/choice.h"
#include "tools/tune/train.h"

static bool is_all(const char *tune)
{
    return !tune || !strcmp(tune, "all");
}

/* The run has another choice. Where both read alike, rows=answers means other tokens than it did. */
static int differs(const train *t, const char *given)
{
    char here[CLI_TUNE_BYTES], there[CLI_TUNE_BYTES];
    cli_tune_text(here, given, tune_has_answers(t->flags->engine.tune.text));
    cli_tune_text(there, t->tune, tune_has_answers(t->settings.tune));
    return cli_error(t->command->program,
                     "--tune %s: the run in %s was made with %s, and that can't change; leave the option out, or start "
                     "another run",
                     here, t->flags->run.text, there);
}

int train_resolve_tune(train *t)
{
    const cli_value *asked = &t->flags->engine.tune;
    char *given = NULL;
    if (!asked->given)
        return 0;
    zo2_status s = tune_choice_resolve(&given, asked->text, t->data, t->model.info.vocab);
    if (s != ZO2_OK)
        return cli_fail(t->command->program, "--tune", s);
    const bool same = is_all(given) ? is_all(t->tune) : t->tune && !strcmp(given, t->tune);
    if (t->existed && !same) {
        int status = differs(t, given);
        free(given);
        return status;
    }
    free(t->tune);
    t->tune = given;
    t->opts.tune = given;
    if (!t->settings.tune && !is_all(given)) {
        t->settings.tune = strdup(asked->text); /* for people */
        t->settings_changed = true;
    }
    return 0;
}

/* "; the embeddings and layers 0 to 3 are computed once", or nothing where all are to be computed for every point. */
static void trunk_text(char *out, size_t size, const zo2_tune_info *info)
{
    out[0] = '\0';
    if (info->fork_block == 1)
        snprintf(out, size, "; the embeddings are looked up once");
    else if (info->fork_block == 2)
        snprintf(out, size, "; embeddings and layer 0 are computed once");
    else if (info->fork_block > 2)
        snprintf(out, size, "; embeddings and layers 0 to %u are computed once", info->fork_block - 2);
}

int train_say_tune(train *t)
{
    const zo2_engine_opts *o = &t->opts;
    char text[CLI_TUNE_BYTES], trunk[80], moving[CLI_TEXT_BYTES], all[CLI_TEXT_BYTES];
    zo2_tune_info info;
    if (!o->tune && !o->tune_rotate && !o->trunk_cache)
        return 0;
    zo2_status s = zo2_tune_count(t->model.path, o->tune, &info);
    if (s != ZO2_OK)
        return cli_fail(t->command->program, "--tune", s);
    if (o->trunk_cache && !info.token_bytes)
        cli_progress_message(&t->progress, "warning: --trunk-cache keeps nothing: no layer is below all that moves");
    if (t->progress.quiet || (!o->tune && !o->tune_rotate))
        return 0;
    trunk_text(trunk, sizeof trunk, &info);
    cli_progress_message(&t->progress, "tuning %s: %s parameters in %u tensor%s, of a model of %s%s",
                         cli_tune_text(text, o->tune, tune_has_answers(t->settings.tune)),
                         cli_human_count(moving, info.moving), info.moving_tensors, info.moving_tensors == 1 ? "" : "s",
                         cli_human_count(all, info.parameters), trunk);
    if (o->tune_rotate)
        cli_progress_message(&t->progress, "%u block%s take turns of %u step%s, order %s", info.groups,
                             info.groups == 1 ? "" : "s", o->tune_rotate, o->tune_rotate == 1 ? "" : "s",
                             zo2_tune_order_name(o->tune_order));
    return 0;
}
