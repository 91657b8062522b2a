/* section_rates.c: the rates that zo2-plan predicts steps from, measured as it does, for one row of a model's. Those of a GPU are kept:
 * --json has them as an object that zo2-plan --gpu reads where there is none. */
#include <stdio.h>

#include "tools/bench/bench.h"
#include "tools/bench/products.h"
#include "tools/cli/gpu_file.h"
#include "tools/cli/report.h"

#define RATES 6 /* that are measured, each for the time of the others' repeats */

static zo2_engine_opts options_of(const bench *b, const bench_products *p, zo2_backend_kind backend)
{
    const bench_options *given = &b->options;
    zo2_engine_opts o;
    zo2_engine_opts_init(&o);
    o.backend = backend;
    o.compute = bench_compute(backend);
    o.threads = given->threads.given ? b->threads : 0;
    o.wire = given->wire.given ? zo2_wire_parse(given->wire.text) : ZO2_WIRE_BF16;
    o.dist = given->dist.given ? zo2_dist_parse(given->dist.text) : ZO2_GAUSSIAN;
    o.max_rows = 1;
    o.max_seq = (uint32_t)p->tokens;
    o.probe_seconds = b->seconds * b->repeats * RATES;
    if (!(o.probe_seconds > 0))
        o.probe_seconds = 1e-9; /* once each */
    return o;
}

static bool keep(bench *b, const char *name, const char *unit, double scale, double rate)
{
    bench_row row = bench_row_start("rates", unit, scale, false, "%s", name);
    bench_side *side = bench_add_side(&row, "zo2", "zo2");
    side->stat = (bench_stat){scale * rate, scale * rate, scale * rate};
    return rate > 0 ? bench_keep(b, &row) : true; /* a fold can be too fast to be told apart */
}

static bool keep_all(bench *b, const zo2_plan *p)
{
    return keep(b, "upload", "GB/s", 1e-9, p->upload_rate) && keep(b, "products", "GFLOP/s", 1e-9, p->gemm_rate) &&
           keep(b, "decode to two panels", "G weights/s", 1e-9, p->decode_rate) &&
           keep(b, "fold one update", "G weights/s", 1e-9, p->fold_rate) &&
           keep(b, "update on the host", "G weights/s", 1e-9, p->update_rate) &&
           keep(b, "noise on the host", "G weights/s", 1e-9, p->noise_rate);
}

bool bench_rates(bench *b)
{
    bench_products p;
    zo2_backend_kind backend;
    zo2_plan plan = {.parameters = 0};
    char title[160];
    if (!bench_find_backend(b, "rates", &backend) || !bench_products_open(b, &p))
        return false;
    zo2_engine_opts o = options_of(b, &p, backend);
    bench_products_close(&p);
    snprintf(title, sizeof title, "what zo2-plan counts with, %s wire, %s, %s, %s backend", zo2_wire_name(o.wire),
             zo2_dist_name(o.dist), zo2_dtype_name(o.compute), zo2_backend_name(backend));
    bench_print_section(b, "rates", title);
    zo2_status s = zo2_plan_estimate(bench_model(b), &o, &plan);
    if (s && (s != ZO2_ERR_NOMEM || !(plan.gemm_rate > 0))) { /* rates are known, whether it fits or not */
        cli_fail(b->program, "rates", s);
        return false;
    }
    b->has_gpu = gpu_file_of_plan(&b->gpu, &plan, &o, gpu_file_memory(&plan));
    return keep_all(b, &plan);
}
