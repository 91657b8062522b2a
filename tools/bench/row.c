/* row.c: a row of results and its statistics. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/bench/bench.h"

bench_row bench_row_start(const char *section, const char *unit, double scale, bool lower_is_better, const char *fmt,
                          ...)
{
    bench_row row = {.section = section, .unit = unit, .scale = scale, .lower_is_better = lower_is_better};
    va_list args;
    va_start(args, fmt);
    vsnprintf(row.name, sizeof row.name, fmt, args);
    va_end(args);
    return row;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

bench_stat bench_stat_of(const double *samples, unsigned n)
{
    double sorted[BENCH_MAX_REPEATS];
    memcpy(sorted, samples, n * sizeof *sorted);
    qsort(sorted, n, sizeof *sorted, by_size);
    return (bench_stat){(sorted[(n - 1) / 2] + sorted[n / 2]) / 2, sorted[0], sorted[n - 1]};
}

double bench_ratio(const bench_row *row, unsigned i)
{
    double ours = row->sides[0].stat.median, other = row->sides[i].stat.median;
    return row->lower_is_better ? other / ours : ours / other;
}
