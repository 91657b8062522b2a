/* ptx_grid.cpp: runs the blocks of a grid, as block.cpp does for kernels that are functions of this program, by what PTX says: each thread until it
 * waits for others or returns. Device memory has its guard pages and its allocations, shared memory begins as 0xFF, and every access
 * is looked at: where it goes, and whether it is aligned to its size. */
#include <cstdarg>
#include <cstdio>

#include "ptx.h"

namespace cudasim
{
namespace ptx
{

namespace
{

/* The block that runs. One at a time, under the simulator's lock. */
struct running {
    const launch *l;
    const function *f;
    std::vector<thread> threads;
    std::vector<uint64_t> slots;
    std::vector<unsigned char> parameters; /* of all threads, frame_bytes each */
    size_t frame_bytes;
    std::vector<unsigned char> shared_and_more;
    unsigned char *shared;
    size_t shared_bytes;
    const unsigned char *seen, *seen_end; /* the allocation of the last access */
    bool failed;
} * the_grid;

uint64_t value_of(special s, const thread &t)
{
    switch (s) {
    case special::tid_x: return t.index.x;
    case special::tid_y: return t.index.y;
    case special::tid_z: return t.index.z;
    case special::ntid_x: return blockDim.x;
    case special::ntid_y: return blockDim.y;
    case special::ntid_z: return blockDim.z;
    case special::ctaid_x: return blockIdx.x;
    case special::ctaid_y: return blockIdx.y;
    case special::ctaid_z: return blockIdx.z;
    case special::nctaid_x: return gridDim.x;
    case special::nctaid_y: return gridDim.y;
    case special::nctaid_z: return gridDim.z;
    case special::laneid: return t.number % lanes;
    }
    return 0;
}

/* on_device(), which remembers the allocation: it is asked for every access. */
bool on_device_again(running &g, const unsigned char *p, size_t bytes)
{
    if (p < g.seen || p >= g.seen_end) {
        const auto &all = the_device->allocations;
        auto after = all.upper_bound(reinterpret_cast<uintptr_t>(p));
        if (after == all.begin())
            return false;
        after--;
        g.seen = reinterpret_cast<const unsigned char *>(after->first);
        g.seen_end = g.seen + after->second.bytes;
    }
    return p >= g.seen && p < g.seen_end && bytes <= static_cast<size_t>(g.seen_end - p);
}

void begin(running &g, unsigned number)
{
    const function &f = *g.f;
    thread &t = g.threads[number];
    t = {};
    t.number = number;
    t.index = {number % blockDim.x, number / blockDim.x % blockDim.y, number / blockDim.x / blockDim.y};
    t.now = {&f, 0, &g.slots[number * (f.slots.size() + callee_slots)], &g.parameters[number * g.frame_bytes]};
    memcpy(t.now.slots, f.slots.data(), f.slots.size() * sizeof *t.now.slots);
    for (const auto &s : f.specials)
        t.now.slots[s.first] = value_of(s.second, t);
    for (const auto &a : f.addresses)
        t.now.slots[a.first] = reinterpret_cast<uintptr_t>(t.now.parameters + a.second);
    for (size_t i = 0; i < f.parameters.size(); i++)
        memcpy(t.now.parameters + f.parameters[i].offset, g.l->parts[i].first, f.parameters[i].bytes);
}

void go_on(running &g, thread &t)
{
    for (;;) {
        const instruction &i = t.now.f->code[t.now.next++];
        if (i.guard != none && (t.now.slots[i.guard] & 1) == i.unless)
            continue;
        if (i.run(t, i) == outcome::stop || g.failed)
            return;
    }
}

/* Lets the lanes go on that are together at one operation. False: there are none. */
bool meet_in_warps(running &g)
{
    bool any = false;
    for (unsigned first = 0; first < g.threads.size() && !g.failed; first += lanes) {
        warp w = {&g.threads[first], std::min<unsigned>(lanes, static_cast<unsigned>(g.threads.size()) - first), 0};
        const uint32_t all = w.n == lanes ? UINT32_MAX : (1u << w.n) - 1;
        for (unsigned l = 0; l < w.n && !g.failed; l++) {
            const thread &t = w.lane[l];
            if (t.is != state::in_warp)
                continue;
            w.mask = t.mask;
            if (!(w.mask >> l & 1)) {
                fail(t, *t.waits, "without its own bit in the mask 0x%x", w.mask);
                break;
            }
            /* -1 means all there are; matrices want 32. */
            if (w.mask == UINT32_MAX && t.waits->who == meeting::masked)
                w.mask = all;
            bool complete = !(w.mask & ~all);
            for (unsigned o = 0; o < w.n && complete; o++)
                if (w.mask >> o & 1)
                    complete = w.lane[o].is == state::in_warp && w.lane[o].waits == t.waits && w.lane[o].mask == t.mask;
            if (!complete)
                continue;
            const instruction &i = *t.waits;
            i.meet(w, i);
            for (unsigned o = 0; o < w.n; o++)
                if (w.mask >> o & 1)
                    w.lane[o].is = state::ready;
            any = true;
        }
    }
    return any;
}

/* All threads at one barrier go on. False: they aren't. */
bool meet_in_block(running &g)
{
    for (const thread &t : g.threads)
        if (t.is != state::at_barrier || t.waits != g.threads[0].waits)
            return false;
    for (thread &t : g.threads)
        t.is = state::ready;
    return true;
}

void report_stall(const running &g)
{
    const thread *waits = nullptr, *other = nullptr;
    for (const thread &t : g.threads)
        if (t.is != state::returned && !waits)
            waits = &t;
    for (const thread &t : g.threads)
        if ((t.is != waits->is || t.waits != waits->waits) && !other)
            other = &t;
    if (!other)
        fail(*waits, *waits->waits, "waits for lanes that the block doesn't have");
    else if (other->is == state::returned)
        fail(*waits, *waits->waits, "waits for ever, thread %u has returned", other->number);
    else
        fail(*waits, *waits->waits, "waits for ever, thread %u waits at line %d", other->number, other->waits->line);
}

void run_block(running &g, const order &turns)
{
    memset(g.shared, 0xFF, g.shared_bytes);
    const unsigned n = static_cast<unsigned>(g.threads.size());
    for (unsigned i = 0; i < n; i++)
        begin(g, i);
    for (;;) {
        unsigned returned = 0;
        bool any = false;
        for (unsigned i = 0; i < n && !g.failed; i++) {
            thread &t = g.threads[turns(i)];
            if (t.is == state::ready) {
                any = true;
                go_on(g, t);
            }
            returned += t.is == state::returned;
        }
        if (g.failed || returned == n)
            return;
        if (!any && !meet_in_warps(g) && !meet_in_block(g)) {
            if (!g.failed)
                report_stall(g);
            return;
        }
    }
}

/* What the program hands over is what the kernel takes. */
bool agrees(const launch &l, const function &f)
{
    bool same = l.parts.size() == f.parameters.size();
    for (size_t i = 0; same && i < l.parts.size(); i++)
        same = l.parts[i].second == f.parameters[i].bytes;
    if (!same) {
        report("%s: nvcc's kernel takes other arguments than the program's", l.name);
        return false;
    }
    size_t threads = size_t{l.block.x} * l.block.y * l.block.z;
    if (threads > f.max_threads)
        report("%s: %zu threads in a block, nvcc's kernel takes %u", l.name, threads, f.max_threads);
    if (f.shared_bytes > 48 * 1024)
        report("%s: %zu bytes of static shared memory", l.name, f.shared_bytes);
    return threads <= f.max_threads && f.shared_bytes <= 48 * 1024;
}

} // namespace

void fail(const thread &t, const instruction &i, const char *format, ...)
{
    char text[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    report("%s: block (%u, %u, %u), thread (%u, %u, %u), %s:%d: %s", the_grid->l->name, blockIdx.x, blockIdx.y,
           blockIdx.z, t.index.x, t.index.y, t.index.z, t.now.f->file.c_str(), i.line, text);
    the_grid->failed = true;
}

unsigned char *reach(thread &t, const instruction &i, space s, uint64_t address, size_t bytes, size_t align)
{
    running &g = *the_grid;
    unsigned char *p = reinterpret_cast<unsigned char *>(s == space::shared ? 0 : address);
    bool inside;
    if (s == space::shared) {
        inside = address <= g.shared_bytes && bytes <= g.shared_bytes - address;
        p = inside ? g.shared + address : nullptr;
    } else if (s == space::parameter) {
        const unsigned char *own = t.now.parameters;
        inside = p >= own && p + bytes <= own + t.now.f->frame_bytes;
    } else {
        inside = on_device_again(g, p, bytes) ||
                 (s == space::generic && p >= g.shared && p + bytes <= g.shared + g.shared_bytes);
    }
    if (!inside)
        fail(t, i, "%zu bytes at 0x%llx are outside of %s memory", bytes, static_cast<unsigned long long>(address),
             s == space::shared      ? "the block's shared"
             : s == space::parameter ? "the function's parameter"
                                     : "device");
    else if (reinterpret_cast<uintptr_t>(p) % align)
        fail(t, i, "%zu bytes at 0x%llx aren't aligned to %zu", bytes, static_cast<unsigned long long>(address), align);
    return g.failed ? nullptr : p;
}

cudaError_t run(const launch &l, const function &f)
{
    if (!agrees(l, f))
        return cudaErrorLaunchFailure;
    running g = {};
    the_grid = &g;
    g.l = &l;
    g.f = &f;
    const size_t n = size_t{l.block.x} * l.block.y * l.block.z;
    g.threads.resize(n);
    g.slots.resize(n * (f.slots.size() + callee_slots));
    g.frame_bytes = (f.frame_bytes + callee_parameters + 15) / 16 * 16;
    g.parameters.resize(n * g.frame_bytes);
    g.shared_bytes = f.shared_bytes + l.shared_bytes;
    g.shared_and_more.resize(g.shared_bytes + 256);
    g.shared = reinterpret_cast<unsigned char *>((reinterpret_cast<uintptr_t>(g.shared_and_more.data()) + 255) &
                                                 ~uintptr_t{255});
    blockDim = l.block;
    gridDim = l.grid;
    cudasim_config &c = the_device->config;
    const uint64_t n_blocks = uint64_t{l.grid.x} * l.grid.y * l.grid.z;
    const order blocks(n_blocks, c.threads, &the_device->random);
    for (uint64_t i = 0; i < n_blocks && !g.failed; i++) {
        const uint64_t k = blocks(i);
        blockIdx = {static_cast<unsigned>(k % l.grid.x), static_cast<unsigned>(k / l.grid.x % l.grid.y),
                    static_cast<unsigned>(k / l.grid.x / l.grid.y)};
        run_block(g, order(n, c.threads, &the_device->random));
    }
    the_grid = nullptr;
    return g.failed ? cudaErrorLaunchFailure : cudaSuccess;
}

} // namespace ptx
} // namespace cudasim
