/* ram_home.c: see ram_home.h. */
#include "engine/masters/ram_home.h"
#include "engine/base/host_memory.h"
#include "engine/masters/home.h"
#include "engine/model/layout.h"

#include <stdlib.h>
#include <string.h>

static zo2_status acquire(zo2_home *home, uint32_t chunk, zo2_plane plane, zo2_access access, uint8_t **at)
{
    (void)access;
    const zo2_ram_home *h = (const zo2_ram_home *)(const void *)home;
    *at = h->memory + h->at[chunk] + (plane == ZO2_PLANE_REST ? zo2_ram_rest_at(&h->layout->chunks[chunk]) : 0);
    return ZO2_OK;
}

static const zo2_home_kind ram = {.name = "RAM", .acquire = acquire};

zo2_status zo2_ram_home_create(zo2_ram_home *h, const zo2_layout *layout, const uint32_t *owner)
{
    *h = (zo2_ram_home){.home.kind = &ram, .layout = layout};
    h->at = calloc(layout->n_chunks, sizeof *h->at);
    if (!h->at)
        return zo2_error(ZO2_ERR_NOMEM, "no memory for the table of %u chunks", layout->n_chunks);
    uint64_t bytes = 0;
    for (uint32_t c = 0; c < layout->n_chunks; c++) {
        if (owner[c] != c)
            continue;
        h->at[c] = bytes;
        bytes += zo2_ram_chunk_bytes(&layout->chunks[c]);
    }
    void *memory;
    zo2_status s = zo2_host_map(&memory, bytes, "the master weights");
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
