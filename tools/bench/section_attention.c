/* section_attention.c: a layer's attention of one row, against one product of as many operations: what a device could do if
 * nothing but its products took time. */
#include <stdio.h>

#include "tools/bench/bench.h"
#include "tools/bench/products.h"

bool bench_attention(bench *b)
{
    bench_products p;
    char title[128];
    zo2_backend_kind backend;
    if (!bench_find_backend(b, "attention", &backend) || !bench_products_open(b, &p))
        return false;
    snprintf(title, sizeof title, "attention of a layer, two streams, %s, %s backend",
             zo2_dtype_name(bench_compute(backend)), zo2_backend_name(backend));
    bench_print_section(b, "attention", title);
    bench_row row = bench_row_start("attention", "GFLOP/s", 1e-9, false, "%u heads of %u, %llu tokens", p.info.heads,
                                    p.info.head_dim, (unsigned long long)p.used);
    bench_product product = {.rows = p.used + 1,
                             .cols = (uint64_t)p.info.heads * p.info.head_dim}; /* as many operations */
    p.backend = backend;
    zo2_measure_spec attention = bench_product_spec(b, &p, &product, ZO2_MEASURE_ATTENTION);
    zo2_measure_spec whole = bench_product_spec(b, &p, &product, ZO2_MEASURE_GEMM_WHOLE);
    attention.heads = p.info.heads;
    bool ok = bench_add_measure(b, &row, "zo2", "zo2", false, &attention, 0, NULL) &&
              bench_add_measure(b, &row, "product", "a product of as many operations", true, &whole, 0, NULL);
    ok = bench_compare(b, &row) && ok;
    bench_products_close(&p);
    return ok;
}
