/* rebuild.c: see rebuild.h. */
#include "engine/masters/rebuild.h"
#include "codec/codec.h"
#include "codec/update.h"
#include "engine/base/checked.h"
#include "engine/base/job_error.h"
#include "engine/base/pool.h"
#include "engine/masters/history.h"
#include "engine/masters/pack_window.h"
#include "engine/masters/stored_wire.h"
#include "engine/model/arch.h"
#include "engine/model/layout.h"
#include "storage/pack/packfile.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void run(zo2_pool *pool, uint64_t n, void (*fn)(void *arg, uint64_t i), void *arg)
{
    if (pool)
        zo2_pool_run(pool, n, fn, arg);
    for (uint64_t i = 0; i < n && !pool; i++)
        fn(arg, i);
}

/* ---- from the pack ---- */

/* Rows of a tensor of the pack. */
static zo2_status read_rows(const zo2_rebuild *s, uint32_t stored, uint64_t row, uint64_t n, float *w)
{
    const zo2_packtensor *t = zo2_packfile_tensor(s->pack, stored);
    uint64_t values = n * t->cols;
    void *bits = malloc(values * zo2_dtype_bytes(t->dtype));
    if (!bits)
        return zo2_error(ZO2_ERR_NOMEM, "no memory to load tensor %s", t->name);
    zo2_status status = s->window ? zo2_pack_window_rows(s->window, stored, row, n, bits)
                                  : zo2_packfile_read_rows(s->pack, stored, row, n, bits);
    if (!status)
        zo2_source_decode(t->dtype, bits, values, w);
    free(bits);
    return status;
}

/* Rows listed[n] of a tensor of the pack, which lie in one of its chunks. */
static zo2_status pick_rows(const zo2_rebuild *s, uint32_t stored, const uint32_t *listed, uint64_t n, uint64_t cols,
                            float *w)
{
    const uint64_t first = listed[0], rows = listed[n - 1] - first + 1;
    if (rows == n)
        return read_rows(s, stored, first, n, w);
    float *all = malloc(rows * cols * sizeof *all);
    if (!all)
        return zo2_error(ZO2_ERR_NOMEM, "no memory to load %llu rows of the head", (unsigned long long)rows);
    zo2_status status = read_rows(s, stored, first, rows, all);
    for (uint64_t i = 0; i < n && !status; i++)
        memcpy(w + i * cols, all + (listed[i] - first) * cols, cols * sizeof *w);
    free(all);
    return status;
}

/* Rows of the head that the run moves begin as they are there. Those that share a chunk of the pack are read at once: it is read and
 * checked whole. */
static zo2_status copy_rows(const zo2_rebuild *s, const zo2_tensor *t, uint64_t row, uint64_t n, float *w)
{
    const zo2_arch *a = s->layout->arch;
    const uint32_t head = a->tensors[zo2_arch_find(a, a->tied ? ZO2_ROLE_EMBED_TOKENS : ZO2_ROLE_LM_HEAD, 0)].stored;
    const uint64_t chunk = zo2_packfile_chunk_rows(s->pack, head);
    const uint32_t *listed = a->row + row;
    zo2_status status = ZO2_OK;
    for (uint64_t i = 0, end; i < n && !status; i = end) {
        for (end = i + 1; end < n && listed[end] / chunk == listed[i] / chunk; end++)
            ;
        status = pick_rows(s, head, listed + i, end - i, t->cols, w + i * t->cols);
    }
    return status;
}

/* A random, B zero, so that the sum is the model's at first. A has the variance that PEFT's has: that of a uniform distribution
 * between +-1 / sqrt(columns). */
static zo2_status begin_adapter(const zo2_rebuild *s, const zo2_tensor *t, uint64_t row, uint64_t n, float *w)
{
    if (t->role >= ZO2_ROLE_LORA_B) {
        memset(w, 0, n * t->cols * sizeof *w);
        return ZO2_OK;
    }
    zo2_status status = zo2_noise_fill(w, s->layout->arch->lora_seed, ZO2_LORA_STEP, 0, t->id, row * t->cols,
                                       n * t->cols, ZO2_GAUSSIAN);
    float deviation = 1.0f / sqrtf(3.0f * (float)t->cols);
    for (uint64_t i = 0; i < n * t->cols; i++)
        w[i] *= deviation;
    return status;
}

zo2_status zo2_rebuild_rows(const zo2_rebuild *s, uint32_t tensor, uint64_t row, uint64_t n, float *w)
{
    const zo2_tensor *t = &s->layout->arch->tensors[tensor];
    if (t->stored != ZO2_NO_TENSOR)
        return read_rows(s, t->stored, row, n, w);
    return t->role == ZO2_ROLE_HEAD_ROWS ? copy_rows(s, t, row, n, w) : begin_adapter(s, t, row, n, w);
}

uint64_t zo2_rebuild_piece(const zo2_rebuild *s, uint32_t tensor)
{
    const zo2_tensor *t = &s->layout->arch->tensors[tensor];
    return t->stored == ZO2_NO_TENSOR ? t->rows : zo2_packfile_chunk_rows(s->pack, t->stored);
}

zo2_status zo2_rebuild_check(const zo2_tensor *t, const zo2_codec *codec, const float *w, uint64_t n, uint64_t to)
{
    if (zo2_codec_representable(codec, w, n))
        return ZO2_OK;
    return zo2_error(ZO2_ERR_NONFINITE, "tensor %s: a value at step %llu is non-finite or too large for the %s wire",
                     t->name, (unsigned long long)to, zo2_wire_name(codec->id));
}

typedef struct load_job {
    const zo2_rebuild *s;
    const zo2_chunk *chunk;
    uint64_t pack_rows; /* of a chunk of the pack; 0: a task is a span (vectors) */
    uint8_t *wire, *rest;
    zo2_job_error error;
} load_job;

static zo2_status load_rows(const load_job *job, const zo2_span *span, uint64_t row, uint64_t rows)
{
    const zo2_tensor *t = &job->s->layout->arch->tensors[span->tensor];
    uint64_t n = rows * span->cols;
    float *w = malloc(n * sizeof *w);
    if (!w)
        return zo2_error(ZO2_ERR_NOMEM, "no memory to load tensor %s", t->name);
    zo2_status s = zo2_rebuild_rows(job->s, span->tensor, row, rows, w);
    if (!s)
        s = zo2_rebuild_check(t, span->codec, w, n, 0);
    if (!s)
        span->codec->split(w, span->rows, span->cols, row - span->row, rows, job->wire + span->wire_at,
                           job->rest ? job->rest + span->rest_at : NULL);
    free(w);
    return s;
}

/* The same of rows that lie in one chunk of the pack, which has them encoded. */
static zo2_status copy_stored(const load_job *job, const zo2_span *span, uint64_t row, uint64_t rows)
{
    zo2_stored_wire held;
    zo2_status s = zo2_stored_wire_hold(&held, job->s->pack, job->s->window, job->s->layout->arch, span, row);
    if (s)
        return s;
    zo2_stored_wire_copy(&held, span, row, rows, job->wire + span->wire_at);
    zo2_stored_wire_release(&held);
    return ZO2_OK;
}

static void load_piece(void *arg, uint64_t i)
{
    load_job *job = arg;
    const zo2_span *span = &job->s->layout->spans[job->chunk->first_span];
    zo2_status s;
    if (!job->pack_rows) {
        s = load_rows(job, span + i, 0, span[i].rows);
    } else {
        const zo2_rebuild_range r = zo2_rebuild_piece_rows(job->pack_rows, span->row, span->rows, i);
        /* A window keeps the pack's chunk, so its rows may be taken a few at a time: small buffers stay in the cache, and large ones
         * that come and go leave an allocator holding many times what is used. */
        uint64_t most = job->s->window ? zo2_max_u64(ZO2_MASTERS_PIECE / span->cols, 1) : r.to - r.from;
        const int stored = zo2_is_stored_wire(job->s->pack, job->s->layout->arch, span);
        s = stored ? copy_stored(job, span, r.from, r.to - r.from) : ZO2_OK;
        for (uint64_t row = r.from; row < r.to && !s && !stored; row += most)
            s = load_rows(job, span, row, zo2_min_u64(most, r.to - row));
    }
    if (s)
        zo2_job_error_set(&job->error, s);
}

zo2_status zo2_rebuild_planes(const zo2_rebuild *s, uint32_t chunk, zo2_pool *pool, uint8_t *wire, uint8_t *rest)
{
    const zo2_chunk *c = &s->layout->chunks[chunk];
    const zo2_span *first = &s->layout->spans[c->first_span];
    load_job job = {.s = s, .chunk = c, .wire = wire, .rest = rest, .error = ZO2_JOB_ERROR_INIT};
    uint64_t pieces = c->n_spans;
    if (s->layout->units[c->unit].tensor != ZO2_NO_TENSOR) {
        job.pack_rows = zo2_rebuild_piece(s, first->tensor);
        pieces = zo2_rebuild_pieces(job.pack_rows, first->row, first->rows);
    }
    run(pool, pieces, load_piece, &job);
    return zo2_job_error_raise(&job.error);
}

/* ---- updates ---- */

zo2_status zo2_rebuild_unrepresentable(const zo2_tensor *t, const zo2_codec *codec, uint64_t to)
{
    return zo2_error(
        ZO2_ERR_NONFINITE,
        "tensor %s: the updates up to step %llu make a weight non-finite or too large for the %s wire; the learning rate is "
        "too high",
        t->name, (unsigned long long)to, zo2_wire_name(codec->id));
}

typedef struct update_job {
    const zo2_layout *l;
    const zo2_history *h;
    const zo2_chunk *chunk;
    uint8_t *wire, *rest;
    uint64_t from, to;
    uint64_t piece_rows; /* rows of a task; vectors: one span a task */
    zo2_job_error error;
} update_job;

static void update_piece(void *arg, uint64_t i)
{
    update_job *job = arg;
    const zo2_chunk *c = job->chunk;
    const zo2_span *s = &job->l->spans[c->first_span + (c->n_spans > 1 ? i : 0)];
    const zo2_tensor *t = &job->l->arch->tensors[s->tensor];
    uint64_t row = c->n_spans > 1 ? 0 : i * job->piece_rows;
    uint64_t most = c->n_spans > 1 ? s->rows : job->piece_rows, rows = s->rows - row < most ? s->rows - row : most;
    uint8_t *wire = job->wire + s->wire_at, *rest = job->rest ? job->rest + s->rest_at : NULL;
    if (t->frozen) /* among vectors that move */
        return;
    zo2_updates a = {.tensor_id = t->id, .dist = job->h->settings.dist, .decays = t->decays};
    a.u = zo2_history_range(job->h, t->id, job->from, job->to, &a.count);
    if (!zo2_update_chunk(s->codec, wire, rest, s->rows, s->cols, row, rows, (s->row + row) * s->cols, &a))
        zo2_job_error_set(&job->error, zo2_rebuild_unrepresentable(t, s->codec, job->to));
}

zo2_status zo2_rebuild_update(const zo2_layout *l, const zo2_history *h, uint32_t chunk, zo2_pool *pool, uint8_t *wire,
                              uint8_t *rest, uint64_t from, uint64_t to)
{
    const zo2_chunk *c = &l->chunks[chunk];
    const zo2_span *s = &l->spans[c->first_span];
    update_job job = {.l = l, .h = h, .chunk = c, .wire = wire, .rest = rest, .from = from, .to = to, .piece_rows = 1};
    pthread_mutex_init(&job.error.mutex, NULL);
    uint64_t pieces = c->n_spans;
    if (c->n_spans == 1) {
        job.piece_rows = s->cols < ZO2_MASTERS_PIECE ? ZO2_MASTERS_PIECE / s->cols : 1;
        pieces = (s->rows + job.piece_rows - 1) / job.piece_rows;
    }
    run(pool, pieces, update_piece, &job);
    return zo2_job_error_raise(&job.error);
}
