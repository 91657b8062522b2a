/* train_health.c: what zo2-tune train says about a run whose weights are broken, and when it ends or refuses one. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "tools/cli/args.h"
#include "tools/cli/jsonout.h"
#include "tools/cli/progress.h"
#include "tools/cli/report.h"
#include "tools/tune/health.h"
#include "tools/tune/train.h"

void train_advise_good(const train *t)
{
    uint64_t good;
    char *command = tune_health_last_good(&t->health, &good) ? train_export_command(t, &good) : NULL;
    if (command)
        fprintf(stderr, "The weights of before: %s\n", command);
    free(command);
}

void train_warn_exploded(train *t)
{
    const tune_health *h = &t->health;
    char start[64] = "";
    if (!h->exploded || t->warned_exploded)
        return;
    t->warned_exploded = true;
    if (!isnan(h->start_median))
        snprintf(start, sizeof start, ", at first %.4g", h->start_median);
    cli_progress_message(&t->progress,
                         "warning: the loss has exploded from step %" PRIu64
                         " on: the median of the last %d is %.4g%s. Try a "
                         "smaller --lr or --eps, or --clip, in another run.",
                         h->exploded_at, TUNE_HEALTH_RECENT, h->now_median, start);
    train_advise_good(t);
}

int train_too_many_skipped(train *t)
{
    uint64_t n = t->health.skipped_in_row;
    cli_error(t->command->program,
              "%" PRIu64 " step%s had a loss that is not finite: the weights or the perturbation got too large. Try a "
              "smaller --lr or --eps, or --clip, in another run.",
              n, n == 1 ? "" : "s in a row");
    train_advise_good(t);
    if (t->flags->json.given)
        train_summary(t);
    return CLI_EXIT_FAILED;
}

int train_refuse_skipped(const train *t)
{
    uint64_t n = t->health.skipped_in_row;
    cli_error(t->command->program,
              "the last %" PRIu64
              " steps of the run in %s were skipped, because their losses are not finite; no weight "
              "has changed since, so the next ones would be, too. Try a smaller --lr or --eps, or --clip, in another "
              "run, or go on all the same with --resume --retry-skipped",
              n, t->flags->run.text);
    train_advise_good(t);
    return CLI_EXIT_FAILED;
}

void train_health_json(cli_json *j, const tune_health *h)
{
    uint64_t good;
    cli_json_u64(j, "skipped_steps", h->skipped);
    cli_json_u64(j, "skipped_in_row", h->skipped_in_row);
    if (h->exploded)
        cli_json_u64(j, "exploded_at_step", h->exploded_at);
    if (tune_health_broken(h) && tune_health_last_good(h, &good))
        cli_json_u64(j, "last_good_step", good);
}

void train_health_text(const tune_health *h)
{
    if (h->skipped)
        printf("skipped: %" PRIu64 " of %" PRIu64 " steps, the last %" PRIu64 " in a row: a loss was not finite\n",
               h->skipped, h->steps, h->skipped_in_row);
    if (h->exploded)
        printf("the loss exploded at step %" PRIu64 " and has not come back\n", h->exploded_at);
}
