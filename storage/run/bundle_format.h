/* bundle_format.h: the bytes of a bundle (RUN.md, "Bundle"), private to bundle.c and its tests. Little-endian, no padding. */
#ifndef ZO2_STORAGE_RUN_BUNDLE_FORMAT_H
#define ZO2_STORAGE_RUN_BUNDLE_FORMAT_H

#include "storage/run/journal_format.h"

#define ZO2_BUNDLE_MAGIC        "ZO2BNDL\n"
#define ZO2_BUNDLE_HEADER_BYTES 512u
#define ZO2_BUNDLE_SKIPPED      1u /* record flag */

typedef struct zo2_bundle_head {
    char magic[8];
    uint32_t version;
    uint32_t header_bytes;
    uint32_t record_bytes;
    uint32_t reserved0;
    uint64_t required; /* bits a reader must know; none so far */
    uint64_t steps;
    uint64_t contents; /* XXH3-64 of all that follows these 256 bytes */
    uint8_t reserved1[200];
    uint64_t hash; /* XXH3-64 of the 248 bytes before */
    zo2_journal_head journal;
} zo2_bundle_head;

typedef struct zo2_bundle_raw { /* start of a record; a c of each query, as float bits, follows */
    uint32_t flags;
    uint32_t d; /* float bits */
} zo2_bundle_raw;

#define ZO2_BUNDLE_RECORD_BYTES(queries) (sizeof(zo2_bundle_raw) + (size_t)(queries) * sizeof(uint32_t))
#define ZO2_BUNDLE_MAX_RECORD_BYTES      ZO2_BUNDLE_RECORD_BYTES(ZO2_MAX_QUERIES)

static_assert(sizeof(zo2_bundle_head) == ZO2_BUNDLE_HEADER_BYTES, "bundle header");
static_assert(offsetof(zo2_bundle_head, steps) == 32, "bundle header");
static_assert(offsetof(zo2_bundle_head, hash) == 248, "in every version the first 256 bytes end with their hash");
static_assert(offsetof(zo2_bundle_head, journal) == 256, "bundle header");
static_assert(ZO2_BUNDLE_RECORD_BYTES(1) == 12, "one query: 12 bytes a step");
static_assert(ZO2_BUNDLE_MAX_RECORD_BYTES * 20000 < 2000000, "20,000 steps of any number of queries: under 2 MB");

#endif
