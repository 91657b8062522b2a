/* spill_home.h: the home of planes that RAM has no room for. A plane's bytes are in the chunk's newest version in the spill; as
 * long as no update has reached the chunk they come from the pack; what is lost or damaged is made again from pack and journal.
 * They are read into a buffer (plane_cache.h), ahead of their use by the read lane (engine/stream/lane_read.c), else by whoever
 * acquires them. A chunk that was updated is written to a free slot by the write lane (lane_write.c) and its buffers stay until it is.
 *
 * Who waits for whom: the read lane for what the lanes behind it let go of, and for the write lane; others for the read lane's
 * transfers, and for the write lane; the write lane for the disk alone. The read lane leaves buffers for the others
 * (zo2_masters_reserved()), so that none of them waits for what it holds. */
#ifndef ZO2_ENGINE_MASTERS_SPILL_HOME_H
#define ZO2_ENGINE_MASTERS_SPILL_HOME_H

#include "engine/base/job_error.h"
#include "engine/base/pool.h"
#include "engine/masters/history.h"
#include "engine/masters/home.h"
#include "engine/masters/pack_window.h"
#include "engine/masters/placement.h"
#include "engine/masters/plane_cache.h"
#include "engine/masters/ram_home.h"
#include "engine/masters/rebuild.h"
#include "engine/model/layout.h"
#include "storage/io/aio.h"
#include "storage/io/io.h"
#include "storage/pack/packfile.h"
#include "storage/spill/spill.h"

typedef enum zo2_write_state {
    ZO2_WRITE_NONE,
    ZO2_WRITE_QUEUED, /* has what the spill hasn't */
    ZO2_WRITE_RUNNING,
} zo2_write_state;

typedef struct zo2_spill_home {
    zo2_home home;
    zo2_pack_window window; /* of rebuild */
    zo2_rebuild rebuild;
    const zo2_history *history;
    const uint64_t *step;  /* [n_chunks]: the masters' */
    zo2_ram_home *ram;     /* of planes of the other tiers */
    const uint8_t *tier;   /* [n_chunks]: the masters' */
    const uint32_t *owner; /* [n_chunks]: the masters' */
    zo2_spill *spill;      /* NULL: there are no files, all comes from the pack */
    int writable;
    const zo2_io *io; /* of the lanes' queues */
    zo2_aio_choice aio;
    zo2_spill_history_fn chain; /* of versions */
    const void *chain_ud;
    zo2_log_fn log;
    void *log_ud;
    uint32_t reserved[2]; /* buffers that the read lane leaves to others, by pool */

    pthread_mutex_t mutex;  /* of what follows */
    pthread_cond_t changed; /* a plane is ready or lost, a buffer may be given away, a chunk is written */
    pthread_cond_t work;    /* for the write lane */
    zo2_plane_cache cache;
    uint8_t *writing;                      /* [n_chunks] (zo2_write_state) */
    uint8_t *writers;                      /* [n_chunks]: planes held for writing */
    uint64_t *to_write, *to_write_history; /* [n_chunks]: the step of what is queued, and what chain() says of it */
    uint32_t *queue;                       /* [n_chunks]: chunks to be written, a ring */
    uint32_t queue_first, queue_n;
    uint64_t written;          /* chunks so far */
    uint64_t flushes, flushed; /* asked for; done */
    uint8_t **spare;           /* [most_spares]: memory for one plane each that nobody uses (spill_load.c) */
    uint32_t n_spares, most_spares;
    uint64_t spare_bytes;
    int ending;
    zo2_job_error error; /* of a write: final */
} zo2_spill_home;

/* What masters that spill are made with. All of it outlives them. */
typedef struct zo2_masters_spill {
    const zo2_placement *placement;
    zo2_spill *spill; /* NULL: no files */
    int writable;     /* 0: nothing is updated */
    const zo2_io *io; /* of the queues that the lanes read and write with */
    zo2_aio_choice aio;
    const zo2_packfile *pack;
    const zo2_history *history;
    zo2_spill_history_fn chain; /* names what was done until a step, for versions */
    const void *chain_ud;
    zo2_log_fn log;
    void *log_ud;
} zo2_masters_spill;

typedef struct zo2_spill_home_config {
    const zo2_masters_spill *how;
    const zo2_layout *layout;
    const uint8_t *tier; /* these tables outlive the home */
    const uint32_t *owner;
    const uint64_t *step;
    zo2_ram_home *ram;
    uint32_t reserved[2];
    uint32_t tasks; /* that may make planes at once */
    uint32_t skew;  /* plane_cache.h */
} zo2_spill_home_config;
/* ZO2_ERR_NOMEM, or why the pack's file can't be opened. */
zo2_status zo2_spill_home_create(zo2_spill_home *h, const zo2_spill_home_config *c);
void zo2_spill_home_free(zo2_spill_home *h); /* zeroed is fine */

/* Says in the log how a lane's queue moves what spills. what: "read", "written". */
void zo2_spill_home_say(const zo2_spill_home *h, const char *what, const zo2_aio *queue);

/* Planes of a chunk as they are at the step that it is at; one that isn't wanted is NULL. From the spill; a version that is
 * damaged is forgotten, with a warning, and the chunk is made from pack and history. pool NULL: on this thread alone. Thread-safe,
 * as long as nobody pushes to the history. */
zo2_status zo2_spill_home_load(zo2_spill_home *h, uint32_t chunk, zo2_pool *pool, uint8_t *wire, uint8_t *rest);

/* ---- the read lane's side ---- */

typedef enum zo2_pin {
    ZO2_PIN_FULL,   /* the lane holds as much as it may */
    ZO2_PIN_HELD,   /* the plane is there, or somebody reads it */
    ZO2_PIN_ABSENT, /* the lane holds a buffer for it and must read it there: zo2_spill_home_loaded() */
} zo2_pin;

/* Holds a plane of a chunk for its use; ABSENT: twice, for the use and for the transfer. */
zo2_pin zo2_spill_home_pin(zo2_spill_home *h, uint32_t chunk, zo2_plane plane, zo2_buffer **b);
void zo2_spill_home_unpin(zo2_spill_home *h, zo2_plane plane, zo2_buffer *b);
/* A transfer is over; failed: the plane is lost. */
void zo2_spill_home_loaded(zo2_spill_home *h, zo2_plane plane, zo2_buffer *b, int failed);
/* Would pin() say FULL, and may that change? After an error of a write it won't. */
/* A plane was made from the pack (not failed), or couldn't be. The wire of a frozen chunk is written to the spill once, where another
 * type than the source's had to be encoded: from then on it is read. */
void zo2_spill_home_made(zo2_spill_home *h, uint32_t chunk, zo2_plane plane, zo2_buffer *b, int failed);
int zo2_spill_home_is_full(zo2_spill_home *h, uint32_t chunk, zo2_plane plane);
int zo2_spill_home_is_loading(zo2_spill_home *h, const zo2_buffer *b);
/* Waits for another reader's transfer. */
void zo2_spill_home_await(zo2_spill_home *h, const zo2_buffer *b);
/* The newest version of a chunk: 1; 0 if there is none. */
int zo2_spill_home_newest(const zo2_spill_home *h, uint32_t chunk, zo2_spill_version *v);
/* 1 if the spill has the chunk as it is now. 0: zo2_spill_home_load() makes it. */
int zo2_spill_home_find(const zo2_spill_home *h, uint32_t chunk, zo2_spill_version *v);
/* Whether a plane that was read is right; if it isn't, its version is forgotten, with a warning. */
int zo2_spill_home_check(zo2_spill_home *h, const zo2_spill_version *v, zo2_plane plane, const uint8_t *bytes);
/* For a plane that may be read before its time: takes a buffer, as pin() does, but for the transfer alone, if more than `kept`
 * are free for it. HELD: it is there, and won't be given away soon. */
zo2_pin zo2_spill_home_prefetch(zo2_spill_home *h, uint32_t chunk, zo2_plane plane, uint32_t kept, zo2_buffer **b);

/* ---- the write lane's side ---- */

typedef struct zo2_write_job {
    zo2_spill_version version;  /* chunk and step, then what zo2_spill_take() says */
    const uint8_t *wire, *rest; /* rest NULL: it has none */
} zo2_write_job;

typedef enum zo2_write_wish { ZO2_WISH_NONE, ZO2_WISH_JOB, ZO2_WISH_FLUSH, ZO2_WISH_END } zo2_write_wish;

/* What is to be done; wait: sleeps until it isn't NONE. END and FLUSH come when no job is left. */
zo2_write_wish zo2_spill_home_wish(zo2_spill_home *h, int wait);
/* The chunk that has waited longest; 0: none. */
int zo2_spill_home_next_job(zo2_spill_home *h, zo2_write_job *job);
/* Both planes are in their slot, which readers find from now on. */
void zo2_spill_home_written(zo2_spill_home *h, const zo2_write_job *job);
void zo2_spill_home_committed(zo2_spill_home *h); /* a flush is done */
/* The error of a write, on the thread that has it: whoever waits gets it, and so do all later acquires. */
void zo2_spill_home_fail(zo2_spill_home *h, zo2_status s);
void zo2_spill_home_end(zo2_spill_home *h);

/* A chunk has what the spill hasn't: it will be written. Under the mutex; its chunk isn't queued. */
void zo2_spill_home_queue(zo2_spill_home *h, uint32_t chunk);

/* ---- the engine's ---- */

/* Writes what the spill hasn't and commits it; the write lane must be running. Between passes. */
zo2_status zo2_spill_home_flush(zo2_spill_home *h, zo2_progress_fn progress, void *progress_ud);

#endif
