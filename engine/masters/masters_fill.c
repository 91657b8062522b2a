/* masters_fill.c: filling the masters from a pack or a snapshot plus the journal. */
#include "engine/base/checked.h"
#include "engine/base/job_error.h"
#include "engine/base/pool.h"
#include "engine/masters/history.h"
#include "engine/masters/home.h"
#include "engine/masters/masters.h"
#include "engine/masters/rebuild.h"
#include "engine/masters/snapshot_find.h"
#include "engine/masters/stored_wire.h"
#include "engine/model/arch.h"
#include "engine/model/layout.h"

#include <stdlib.h>
#include <string.h>

typedef struct load_job {
    zo2_masters *m;
    const zo2_masters_load *how;
    const zo2_unit *unit;
    uint64_t to;         /* step that the unit is brought to */
    uint64_t from;       /* step of `values` */
    const float *values; /* the unit from a snapshot; NULL: read the pack */
    uint64_t chunk_rows; /* of the pack */
    zo2_job_error error;
} load_job;

/* Rows of one tensor: from the snapshot's values or the pack's bits, replayed, checked and stored. */
static zo2_status load_rows(load_job *job, uint32_t tensor, uint64_t row, uint64_t rows, const float *values)
{
    const zo2_tensor *t = &job->m->layout->arch->tensors[tensor];
    uint64_t n = rows * t->cols;
    float *w = malloc(n * sizeof *w);
    /* Rows of a run's own tensor are looked up one by one in the pack. */
    const zo2_rebuild rebuild = {.layout = job->m->layout,
                                 .pack = job->how->pack,
                                 .window = t->stored == ZO2_NO_TENSOR ? job->m->exact.window : NULL};
    const zo2_span *span = &job->m->layout->spans[job->m->layout->chunks[job->unit->first_chunk].first_span];
    zo2_status s = ZO2_OK;
    if (!w)
        s = zo2_error(ZO2_ERR_NOMEM, "no memory to load tensor %s", t->name);
    if (!s && values)
        memcpy(w, values, n * sizeof *w);
    if (!s && !values)
        s = zo2_rebuild_rows(&rebuild, tensor, row, rows, w);
    if (!s) {
        zo2_history_apply(job->how->history, tensor, t->decays, row * t->cols, n, job->from, job->to, w);
        s = zo2_rebuild_check(t, span->codec, w, n, job->to);
    }
    if (!s)
        s = zo2_masters_store(job->m, tensor, row, rows, w);
    free(w);
    return s;
}

/* The same of frozen rows whose wire the pack has: they lie in one chunk of it, which is read once, and perhaps in several of the
 * masters'. */
static zo2_status spread_stored(const load_job *job, const zo2_span *span, uint64_t row, uint64_t rows)
{
    const uint64_t end = row + rows;
    zo2_stored_wire held;
    zo2_status s = zo2_stored_wire_hold(&held, job->how->pack, NULL, job->m->layout->arch, span, row);
    if (s)
        return s;
    while (row < end && !s) {
        const zo2_span *to;
        zo2_planes p;
        uint32_t chunk = zo2_layout_chunk(job->m->layout, span->tensor, row, &to);
        uint64_t here = zo2_min_u64(to->row + to->rows, end) - row;
        s = zo2_masters_acquire(job->m, chunk, ZO2_PLANE_WIRE, ZO2_ACCESS_WRITE, &p);
        if (s)
            break;
        zo2_stored_wire_copy(&held, to, row, here, zo2_planes_wire(&p, to));
        zo2_masters_release(&p);
        row += here;
    }
    zo2_stored_wire_release(&held);
    return s;
}

static void load_piece(void *arg, uint64_t i)
{
    load_job *job = arg;
    const zo2_unit *u = job->unit;
    zo2_status s;
    if (u->tensor == ZO2_NO_TENSOR) {
        const zo2_chunk *c = &job->m->layout->chunks[u->first_chunk];
        const zo2_span *span = &job->m->layout->spans[c->first_span + i];
        s = load_rows(job, span->tensor, 0, span->rows, job->values ? job->values + span->element_at : NULL);
    } else {
        const zo2_rebuild_range r = zo2_rebuild_piece_rows(job->chunk_rows, u->row, u->rows, i);
        const uint64_t n = r.to - r.from;
        uint64_t cols = job->m->layout->arch->tensors[u->tensor].cols;
        const zo2_layout *l = job->m->layout;
        const zo2_span *span = &l->spans[l->chunks[u->first_chunk].first_span];
        if (zo2_is_stored_wire(job->how->pack, l->arch, span))
            s = spread_stored(job, span, r.from, n);
        else
            s = load_rows(job, u->tensor, r.from, n, job->values ? job->values + (r.from - u->row) * cols : NULL);
    }
    if (s)
        zo2_job_error_set(&job->error, s);
}

static zo2_status load_unit(load_job *job)
{
    const zo2_unit *u = job->unit;
    uint64_t pieces;
    if (u->tensor == ZO2_NO_TENSOR) {
        pieces = job->m->layout->chunks[u->first_chunk].n_spans;
    } else {
        /* By the pack's own chunks: a read checks whole ones, so other pieces would read and hash bytes twice. */
        job->chunk_rows =
            zo2_rebuild_piece(&(zo2_rebuild){.layout = job->m->layout, .pack = job->how->pack}, u->tensor);
        pieces = zo2_rebuild_pieces(job->chunk_rows, u->row, u->rows);
    }
    zo2_pool_run(job->how->pool, pieces, load_piece, job);
    return zo2_job_error_raise(&job->error);
}

/* Values of a unit from the snapshot if they can serve, else NULL. */
static float *snapshot_values(const zo2_masters_load *how, const zo2_unit *u, uint32_t index, uint64_t *step)
{
    float *values = how->snapshot ? malloc(u->elements * sizeof *values) : NULL;
    if (values && zo2_snapshot_unit(how->snapshot, index, how->steps, values, step, how->log, how->log_ud))
        return values;
    free(values);
    return NULL;
}

zo2_status zo2_masters_fill(zo2_masters *m, const zo2_masters_load *how)
{
    const zo2_layout *l = m->layout;
    zo2_status s = zo2_masters_open_exact(m, how->pack);
    if (!s && zo2_masters_are_spilled(m))
        return zo2_masters_resume(m, how);
    for (uint32_t i = 0; i < l->n_units && !s; i++) {
        const zo2_unit *u = &l->units[i];
        load_job job = {.m = m, .how = how, .unit = u, .error = ZO2_JOB_ERROR_INIT};
        /* A cancelled step may have left chunks of the snapshot one step ahead of the schedule; the next step brings
         * the others there. */
        if (how->steps)
            job.to = zo2_history_moved(how->history, u->group, zo2_unit_due_step(u, how->steps - 1, how->pending));
        float *values = zo2_masters_is_alias(m, u) ? NULL : snapshot_values(how, u, i, &job.from);
        job.values = values;
        if (!values)
            job.from = 0;
        else if (job.from > job.to)
            job.to = job.from;
        if (!zo2_masters_is_alias(m, u))
            s = load_unit(&job);
        free(values);
        for (uint32_t c = 0; c < u->n_chunks; c++)
            m->step[u->first_chunk + c] = job.to;
        if (!s && how->progress && how->progress(how->progress_ud, "loading", i + 1, l->n_units))
            s = zo2_error(ZO2_ERR_CANCELLED, "cancelled while loading the master weights");
    }
    return s;
}
