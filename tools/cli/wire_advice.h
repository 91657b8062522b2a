/* wire_advice.h: is there a wire with which the model stays on the device, or its masters in RAM, where the planned one is too large; or
 * with which a run fits at all? It is found by planning with each. */
#ifndef ZO2_TOOLS_CLI_WIRE_ADVICE_H
#define ZO2_TOOLS_CLI_WIRE_ADVICE_H

#include <stdbool.h>

#include "engine/zo2.h"
#include "tools/cli/plan_advice.h"

/* Plans with o, which is a copy. timed: the plan that was made already, whose rates hold as far as they don't depend on the wire; NULL:
 * sizes are all that matters. */
typedef zo2_status (*cli_wire_plan_fn)(const void *ud, zo2_engine_opts *o, const zo2_plan *timed, zo2_plan *out);

typedef struct cli_wire_search {
    const char *model;
    const zo2_engine_opts *opts; /* what was planned */
    const zo2_plan *now;         /* and its plan */
    cli_wire_plan_fn plan;       /* NULL: zo2_plan_estimate(), for this machine */
    const void *ud;
} cli_wire_search;

/* For a plan that fits: of the wires that do it the one that loses least; nothing if none does, or if a step wouldn't be
 * shorter. Where the speed of this machine's device counts, it is measured once more for what is advised. */
void cli_wire_advice_find(cli_wire_advices *out, const cli_wire_search *s);

/* For a plan that doesn't fit: the wire that makes it fit, everything else as it is, and loses least; nothing if none does. zo2_last_error()
 * stays as it is. */
void cli_wire_advice_fit(cli_wire_advice *out, const cli_wire_search *s);

#endif
