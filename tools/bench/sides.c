/* sides.c: what a row compares in this process: measurements of the library, and OpenBLAS. peer.c has the others. */
#include <cblas.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/bench/bench.h"
#include "tools/cli/progress.h"
#include "tools/cli/report.h"

bench_side *bench_add_side(bench_row *row, const char *key, const char *name)
{
    bench_side *side = &row->sides[row->n++];
    memset(side, 0, sizeof *side);
    side->key = key;
    snprintf(side->name, sizeof side->name, "%s", name);
    return side;
}

/* ---- zo2_measure ---- */

static bool measure_run(void *ud, uint64_t passes, double *seconds)
{
    zo2_status s = zo2_measure_run(ud, passes, seconds);
    if (s)
        cli_fail("zo2-bench", NULL, s);
    return !s;
}

static void measure_close(void *ud)
{
    zo2_measure_close(ud);
}

bool bench_add_measure(bench *b, bench_row *row, const char *key, const char *name, bool limit,
                       const zo2_measure_spec *spec, double items, zo2_measure_info *info)
{
    zo2_measure_info here;
    zo2_measure *m;
    zo2_status s = zo2_measure_open(&m, spec, &here);
    if (s) {
        cli_fail(b->program, row->name, s);
        return false;
    }
    bench_side *side = bench_add_side(row, key, name);
    side->limit = limit;
    side->items = items > 0 ? items : here.items;
    side->run = measure_run;
    side->close = measure_close;
    side->ud = m;
    if (info)
        *info = here;
    return true;
}

/* ---- OpenBLAS ---- */

typedef struct product {
    int tokens, rows, cols, threads;
    float *x, *w, *y; /* [2][tokens][cols], [2][rows][cols], [2][tokens][rows] */
} product;

static bool product_run(void *ud, uint64_t passes, double *seconds)
{
    const product *p = ud;
    size_t x = (size_t)p->tokens * p->cols, w = (size_t)p->rows * p->cols, y = (size_t)p->tokens * p->rows;
    openblas_set_num_threads(p->threads);
    double from = cli_clock();
    for (uint64_t i = 0; i < passes; i++)
        for (int stream = 0; stream < 2; stream++)
            cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, p->tokens, p->rows, p->cols, 1, p->x + stream * x,
                        p->cols, p->w + stream * w, p->cols, 0, p->y + stream * y, p->rows);
    *seconds = (cli_clock() - from) / (double)passes;
    return true;
}

static void product_close(void *ud)
{
    product *p = ud;
    free(p->x);
    free(p->w);
    free(p->y);
    free(p);
}

bool bench_add_blas(bench *b, bench_row *row, uint64_t rows, uint64_t cols, uint64_t tokens)
{
    product *p = calloc(1, sizeof *p);
    if (p && rows < INT32_MAX && cols < INT32_MAX && tokens < INT32_MAX) {
        *p = (product){.tokens = (int)tokens, .rows = (int)rows, .cols = (int)cols, .threads = (int)b->threads};
        p->x = malloc(2 * tokens * cols * sizeof *p->x);
        p->w = malloc(2 * rows * cols * sizeof *p->w);
        p->y = calloc(2 * tokens * rows, sizeof *p->y);
    }
    if (!p || !p->x || !p->w || !p->y || zo2_noise_fill(p->x, 1, 0, 0, 0, 0, 2 * tokens * cols, ZO2_GAUSSIAN) ||
        zo2_noise_fill(p->w, 1, 0, 0, 1, 0, 2 * rows * cols, ZO2_GAUSSIAN)) {
        cli_error(b->program, "no memory for a product of %llu x %llu", (unsigned long long)rows,
                  (unsigned long long)cols);
        if (p)
            product_close(p);
        return false;
    }
    bench_side *side = bench_add_side(row, "openblas", "OpenBLAS alone");
    side->items = 4.0 * (double)tokens * (double)rows * (double)cols;
    side->run = product_run;
    side->close = product_close;
    side->ud = p;
    return true;
}
