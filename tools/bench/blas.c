/* blas.c: OpenBLAS alone as a side of a row: what one would multiply with instead. Loaded when a row has it, like the library
 * does: it starts threads at once, and tries for ever to map a buffer for each where there is no room for them. */
#include <cblas.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tools/bench/bench.h"
#include "tools/cli/progress.h"
#include "tools/cli/report.h"

/* Of the address space, for a thread: 128 MiB of OpenBLAS, 64 MiB of the C library, a stack. */
#define THREAD_BYTES ((size_t)208 << 20)

typedef struct openblas {
    __typeof__(cblas_sgemm) *sgemm;
    __typeof__(openblas_set_num_threads) *set_num_threads;
} openblas;

static bool has_room(const bench *b)
{
    long cpus = sysconf(_SC_NPROCESSORS_CONF);
    size_t threads = cpus > (long)b->threads ? (size_t)cpus : b->threads;
    void *room = mmap(NULL, threads * THREAD_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (room == MAP_FAILED) {
        cli_error(
            b->program,
            "the address space has no room for OpenBLAS on %zu threads, which this is compared with: raise the limit "
            "(ulimit -v)",
            threads);
        return false;
    }
    munmap(room, threads * THREAD_BYTES);
    return true;
}

/* NULL with a message. */
static const openblas *load(const bench *b)
{
    static openblas blas;
    if (blas.sgemm)
        return &blas;
    if (!has_room(b))
        return NULL;
    void *library =
        dlopen(ZO2_OPENBLAS_SONAME, RTLD_NOW | RTLD_NOLOAD); /* the library's, where it multiplied already */
    if (!library)
        library = dlopen(ZO2_OPENBLAS_FILE, RTLD_NOW);
    void *sgemm = library ? dlsym(library, "cblas_sgemm") : NULL;
    void *set_num_threads = library ? dlsym(library, "openblas_set_num_threads") : NULL;
    if (!sgemm || !set_num_threads) {
        cli_error(b->program, "OpenBLAS cannot be loaded: %s", dlerror());
        return NULL;
    }
    memcpy(&blas.set_num_threads, &set_num_threads, sizeof set_num_threads);
    memcpy(&blas.sgemm, &sgemm, sizeof sgemm);
    return &blas;
}

typedef struct product {
    const bench *bench;
    const openblas *blas;
    int tokens, rows, cols, threads;
    float *x, *w, *y; /* [2][tokens][cols], [2][rows][cols], [2][tokens][rows] */
} product;

/* Its threads start with the first pass. */
static bool product_run(void *ud, uint64_t passes, double *seconds)
{
    const product *p = ud;
    size_t x = (size_t)p->tokens * p->cols, w = (size_t)p->rows * p->cols, y = (size_t)p->tokens * p->rows;
    if (!has_room(p->bench)) /* what the row's sides took since is no longer there */
        return false;
    p->blas->set_num_threads(p->threads);
    double from = cli_clock();
    for (uint64_t i = 0; i < passes; i++)
        for (int stream = 0; stream < 2; stream++)
            p->blas->sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, p->tokens, p->rows, p->cols, 1, p->x + stream * x,
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
    const openblas *blas = load(b);
    product *p = blas ? calloc(1, sizeof *p) : NULL;
    if (!blas)
        return false;
    if (p && rows < INT32_MAX && cols < INT32_MAX && tokens < INT32_MAX) {
        *p = (product){.bench = b,
                       .blas = blas,
                       .tokens = (int)tokens,
                       .rows = (int)rows,
                       .cols = (int)cols,
                       .threads = (int)b->threads};
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
