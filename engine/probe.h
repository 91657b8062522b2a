/* probe.h: how fast this machine is, measured in about a tenth of a second, for predicted step times. */
#ifndef ZO2_ENGINE_PROBE_H
#define ZO2_ENGINE_PROBE_H

#include "engine/plan.h"

/* Rates of a backend with a number of threads for one distribution and wire. */
zo2_status zo2_probe_rates(zo2_rates *out, const zo2_backend_ops *be, uint32_t threads, zo2_dist dist, zo2_wire wire);

#endif
