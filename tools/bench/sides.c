/* sides.c: sides of rows, and those that are measurements of the library. blas.c and peer.c have others. */
#include <stdio.h>
#include <string.h>

#include "tools/bench/bench.h"
#include "tools/cli/report.h"

bench_side *bench_add_side(bench_row *row, const char *key, const char *name)
{
    bench_side *side = &row->sides[row->n++];
    memset(side, 0, sizeof *side);
    side->key = key;
    snprintf(side->name, sizeof side->name, "%s", name);
    return side;
}

/* ---- zo2_measure ---- */

static bool measure_run(void *ud, uint64_t passes, double *seconds)
{
    zo2_status s = zo2_measure_run(ud, passes, seconds);
    if (s)
        cli_fail("zo2-bench", NULL, s);
    return !s;
}

static void measure_close(void *ud)
{
    zo2_measure_close(ud);
}

bool bench_add_measure(bench *b, bench_row *row, const char *key, const char *name, bool limit,
                       const zo2_measure_spec *spec, double items, zo2_measure_info *info)
{
    zo2_measure_info here;
    zo2_measure *m;
    zo2_status s = zo2_measure_open(&m, spec, &here);
    if (s) {
        cli_fail(b->program, row->name, s);
        return false;
    }
    bench_side *side = bench_add_side(row, key, name);
    side->limit = limit;
    side->items = items > 0 ? items : here.items;
    side->run = measure_run;
    side->close = measure_close;
    side->ud = m;
    if (info)
        *info = here;
    return true;
}
