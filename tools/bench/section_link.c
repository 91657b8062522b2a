/* section_link.c: the way from masters to a backend's device and back, against one big copy of as many bytes. */
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/bench/bench.h"
#include "tools/cli/progress.h"
#include "tools/cli/report.h"

#define COLS   1024u
#define SMALL  (256u << 10) /* the smallest chunk that a plan takes */
#define TOKENS 2048u        /* of the streams that come down: a sequence of OPT */

typedef struct link {
    zo2_measure_spec spec; /* of an upload */
    zo2_backend_kind backend;
    const char *pinned; /* "", or what is to be said of it */
} link;

static bool add(bench *b, bench_row *row, const char *key, const char *name, bool limit, zo2_measure_spec spec,
                zo2_measure_kind kind)
{
    spec.kind = kind;
    return bench_add_measure(b, row, key, name, limit, &spec, 0, NULL);
}

/* Of the cpu backend a transfer is a memcpy() by the lane's thread. */
static bool add_memcpy(bench *b, bench_row *row, const link *l, uint64_t bytes, double items)
{
    zo2_measure_spec spec;
    zo2_measure_spec_init(&spec);
    spec.kind = ZO2_MEASURE_COPY;
    spec.threads = 1;
    spec.bytes = bytes;
    return l->backend != ZO2_BACKEND_CPU ||
           bench_add_measure(b, row, "memcpy", "memcpy of as many bytes", true, &spec, items, NULL);
}

static bool upload(bench *b, const link *l, zo2_measure_kind kind, uint64_t chunk_bytes)
{
    bench_row row = bench_row_start("link", "GB/s", 1e-9, false, "upload%s, chunks of %u KiB%s",
                                    kind == ZO2_MEASURE_BOUNCED ? " through a buffer" : "",
                                    (unsigned)(chunk_bytes >> 10), l->pinned);
    zo2_measure_spec spec = l->spec;
    spec.chunk_bytes = chunk_bytes;
    bool ok = add(b, &row, "zo2", "zo2", false, spec, kind) &&
              add(b, &row, "whole", "one transfer of as many bytes", true, l->spec, ZO2_MEASURE_WHOLE);
    if (ok) {
        double bytes = row.sides[1].items;
        ok = add_memcpy(b, &row, l, (uint64_t)bytes, bytes);
    }
    return bench_compare(b, &row) && ok;
}

static bool download(bench *b, const link *l)
{
    bench_row row = bench_row_start("link", "GB/s", 1e-9, false, "download of residual streams%s", l->pinned);
    zo2_measure_spec spec = l->spec;
    spec.tokens = b->options.tokens.given ? b->options.tokens.u : TOKENS;
    bool ok = add(b, &row, "zo2", "zo2", false, spec, ZO2_MEASURE_DOWNLOAD);
    if (ok) {
        double bytes = row.sides[0].items;
        spec.wire = ZO2_WIRE_FP32; /* as many bytes */
        spec.rows = 2 * spec.tokens;
        ok = add(b, &row, "whole", "as many bytes up", true, spec, ZO2_MEASURE_WHOLE) &&
             add_memcpy(b, &row, l, (uint64_t)bytes, bytes);
    }
    return bench_compare(b, &row) && ok;
}

static bool latency(bench *b, const link *l)
{
    bench_row row = bench_row_start("link", "us", 1e6, true, "4 KiB up, waited for%s", l->pinned);
    zo2_measure_spec spec;
    zo2_measure_spec_init(&spec);
    spec.threads = 1;
    spec.bytes = 4096;
    bool ok = add(b, &row, "zo2", "zo2", false, l->spec, ZO2_MEASURE_LATENCY);
    spec.kind = ZO2_MEASURE_COPY;
    ok = ok && bench_add_measure(b, &row, "memcpy", "memcpy of as many bytes", true, &spec, 1, NULL);
    return bench_compare(b, &row) && ok;
}

/* ---- uploads beside products: two lanes at once ---- */

typedef struct pair {
    zo2_measure *lane[2]; /* upload, products */
} pair;

typedef struct job {
    zo2_measure *m;
    uint64_t passes;
    double seconds;
    zo2_status status;
    char error[256];
} job;

static void *run_job(void *arg)
{
    job *j = arg;
    j->status = zo2_measure_run(j->m, j->passes, &j->seconds);
    if (j->status)
        snprintf(j->error, sizeof j->error, "%s", zo2_last_error());
    return NULL;
}

/* Seconds from the start of both until the later one's end. */
static bool pair_run(void *ud, uint64_t passes, double *seconds)
{
    const pair *p = ud;
    job other = {.m = p->lane[0], .passes = passes}, own = {.m = p->lane[1], .passes = passes};
    pthread_t thread;
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, (size_t)1 << 20); /* whatever `ulimit -s` says */
    double from = cli_clock();
    int failed = pthread_create(&thread, &attr, run_job, &other);
    pthread_attr_destroy(&attr);
    if (failed) {
        cli_error("zo2-bench", "cannot start a thread");
        return false;
    }
    run_job(&own);
    pthread_join(thread, NULL);
    *seconds = (cli_clock() - from) / (double)passes;
    const job *bad = other.status ? &other : &own;
    if (bad->status)
        cli_error("zo2-bench", "uploads beside products: %s: %s", zo2_strerror(bad->status), bad->error);
    return !bad->status;
}

static void pair_close(void *ud)
{
    pair *p = ud;
    for (int i = 0; i < 2; i++)
        zo2_measure_close(p->lane[i]);
    free(p);
}

/* Seconds of a warm pass; negative after an error. */
static double pass_of(const zo2_measure_spec *spec)
{
    zo2_measure *m;
    double seconds = -1;
    zo2_status s = zo2_measure_open(&m, spec, NULL);
    for (int i = 0; i < 2 && !s; i++)
        s = zo2_measure_run(m, 1, &seconds);
    if (s)
        cli_fail("zo2-bench", "uploads beside products", s);
    zo2_measure_close(m);
    return s ? -1 : seconds;
}

/* Tokens for which the products of the matrix take about as long as its upload. */
static uint64_t balanced_tokens(const zo2_measure_spec *up, zo2_measure_spec products)
{
    products.tokens = 64;
    double of_upload = pass_of(up), of_products = of_upload < 0 ? -1 : pass_of(&products);
    if (of_products < 0)
        return 0;
    double tokens = 64 * of_upload / fmax(of_products, 1e-9);
    return (uint64_t)fmin(fmax(tokens, 1), 8192);
}

static bool beside(bench *b, const link *l)
{
    zo2_measure_spec up = l->spec, products = l->spec;
    up.kind = ZO2_MEASURE_UPLOAD;
    products.kind = ZO2_MEASURE_GEMM;
    products.compute = bench_compute(l->backend);
    products.tokens = balanced_tokens(&up, products);
    pair *p = products.tokens ? calloc(1, sizeof *p) : NULL;
    if (!p)
        return false;
    bench_row row = bench_row_start("link", "ms", 1e3, true, "upload beside products, %u token%s",
                                    (unsigned)products.tokens, products.tokens == 1 ? "" : "s");
    zo2_status s = zo2_measure_open(&p->lane[0], &up, NULL);
    if (!s)
        s = zo2_measure_open(&p->lane[1], &products, NULL);
    if (s) {
        cli_fail(b->program, row.name, s);
        pair_close(p);
        return false;
    }
    bench_side *side = bench_add_side(&row, "zo2", "zo2");
    side->items = 1;
    side->run = pair_run;
    side->close = pair_close;
    side->ud = p;
    bool ok = bench_add_measure(b, &row, "upload", "the upload alone", true, &up, 1, NULL) &&
              bench_add_measure(b, &row, "products", "the products alone", true, &products, 1, NULL);
    return bench_compare(b, &row) && ok;
}

/* Finds out what backend auto is, and whether it could pin. */
static bool start(bench *b, link *l)
{
    zo2_measure *m;
    zo2_measure_info info;
    memset(l, 0, sizeof *l);
    zo2_measure_spec_init(&l->spec);
    l->spec.threads = b->threads;
    l->spec.wire = b->options.wire.given ? zo2_wire_parse(b->options.wire.text) : ZO2_WIRE_BF16;
    l->spec.backend =
        b->options.backend.given ? (zo2_backend_kind)zo2_backend_parse(b->options.backend.text) : ZO2_BACKEND_AUTO;
    l->spec.cols = COLS;
    l->spec.rows = bench_rows(b, COLS);
    zo2_measure_spec spec = l->spec;
    spec.kind = ZO2_MEASURE_WHOLE;
    zo2_status s = zo2_measure_open(&m, &spec, &info);
    zo2_measure_close(m);
    if (s) {
        cli_fail(b->program, "link", s);
        return false;
    }
    l->backend = info.backend;
    l->pinned = info.pinned ? "" : ", not pinned";
    return true;
}

bool bench_link(bench *b)
{
    char title[128];
    link l;
    if (!start(b, &l))
        return false;
    snprintf(title, sizeof title, "masters' %s wires to the device of the %s backend%s", zo2_wire_name(l.spec.wire),
             zo2_backend_name(l.backend),
             l.backend == ZO2_BACKEND_CPU ? ": memory, and its ring may stay in cache" : "");
    bench_print_section(b, "link", title);
    return upload(b, &l, ZO2_MEASURE_UPLOAD, 4u << 20) && upload(b, &l, ZO2_MEASURE_UPLOAD, SMALL) &&
           upload(b, &l, ZO2_MEASURE_BOUNCED, 4u << 20) && download(b, &l) && latency(b, &l) && beside(b, &l);
}
