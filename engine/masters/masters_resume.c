/* masters_resume.c: beginning with masters that spill: what lives in RAM is filled, the rest stays on the disk. */
#include "engine/base/job_error.h"
#include "engine/base/pool.h"
#include "engine/masters/history.h"
#include "engine/masters/home.h"
#include "engine/masters/masters.h"
#include "engine/masters/placement.h"
#include "engine/masters/ram_home.h"
#include "engine/masters/spill_home.h"
#include "engine/model/layout.h"
#include "storage/spill/spill.h"

#include <inttypes.h>
#include <stdio.h>

#define CHUNKS_A_TURN 64u /* between two calls of the progress function */

typedef struct resume_job {
    zo2_masters *m;
    const zo2_masters_load *how;
    uint32_t first;
    zo2_job_error error;
} resume_job;

/* The step that a chunk is at after how->steps steps, by the schedule. */
static uint64_t due_step(const zo2_masters *m, const zo2_masters_load *how, uint32_t chunk)
{
    const zo2_layout *l = m->layout;
    const zo2_unit *u = &l->units[l->chunks[chunk].unit];
    return how->steps ? zo2_history_moved(how->history, u->group, zo2_unit_due_step(u, how->steps - 1, how->pending))
                      : 0;
}

/* At most the journal's steps: zo2_spill_open() has seen to it. */
static uint64_t kept_step(const zo2_masters *m, uint32_t chunk)
{
    zo2_spill_version v;
    return zo2_spill_home_newest(&m->spill, chunk, &v) ? v.step : 0;
}

static void fill_chunk(void *arg, uint64_t i)
{
    resume_job *job = arg;
    zo2_masters *m = job->m;
    uint32_t chunk = job->first + (uint32_t)i;
    if (m->owner[chunk] != chunk || m->tier[chunk] == ZO2_TIER_SPILL)
        return;
    zo2_plane rest = m->tier[chunk] == ZO2_TIER_RAM && m->layout->chunks[chunk].rest_bytes ? ZO2_PLANE_REST : 0;
    zo2_status s = zo2_spill_home_load(&m->spill, chunk, NULL, zo2_ram_plane(&m->ram, chunk, ZO2_PLANE_WIRE),
                                       rest ? zo2_ram_plane(&m->ram, chunk, rest) : NULL);
    if (s)
        zo2_job_error_set(&job->error, s);
}

/* Steps first: what a chunk is loaded as depends on it. RAM's are brought to their step at once, as a snapshot's would be. */
static uint32_t set_steps(zo2_masters *m, const zo2_masters_load *how)
{
    uint32_t behind = 0;
    for (uint32_t c = 0; c < m->layout->n_chunks; c++) {
        uint64_t due = due_step(m, how, c), kept = kept_step(m, m->owner[c]);
        int lazy = m->owner[c] == c && m->tier[c] != ZO2_TIER_RAM && !how->read_only;
        m->step[c] = lazy || (kept > due && !how->older) ? kept : due;
        behind += lazy && kept < due;
    }
    return behind;
}

zo2_status zo2_masters_resume(zo2_masters *m, const zo2_masters_load *how)
{
    const uint32_t n = m->layout->n_chunks;
    resume_job job = {.m = m, .how = how, .error = ZO2_JOB_ERROR_INIT};
    zo2_status s = ZO2_OK;
    uint32_t behind = set_steps(m, how);
    if (behind && how->log) {
        char text[160];
        snprintf(text, sizeof text,
                 "%" PRIu32 " of %" PRIu32 " chunks in the spill get the steps they lack when they are next used",
                 behind, n);
        how->log(how->log_ud, ZO2_LOG_INFO, text);
    }
    for (job.first = 0; job.first < n && !s; job.first += CHUNKS_A_TURN) {
        uint32_t now = n - job.first < CHUNKS_A_TURN ? n - job.first : CHUNKS_A_TURN;
        zo2_pool_run(how->pool, now, fill_chunk, &job);
        s = zo2_job_error_raise(&job.error);
        if (!s && how->progress && how->progress(how->progress_ud, "loading", job.first + now, n))
            s = zo2_error(ZO2_ERR_CANCELLED, "cancelled while loading the master weights");
    }
    return s;
}
