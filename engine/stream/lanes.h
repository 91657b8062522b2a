/* lanes.h: what the files of the pipeline share: ring.c has the slots, lanes.c what every lane does, lane_<name>.c what each
 * does with a chunk, follow.c how one pass follows another; pipeline.c is life, the threads, and the compute lane's side. All state is guarded by one mutex; lanes
 * hold it only to look and to publish. */
#ifndef ZO2_ENGINE_STREAM_LANES_H
#define ZO2_ENGINE_STREAM_LANES_H

#include "engine/base/job_error.h"
#include "engine/base/pool.h"
#include "engine/masters/masters.h"
#include "engine/stream/pipeline.h"
#include "engine/stream/trace.h"
#include "kernels/backend.h"

#include <pthread.h>
#include <sys/types.h>

typedef struct zo2_reader zo2_reader; /* reader.h */
typedef struct zo2_writer zo2_writer; /* lane_write.h */

#define ZO2_PIPELINE_EVENTS \
    256u /* re-recording an event only makes a wait longer, never circular: waits look back in host order */

typedef struct zo2_ring {
    uint64_t bytes, head; /* head: where the next slot may begin */
    uint64_t used;        /* of slots that are not released */
    uint32_t oldest;      /* first pc whose slot is not released */
    uint32_t overwritten; /* first pc whose slot has not been given to another since */
    uint64_t after;       /* releases that must have passed before what was given so far is written */
} zo2_ring;

/* A lane that runs ahead. */
typedef struct zo2_lane_ahead {
    zo2_pipeline *pipeline;
    zo2_track track;
    pthread_t thread;
    int started;
    uint32_t through; /* fetches that are through it; written by its thread alone */
} zo2_lane_ahead;

/* Copies under way, oldest first, and the planes that they read, where those don't lie still anyway. A copy is over when the
 * event of its pc has passed. The upload lane's own. */
typedef struct zo2_uploads {
    zo2_planes planes[ZO2_MASTERS_UPLOADS];
    uint32_t event[ZO2_MASTERS_UPLOADS]; /* number of its event */
    uint32_t first, n;
} zo2_uploads;

struct zo2_pipeline {
    zo2_backend *be;
    zo2_pool *pool;
    uint8_t *ring_base, *resident_base, *staging;
    uint64_t ring_bytes, staging_bytes;
    int bounce;
    const atomic_int *abort;
    pid_t process;      /* that has the threads */
    zo2_track first;    /* lane: the first that runs */
    zo2_reader *reader; /* NULL, and the lanes of both don't run */
    zo2_writer *writer;
    pthread_mutex_t mutex;
    pthread_cond_t changed; /* something that a running lane or the caller may wait for */
    pthread_cond_t begun;   /* a pass began, or the lanes end: a lane that is through must not wake for less */
    zo2_lane_ahead lane[ZO2_LANES_AHEAD]; /* by track */
    zo2_event *uploaded_event[ZO2_PIPELINE_EVENTS], *released_event[ZO2_PIPELINE_EVENTS];
    zo2_tracer *trace;
    _Atomic uint64_t busy_ns[ZO2_TRACK_WRITE + 1], waiting_ns[ZO2_TRACK_WRITE + 1]; /* since take_seconds() */
    _Atomic uint64_t read_bytes, written_bytes;                                     /* the same */
    zo2_uploads uploads;

    zo2_pass pass;
    uint64_t passes; /* begun so far: wakes the lanes */
    zo2_ring ring;
    uint32_t first_event; /* the events of pc 0 */
    uint32_t placed;      /* fetches that have their place on the device, those of the next pass included */
    uint32_t came;        /* fetches that a lane saw ahead of the pass: those with bytes sent are there */
    uint32_t awaited;     /* fetches whose upload the compute lane's queue waits for, or will never */
    uint32_t released;    /* fetches the compute lane is done with */
    uint64_t releases;    /* calls of release(), in this pass and those that it follows */
    int gate, stop, ending;
    int pausing;    /* lanes stop running ahead */
    int goes_on;    /* the pass went well: another may follow it */
    int runs_on;    /* lanes weren't paused at its end */
    int lanes_busy; /* with the pass */
    int lanes_on;   /* awake, with the pass or ahead of the next */
    zo2_job_error error;
};

/* ---- ring.c ---- */

/* A chunk that stays on the device. */
int zo2_pipeline_is_resident(const zo2_pipeline *p, uint32_t pc);
/* Bytes of the ring that a pc needs. A wire that is uploaded through the staging takes its place there. */
uint64_t zo2_pipeline_slot_bytes(const zo2_pipeline *p, uint32_t pc);
/* Passes when the wire at `pc` is on the device, from its upload on. */
zo2_event *zo2_pipeline_uploaded(const zo2_pipeline *p, uint32_t pc);
/* Must have passed before the place of `pc` is written; NULL: nothing. */
zo2_event *zo2_ring_after(const zo2_pipeline *p, uint32_t pc);
/* Where a chunk's wire is on the device. */
uint8_t *zo2_pipeline_address(const zo2_pipeline *p, uint32_t pc);

/* Takes the slot of the chunk at `pc` for a lane, if it hasn't one, waiting for room if need be; 0 if the pass stops. */
int zo2_ring_take(zo2_pipeline *p, zo2_track lane, uint32_t pc);
/* Before a chunk's event is recorded: the compute lane has waited for its last recording. A queue that waits for an event recorded
 * again meanwhile waits for a later chunk. 0 if the pass stops. */
int zo2_ring_await_event(zo2_pipeline *p, uint32_t pc);
/* Before a slot's part of the staging is written again: whatever was uploaded from there has arrived. Its chunk was released, and
 * what was released has been uploaded before. */
zo2_status zo2_ring_free_staging(zo2_pipeline *p, zo2_track lane, uint32_t pc);
/* Exact values are staged in their slot's mirror, so the update lane takes the slot. All other wires lie in the masters:
 * then the upload lane does, and the update lane runs ahead of the ring as far as it can. */
int zo2_pipeline_stages(const zo2_pipeline *p);

/* ---- lanes.c ---- */

/* Number of the wire that the chunk at a pc has in its pass: its step and one. 0: nobody can tell, because chunks share their
 * planes. */
uint64_t zo2_pass_version(const zo2_pass *pass, uint32_t pc);
/* Does the device have that wire? */
int zo2_pass_has_wire(const zo2_pass *pass, uint32_t pc);

/* Under the mutex. The pass stops, or running ahead does. */
int zo2_pipeline_stopped(const zo2_pipeline *p);
/* Waits on the condition, under the mutex; *from: when the lane began to wait, 0 at first. */
void zo2_lane_block(zo2_pipeline *p, uint64_t *from);
/* Everything before `pc` is through the lane. Its own thread; the mutex is held, or isn't. */
void zo2_lane_set_through(zo2_pipeline *p, zo2_track lane, uint32_t pc);
void zo2_lane_publish(zo2_pipeline *p, zo2_track lane, uint32_t pc);
/* Waits until the lane before has dealt with `pc`; before it blocks it publishes what is before. 0 if the pass stops. */
int zo2_lane_await(zo2_pipeline *p, zo2_track lane, uint32_t pc);
/* The lane's own error: kept, and the pass stops. */
void zo2_lane_fail(zo2_pipeline *p, zo2_status s);

/* Stops what runs ahead and waits until the lanes' threads sleep: their queues are the caller's then. Not within a pass. */
void zo2_pipeline_pause(zo2_pipeline *p);

/* The time since `from` goes to a track's seconds and to the trace: spent on waiting, or on work that `name` says. from 0: it
 * didn't happen. pc ZO2_NO_PC: about no chunk. */
#define ZO2_NO_PC UINT32_MAX
void zo2_lane_waited(zo2_pipeline *p, zo2_track lane, uint32_t pc, uint64_t from);
void zo2_lane_worked(zo2_pipeline *p, zo2_track lane, const char *name, uint32_t pc, uint64_t bytes, uint64_t from);

/* ---- pipeline.c ---- */

/* Wakes the lanes for p->pass, all else being ready. */
void zo2_pipeline_start(zo2_pipeline *p);

/* ---- lane_<name>.c ---- */

/* A pass of a lane, on its thread: every pc in order; returns early if the pass stops. */
#define X(id, name) void zo2_lane_##name(zo2_pipeline *p);
ZO2_AHEAD_MAP(X)
#undef X
/* Between passes, on its thread: fetches of the next pass as far as is known of them, until the lanes are paused. */
void zo2_lane_read_ahead(zo2_pipeline *p);
void zo2_lane_upload_ahead(zo2_pipeline *p);

#endif
