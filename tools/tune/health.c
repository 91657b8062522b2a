/* health.c: see health.h. */
#include "tools/tune/health.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { START = TUNE_HEALTH_START, RECENT = TUNE_HEALTH_RECENT };

/* What is an explosion, given how many losses there are to compare with. */
static const struct {
    size_t start;
    int below; /* so many of the recent ones may be no higher than the highest of the first */
    double factor, margin;
} rules[] = {{10, 2, 1.5, 0.5}, {3, 0, 2, 1}};

enum { RULES = sizeof rules / sizeof *rules };

static const double senseless = 25; /* nats a token: twice what guessing costs with 250,000 tokens to choose from */

void tune_health_init(tune_health *h)
{
    memset(h, 0, sizeof *h);
    h->start_median = h->now_median = NAN;
    h->limit = senseless;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(const double *values, size_t n)
{
    double sorted[START];
    memcpy(sorted, values, n * sizeof *values);
    qsort(sorted, n, sizeof *sorted, ascending);
    return (sorted[(n - 1) / 2] + sorted[n / 2]) / 2;
}

static double highest(const double *values, size_t n)
{
    double most = values[0];
    for (size_t i = 1; i < n; i++)
        if (values[i] > most)
            most = values[i];
    return most;
}

/* Step of the earliest recent loss above `level`; how many are below it or at it. */
static uint64_t first_above(const tune_health *h, double level, int *others)
{
    uint64_t first = h->steps;
    *others = 0;
    for (int i = 0; i < RECENT; i++) {
        if (h->recent[i] <= level)
            ++*others;
        else if (h->recent_step[i] < first)
            first = h->recent_step[i];
    }
    return first;
}

/* Sums up the first n losses, and what is too far above them. Returns how many of the recent ones may be no higher than
 * their highest. */
static int compare_with(tune_health *h, size_t n)
{
    size_t i = 0;
    while (i < RULES && n < rules[i].start)
        i++;
    if (i == RULES) { /* too few: all that is known is the first, which is the model's own */
        h->start_highest = fmax(2 * h->start[0], h->start[0] + 1);
        return -1;
    }
    if (h->compared < n) {
        h->compared = n;
        h->start_highest = highest(h->start, n);
        h->start_median = median(h->start, n);
        h->limit = fmin(senseless, fmax(rules[i].factor * h->start_median, h->start_median + rules[i].margin));
    }
    return rules[i].below;
}

/* With RECENT losses at least: has the loss exploded? */
static bool exploded(tune_health *h)
{
    uint64_t before = h->finite - RECENT;
    int others, may_be = compare_with(h, before < START ? (size_t)before : START);
    uint64_t since = first_above(h, fmin(h->start_highest, senseless), &others);
    if (h->now_median <= senseless && (others > may_be || h->now_median <= h->limit))
        return false;
    h->exploded_at = since;
    return true;
}

bool tune_health_add(tune_health *h, double loss, bool skipped)
{
    uint64_t step = h->steps++;
    if (skipped) {
        h->skipped++;
        h->skipped_in_row++;
        return false;
    }
    h->skipped_in_row = 0;
    if (h->finite < START)
        h->start[h->finite] = loss;
    h->recent[h->finite % RECENT] = loss;
    h->recent_step[h->finite % RECENT] = step;
    if (++h->finite < RECENT)
        return false;
    h->now_median = median(h->recent, RECENT);
    bool before = h->exploded;
    h->exploded = before ? h->now_median > h->limit : exploded(h);
    return h->exploded && !before;
}

zo2_status tune_health_read(tune_health *h, const zo2_run *run)
{
    uint64_t steps = zo2_run_steps(run);
    tune_health_init(h);
    for (uint64_t i = 0; i < steps; i++) {
        zo2_run_record r;
        zo2_status s = zo2_run_record_get(run, i, &r);
        if (s != ZO2_OK)
            return s;
        tune_health_add(h, (r.loss_plus + r.loss_minus) / 2, r.skipped);
    }
    return ZO2_OK;
}

bool tune_health_broken(const tune_health *h)
{
    return h->exploded || h->skipped_in_row;
}

bool tune_health_last_good(const tune_health *h, uint64_t *step)
{
    if (h->exploded)
        *step = h->exploded_at ? h->exploded_at - 1 : 0;
    else if (h->finite) /* its losses were finite before it was taken */
        *step = h->recent_step[(h->finite - 1) % RECENT];
    return h->exploded ? h->exploded_at > 0 : h->finite > 0;
}
