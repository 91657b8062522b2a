/* pace.h: how long the rest of a training session takes: steps, and between them evaluations and snapshots, which are few and
 * long. Each is taken to last as it lately did in this session. Pure but for the state. */
#ifndef ZO2_TOOLS_CLI_PACE_H
#define ZO2_TOOLS_CLI_PACE_H

#include <stdint.h>

/* Zeroed, with what is to be set first set: nothing seen yet. */
typedef struct cli_pace {
    /* to be set first */
    double passes_per_step;        /* that a step makes over its batch */
    double evaluation_pass_tokens; /* tokens of an evaluation, times the passes over them */
    double snapshot_every;         /* seconds; 0: at the end only */
    /* seen so far: means of the last fifty steps, and the last evaluation and snapshot */
    uint64_t steps;
    double step_seconds, step_tokens;
    double evaluation_seconds, snapshot_seconds; /* 0: none yet */
} cli_pace;

/* A step was done: it took so long on the clock, so much of that itself. What is in excess of CLI_PACE_SNAPSHOT was a snapshot. */
#define CLI_PACE_SNAPSHOT 0.05
void cli_pace_step(cli_pace *p, double clock_seconds, double step_seconds, uint64_t tokens);

void cli_pace_evaluation(cli_pace *p, double seconds);

/* Seconds that so many steps and evaluations take, with the snapshots that are due meanwhile and the one at the end. Before the
 * first evaluation its time follows from its tokens and those of the steps. NAN before the first step. */
double cli_pace_left(const cli_pace *p, uint64_t steps, uint64_t evaluations);

/* Evaluations that come after `done` of `target` steps: after each multiple of `every` (0: none of these) and at the end. */
uint64_t cli_pace_evaluations(uint64_t done, uint64_t target, uint64_t every);

#endif
