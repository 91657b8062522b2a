/* ram_home.h: the home of planes in host memory: one mapping for all chunks. */
#ifndef ZO2_ENGINE_MASTERS_RAM_HOME_H
#define ZO2_ENGINE_MASTERS_RAM_HOME_H

#include "engine/masters/home.h"
#include "engine/model/layout.h"

typedef struct zo2_ram_home {
    zo2_home home;
    const zo2_layout *layout;
    uint8_t *memory; /* one anonymous mapping */
    uint64_t bytes;
    uint64_t *at; /* [n_chunks]: offset of the wire plane; the rest plane follows it */
} zo2_ram_home;

/* Where the rest plane begins behind the wire plane: never at the same address modulo 4,096, where a store to one and a
 * load from the other would be taken for the same (measured: split then runs at a third of its speed or less). */
static inline uint64_t zo2_ram_rest_at(const zo2_chunk *c)
{
    return ((c->wire_bytes + 4095) & ~4095ull) + 1344;
}

/* What both planes take: whole pages. */
static inline uint64_t zo2_ram_chunk_bytes(const zo2_chunk *c)
{
    return (zo2_ram_rest_at(c) + c->rest_bytes + 4095) & ~4095ull;
}

/* Room for the chunks that are their own owner; others have none. Zeroed, its pages not taken yet (zo2_host_touch()).
 * ZO2_ERR_NOMEM; nothing is left then. */
zo2_status zo2_ram_home_create(zo2_ram_home *h, const zo2_layout *layout, const uint32_t *owner);
void zo2_ram_home_free(zo2_ram_home *h); /* zeroed is fine */

#endif
