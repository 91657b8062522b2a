/* cuda_spans.cu: when the device did what, for observe(): timing events in the lanes' streams.
 *
 * An event behind every operation says when it ended. The next one began then, if the lane was still busy when it was
 * enqueued; so a second event, before the operation, is needed only where the lane had run dry or has waited for an
 * event of another lane. The lane's own calls ask whether the oldest marks have passed (cudaEventElapsedTime() alone needn't find
 * out, by its manual), take out those that have, report them, and know whether anything is under way. That is one event and two or
 * three questions an operation, all of them calls that never wait; without an observer, a test of a pointer.
 *
 * Nothing is created in a step, and no two operations share a span. So when a lane has ZO2_CUDA_MARKS under way, its thread
 * waits until half of them have passed; the other half keeps the lane busy meanwhile. (The driver holds back the host at about as
 * many launches.) What is waited for was enqueued long ago, and all that it waits for, too.
 *
 * Times. cudaEventElapsedTime() gives milliseconds in a float: below 0.1 us only within a second or so. So times count
 * from an event that moves along: at first the lane's anchor, whose time on the host's clock is known, then a mark that
 * passed lately. The caller's lanes are anchored anew at every outermost enter(), so the two clocks' drift is that of one
 * step. The upload lane may be busy whenever somebody looks, so every few seconds it waits until it has run dry, and
 * anchors itself. An anchor is dated just before it is recorded: spans seem early by the time of that call (microseconds),
 * and never lie outside the calls that enclose them. */
#include "kernels/backend.h"
#include "kernels/cuda/cuda_backend.h"

#include <time.h>

#define REBASE_NS 1000000000u
#define ANCHOR_NS 4000000000u /* of the upload lane: clocks drift by microseconds a second */

static uint64_t host_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---- life ---- */

/* Blocking: a thread that waits should not take a core from the update lane. */
static zo2_status create(zo2_cuda *c, cudaEvent_t *e)
{
    if (*e)
        return ZO2_OK;
    return zo2_cuda_check(c, cudaEventCreateWithFlags(e, cudaEventBlockingSync), "cudaEventCreateWithFlags");
}

static zo2_status create_all(zo2_cuda *c)
{
    zo2_status s = ZO2_OK;
    for (int lane = 0; lane < ZO2_LANE_COUNT; lane++) {
        zo2_cuda_track *t = &c->track[lane];
        if (!s)
            s = create(c, &t->anchor);
        if (!s)
            s = create(c, &t->spare);
        for (uint32_t i = 0; i < ZO2_CUDA_MARKS && !s; i++)
            s = create(c, &t->mark[i].event);
    }
    return s;
}

static void destroy(cudaEvent_t e)
{
    if (e)
        (void)cudaEventDestroy(e);
}

void zo2_cuda_spans_close(zo2_cuda *c)
{
    for (int lane = 0; lane < ZO2_LANE_COUNT; lane++) {
        for (uint32_t i = 0; i < ZO2_CUDA_MARKS; i++)
            destroy(c->track[lane].mark[i].event);
        destroy(c->track[lane].spare);
        destroy(c->track[lane].anchor);
        c->track[lane] = {};
    }
    c->span = NULL;
}

/* Fails silently: what is wrong with the device shows at the next call, and without an anchor nothing is reported. */
/* like: a lane whose clock it takes over exactly; NULL: the host's. */
static void anchor(zo2_cuda *c, zo2_lane lane, const zo2_cuda_track *like)
{
    zo2_cuda_track *t = &c->track[lane];
    if (!c->span || t->n)
        return;
    uint64_t now = host_ns();
    float ms;
    t->anchored_ns = cudaEventRecord(t->anchor, c->stream[lane]) == cudaSuccess &&
                             cudaStreamSynchronize(c->stream[lane]) == cudaSuccess
                         ? now
                         : 0;
    if (t->anchored_ns && like && like->anchored_ns && !cudaEventElapsedTime(&ms, like->anchor, t->anchor))
        t->anchored_ns = now = like->anchored_ns + (uint64_t)(1e6 * (double)(ms > 0 ? ms : 0));
    (void)cudaGetLastError();
    t->base = t->anchor;
    t->base_ns = t->at_ns = now;
}

void zo2_cuda_spans_anchor(zo2_cuda *c)
{
    anchor(c, ZO2_LANE_COMPUTE, NULL);
    anchor(c, ZO2_LANE_STAGE, &c->track[ZO2_LANE_COMPUTE]);
}

/* Events are made for the first who observes: measurements don't. */
zo2_status zo2_cuda_observe(zo2_backend *b, zo2_device_span_fn fn, void *ud)
{
    zo2_cuda *c = (zo2_cuda *)b;
    zo2_status s = fn ? zo2_cuda_ready(c) : ZO2_OK;
    if (fn && !s)
        s = create_all(c);
    for (int lane = 0; lane < ZO2_LANE_COUNT; lane++)
        c->track[lane].n = 0;
    c->span = s ? NULL : fn;
    c->span_ud = ud;
    zo2_cuda_spans_anchor(c);
    anchor(c, ZO2_LANE_UPLOAD, &c->track[ZO2_LANE_COMPUTE]);
    return s;
}

/* ---- reading ---- */

/* The mark passed `ms` after the lane's base: reports the span that it ends. */
static void pass(zo2_cuda *c, int lane, zo2_cuda_mark *m, float ms)
{
    zo2_cuda_track *t = &c->track[lane];
    uint64_t after = ms > 0 ? (uint64_t)(1e6 * (double)ms) : 0, now = t->base_ns + after;
    now = now > t->at_ns ? now : t->at_ns; /* a lane's spans don't overlap, whatever is rounded */
    if (m->ends)
        c->span(c->span_ud, (zo2_lane)lane, m->ends, t->at_ns, now);
    t->at_ns = now;
    if (after < REBASE_NS)
        return;
    t->base = m->event; /* which stays out of the ring as long as it is the base */
    t->base_ns = now;
    m->event = t->spare;
    t->spare = t->base;
}

/* Takes out the marks of a lane that have passed, oldest first. */
static zo2_status collect(zo2_cuda *c, int lane)
{
    zo2_cuda_track *t = &c->track[lane];
    for (; t->n; t->n--, t->first = (t->first + 1) % ZO2_CUDA_MARKS) {
        zo2_cuda_mark *m = &t->mark[t->first];
        float ms = 0;
        const char *call = "cudaEventQuery (timing)";
        cudaError_t e = cudaEventQuery(m->event);
        if (e == cudaErrorNotReady) {
            (void)cudaGetLastError(); /* or the next launch would seem to have failed */
            return ZO2_OK;
        }
        if (!e) {
            call = "cudaEventElapsedTime";
            e = cudaEventElapsedTime(&ms, t->base, m->event);
        }
        if (e)
            return zo2_cuda_check(c, e, call);
        pass(c, lane, m, ms);
    }
    return ZO2_OK;
}

zo2_status zo2_cuda_spans_drain(zo2_cuda *c, zo2_lane first)
{
    zo2_status s = ZO2_OK;
    for (int lane = first; lane < ZO2_LANE_COUNT && !s; lane++)
        s = collect(c, lane);
    return s;
}

/* ---- writing ---- */

static zo2_status record(zo2_cuda *c, zo2_lane lane, const zo2_cuda_mark *m)
{
    return zo2_cuda_check(c, cudaEventRecord(m->event, c->stream[lane]), "cudaEventRecord (timing)");
}

static zo2_status mark(zo2_cuda *c, zo2_lane lane, const char *ends)
{
    zo2_cuda_track *t = &c->track[lane];
    zo2_cuda_mark *m = &t->mark[(t->first + t->n++) % ZO2_CUDA_MARKS];
    m->ends = ends;
    return record(c, lane, m);
}

/* Until a mark in the middle has passed. */
static zo2_status wait_for_half(zo2_cuda *c, int lane)
{
    zo2_cuda_track *t = &c->track[lane];
    const zo2_cuda_mark *m = &t->mark[(t->first + t->n / 2) % ZO2_CUDA_MARKS];
    zo2_status s = zo2_cuda_check(c, cudaEventSynchronize(m->event), "cudaEventSynchronize (timing)");
    return s ? s : collect(c, lane);
}

/* The upload lane's own, when its anchor is old. */
static zo2_status anchor_anew(zo2_cuda *c)
{
    const zo2_cuda_track *t = &c->track[ZO2_LANE_UPLOAD];
    if (t->at_ns - t->anchored_ns < ANCHOR_NS)
        return ZO2_OK;
    zo2_status s = zo2_cuda_check(c, cudaStreamSynchronize(c->stream[ZO2_LANE_UPLOAD]), "cudaStreamSynchronize");
    if (!s)
        s = collect(c, ZO2_LANE_UPLOAD);
    if (!s)
        anchor(c, ZO2_LANE_UPLOAD, NULL);
    return s;
}

zo2_status zo2_cuda_span_begin(zo2_cuda *c, zo2_lane lane)
{
    zo2_cuda_track *t = &c->track[lane];
    if (!c->span || !t->anchored_ns)
        return ZO2_OK;
    zo2_status s = lane == ZO2_LANE_UPLOAD ? anchor_anew(c) : ZO2_OK;
    if (!s)
        s = collect(c, lane);
    if (!s && t->n + 2 > ZO2_CUDA_MARKS) /* a beginning and an end must fit */
        s = wait_for_half(c, lane);
    int begins = !t->n || t->waited;
    t->waited = 0;
    return s || !begins ? s : mark(c, lane, NULL);
}

zo2_status zo2_cuda_span_end(zo2_cuda *c, zo2_lane lane, const char *op)
{
    return c->span && c->track[lane].anchored_ns ? mark(c, lane, op) : ZO2_OK;
}
