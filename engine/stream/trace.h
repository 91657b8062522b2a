/* trace.h: who did what when, for zo2_engine_opts.trace, and the seconds of each lane, which every step counts. Tracing
 * that is off costs a test for NULL. Times are CLOCK_MONOTONIC nanoseconds. */
#ifndef ZO2_ENGINE_STREAM_TRACE_H
#define ZO2_ENGINE_STREAM_TRACE_H

#include "engine/base/clock.h"
#include "engine/zo2.h"
#include "kernels/backend.h"

#include <pthread.h>

/* The lanes that run ahead of the compute lane, in the order in which a chunk passes them. A row here and a file
 * lane_<name>.c with zo2_lane_<name>() are all that another one takes: thread, waiting for the lane before it, seconds and
 * name come from this list. The read lane runs only where masters are spilled. */
#define ZO2_AHEAD_MAP(X) \
    X(READ, read)        \
    X(UPDATE, update)    \
    X(UPLOAD, upload)

/* All tracks of a trace, by who reports there. */
#define ZO2_TRACK_MAP(X) \
    ZO2_AHEAD_MAP(X)     \
    X(COMPUTE, compute)  \
    X(STAGE, stage)      \
    X(WRITE, write)

typedef enum zo2_track {
#define X(id, name) ZO2_TRACK_##id,
    ZO2_TRACK_MAP(X)
#undef X
} zo2_track;

/* Number of lanes that run ahead: the first tracks are theirs. */
#define ZO2_LANES_AHEAD ZO2_TRACK_COMPUTE

/* "update", ...; and of what ran on a queue of the device itself, "device upload", .... Static. */
const char *zo2_track_name(zo2_track t);
const char *zo2_track_of_device(zo2_lane queue);

/* Serialises the callback: lanes report from their own threads. */
typedef struct zo2_tracer {
    zo2_trace_fn fn;
    void *ud;
    pthread_mutex_t mutex;
} zo2_tracer;

/* What a span is about. */
typedef struct zo2_trace_what {
    const char *lane, *name; /* static; lane: the track's name */
    uint64_t step;
    int64_t chunk, tile; /* -1: none */
    const char *tensor;  /* NULL: none */
    uint64_t bytes;
} zo2_trace_what;

/* When a span begins; 0 if nobody wants to know. */
static inline uint64_t zo2_trace_begin(const zo2_tracer *t)
{
    return t ? zo2_clock_ns() : 0;
}

/* A span from `begin` to `end`; t may be NULL. Thread-safe. */
void zo2_trace_span(zo2_tracer *t, const zo2_trace_what *what, uint64_t begin, uint64_t end);
/* A counter's value from now on. */
void zo2_trace_count(zo2_tracer *t, const char *name, uint64_t step, uint64_t value);

#endif
