/* plan_tune.h: the part of a plan's table about which tensors move, and what that saves. */
#ifndef ZO2_TOOLS_CLI_PLAN_TUNE_H
#define ZO2_TOOLS_CLI_PLAN_TUNE_H

#include <stdbool.h>

#include "engine/zo2.h"

/* On stdout; nothing for a run that moves all in every step. fixed: the run takes no other choice, so none is proposed. */
void cli_plan_print_tune(const zo2_engine_opts *o, const zo2_plan *plan, bool fixed);

#endif
