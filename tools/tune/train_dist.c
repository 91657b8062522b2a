/* train_dist.c: see train_dist.h. */
#include "tools/tune/train_dist.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tools/cli/progress.h"
#include "tools/cli/report.h"
#include "tools/dist/dist.h"
#include "tools/dist/facts.h"
#include "tools/text/dataset.h"

/* ---- life ---- */

static dist_mode mode_of(const char *name)
{
    return !strcmp(name, "queries") ? DIST_QUERIES : !strcmp(name, "batch") ? DIST_BATCH : DIST_BOTH;
}

/* PATH/rank-N, or PATH.rank-N of a file; the flag's text becomes that. */
static int own_place(char **out, const char **text, uint32_t rank, char between)
{
    if (!*text)
        return 1;
    size_t n = strlen(*text);
    while (between == '/' && n > 1 && (*text)[n - 1] == '/')
        n--;
    if (asprintf(out, "%.*s%crank-%u", (int)n, *text, between, rank) < 0) {
        *out = NULL;
        return 0;
    }
    *text = *out;
    return 1;
}

static int own_places(train_rank *r, train_flags *f, uint32_t rank)
{
    int good = (r->run_parent = strdup(f->run.text)) != NULL;
    good = good && own_place(&r->run, &f->run.text, rank, '/');
    good = good && own_place(&r->snapshot, &f->snapshot.text, rank, '/');
    good = good && own_place(&r->trace, &f->trace.text, rank, '.');
    for (uint32_t i = 0; i < f->engine.spill.n && good; i++)
        good = own_place(&r->spill[i], &f->engine.spill.texts[i], rank, '/');
    return good;
}

int train_rank_open(train_rank *r, cli_command *c, train_flags *f)
{
    memset(r, 0, sizeof *r);
    if (!f->distribute.given)
        return 0;
    if (dist_open(&r->d, mode_of(f->distribute.text), f->share.given ? f->share.text : NULL) != ZO2_OK)
        return cli_error(c->program, "--distribute: %s", zo2_last_error());
    const uint32_t rank = dist_rank(r->d);
    r->quiet = f->quiet.given;
    r->work = calloc(dist_ranks(r->d), sizeof *r->work);
    if (!r->work)
        return cli_error(c->program, "out of memory");
    if (!rank)
        return 0;
    snprintf(r->program, sizeof r->program, "%s, rank %u on %s", c->program, rank, dist_host(r->d, rank));
    c->program = r->program;
    f->quiet.given = true;
    f->json.given = false;
    return own_places(r, f, rank) ? 0 : cli_error(c->program, "out of memory");
}

void train_rank_close(train_rank *r, int status)
{
    if (status && r->run_parent) /* a run that didn't begin leaves nothing; one that has something stays */
        rmdir(r->run_parent);
    dist_close(r->d);
    free(r->work);
    free(r->run);
    free(r->run_parent);
    free(r->snapshot);
    free(r->trace);
    for (int i = 0; i < CLI_MOST_TEXTS; i++)
        free(r->spill[i]);
}

bool train_rank_reports(const train *t)
{
    return !t->rank->d || !dist_rank(t->rank->d);
}

static uint32_t straggler(const train *t)
{
    const double *work = dist_work_seconds(t->rank->d);
    uint32_t most = 0;
    for (uint32_t r = 1; r < dist_ranks(t->rank->d); r++)
        most = work[r] > work[most] ? r : most;
    return most;
}

void train_rank_count(train *t, const zo2_step_result *r)
{
    if (!t->rank->d)
        return;
    t->rank->waited += r->exchange_seconds;
    t->rank->work[straggler(t)].slowest++;
    for (uint32_t i = 0; i < dist_ranks(t->rank->d); i++) {
        struct rank_work *w = &t->rank->work[i];
        w->pairs += dist_work_pairs(t->rank->d, i);
        w->seconds += dist_work_pairs(t->rank->d, i) ? dist_work_seconds(t->rank->d)[i] : 0;
    }
}

/* Shares by the rates so far, the slowest rank's being 10, if steps whose ranks all take as long would be a tenth shorter, or more. */
static void propose_share(const train_rank *r, uint64_t steps)
{
    double sum_rate = 0, least = INFINITY, longest = 0;
    uint64_t pairs = 0;
    for (uint32_t i = 0; i < dist_ranks(r->d); i++) {
        const struct rank_work *w = &r->work[i];
        if (!w->pairs || w->seconds <= 0) /* nobody knows how fast it is */
            return;
        const double rate = (double)w->pairs / w->seconds;
        sum_rate += rate;
        pairs += w->pairs;
        least = rate < least ? rate : least;
        longest = w->seconds > longest ? w->seconds : longest;
    }
    if (!steps || (double)pairs / sum_rate > 0.9 * longest)
        return;
    printf("proposal: --share ");
    for (uint32_t i = 0; i < dist_ranks(r->d); i++)
        printf("%s%.0f", i ? "," : "", 10 * (double)r->work[i].pairs / r->work[i].seconds / least);
    puts(", by the rates of the ranks");
}

void train_rank_summary(const train *t)
{
    const train_rank *r = t->rank;
    if (!r->d || t->seconds <= 0)
        return;
    uint32_t most = 0;
    uint64_t steps = 0;
    for (uint32_t i = 0; i < dist_ranks(r->d); i++) {
        most = r->work[i].slowest > r->work[most].slowest ? i : most;
        steps += r->work[i].slowest;
    }
    printf("ranks: %u; rank 0 waited %.0f %% of the time; rank %u on %s was the slowest in %.0f %% of the steps\n",
           dist_ranks(r->d), 100 * r->waited / t->seconds, most, dist_host(r->d, most),
           steps ? 100 * (double)r->work[most].slowest / (double)steps : 0);
    propose_share(r, steps);
}

void train_rank_warn(train *t)
{
    const dist_split split = {.mode = mode_of(t->flags->distribute.text), .ranks = dist_ranks(t->rank->d)};
    const uint64_t micro = t->opts.micro_batch ? t->opts.micro_batch : UINT32_MAX;
    uint32_t idle = 0;
    for (uint32_t r = 0; r < split.ranks; r++) {
        zo2_pass_work w = {.queries = t->opts.queries ? t->opts.queries : 1,
                           .micros = (uint32_t)((t->settings.batch + micro - 1) / micro)};
        dist_split_part(&split, r, &w);
        idle += !w.own_queries || !w.own_micros;
        if (r + 1 == split.ranks && idle)
            cli_progress_message(
                &t->progress,
                "warning: %u of %u ranks have nothing to do in a step of %u queries in %u micro-batches "
                "(--queries, --micro-batch, --distribute)",
                idle, split.ranks, w.queries, w.micros);
    }
}

static int make_folder(const train *t, const char *path)
{
    if (!mkdir(path, 0777) || errno == EEXIST)
        return 0;
    return cli_error(t->command->program, "%s: %s", path, strerror(errno));
}

int train_rank_make_places(const train *t)
{
    const train_rank *r = t->rank;
    int status = r->run_parent ? make_folder(t, r->run_parent) : 0;
    for (int i = 0; i < CLI_MOST_TEXTS && !status; i++)
        if (r->spill[i])
            status = make_folder(t, r->spill[i]);
    return status;
}

/* ---- facts ---- */

static void settings_facts(FILE *f, const zo2_engine_opts *o)
{
    dist_fact_u64(f, "--seed", o->seed);
    dist_fact_f64(f, "--lr", o->lr);
    dist_fact_text(f, "--lr-schedule", zo2_schedule_name(o->schedule));
    dist_fact_u64(f, "--warmup", o->warmup);
    dist_fact_f64(f, "--eps", o->eps);
    dist_fact_f64(f, "--weight-decay", o->weight_decay);
    dist_fact_f64(f, "--clip", o->clip);
    dist_fact_text(f, "--dist", zo2_dist_name(o->dist));
    dist_fact_u64(f, "--queries", o->queries);
    dist_fact_u64(f, "--pending", (uint64_t)(int64_t)o->pending);
    dist_fact_u64(f, "--micro-batch", o->micro_batch);
    dist_fact_text(f, "--tune", o->tune);
    dist_fact_u64(f, "--tune-rotate", o->tune_rotate);
    dist_fact_text(f, "--tune-order", zo2_tune_order_name(o->tune_order));
    dist_fact_text(f, "--trunk-type", zo2_dtype_name(o->trunk_type));
    dist_fact_text(f, "--wire", zo2_wire_name(o->wire));
    dist_fact_text(f, "--frozen-wire", zo2_wire_name(o->frozen_wire));
    dist_fact_text(f, "--compute", zo2_dtype_name(o->compute));
    dist_fact_text(f, "--backend", zo2_backend_name(o->backend));
    dist_fact_u64(f, "--write-budget", o->write_budget);
    dist_fact_u64(f, "the rule of tiles", o->tile_rule);
}

static void data_fact(FILE *f, const char *name, const zo2t_dataset *d)
{
    zo2t_dataset_info info;
    char of_ids[64];
    if (!d)
        return;
    zo2t_dataset_get_info(d, &info);
    dist_fact_hash(f, name, info.file_hash);
    snprintf(of_ids, sizeof of_ids, "%s (its tokens)", name);
    dist_fact_hash(f, of_ids, info.ids_hash);
}

static void run_facts(FILE *f, const train *t)
{
    const train_flags *flags = t->flags;
    dist_fact_text(f, "the version of zo2", zo2_version());
    dist_fact_u64(f, "the version of the noise", ZO2_NOISE_VERSION);
    dist_fact_hash(f, "the model hash of --model", t->model.info.model_hash);
    data_fact(f, "the hash of --data", t->data);
    data_fact(f, "the hash of --eval", t->eval_data);
    dist_fact_text(f, "--eval-every", flags->eval_every.text);
    dist_fact_text(f, "--distribute", flags->distribute.text);
    dist_fact_text(f, "--share", flags->share.text);
    dist_fact_text(f, "--resume", flags->resume.given ? "given" : NULL);
    dist_fact_text(f, "--dry-run", flags->dry_run.given ? "given" : NULL);
    dist_fact_u64(f, "--batch", t->settings.batch);
    dist_fact_u64(f, "--seq", t->settings.seq);
    dist_fact_u64(f, "--bos", (uint64_t)(int64_t)t->settings.bos);
    dist_fact_u64(f, "--steps", t->settings.steps);
    dist_fact_u64(f, "the number of steps that the run has", t->steps_before);
    settings_facts(f, &t->opts);
}

static int compare(const train *t)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *f = open_memstream(&text, &bytes);
    if (f)
        run_facts(f, t);
    /* Out of memory is a difference, too: then there are no facts. */
    zo2_status s = f && fclose(f) == 0 ? dist_compare(t->rank->d, text) : dist_compare(t->rank->d, "");
    free(text);
    if (s == ZO2_OK)
        return 0;
    return train_rank_reports(t) ? cli_fail(t->command->program, NULL, s) : CLI_EXIT_FAILED;
}

static int agree(const train *t, int own)
{
    uint32_t who;
    int status = dist_agree(t->rank->d, own, &who);
    if (status && !own && train_rank_reports(t))
        cli_error(t->command->program, "rank %u on %s cannot go on: see its message", who, dist_host(t->rank->d, who));
    return status;
}

int train_rank_agree(train *t, int own)
{
    if (!t->rank->d)
        return own;
    int status = agree(t, own);
    return status ? status : compare(t);
}
