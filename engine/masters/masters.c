/* masters.c: memory, rows and updates of the masters; loading and snapshots are in masters_load.c. */
#include "engine/masters/masters.h"
#include "codec/codec.h"
#include "codec/update.h"
#include "engine/base/checked.h"
#include "engine/base/host_memory.h"
#include "engine/base/job_error.h"
#include "engine/base/parallel.h"
#include "engine/model/arch.h"
#include "engine/model/wire_size.h"

#include <stdlib.h>
#include <string.h>

/* Values of a task: about 15 us of Gaussian noise, so that starting it costs nothing. */
#define PIECE 16384u

static uint32_t owner_of(const zo2_layout *l, uint32_t chunk, const uint32_t *stored_as)
{
    const zo2_chunk *c = &l->chunks[chunk];
    uint32_t tensor = l->spans[c->first_span].tensor;
    if (!stored_as || stored_as[tensor] == tensor)
        return chunk;
    /* Tensors of one shape are cut alike, so the k-th chunk of one unit is the k-th chunk of the other. */
    const zo2_unit *own = &l->units[l->tensor_unit[tensor]], *other = &l->units[l->tensor_unit[stored_as[tensor]]];
    return other->first_chunk + (chunk - own->first_chunk);
}

uint64_t zo2_masters_scratch_bytes(const zo2_arch *a)
{
    uint64_t longest = 1;
    for (uint32_t i = 0; i < a->n_tensors; i++)
        longest = a->tensors[i].cols > longest ? a->tensors[i].cols : longest;
    /* No codec's planes of a row take more than 8 bytes a weight and their padding. */
    uint64_t row = longest * (sizeof(float) + 8) + 256, piece = (uint64_t)PIECE * sizeof(float); /* of staged values */
    return zo2_round_up(row > piece ? row : piece, 4096);
}

/* What a task needs is allocated and touched before the first step. */
static zo2_status create_scratch(zo2_masters *m, zo2_pool *pool)
{
    uint32_t n = zo2_masters_slots(zo2_pool_threads(pool));
    m->scratch_bytes = zo2_masters_scratch_bytes(m->layout->arch);
    if (!zo2_slots_create(&m->slots, n))
        return zo2_error(ZO2_ERR_NOMEM, "no memory for the slots of %u tasks", n);
    void *memory;
    zo2_status s = zo2_host_map(&memory, n * m->scratch_bytes, "the threads' scratch");
    if (s)
        return s;
    m->scratch = memory;
    zo2_host_touch(memory, n * m->scratch_bytes, NULL);
    return ZO2_OK;
}

zo2_status zo2_masters_create(zo2_masters *m, const zo2_layout *layout, const uint32_t *stored_as, zo2_pool *pool)
{
    memset(m, 0, sizeof *m);
    m->layout = layout;
    m->at = calloc(layout->n_chunks, sizeof *m->at);
    m->step = calloc(layout->n_chunks, sizeof *m->step);
    m->shared = calloc(layout->n_chunks, 1);
    if (!m->at || !m->step || !m->shared) {
        zo2_masters_free(m);
        return zo2_error(ZO2_ERR_NOMEM, "no memory for the tables of %u chunks", layout->n_chunks);
    }
    for (uint32_t c = 0; c < layout->n_chunks; c++) {
        uint32_t owner = owner_of(layout, c, stored_as);
        if (owner != c) {
            m->at[c] = m->at[owner];
            m->shared[c] = m->shared[owner] = 1;
            continue;
        }
        m->at[c] = m->bytes;
        m->bytes += (zo2_masters_rest_at(&layout->chunks[c]) + layout->chunks[c].rest_bytes + 4095) & ~4095ull;
    }
    void *memory;
    zo2_status s = zo2_host_map(&memory, m->bytes, "the master weights");
    m->memory = memory;
    if (!s)
        s = create_scratch(m, pool);
    if (s) {
        zo2_masters_free(m);
        return s;
    }
    zo2_parallel parallel = zo2_pool_parallel(pool);
    zo2_host_touch(m->memory, m->bytes, &parallel);
    return ZO2_OK;
}

void zo2_masters_free(zo2_masters *m)
{
    zo2_host_unmap(m->memory, m->bytes);
    if (m->scratch)
        zo2_host_unmap(m->scratch, m->slots.n * m->scratch_bytes);
    zo2_slots_free(&m->slots);
    free(m->at);
    free(m->step);
    free(m->shared);
    memset(m, 0, sizeof *m);
}

uint64_t zo2_masters_estimate(const zo2_arch *a, zo2_wire wire, const uint32_t *stored_as)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < a->n_tensors; i++) {
        const zo2_tensor *t = &a->tensors[i];
        const zo2_codec *codec = zo2_tensor_codec(t, wire);
        if (!stored_as || stored_as[i] == i)
            bytes += zo2_wire_room(codec, t->rows, t->cols) + codec->rest_bytes(t->rows, t->cols);
    }
    return bytes;
}

/* ---- rows ---- */

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

void zo2_masters_store(zo2_masters *m, uint32_t tensor, uint64_t row, uint64_t n, const float *w)
{
    while (n) {
        const zo2_span *s;
        uint32_t chunk = locate(m->layout, tensor, row, &s);
        uint64_t here = s->row + s->rows - row < n ? s->row + s->rows - row : n;
        s->codec->split(w, s->rows, s->cols, row - s->row, here, (uint8_t *)zo2_masters_wire(m, chunk) + s->wire_at,
                        (uint8_t *)zo2_masters_rest(m, chunk) + s->rest_at);
        w += here * s->cols;
        row += here;
        n -= here;
    }
}

void zo2_masters_fetch(const zo2_masters *m, uint32_t tensor, uint64_t row, uint64_t n, float *w)
{
    while (n) {
        const zo2_span *s;
        uint32_t chunk = locate(m->layout, tensor, row, &s);
        uint64_t here = s->row + s->rows - row < n ? s->row + s->rows - row : n;
        s->codec->join((uint8_t *)zo2_masters_wire(m, chunk) + s->wire_at,
                       (uint8_t *)zo2_masters_rest(m, chunk) + s->rest_at, s->rows, s->cols, row - s->row, here, w);
        w += here * s->cols;
        row += here;
        n -= here;
    }
}

uint64_t zo2_masters_row_step(const zo2_masters *m, uint32_t tensor, uint64_t row)
{
    const zo2_span *s;
    return m->step[locate(m->layout, tensor, row, &s)];
}

void zo2_masters_read(const zo2_masters *m, const zo2_history *h, uint32_t tensor, uint64_t row, uint64_t n, uint64_t t,
                      float *w)
{
    const zo2_tensor *info = &m->layout->arch->tensors[tensor];
    while (n) {
        const zo2_span *s;
        uint32_t chunk = locate(m->layout, tensor, row, &s);
        uint64_t here = s->row + s->rows - row < n ? s->row + s->rows - row : n;
        zo2_masters_fetch(m, tensor, row, here, w);
        zo2_history_apply(h, tensor, info->decays, row * info->cols, here * info->cols, m->step[chunk], t, w);
        w += here * info->cols;
        row += here;
        n -= here;
    }
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
        s->codec->copy_row((uint8_t *)zo2_masters_wire(m, chunk) + s->wire_at, s->rows, row - s->row, s->cols, dst,
                           dst_rows, dst_row);
        return ZO2_OK;
    }
    /* Codecs work row by row, so a row that is updated and encoded on its own has the bits it will have in its chunk.
     */
    uint32_t slot = zo2_slots_take(&m->slots);
    float *w = zo2_masters_scratch(m, slot);
    uint8_t *planes = (uint8_t *)w + zo2_round_up(s->cols * sizeof *w, 16);
    zo2_masters_read(m, h, tensor, row, 1, to, w);
    int fits = zo2_codec_representable(s->codec, w, s->cols);
    if (fits) {
        s->codec->split(w, 1, s->cols, 0, 1, planes, planes + zo2_wire_room(s->codec, 1, s->cols));
        s->codec->copy_row(planes, 1, 0, s->cols, dst, dst_rows, dst_row);
    }
    zo2_slots_give(&m->slots, slot);
    return fits ? ZO2_OK : unrepresentable(t, s->codec, to);
}

/* ---- updates ---- */

typedef struct update_job {
    zo2_masters *m;
    const zo2_history *h;
    uint32_t chunk;
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
    uint8_t *wire = (uint8_t *)zo2_masters_wire(job->m, job->chunk) + s->wire_at;
    uint8_t *rest = (uint8_t *)zo2_masters_rest(job->m, job->chunk) + s->rest_at;
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
        job.piece_rows = s->cols < PIECE ? PIECE / s->cols : 1;
        pieces = (s->rows + job.piece_rows - 1) / job.piece_rows;
    }
    zo2_pool_run(pool, pieces, update_piece, &job);
    zo2_status status = zo2_job_error_raise(&job.error);
    if (!status)
        m->step[chunk] = to;
    return status;
}
