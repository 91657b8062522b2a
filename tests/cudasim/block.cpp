/* block.cpp: runs a grid: its blocks one after another, a fiber for each thread, in an order that the test chooses.
 * A thread runs until it has to wait for others: at a barrier, in a warp operation. When none can go on, the threads
 * that wait for ever are named and the kernel ends with cudaErrorLaunchFailure.
 *
 * For ThreadSanitizer a CUDA thread happens after the launch's predecessors in its stream, and is ordered with the
 * other threads of its block by barriers and __syncwarp() alone, with other blocks not at all. Threads are played by
 * few of its identities: one set for even blocks, one for odd, and two such pairs for streams. So a race between
 * threads of one number is seen when their blocks are neighbours, or their streams. Each identity has stacks of its
 * own. */
#include "sim.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

namespace cudasim
{

namespace
{

constexpr unsigned max_threads = 1024, lanes = 32;
constexpr size_t red_zone = 64, plain_shared_limit = 48 * 1024;
constexpr unsigned char canary = 0xA5;

enum class state { ready, at_barrier, in_warp, returned };

struct thread {
    state now;
    unsigned number;
    uint3 index;
    const char *file; /* where it waits */
    int line;
    warp_op op;
    unsigned mask, source;
    uint64_t value, result;
};

struct shared_array {
    const void *site;
    const char *name;
    size_t bytes, align;
    unsigned char *raw, *data;
};

/* What ThreadSanitizer keeps its clocks for. New for each block, so that blocks aren't ordered with each other. */
struct edges {
    uint64_t barrier[2], warp[max_threads / lanes][2];
};

struct block {
    const launch *l;
    edges *edge;
    uint64_t launched, finished; /* edges of the whole grid */
    unsigned n, waiting, identity;
    unsigned generation, warp_generation[max_threads / lanes];
    thread threads[max_threads];
    thread *running;
    std::vector<shared_array> arrays;
    bool failed;
};

/* The block that runs. Only one does, under the simulator's lock. */
block *b;
constexpr unsigned identities = 4;
constexpr size_t stack_bytes = 256 * 1024;                /* only touched pages cost */
std::vector<fiber *> &fibers = *new std::vector<fiber *>; /* [identity][thread]; lives as long as the process */

/* i-th of n < 2^32 in the chosen order: all of them once. */
struct order {
    order(uint64_t n_, cudasim_threads kind_, uint64_t *random) : n(n_), kind(kind_), start(0), step(1)
    {
        if (kind != CUDASIM_SHUFFLED)
            return;
        start = next_random(random) % n;
        do
            step = 1 + next_random(random) % n;
        while (!coprime(step, n));
    }
    uint64_t operator()(uint64_t i) const
    {
        if (kind == CUDASIM_FORWARD)
            return i;
        return kind == CUDASIM_REVERSE ? n - 1 - i : (i * step + start) % n;
    }
    static bool coprime(uint64_t a, uint64_t c)
    {
        while (c) {
            uint64_t r = a % c;
            a = c;
            c = r;
        }
        return a == 1;
    }
    uint64_t n;
    cudasim_threads kind;
    uint64_t start, step;
};

const char *file_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

std::string place(const thread &t)
{
    char text[160];
    snprintf(text, sizeof text, "%s: block (%u, %u, %u), thread (%u, %u, %u)", b->l->name, blockIdx.x, blockIdx.y,
             blockIdx.z, t.index.x, t.index.y, t.index.z);
    return text;
}

std::string doing(const thread &t)
{
    char text[160];
    if (t.now == state::returned)
        return "has returned";
    const char *what = t.now == state::at_barrier ? "__syncthreads()"
                       : t.op == warp_op::sync    ? "__syncwarp()"
                       : t.op == warp_op::ballot  ? "a ballot"
                                                  : "a shuffle";
    snprintf(text, sizeof text, "waits in %s at %s:%d", what, file_name(t.file), t.line);
    return text;
}

/* Notes the place; false for a mutant's forgotten barrier. */
bool is_there(const char *file, int line)
{
    const char *name = file_name(file);
    const cudasim_config &c = the_device->config;
    if (b->running->number == 0) {
        tsan_ignore_begin();
        the_device->places.emplace(name, line);
        tsan_ignore_end();
    }
    return !(c.drop_file && c.drop_line == line && !strcmp(c.drop_file, name));
}

/* From inside a thread: doesn't return. */
[[noreturn]] void fail_here()
{
    b->failed = true;
    for (;;)
        fiber_yield(); /* the fiber will be thrown away */
}

void wait_as(thread &t, state now)
{
    t.now = now;
    fiber_yield();
    if (b->failed)
        fail_here();
}

void take_turn(thread &t)
{
    b->running = &t;
    threadIdx = t.index;
    fibers.resize(identities * max_threads, nullptr);
    fiber *&f = fibers[b->identity * max_threads + t.number];
    if (!f)
        f = new fiber(stack_bytes, "CUDA thread");
    f->resume(
        [](void *argument) {
            thread *self = static_cast<thread *>(argument);
            tsan_acquire(&b->launched);
            b->l->call(b->l->arguments);
            self->now = state::returned;
            tsan_release(&b->finished);
        },
        &t);
}

/* Nobody can go on. Says who waits and who doesn't come. */
void report_stall()
{
    const thread *waits = nullptr, *absent = nullptr;
    for (unsigned i = 0; i < b->n && !waits; i++)
        if (b->threads[i].now == state::in_warp)
            waits = &b->threads[i];
    for (unsigned i = 0; i < b->n && !waits; i++)
        if (b->threads[i].now == state::at_barrier)
            waits = &b->threads[i];
    for (unsigned i = 0; i < b->n && !absent; i++) {
        const thread &t = b->threads[i];
        bool wanted = waits->now == state::at_barrier ||
                      (t.number / lanes == waits->number / lanes && (waits->mask >> t.number % lanes & 1));
        if (wanted && (t.now != waits->now || (t.now == state::in_warp && t.mask != waits->mask)))
            absent = &t;
    }
    report("%s %s, but thread (%u, %u, %u) %s", place(*waits).c_str(), doing(*waits).c_str(),
           absent ? absent->index.x : 0, absent ? absent->index.y : 0, absent ? absent->index.z : 0,
           absent ? doing(*absent).c_str() : "does not come");
    b->failed = true;
}

void make_shared(shared_array *a)
{
    size_t align = a->align < 16 ? 16 : a->align, front = red_zone < align ? align : red_zone;
    void *p;
    if (posix_memalign(&p, align, front + a->bytes + red_zone)) {
        perror("cudasim: shared memory");
        abort();
    }
    a->raw = static_cast<unsigned char *>(p);
    a->data = a->raw + front;
    memset(a->raw, canary, front);
    memset(a->data, 0xFF, a->bytes);
    memset(a->data + a->bytes, canary, red_zone);
    asan_poison(a->raw, front);
    asan_poison(a->data + a->bytes, red_zone);
}

void free_shared(const shared_array &a)
{
    asan_unpoison(a.raw, static_cast<size_t>(a.data - a.raw) + a.bytes + red_zone);
    bool whole = true;
    for (size_t i = 0; i < red_zone; i++)
        whole = whole && a.data[a.bytes + i] == canary && a.data[-1 - static_cast<ptrdiff_t>(i)] == canary;
    if (!whole && !b->failed) {
        report("%s: block (%u, %u, %u) wrote outside its shared array %s", b->l->name, blockIdx.x, blockIdx.y,
               blockIdx.z, a.name);
        b->failed = true;
    }
    free(a.raw);
}

void run_block(const order &turns)
{
    b->waiting = 0;
    b->generation = 0;
    memset(b->warp_generation, 0, sizeof b->warp_generation);
    b->edge = new edges();
    for (unsigned i = 0; i < b->n; i++) {
        thread &t = b->threads[i];
        t = {};
        t.number = i;
        t.index = {i % blockDim.x, i / blockDim.x % blockDim.y, i / blockDim.x / blockDim.y};
    }
    for (unsigned left = b->n; left && !b->failed;) {
        bool any = false;
        for (unsigned i = 0; i < b->n && !b->failed; i++) {
            thread &t = b->threads[turns(i)];
            if (t.now != state::ready)
                continue;
            any = true;
            take_turn(t);
            left -= t.now == state::returned;
        }
        if (!any)
            report_stall();
    }
    for (const shared_array &a : b->arrays)
        free_shared(a);
    b->arrays.clear();
    delete b->edge;
}

size_t shared_bytes_in_use()
{
    size_t sum = 0;
    for (const shared_array &a : b->arrays)
        sum += a.bytes;
    return sum;
}

} // namespace

void forget_fibers()
{
    for (fiber *f : fibers)
        delete f;
    fibers.clear();
}

cudaError_t run_grid(const launch &l, unsigned stream_number)
{
    tsan_ignore_begin();
    b = new block();
    b->l = &l;
    b->n = l.block.x * l.block.y * l.block.z;
    blockDim = l.block;
    gridDim = l.grid;
    cudasim_config &c = the_device->config;
    uint64_t n_blocks = uint64_t{l.grid.x} * l.grid.y * l.grid.z;
    order blocks(n_blocks, c.threads, &the_device->random);
    tsan_release(&b->launched);
    for (uint64_t i = 0; i < n_blocks && !b->failed; i++) {
        uint64_t k = blocks(i);
        blockIdx = {static_cast<unsigned>(k % l.grid.x), static_cast<unsigned>(k / l.grid.x % l.grid.y),
                    static_cast<unsigned>(k / l.grid.x / l.grid.y)};
        b->identity = (stream_number & 1) * 2 + (i & 1);
        run_block(order(b->n, c.threads, &the_device->random));
    }
    tsan_acquire(&b->finished);
    bool failed = b->failed;
    if (failed)
        forget_fibers(); /* some are in the middle of something */
    delete b;
    b = nullptr;
    tsan_ignore_end();
    return failed ? cudaErrorLaunchFailure : cudaSuccess;
}

/* ---- what kernels call ----------------------------------------------------------------------------------------- */

unsigned lane()
{
    return b->running->number % lanes;
}

void barrier(const char *file, int line)
{
    thread &t = *b->running;
    if (!is_there(file, line))
        return;
    t.file = file;
    t.line = line;
    const uint64_t *edge = &b->edge->barrier[b->generation & 1];
    tsan_release(edge);
    if (++b->waiting < b->n)
        wait_as(t, state::at_barrier);
    else {
        for (unsigned i = 0; i < b->n; i++)
            if (b->threads[i].line != line || strcmp(b->threads[i].file, file)) {
                const thread &other = b->threads[i];
                report("%s is in __syncthreads() at %s:%d, but thread (%u, %u, %u) %s", place(t).c_str(),
                       file_name(file), line, other.index.x, other.index.y, other.index.z, doing(other).c_str());
                fail_here();
            }
        for (unsigned i = 0; i < b->n; i++)
            b->threads[i].now = state::ready;
        b->waiting = 0;
        b->generation++;
    }
    tsan_acquire(edge);
}

uint64_t warp(warp_op op, unsigned mask, uint64_t value, unsigned source, const char *file, int line)
{
    thread &t = *b->running;
    unsigned self = t.number % lanes, first = t.number - self;
    if (op == warp_op::sync && !is_there(file, line))
        return 0;
    t.op = op;
    t.mask = mask;
    t.value = value;
    t.source = source;
    t.file = file;
    t.line = line;
    t.now = state::in_warp;
    if (!(mask >> self & 1)) {
        report("%s %s without its own bit in the mask 0x%x", place(t).c_str(), doing(t).c_str(), mask);
        fail_here();
    }
    if (op == warp_op::shuffle && !(source < lanes && mask >> source & 1)) {
        report("%s %s and reads lane %u, which is not in the mask 0x%x", place(t).c_str(), doing(t).c_str(), source,
               mask);
        fail_here();
    }
    const uint64_t *edge = &b->edge->warp[first / lanes][b->warp_generation[first / lanes] & 1];
    if (op == warp_op::sync)
        tsan_release(edge);
    bool complete = true;
    for (unsigned i = 0; i < lanes; i++) {
        if (!(mask >> i & 1))
            continue;
        if (first + i >= b->n) {
            report("%s %s with lane %u, but the block has %u threads", place(t).c_str(), doing(t).c_str(), i, b->n);
            fail_here();
        }
        const thread &o = b->threads[first + i];
        if (o.now != state::in_warp || o.mask != mask)
            complete = false;
        else if (o.op != op || o.line != line || strcmp(o.file, file)) {
            report("%s %s, but lane %u %s", place(t).c_str(), doing(t).c_str(), i, doing(o).c_str());
            fail_here();
        }
    }
    if (!complete)
        wait_as(t, state::in_warp);
    else {
        unsigned ballot = 0;
        for (unsigned i = 0; i < lanes; i++)
            if (mask >> i & 1)
                ballot |= static_cast<unsigned>(b->threads[first + i].value != 0) << i;
        for (unsigned i = 0; i < lanes; i++)
            if (mask >> i & 1) {
                thread &o = b->threads[first + i];
                o.result = op == warp_op::shuffle ? b->threads[first + o.source].value : ballot;
                o.now = state::ready;
            }
        b->warp_generation[first / lanes]++;
    }
    if (op == warp_op::sync)
        tsan_acquire(edge);
    return t.result;
}

void *shared(const void *site, size_t bytes, size_t align, const char *name)
{
    for (const shared_array &a : b->arrays)
        if (a.site == site)
            return a.data;
    tsan_ignore_begin(); /* the array has no history, whatever was at its address */
    shared_array a = {site, name, bytes, align, nullptr, nullptr};
    make_shared(&a);
    b->arrays.push_back(a);
    tsan_ignore_end();
    kernel_facts &facts = the_device->kernels[b->l->kernel];
    size_t sum = shared_bytes_in_use(), fixed = 0;
    for (const shared_array &s : b->arrays)
        fixed += s.site == b->l ? 0 : s.bytes;
    if (fixed > facts.static_shared)
        facts.static_shared = fixed;
    size_t limit = b->l->shared_bytes > 0 && static_cast<size_t>(facts.dynamic_limit) > plain_shared_limit
                       ? shared_limit()
                       : plain_shared_limit;
    if (fixed > plain_shared_limit || sum > limit) {
        report("%s uses %zu bytes of shared memory, %zu of them static; the limit is %zu", place(*b->running).c_str(),
               sum, fixed, fixed > plain_shared_limit ? plain_shared_limit : limit);
        fail_here();
    }
    return a.data;
}

void *dynamic_shared(const char *name)
{
    if (!b->l->shared_bytes) {
        report("%s uses dynamic shared memory, %s, but was launched without", place(*b->running).c_str(), name);
        fail_here();
    }
    return shared(b->l, b->l->shared_bytes, 16, name);
}

} // namespace cudasim
