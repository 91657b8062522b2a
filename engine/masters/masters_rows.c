/* masters_rows.c: rows of the masters, and updates of chunks. */
#include "codec/codec.h"
#include "codec/update.h"
#include "engine/base/checked.h"
#include "engine/base/job_error.h"
#include "engine/base/pool.h"
#include "engine/base/slots.h"
#include "engine/masters/history.h"
#include "engine/masters/home.h"
#include "engine/masters/masters.h"
#include "engine/model/arch.h"
#include "engine/model/layout.h"
#include "engine/model/wire_size.h"

#define BOTH (ZO2_PLANE_WIRE | ZO2_PLANE_REST)

/* The chunk and span that hold row `row` of a tensor. */
static uint32_t locate(const zo2_layout *l, uint32_t tensor, uint64_t row, const zo2_span **span)
{
    const zo2_unit *u = &l->units[zo2_layout_unit(l, tensor, row)];
    if (u->tensor == ZO2_NO_TENSOR) {
        const zo2_chunk *c = &l->chunks[u->first_chunk];
        const zo2_span *s = &l->spans[c->first_span];
        while (s->tensor != tensor)
            s++;
        *span = s;
        return u->first_chunk;
    }
    uint64_t step = l->spans[l->chunks[u->first_chunk].first_span].rows;
    uint32_t chunk = u->first_chunk + (uint32_t)((row - u->row) / step);
    *span = &l->spans[l->chunks[chunk].first_span];
    return chunk;
}

zo2_status zo2_masters_store(zo2_masters *m, uint32_t tensor, uint64_t row, uint64_t n, const float *w)
{
    while (n) {
        const zo2_span *s;
        zo2_planes p;
        uint32_t chunk = locate(m->layout, tensor, row, &s);
        uint64_t here = s->row + s->rows - row < n ? s->row + s->rows - row : n;
        zo2_status status = zo2_masters_acquire(m, chunk, BOTH, ZO2_ACCESS_WRITE, &p);
        if (status)
            return status;
        s->codec->split(w, s->rows, s->cols, row - s->row, here, zo2_planes_wire(&p, s), zo2_planes_rest(&p, s));
        zo2_masters_release(&p);
        w += here * s->cols;
        row += here;
        n -= here;
    }
    return ZO2_OK;
}

zo2_status zo2_masters_fetch(const zo2_masters *m, uint32_t tensor, uint64_t row, uint64_t n, float *w)
{
    while (n) {
        const zo2_span *s;
        zo2_planes p;
        uint32_t chunk = locate(m->layout, tensor, row, &s);
        uint64_t here = s->row + s->rows - row < n ? s->row + s->rows - row : n;
        zo2_status status = zo2_masters_acquire(m, chunk, BOTH, ZO2_ACCESS_READ, &p);
        if (status)
            return status;
        s->codec->join(zo2_planes_wire(&p, s), zo2_planes_rest(&p, s), s->rows, s->cols, row - s->row, here, w);
        zo2_masters_release(&p);
        w += here * s->cols;
        row += here;
        n -= here;
    }
    return ZO2_OK;
}

uint64_t zo2_masters_row_step(const zo2_masters *m, uint32_t tensor, uint64_t row)
{
    const zo2_span *s;
    return m->step[locate(m->layout, tensor, row, &s)];
}

zo2_status zo2_masters_read(const zo2_masters *m, const zo2_history *h, uint32_t tensor, uint64_t row, uint64_t n,
                            uint64_t t, float *w)
{
    const zo2_tensor *info = &m->layout->arch->tensors[tensor];
    while (n) {
        const zo2_span *s;
        uint32_t chunk = locate(m->layout, tensor, row, &s);
        uint64_t here = s->row + s->rows - row < n ? s->row + s->rows - row : n;
        zo2_status status = zo2_masters_fetch(m, tensor, row, here, w);
        if (status)
            return status;
        zo2_history_apply(h, tensor, info->decays, row * info->cols, here * info->cols, m->step[chunk], t, w);
        w += here * info->cols;
        row += here;
        n -= here;
    }
    return ZO2_OK;
}

static zo2_status unrepresentable(const zo2_tensor *t, const zo2_codec *codec, uint64_t to)
{
    return zo2_error(
        ZO2_ERR_NONFINITE,
        "tensor %s: the updates up to step %llu make a weight non-finite or too large for the %s wire; the learning rate is "
        "too high",
        t->name, (unsigned long long)to, zo2_wire_name(codec->id));
}

zo2_status zo2_masters_gather(zo2_masters *m, const zo2_history *h, uint32_t tensor, uint64_t row, uint64_t to,
                              void *dst, uint64_t dst_rows, uint64_t dst_row)
{
    const zo2_span *s;
    const zo2_tensor *t = &m->layout->arch->tensors[tensor];
    uint32_t chunk = locate(m->layout, tensor, row, &s);
    if (m->step[chunk] >= to) {
        zo2_planes p;
        zo2_status status = zo2_masters_acquire(m, chunk, ZO2_PLANE_WIRE, ZO2_ACCESS_READ, &p);
        if (status)
            return status;
        s->codec->copy_row(zo2_planes_wire(&p, s), s->rows, row - s->row, s->cols, dst, dst_rows, dst_row);
        zo2_masters_release(&p);
        return ZO2_OK;
    }
    /* Codecs work row by row, so a row that is updated and encoded on its own has the bits it will have in its chunk.
     */
    uint32_t slot = zo2_slots_take(&m->slots);
    float *w = zo2_masters_scratch(m, slot);
    uint8_t *planes = (uint8_t *)w + zo2_round_up(s->cols * sizeof *w, 16);
    zo2_status status = zo2_masters_read(m, h, tensor, row, 1, to, w);
    if (!status && !zo2_codec_representable(s->codec, w, s->cols))
        status = unrepresentable(t, s->codec, to);
    if (!status) {
        s->codec->split(w, 1, s->cols, 0, 1, planes, planes + zo2_wire_room(s->codec, 1, s->cols));
        s->codec->copy_row(planes, 1, 0, s->cols, dst, dst_rows, dst_row);
    }
    zo2_slots_give(&m->slots, slot);
    return status;
}

/* ---- updates ---- */

typedef struct update_job {
    zo2_masters *m;
    const zo2_history *h;
    uint32_t chunk;
    zo2_planes planes; /* of the chunk, held for all tasks */
    uint64_t to;
    uint64_t piece_rows; /* rows of a task; vectors: one span a task */
    zo2_job_error error;
} update_job;

static void update_piece(void *arg, uint64_t i)
{
    update_job *job = arg;
    const zo2_layout *l = job->m->layout;
    const zo2_chunk *c = &l->chunks[job->chunk];
    const zo2_span *s = &l->spans[c->first_span + (c->n_spans > 1 ? i : 0)];
    const zo2_tensor *t = &l->arch->tensors[s->tensor];
    uint64_t row = c->n_spans > 1 ? 0 : i * job->piece_rows;
    uint64_t rows = s->rows - row < job->piece_rows ? s->rows - row : job->piece_rows;
    uint8_t *wire = zo2_planes_wire(&job->planes, s), *rest = zo2_planes_rest(&job->planes, s);
    zo2_updates a = {.tensor_id = t->id, .dist = job->h->dist, .decays = t->decays};
    a.u = zo2_history_range(job->h, job->m->step[job->chunk], job->to, &a.count);
    if (!zo2_update_chunk(s->codec, wire, rest, s->rows, s->cols, row, rows, (s->row + row) * s->cols, &a))
        zo2_job_error_set(&job->error, unrepresentable(t, s->codec, job->to));
}

zo2_status zo2_masters_update(zo2_masters *m, const zo2_history *h, zo2_pool *pool, uint32_t chunk, uint64_t to)
{
    if (m->step[chunk] >= to)
        return ZO2_OK;
    const zo2_chunk *c = &m->layout->chunks[chunk];
    const zo2_span *s = &m->layout->spans[c->first_span];
    update_job job = {.m = m, .h = h, .chunk = chunk, .to = to, .piece_rows = 1, .error = ZO2_JOB_ERROR_INIT};
    uint64_t pieces = c->n_spans;
    if (c->n_spans == 1) {
        job.piece_rows = s->cols < ZO2_MASTERS_PIECE ? ZO2_MASTERS_PIECE / s->cols : 1;
        pieces = (s->rows + job.piece_rows - 1) / job.piece_rows;
    }
    zo2_status status = zo2_masters_acquire(m, chunk, BOTH, ZO2_ACCESS_WRITE, &job.planes);
    if (status)
        return status;
    zo2_pool_run(pool, pieces, update_piece, &job);
    status = zo2_job_error_raise(&job.error);
    if (!status)
        m->step[chunk] = to;
    zo2_masters_release(&job.planes);
    return status;
}
