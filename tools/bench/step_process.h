/* step_process.h: the processes that take zo2's training steps for section_step.c and section_tune.c. */
#ifndef ZO2_TOOLS_BENCH_STEP_PROCESS_H
#define ZO2_TOOLS_BENCH_STEP_PROCESS_H

#include <stdbool.h>
#include <stdio.h>

#include "engine/zo2.h"

typedef struct bench_step_process {
    const char *pack;
    char run[512];      /* run directory to create */
    uint32_t rows, seq; /* of the batch, all tokens real */
    uint32_t vocab, threads;
    uint32_t queries;     /* 0: default */
    bool labelled;        /* examples of two rows, whose last two tokens are the answer; else the loss of a text */
    zo2_wire wire;        /* 0: default */
    zo2_dist dist;        /* 0: default */
    const char *tune;     /* NULL: all */
    uint64_t trunk_cache; /* filled before the first step; 0: none */
} bench_step_process;

/* For bench_peer_fork(). "step PASSES" takes steps and answers with the mean seconds of one and the process's peak
 * resident bytes. Of those steps then tell, as means of one: "gemm" the seconds in products, "lane" the seconds that the busiest
 * lane was busy, "uploaded" the bytes that went to the device: wires, rows of embeddings, kept rows of the trunk; and "products" and
 * "wires" of how many layers anything was multiplied, and uploaded, in any of them.
 * "kept" tells of how many examples the trunk was kept before the first step. */
int bench_step_serve(void *ud, FILE *in, FILE *out);

#endif
