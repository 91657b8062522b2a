/* pack_weights.c: see pack_weights.h. A task is a chunk of the pack: any thread fills, hashes and compresses it; then it
 * is written in its turn. */
#include "engine/pack/pack_weights.h"
#include "engine/base/pool.h"
#include "storage/io/ordered.h"

#include "codec/codec.h"
#include "engine/pack/pack_api.h"
#include "storage/pack/packfile_format.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>

typedef struct write_job {
    const zo2_pack_weights *c;
    uint64_t *first; /* [n_tensors + 1] chunks of the pack before each tensor; an aliased one has none */
    uint64_t *begin; /* [n_tensors + 1] bytes of weights before it */
    uint64_t *full;  /* [n_tensors] bytes of its chunks but the last */
    uint64_t largest;
    uint32_t opened; /* tensors that the writer has been told of; finish() alone touches it */
} write_job;

/* At the start of a task's buffer; source bits and scratch follow. */
typedef struct piece {
    zo2_packchunk chunk;
    uint32_t id;
} piece;

#define PIECE_BYTES ((uint64_t)128)
static_assert(sizeof(piece) <= PIECE_BYTES, "room before the source bits");

static int is_alias(const zo2_pack_weights *c, uint32_t id)
{
    return c->stored_as && c->stored_as[id] != id;
}

static zo2_status count(write_job *j)
{
    const zo2_arch *a = j->c->arch;
    j->first = calloc((size_t)a->n_tensors + 1, sizeof *j->first);
    j->begin = calloc((size_t)a->n_tensors + 1, sizeof *j->begin);
    j->full = calloc((size_t)a->n_tensors + 1, sizeof *j->full);
    if (!j->first || !j->begin || !j->full)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory for a table of %" PRIu32 " tensors", a->n_tensors);
    for (uint32_t i = 0; i < a->n_tensors; i++) {
        const zo2_tensor *t = &a->tensors[i];
        j->first[i + 1] = j->first[i];
        j->begin[i + 1] = j->begin[i];
        if (is_alias(j->c, i))
            continue;
        uint64_t size = zo2_dtype_bytes(j->c->dtypes[i]);
        uint64_t rows = zo2_pack_chunk_rows((uint32_t)j->c->dtypes[i], t->rows, t->cols);
        j->full[i] = rows * t->cols * size;
        j->first[i + 1] += (t->rows + rows - 1) / rows;
        j->begin[i + 1] += t->rows * t->cols * size;
        j->largest = j->full[i] > j->largest ? j->full[i] : j->largest;
    }
    return ZO2_OK;
}

/* The tensor of a chunk: first[id] <= chunk < first[id + 1]. */
static uint32_t tensor_of(const write_job *j, uint64_t chunk)
{
    uint32_t low = 0, high = j->c->arch->n_tensors;
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        if (j->first[middle] <= chunk)
            low = middle;
        else
            high = middle;
    }
    return low;
}

static zo2_status make_chunk(void *arg, uint64_t i, void *buffer)
{
    const write_job *j = arg;
    piece *p = buffer;
    p->id = tensor_of(j, i);
    zo2_dtype dtype = j->c->dtypes[p->id];
    uint64_t size = zo2_dtype_bytes(dtype), full = j->full[p->id], at = (i - j->first[p->id]) * full;
    uint64_t left = j->begin[p->id + 1] - j->begin[p->id] - at, n = left < full ? left : full;
    unsigned char *source = (unsigned char *)buffer + PIECE_BYTES;
    if (zo2_packwriter_restore(j->c->writer, i, dtype, n, source, j->c->level ? source + n : NULL, &p->chunk))
        return ZO2_OK;
    zo2_status s = j->c->fill(j->c->arg, p->id, at / size, n / size, source);
    return s ? s : zo2_packchunk_make(&p->chunk, dtype, source, n, j->c->level, source + n);
}

/* Tells the writer of all tensors before `end` that it doesn't know yet. */
static zo2_status open_tensors(write_job *j, uint32_t end)
{
    zo2_status s = ZO2_OK;
    for (; j->opened < end && !s; j->opened++) {
        uint32_t i = j->opened;
        zo2_packtensor record = zo2_pack_record(&j->c->arch->tensors[i], j->c->dtypes[i]);
        s = is_alias(j->c, i) ? zo2_packwriter_alias(j->c->writer, &record, j->c->stored_as[i])
                              : zo2_packwriter_tensor(j->c->writer, &record);
    }
    return s;
}

static zo2_status write_chunk(void *arg, uint64_t i, void *buffer)
{
    write_job *j = arg;
    const piece *p = buffer;
    (void)i; /* the writer checks that nothing is left out */
    zo2_status s = open_tensors(j, p->id + 1);
    return s ? s : zo2_packwriter_chunk(j->c->writer, &p->chunk);
}

static zo2_status report(void *arg, uint64_t done)
{
    const write_job *j = arg;
    uint32_t id = done ? tensor_of(j, done - 1) : 0;
    uint64_t bytes = j->begin[id] + (done - j->first[id]) * j->full[id];
    return j->c->report(j->c->arg, bytes < j->begin[id + 1] ? bytes : j->begin[id + 1]);
}

zo2_status zo2_pack_weights_write(const zo2_pack_weights *c)
{
    write_job j = {.c = c};
    zo2_pool *pool = NULL;
    uint32_t n = c->arch->n_tensors;
    zo2_status s = count(&j);
    if (!s)
        s = zo2_pool_create(&pool, c->threads);
    if (!s) {
        zo2_ordered o = {.workers = zo2_pool_parallel(pool),
                         .n = j.first[n],
                         .buffer_bytes = PIECE_BYTES + (c->level ? 3 : 1) * j.largest,
                         .work = make_chunk,
                         .finish = write_chunk,
                         .report = report,
                         .arg = &j};
        s = zo2_ordered_run(&o);
    }
    if (!s)
        s = open_tensors(&j, n); /* aliases behind the last chunk */
    if (!s)
        s = report(&j, j.first[n]); /* the last chunks may have been other threads' */
    zo2_pool_destroy(pool);
    free(j.first);
    free(j.begin);
    free(j.full);
    return s;
}
