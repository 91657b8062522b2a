/* block.h: the block that runs, as the files that run it share it. */
#ifndef CUDASIM_BLOCK_H
#define CUDASIM_BLOCK_H

#include <string>
#include <vector>

#include "sim.h"

namespace cudasim
{

constexpr unsigned max_threads = 1024, lanes = 32;

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

struct grid_edges { /* new for each grid */
    uint64_t launched, finished;
};

struct block {
    const launch *l;
    grid_edges *grid;
    edges *edge;
    unsigned n, waiting, identity;
    unsigned generation, warp_generation[max_threads / lanes];
    unsigned in_warp[max_threads / lanes]; /* a bit for each lane that is there */
    unsigned turns[max_threads];           /* whose turn it is, one after another */
    thread threads[max_threads];
    thread *running;
    std::vector<shared_array> arrays;
    bool failed;
};

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

/* NULL: none. Only one runs, under the simulator's lock. */
extern block *the_block;

/* "kernel: block (0, 0, 0), thread (1, 0, 0)" */
std::string place(const thread &t);
/* From inside a thread: ends the kernel, doesn't return. */
[[noreturn]] void fail_here();
/* Of a warp whose lanes all came: `lane` has their matrix_product (mma.h). */
void multiply_matrices(const uint64_t (&lane)[lanes]);
/* The end of a block: looks whether something was written around its shared arrays. */
void free_shared_arrays();

} // namespace cudasim

#endif
