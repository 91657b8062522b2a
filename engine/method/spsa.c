/* spsa.c: simultaneous perturbation stochastic approximation as MeZO has it (arXiv 2305.17333, algorithm 1): for each query
 * the loss at W + eps z and at W - eps z, and their difference as the projected gradient. */
#include "engine/method/method.h"
#include "engine/method/probe.h"
#include "storage/run/journal.h"

#include <math.h>
#include <string.h>

static void probes(uint32_t queries, uint64_t step, zo2_probe_plan *out)
{
    (void)step; /* the same in every step */
    memset(out, 0, sizeof *out);
    for (uint32_t q = 0; q < queries; q++) {
        out->stream[out->streams++] = (zo2_probe){.query = (uint8_t)q, .sign = 1};
        out->stream[out->streams++] = (zo2_probe){.query = (uint8_t)q, .sign = -1};
    }
}

static void coefficients(const zo2_run_settings *s, double lr, const zo2_probe_plan *plan, const double *losses,
                         zo2_journal_record *r)
{
    (void)plan;
    for (uint32_t q = 0; q < r->queries; q++) {
        zo2_journal_query *j = &r->query[q];
        j->loss_plus = losses[2 * q];
        j->loss_minus = losses[2 * q + 1];
        j->g_raw = (float)((j->loss_plus - j->loss_minus) / (2.0 * s->eps));
        j->g_clipped = j->g_raw;
        if (s->clip > 0 && fabsf(j->g_raw) > (float)s->clip)
            j->g_clipped = copysignf((float)s->clip, j->g_raw);
        j->c = (float)(lr * (double)j->g_clipped / r->queries);
        if (!isfinite(j->loss_plus) || !isfinite(j->loss_minus) || !isfinite(j->g_raw))
            r->skipped = 1;
    }
}

const zo2_method zo2_method_spsa = {.name = "spsa", .probes = probes, .coefficients = coefficients};
