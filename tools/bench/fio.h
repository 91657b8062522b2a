/* fio.h: fio reading or writing the same file, as a peer of the library's queue. */
#ifndef ZO2_TOOLS_BENCH_FIO_H
#define ZO2_TOOLS_BENCH_FIO_H

#include "tools/bench/bench.h"

/* CPU seconds a byte, of each call of a side in turn. */
typedef struct bench_cpu_log {
    double seconds[BENCH_MAX_REPEATS + 2]; /* two of them calibrate */
    unsigned n;
} bench_cpu_log;

typedef struct bench_fio {
    char name[32]; /* "fio 3.33"; "" = not installed */
    char file[64]; /* as another process finds it */
    uint64_t bytes;
} bench_fio;

/* Looks for fio; a missing one is noted. */
void bench_fio_start(bench *b, bench_fio *f, const char *file, uint64_t bytes);

/* The whole file in requests of so many MiB as a side; log outlives it. Nothing where fio is missing. False: out of memory. */
bool bench_fio_add(const bench_fio *f, bench_row *row, bool write, unsigned mib, bench_cpu_log *log);

void bench_cpu_add(bench_cpu_log *log, double seconds);

#endif
