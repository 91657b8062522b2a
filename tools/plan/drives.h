/* drives.h: zo2-plan's options about drives that masters spill to, and a table of plans with some. */
#ifndef ZO2_TOOLS_PLAN_DRIVES_H
#define ZO2_TOOLS_PLAN_DRIVES_H

#include "engine/zo2.h"
#include "tools/cli/args.h"
#include "tools/plan/gpu.h"

typedef struct drive_flags {
    cli_value read_rate, write_rate, steps, table;
} drive_flags;

extern const cli_option drive_options[]; /* over a drive_flags */

/* The rates that were given. */
void drives_apply(const drive_flags *f, zo2_engine_opts *o);
uint64_t drives_steps(const drive_flags *f);

/* --spill-table: Markdown on stdout, a row for each wire, host budget and number of drives; everything else as in o. */
zo2_status drives_print_table(const char *model, const drive_flags *f, const gpu_flags *gpu, const zo2_engine_opts *o);

#endif
