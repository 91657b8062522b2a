/* section_codec.c: encoding and decoding of every wire, against copies and reads of the same bytes, and zstd. */
#include "tools/bench/bench.h"
#include "tools/bench/zstd.h"

#define COLS       1024u
#define CACHE_ROWS 64u /* 256 KiB of fp32 and as much in planes: a core's second-level cache */

typedef struct operation {
    zo2_measure_kind kind;
    const char *name;
} operation;

static bool one(bench *b, bench_zstd *zstd, zo2_wire wire, const operation *op, bool cached, uint32_t threads)
{
    bench_row row = bench_row_start("codec", "G weights/s", 1e-9, false, "%s %s, %s, %u thread%s", op->name,
                                    zo2_wire_name(wire), cached ? "L2" : "DRAM", threads, threads == 1 ? "" : "s");
    zo2_measure_info info;
    zo2_measure_spec spec;
    zo2_measure_spec_init(&spec);
    spec.kind = op->kind;
    spec.threads = threads;
    spec.wire = wire;
    spec.cols = COLS;
    spec.rows = cached ? CACHE_ROWS : bench_rows(b, COLS);
    bool ok = bench_add_measure(b, &row, "zo2", "zo2", false, &spec, 0, &info);
    if (ok) {
        double weights = row.sides[0].items;
        row.bytes_per_item = (double)(info.bytes_read + info.bytes_written) / weights;
        spec.kind = ZO2_MEASURE_COPY;
        spec.bytes = (info.bytes_read + info.bytes_written) / 2;
        ok = bench_add_measure(b, &row, "memcpy", "memcpy of as many bytes", true, &spec, weights, NULL);
        spec.kind = ZO2_MEASURE_SCAN;
        spec.bytes = info.bytes_read;
        ok = ok && bench_add_measure(b, &row, "scan", "read scan of its input", true, &spec, weights, NULL);
        if (!cached && threads == 1 && op->kind != ZO2_MEASURE_JOIN)
            ok = ok && bench_zstd_add(zstd, &row, op->kind == ZO2_MEASURE_DECODE);
    }
    return bench_compare(b, &row) && ok;
}

bool bench_codec(bench *b)
{
    static const operation operations[] = {
        {ZO2_MEASURE_SPLIT, "encode"}, {ZO2_MEASURE_JOIN, "join"}, {ZO2_MEASURE_DECODE, "decode"}};
    bench_zstd zstd;
    bool ok = bench_zstd_start(b, &zstd);
    bench_print_section(b, "codec",
                        "fp32 weights to a master's planes (encode) and back (join), wires to fp32 (decode)");
    for (int w = 1; zo2_wire_name((zo2_wire)w) && ok; w++) {
        zo2_wire wire = (zo2_wire)w;
        if (!bench_wants_wire(b, wire))
            continue;
        for (unsigned i = 0; i < sizeof operations / sizeof *operations && ok; i++)
            ok = one(b, &zstd, wire, &operations[i], true, 1) && one(b, &zstd, wire, &operations[i], false, 1) &&
                 (b->threads == 1 || one(b, &zstd, wire, &operations[i], false, b->threads));
    }
    return ok;
}
