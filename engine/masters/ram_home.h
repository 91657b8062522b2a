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
    uint32_t skew;
} zo2_ram_home;

/* Where the rest plane begins behind the wire plane: never at the same address modulo 4,096, where a store to one and a
 * load from the other would be taken for the same (measured: split then runs at a third of its speed or less). Planes that are
 * written to a disk begin where it takes them. */
#define ZO2_RAM_SKEW 1344u

static inline uint64_t zo2_ram_rest_at(const zo2_chunk *c, uint32_t skew)
{
    return ((c->wire_bytes + 4095) & ~4095ull) + skew;
}

/* What both planes take of a chunk that has a tier: each has room up to the next multiple of 4096 bytes, and the skew. */
static inline uint64_t zo2_ram_chunk_bytes(const zo2_chunk *c)
{
    return ((c->wire_bytes + 4095) & ~4095ull) + ((c->rest_bytes + 4095) & ~4095ull) + 4096;
}

/* Room for the chunks that are their own owner, as their tier says (NULL: for both planes of all); others have none. Each plane has
 * room up to the next multiple of 4096 bytes if there are tiers; skew: at most 4096. Zeroed, its pages not taken yet (zo2_host_touch()).
 * ZO2_ERR_NOMEM; nothing is left then. */
zo2_status zo2_ram_home_create(zo2_ram_home *h, const zo2_layout *layout, const uint32_t *owner, const uint8_t *tier,
                               uint32_t skew);
/* Of a chunk that has room. */
uint8_t *zo2_ram_plane(const zo2_ram_home *h, uint32_t chunk, zo2_plane plane);
void zo2_ram_home_free(zo2_ram_home *h); /* zeroed is fine */

#endif
