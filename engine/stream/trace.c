/* trace.c: see trace.h. */
#include "engine/stream/trace.h"
#include "engine/base/clock.h"
#include "kernels/backend.h"

const char *zo2_track_name(zo2_track t)
{
    static const char *const names[] = {
#define X(id, name) [ZO2_TRACK_##id] = #name,
        ZO2_TRACK_MAP(X)
#undef X
    };
    return names[t];
}

const char *zo2_track_of_device(zo2_lane queue)
{
    static const char *const names[] = {
#define X(id, name) [ZO2_TRACK_##id] = "device " #name,
        ZO2_TRACK_MAP(X)
#undef X
    };
    static const zo2_track tracks[ZO2_LANE_COUNT] = {[ZO2_LANE_UPLOAD] = ZO2_TRACK_UPLOAD,
                                                     [ZO2_LANE_COMPUTE] = ZO2_TRACK_COMPUTE,
                                                     [ZO2_LANE_STAGE] = ZO2_TRACK_STAGE};
    return names[tracks[queue]];
}

static void emit(zo2_tracer *t, const zo2_trace_event *e)
{
    pthread_mutex_lock(&t->mutex);
    t->fn(t->ud, e);
    pthread_mutex_unlock(&t->mutex);
}

void zo2_trace_span(zo2_tracer *t, const zo2_trace_what *what, uint64_t begin, uint64_t end)
{
    if (!t)
        return;
    zo2_trace_event e = {.struct_size = sizeof e,
                         .kind = ZO2_TRACE_SPAN,
                         .lane = what->lane,
                         .name = what->name,
                         .begin_ns = begin,
                         .end_ns = end,
                         .step = what->step,
                         .chunk = what->chunk,
                         .tile = what->tile,
                         .tensor = what->tensor,
                         .bytes = what->bytes};
    emit(t, &e);
}

void zo2_trace_count(zo2_tracer *t, const char *name, uint64_t step, uint64_t value)
{
    if (!t)
        return;
    uint64_t now = zo2_clock_ns();
    zo2_trace_event e = {.struct_size = sizeof e,
                         .kind = ZO2_TRACE_COUNTER,
                         .name = name,
                         .begin_ns = now,
                         .end_ns = now,
                         .step = step,
                         .chunk = -1,
                         .tile = -1,
                         .bytes = value};
    emit(t, &e);
}
