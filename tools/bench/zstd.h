/* zstd.h: the zstd program at level 1 on fp32 weights, as a peer of encoding and decoding. */
#ifndef ZO2_TOOLS_BENCH_ZSTD_H
#define ZO2_TOOLS_BENCH_ZSTD_H

#include "tools/bench/bench.h"

typedef struct bench_zstd {
    char name[32]; /* "zstd -1 1.5.4"; "" = not installed */
    char command[320];
    uint64_t weights; /* in the file it works on */
} bench_zstd;

/* False only after an error; a missing zstd is noted. */
bool bench_zstd_start(bench *b, bench_zstd *z);

/* Compression as a side, or decompression. Nothing where zstd is missing. */
bool bench_zstd_add(const bench_zstd *z, bench_row *row, bool decompress);

#endif
