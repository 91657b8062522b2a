/* evaluate.c: see evaluate.h. */
#include "tools/tune/evaluate.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tools/cli/tune_text.h"
#include "tools/text/batcher.h"

/* One pass over the file. Sums are doubles, added in the file's order. */
static zo2_status pass(tune_evaluation *out, double *loss, double *accuracy, uint64_t *nonfinite, zo2_engine *e,
                       zo2t_batcher *b, uint64_t batch, zo2_weights weights, cli_progress *progress, uint64_t total)
{
    double sum_nll = 0, sum_loss = 0;
    uint64_t correct = 0, at = 0;
    *nonfinite = 0;
    out->examples = out->loss_tokens = out->tokens = 0;
    while (at < total) {
        zo2_batch lines = {.struct_size = sizeof lines};
        zo2_scores scores;
        zo2_scores_init(&scores);
        zo2_status s = zo2t_batcher_fill(b, at, batch, &lines);
        if (s == ZO2_OK)
            s = zo2_forward(e, &lines, weights, &scores);
        if (s != ZO2_OK)
            return s;
        sum_nll += scores.sum_nll;
        sum_loss += scores.sum_loss;
        correct += scores.correct;
        *nonfinite += scores.nonfinite;
        out->loss_tokens += scores.loss_tokens;
        out->tokens += scores.tokens;
        out->examples += lines.data_position - at;
        at = lines.data_position;
        if (cli_progress_due(progress))
            cli_progress_show(progress, at, total, "");
    }
    *loss = out->options ? sum_loss / (double)out->examples : sum_nll / (double)out->loss_tokens;
    *accuracy = out->options ? (double)correct / (double)out->examples : NAN;
    return ZO2_OK;
}

zo2_status tune_evaluate(tune_evaluation *out, zo2_engine *e, const zo2t_dataset *d, uint64_t batch,
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
    progress->silent = true; /* the bar counts lines, not what the engine does for each */
    if (s == ZO2_OK) {
        cli_progress_begin(progress, "evaluating", 0);
        s = pass(out, &out->loss_fp32, &out->accuracy_fp32, &out->nonfinite_fp32, e, b, batch, ZO2_WEIGHTS_MASTER,
                 progress, info.examples);
    }
    if (s == ZO2_OK && cli_wires_exact(&opts)) {
        out->loss = out->loss_fp32;
        out->accuracy = out->accuracy_fp32;
        out->nonfinite = out->nonfinite_fp32;
    } else if (s == ZO2_OK) {
        cli_progress_begin(progress, "evaluating through the wire", 0);
        s = pass(out, &out->loss, &out->accuracy, &out->nonfinite, e, b, batch, ZO2_WEIGHTS_WIRE, progress,
                 info.examples);
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
