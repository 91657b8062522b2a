/* gpu.h: zo2-plan's options about a GPU that isn't here, and plans for it. */
#ifndef ZO2_TOOLS_PLAN_GPU_H
#define ZO2_TOOLS_PLAN_GPU_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/zo2.h"
#include "tools/cli/args.h"
#include "tools/plan/gpu_cards.h"

#define GPU_EVERY "all" /* --gpu all: a table of the known ones */

typedef struct gpu_flags {
    cli_value gpu, pcie, update_rate, save;
} gpu_flags;

extern const cli_option gpu_options[]; /* over a gpu_flags */

typedef struct gpu_target {
    char device[192]; /* whose rates, and where they come from */
    zo2_device_rates rates;
    uint64_t memory_bytes; /* 0: not known */
    const gpu_card *card;  /* NULL: a file's */
} gpu_target;

/* A card, at o's wire and distribution, with the host's rate and link as the options have them. */
zo2_status gpu_of_card(gpu_target *out, const gpu_card *c, const gpu_flags *f, const zo2_engine_opts *o);

/* The same of what --gpu names: a card or a file. ZO2_ERR_NOTFOUND: neither; the message has the list. */
zo2_status gpu_find(gpu_target *out, const gpu_flags *f, const zo2_engine_opts *o);

/* The plan. 90 % of its memory is the budget if o has none. *o gets what was planned with. ZO2_ERR_UNSUPPORTED, with the plan: the
 * card can't compute in its type. */
zo2_status gpu_plan(zo2_plan *out, const char *model, const gpu_target *t, zo2_engine_opts *o);

/* --save-gpu: the plan's rates, of the target or measured here (NULL). given_memory: the budget is no device's. */
zo2_status gpu_save(const char *path, const zo2_plan *p, const gpu_target *t, const zo2_engine_opts *o,
                    bool given_memory);

#endif
