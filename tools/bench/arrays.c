/* arrays.c: see arrays.h. */
#include "tools/bench/arrays.h"
#include "tools/bench/bench.h"

void bench_arrays_start(bench *b, bench_arrays *a)
{
    const char *const numpy[] = {"numpy", NULL}, *const torch[] = {"torch", NULL};
    a->numpy = bench_peer_python(b, "NumPy", "arrays.py", numpy);
    a->torch = bench_peer_python(b, "PyTorch", "arrays.py", torch);
}

void bench_arrays_stop(bench_arrays *a)
{
    bench_peer_stop(a->numpy);
    bench_peer_stop(a->torch);
}

bool bench_arrays_add(const bench_arrays *a, bench_row *row, const char *what, zo2_dist dist, uint32_t threads,
                      uint64_t n)
{
    return bench_add_peer(row, a->numpy, "numpy", (double)n, "%s %s %u %llu", what, zo2_dist_name(dist), threads,
                          (unsigned long long)n) &&
           bench_add_peer(row, a->torch, "torch", (double)n, "%s %s %u %llu", what, zo2_dist_name(dist), threads,
                          (unsigned long long)n);
}
