/* wire_advice.h: is there a wire with which the model stays on the device, or its masters in RAM, where the planned one is too large? */
#ifndef ZO2_TOOLS_PLAN_WIRE_ADVICE_H
#define ZO2_TOOLS_PLAN_WIRE_ADVICE_H

#include "engine/zo2.h"
#include "tools/cli/plan_advice.h"
#include "tools/plan/gpu.h"

/* Plans with other wires, and takes the one that loses least of those that do it: nothing if none does, or if a step wouldn't be
 * shorter. o, now: what was planned, and the plan, which fits. Where the speed of this machine's device counts, it is measured once more for
 * what is advised. */
void wire_advice_find(cli_wire_advices *out, const char *model, const gpu_flags *gpu, const zo2_engine_opts *o,
                      const zo2_plan *now);

#endif
