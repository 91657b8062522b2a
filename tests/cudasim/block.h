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
