/* gpu_table.h: --gpu all. */
#ifndef ZO2_TOOLS_PLAN_GPU_TABLE_H
#define ZO2_TOOLS_PLAN_GPU_TABLE_H

#include "engine/zo2.h"
#include "tools/plan/gpu.h"

/* A Markdown table on stdout: what a step of the model takes on each known GPU. The host is measured once. */
zo2_status gpu_print_table(const char *model, const gpu_flags *f, const zo2_engine_opts *o);

#endif
