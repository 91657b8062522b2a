/* journal_format.h: the bytes of a journal (RUN.md, "Journal"), private to journal*.c and its tests. Little-endian, no
 * padding. */
#ifndef ZO2_STORAGE_RUN_JOURNAL_FORMAT_H
#define ZO2_STORAGE_RUN_JOURNAL_FORMAT_H

#include "storage/run/journal.h"

#include <assert.h>

#define ZO2_JOURNAL_MAGIC        "ZO2JRNL\n"
#define ZO2_JOURNAL_VERSION      1u
#define ZO2_JOURNAL_HEADER_BYTES 256u
#define ZO2_JOURNAL_RECORD_MAGIC 0x4345525Au /* "ZREC" */
#define ZO2_JOURNAL_SKIPPED      1u          /* record flag */
#define ZO2_JOURNAL_TUNES        UINT64_C(1) /* required feature: it tunes a part of the model, or parts by turns */
#define ZO2_JOURNAL_FROZEN_WIRE  UINT64_C(2) /* required feature: frozen matrices have a wire of their own */
#define ZO2_JOURNAL_TUNE_MOST    (8u << 20)  /* bytes of the text that says which */
#define ZO2_JOURNAL_MAX_STEPS    (UINT64_C(1) << 28)

typedef struct zo2_journal_head {
    char magic[8];
    uint32_t version;
    uint32_t header_bytes;
    uint32_t record_bytes;
    uint32_t reserved0;
    uint64_t required; /* bits a reader must know */
    uint64_t model_hash;
    uint64_t seed;
    uint64_t lr, eps, weight_decay, clip; /* double bits */
    uint64_t warmup;
    uint64_t total_steps;
    uint32_t schedule, dist, queries, pending;
    uint32_t micro_batch, wire, compute, backend;
    uint32_t noise_version, tile_rule, decay_set, reserved1;
    uint32_t tune_rotate, tune_order, trunk_type;
    uint32_t tune_bytes;  /* of the choice of tensors, which follows the header; 0: all */
    uint64_t tune_hash;   /* XXH3-64 of it; 0 if there is none */
    uint32_t frozen_wire; /* 0: the run's, as `wire` */
    uint8_t reserved2[76];
    uint64_t hash; /* XXH3-64 of the 248 bytes before; chain value 0 */
} zo2_journal_head;

typedef struct zo2_journal_raw { /* start of a record; its queries and the 8-byte checksum follow */
    uint32_t magic;
    uint32_t flags;
    uint64_t step;
    uint64_t tokens;
    uint64_t data_position;
    uint32_t d; /* float bits */
    uint32_t queries;
} zo2_journal_raw;

typedef struct zo2_journal_raw_query {
    uint64_t loss_plus, loss_minus; /* double bits */
    uint32_t g_raw, g_clipped, c;   /* float bits */
    uint32_t reserved;
} zo2_journal_raw_query;

#define ZO2_JOURNAL_RECORD_BYTES(queries) \
    (sizeof(zo2_journal_raw) + (size_t)(queries) * sizeof(zo2_journal_raw_query) + sizeof(uint64_t))
#define ZO2_JOURNAL_MAX_RECORD_BYTES ZO2_JOURNAL_RECORD_BYTES(ZO2_MAX_QUERIES)

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "journals are little-endian and stored as structs");
static_assert(sizeof(zo2_journal_head) == ZO2_JOURNAL_HEADER_BYTES, "journal header");
static_assert(offsetof(zo2_journal_head, model_hash) == 32, "journal header");
static_assert(offsetof(zo2_journal_head, schedule) == 96, "journal header");
static_assert(offsetof(zo2_journal_head, hash) == ZO2_JOURNAL_HEADER_BYTES - 8, "journal header");
static_assert(sizeof(zo2_journal_raw) == 40, "journal record");
static_assert(sizeof(zo2_journal_raw_query) == 32, "journal record");
static_assert(ZO2_JOURNAL_RECORD_BYTES(1) == 80, "one query: 80 bytes a step");
static_assert(sizeof(double) == 8 && sizeof(float) == 4, "IEEE types are stored as bits");

/* Bytes of the choice of tensors with its padding. */
static inline uint64_t zo2_journal_tune_room(const zo2_journal_head *h)
{
    return ((uint64_t)h->tune_bytes + 7) & ~UINT64_C(7);
}

/* What follows the header: zo2_journal_tune_room() bytes. Of a header that was decoded; *out: malloc'ed, NULL: all tensors. */
zo2_status zo2_journal_decode_tune(const zo2_journal_head *h, const unsigned char *bytes, const char *path, char **out);
void zo2_journal_encode_tune(const zo2_journal_head *h, const zo2_run_settings *s, unsigned char *bytes);

/* Whether a run may have these settings: enumerations in range, numbers finite. `status` and `where` go into the error.
 */
zo2_status zo2_journal_check_settings(const zo2_run_settings *s, zo2_status status, const char *where);

/* s must have been checked. */
void zo2_journal_encode_head(zo2_journal_head *h, const zo2_run_settings *s);
/* Checks everything but s->tune, which is NULL; `path` is for messages. */
zo2_status zo2_journal_decode_head(const zo2_journal_head *h, zo2_run_settings *s, const char *path);

/* Why a record can't be stored: NULL if it can. Replay relies on this: an update that happened has finite coefficients.
 */
const char *zo2_journal_record_fault(const zo2_journal_record *r);

/* Writes the record's RECORD_BYTES(r->queries) bytes to `raw`; returns the chain value after it. */
uint64_t zo2_journal_encode(unsigned char *raw, const zo2_journal_record *r, uint64_t chain);

/* The checksum stored in a record of `bytes` bytes, and the one it should have after chain value `chain`. */
uint64_t zo2_journal_stored_checksum(const unsigned char *raw, size_t bytes);
uint64_t zo2_journal_checksum(const unsigned char *raw, size_t bytes, uint64_t chain);

/* Decodes a record whose checksum is right. Returns NULL, or what contradicts the format. */
const char *zo2_journal_decode(zo2_journal_record *r, const unsigned char *raw, uint32_t queries, uint64_t step);

#endif
