/* convert_process.h: the process that converts for section_convert.c: its peak memory is the conversion's alone. */
#ifndef ZO2_TOOLS_BENCH_CONVERT_PROCESS_H
#define ZO2_TOOLS_BENCH_CONVERT_PROCESS_H

#include <stdint.h>
#include <stdio.h>

typedef struct bench_convert_process {
    const char *dir;    /* of the model */
    char *const *files; /* its weights, ended by NULL */
    char out[1100];
    uint32_t threads;
} bench_convert_process;

/* For bench_peer_fork(). "convert PASSES" converts so many times and answers with the mean seconds and the process's peak resident
 * bytes. */
int bench_convert_serve(void *ud, FILE *in, FILE *out);

/* Takes files (ended by NULL) out of the page cache. */
void bench_forget_pages(char *const *files);

#endif
