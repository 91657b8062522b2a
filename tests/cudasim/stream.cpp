/* stream.cpp: streams are queues. Nothing runs until the host has to wait; then operations run one at a time, in an
 * order that the test chooses, on the waiting host thread. ThreadSanitizer is told that each stream is a thread of its
 * own, ordered with the others by records and waits alone: a forgotten wait is a race, in whatever order it ran. */
#include "sim.h"

#include <time.h>

#include <algorithm>
#include <cstdio>
#include <vector>

namespace cudasim
{

namespace
{

bool runnable(const CUstream_st *s)
{
    return !s->queue.empty() && (!s->queue.front()->wait || s->queue.front()->wait->done);
}

/* Its place among the streams that there are, by age. */
unsigned rank(const CUstream_st *s)
{
    unsigned older = 0;
    for (const CUstream_st *other : the_device->streams)
        older += other->number < s->number;
    return older;
}

CUstream_st *choose()
{
    device &d = *the_device;
    std::vector<CUstream_st *> ready;
    CUstream_st *first = nullptr, *last = nullptr;
    for (CUstream_st *s : d.streams)
        if (runnable(s)) {
            ready.push_back(s);
            uint64_t n = s->queue.front()->sequence;
            first = !first || n < first->queue.front()->sequence ? s : first;
            last = !last || n > last->queue.front()->sequence ? s : last;
        }
    if (ready.empty() || d.config.order == CUDASIM_FIFO)
        return first;
    if (d.config.order == CUDASIM_LIFO)
        return last;
    /* The set is ordered by address, which varies. */
    std::sort(ready.begin(), ready.end(), [](CUstream_st *x, CUstream_st *y) { return x->number < y->number; });
    return ready[next_random(&d.random) % ready.size()];
}

/* What events say: the host's clock, which only the operations' own time changes. */
uint64_t device_ns()
{
    timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return static_cast<uint64_t>(t.tv_sec) * 1000000000 + static_cast<uint64_t>(t.tv_nsec) + the_device->slow_ns;
}

/* On the stream's fiber. What an operation reads and writes counts for ThreadSanitizer, unlike what is around it. */
void run_here(CUstream_st *s)
{
    device &d = *the_device;
    tsan_ignore_begin();
    std::unique_ptr<operation> op = std::move(s->queue.front());
    s->queue.pop_front();
    cudaError_t e = d.sticky; /* after a lost context nothing runs, and nobody waits for ever */
    tsan_acquire(&op->edge);
    if (op->wait)
        tsan_acquire(&op->wait->edge);
    if (op->run && !e) {
        if (++d.stats.operations == d.config.fail_operation)
            e = d.config.fail_error;
        else {
            tsan_ignore_end();
            e = op->run();
            tsan_ignore_begin();
        }
        d.slow_ns += d.config.operation_ns;
    }
    if (op->record) {
        op->record->done = true;
        op->record->number = ++d.recorded;
        op->record->ns = device_ns();
        tsan_release(&op->record->edge);
    }
    tsan_release(&s->edge);
    if (e && !d.sticky) {
        if (!d.config.quiet)
            fprintf(stderr, "cudasim: %s failed on the device: %s\n", op->name.c_str(), cudaGetErrorString(e));
        d.sticky = e;
    }
    op.reset();
    tsan_ignore_end();
}

void run_operation(CUstream_st *s)
{
    s->fiber.resume([](void *stream) { run_here(static_cast<CUstream_st *>(stream)); }, s);
}

/* A new one whose stream and call are in order. */
cudaError_t push(CUstream_st *s, std::unique_ptr<operation> op)
{
    op->sequence = the_device->next_sequence++;
    the_device->polls = 0;
    tsan_release(&op->edge);
    s->queue.push_back(std::move(op));
    return cudaSuccess;
}

bool valid_event(CUevent_st *e, const char *who)
{
    if (e && the_device->events.count(e))
        return true;
    report("%s: %p is not an event", who, static_cast<void *>(e));
    return false;
}

} // namespace

bool valid_stream(CUstream_st *s, const char *who)
{
    if (s && the_device->streams.count(s))
        return true;
    if (s)
        report("%s: %p is not a stream", who, static_cast<void *>(s));
    else
        report("%s: on the default stream, which waits for all others", who);
    return false;
}

cudaError_t enqueue(CUstream_st *s, const char *name, std::function<cudaError_t()> run)
{
    auto op = std::make_unique<operation>();
    op->name = name;
    op->run = std::move(run);
    return push(s, std::move(op));
}

void run_until(const std::function<bool()> &reached)
{
    if (reached())
        return;
    protect_device(true);
    while (!reached()) {
        CUstream_st *s = choose();
        if (!s)
            break; /* can't be: what is waited for was recorded before */
        run_operation(s);
    }
    protect_device(false);
}

/* Whoever does nothing but poll lets an operation run at a time, so that polling comes to an end. Questions between operations don't. */
static void run_one()
{
    if (++the_device->polls < 100)
        return;
    uint64_t left = 0;
    for (CUstream_st *s : the_device->streams)
        left += s->queue.size();
    run_until([left] {
        uint64_t now = 0;
        for (CUstream_st *s : the_device->streams)
            now += s->queue.size();
        return now < left || !now;
    });
}

/* All that is done by now. */
static void tell_host()
{
    the_device->told = the_device->recorded;
}

/* By a question of its own, or by a wait of some stream's or the device's. */
static bool is_told(const recording &r)
{
    return r.done && (r.asked || r.number <= the_device->told);
}

void run_everything()
{
    run_until([] {
        for (CUstream_st *s : the_device->streams)
            if (!s->queue.empty())
                return false;
        return true;
    });
    for (CUstream_st *s : the_device->streams)
        tsan_acquire(&s->edge);
    tell_host();
}

void destroy_streams()
{
    for (CUstream_st *s : the_device->streams)
        delete s;
    the_device->streams.clear();
}

} // namespace cudasim

using namespace cudasim;

/* ---- streams --------------------------------------------------------------------------------------------------- */

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *s, unsigned flags)
{
    api call("cudaStreamCreateWithFlags", needs::context);
    *s = nullptr;
    if (call.error)
        return call.error;
    if (flags & ~static_cast<unsigned>(cudaStreamNonBlocking))
        return call.done(cudaErrorInvalidValue);
    *s = new CUstream_st;
    (*s)->number = the_device->next_stream++;
    the_device->streams.insert(*s);
    return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t s)
{
    api call("cudaStreamDestroy", needs::context);
    if (call.error && call.error != the_device->sticky)
        return call.error;
    if (!valid_stream(s, "cudaStreamDestroy"))
        return call.done(cudaErrorInvalidResourceHandle);
    run_until([s] { return s->queue.empty(); });
    the_device->streams.erase(s);
    delete s;
    return call.error;
}

cudaError_t cudaStreamSynchronize(cudaStream_t s)
{
    api call("cudaStreamSynchronize", needs::context);
    if (call.error)
        return call.error;
    if (!valid_stream(s, "cudaStreamSynchronize"))
        return call.done(cudaErrorInvalidResourceHandle);
    run_until([s] { return s->queue.empty(); });
    tsan_acquire(&s->edge);
    tell_host();
    return call.done(the_device->sticky);
}

cudaError_t cudaDeviceSynchronize(void)
{
    api call("cudaDeviceSynchronize", needs::context);
    if (call.error)
        return call.error;
    run_everything();
    return call.done(the_device->sticky);
}

cudaError_t cudaStreamQuery(cudaStream_t s)
{
    api call("cudaStreamQuery", needs::context);
    if (call.error)
        return call.error;
    if (!valid_stream(s, "cudaStreamQuery"))
        return call.done(cudaErrorInvalidResourceHandle);
    if (s->queue.empty()) {
        tsan_acquire(&s->edge);
        return cudaSuccess;
    }
    run_one();
    return call.done(the_device->sticky ? the_device->sticky : cudaErrorNotReady);
}

cudaError_t cudaStreamWaitEvent(cudaStream_t s, cudaEvent_t e, unsigned flags)
{
    api call("cudaStreamWaitEvent", needs::context);
    if (call.error)
        return call.error;
    if (!valid_stream(s, "cudaStreamWaitEvent") || !valid_event(e, "cudaStreamWaitEvent"))
        return call.done(cudaErrorInvalidResourceHandle);
    if (flags)
        return call.done(cudaErrorInvalidValue);
    if (the_device->config.drop_waits == rank(s) + 1) {
        the_device->stats.dropped++;
        return cudaSuccess;
    }
    if (!e->last)
        return cudaSuccess; /* as with CUDA: never recorded, nothing to wait for */
    auto op = std::make_unique<operation>();
    op->name = "cudaStreamWaitEvent";
    op->wait = e->last;
    return push(s, std::move(op));
}

/* ---- events ---------------------------------------------------------------------------------------------------- */

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *e, unsigned flags)
{
    api call("cudaEventCreateWithFlags", needs::context);
    *e = nullptr;
    if (call.error)
        return call.error;
    if (flags & ~static_cast<unsigned>(cudaEventBlockingSync | cudaEventDisableTiming))
        return call.done(cudaErrorInvalidValue);
    *e = new CUevent_st;
    (*e)->flags = flags;
    the_device->events.insert(*e);
    return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t e)
{
    api call("cudaEventDestroy", needs::context);
    if (call.error && call.error != the_device->sticky)
        return call.error;
    if (!valid_event(e, "cudaEventDestroy"))
        return call.done(cudaErrorInvalidResourceHandle);
    the_device->events.erase(e);
    delete e; /* queued records and waits hold what they need */
    return call.error;
}

cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t s)
{
    api call("cudaEventRecord", needs::context);
    if (call.error)
        return call.error;
    if (!valid_event(e, "cudaEventRecord") || !valid_stream(s, "cudaEventRecord"))
        return call.done(cudaErrorInvalidResourceHandle);
    auto op = std::make_unique<operation>();
    op->name = "cudaEventRecord";
    op->record = e->last = std::make_shared<recording>();
    return push(s, std::move(op));
}

cudaError_t cudaEventQuery(cudaEvent_t e)
{
    api call("cudaEventQuery", needs::context);
    if (call.error)
        return call.error;
    if (!valid_event(e, "cudaEventQuery"))
        return call.done(cudaErrorInvalidResourceHandle);
    if (!e->last)
        return cudaSuccess;
    if (e->last->done) {
        e->last->asked = true;
        if (e->flags &
            cudaEventDisableTiming) /* who learns from a clock that others are through forgot to wait for them */
            tsan_acquire(&e->last->edge);
        return call.done(the_device->sticky);
    }
    run_one();
    return call.done(the_device->sticky ? the_device->sticky : cudaErrorNotReady);
}

cudaError_t cudaEventSynchronize(cudaEvent_t e)
{
    api call("cudaEventSynchronize", needs::context);
    if (call.error)
        return call.error;
    if (!valid_event(e, "cudaEventSynchronize"))
        return call.done(cudaErrorInvalidResourceHandle);
    std::shared_ptr<recording> r = e->last;
    if (the_device->config.drop_event_syncs) {
        the_device->stats.dropped++;
        return cudaSuccess;
    }
    if (!r)
        return cudaSuccess;
    run_until([&r] { return r->done; });
    r->asked = true;
    tsan_acquire(&r->edge);
    return call.done(the_device->sticky);
}

cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t from, cudaEvent_t to)
{
    api call("cudaEventElapsedTime", needs::context);
    *ms = 0;
    if (call.error)
        return call.error;
    if (!valid_event(from, "cudaEventElapsedTime") || !valid_event(to, "cudaEventElapsedTime"))
        return call.done(cudaErrorInvalidResourceHandle);
    if ((from->flags | to->flags) & cudaEventDisableTiming || !from->last || !to->last)
        return call.done(cudaErrorInvalidResourceHandle);
    if (!is_told(*from->last) || !is_told(*to->last)) /* it calculates; whether they have passed is others' to ask */
        return call.done(cudaErrorNotReady);
    *ms = static_cast<float>(static_cast<double>(static_cast<int64_t>(to->last->ns - from->last->ns)) * 1e-6);
    return cudaSuccess;
}
