/* trunk_format.h: the bytes of a trunk file (TRUNK.md). Private to storage/trunk and its tests. Little-endian, no padding. */
#ifndef ZO2_STORAGE_TRUNK_TRUNK_FORMAT_H
#define ZO2_STORAGE_TRUNK_TRUNK_FORMAT_H

#include "storage/trunk/trunk.h"

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include <xxhash.h>

#define ZO2_TRUNK_MAGIC        "ZO2TRNK\n"
#define ZO2_TRUNK_VERSION      1u
#define ZO2_TRUNK_HEAD_BYTES   256u
#define ZO2_TRUNK_RECORD_MAGIC UINT32_C(0x4B52545A) /* "ZTRK" */

typedef struct zo2_trunk_head {
    char magic[8];
    uint32_t version;
    uint32_t head_bytes;
    uint64_t required; /* bits a reader must know; none so far */
    uint64_t run;
    zo2_trunk_key identity;
    uint8_t reserved[200];
    uint64_t hash; /* XXH3-64 of the 248 bytes before */
} zo2_trunk_head;

typedef struct zo2_trunk_record { /* the payload follows */
    uint32_t magic;
    uint32_t reserved;
    zo2_trunk_key key;
    uint64_t bytes;        /* of the payload */
    uint64_t payload_hash; /* XXH3-64 of them */
    uint64_t hash;         /* XXH3-64 of the 40 bytes before, seeded with the file header's hash */
} zo2_trunk_record;

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "trunk files are little-endian and stored as structs");
static_assert(sizeof(zo2_trunk_head) == ZO2_TRUNK_HEAD_BYTES, "TRUNK.md");
static_assert(offsetof(zo2_trunk_head, identity) == 32, "TRUNK.md");
static_assert(offsetof(zo2_trunk_head, hash) == 248, "in every version the first 256 bytes end with their hash");
static_assert(sizeof(zo2_trunk_record) == ZO2_TRUNK_RECORD_BYTES, "TRUNK.md");
static_assert(offsetof(zo2_trunk_record, hash) == 40, "TRUNK.md");

static inline uint64_t zo2_trunk_head_hash(const zo2_trunk_head *h)
{
    return XXH3_64bits(h, offsetof(zo2_trunk_head, hash));
}

/* The seed ties a record to its file: one that a lost truncation left behind another header is none. */
static inline uint64_t zo2_trunk_record_hash(const zo2_trunk_record *r, uint64_t seed)
{
    return XXH3_64bits_withSeed(r, offsetof(zo2_trunk_record, hash), seed);
}

#endif
