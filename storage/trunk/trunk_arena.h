/* trunk_arena.h: entries in RAM, one behind the other in large blocks, which are never moved or freed before the end. Private to
 * storage/trunk. */
#ifndef ZO2_STORAGE_TRUNK_TRUNK_ARENA_H
#define ZO2_STORAGE_TRUNK_TRUNK_ARENA_H

#include "engine/zo2.h"

#include <stdint.h>

#define ZO2_TRUNK_BLOCK_BYTES (UINT64_C(64) << 20) /* of a block; one for a larger entry has its size */

typedef struct zo2_trunk_block {
    unsigned char *memory;
    uint64_t bytes;
} zo2_trunk_block;

typedef struct zo2_trunk_arena {
    zo2_trunk_block *block; /* [blocks] */
    uint32_t blocks, room;
    uint64_t used; /* of the last one */
} zo2_trunk_arena; /* zeroed: empty */

void zo2_trunk_arena_free(zo2_trunk_arena *a);

/* A copy of src[bytes] in block *block at *at. most: a new block needn't be larger, unless for this entry. ZO2_ERR_NOMEM: all is as it was. */
zo2_status zo2_trunk_arena_add(zo2_trunk_arena *a, const void *src, uint64_t bytes, uint64_t most, uint32_t *block,
                               uint64_t *at);
const void *zo2_trunk_arena_at(const zo2_trunk_arena *a, uint32_t block, uint64_t at);

#endif
