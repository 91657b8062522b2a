/* evaluate.c: see evaluate.h. */
#include "tools/tune/evaluate.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/cli/tune_text.h"
#include "tools/text/batcher.h"

/* What a batch adds to the sums, as doubles: counts are exact in them. */
enum { SUM_NLL, SUM_LOSS, CORRECT, NONFINITE, LOSS_TOKENS, TOKENS, FIGURES };

typedef struct evaluation_pass {
    zo2_engine *engine;
    zo2t_batcher *batcher;
    uint64_t batch, total; /* lines of a batch, of the file */
    zo2_weights weights;
    dist *ranks;
    cli_progress *progress;
} evaluation_pass;

static zo2_status one_batch(const evaluation_pass *p, uint64_t at, double out[FIGURES])
{
    zo2_batch lines = {.struct_size = sizeof lines};
    zo2_scores scores;
    zo2_scores_init(&scores);
    zo2_status s = zo2t_batcher_fill(p->batcher, at, p->batch, &lines);
    if (s == ZO2_OK)
        s = zo2_forward(p->engine, &lines, p->weights, &scores);
    if (s != ZO2_OK)
        return s;
    out[SUM_NLL] = scores.sum_nll;
    out[SUM_LOSS] = scores.sum_loss;
    out[CORRECT] = (double)scores.correct;
    out[NONFINITE] = (double)scores.nonfinite;
    out[LOSS_TOKENS] = (double)scores.loss_tokens;
    out[TOKENS] = (double)scores.tokens;
    if (cli_progress_due(p->progress))
        cli_progress_show(p->progress, lines.data_position, p->total, "");
    return ZO2_OK;
}

/* One pass over the file; rows[batches][FIGURES]. Ranks take turns. */
static zo2_status all_batches(const evaluation_pass *p, double *rows, size_t batches)
{
    const uint32_t rank = p->ranks ? dist_rank(p->ranks) : 0, ranks = p->ranks ? dist_ranks(p->ranks) : 1;
    zo2_status s = ZO2_OK;
    for (size_t i = rank; i < batches && s == ZO2_OK; i += ranks)
        s = one_batch(p, i * p->batch, rows + i * FIGURES);
    return p->ranks ? dist_gather_rows(p->ranks, s, rows, batches, FIGURES) : s;
}

/* Sums are doubles, added in the file's order. */
static zo2_status pass(tune_evaluation *out, double *loss, double *accuracy, uint64_t *nonfinite,
                       const evaluation_pass *p)
{
    const size_t batches = (size_t)((p->total + p->batch - 1) / p->batch);
    double sum[FIGURES] = {0}, *rows = calloc(batches ? batches : 1, FIGURES * sizeof *rows);
    if (!rows)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory");
    zo2_status s = all_batches(p, rows, batches);
    for (size_t i = 0; i < batches && s == ZO2_OK; i++)
        for (int k = 0; k < FIGURES; k++)
            sum[k] += rows[i * FIGURES + (size_t)k];
    free(rows);
    if (s != ZO2_OK)
        return s;
    *nonfinite = (uint64_t)sum[NONFINITE];
    out->loss_tokens = (uint64_t)sum[LOSS_TOKENS];
    out->tokens = (uint64_t)sum[TOKENS];
    out->examples = p->total;
    *loss = out->options ? sum[SUM_LOSS] / (double)out->examples : sum[SUM_NLL] / (double)out->loss_tokens;
    *accuracy = out->options ? sum[CORRECT] / (double)out->examples : NAN;
    return ZO2_OK;
}

zo2_status tune_evaluate(tune_evaluation *out, zo2_engine *e, const zo2t_dataset *d, uint64_t batch, dist *ranks,
                         cli_progress *progress)
{
    zo2t_dataset_info info;
    zo2_engine_opts opts;
    zo2t_batcher *b = NULL;
    zo2t_dataset_get_info(d, &info);
    zo2_engine_get_opts(e, &opts);
    memset(out, 0, sizeof *out);
    out->options = info.kind == ZO2T_OPTIONS;
    bool silent = progress->silent;
    double began = cli_clock();

    zo2_status s = zo2t_batcher_open_eval(&b, d);
    evaluation_pass p = {.engine = e,
                         .batcher = b,
                         .batch = batch,
                         .total = info.examples,
                         .weights = ZO2_WEIGHTS_MASTER,
                         .ranks = ranks,
                         .progress = progress};
    progress->silent = true; /* the bar counts lines, not what the engine does for each */
    if (s == ZO2_OK) {
        cli_progress_begin(progress, "evaluating", 0);
        s = pass(out, &out->loss_fp32, &out->accuracy_fp32, &out->nonfinite_fp32, &p);
    }
    if (s == ZO2_OK && cli_wires_exact(&opts)) {
        out->loss = out->loss_fp32;
        out->accuracy = out->accuracy_fp32;
        out->nonfinite = out->nonfinite_fp32;
    } else if (s == ZO2_OK) {
        cli_progress_begin(progress, "evaluating through the wire", 0);
        p.weights = ZO2_WEIGHTS_WIRE;
        s = pass(out, &out->loss, &out->accuracy, &out->nonfinite, &p);
    }
    zo2t_batcher_close(b);
    cli_progress_clear(progress);
    progress->silent = silent;
    out->seconds = cli_clock() - began;
    out->done = s == ZO2_OK;
    return s;
}

void tune_evaluation_warn(const tune_evaluation *e, cli_progress *progress)
{
    const struct {
        uint64_t n;
        const char *how;
    } passes[] = {{e->nonfinite_fp32, ""}, {e->nonfinite != e->nonfinite_fp32 ? e->nonfinite : 0, " through the wire"}};
    for (size_t i = 0; i < sizeof passes / sizeof *passes; i++)
        if (passes[i].n)
            cli_progress_message(progress,
                                 "warning: %" PRIu64 " of %" PRIu64 " examples have scores that are not finite%s%s",
                                 passes[i].n, e->examples, passes[i].how, e->options ? "; they count as wrong" : "");
}
