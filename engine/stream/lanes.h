/* lanes.h: what the files of the pipeline share: ring.c has the slots, lane_update.c and lane_upload.c are the lanes that run
 * ahead, pipeline.c is life and the compute lane's side. All state is guarded by one mutex; lanes hold it only to look and to
 * publish. */
#ifndef ZO2_ENGINE_STREAM_LANES_H
#define ZO2_ENGINE_STREAM_LANES_H

#include "engine/base/clock.h"
#include "engine/base/job_error.h"
#include "engine/base/pool.h"
#include "engine/stream/pipeline.h"
#include "engine/stream/trace.h"
#include "kernels/backend.h"

#include <pthread.h>

#define ZO2_PIPELINE_EVENTS \
    64u /* re-recording an event only makes a wait more conservative, never circular: waits look back in host order */

typedef struct zo2_ring {
    uint64_t bytes, head; /* head: where the next slot may begin */
    uint64_t used;        /* of slots that are not released */
    uint32_t oldest;      /* first position whose slot is not released */
} zo2_ring;

struct zo2_pipeline {
    zo2_backend *be;
    zo2_pool *pool;
    uint8_t *ring_base, *resident_base, *staging;
    int bounce;
    const atomic_int *abort;
    pthread_mutex_t mutex;
    pthread_cond_t changed; /* something that a running lane or the caller may wait for */
    pthread_cond_t begun;   /* a pass began, or the lanes end: a lane that is through must not wake for less */
    pthread_t update_thread, upload_thread;
    int update_started, upload_started;
    zo2_event *uploaded_event[ZO2_PIPELINE_EVENTS], *released_event[ZO2_PIPELINE_EVENTS];
    zo2_tracer *trace;
    zo2_pipeline_seconds seconds; /* each field is its lane's alone while a pass runs */

    zo2_pass pass;
    uint64_t passes; /* begun so far: wakes the lanes */
    zo2_ring ring;
    uint32_t filled, uploaded; /* positions through each lane */
    uint32_t released;         /* positions the compute lane is done with */
    uint64_t releases;         /* calls of release() */
    int gate, stop, ending;
    int lanes_busy;
    zo2_job_error error;
};

/* ---- ring.c ---- */

/* A chunk that stays on the device. */
int zo2_pipeline_is_resident(const zo2_pipeline *p, uint32_t position);
/* Bytes of the ring that a position needs. A wire that goes up by way of the staging takes its place there. */
uint64_t zo2_pipeline_slot_bytes(const zo2_pipeline *p, uint32_t position);
/* Where a chunk's wire is on the device. */
uint8_t *zo2_pipeline_address(const zo2_pipeline *p, uint32_t position);

/* Adds the time since `from` to a lane's seconds and to the trace. from 0: it didn't happen. */
void zo2_pipeline_spent(zo2_pipeline *p, double *seconds, const char *lane, const char *name, uint32_t position,
                        uint64_t bytes, uint64_t from);

/* Takes the slot of the chunk at `position`, waiting for room if need be; 0 if the pass stops. seconds, lane: whose waiting it
 * is. */
int zo2_ring_take(zo2_pipeline *p, uint32_t position, double *seconds, const char *lane);
/* Before a slot's part of the staging is written again: whatever was uploaded from there has arrived. Its chunk was released, and
 * what was released has been uploaded before. */
zo2_status zo2_ring_free_staging(zo2_pipeline *p, uint32_t position, double *seconds, const char *lane);
/* Exact values are staged in their slot's mirror, so the update lane takes the slot. All other wires lie in the masters:
 * then the upload lane does, and the update lane runs ahead of the ring as far as it can. */
int zo2_pipeline_stages(const zo2_pipeline *p);
/* The lane's own error: kept, and the pass stops. */
void zo2_pipeline_fail(zo2_pipeline *p, zo2_status s);

/* Waits on the condition, under the mutex; *from: when the lane began to wait, 0 at first. */
static inline void zo2_pipeline_block(zo2_pipeline *p, uint64_t *from)
{
    if (!*from)
        *from = zo2_clock_ns();
    pthread_cond_wait(&p->changed, &p->mutex);
}

/* Under the mutex. */
static inline int zo2_pipeline_stopped(const zo2_pipeline *p)
{
    return p->stop || atomic_load(p->abort);
}

/* A pass of a lane, on its thread. */
void zo2_pipeline_update_pass(zo2_pipeline *p);
void zo2_pipeline_upload_pass(zo2_pipeline *p);

#endif
