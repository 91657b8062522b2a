/* pipeline.h: the lanes. A program lists the chunks of a pass in the order in which the forward passes use them. Two
 * threads, three where masters are spilled, run ahead of the caller, who is the compute lane:
 *
 *     read lane     read the chunk's planes, if they are in a spill
 *     update lane   bring the chunk to its step (evaluation at the masters: slot in the ring, stage exact values)
 *     upload lane   slot in the ring; copy the wire into it, whose plane is held until the copy has passed
 *     compute lane  wait for it, decode it, release the slot       (the caller's thread)
 *
 * and where masters are spilled the write lane writes what was updated, whenever the disk comes to it.
 *
 * Slots are taken by one lane, in program order, and released in program order; a lane that waits for a slot holds
 * nothing that the compute lane needs to release one: there is nothing to deadlock on. Updates need no slot, so a small
 * ring doesn't hold them up. The lanes that run ahead are listed in trace.h (ZO2_AHEAD_MAP); ahead.h says what they do of the
 * next step while this one ends, and between the two. */
#ifndef ZO2_ENGINE_STREAM_PIPELINE_H
#define ZO2_ENGINE_STREAM_PIPELINE_H

#include "engine/base/pool.h"
#include "engine/masters/history.h"
#include "engine/masters/masters.h"
#include "engine/masters/spill_home.h"
#include "engine/plan/resident.h"
#include "engine/stream/program.h"
#include "engine/stream/trace.h"
#include "kernels/backend.h"

#include <stdatomic.h>

/* Which values of the weights a pass computes with. */
typedef enum zo2_pass_weights {
    ZO2_PASS_TRAIN, /* chunks are brought to their due step, then their wire is uploaded */
    ZO2_PASS_WIRE,  /* wires are uploaded as they are */
    ZO2_PASS_EXACT, /* fp32 values at step t, staged; the program's layout is the fp32 one */
    ZO2_PASS_NONE,  /* no masters: sizes only (null backend) */
} zo2_pass_weights;

typedef struct zo2_pass {
    zo2_program *program;
    zo2_pass_weights weights;
    zo2_masters *masters;       /* NULL with ZO2_PASS_NONE */
    const zo2_history *history; /* the same */
    uint64_t step;              /* t */
    uint32_t pending;           /* K */
    zo2_resident *resident;     /* chunks that stay on the device; NULL: none. Of the program's layout */
} zo2_pass;

/* The step that a chunk of the masters' layout is at, at least, when the pass uses its wire. */
uint64_t zo2_pass_due_step(const zo2_pass *pass, uint32_t chunk);

typedef struct zo2_pipeline zo2_pipeline;

typedef struct zo2_pipeline_config {
    zo2_backend *be;
    zo2_pool *pool;
    void *ring; /* device */
    uint64_t ring_bytes;
    void *resident;          /* device: of zo2_resident.bytes */
    void *staging;           /* host: registered */
    uint64_t staging_bytes;  /* at most those of the ring: passes that stage have a ring of that size */
    int bounce;              /* 1: the masters' wires are not registered and are uploaded through the staging */
    const atomic_int *abort; /* non-zero cancels the pass */
    zo2_spill_home *spill;   /* of masters that are spilled; NULL: there are no read and write lanes */
    uint32_t longest;        /* chunks of the longest program of these */
} zo2_pipeline_config;

zo2_status zo2_pipeline_create(zo2_pipeline **out, const zo2_pipeline_config *c);
void zo2_pipeline_set_bounce(zo2_pipeline *p, int bounce);       /* between passes */
void zo2_pipeline_set_trace(zo2_pipeline *p, zo2_tracer *trace); /* the same; NULL: off */
void zo2_pipeline_destroy(zo2_pipeline *p);                      /* NULL is fine; no pass may be running */

/* Starts the lanes on a pass; the pass and what it points to stay untouched until finish(). After the step before, whose
 * compute lane the caller has waited for, it takes over what came ahead; after anything else that is dropped, and the backend drained. After an error there is nothing to finish. */
zo2_status zo2_pipeline_begin(zo2_pipeline *p, const zo2_pass *pass);
/* A chunk's wire on the device, and how many bytes of it were sent (wire_size.h). */
typedef struct zo2_sent_wire {
    const uint8_t *at;
    uint64_t bytes;
} zo2_sent_wire;
/* Compute lane: waits until the chunk at `pc` is on the device and says where. ZO2_ERR_CANCELLED, or a lane's error. */
zo2_status zo2_pipeline_wait(zo2_pipeline *p, uint32_t pc, zo2_sent_wire *wire);
/* Compute lane: everything before `pc` has been used by operations enqueued so far. */
zo2_status zo2_pipeline_release(zo2_pipeline *p, uint32_t pc);
/* Compute lane: the first pc that it hasn't released. */
uint32_t zo2_pipeline_released(const zo2_pipeline *p);
void zo2_pipeline_open_gate(zo2_pipeline *p);
/* Seconds of the lanes since the last call, by track; between passes. Of the compute lane only those in which it waited. */
typedef struct zo2_pipeline_seconds {
    zo2_lane_seconds of[ZO2_TRACK_WRITE + 1];
    uint64_t read_bytes, written_bytes; /* by the lanes of these names */
} zo2_pipeline_seconds;
zo2_pipeline_seconds zo2_pipeline_take_seconds(zo2_pipeline *p);
/* Waits for the lanes: to complete the program, or, after an error (status is what the caller got so far), to stop.
 * Returns the first error. When all went well they may run ahead of the next step until something else begins: they read
 * layout, program, wires and the masters' steps, and the upload lane's queue is theirs. */
zo2_status zo2_pipeline_finish(zo2_pipeline *p, zo2_status status);
/* Do lanes run ahead of the next pass since the last one's finish()? The backend is the caller's but for the upload lane's queue then. */
int zo2_pipeline_runs_on(const zo2_pipeline *p);
/* Between passes: nothing runs ahead any more, what came so is dropped, the backend is drained. */
zo2_status zo2_pipeline_rest(zo2_pipeline *p);

#endif
