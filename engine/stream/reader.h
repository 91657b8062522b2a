/* reader.h: what the read lane has beside its thread: a queue, transfers under way, planes to be made, and what it holds for which pc.
 * Used by that thread alone. Private to this folder. */
#ifndef ZO2_ENGINE_STREAM_READER_H
#define ZO2_ENGINE_STREAM_READER_H

#include "engine/base/job_error.h"
#include "engine/masters/home.h"
#include "engine/masters/plane_cache.h"
#include "engine/masters/spill_home.h"
#include "engine/stream/lanes.h"
#include "engine/stream/pipeline.h"
#include "storage/io/aio.h"
#include "storage/spill/spill.h"

#define ZO2_READER_TRANSFERS 64u

typedef struct zo2_read_transfer {
    zo2_spill_version version;
    zo2_buffer *to;
    zo2_plane plane;
    uint32_t pc;
} zo2_read_transfer;

/* Planes that the spill hasn't, and which are made from the pack: several chunks at once, a thread each. */
#define ZO2_READER_MAKES 64u

typedef struct zo2_read_make {
    uint32_t chunk;
    zo2_buffer *to[2]; /* by kind; NULL: not wanted */
} zo2_read_make;

typedef struct zo2_read_held {
    zo2_buffer *plane[2];
} zo2_read_held;

struct zo2_reader {
    zo2_spill_home *home;
    zo2_aio *queue; /* NULL: there are no files */
    zo2_read_transfer transfers[ZO2_READER_TRANSFERS];
    uint32_t unused[ZO2_READER_TRANSFERS], n_unused;
    zo2_read_make makes[ZO2_READER_MAKES];
    uint32_t n_makes;
    zo2_job_error make_error;
    zo2_read_held *held; /* [of the longest program]: planes held for a pc, NULL: none */
    uint32_t next;       /* pc to be read next */
    uint32_t ready;      /* pcs before it have what they need */
    uint32_t past[2];    /* pcs before it hold no plane of the kind any more */
    int in_pass;
    /* reading on for the next pass */
    zo2_pass last;
    uint32_t ahead;         /* pc */
    uint32_t ahead_kept[2]; /* buffers, by kind, that the next pass will find its planes in */
    unsigned ahead_counted; /* zo2_plane bits: those of `ahead` that are among them */
    uint64_t bytes;         /* read; not reported yet */
};

/* By kind: 0 and 1. */
static inline zo2_plane zo2_plane_of_kind(int kind)
{
    return kind ? ZO2_PLANE_REST : ZO2_PLANE_WIRE;
}

/* most: chunks of the longest program. ZO2_ERR_NOMEM, or what zo2_aio_open() says. */
zo2_status zo2_reader_create(zo2_reader **out, zo2_spill_home *home, uint32_t most);
void zo2_reader_destroy(zo2_reader *r); /* NULL is fine; its lane has ended */

uint64_t zo2_reader_plane_bytes(const zo2_reader *r, uint32_t chunk, int kind);
/* Transfers and planes to be made that aren't finished. */
int zo2_reader_is_working(const zo2_reader *r);
/* Can a chunk be read without waiting for another? */
int zo2_reader_has_room(const zo2_reader *r);
/* Reads planes into the buffers that were taken for them (by kind; NULL: not wanted): from the spill, or by and by from the pack. */
zo2_status zo2_reader_read(zo2_pipeline *p, zo2_reader *r, uint32_t chunk, zo2_buffer *const to[2], uint32_t pc);
/* Makes the planes that were put off; if there are none, waits for one transfer. */
zo2_status zo2_reader_finish(zo2_pipeline *p, zo2_reader *r);
/* Makes what was put off. */
zo2_status zo2_reader_make(zo2_pipeline *p, zo2_reader *r);
/* The pass stops: what isn't made is lost, transfers are waited for, because others may wait for them. */
void zo2_reader_drain(zo2_pipeline *p, zo2_reader *r);

#endif
