/* section_gemm.c: the products of a step through a backend, tile by tile, against the same on whole matrices; of the cpu
 * backend against OpenBLAS alone, too. */
#include <stdio.h>
#include <string.h>

#include "tools/bench/bench.h"
#include "tools/bench/products.h"

#define WHOLE "whole matrices, same backend"

/* "model.decoder.layers.0.fc1.weight" -> "fc1.weight" */
static const char *short_name(const char *name)
{
    const char *end = strrchr(name, '.'), *at = end ? end : name;
    while (at > name && at[-1] != '.')
        at--;
    return at;
}

/* compute: of zo2's products; OpenBLAS has fp32 only. */
static bool one(bench *b, const bench_products *p, const bench_product *x, zo2_dtype compute)
{
    bench_row row =
        bench_row_start("gemm", "GFLOP/s", 1e-9, false, "%llu x %llu x %llu (%s)%s%s", (unsigned long long)p->used,
                        (unsigned long long)x->rows, (unsigned long long)x->cols, short_name(x->of),
                        compute == bench_compute(p->backend) ? "" : ", ",
                        compute == bench_compute(p->backend) ? "" : zo2_dtype_name(compute));
    zo2_measure_spec tiles = bench_product_spec(b, p, x, ZO2_MEASURE_GEMM);
    zo2_measure_spec whole = bench_product_spec(b, p, x, ZO2_MEASURE_GEMM_WHOLE);
    tiles.compute = whole.compute = compute;
    bool ok = bench_add_measure(b, &row, "zo2", "zo2", false, &tiles, 0, NULL) &&
              bench_add_measure(b, &row, "whole", WHOLE, true, &whole, 0, NULL) &&
              (p->backend != ZO2_BACKEND_CPU || bench_add_blas(b, &row, x->rows, x->cols, p->used));
    return bench_compare(b, &row) && ok;
}

/* Whether a bias comes with the product, or costs a pass over its result: of the smallest matrix, the output projection's. */
static bool biased(bench *b, const bench_products *p)
{
    const bench_product *x = p->list;
    for (unsigned i = 1; i < p->n; i++)
        if (p->list[i].rows * p->list[i].cols < x->rows * x->cols)
            x = &p->list[i];
    bench_row row =
        bench_row_start("gemm", "GFLOP/s", 1e-9, false, "%llu x %llu x %llu and a bias", (unsigned long long)p->used,
                        (unsigned long long)x->rows, (unsigned long long)x->cols);
    zo2_measure_spec with = bench_product_spec(b, p, x, ZO2_MEASURE_GEMM), without = with;
    with.bias = 1;
    bool ok = bench_add_measure(b, &row, "zo2", "zo2", false, &with, 0, NULL) &&
              bench_add_measure(b, &row, "plain", "the product alone", true, &without, 0, NULL);
    return bench_compare(b, &row) && ok;
}

bool bench_gemm(bench *b)
{
    bench_products p;
    char title[128];
    zo2_backend_kind backend;
    if (!bench_find_backend(b, "gemm", &backend) || !bench_products_open(b, &p))
        return false;
    p.backend = backend;
    snprintf(title, sizeof title,
             "the products of a step, tokens x rows x columns, two streams, %s unless named, %s backend",
             zo2_dtype_name(bench_compute(backend)), zo2_backend_name(backend));
    bench_print_section(b, "gemm", title);
    bool ok = true;
    for (unsigned i = 0; i < p.n && ok; i++)
        ok = one(b, &p, &p.list[i], bench_compute(backend)) &&
             (backend != ZO2_BACKEND_CPU || one(b, &p, &p.list[i], ZO2_BF16)); /* there oneDNN may do those */
    ok = ok && (!p.n || biased(b, &p));
    bench_row all = bench_row_start("gemm", "GFLOP/s", 1e-9, false, "all of a step");
    if (ok) {
        ok = bench_add_products(b, &all, &p, BENCH_BY_TILES, "zo2", "zo2", p.flops) &&
             bench_add_products(b, &all, &p, BENCH_BY_MATRICES, "whole", WHOLE, p.flops) &&
             (backend != ZO2_BACKEND_CPU ||
              bench_add_products(b, &all, &p, BENCH_BY_OPENBLAS, "openblas", "OpenBLAS alone", p.flops));
        if (all.n > 1)
            all.sides[1].limit = true;
        ok = bench_compare(b, &all) && ok;
    }
    bench_products_close(&p);
    return ok;
}
