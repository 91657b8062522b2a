/* spill_file.h: one file of a spill: made, opened, checked, its headers written. Private to storage/spill. */
#ifndef ZO2_STORAGE_SPILL_SPILL_FILE_H
#define ZO2_STORAGE_SPILL_SPILL_FILE_H

#include "storage/io/aio.h"
#include "storage/io/io.h"
#include "storage/spill/spill_format.h"

typedef struct zo2_spill_file {
    zo2_aio_file *at;       /* its descriptors; no path: the file is missing */
    int lock;               /* one more, which has the lock; -1: not yet */
    zo2_spill_front *front; /* one aligned page */
    zo2_spill_slot *table;  /* its slot headers as they are on the disk, whole aligned pages */
    uint8_t *changed;       /* [pages of the table]: differs from the disk */
} zo2_spill_file;

/* "DIR/spill-<run>.zo2x", malloc'ed; NULL when out of memory. */
char *zo2_spill_path(const char *dir, uint64_t run);

/* Sets room aside, writes the first page, gives the file its name when all that is on the disk. front: run, layout, chunks,
 * files, index, weights, classes and slots are set, the rest is filled in. */
zo2_status zo2_spill_file_make(const zo2_io *io, const char *path, zo2_spill_front *front);

/* Opens, locks (writable: for itself alone) and checks a file whose `at` is set; run: the one it must be of. Reads its slot
 * headers, unchecked. ZO2_ERR_NOTFOUND, ZO2_ERR_BUSY, ZO2_ERR_FORMAT. */
zo2_status zo2_spill_file_open(zo2_spill_file *f, const zo2_io *io, const char *path, uint64_t run, int writable);
void zo2_spill_file_close(zo2_spill_file *f, const zo2_io *io); /* without `at` it is fine */

/* NULL if header `slot` of the table is right or empty (*empty), else what is wrong with it. */
const char *zo2_spill_slot_fault(const zo2_spill_file *f, uint32_t slot, int *empty);
/* The class of a slot. */
const zo2_spill_class *zo2_spill_slot_class(const zo2_spill_file *f, uint32_t slot);
/* Where the planes of a slot are. */
static inline uint64_t zo2_spill_slot_offset(const zo2_spill_class *c, uint32_t slot)
{
    return c->offset + (uint64_t)(slot - c->first) * c->slot_bytes;
}

/* Puts a header into the table, sealed. */
void zo2_spill_slot_set(zo2_spill_file *f, const zo2_spill_slot *h);
/* All pages with headers count as changed. */
void zo2_spill_table_touch(zo2_spill_file *f);
/* Writes the changed pages. */
zo2_status zo2_spill_table_write(zo2_spill_file *f, const zo2_io *io);

#endif
