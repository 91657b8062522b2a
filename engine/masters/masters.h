/* masters.h: the fp32 master weights of a run, chunk by chunk as two planes (wire, rest; codec.h), each chunk at its own
 * step: the number of journaled steps whose updates it holds. Each plane has a home (home.h); whoever needs its bytes
 * acquires it, and keeps no pointer past the release. */
#ifndef ZO2_ENGINE_MASTERS_MASTERS_H
#define ZO2_ENGINE_MASTERS_MASTERS_H

#include "engine/base/pool.h"
#include "engine/base/slots.h"
#include "engine/masters/history.h"
#include "engine/masters/home.h"
#include "engine/masters/pack_window.h"
#include "engine/masters/ram_home.h"
#include "engine/masters/rebuild.h"
#include "engine/masters/spill_home.h"
#include "engine/model/arch.h"
#include "engine/model/layout.h"
#include "storage/io/io.h"
#include "storage/pack/packfile.h"
#include "storage/run/snapshot.h"

typedef struct zo2_masters {
    const zo2_layout *layout;
    uint32_t *owner; /* [n_chunks]: the chunk whose planes it uses: its own, or another's (aliased packs) */
    uint8_t *shared; /* [n_chunks]: 1 if several chunks use these planes */
    uint64_t *step;  /* [n_chunks] */
    zo2_home **wire_home, **rest_home; /* [n_chunks]: of an owner's planes */
    uint8_t *tier;                     /* [n_chunks] (zo2_tier); NULL: all are in RAM */
    zo2_ram_home ram;
    zo2_spill_home spill; /* of the other tiers' planes; zeroed without them */
    /* Memory of the tasks that run at once, by slot: a step allocates nothing. */
    zo2_slots slots;
    uint8_t *scratch;
    uint64_t scratch_bytes; /* of a slot: zo2_masters_scratch_bytes() */
    /* Where exact values of frozen tensors come from, of which the wire is all that is kept. */
    zo2_rebuild exact;
    zo2_pack_window window; /* of it; zeroed where masters spill, which have one, or nothing is frozen */
} zo2_masters;

/* stored_as[n_tensors]: tensor whose memory a tensor uses (aliased packs), NULL: its own. spill: where they live, NULL: in RAM.
 * All chunks are at step 0, those in RAM with the value zero; the pool's threads have touched all of the memory. *m stays where it
 * is until it is freed. */
zo2_status zo2_masters_create(zo2_masters *m, const zo2_layout *layout, const uint32_t *stored_as, zo2_pool *pool,
                              const zo2_masters_spill *spill);
void zo2_masters_free(zo2_masters *m); /* zeroed is fine; homes that others made stay theirs */

/* ---- planes ---- */

/* Planes of a chunk that somebody holds. */
typedef struct zo2_planes {
    uint32_t chunk; /* the owner */
    zo2_access access;
    uint8_t *wire, *rest; /* NULL: not asked for, or without bytes (the fp32 wire has no rest) */
    zo2_home *wire_home, *rest_home;
} zo2_planes;

/* The planes of a chunk (bits of zo2_plane) from their homes, for reading or writing, until release(). On an error nothing
 * is held, and the text names the tensor. Thread-safe; see home.h for who may hold what together. */
zo2_status zo2_masters_acquire(const zo2_masters *m, uint32_t chunk, unsigned planes, zo2_access access,
                               zo2_planes *out);
void zo2_masters_release(zo2_planes *p); /* zeroed, or released before, is fine */

/* 1 if release() gives something back, so that a copy of these planes must be over before it. */
static inline int zo2_planes_move(const zo2_planes *p)
{
    return (p->wire && p->wire_home->kind->release) || (p->rest && p->rest_home->kind->release);
}

/* A span's part of the planes. */
static inline uint8_t *zo2_planes_wire(const zo2_planes *p, const zo2_span *s)
{
    return p->wire + s->wire_at;
}

static inline uint8_t *zo2_planes_rest(const zo2_planes *p, const zo2_span *s)
{
    return p->rest ? p->rest + s->rest_at : NULL;
}

/* Do some masters live in a spill? */
static inline int zo2_masters_are_spilled(const zo2_masters *m)
{
    return m->tier != NULL;
}

/* Bytes of masters by where they are now, both planes of each chunk; of masters that don't spill: all 0. */
typedef struct zo2_masters_bytes {
    uint64_t ram, spill,
        pack;           /* pack: no update has reached them, or their version was lost. Together: all there are */
    uint64_t ram_wires; /* copies in RAM, of wires of the last two */
} zo2_masters_bytes;
zo2_masters_bytes zo2_masters_where(const zo2_masters *m);

/* From now on an owner's plane lives in another home, which has its bytes already. Nobody holds it. */
void zo2_masters_set_home(zo2_masters *m, uint32_t chunk, zo2_plane plane, zo2_home *home);

/* Wires of uploads under way that a lane holds at most. */
#define ZO2_MASTERS_UPLOADS 4u

/* ---- tasks ---- */

/* Scratch of one task: a piece of an update, or a row of any tensor as fp32 and as two planes. */
uint64_t zo2_masters_scratch_bytes(const zo2_arch *a);
/* Tasks that may run at once on a pool: its workers, and the compute and update lanes, which work on their own jobs. */
static inline uint32_t zo2_masters_slots(uint32_t threads)
{
    return threads + 1;
}

/* Planes that are held at most at a time: both of a chunk by each task, and the uploads'. An update holds its chunk while its
 * tasks run, and they hold nothing of their own; filling and saving run alone. */
static inline uint32_t zo2_masters_held(uint32_t threads)
{
    return 2 * (zo2_masters_slots(threads) + 1) + ZO2_MASTERS_UPLOADS;
}

/* Buffers of spilled planes (placement.h) that the read lane leaves to others: a plane of each kind for every task, and the wires of
 * uploads under way. It needs one at least beyond them. */
static inline uint32_t zo2_masters_reserved(uint32_t threads, zo2_plane plane)
{
    return zo2_masters_slots(threads) + 1 + (plane == ZO2_PLANE_WIRE ? ZO2_MASTERS_UPLOADS : 0);
}

/* Of fill(): m->exact. */
zo2_status zo2_masters_open_exact(zo2_masters *m, const zo2_packfile *pack);
/* Are exact values of a tensor to be had from the pack alone? */
int zo2_masters_lack_rest(const zo2_masters *m, uint32_t tensor);
/* Or from nowhere, because the pack has nothing but the wire of it, whose values stand for them then? */
int zo2_masters_are_wire(const zo2_masters *m, uint32_t tensor);
/* Which tensors' exact values are the wire's: 1: none's; else a number of their list. */
uint32_t zo2_masters_exact_kind(const zo2_masters *m);

/* Bytes that create() would take for a run's wire, without making a layout. Chunk padding (up to 256 bytes a plane) is
 * not counted. */
uint64_t zo2_masters_estimate(const zo2_arch *a, zo2_wires wires, const uint32_t *stored_as);
/* The chunk whose planes a chunk uses: its own, or another's (aliased packs). stored_as: as for create(). */
uint32_t zo2_masters_owner(const zo2_layout *l, uint32_t chunk, const uint32_t *stored_as);
/* Does another unit own the planes of this one (aliased packs)? Then it is neither loaded nor saved. */
int zo2_masters_is_alias(const zo2_masters *m, const zo2_unit *u);

/* The scratch of a slot that was taken: at least ZO2_MASTERS_PIECE floats, and a row of any tensor. */
static inline float *zo2_masters_scratch(const zo2_masters *m, uint32_t slot)
{
    return (float *)(void *)(m->scratch + slot * m->scratch_bytes);
}

/* ---- rows ---- */

/* Rows [row, row + n) of a tensor (vectors: row 0, n 1), dense: stores them as they are, or loads what is stored. Rows
 * lie in one unit. */
zo2_status zo2_masters_store(zo2_masters *m, uint32_t tensor, uint64_t row, uint64_t n, const float *w);
zo2_status zo2_masters_fetch(const zo2_masters *m, uint32_t tensor, uint64_t row, uint64_t n, float *w);

/* Exact values of rows at step t: fetched, then updated. The rows' chunks are at step t or before. */
zo2_status zo2_masters_read(const zo2_masters *m, const zo2_history *h, uint32_t tensor, uint64_t row, uint64_t n,
                            uint64_t t, float *w);

/* The chunk that a row lies in. */
uint32_t zo2_masters_row_chunk(const zo2_masters *m, uint32_t tensor, uint64_t row);

/* The wire that a row will have when its chunk is at step `to`, written as row dst_row of a staged chunk of dst_rows rows.
 * The chunk itself is not touched: gathered rows must not wait for it. */
zo2_status zo2_masters_gather(zo2_masters *m, const zo2_history *h, uint32_t tensor, uint64_t row, uint64_t to,
                              void *dst, uint64_t dst_rows, uint64_t dst_row);

/* Brings a chunk to step `to` (a no-op if it is there or beyond) on the pool, wire and rest in one pass.
 * ZO2_ERR_NONFINITE names the tensor; the chunk's values are then undefined and the masters must be filled again. */
zo2_status zo2_masters_update(zo2_masters *m, const zo2_history *h, zo2_pool *pool, uint32_t chunk, uint64_t to);

/* Masters that spill: those in RAM are filled from the spill, as far as it has them, or the pack, and brought to the step they are
 * at after `steps` steps; the others stay where they are, and are brought there by the first pass that uses them. If that can't be
 * written (read_only), whenever they are read. Others:
 *
 * Fills every chunk from the pack, or from a snapshot (may be NULL; damaged units come from the pack, with a warning
 * through log), and brings unit u to the step that it is at after `steps` steps: zo2_unit_due_step(u, steps - 1,
 * pending). */
typedef struct zo2_masters_load {
    const zo2_packfile *pack;
    const zo2_snapfile *snapshot;
    const zo2_history *history;
    zo2_pool *pool;
    uint64_t steps;
    uint32_t pending;
    int read_only;
    int older; /* read_only: fewer steps than the run has, so that the spill may be ahead of what was due after them */
    zo2_log_fn log;
    void *log_ud;
    zo2_progress_fn progress;
    void *progress_ud;
} zo2_masters_load;
zo2_status zo2_masters_fill(zo2_masters *m, const zo2_masters_load *how);
/* Of fill(): masters that spill. */
zo2_status zo2_masters_resume(zo2_masters *m, const zo2_masters_load *how);

/* Masters that don't spill (the others' spill is their snapshot: zo2_spill_home_flush()): writes a snapshot of every unit. A unit whose chunks are at different steps (a cancelled step) is brought to the latest
 * of them. */
zo2_status zo2_masters_snapshot(zo2_masters *m, const zo2_history *h, zo2_pool *pool, const zo2_io *io, const char *dir,
                                uint64_t model_hash, uint64_t chain, zo2_progress_fn progress, void *progress_ud);

#endif
