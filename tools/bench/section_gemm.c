/* section_gemm.c: the products of a step through the cpu backend, against OpenBLAS on whole matrices. */
#include <string.h>

#include "tools/bench/products.h"

/* "model.decoder.layers.0.fc1.weight" -> "fc1.weight" */
static const char *short_name(const char *name)
{
    const char *end = strrchr(name, '.'), *at = end ? end : name;
    while (at > name && at[-1] != '.')
        at--;
    return at;
}

static bool one(bench *b, const bench_products *p, const bench_product *x, zo2_dtype compute)
{
    bench_row row =
        bench_row_start("gemm", "GFLOP/s", 1e-9, false, "%llu x %llu x %llu (%s)%s", (unsigned long long)p->used,
                        (unsigned long long)x->rows, (unsigned long long)x->cols, short_name(x->of),
                        compute == ZO2_BF16 ? ", bf16" : "");
    zo2_measure_spec spec;
    zo2_measure_spec_init(&spec);
    spec.kind = ZO2_MEASURE_GEMM;
    spec.backend = ZO2_BACKEND_CPU;
    spec.threads = b->threads;
    spec.rows = x->rows;
    spec.cols = x->cols;
    spec.tokens = p->used;
    spec.compute = compute;
    bool ok = bench_add_measure(b, &row, "zo2", "zo2", false, &spec, 0, NULL) &&
              bench_add_blas(b, &row, x->rows, x->cols, p->used);
    return bench_compare(b, &row) && ok;
}

bool bench_gemm(bench *b)
{
    bench_products p;
    if (!bench_products_open(b, &p))
        return false;
    bench_print_section(b, "gemm",
                        "the products of a step, tokens x rows x columns, two streams, fp32 and bf16 (OpenBLAS: fp32)");
    bool ok = true;
    for (unsigned i = 0; i < p.n && ok; i++)
        ok = one(b, &p, &p.list[i], ZO2_F32) && one(b, &p, &p.list[i], ZO2_BF16);
    bench_row all = bench_row_start("gemm", "GFLOP/s", 1e-9, false, "all of a step");
    if (ok)
        ok = bench_add_products(b, &all, &p, false, "zo2", "zo2", p.flops) &&
             bench_add_products(b, &all, &p, true, "openblas", "OpenBLAS alone", p.flops) && bench_compare(b, &all);
    bench_products_close(&p);
    return ok;
}
