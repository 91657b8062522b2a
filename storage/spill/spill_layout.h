/* spill_layout.h: which file a chunk lives in, and in slots of which size: SPILL.md, "Layout". A function of the chunks'
 * sizes and the files' weights alone, so it isn't stored. Private to storage/spill and its tests. */
#ifndef ZO2_STORAGE_SPILL_SPILL_LAYOUT_H
#define ZO2_STORAGE_SPILL_SPILL_LAYOUT_H

#include "storage/spill/spill.h"
#include "storage/spill/spill_format.h"

typedef struct zo2_spill_sizes { /* of one file's slots */
    uint32_t classes;
    uint64_t slot_bytes[ZO2_SPILL_MAX_CLASSES];
    uint32_t chunks[ZO2_SPILL_MAX_CLASSES]; /* that live in slots of this size */
} zo2_spill_sizes;

typedef struct zo2_spill_layout {
    uint8_t *file, *class_of; /* [n_chunks]; of chunks that aren't kept: 0 */
    uint32_t n_files;
    zo2_spill_sizes sizes[ZO2_SPILL_MAX_FILES];
} zo2_spill_layout;

/* Weights of new files. ZO2_ERR_ARG: too many files, a share that is not positive. */
zo2_status zo2_spill_weights(uint32_t *weight, const double *share, uint32_t n_files);

/* ZO2_ERR_ARG: too many chunks, a plane too large; ZO2_ERR_NOMEM. Freed by the other one in every case. */
zo2_status zo2_spill_layout_make(zo2_spill_layout *l, const zo2_spill_chunk *chunks, uint32_t n_chunks,
                                 const uint32_t *weight, uint32_t n_files);
void zo2_spill_layout_free(zo2_spill_layout *l); /* zeroed is fine */

/* The classes of a new file, with its spare slots. */
zo2_status zo2_spill_plan(zo2_spill_front *f, const zo2_spill_sizes *s, double spare);

/* Sets number and offset of each class's first slot from slot_bytes and slots, and the head's counts and length; 0 if they
 * are out of range. */
int zo2_spill_place(zo2_spill_front *f);

#endif
