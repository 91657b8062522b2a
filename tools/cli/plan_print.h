/* plan_print.h: a zo2_plan as a table and as JSON, for zo2-plan and zo2-tune train --dry-run. */
#ifndef ZO2_TOOLS_CLI_PLAN_PRINT_H
#define ZO2_TOOLS_CLI_PLAN_PRINT_H

#include "engine/zo2.h"

/* The table on stdout: bytes of every tier by part, and the time of a step. title names the model. o: the options that
 * were planned, for the head line; unset fields are left out. */
void cli_plan_print(const char *title, const zo2_engine_opts *o, const zo2_plan *plan);

/* One JSON object on stdout: every field by its name in zo2.h, and "fits". */
void cli_plan_print_json(const char *title, const zo2_plan *plan, int fits);

#endif
