/* export_spill.c: values of a run whose masters spill: chunks from its files, each in the newest version that the steps of the
 * export have. What isn't there, or is damaged, comes from the pack. */
#include "engine/base/checked.h"
#include "engine/base/job_error.h"
#include "engine/base/pool.h"
#include "engine/export/export_values.h"
#include "engine/masters/spill_files.h"
#include "engine/model/arch.h"
#include "engine/model/layout.h"
#include "engine/pack/pack_api.h"
#include "engine/run/run_api.h"
#include "engine/run/settings.h"
#include "storage/io/io.h"
#include "storage/run/journal.h"
#include "storage/spill/spill.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define PAGE 4096u

static uint64_t history(const void *journal, uint64_t step)
{
    return zo2_journal_chain(journal, step);
}

/* Chunks that are there, which is told. */
static uint32_t count(const zo2_export_values *v)
{
    uint32_t found = 0, n = 0;
    uint64_t oldest = v->steps;
    char text[160];
    for (uint32_t c = 0; c < v->layout.n_chunks; c++) {
        zo2_spill_version version;
        const int moves = !v->layout.units[v->layout.chunks[c].unit].frozen;
        n += (uint32_t)moves;
        if (!moves || !zo2_spill_find(v->spill, c, &version))
            continue;
        oldest = zo2_min_u64(oldest, version.step);
        found++;
    }
    snprintf(text, sizeof text,
             "replaying %" PRIu32 " of %" PRIu32 " chunks from the spill (from step %" PRIu64
             " or later), the others from the pack",
             found, n, oldest);
    if (v->o->log && found)
        v->o->log(v->o->log_ud, ZO2_LOG_INFO, text);
    return found;
}

zo2_status zo2_export_open_spill(zo2_export_values *v)
{
    const zo2_run_settings *set = zo2_journal_settings(v->run->journal);
    const zo2_spill_config c = {.run = zo2_journal_chain(v->run->journal, 0),
                                .dirs = v->o->spill_dirs,
                                .n_dirs = v->o->spill_count,
                                .most_step = v->steps,
                                .history = history,
                                .history_ud = v->run->journal,
                                .log = v->o->log,
                                .log_ud = v->o->log_ud};
    uint64_t chunk_bytes = ZO2_EXPORT_CHUNK_BYTES; /* whatever is wrong with the files, opening them says it */
    (void)zo2_spill_layout_of(&zo2_io_posix, c.run, c.dirs, c.n_dirs, &chunk_bytes);
    zo2_status s =
        zo2_layout_create(&v->layout, &v->arch, zo2_settings_wires(set), set->compute, set->tile_rule, chunk_bytes);
    if (!s)
        s = zo2_spill_files_open(&v->spill, &zo2_io_posix, &c, &v->layout, chunk_bytes, NULL);
    if (!v->spill || !count(v)) {
        zo2_spill_close(v->spill);
        v->spill = NULL;
        zo2_layout_free(&v->layout);
    }
    return s;
}

uint64_t zo2_export_spill_most(const zo2_export_values *v)
{
    uint64_t largest = 1, most = 1;
    for (uint32_t i = 0; i < v->layout.n_spans; i++)
        most = zo2_max_u64(most, v->layout.spans[i].rows * v->layout.spans[i].cols);
    for (uint32_t i = 0; i < v->layout.n_units; i++)
        largest = zo2_max_u64(largest, v->layout.units[i].elements);
    return zo2_max_u64(most, zo2_min_u64(largest, ZO2_EXPORT_GROUP));
}

uint64_t zo2_export_spill_rows(const zo2_export_values *v, const zo2_tensor *t, uint64_t row)
{
    const zo2_span *span;
    const uint32_t first = zo2_layout_chunk(&v->layout, t->id, row, &span);
    const zo2_unit *u = &v->layout.units[v->layout.chunks[first].unit];
    zo2_spill_version version, next;
    const int found = zo2_spill_find(v->spill, first, &version);
    uint64_t rows = span->rows;
    for (uint32_t c = first + 1; c < u->first_chunk + u->n_chunks; c++) {
        span = &v->layout.spans[v->layout.chunks[c].first_span];
        if ((rows + span->rows) * t->cols > ZO2_EXPORT_GROUP || zo2_spill_find(v->spill, c, &next) != found ||
            (found && next.step != version.step))
            break;
        rows += span->rows;
    }
    return rows;
}

typedef struct read_job {
    zo2_export_values *v;
    uint32_t first;
    zo2_job_error error;
} read_job;

/* The tensor's values of a chunk, to their place in the group. */
static void join(zo2_export_values *v, const zo2_chunk *c, const uint8_t *wire, const uint8_t *rest)
{
    const zo2_span *s = &v->layout.spans[c->first_span];
    while (s->tensor != v->t->id)
        s++;
    s->codec->join(wire + s->wire_at, rest ? rest + s->rest_at : NULL, s->rows, s->cols, 0, s->rows,
                   v->values + (s->row * s->cols - v->first));
}

static void read_chunk(void *arg, uint64_t i)
{
    read_job *job = arg;
    zo2_export_values *v = job->v;
    const zo2_chunk *c = &v->layout.chunks[job->first + i];
    const uint64_t rest_at = zo2_round_up(c->wire_bytes, PAGE);
    zo2_spill_version version;
    uint8_t *planes = aligned_alloc(PAGE, rest_at + zo2_round_up(c->rest_bytes, PAGE));
    uint8_t *rest = c->rest_bytes && planes ? planes + rest_at : NULL;
    zo2_status s = planes ? ZO2_OK : zo2_error(ZO2_ERR_NOMEM, "no memory to read a chunk of %s", v->t->name);
    if (!s && !zo2_spill_find(v->spill, job->first + (uint32_t)i, &version))
        s = zo2_error(ZO2_ERR_INTERNAL, "a chunk of %s is no longer in the spill", v->t->name);
    else if (!s && (s = zo2_spill_read(v->spill, &version, planes, rest)))
        zo2_spill_forget(v->spill, &version); /* whoever comes next finds none: it is told once */
    if (!s)
        join(v, c, planes, rest);
    else
        zo2_job_error_set(&job->error, s);
    free(planes);
}

zo2_status zo2_export_take_from_spill(zo2_export_values *v, int *taken, uint64_t *from)
{
    const zo2_span *span;
    read_job job = {.v = v, .error = ZO2_JOB_ERROR_INIT};
    zo2_spill_version version;
    uint64_t row = v->first / v->t->cols, rows = v->n / v->t->cols;
    job.first = zo2_layout_chunk(&v->layout, v->t->id, row, &span);
    uint32_t last = zo2_layout_chunk(&v->layout, v->t->id, row + rows - 1, &span);
    *taken = 0;
    if (v->t->frozen || !zo2_spill_find(v->spill, job.first, &version))
        return ZO2_OK;
    zo2_pool_run(v->pool, last - job.first + 1, read_chunk, &job);
    zo2_status s = zo2_job_error_raise(&job.error);
    if (s == ZO2_ERR_FORMAT || s == ZO2_ERR_IO) {
        char text[1200];
        snprintf(text, sizeof text, "%s; this part is rebuilt from the pack and the journal", zo2_last_error());
        if (v->o->log)
            v->o->log(v->o->log_ud, ZO2_LOG_WARNING, text);
        return ZO2_OK;
    }
    *taken = !s;
    *from = version.step;
    return s;
}
