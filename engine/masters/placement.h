/* placement.h: which chunks live in RAM and which in the spill. A plan decides, masters obey. */
#ifndef ZO2_ENGINE_MASTERS_PLACEMENT_H
#define ZO2_ENGINE_MASTERS_PLACEMENT_H

#include "engine/zo2.h"

typedef enum zo2_tier {
    ZO2_TIER_RAM,   /* both planes; written to the spill by a snapshot alone */
    ZO2_TIER_WIRE,  /* both in the spill, and the wire plane in RAM as well */
    ZO2_TIER_SPILL, /* both in the spill */
} zo2_tier;

typedef struct zo2_placement {
    const uint8_t
        *tier; /* [n_chunks] (zo2_tier; of chunks that own their planes); NULL: everything in RAM, there is no spill */
    /* Buffers for planes of the other two tiers, each as large as the layout's largest plane of its kind. */
    uint32_t wire_buffers, rest_buffers;
} zo2_placement;

#endif
