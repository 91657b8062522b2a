/* spill_format.h: the bytes of a spill file (SPILL.md). Private to storage/spill and its tests. Little-endian. */
#ifndef ZO2_STORAGE_SPILL_SPILL_FORMAT_H
#define ZO2_STORAGE_SPILL_SPILL_FORMAT_H

#include "engine/base/checked.h"

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include <xxhash.h>

#define ZO2_SPILL_MAGIC       "ZO2SPIL\n"
#define ZO2_SPILL_VERSION     1u
#define ZO2_SPILL_HEAD_BYTES  256u
#define ZO2_SPILL_ALIGN       4096u /* of planes, slots, the table of slot headers and the file's length */
#define ZO2_SPILL_MAX_FILES   16u
#define ZO2_SPILL_MAX_CLASSES 120u                      /* fill the first page; no cut of slots needs more than 105 */
#define ZO2_SPILL_MAX_CHUNKS  (UINT32_C(1) << 24)       /* of a run */
#define ZO2_SPILL_MAX_SLOTS   (UINT32_C(1) << 25)       /* of a file */
#define ZO2_SPILL_MAX_PLANE   (UINT64_C(1) << 31)       /* bytes */
#define ZO2_SPILL_MAX_COUNTER ((UINT64_C(1) << 62) - 1) /* generations and steps: adding one never overflows */
#define ZO2_SPILL_WEIGHT      65536u                    /* of the fastest file */

typedef struct zo2_spill_head {
    char magic[8];
    uint32_t version;
    uint32_t head_bytes;
    uint64_t required; /* bits a reader must know; none so far */
    uint64_t run;
    uint64_t layout;
    uint32_t chunks; /* of the run */
    uint32_t files;  /* of the run, and which of them this is */
    uint32_t index;
    uint32_t classes;
    uint32_t slots;
    uint32_t alignment;
    uint64_t file_bytes;
    uint64_t classes_hash; /* XXH3-64 of the table of classes */
    uint32_t weight[ZO2_SPILL_MAX_FILES];
    uint8_t reserved[104];
    uint64_t hash; /* XXH3-64 of the 248 bytes before */
} zo2_spill_head;

typedef struct zo2_spill_class { /* slots of one size */
    uint64_t slot_bytes;
    uint64_t offset; /* of its first slot */
    uint32_t first;  /* number of its first slot */
    uint32_t slots;
    uint64_t reserved;
} zo2_spill_class;

typedef struct zo2_spill_front { /* the file's first page */
    zo2_spill_head head;
    zo2_spill_class classes[ZO2_SPILL_MAX_CLASSES];
} zo2_spill_front;

typedef struct zo2_spill_slot { /* a slot's header; all zero: never committed */
    uint32_t chunk;
    uint32_t slot;
    uint64_t step;
    uint64_t generation; /* commits of this spill so far: the largest one of a chunk is its newest */
    uint64_t history;
    uint64_t wire_hash, rest_hash;
    uint32_t wire_bytes, rest_bytes;
    uint64_t hash; /* XXH3-64 of the 56 bytes before, seeded with the run */
} zo2_spill_slot;

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "spill files are little-endian and stored as structs");
static_assert(sizeof(zo2_spill_head) == ZO2_SPILL_HEAD_BYTES, "SPILL.md");
static_assert(offsetof(zo2_spill_head, run) == 24, "SPILL.md");
static_assert(offsetof(zo2_spill_head, file_bytes) == 64, "SPILL.md");
static_assert(offsetof(zo2_spill_head, weight) == 80, "SPILL.md");
static_assert(offsetof(zo2_spill_head, hash) == 248, "SPILL.md");
static_assert(sizeof(zo2_spill_class) == 32, "SPILL.md");
static_assert(sizeof(zo2_spill_front) == ZO2_SPILL_ALIGN, "SPILL.md");
static_assert(sizeof(zo2_spill_slot) == 64, "SPILL.md: whole headers in a sector of 512 bytes");
static_assert(offsetof(zo2_spill_slot, hash) == 56, "SPILL.md");

static inline uint64_t zo2_spill_slot_hash(const zo2_spill_slot *h, uint64_t run)
{
    return XXH3_64bits_withSeed(h, offsetof(zo2_spill_slot, hash), run);
}

/* A plane with the room up to the next page. */
static inline uint64_t zo2_spill_pages(uint64_t bytes)
{
    return zo2_round_up(bytes, ZO2_SPILL_ALIGN);
}

/* Bytes of the table of slot headers, which begins at ZO2_SPILL_ALIGN. */
static inline uint64_t zo2_spill_table_bytes(uint32_t slots)
{
    return zo2_spill_pages((uint64_t)slots * sizeof(zo2_spill_slot));
}

#endif
