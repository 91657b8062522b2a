/* tune_table.h: --tune-table. */
#ifndef ZO2_TOOLS_PLAN_TUNE_TABLE_H
#define ZO2_TOOLS_PLAN_TUNE_TABLE_H

#include "engine/zo2.h"
#include "tools/plan/gpu.h"

/* A Markdown table on stdout: what a run of `steps` steps takes that tunes all of the model, its vectors, its last layers, or
 * adapters; everything else as in o. The host is measured once, if its rate isn't given. */
zo2_status tune_print_table(const char *model, uint64_t steps, const gpu_flags *gpu, const zo2_engine_opts *o);

#endif
