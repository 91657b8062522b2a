/* memory.cpp: device memory between guard pages, which only the device may touch; registered host memory; copies. */
#include "sim.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace cudasim
{

namespace
{

constexpr size_t granule = 512;        /* what sizes are rounded up to; CUDA's small allocations share larger pieces */
constexpr size_t fill_bytes = 4 << 20; /* mapped again and again */

size_t page_bytes()
{
    return static_cast<size_t>(sysconf(_SC_PAGESIZE));
}

size_t round_up(size_t n, size_t to)
{
    return (n + to - 1) / to * to;
}

uintptr_t address(const void *p)
{
    return reinterpret_cast<uintptr_t>(p);
}

void protect(const allocation &a, bool open)
{
    size_t page = page_bytes();
    if (mprotect(a.map + page, a.map_bytes - 2 * page, open ? PROT_READ | PROT_WRITE : PROT_NONE)) {
        perror("cudasim: mprotect");
        abort();
    }
}

int filled_file()
{
    static unsigned char piece[64 << 10];
    memset(piece, 0xFF, sizeof piece);
    int file = memfd_create("cudasim", MFD_CLOEXEC);
    for (size_t done = 0; file >= 0 && done < fill_bytes; done += sizeof piece)
        if (write(file, piece, sizeof piece) != static_cast<ssize_t>(sizeof piece)) {
            close(file);
            file = -1;
        }
    if (file < 0) {
        perror("cudasim: memory's first contents");
        abort();
    }
    return file;
}

/* Pages that begin as 0xFF, a NaN in every float type: copies of one file's, made when they are written. So a large arena
 * of which a test touches little costs little, to fill and to protect. */
bool map_filled(unsigned char *at, size_t bytes)
{
    static const int file = filled_file();
    for (size_t done = 0; done < bytes; done += fill_bytes) {
        size_t n = bytes - done < fill_bytes ? bytes - done : fill_bytes;
        if (mmap(at + done, n, PROT_NONE, MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE, file, 0) == MAP_FAILED)
            return false;
    }
    return true;
}

/* The range's last byte is the last before a guard page, up to the alignment of 256 that cudaMalloc() promises. */
void *map_allocation(size_t bytes, allocation *a)
{
    size_t page = page_bytes(), body = round_up(bytes, page), at = page + (body - bytes) / 256 * 256;
    a->bytes = bytes;
    a->map_bytes = body + 2 * page;
    void *p = mmap(nullptr, a->map_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        return nullptr;
    a->map = static_cast<unsigned char *>(p);
    if (!map_filled(a->map + page, body)) {
        munmap(p, a->map_bytes);
        return nullptr;
    }
    asan_poison(a->map + page, at - page);
    asan_poison(a->map + at + bytes, page + body - at - bytes);
    return a->map + at;
}

void unmap_allocation(const allocation &a)
{
    asan_unpoison(a.map, a.map_bytes);
    munmap(a.map, a.map_bytes);
}

template <class Map>
bool covered(const Map &ranges, const void *p, size_t bytes, size_t (*size)(typename Map::mapped_type))
{
    auto next = ranges.upper_bound(address(p));
    if (next == ranges.begin())
        return false;
    auto &[begin, value] = *std::prev(next);
    size_t offset = address(p) - begin;
    return offset <= size(value) && bytes <= size(value) - offset;
}

} // namespace

bool on_device(const void *p, size_t bytes)
{
    return covered<std::map<uintptr_t, allocation>>(the_device->allocations, p, bytes,
                                                    [](allocation a) { return a.bytes; });
}

bool is_registered(const void *p, size_t bytes)
{
    return covered<std::map<uintptr_t, size_t>>(the_device->registered, p, bytes, [](size_t n) { return n; });
}

void protect_device(bool open)
{
    for (auto &[base, a] : the_device->allocations)
        protect(a, open);
}

void free_everything()
{
    for (auto &[base, a] : the_device->allocations)
        unmap_allocation(a);
    the_device->allocations.clear();
}

bool take_device_bytes(uint64_t bytes)
{
    cudasim_stats &s = the_device->stats;
    if (bytes > the_device->config.device_bytes - s.device_bytes)
        return false;
    s.device_bytes += bytes;
    if (s.device_bytes > s.peak_device_bytes)
        s.peak_device_bytes = s.device_bytes;
    return true;
}

void give_device_bytes(uint64_t bytes)
{
    the_device->stats.device_bytes -= bytes;
}

} // namespace cudasim

using namespace cudasim;

void cudasim_open_memory(void)
{
    guard lock;
    protect_device(true);
}

void cudasim_poison(void *p, uint64_t bytes)
{
    asan_poison(p, bytes);
}

void cudasim_unpoison(void *p, uint64_t bytes)
{
    asan_unpoison(p, bytes);
}

/* ---- allocation ------------------------------------------------------------------------------------------------ */

cudaError_t cudaMalloc(void **p, size_t bytes)
{
    api call("cudaMalloc", needs::context);
    *p = nullptr;
    if (call.error || !bytes)
        return call.error;
    if (bytes > the_device->config.device_bytes)
        return call.done(cudaErrorMemoryAllocation);
    allocation a;
    if (!take_device_bytes(round_up(bytes, granule)))
        return call.done(cudaErrorMemoryAllocation);
    *p = map_allocation(bytes, &a);
    if (!*p) {
        give_device_bytes(round_up(bytes, granule));
        return call.done(cudaErrorMemoryAllocation);
    }
    the_device->allocations[address(*p)] = a;
    the_device->stats.allocations++;
    return cudaSuccess;
}

cudaError_t cudaFree(void *p)
{
    api call("cudaFree", needs::context);
    if (call.error || !p)
        return call.error;
    auto at = the_device->allocations.find(address(p));
    if (at == the_device->allocations.end()) {
        report("cudaFree: %p was not given by cudaMalloc", p);
        return call.done(cudaErrorInvalidValue);
    }
    run_everything(); /* it waits for the device */
    give_device_bytes(round_up(at->second.bytes, granule));
    unmap_allocation(at->second);
    the_device->allocations.erase(at);
    return call.done(the_device->sticky);
}

cudaError_t cudaMemGetInfo(size_t *free, size_t *total)
{
    api call("cudaMemGetInfo", needs::context);
    *free = *total = 0;
    if (call.error)
        return call.error;
    *total = the_device->config.device_bytes;
    *free = the_device->config.device_bytes - the_device->stats.device_bytes;
    return cudaSuccess;
}

cudaError_t cudaHostRegister(void *p, size_t bytes, unsigned flags)
{
    api call("cudaHostRegister", needs::context);
    if (call.error)
        return call.error;
    if (!p || !bytes ||
        flags & ~static_cast<unsigned>(cudaHostRegisterPortable | cudaHostRegisterMapped | cudaHostRegisterReadOnly))
        return call.done(cudaErrorInvalidValue);
    device &d = *the_device;
    auto next = d.registered.lower_bound(address(p));
    bool overlaps = (next != d.registered.end() && next->first < address(p) + bytes) ||
                    (next != d.registered.begin() && std::prev(next)->first + std::prev(next)->second > address(p));
    if (overlaps)
        return call.done(cudaErrorHostMemoryAlreadyRegistered);
    if (d.config.pinned_bytes && d.stats.pinned_bytes + bytes > d.config.pinned_bytes)
        return call.done(cudaErrorMemoryAllocation);
    d.registered[address(p)] = bytes;
    d.stats.pinned_bytes += bytes;
    return cudaSuccess;
}

cudaError_t cudaHostUnregister(void *p)
{
    api call("cudaHostUnregister", needs::context);
    if (call.error)
        return call.error;
    auto at = the_device->registered.find(address(p));
    if (at == the_device->registered.end())
        return call.done(cudaErrorHostMemoryNotRegistered);
    run_everything();
    the_device->stats.pinned_bytes -= at->second;
    the_device->registered.erase(at);
    return call.done(the_device->sticky);
}

/* ---- copies ---------------------------------------------------------------------------------------------------- */

namespace
{

/* Both sides are what `kind` says. A host side has to be registered: from pageable memory a copy isn't asynchronous. */
cudaError_t check_copy(const void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind)
{
    if (kind != cudaMemcpyHostToDevice && kind != cudaMemcpyDeviceToHost && kind != cudaMemcpyDeviceToDevice) {
        report("cudaMemcpyAsync: of kind %d, say which way it goes", static_cast<int>(kind));
        return cudaErrorInvalidMemcpyDirection;
    }
    for (int i = 0; i < 2; i++) {
        const void *p = i ? from : to;
        bool device_side = kind == cudaMemcpyDeviceToDevice || (i == 0) == (kind == cudaMemcpyHostToDevice);
        const char *name = i ? "source" : "destination";
        if (device_side && !on_device(p, bytes)) {
            report("cudaMemcpyAsync: the %s, %zu bytes at %p, is not device memory", name, bytes, p);
            return cudaErrorInvalidValue;
        }
        if (!device_side && (on_device(p, 1) || !is_registered(p, bytes))) {
            the_device->stats.pageable_copies++;
            report("cudaMemcpyAsync: the %s, %zu bytes at %p, is not registered host memory", name, bytes, p);
            return cudaErrorInvalidValue;
        }
    }
    return cudaSuccess;
}

} // namespace

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind, cudaStream_t s)
{
    api call("cudaMemcpyAsync", needs::context);
    if (call.error)
        return call.error;
    if (!valid_stream(s, "cudaMemcpyAsync"))
        return call.done(cudaErrorInvalidResourceHandle);
    if (!bytes)
        return cudaSuccess;
    cudaError_t e = check_copy(to, from, bytes, kind);
    if (e)
        return call.done(e);
    return call.done(enqueue(s, "cudaMemcpyAsync", [=] {
        memcpy(to, from, bytes);
        if (kind == cudaMemcpyHostToDevice)
            the_device->stats.copied_to_device += bytes;
        if (kind == cudaMemcpyDeviceToHost)
            the_device->stats.copied_from_device += bytes;
        return cudaSuccess;
    }));
}

cudaError_t cudaMemsetAsync(void *p, int value, size_t bytes, cudaStream_t s)
{
    api call("cudaMemsetAsync", needs::context);
    if (call.error)
        return call.error;
    if (!valid_stream(s, "cudaMemsetAsync"))
        return call.done(cudaErrorInvalidResourceHandle);
    if (bytes && !on_device(p, bytes)) {
        report("cudaMemsetAsync: %zu bytes at %p are not device memory", bytes, p);
        return call.done(cudaErrorInvalidValue);
    }
    return call.done(enqueue(s, "cudaMemsetAsync", [=] {
        memset(p, value, bytes);
        return cudaSuccess;
    }));
}
