/* snapshot_format.h: the bytes of a snapshot (RUN.md, "Snapshots") and what its writer and reader share. Private to
 * snapshot*.c and their tests. Little-endian. */
#ifndef ZO2_STORAGE_RUN_SNAPSHOT_FORMAT_H
#define ZO2_STORAGE_RUN_SNAPSHOT_FORMAT_H

#include "storage/io/io.h"
#include "storage/run/snapshot.h"

#include <assert.h>

#define ZO2_SNAPSHOT_MAGIC        "ZO2SNAP\n"
#define ZO2_SNAPSHOT_VERSION      1u
#define ZO2_SNAPSHOT_HEADER_BYTES 256u
#define ZO2_SNAPSHOT_ALIGN        4096u                         /* of each unit's data and of the file's length */
#define ZO2_SNAPSHOT_MAX_UNITS    (UINT32_C(1) << 22)           /* caps the table a reader allocates: 128 MiB */
#define ZO2_SNAPSHOT_MAX_ELEMENTS (UINT64_C(1) << 40)           /* of one unit */
#define ZO2_SNAPSHOT_MAX_STEP     (UINT64_C(1000000000000) - 1) /* 12 digits in the file's name */
#define ZO2_SNAPSHOT_PIECE        ((size_t)1 << 20)             /* bytes moved and hashed at a time */

typedef struct zo2_snap_head {
    char magic[8];
    uint32_t version;
    uint32_t header_bytes;
    uint64_t required; /* bits a reader must know; none so far */
    uint64_t model_hash;
    uint64_t step;
    uint64_t chain;
    uint32_t units;
    uint32_t alignment;
    uint64_t file_bytes;
    uint64_t table_hash; /* XXH3-64 of the table */
    uint8_t reserved[176];
    uint64_t hash; /* XXH3-64 of the 248 bytes before: covers the table through table_hash */
} zo2_snap_head;

typedef struct zo2_snap_unit { /* an entry of the table, which follows the header */
    uint64_t offset;
    uint64_t elements;
    uint64_t step;
    uint64_t hash; /* XXH3-64 of its 4 * elements bytes */
} zo2_snap_unit;

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "snapshots are little-endian and stored as structs");
static_assert(sizeof(zo2_snap_head) == ZO2_SNAPSHOT_HEADER_BYTES, "snapshot header");
static_assert(offsetof(zo2_snap_head, units) == 48, "snapshot header");
static_assert(offsetof(zo2_snap_head, hash) == ZO2_SNAPSHOT_HEADER_BYTES - 8, "snapshot header");
static_assert(sizeof(zo2_snap_unit) == 32, "snapshot table");
static_assert(sizeof(float) == 4, "values are stored as fp32 bits");

/* Places of all units. Returns the file's length, 0 if a count is out of range or a sum overflows. table may be NULL.
 */
uint64_t zo2_snap_layout(zo2_snap_unit *table, const uint64_t *elements, uint32_t units);

/* "DIR/snapshot-<step>.zo2s" in a malloc'ed string; NULL when out of memory. */
char *zo2_snap_path(const char *dir, uint64_t step);

/* The step in a snapshot's file name; 0 if `name` is none. *rest is what follows ".zo2s" ("" for a finished snapshot).
 */
int zo2_snap_name(const char *name, uint64_t *step, const char **rest);

/* zo2_snapfile_open() by path and through an I/O table. */
zo2_status zo2_snapfile_open_path(zo2_snapfile **out, const zo2_io *io, const char *path);
/* Reads a unit's data and checks its hash; values may be NULL: then it is only checked. Thread-safe. */
zo2_status zo2_snapfile_check_unit(const zo2_snapfile *s, uint32_t unit, float *values);
/* Table of an open snapshot. */
const zo2_snap_unit *zo2_snapfile_table(const zo2_snapfile *s);

/* After the snapshot of `step` was written: removes all but it and the newest one below it. What claims a later step
 * belongs to a history that the journal no longer has. Best effort. */
void zo2_snapshot_prune(const zo2_io *io, const char *dir, uint64_t step);

#endif
