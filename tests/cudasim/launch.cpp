/* launch.cpp: what is checked when a kernel is launched, and what is known about kernels. */
#include "ptx.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstring>

/* The compiler's table of patchable functions, which CUDASIM_LAUNCH_BOUNDS uses. Absent when no kernel has bounds. */
extern "C" const uintptr_t __start___patchable_function_entries[] __attribute__((weak, visibility("hidden")));
extern "C" const uintptr_t __stop___patchable_function_entries[] __attribute__((weak, visibility("hidden")));

namespace cudasim
{

namespace
{

/* Addresses below are small numbers, sizes, or a sanitizer's shadow; programs, heaps and stacks lie above. */
#if defined(__x86_64__)
constexpr uintptr_t lowest_host_address = 0x500000000000, end_of_addresses = 0x800000000000;
#else
constexpr uintptr_t lowest_host_address = 0xA00000000000, end_of_addresses = 0x1000000000000;
#endif

#if defined(__aarch64__)
constexpr uintptr_t no_op_bytes = 4;
#else
constexpr uintptr_t no_op_bytes = 1;
#endif

/* The entry belongs to the kernel at `end`, not to a small function before it: that would hold a return or a jump. */
bool only_no_ops(uintptr_t begin, uintptr_t end)
{
    static const unsigned char bytes[] = {0x90, 0x66, 0x0F, 0x1F, 0x2E,
                                          0x00, 0x40, 0x44, 0x80, 0x84, /* x86, any length */
                                          0x20, 0x03, 0xD5};            /* Arm */
    for (; begin < end; begin++)
        if (!memchr(bytes, *reinterpret_cast<const unsigned char *>(begin), sizeof bytes))
            return false;
    return true;
}

bool is_host_address(uintptr_t a)
{
    if (a < lowest_host_address || a >= end_of_addresses)
        return false;
    uintptr_t page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
    unsigned char ignored;
    if (mincore(reinterpret_cast<void *>(a & ~(page - 1)), page, &ignored))
        return false; /* nothing is mapped there */
    return !on_device(reinterpret_cast<const void *>(a), 0);
}

cudaError_t check_launch(const launch &l, kernel_facts &facts)
{
    uint64_t threads = uint64_t{l.block.x} * l.block.y * l.block.z;
    const dim3 &g = l.grid;
    if (!g.x || !g.y || !g.z) {
        report("%s: an empty grid, %u x %u x %u blocks", l.name, g.x, g.y, g.z);
        return cudaErrorInvalidConfiguration;
    }
    if (g.x > 0x7FFFFFFFu || g.y > 65535 || g.z > 65535) {
        report("%s: a grid of %u x %u x %u blocks; the limits are 2147483647, 65535, 65535", l.name, g.x, g.y, g.z);
        return cudaErrorInvalidConfiguration;
    }
    if (!threads || threads > 1024 || l.block.z > 64) {
        report("%s: a block of %u x %u x %u threads", l.name, l.block.x, l.block.y, l.block.z);
        return cudaErrorInvalidConfiguration;
    }
    if (threads > launch_bound(l.kernel)) {
        report("%s: %u threads in a block, its launch bounds are %u", l.name, static_cast<unsigned>(threads),
               launch_bound(l.kernel));
        return cudaErrorLaunchOutOfResources;
    }
    if (l.shared_bytes > static_cast<size_t>(facts.dynamic_limit)) {
        report("%s: %zu bytes of dynamic shared memory, %d allowed (cudaFuncSetAttribute)", l.name, l.shared_bytes,
               facts.dynamic_limit);
        return cudaErrorInvalidValue;
    }
    return cudaSuccess;
}

/* Each is looked for once. */
const ptx::function *compiled_kernel(const void *kernel)
{
    static std::map<const void *, const ptx::function *> &known = *new std::map<const void *, const ptx::function *>;
    auto made = known.insert({kernel, nullptr});
    if (made.second)
        made.first->second = ptx::find_function(symbol_at(kernel));
    return made.first->second;
}

} // namespace

unsigned launch_bound(const void *kernel)
{
    uintptr_t at = reinterpret_cast<uintptr_t>(kernel);
    for (const uintptr_t *e = __start___patchable_function_entries; e < __stop___patchable_function_entries; e++)
        if (*e < at && at - *e <= 32 * no_op_bytes && only_no_ops(*e, at))
            return static_cast<unsigned>((at - *e) / no_op_bytes * 32);
    return 1024;
}

size_t shared_limit()
{
    const cudasim_config &c = the_device->config;
    size_t kib = c.major < 8 ? 64 : c.major == 8 && c.minor == 0 ? 163 : c.major == 8 ? 99 : 227;
    return kib * 1024;
}

void check_argument(const char *kernel, unsigned i, const void *p, size_t bytes)
{
    guard lock;
    const unsigned char *at = static_cast<const unsigned char *>(p);
    for (size_t offset = 0; offset + sizeof(uintptr_t) <= bytes; offset += sizeof(uintptr_t)) {
        uintptr_t word;
        memcpy(&word, at + offset, sizeof word);
        if (!is_host_address(word))
            continue;
        report("%s: its argument %u holds a host address at byte %zu, 0x%zx", kernel, i, offset, word);
    }
}

void enqueue_launch(const launch &l, CUstream_st *stream)
{
    api call("kernel launch", needs::context);
    std::shared_ptr<void> arguments(l.arguments, l.release);
    if (call.error)
        return;
    kernel_facts &facts = the_device->kernels[l.kernel];
    cudaError_t e = valid_stream(stream, l.name) ? check_launch(l, facts) : cudaErrorInvalidResourceHandle;
    if (e) {
        call.done(e);
        return;
    }
    const ptx::function *compiled = ptx::is_asked_for() ? compiled_kernel(l.kernel) : nullptr;
    if (ptx::is_asked_for() && !compiled) {
        call.done(cudaErrorInvalidDeviceFunction);
        return;
    }
    if (!facts.loaded)
        the_device->stats.lazy_kernels++;
    facts.loaded = true;
    enqueue(stream, l.name, [l, arguments, stream, compiled] {
        the_device->stats.kernels++;
        return compiled ? ptx::run(l, *compiled) : run_grid(l, stream->number);
    });
}

} // namespace cudasim

using namespace cudasim;

cudaError_t cudaFuncGetAttributes(cudaFuncAttributes *a, const void *kernel)
{
    api call("cudaFuncGetAttributes", needs::context);
    memset(a, 0, sizeof *a);
    if (call.error)
        return call.error;
    if (!kernel)
        return call.done(cudaErrorInvalidDeviceFunction);
    const cudasim_config &c = the_device->config;
    kernel_facts &facts = the_device->kernels[kernel];
    facts.loaded = true;
    a->maxThreadsPerBlock = static_cast<int>(launch_bound(kernel));
    a->sharedSizeBytes = facts.static_shared;
    if (ptx::is_asked_for()) {
        const ptx::function *compiled = compiled_kernel(kernel);
        if (!compiled)
            return call.done(cudaErrorInvalidDeviceFunction);
        a->sharedSizeBytes = compiled->shared_bytes;
    }
    a->maxDynamicSharedSizeBytes = facts.dynamic_limit;
    a->binaryVersion = a->ptxVersion = c.major * 10 + c.minor;
    return cudaSuccess;
}

cudaError_t cudaFuncSetAttribute(const void *kernel, enum cudaFuncAttribute attribute, int value)
{
    api call("cudaFuncSetAttribute", needs::context);
    if (call.error)
        return call.error;
    if (attribute == cudaFuncAttributePreferredSharedMemoryCarveout)
        return cudaSuccess;
    if (!kernel || value < 0 || static_cast<size_t>(value) > shared_limit())
        return call.done(cudaErrorInvalidValue);
    the_device->kernels[kernel].dynamic_limit = value;
    return cudaSuccess;
}
