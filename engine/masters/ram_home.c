/* ram_home.c: see ram_home.h. */
#include "engine/masters/ram_home.h"
#include "engine/base/checked.h"
#include "engine/base/host_memory.h"
#include "engine/masters/home.h"
#include "engine/masters/placement.h"
#include "engine/model/layout.h"

#include <stdlib.h>
#include <string.h>

uint8_t *zo2_ram_plane(const zo2_ram_home *h, uint32_t chunk, zo2_plane plane)
{
    uint64_t at = plane == ZO2_PLANE_REST ? zo2_ram_rest_at(&h->layout->chunks[chunk], h->skew) : 0;
    return h->memory + h->at[chunk] + at;
}

static zo2_status acquire(zo2_home *home, uint32_t chunk, zo2_plane plane, zo2_access access, uint8_t **at)
{
    (void)access;
    *at = zo2_ram_plane((const zo2_ram_home *)(const void *)home, chunk, plane);
    return ZO2_OK;
}

static const zo2_home_kind ram = {.name = "RAM", .acquire = acquire};

static uint64_t room(const zo2_chunk *c, const uint8_t *tier, uint32_t skew)
{
    if (tier && *tier == ZO2_TIER_SPILL)
        return 0;
    if (tier && *tier == ZO2_TIER_WIRE)
        return zo2_round_up(c->wire_bytes, 4096);
    return tier ? zo2_ram_chunk_bytes(c) : zo2_round_up(zo2_ram_rest_at(c, skew) + c->rest_bytes, 4096);
}

zo2_status zo2_ram_home_create(zo2_ram_home *h, const zo2_layout *layout, const uint32_t *owner, const uint8_t *tier,
                               uint32_t skew)
{
    *h = (zo2_ram_home){.home.kind = &ram, .layout = layout, .skew = skew};
    h->at = calloc(layout->n_chunks, sizeof *h->at);
    if (!h->at)
        return zo2_error(ZO2_ERR_NOMEM, "no memory for the table of %u chunks", layout->n_chunks);
    uint64_t bytes = 0;
    for (uint32_t c = 0; c < layout->n_chunks; c++) {
        if (owner[c] != c)
            continue;
        h->at[c] = bytes;
        bytes += room(&layout->chunks[c], tier ? &tier[c] : NULL, skew);
    }
    void *memory = NULL;
    zo2_status s = bytes ? zo2_host_map(&memory, bytes, "the master weights") : ZO2_OK;
    if (s) {
        zo2_ram_home_free(h);
        return s;
    }
    h->memory = memory;
    h->bytes = bytes;
    return ZO2_OK;
}

void zo2_ram_home_free(zo2_ram_home *h)
{
    zo2_host_unmap(h->memory, h->bytes);
    free(h->at);
    memset(h, 0, sizeof *h);
}
