/* bench.h: what the sections of zo2-bench share. A section makes rows; a row compares sides: the first is zo2, the
 * others are limits of the machine or programs that a user would take instead, measured in turn with it. */
#ifndef ZO2_TOOLS_BENCH_BENCH_H
#define ZO2_TOOLS_BENCH_BENCH_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/zo2.h"
#include "tools/cli/args.h"
#include "tools/cli/gpu_file.h"

enum { BENCH_MAX_REPEATS = 99, BENCH_MAX_SIDES = 8 };

/* What the command line says. */
typedef struct bench_options {
    cli_value threads, repeats, seconds, bytes, model, tokens, wire, dist, backend, all, dir, checkpoint, python,
        no_peers, json, tune, queries, loss, data, batch, directions, eps;
} bench_options;

typedef struct bench_stat {
    double median, min, max;
} bench_stat;

typedef struct bench_side {
    char name[48];   /* "NumPy 1.24.2, 1 thread" */
    const char *key; /* in JSON: "numpy" gives "numpy_ratio"; "zo2" for the first */
    bool limit;      /* of the machine; else a program */
    double items;    /* of one pass, in the row's unit of work */
    /* Does `passes` passes and stores the mean seconds of one; false on failure, with a message on stderr. */
    bool (*run)(void *ud, uint64_t passes, double *seconds);
    void (*close)(void *ud); /* NULL: nothing to do */
    void *ud;
    uint64_t passes; /* of a repeat */
    double seconds[BENCH_MAX_REPEATS];
    bench_stat stat; /* in the row's unit */
} bench_side;

typedef struct bench_row {
    const char *section;
    char name[64];
    const char *unit;
    double scale; /* unit = scale * items / seconds, or scale * seconds / items if lower is better */
    bool lower_is_better;
    double bytes_per_item; /* memory traffic of zo2, 0: not shown */
    bench_side sides[BENCH_MAX_SIDES];
    unsigned n;
} bench_row;

struct bench_wires;

typedef struct bench {
    const char *program;
    bench_options options;
    uint32_t threads;
    unsigned repeats;
    double seconds; /* least time of a repeat */
    uint64_t bytes; /* working set "from DRAM" */
    char simd[16];
    char python[2][256]; /* interpreters to try, "" = none */
    char work[256];      /* a folder of our own, made when first needed, "" before; removed at the end */
    bench_row *rows;
    unsigned n_rows;
    char missing[8][48]; /* peers that are not installed, each once */
    unsigned n_missing;
    bool has_gpu; /* section rates measured one */
    gpu_file gpu;
    struct bench_wires *wires; /* what section wires found (wire_table.h), NULL before it */
} bench;

/* ---- row.c ---- */

/* An empty row. The name is formatted. */
bench_row bench_row_start(const char *section, const char *unit, double scale, bool lower_is_better, const char *fmt,
                          ...) __attribute__((format(printf, 5, 6)));

/* zo2 (side 0) against side i, as a speed: above 1, zo2 is faster. */
double bench_ratio(const bench_row *row, unsigned i);

bench_stat bench_stat_of(const double *samples, unsigned n);

/* ---- compare.c ---- */

/* Runs the sides in turn, closes them, prints the row and keeps it. False: a side failed or Ctrl-C came. */
bool bench_compare(bench *b, bench_row *row);

/* Keeps and prints a row whose sides' stat is filled in already, and closes its sides. */
bool bench_keep(bench *b, bench_row *row);

/* ---- sides.c ---- */

/* The next side of a row, without a function to run yet. The name is formatted. */
bench_side *bench_add_side(bench_row *row, const char *key, const char *name);

/* A side made by zo2_measure_open(). items: 0 = as the measurement counts them. info may be NULL. False: refused, with
 * a message. */
bool bench_add_measure(bench *b, bench_row *row, const char *key, const char *name, bool limit,
                       const zo2_measure_spec *spec, double items, zo2_measure_info *info);

/* ---- blas.c ---- */

/* A matrix product y = x W^T for two streams by OpenBLAS alone, on whole matrices with all threads. False:
 * refused, with a message. */
bool bench_add_blas(bench *b, bench_row *row, uint64_t rows, uint64_t cols, uint64_t tokens);

/* ---- choices.c: what is left to be measured ---- */

bool bench_wants_dist(const bench *b, zo2_dist dist); /* --dist */
bool bench_wants_wire(const bench *b, zo2_wire wire); /* --wire, --all */
bool bench_has_simd(const char *name);
const char *bench_model(const bench *b);            /* --model */
uint64_t bench_rows(const bench *b, uint64_t cols); /* of a matrix of --bytes of fp32 */
/* --backend, or what auto is here. False: it can't be had, with a message. */
bool bench_find_backend(bench *b, const char *section, zo2_backend_kind *backend);
zo2_dtype bench_compute(zo2_backend_kind backend); /* the type in which it is measured: fp32 on a CPU, else fp16 */

/* ---- report.c ---- */

void bench_print_machine(const bench *b);
void bench_print_section(const bench *b, const char *section, const char *title);
void bench_print_row(const bench *b, const bench_row *row);
void bench_print_missing(const bench *b);
void bench_print_json(const bench *b);

/* ---- work.c: folders ---- */

/* A fresh one in parent, its path in path[size]; false with a message that names the flag (or variable) which says where. */
bool bench_make_folder(const bench *b, const char *parent, const char *flag, char *path, size_t size);
void bench_remove_folder(const bench *b, const char *path); /* with all that is in it; "": nothing to do */

bool bench_work_folder(bench *b); /* makes b->work; false with a message */
void bench_work_remove(bench *b);

/* ---- sections: false after a failure ---- */

bool bench_noise(bench *b);
bool bench_codec(bench *b);
bool bench_update(bench *b);
bool bench_gemm(bench *b);
bool bench_attention(bench *b);
bool bench_panels(bench *b);
bool bench_link(bench *b);
bool bench_step(bench *b);
bool bench_tune(bench *b);
bool bench_storage(bench *b);
bool bench_convert(bench *b);
bool bench_rates(bench *b);
bool bench_wires_section(bench *b);

#endif
