/* replay.c: see replay.h. */
#include "engine/masters/replay.h"
#include "codec/update.h"
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
    uint32_t group = 0;
    while (!zo2_history_group(h, group, from, last, &updates) && group + 1 < h->n_lists)
        group++;
    double seconds = 0;
    if (w && updates) {
        double begin = zo2_now();
        const zo2_update *u = zo2_history_group(h, group, from, last, &updates);
        zo2_update_apply(w, SAMPLE_WEIGHTS, 0, 0, h->settings.dist, 1, u, updates);
        seconds = (zo2_now() - begin) / ((double)SAMPLE_WEIGHTS * updates);
    }
    free(w);
    return seconds;
}

void zo2_replay_announce(const zo2_history *h, uint64_t from, uint64_t to, int from_snapshot, uint64_t parameters,
                         uint32_t threads, zo2_log_fn log, void *log_ud)
{
    uint32_t updates;
    double each_weight = 0; /* updates of it, where groups take turns about as many for each */
    char text[128];
    for (uint32_t group = 0; group < h->n_lists; group++) {
        zo2_history_group(h, group, from, to, &updates);
        each_weight += (double)updates / h->n_lists;
    }
    if (!log || each_weight <= 0)
        return;
    double seconds = seconds_each(h, from, to) * (double)parameters * each_weight / threads;
    const char *word = seconds < 120 ? "s" : seconds < 7200 ? "min" : "h";
    double each = seconds < 120 ? 1 : seconds < 7200 ? 60 : 3600;
    snprintf(text, sizeof text, "replaying steps %" PRIu64 " to %" PRIu64 " (from %s): about %.0f %s", from, to,
             from_snapshot ? "a snapshot" : "the pack", ceil(seconds / each), word);
    log(log_ud, ZO2_LOG_INFO, text);
}
