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

/* For bench_peer_fork(). "step PASSES" takes steps and answers with the mean seconds of one and the process's peak
 * resident bytes. Of those steps "gemm" then tells the mean seconds in products, and "lane" the mean seconds that the
 * busiest lane was busy. */
int bench_step_serve(void *ud, FILE *in, FILE *out);

#endif
