/* plan_advice.h: another wire that would do what the planned one doesn't, as lines and as JSON. Who finds it: wire_advice.h. */
#ifndef ZO2_TOOLS_CLI_PLAN_ADVICE_H
#define ZO2_TOOLS_CLI_PLAN_ADVICE_H

#include <stdbool.h>

#include "engine/zo2.h"
#include "tools/cli/jsonout.h"

/* parameters 0 in plan: there is none. */
typedef struct cli_wire_advice {
    const char *option; /* "--frozen-wire" */
    zo2_wire wire;
    zo2_plan plan; /* with it */
} cli_wire_advice;

typedef struct cli_wire_advices {
    cli_wire_advice device; /* the whole model stays on the device */
    cli_wire_advice host;   /* nothing is on the drives */
    cli_wire_advice fit;    /* of a plan that doesn't fit: with it, it does */
} cli_wire_advices;

/* Steps are those that find their lines in the trunk's cache, if a run has one. 0: not known. */
double cli_plan_seconds(const zo2_plan *plan);
uint64_t cli_plan_wire_bytes(const zo2_plan *plan);

/* Lines under the table of a plan. What makes one fit is said by the error, fit_advice.h. */
void cli_plan_print_advice(const zo2_plan *plan, const cli_wire_advices *advice);

/* "advice" of an open object: [{"for": "device", "option": "--frozen-wire", "wire": "f6", ...}], and of it those for "host" and "fit". */
void cli_plan_advice_json(cli_json *j, const cli_wire_advices *advice);

#endif
