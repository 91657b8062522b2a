/* plan_print.h: a zo2_plan as a table and as JSON, for zo2-plan and zo2-tune train --dry-run. */
#ifndef ZO2_TOOLS_CLI_PLAN_PRINT_H
#define ZO2_TOOLS_CLI_PLAN_PRINT_H

#include <stdbool.h>

#include "engine/zo2.h"
#include "tools/cli/plan_advice.h"
#include "tools/cli/wear.h"

/* What proposals are made for: they count lines, as the options do. */
typedef struct cli_plan_lines {
    uint64_t batch;         /* lines of a batch */
    uint32_t rows_per_line; /* rows that a line has at most */
    bool fixed;             /* a run's: it takes no other settings, so none are proposed */
    const char *device;     /* whose rates were given ("h200, as published"); NULL: they were measured here */
    const cli_wear *wear;   /* of a plan that spills; else NULL */
    const char *here;       /* what to do where host memory here is too little; "" or NULL: nothing is known */
    bool whole_context;     /* rows are as long as the context because nobody said how long they are */
} cli_plan_lines;

/* The table on stdout: bytes of every tier by part, rates, the time of a step, and proposals. title names
 * the model. o: the options that were planned, for the head line; unset fields are left out. */
void cli_plan_print(const char *title, const zo2_engine_opts *o, const zo2_plan *plan, const cli_plan_lines *lines);

/* One JSON object on stdout: every field by its name in zo2.h, "fits", and what a run here gets: "host_budget_bytes",
 * "host_limit", "cpus", "cpu_limit". device, wear: as in cli_plan_lines; with wear "steps", "written_bytes", "endurance_bytes" (null:
 * nobody knows) and "endurance_assumed". advice: "advice", an array. */
void cli_plan_print_json(const char *title, const zo2_plan *plan, int fits, const char *device, const cli_wear *wear,
                         const cli_wire_advices *advice);

#endif
