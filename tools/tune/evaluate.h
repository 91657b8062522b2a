/* evaluate.h: loss and accuracy over a whole data file. */
#ifndef ZO2_TOOLS_TUNE_EVALUATE_H
#define ZO2_TOOLS_TUNE_EVALUATE_H

#include <stdbool.h>

#include "engine/zo2.h"
#include "tools/cli/progress.h"
#include "tools/dist/dist.h"
#include "tools/text/dataset.h"

/* Language-model lines: loss = mean over all loss tokens of the file. Options: loss = mean cross-entropy of the
 * examples, accuracy in [0, 1]. NaN where there is none. */
typedef struct tune_evaluation {
    bool done;
    bool options;
    double loss, accuracy;              /* through the wire */
    double loss_fp32, accuracy_fp32;    /* at the exported fp32 weights */
    uint64_t nonfinite, nonfinite_fp32; /* examples with scores that aren't finite, which count as wrong */
    uint64_t examples, loss_tokens, tokens;
    double seconds;
} tune_evaluation;

/* Batches of `batch` lines in the file's order, once at the fp32 weights and once through the wire (which is the same
 * thing when the wire is fp32). ranks: share them, and all have the result; NULL: nobody does. ZO2_ERR_CANCELLED after Ctrl-C;
 * out->done is set on success only. */
zo2_status tune_evaluate(tune_evaluation *out, zo2_engine *e, const zo2t_dataset *d, uint64_t batch, dist *ranks,
                         cli_progress *progress);

/* Warns if examples had scores that aren't finite: how many, through what. */
void tune_evaluation_warn(const tune_evaluation *e, cli_progress *progress);

#endif
