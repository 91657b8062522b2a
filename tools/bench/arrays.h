/* arrays.h: NumPy and PyTorch as peers of noise and updates. */
#ifndef ZO2_TOOLS_BENCH_ARRAYS_H
#define ZO2_TOOLS_BENCH_ARRAYS_H

#include "tools/bench/bench.h"
#include "tools/bench/peer.h"

typedef struct bench_arrays {
    bench_peer *numpy, *torch; /* NULL: not installed */
} bench_arrays;

void bench_arrays_start(bench *b, bench_arrays *a);
void bench_arrays_stop(bench_arrays *a);

/* Both as sides of a row. what: "noise" or "update" of n fp32 values. NumPy has one thread whatever is asked. */
bool bench_arrays_add(const bench_arrays *a, bench_row *row, const char *what, zo2_dist dist, uint32_t threads,
                      uint64_t n);

#endif
