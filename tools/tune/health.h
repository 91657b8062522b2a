/* health.h: is a run still getting anywhere? Follows the losses of its steps, from the journal or as they are taken:
 * which were skipped, whether the loss has exploded, and where the last good weights are. */
#ifndef ZO2_TOOLS_TUNE_HEALTH_H
#define ZO2_TOOLS_TUNE_HEALTH_H

#include <stdbool.h>

#include "engine/zo2.h"

/* A run ends, and is not resumed unless told, after so many skipped steps in a row: a skipped step changes no weight. */
#define TUNE_MAX_SKIPPED 10

#define TUNE_HEALTH_START  50 /* losses that say how a run began */
#define TUNE_HEALTH_RECENT 10 /* losses that say how it is now */

typedef struct tune_health {
    uint64_t steps;
    uint64_t skipped;        /* of them: a loss was not finite, nothing was updated */
    uint64_t skipped_in_row; /* the last ones */
    /* Losses of steps that weren't skipped. */
    uint64_t finite;
    double start[TUNE_HEALTH_START];
    double recent[TUNE_HEALTH_RECENT];        /* a ring: number i is at i % TUNE_HEALTH_RECENT */
    uint64_t recent_step[TUNE_HEALTH_RECENT]; /* their steps */
    /* The loss has exploded when the median of the last 10 is above 25, which is worse than guessing in any vocabulary; or
     * when 8 of them are above all of the first 50, and their median is above the median of those by half and by 0.5.
     * Earlier than step 60 the first are all but the last 10, and if they are fewer than 10, but 3 at least, all of the
     * last must be above them, and the median above twice theirs and by 1. Losses that are merely noisy don't do that:
     * with chances of one in ten to be above the first 50, eight in ten steps happen once in three million. It is over
     * when the median of the last 10 is below again. */
    bool exploded;
    uint64_t exploded_at;            /* the first step whose loss was part of it */
    double start_median, now_median; /* of the first and the last losses; NaN where they are too few */
    double start_highest;            /* of the first; where they are too few, what is clearly above the very first */
    size_t compared;                 /* losses behind the last two */
    double limit;                    /* above it, now_median is an explosion's */
} tune_health;

void tune_health_init(tune_health *h);

/* The next step. True: the loss has exploded with it. */
bool tune_health_add(tune_health *h, double loss, bool skipped);

/* The steps of a journal. The library's errors. */
zo2_status tune_health_read(tune_health *h, const zo2_run *run);

/* Is something wrong with the weights as they are now: was the last step skipped, or has the loss exploded? */
bool tune_health_broken(const tune_health *h);

/* False if nothing is known to be good, else *step: --at-step's number of the last good weights of a broken run, those
 * before the update that made the losses explode, or stop being finite. */
bool tune_health_last_good(const tune_health *h, uint64_t *step);

#endif
