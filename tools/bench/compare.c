/* compare.c: the sides of a row measured in turn (ours, peer, ours, peer, ...), so that a machine that slows down slows
 * all of them. */
#include <math.h>
#include <stdlib.h>
#include <time.h>

#include "tools/bench/bench.h"
#include "tools/cli/interrupt.h"
#include "tools/cli/report.h"

/* OpenBLAS and OpenMP threads spin for a while after a call (OpenBLAS 0.3.21: 2^28 ticks, 0.1 s): nobody is measured beside
 * them. Other processes get SETTLE_SECONDS; ours is watched until it is at rest, at most REST_SECONDS. */
#define SETTLE_SECONDS 0.03
#define LOOK_SECONDS   0.005
#define REST_SECONDS   1.0

static void pause_for(double seconds)
{
    nanosleep(&(struct timespec){0, (long)(seconds * 1e9)}, NULL);
}

/* CPU time of all threads of this process. */
static double cpu_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void settle(const bench *b)
{
    pause_for(fmin(SETTLE_SECONDS, b->seconds)); /* no longer than what is measured */
    double used = 1;
    for (double waited = 0; used > 0.1 * LOOK_SECONDS && waited < REST_SECONDS; waited += LOOK_SECONDS) {
        double before = cpu_seconds();
        pause_for(LOOK_SECONDS);
        used = cpu_seconds() - before;
    }
}

/* Warms a side up and finds how many passes fill a repeat. */
static bool calibrate(const bench *b, bench_side *side)
{
    double seconds;
    settle(b);
    if (!side->run(side->ud, 1, &seconds))
        return false;
    side->passes = 1;
    if (seconds < b->seconds && seconds > 0) { /* the first pass was cold: ask a warm one */
        if (!side->run(side->ud, 1, &seconds))
            return false;
        side->passes = (uint64_t)fmin(ceil(b->seconds / fmax(seconds, 1e-7)), 1e7);
    }
    return true;
}

bool bench_compare(bench *b, bench_row *row)
{
    bool ok = row->n > 0;
    for (unsigned i = 0; i < row->n && ok; i++)
        ok = !cli_interrupted() && calibrate(b, &row->sides[i]);
    for (unsigned r = 0; r < b->repeats && ok; r++)
        for (unsigned i = 0; i < row->n && ok; i++) {
            bench_side *side = &row->sides[i];
            settle(b);
            ok = !cli_interrupted() && side->run(side->ud, side->passes, &side->seconds[r]);
        }
    for (unsigned i = 0; i < row->n && ok; i++) {
        bench_side *side = &row->sides[i];
        double figures[BENCH_MAX_REPEATS];
        for (unsigned r = 0; r < b->repeats; r++)
            figures[r] = row->lower_is_better ? row->scale * side->seconds[r] / side->items
                                              : row->scale * side->items / side->seconds[r];
        side->stat = bench_stat_of(figures, b->repeats);
    }
    return bench_keep(b, row) && ok;
}

bool bench_keep(bench *b, bench_row *row)
{
    bool whole = row->n > 0 && row->sides[0].stat.median > 0;
    for (unsigned i = 0; i < row->n; i++) {
        if (row->sides[i].close)
            row->sides[i].close(row->sides[i].ud);
        row->sides[i].ud = NULL;
    }
    if (!whole)
        return false;
    bench_row *rows = realloc(b->rows, (b->n_rows + 1) * sizeof *rows);
    if (!rows) {
        cli_error(b->program, "out of memory");
        return false;
    }
    b->rows = rows;
    rows[b->n_rows++] = *row;
    if (!b->options.json.given)
        bench_print_row(b, row);
    return true;
}
