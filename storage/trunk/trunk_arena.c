/* trunk_arena.c: see trunk_arena.h. A block's pages are taken from the system when they are written, so the rest of one that no
 * entry fits in costs nothing. */
#include "storage/trunk/trunk_arena.h"
#include "engine/base/checked.h"
#include "engine/base/host_memory.h"

#include <stdlib.h>
#include <string.h>

void zo2_trunk_arena_free(zo2_trunk_arena *a)
{
    for (uint32_t i = 0; i < a->blocks; i++)
        zo2_host_unmap(a->block[i].memory, a->block[i].bytes);
    free(a->block);
    *a = (zo2_trunk_arena){0};
}

static zo2_status add_block(zo2_trunk_arena *a, uint64_t bytes)
{
    void *memory;
    if (a->blocks == a->room) {
        const uint32_t room = a->room ? 2 * a->room : 16;
        zo2_trunk_block *more = room > a->room ? realloc(a->block, room * sizeof *more) : NULL;
        if (!more)
            return zo2_error(ZO2_ERR_NOMEM, "out of memory for another block of the trunk cache");
        a->block = more;
        a->room = room;
    }
    zo2_status s = zo2_host_map(&memory, bytes, "a block of the trunk cache");
    if (s)
        return s;
    a->block[a->blocks++] = (zo2_trunk_block){memory, bytes};
    a->used = 0;
    return ZO2_OK;
}

zo2_status zo2_trunk_arena_add(zo2_trunk_arena *a, const void *src, uint64_t bytes, uint64_t most, uint32_t *block,
                               uint64_t *at)
{
    const uint64_t size = zo2_round_up(bytes, 8);
    if (!a->blocks || size > a->block[a->blocks - 1].bytes - a->used) {
        const uint64_t usual = zo2_min_u64(ZO2_TRUNK_BLOCK_BYTES, most);
        zo2_status s = add_block(a, zo2_max_u64(zo2_max_u64(size, usual), 8));
        if (s)
            return s;
    }
    *block = a->blocks - 1;
    *at = a->used;
    if (bytes)
        memcpy(a->block[*block].memory + *at, src, (size_t)bytes);
    a->used += size;
    return ZO2_OK;
}

const void *zo2_trunk_arena_at(const zo2_trunk_arena *a, uint32_t block, uint64_t at)
{
    return a->block[block].memory + at;
}
