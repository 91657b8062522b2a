/* section_panels.c: wires that are on the device, decoded into the two panels of a query, against a copy on the device of
 * as many bytes: the wire read and both panels written. */
#include <stdio.h>

#include "tools/bench/bench.h"

#define COLS    4096u
#define PENDING 8u /* updates that a delayed wire lacks */

static bool one(bench *b, zo2_backend_kind backend, zo2_wire wire, zo2_dist dist, uint32_t pending)
{
    char folded[24] = "";
    if (pending)
        snprintf(folded, sizeof folded, ", %u folded", pending);
    bench_row row = bench_row_start("panels", "G weights/s", 1e-9, false, "%s, %s%s", zo2_wire_name(wire),
                                    zo2_dist_name(dist), folded);
    zo2_measure_info info;
    zo2_measure_spec spec;
    zo2_measure_spec_init(&spec);
    spec.kind = ZO2_MEASURE_PANELS;
    spec.backend = backend;
    spec.compute = bench_compute(backend);
    spec.threads = b->threads;
    spec.wire = wire;
    spec.dist = dist;
    spec.pending = pending;
    spec.cols = COLS;
    spec.rows = bench_rows(b, COLS);
    bool ok = bench_add_measure(b, &row, "zo2", "zo2", false, &spec, 0, &info);
    if (ok) {
        double weights = row.sides[0].items;
        uint64_t bytes = info.bytes_read + 2 * spec.rows * spec.cols * (spec.compute == ZO2_F32 ? 4 : 2);
        row.bytes_per_item = (double)bytes / weights;
        /* A CPU's memory is copied at its full speed by all threads. */
        spec.kind = backend == ZO2_BACKEND_CPU ? ZO2_MEASURE_COPY : ZO2_MEASURE_DEVICE_COPY;
        spec.bytes = bytes / 2; /* read, and as many written */
        ok = bench_add_measure(b, &row, "copy", "a copy there of as many bytes", true, &spec, weights, NULL);
    }
    return bench_compare(b, &row) && ok;
}

bool bench_panels(bench *b)
{
    char title[128];
    zo2_backend_kind backend;
    if (!bench_find_backend(b, "panels", &backend))
        return false;
    snprintf(title, sizeof title, "wires on the device to W + eps z and W - eps z, %s, %s backend",
             zo2_dtype_name(bench_compute(backend)), zo2_backend_name(backend));
    bench_print_section(b, "panels", title);
    bool ok = true;
    for (int w = 1; zo2_wire_name((zo2_wire)w) && ok; w++)
        for (int d = 1; zo2_dist_name((zo2_dist)d) && ok; d++)
            if (bench_wants_wire(b, (zo2_wire)w) && bench_wants_dist(b, (zo2_dist)d))
                ok = one(b, backend, (zo2_wire)w, (zo2_dist)d, 0) && one(b, backend, (zo2_wire)w, (zo2_dist)d, PENDING);
    return ok;
}
