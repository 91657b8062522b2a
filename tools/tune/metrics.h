/* metrics.h: RUN_DIR/metrics.jsonl, one object per step. The journal is the record of a run; this file is for plotting.
 * Every step's line is written after its evaluation, if it has one; the line of step 0 has the evaluation before it,
 * too, in keys that begin with "initial_". Lines that a crash cost are made again from the journal when the run goes on. */
#ifndef ZO2_TOOLS_TUNE_METRICS_H
#define ZO2_TOOLS_TUNE_METRICS_H

#include <stdbool.h>
#include <stdio.h>

#include "engine/zo2.h"
#include "tools/cli/jsonout.h"
#include "tools/tune/evaluate.h"

typedef struct tune_metrics_file {
    int fd; /* -1: closed */
    char *path;
    bool spills; /* the run's masters do. Set before tune_metrics_open() */
} tune_metrics_file;

/* What goes with a step beside its result. The evaluations of the weights before and after it: NULL, or not done, where there is none. */
typedef struct tune_metrics_evals {
    const tune_evaluation *before; /* step 0 only */
    const tune_evaluation *after;
    /* of a step that ranks shared: seconds from its begin to its exchange, [ranks] */
    const double *work;
    uint32_t ranks; /* 0: none */
} tune_metrics_evals;

/* Writes the object of a step. rebuilt: seconds, peaks, bottleneck and what spilled are unknown, null. spills: as in
 * tune_metrics_file. */
void tune_metrics_write(FILE *out, const zo2_step_result *r, const tune_metrics_evals *e, bool spills, bool rebuilt);

/* The keys of an evaluation, each with the prefix in front, into an open object; none if e is NULL or not done. */
void tune_metrics_evaluation(cli_json *j, const char *prefix, const tune_evaluation *e);

/* Opens (or creates) the file so that it ends with the line of the journal's last step: torn lines and lines beyond the
 * journal are cut, missing ones made from `run` (NULL: a new run, the file becomes empty). *rebuilt counts those.
 * ZO2_ERR_IO, ZO2_ERR_NOSPACE. tune_metrics_close() in any case. */
zo2_status tune_metrics_open(tune_metrics_file *m, const char *run_dir, const zo2_run *run, uint64_t *rebuilt);

/* Appends a step's line, in one write. ZO2_ERR_IO, ZO2_ERR_NOSPACE. */
zo2_status tune_metrics_append(tune_metrics_file *m, const zo2_step_result *r, const tune_metrics_evals *e);

void tune_metrics_close(tune_metrics_file *m);

typedef struct tune_metrics_eval {
    uint64_t steps; /* done when it was made: --at-step's number */
    double loss,
        accuracy; /* at the fp32 weights; accuracy NaN for language-model lines; loss NaN if it wasn't finite */
} tune_metrics_eval;

/* The evaluations in RUN_DIR/metrics.jsonl in order; *out for the caller to free(), NULL if there are none. A missing
 * file has none. ZO2_ERR_IO, ZO2_ERR_NOMEM. */
zo2_status tune_metrics_evaluations(const char *run_dir, tune_metrics_eval **out, size_t *n);

/* The best of n: highest accuracy, then lowest loss; the earlier of equals. Broken weights may score well by accident,
 * so one whose loss isn't finite never is: NULL if none is left. */
const tune_metrics_eval *tune_metrics_best(const tune_metrics_eval *e, size_t n);

#endif
