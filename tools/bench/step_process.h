/* step_process.h: the process that takes zo2's training steps for section_step.c. */
#ifndef ZO2_TOOLS_BENCH_STEP_PROCESS_H
#define ZO2_TOOLS_BENCH_STEP_PROCESS_H

#include <stdio.h>

#include "engine/zo2.h"

typedef struct bench_step_process {
    const char *pack;
    char run[512]; /* run directory to create */
    uint32_t tokens, vocab, threads;
    zo2_wire wire; /* 0: default */
    zo2_dist dist; /* 0: default */
} bench_step_process;

/* For bench_peer_fork(): answers "step PASSES" with the mean seconds of a step and the process's peak resident bytes. */
int bench_step_serve(void *ud, FILE *in, FILE *out);

#endif
