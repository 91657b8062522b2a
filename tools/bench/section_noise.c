/* section_noise.c: nanoseconds per noise value, for every instruction set. */
#include "tools/bench/arrays.h"
#include "tools/bench/bench.h"

#define VALUES 65536u /* of the peers' buffers, which stay in a core's second-level cache, as zo2's do */

static bool one(bench *b, bench_arrays *peers, zo2_dist dist, const char *simd, uint32_t threads)
{
    bench_row row = bench_row_start("noise", "ns/value", 1e9, true, "%s, %s, %u thread%s", zo2_dist_name(dist), simd,
                                    threads, threads == 1 ? "" : "s");
    zo2_measure_spec spec;
    zo2_measure_spec_init(&spec);
    spec.kind = ZO2_MEASURE_NOISE;
    spec.threads = threads;
    spec.simd = simd;
    spec.dist = dist;
    spec.cols = VALUES / 64;
    spec.rows = (uint64_t)64 * threads;
    bool ok = bench_add_measure(b, &row, "zo2", "zo2", false, &spec, 0, NULL);
    spec.kind = ZO2_MEASURE_FILL;
    spec.bytes = (uint64_t)VALUES * 4 * threads;
    ok = ok && bench_add_measure(b, &row, "memset", "memset, in cache", true, &spec, (double)spec.bytes / 4, NULL) &&
         bench_arrays_add(peers, &row, "noise", dist, threads, VALUES);
    return bench_compare(b, &row) && ok;
}

bool bench_noise(bench *b)
{
    static const char *const sets[] = {"avx512", "avx2", "scalar"};
    bench_arrays peers;
    bool ok = true;
    bench_print_section(b, "noise", "z from a seed, nanoseconds a value");
    bench_arrays_start(b, &peers);
    for (int d = ZO2_GAUSSIAN; zo2_dist_name((zo2_dist)d) && ok; d++) {
        if (!bench_wants_dist(b, (zo2_dist)d))
            continue;
        for (unsigned i = 0; i < sizeof sets / sizeof *sets && ok; i++)
            if (bench_has_simd(sets[i]))
                ok = one(b, &peers, (zo2_dist)d, sets[i], 1);
        if (ok && b->threads > 1)
            ok = one(b, &peers, (zo2_dist)d, b->simd, b->threads);
    }
    bench_arrays_stop(&peers);
    return ok;
}
