/* fit_advice.h: what to do when a budget is too small, in the options of the tool at hand. The library says what is wrong in
 * rows; the options count lines, a line may have several rows, and not every option can change. Nothing is advised that the
 * planner doesn't accept. */
#ifndef ZO2_TOOLS_CLI_FIT_ADVICE_H
#define ZO2_TOOLS_CLI_FIT_ADVICE_H

#include <stdbool.h>

#include "engine/zo2.h"

/* Sets o's largest sizes for batches of `batch` lines in micro-batches of `micro` lines. False: that can't be. */
typedef bool (*cli_fit_sizes_fn)(const void *ud, uint64_t batch, uint64_t micro, zo2_engine_opts *o);

typedef struct cli_fit {
    const char *model;           /* a pack or an architecture */
    const zo2_engine_opts *opts; /* what was too much */
    uint64_t batch, micro;       /* lines: what it was planned for; micro 0: the whole batch */
    bool here;                   /* for work on this machine: what memory it has counts */
    bool batch_option;           /* --batch may be another one */
    bool micro_option;           /* so may --micro-batch */
    bool spill_option;           /* there is a --spill */
    bool seq_option;             /* so may --seq, which makes rows of max_seq or the context */
    bool wire_option;            /* --wire and --frozen-wire may be others */
    cli_fit_sizes_fn sizes;      /* NULL: neither may */
    const void *ud;
} cli_fit;

/* As cli_fail(); if s is ZO2_ERR_NOMEM and a budget was too small, the line ends with "; try --micro-batch 4, or
 * --device-mem 30M". */
int cli_fail_to_fit(const char *program, const char *what, zo2_status s, const cli_fit *f);

/* The same ways for a run here, of a plan that fits if host memory is no object: "try ...", or what to do about the memory; "" if it fits here,
 * too. Returns out. */
const char *cli_fit_here(char *out, size_t size, const cli_fit *f);

#endif
