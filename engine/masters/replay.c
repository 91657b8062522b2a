/* replay.c: see replay.h. */
#include "engine/masters/replay.h"
#include "engine/base/clock.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define SAMPLE_WEIGHTS 4096u /* stay in the first-level cache, as a replay's do */
#define SAMPLE_STEPS   64u

/* Seconds that one thread takes for one update of one weight; 0 if that can't be measured. */
static double seconds_each(const zo2_history *h, uint64_t from, uint64_t to)
{
    uint32_t updates;
    uint64_t last = to - from < SAMPLE_STEPS ? to : from + SAMPLE_STEPS;
    float *w = calloc(SAMPLE_WEIGHTS, sizeof *w);
    zo2_history_range(h, from, last, &updates);
    double seconds = 0;
    if (w && updates) {
        double begin = zo2_now();
        zo2_history_apply(h, 0, 1, 0, SAMPLE_WEIGHTS, from, last, w);
        seconds = (zo2_now() - begin) / ((double)SAMPLE_WEIGHTS * updates);
    }
    free(w);
    return seconds;
}

void zo2_replay_announce(const zo2_history *h, uint64_t from, uint64_t to, int from_snapshot, uint64_t parameters,
                         uint32_t threads, zo2_log_fn log, void *log_ud)
{
    uint32_t updates;
    char text[128];
    zo2_history_range(h, from, to, &updates);
    if (!log || !updates)
        return;
    double seconds = seconds_each(h, from, to) * (double)parameters * updates / threads;
    const char *word = seconds < 120 ? "s" : seconds < 7200 ? "min" : "h";
    double each = seconds < 120 ? 1 : seconds < 7200 ? 60 : 3600;
    snprintf(text, sizeof text, "replaying steps %" PRIu64 " to %" PRIu64 " (from %s): about %.0f %s", from, to,
             from_snapshot ? "a snapshot" : "the pack", ceil(seconds / each), word);
    log(log_ud, ZO2_LOG_INFO, text);
}
