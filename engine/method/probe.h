/* probe.h: where a step evaluates the loss. A stream is one forward pass of a step, at the weights of its probe; all streams
 * of a step run side by side over the same batch, and what they share is done once. */
#ifndef ZO2_ENGINE_METHOD_PROBE_H
#define ZO2_ENGINE_METHOD_PROBE_H

#include "engine/zo2.h"
#include "kernels/operations.h"

/* Both signs of every query, and the weights themselves. */
#define ZO2_MAX_STREAMS (2 * ZO2_MAX_QUERIES + 1)

/* W + sign eps z_query; sign 0: W itself, whatever the query. */
typedef struct zo2_probe {
    uint8_t query;
    int8_t sign; /* -1, 0, 1 */
} zo2_probe;

typedef struct zo2_probe_plan {
    uint32_t streams; /* at least 1 */
    zo2_probe stream[ZO2_MAX_STREAMS];
    const uint8_t *moves; /* [n_tensors]: 0 for a tensor that is at W in every stream; NULL: all move */
} zo2_probe_plan;

/* Neighbouring streams that one decoding of a wire serves: they need the noise of at most one query. */
typedef struct zo2_probe_group {
    uint32_t first, n; /* streams [first, first + n), n from 1 to ZO2_MAX_PANELS */
    uint32_t streams;  /* that it serves: n; of what doesn't move, all that are left */
    int shared;        /* one panel for all of them: it doesn't move */
    uint32_t query;
    int sign[ZO2_MAX_PANELS];
} zo2_probe_group;

/* The group that begins with stream `first`; the next one begins with first + streams. */
zo2_probe_group zo2_probe_group_at(const zo2_probe_plan *p, uint32_t first);
/* The same for the decoding of one tensor. */
zo2_probe_group zo2_probe_group_of(const zo2_probe_plan *p, uint32_t tensor, uint32_t first);

uint32_t zo2_probe_groups(const zo2_probe_plan *p); /* decodings of every wire */
uint32_t zo2_probe_panels(const zo2_probe_plan *p); /* streams of the widest group */

/* One stream at W: an evaluation. */
void zo2_probe_unperturbed(zo2_probe_plan *out);

#endif
