/* spill_internal.h: an open spill. Private to storage/spill. */
#ifndef ZO2_STORAGE_SPILL_SPILL_INTERNAL_H
#define ZO2_STORAGE_SPILL_SPILL_INTERNAL_H

#include "storage/io/aio.h"
#include "storage/io/io.h"
#include "storage/spill/spill.h"
#include "storage/spill/spill_file.h"
#include "storage/spill/spill_format.h"
#include "storage/spill/spill_layout.h"

#include <pthread.h>

#define ZO2_SPILL_NONE UINT32_MAX

/* free -> taken -> written -> committing -> committed -> free. A written slot is free again when its chunk is written once
 * more before the commit; a committed one when a newer version of its chunk has been committed. */
typedef enum zo2_spill_state {
    ZO2_SPILL_FREE,
    ZO2_SPILL_TAKEN,
    ZO2_SPILL_WRITTEN,
    ZO2_SPILL_COMMITTING,
    ZO2_SPILL_COMMITTED,
} zo2_spill_state;

typedef struct zo2_spill_state_of_chunk {
    uint32_t newest;                              /* slot of the version that readers get; ZO2_SPILL_NONE */
    uint32_t committed;                           /* slot that a crash would leave it with; ZO2_SPILL_NONE */
    uint64_t step, history, wire_hash, rest_hash; /* of the newest */
    int listed;                                   /* in `pending` */
} zo2_spill_state_of_chunk;

typedef struct zo2_spill_slots {                                        /* of a file */
    uint8_t *state;                                                     /* [slots] zo2_spill_state */
    uint32_t *next;                                                     /* [slots]: the next free one of its class */
    uint32_t first[ZO2_SPILL_MAX_CLASSES], last[ZO2_SPILL_MAX_CLASSES]; /* free ones, the longest free first */
} zo2_spill_slots;

typedef struct zo2_spill_commit_of {
    uint32_t chunk, slot;
} zo2_spill_commit_of;

struct zo2_spill {
    const zo2_io *io;
    uint32_t n_files, n_chunks;
    int writable;
    const zo2_spill_chunk *sizes; /* [n_chunks] */
    zo2_spill_layout layout;
    zo2_aio_file at[ZO2_SPILL_MAX_FILES];
    zo2_spill_file file[ZO2_SPILL_MAX_FILES];

    pthread_mutex_t lock; /* of what follows */
    zo2_spill_slots slots[ZO2_SPILL_MAX_FILES];
    zo2_spill_state_of_chunk *chunk; /* [n_chunks] */
    uint32_t *pending, n_pending;    /* [n_chunks] chunks written since the last commit; some of them forgotten since */
    uint32_t n_written;              /* slots in that state */
    uint64_t generation;             /* largest so far */
    zo2_spill_commit_of *committing; /* [n_chunks], the committing thread's */
    zo2_status failed;               /* of a commit, and its message */
    char *why;
};

static inline int zo2_spill_keeps(const zo2_spill *s, uint32_t chunk)
{
    return s->sizes[chunk].wire_bytes || s->sizes[chunk].rest_bytes;
}

static inline int zo2_spill_file_is_open(const zo2_spill *s, uint32_t file)
{
    return s->at[file].path != NULL;
}

/* The slot becomes the last of its class to be taken. */
void zo2_spill_free_slot(zo2_spill *s, uint32_t file, uint32_t slot);

/* Readers get what a committed slot of the chunk holds. */
void zo2_spill_adopt(zo2_spill *s, uint32_t chunk, uint32_t slot);

/* A plane and the room behind it, up to the next page. ZO2_ERR_FORMAT: its hash is another. */
zo2_status zo2_spill_read_plane(const zo2_aio_file *at, const zo2_io *io, uint32_t chunk, uint64_t offset,
                                uint64_t bytes, uint64_t hash, void *to);

/* The step is one that the caller's journal has, as it has it. */
int zo2_spill_in_history(const zo2_spill_config *c, const zo2_spill_slot *h);

/* Finds the versions in the slot headers of all files and frees the other slots. In spill_recover.c. */
zo2_status zo2_spill_recover(zo2_spill *s, const zo2_spill_config *c);

#endif
