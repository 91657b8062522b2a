/* section_update.c: a step's update of the masters, against memory's own speed and what MeZO does in NumPy or PyTorch. */
#include "tools/bench/arrays.h"
#include "tools/bench/bench.h"

#define COLS       1024u
#define PEER_LIMIT (16ull << 20) /* weights: a pass of NumPy takes long enough */

static bool one(bench *b, const bench_arrays *peers, zo2_wire wire, zo2_dist dist, uint32_t threads)
{
    bench_row row = bench_row_start("update", "G weights/s", 1e-9, false, "%s, %s, %u thread%s", zo2_wire_name(wire),
                                    zo2_dist_name(dist), threads, threads == 1 ? "" : "s");
    zo2_measure_info info;
    zo2_measure_spec spec;
    zo2_measure_spec_init(&spec);
    spec.kind = ZO2_MEASURE_UPDATE;
    spec.threads = threads;
    spec.wire = wire;
    spec.dist = dist;
    spec.cols = COLS;
    spec.rows = bench_rows(b, COLS);
    bool ok = bench_add_measure(b, &row, "zo2", "zo2", false, &spec, 0, &info);
    if (ok) {
        uint64_t weights = spec.rows * spec.cols;
        row.bytes_per_item = (double)(info.bytes_read + info.bytes_written) / (double)weights;
        spec.kind = ZO2_MEASURE_REWRITE;
        spec.bytes = (info.bytes_read + info.bytes_written) / 2;
        ok = bench_add_measure(b, &row, "rewrite", "read + write of the bytes", true, &spec, (double)weights, NULL) &&
             (!peers ||
              bench_arrays_add(peers, &row, "update", dist, threads, weights < PEER_LIMIT ? weights : PEER_LIMIT));
    }
    return bench_compare(b, &row) && ok;
}

bool bench_update(bench *b)
{
    bench_arrays arrays;
    const bench_arrays *peers = &arrays; /* beside the first wire only: they know no wires */
    bool ok = true;
    bench_print_section(b, "update",
                        "masters joined, updated with fresh noise and encoded again (peers: fp32 weights)");
    bench_arrays_start(b, &arrays);
    for (int w = 1; zo2_wire_name((zo2_wire)w) && ok; w++) {
        if (!bench_wants_wire(b, (zo2_wire)w))
            continue;
        for (int d = 1; zo2_dist_name((zo2_dist)d) && ok; d++)
            if (bench_wants_dist(b, (zo2_dist)d))
                ok = one(b, peers, (zo2_wire)w, (zo2_dist)d, 1) &&
                     (b->threads == 1 || one(b, peers, (zo2_wire)w, (zo2_dist)d, b->threads));
        peers = NULL;
    }
    bench_arrays_stop(&arrays);
    return ok;
}
