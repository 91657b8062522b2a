/* choices.c: what the command line and the machine leave to be measured. */
#include <string.h>

#include "tools/bench/bench.h"
#include "tools/cli/report.h"

bool bench_wants_dist(const bench *b, zo2_dist dist)
{
    return !b->options.dist.given || strcmp(b->options.dist.text, zo2_dist_name(dist)) == 0;
}

/* Without a word one wire of each family: the others differ in details of their codes. */
bool bench_wants_wire(const bench *b, zo2_wire wire)
{
    if (b->options.wire.given)
        return strcmp(b->options.wire.text, zo2_wire_name(wire)) == 0;
    return b->options.all.given || wire == ZO2_WIRE_BF16 || wire == ZO2_WIRE_E4M3;
}

bool bench_has_simd(const char *name)
{
    zo2_measure *m;
    zo2_measure_spec spec;
    zo2_measure_spec_init(&spec);
    spec.kind = ZO2_MEASURE_NOISE;
    spec.threads = 1;
    spec.simd = name;
    bool has = zo2_measure_open(&m, &spec, NULL) == ZO2_OK;
    zo2_measure_close(m);
    return has;
}

const char *bench_model(const bench *b)
{
    return b->options.model.given ? b->options.model.text : "opt-125m";
}

uint64_t bench_rows(const bench *b, uint64_t cols)
{
    uint64_t rows = b->bytes / 4 / cols;
    return rows ? rows : 1;
}

bool bench_find_backend(bench *b, const char *section, zo2_backend_kind *backend)
{
    zo2_measure *m;
    zo2_measure_info info;
    zo2_measure_spec spec;
    zo2_measure_spec_init(&spec);
    spec.kind = ZO2_MEASURE_DEVICE_COPY;
    spec.threads = 1;
    spec.bytes = 4096;
    spec.backend =
        b->options.backend.given ? (zo2_backend_kind)zo2_backend_parse(b->options.backend.text) : ZO2_BACKEND_AUTO;
    zo2_status s = zo2_measure_open(&m, &spec, &info);
    zo2_measure_close(m);
    if (s)
        cli_fail(b->program, section, s);
    else
        *backend = info.backend;
    return !s;
}

zo2_dtype bench_compute(zo2_backend_kind backend)
{
    return backend == ZO2_BACKEND_CPU ? ZO2_F32 : ZO2_F16;
}
