/* block.cpp: runs a grid: its blocks one after another, a fiber for each thread, in an order that the test chooses.
 * A thread runs until it has to wait for others: at a barrier, in a warp operation. When none can go on, the threads
 * that wait for ever are named and the kernel ends with cudaErrorLaunchFailure.
 *
 * For ThreadSanitizer a CUDA thread happens after the launch's predecessors in its stream, and is ordered with the
 * other threads of its block by barriers and __syncwarp() alone, with other blocks not at all. Threads are played by
 * few of its identities: one set for even blocks, one for odd, and two such pairs for streams. So a race between
 * threads of one number is seen when their blocks are neighbours, or their streams. Each identity has stacks of its
 * own. */
#include "block.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

namespace cudasim
{

block *the_block;

std::string place(const thread &t)
{
    char text[160];
    snprintf(text, sizeof text, "%s: block (%u, %u, %u), thread (%u, %u, %u)", the_block->l->name, blockIdx.x,
             blockIdx.y, blockIdx.z, t.index.x, t.index.y, t.index.z);
    return text;
}

void fail_here()
{
    the_block->failed = true;
    for (;;)
        fiber_yield(); /* the fiber will be thrown away */
}

namespace
{

constexpr unsigned identities = 4;
constexpr size_t stack_bytes = 256 * 1024;                /* only touched pages cost */
std::vector<fiber *> &fibers = *new std::vector<fiber *>; /* [identity][thread]; lives as long as the process */

const char *file_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

std::string doing(const thread &t)
{
    char text[160];
    if (t.now == state::returned)
        return "has returned";
    const char *what = t.now == state::at_barrier ? "__syncthreads()"
                       : t.op == warp_op::sync    ? "__syncwarp()"
                       : t.op == warp_op::ballot  ? "a ballot"
                       : t.op == warp_op::matrix  ? "a matrix operation"
                                                  : "a shuffle";
    snprintf(text, sizeof text, "waits in %s at %s:%d", what, file_name(t.file), t.line);
    return text;
}

/* Notes the place; false for a mutant's forgotten barrier. */
bool is_there(const char *file, int line)
{
    const cudasim_config &c = the_device->config;
    if (the_block->running->number == 0) {
        tsan_ignore_begin();
        the_device->places.emplace(file_name(file), line);
        tsan_ignore_end();
    }
    return !(c.drop_file && c.drop_line == line && !strcmp(c.drop_file, file_name(file)));
}

void wait_as(thread &t, state now)
{
    t.now = now;
    fiber_yield();
    if (the_block->failed)
        fail_here();
}

void take_turn(thread &t)
{
    the_block->running = &t;
    threadIdx = t.index;
    fibers.resize(identities * max_threads, nullptr);
    fiber *&f = fibers[the_block->identity * max_threads + t.number];
    if (!f)
        f = new fiber(stack_bytes, "CUDA thread");
    f->resume(
        [](void *argument) {
            thread *self = static_cast<thread *>(argument);
            tsan_acquire(&the_block->grid->launched);
            the_block->l->call(the_block->l->arguments);
            self->now = state::returned;
            tsan_release(&the_block->grid->finished);
        },
        &t);
}

/* Nobody can go on. Says who waits and who doesn't come. */
void report_stall()
{
    const thread *waits = nullptr, *absent = nullptr;
    for (unsigned i = 0; i < the_block->n && !waits; i++)
        if (the_block->threads[i].now == state::in_warp)
            waits = &the_block->threads[i];
    for (unsigned i = 0; i < the_block->n && !waits; i++)
        if (the_block->threads[i].now == state::at_barrier)
            waits = &the_block->threads[i];
    for (unsigned i = 0; i < the_block->n && !absent; i++) {
        const thread &t = the_block->threads[i];
        bool wanted = waits->now == state::at_barrier ||
                      (t.number / lanes == waits->number / lanes && (waits->mask >> t.number % lanes & 1));
        if (wanted && (t.now != waits->now || (t.now == state::in_warp && t.mask != waits->mask)))
            absent = &t;
    }
    report("%s %s, but thread (%u, %u, %u) %s", place(*waits).c_str(), doing(*waits).c_str(),
           absent ? absent->index.x : 0, absent ? absent->index.y : 0, absent ? absent->index.z : 0,
           absent ? doing(*absent).c_str() : "does not come");
    the_block->failed = true;
}

/* The product that the warp from thread `first` on has come for; a load or a store only has come. */
void multiply(unsigned first)
{
    uint64_t operands[lanes];
    for (unsigned i = 0; i < lanes; i++)
        operands[i] = the_block->threads[first + i].value;
    if (operands[0])
        multiply_matrices(operands);
}

void run_block(const order &turns)
{
    static_assert(sizeof(unsigned) * 8 == lanes, "a bit for each lane");
    the_block->waiting = 0;
    the_block->generation = 0;
    memset(the_block->warp_generation, 0, sizeof the_block->warp_generation);
    memset(the_block->in_warp, 0, sizeof the_block->in_warp);
    the_block->edge = new edges();
    for (unsigned i = 0; i < the_block->n; i++) {
        thread &t = the_block->threads[i];
        the_block->turns[i] = static_cast<unsigned>(turns(i));
        t = {};
        t.number = i;
        t.index = {i % blockDim.x, i / blockDim.x % blockDim.y, i / blockDim.x / blockDim.y};
    }
    for (unsigned left = the_block->n; left && !the_block->failed;) {
        bool any = false;
        for (unsigned i = 0; i < the_block->n && !the_block->failed; i++) {
            thread &t = the_block->threads[the_block->turns[i]];
            if (t.now != state::ready)
                continue;
            any = true;
            take_turn(t);
            left -= t.now == state::returned;
        }
        if (!any)
            report_stall();
    }
    free_shared_arrays();
    delete the_block->edge;
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
    static block &the_only = *new block(); /* 100 KB: made once */
    tsan_ignore_begin();
    the_block = &the_only;
    the_block->failed = false;
    the_block->grid = new grid_edges();
    the_block->l = &l;
    the_block->n = l.block.x * l.block.y * l.block.z;
    blockDim = l.block;
    gridDim = l.grid;
    cudasim_config &c = the_device->config;
    uint64_t n_blocks = uint64_t{l.grid.x} * l.grid.y * l.grid.z;
    order blocks(n_blocks, c.threads, &the_device->random);
    tsan_release(&the_block->grid->launched);
    for (uint64_t i = 0; i < n_blocks && !the_block->failed; i++) {
        uint64_t k = blocks(i);
        blockIdx = {static_cast<unsigned>(k % l.grid.x), static_cast<unsigned>(k / l.grid.x % l.grid.y),
                    static_cast<unsigned>(k / l.grid.x / l.grid.y)};
        the_block->identity = (stream_number & 1) * 2 + (i & 1);
        run_block(order(the_block->n, c.threads, &the_device->random));
    }
    tsan_acquire(&the_block->grid->finished);
    bool failed = the_block->failed;
    if (failed)
        forget_fibers(); /* some are in the middle of something */
    delete the_block->grid;
    the_block = nullptr;
    tsan_ignore_end();
    return failed ? cudaErrorLaunchFailure : cudaSuccess;
}

/* ---- what kernels call ----------------------------------------------------------------------------------------- */

unsigned lane()
{
    return the_block->running->number % lanes;
}

void barrier(const char *file, int line)
{
    thread &t = *the_block->running;
    if (!is_there(file, line))
        return;
    t.file = file;
    t.line = line;
    const uint64_t *edge = &the_block->edge->barrier[the_block->generation & 1];
    tsan_release(edge);
    if (++the_block->waiting < the_block->n)
        wait_as(t, state::at_barrier);
    else {
        for (unsigned i = 0; i < the_block->n; i++)
            if (the_block->threads[i].line != line || strcmp(the_block->threads[i].file, file)) {
                const thread &other = the_block->threads[i];
                report("%s is in __syncthreads() at %s:%d, but thread (%u, %u, %u) %s", place(t).c_str(),
                       file_name(file), line, other.index.x, other.index.y, other.index.z, doing(other).c_str());
                fail_here();
            }
        for (unsigned i = 0; i < the_block->n; i++)
            the_block->threads[i].now = state::ready;
        the_block->waiting = 0;
        the_block->generation++;
    }
    tsan_acquire(edge);
}

uint64_t warp(warp_op op, unsigned mask, uint64_t value, unsigned source, const char *file, int line)
{
    thread &t = *the_block->running;
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
    for (unsigned i = the_block->n - first; i < lanes; i++)
        if (mask >> i & 1) {
            report("%s %s with lane %u, but the block has %u threads", place(t).c_str(), doing(t).c_str(), i,
                   the_block->n);
            fail_here();
        }
    const uint64_t *edge = &the_block->edge->warp[first / lanes][the_block->warp_generation[first / lanes] & 1];
    if (op == warp_op::sync)
        tsan_release(edge);
    unsigned &there = the_block->in_warp[first / lanes];
    there |= 1u << self;
    bool complete = (there & mask) == mask;
    for (unsigned i = 0; i < lanes && complete; i++) { /* who comes last looks at all */
        const thread &o = the_block->threads[first + i];
        if (!(mask >> i & 1))
            continue;
        if (o.mask != mask)
            complete = false;
        else if (o.op != op || o.line != line || (o.file != file && strcmp(o.file, file))) {
            report("%s %s, but lane %u %s", place(t).c_str(), doing(t).c_str(), i, doing(o).c_str());
            fail_here();
        }
    }
    if (!complete)
        wait_as(t, state::in_warp);
    else {
        if (op == warp_op::matrix)
            multiply(first);
        unsigned ballot = 0;
        for (unsigned i = 0; i < lanes && op == warp_op::ballot; i++)
            if (mask >> i & 1)
                ballot |= static_cast<unsigned>(the_block->threads[first + i].value != 0) << i;
        for (unsigned i = 0; i < lanes; i++)
            if (mask >> i & 1) {
                thread &o = the_block->threads[first + i];
                o.result = op == warp_op::shuffle ? the_block->threads[first + o.source].value : ballot;
                o.now = state::ready;
            }
        there &= ~mask;
        the_block->warp_generation[first / lanes]++;
    }
    if (op == warp_op::sync)
        tsan_acquire(edge);
    return t.result;
}

} // namespace cudasim
