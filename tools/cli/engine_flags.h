/* engine_flags.h: the options about sizes, arithmetic and resources that zo2-tune and zo2-plan share. */
#ifndef ZO2_TOOLS_CLI_ENGINE_FLAGS_H
#define ZO2_TOOLS_CLI_ENGINE_FLAGS_H

#include "engine/zo2.h"
#include "tools/cli/args.h"

typedef struct cli_engine_flags {
    cli_value batch, seq;
    cli_value queries, dist, pending, micro_batch;
    cli_value tune, tune_rotate, tune_order, trunk_type, trunk_cache;
    cli_value wire, frozen_wire, compute, backend;
    cli_value device_mem, host_mem, threads;
    cli_list spill;
    cli_value write_budget, endurance;
} cli_engine_flags;

enum { CLI_DEFAULT_BATCH = 16, CLI_DEFAULT_STEPS = 20000, CLI_MAX_BATCH = 1 << 24 };

/* Choices, best known first. */
#define CLI_COMPUTES "fp32|fp16|bf16"
#ifdef ZO2_HAVE_CUDA
#define CLI_BACKENDS        "auto|cpu|cuda"
#define CLI_COMPUTE_DEFAULT "cpu: fp32; cuda: the checkpoint's, fp16 if that is fp32"
#else
#define CLI_BACKENDS        "auto|cpu"
#define CLI_COMPUTE_DEFAULT "fp32"
#endif

/* Tables over a cli_engine_flags. */
extern const cli_option cli_shape_options[];    /* batch, seq */
extern const cli_option cli_method_options[];   /* queries, dist, pending, micro-batch */
extern const cli_option cli_tune_options[];     /* tune, tune-rotate, tune-order, trunk-type, trunk-cache */
extern const cli_option cli_compute_options[];  /* wire, frozen-wire, compute, backend */
extern const cli_option cli_resource_options[]; /* device-mem, host-mem, threads */
extern const cli_option cli_spill_options[];    /* spill, write-budget, endurance */

/* Stores what was given in o, all but batch and seq, which become rows in different ways, and endurance, which is the user's to
 * know. o points into *f. */
void cli_engine_flags_apply(const cli_engine_flags *f, zo2_engine_opts *o);

#endif
