/* masters.h: the fp32 master weights of a run in host memory, chunk by chunk as two planes (wire, rest; codec.h), each
 * chunk at its own step: the number of journaled steps whose updates it holds. */
#ifndef ZO2_ENGINE_MASTERS_MASTERS_H
#define ZO2_ENGINE_MASTERS_MASTERS_H

#include "engine/base/pool.h"
#include "engine/base/slots.h"
#include "engine/masters/history.h"
#include "engine/model/arch.h"
#include "engine/model/layout.h"
#include "storage/io/io.h"
#include "storage/pack/packfile.h"
#include "storage/run/snapshot.h"

typedef struct zo2_masters {
    const zo2_layout *layout;
    uint8_t *memory; /* one anonymous mapping */
    uint64_t bytes;
    uint64_t *at;    /* [n_chunks]: offset of the wire plane; the rest plane follows it */
    uint64_t *step;  /* [n_chunks] */
    uint8_t *shared; /* [n_chunks]: 1 if another chunk uses the same memory (aliased packs) */
    /* Memory of the tasks that run at once, by slot: a step allocates nothing. */
    zo2_slots slots;
    uint8_t *scratch;
    uint64_t scratch_bytes; /* of a slot: zo2_masters_scratch_bytes() */
} zo2_masters;

/* stored_as[n_tensors]: tensor whose memory a tensor uses (aliased packs), NULL: its own. All chunks stand at step 0,
 * values zero; the pool's threads have touched all of the memory. */
zo2_status zo2_masters_create(zo2_masters *m, const zo2_layout *layout, const uint32_t *stored_as, zo2_pool *pool);
void zo2_masters_free(zo2_masters *m); /* zeroed is fine */

/* Scratch of one task: a piece of an update, or a row of any tensor as fp32 and as two planes. */
uint64_t zo2_masters_scratch_bytes(const zo2_arch *a);
/* Tasks that may run at once on a pool: its workers, and the compute and update lanes, which work on their own jobs. */
static inline uint32_t zo2_masters_slots(uint32_t threads)
{
    return threads + 1;
}

/* Bytes that create() would take for a run's wire, without making a layout. Chunk padding (up to 256 bytes a plane) is
 * not counted. */
uint64_t zo2_masters_estimate(const zo2_arch *a, zo2_wire wire, const uint32_t *stored_as);

/* The scratch of a slot that was taken: at least 16,384 floats, and a row of any tensor. */
static inline float *zo2_masters_scratch(const zo2_masters *m, uint32_t slot)
{
    return (float *)(void *)(m->scratch + slot * m->scratch_bytes);
}

static inline void *zo2_masters_wire(const zo2_masters *m, uint32_t chunk)
{
    return m->memory + m->at[chunk];
}

/* Where the rest plane begins behind the wire plane: never at the same address modulo 4,096, where a store to one and a
 * load from the other would be taken for the same (measured: split then runs at a third of its speed or less). */
static inline uint64_t zo2_masters_rest_at(const zo2_chunk *c)
{
    return ((c->wire_bytes + 4095) & ~4095ull) + 1344;
}

static inline void *zo2_masters_rest(const zo2_masters *m, uint32_t chunk)
{
    return m->memory + m->at[chunk] + zo2_masters_rest_at(&m->layout->chunks[chunk]);
}

/* Rows [row, row + n) of a tensor (vectors: row 0, n 1), dense: stores them as they are, or loads what is stored. Rows
 * lie in one unit. */
void zo2_masters_store(zo2_masters *m, uint32_t tensor, uint64_t row, uint64_t n, const float *w);
void zo2_masters_fetch(const zo2_masters *m, uint32_t tensor, uint64_t row, uint64_t n, float *w);

/* Exact values of rows at step t: fetched, then updated. The rows' chunks stand at t or before. */
void zo2_masters_read(const zo2_masters *m, const zo2_history *h, uint32_t tensor, uint64_t row, uint64_t n, uint64_t t,
                      float *w);

/* Step at which a row's chunk stands. */
uint64_t zo2_masters_row_step(const zo2_masters *m, uint32_t tensor, uint64_t row);

/* The wire that a row will have when its chunk stands at step `to`, written as row dst_row of a staged chunk of
 * dst_rows rows. The chunk itself is not touched: gathered rows must not wait for it. */
zo2_status zo2_masters_gather(zo2_masters *m, const zo2_history *h, uint32_t tensor, uint64_t row, uint64_t to,
                              void *dst, uint64_t dst_rows, uint64_t dst_row);

/* Brings a chunk to step `to` (a no-op if it is there or beyond) on the pool, wire and rest in one pass.
 * ZO2_ERR_NONFINITE names the tensor; the chunk's memory is then undefined and the masters must be loaded again. */
zo2_status zo2_masters_update(zo2_masters *m, const zo2_history *h, zo2_pool *pool, uint32_t chunk, uint64_t to);

/* Fills every chunk from the pack, or from a snapshot (may be NULL; damaged units come from the pack, with a warning
 * through log), and brings unit u to the step where it stands after `steps` steps: zo2_unit_due_step(u, steps - 1,
 * pending). */
typedef struct zo2_masters_load {
    const zo2_packfile *pack;
    const zo2_snapfile *snapshot;
    const zo2_history *history;
    zo2_pool *pool;
    uint64_t steps;
    uint32_t pending;
    zo2_log_fn log;
    void *log_ud;
    zo2_progress_fn progress;
    void *progress_ud;
} zo2_masters_load;
zo2_status zo2_masters_fill(zo2_masters *m, const zo2_masters_load *how);

/* Writes a snapshot of every unit. A unit whose chunks stand at different steps (a cancelled step) is brought to the
 * latest of them. */
zo2_status zo2_masters_snapshot(zo2_masters *m, const zo2_history *h, zo2_pool *pool, const zo2_io *io, const char *dir,
                                uint64_t model_hash, uint64_t chain, zo2_progress_fn progress, void *progress_ud);

#endif
