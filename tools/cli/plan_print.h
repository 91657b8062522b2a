/* plan_print.h: a zo2_plan as a table and as JSON, for zo2-plan and zo2-tune train --dry-run. */
#ifndef ZO2_TOOLS_CLI_PLAN_PRINT_H
#define ZO2_TOOLS_CLI_PLAN_PRINT_H

#include "engine/zo2.h"

/* The table on stdout: bytes of every tier by part, rates measured here, the time of a step, and proposals. title names
 * the model. o: the options that were planned, for the head line; unset fields are left out. rows_per_line: rows that a
 * line of a batch has (proposals count lines, as the options do); 0 counts as 1. */
void cli_plan_print(const char *title, const zo2_engine_opts *o, const zo2_plan *plan, uint32_t rows_per_line);

/* One JSON object on stdout: every field by its name in zo2.h, "fits", and what a run here gets: "host_budget_bytes",
 * "host_limit", "cpus", "cpu_limit". */
void cli_plan_print_json(const char *title, const zo2_plan *plan, int fits);

#endif
