/* device.cpp: the one simulated device: its set-up, facts and errors. */
#include "ptx.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace cudasim
{

namespace
{

/* A lock that ThreadSanitizer doesn't see, so that it orders nothing: two host threads that meet only in here race. Who
 * waits sleeps: the one that lets the device run is long in here. */
enum { FREE, TAKEN, AWAITED };
int lock_state;

void futex(int operation, int value)
{
    syscall(SYS_futex, &lock_state, operation, value, nullptr, nullptr, 0);
}

void take_lock()
{
    int state = FREE;
    if (__atomic_compare_exchange_n(&lock_state, &state, TAKEN, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
        return;
    while (__atomic_exchange_n(&lock_state, AWAITED, __ATOMIC_ACQUIRE) != FREE)
        futex(FUTEX_WAIT_PRIVATE, AWAITED);
}

void give_lock()
{
    if (__atomic_exchange_n(&lock_state, FREE, __ATOMIC_RELEASE) == AWAITED)
        futex(FUTEX_WAKE_PRIVATE, 1);
}

void set_defaults(cudasim_config *c)
{
    if (!c->device_bytes)
        c->device_bytes = uint64_t{256} << 20;
    if (!c->context_bytes)
        c->context_bytes = uint64_t{16} << 20;
    if (!c->major && ptx::is_asked_for()) {
        c->major = ptx::architecture() / 10;
        c->minor = ptx::architecture() % 10;
    } else if (!c->major) {
        c->major = 8;
        c->minor = 0;
    }
}

/* The context is lost with these. */
bool is_sticky(cudaError_t e)
{
    switch (e) {
    case cudaErrorECCUncorrectable:
    case cudaErrorIllegalAddress:
    case cudaErrorMisalignedAddress:
    case cudaErrorLaunchFailure:
    case cudaErrorDevicesUnavailable:
    case cudaErrorUnknown: return true;
    default: return false;
    }
}

/* Every host thread has one of its own, none on a new device. A lost context is everyone's. */
cudaError_t &last_error()
{
    static thread_local struct {
        uint64_t device;
        cudaError_t error;
    } mine;
    if (mine.device != the_device->number)
        mine = {the_device->number, cudaSuccess};
    return mine.error;
}

device *make_device(const cudasim_config *c)
{
    static uint64_t devices;
    auto *d = new device();
    d->number = ++devices;
    if (c)
        d->config = *c;
    set_defaults(&d->config);
    d->random = d->config.seed;
    return d;
}

} // namespace

device *the_device;

guard::guard()
{
    take_lock();
    tsan_ignore_begin();
    if (!the_device)
        the_device = make_device(nullptr);
}

guard::~guard()
{
    tsan_ignore_end();
    give_lock();
}

uint64_t next_random(uint64_t *state)
{
    uint64_t z = (*state += 0x9E3779B97F4A7C15u); /* SplitMix64 */
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

void report(const char *format, ...)
{
    tsan_ignore_begin(); /* a kernel's thread may be who reports */
    char text[512];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    if (!the_device->stats.reports++)
        the_device->first_report = text;
    if (!the_device->config.quiet)
        fprintf(stderr, "cudasim: %s\n", text);
    tsan_ignore_end();
}

api::api(const char *name, needs what) : error(cudaSuccess)
{
    device &d = *the_device;
    d.stats.calls++;
    bool counts = !d.config.fail_name || !strcmp(d.config.fail_name, name);
    if (counts && ++d.named_calls == d.config.fail_call) {
        if (is_sticky(d.config.fail_error))
            d.sticky = d.config.fail_error;
        error = done(d.config.fail_error);
    } else if (what != needs::nothing && d.config.start_error)
        error = done(d.config.start_error);
    else if (what == needs::context && d.sticky)
        error = done(d.sticky);
    else if (what == needs::context && !d.context) {
        d.context = take_device_bytes(d.config.context_bytes);
        if (!d.context)
            error = done(cudaErrorMemoryAllocation);
    }
}

cudaError_t api::done(cudaError_t e)
{
    if (e)
        last_error() = e;
    return e;
}

} // namespace cudasim

using namespace cudasim;

/* ---- the test's side ------------------------------------------------------------------------------------------- */

void cudasim_reset(const cudasim_config *c)
{
    guard lock;
    destroy_handles();
    destroy_streams();
    free_everything();
    for (CUevent_st *e : the_device->events)
        delete e;
    delete the_device;
    the_device = make_device(c);
}

void cudasim_get_stats(cudasim_stats *s)
{
    guard lock;
    device &d = *the_device;
    *s = d.stats;
    s->live_allocations = d.allocations.size();
    s->live_streams = d.streams.size();
    s->live_events = d.events.size();
    s->live_handles = d.handles.size();
    s->live_registrations = d.registered.size();
}

const char *cudasim_report(void)
{
    guard lock;
    return the_device->first_report.c_str();
}

const char *cudasim_barrier_place(unsigned i, int *line)
{
    guard lock;
    for (auto &[file, number] : the_device->places)
        if (i-- == 0) {
            *line = number;
            return file.c_str();
        }
    return nullptr;
}

/* ---- errors ---------------------------------------------------------------------------------------------------- */

const char *cudaGetErrorName(cudaError_t e)
{
    switch (e) {
#define NAME(name, number, text) \
    case name: return #name;
        CUDASIM_ERROR_MAP(NAME)
#undef NAME
    }
    return "unrecognized error code";
}

const char *cudaGetErrorString(cudaError_t e)
{
    switch (e) {
#define TEXT(name, number, text) \
    case name: return text;
        CUDASIM_ERROR_MAP(TEXT)
#undef TEXT
    }
    return "unrecognized error code";
}

cudaError_t cudaGetLastError(void)
{
    api call("cudaGetLastError", needs::nothing);
    cudaError_t e = the_device->sticky ? the_device->sticky : last_error();
    last_error() = cudaSuccess;
    return e;
}

cudaError_t cudaPeekAtLastError(void)
{
    api call("cudaPeekAtLastError", needs::nothing);
    return the_device->sticky ? the_device->sticky : last_error();
}

/* ---- facts ----------------------------------------------------------------------------------------------------- */

cudaError_t cudaDriverGetVersion(int *version)
{
    api call("cudaDriverGetVersion", needs::nothing);
    *version = the_device->config.start_error == cudaErrorInsufficientDriver ? 0 : CUDART_VERSION;
    return call.error;
}

cudaError_t cudaRuntimeGetVersion(int *version)
{
    api call("cudaRuntimeGetVersion", needs::nothing);
    *version = CUDART_VERSION;
    return call.error;
}

cudaError_t cudaGetDeviceCount(int *count)
{
    api call("cudaGetDeviceCount", needs::driver);
    *count = call.error ? 0 : 1;
    return call.error;
}

cudaError_t cudaSetDevice(int number)
{
    api call("cudaSetDevice", needs::driver);
    return call.error ? call.error : call.done(number == 0 ? cudaSuccess : cudaErrorInvalidDevice);
}

cudaError_t cudaGetDevice(int *number)
{
    api call("cudaGetDevice", needs::driver);
    *number = 0;
    return call.error;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp *p, int number)
{
    api call("cudaGetDeviceProperties", needs::driver);
    if (call.error || number)
        return call.error ? call.error : call.done(cudaErrorInvalidDevice);
    const cudasim_config &c = the_device->config;
    memset(p, 0, sizeof *p);
    snprintf(p->name, sizeof p->name, "Simulated CUDA device");
    p->totalGlobalMem = c.device_bytes;
    p->sharedMemPerBlock = 48 * 1024;
    p->sharedMemPerBlockOptin = shared_limit();
    p->warpSize = warpSize;
    p->maxThreadsPerBlock = 1024;
    p->major = c.major;
    p->minor = c.minor;
    p->multiProcessorCount = 4;
    return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int *value, enum cudaDeviceAttr attribute, int number)
{
    api call("cudaDeviceGetAttribute", needs::driver);
    if (call.error || number)
        return call.error ? call.error : call.done(cudaErrorInvalidDevice);
    const cudasim_config &c = the_device->config;
    switch (attribute) {
    case cudaDevAttrMaxThreadsPerBlock: *value = 1024; return cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerBlock: *value = 48 * 1024; return cudaSuccess;
    case cudaDevAttrWarpSize: *value = warpSize; return cudaSuccess;
    case cudaDevAttrMultiProcessorCount: *value = 4; return cudaSuccess;
    case cudaDevAttrComputeCapabilityMajor: *value = c.major; return cudaSuccess;
    case cudaDevAttrComputeCapabilityMinor: *value = c.minor; return cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin: *value = static_cast<int>(shared_limit()); return cudaSuccess;
    }
    return call.done(cudaErrorInvalidValue);
}
