/* weights_copy.c: see weights_copy.h. A task is a chunk of the pack: any thread reads it, looks for values that aren't
 * finite, hashes and compresses; then it is written in its turn. */
#include "engine/weights_copy.h"

#include "codec/codec.h"
#include "engine/pack_api.h"
#include "storage/packfile_format.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>

typedef struct copy_job {
    const zo2_weights_copy *c;
    uint64_t *first; /* [n_tensors + 1] chunks of the pack before each tensor */
    uint64_t *begin; /* [n_tensors + 1] bytes of weights before it */
    uint64_t *full;  /* [n_tensors] bytes of its chunks but the last */
    uint64_t largest;
} copy_job;

/* At the start of a task's buffer; source bits and scratch follow. */
typedef struct piece {
    zo2_packchunk chunk;
    uint32_t id;
    int opens; /* its tensor */
} piece;

#define PIECE_BYTES ((uint64_t)128)
static_assert(sizeof(piece) <= PIECE_BYTES, "room before the source bits");

static zo2_status count(copy_job *j)
{
    const zo2_arch *a = j->c->arch;
    j->first = calloc((size_t)a->n_tensors + 1, sizeof *j->first);
    j->begin = calloc((size_t)a->n_tensors + 1, sizeof *j->begin);
    j->full = calloc((size_t)a->n_tensors + 1, sizeof *j->full);
    if (!j->first || !j->begin || !j->full)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory for a table of %" PRIu32 " tensors", a->n_tensors);
    for (uint32_t i = 0; i < a->n_tensors; i++) {
        const zo2_tensor *t = &a->tensors[i];
        zo2_dtype dtype = j->c->map[i]->dtype;
        uint64_t rows = zo2_pack_chunk_rows((uint32_t)dtype, t->rows, t->cols);
        j->full[i] = rows * t->cols * zo2_dtype_bytes(dtype);
        j->first[i + 1] = j->first[i] + (t->rows + rows - 1) / rows;
        j->begin[i + 1] = j->begin[i] + j->c->map[i]->bytes;
        j->largest = j->full[i] > j->largest ? j->full[i] : j->largest;
    }
    return ZO2_OK;
}

/* The tensor of a chunk: first[id] <= chunk < first[id + 1]. */
static uint32_t tensor_of(const copy_job *j, uint64_t chunk)
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
    const copy_job *j = arg;
    piece *p = buffer;
    p->id = tensor_of(j, i);
    p->opens = i == j->first[p->id];
    const zo2_st_tensor *from = j->c->map[p->id];
    uint32_t size = zo2_dtype_bytes(from->dtype);
    uint64_t full = j->full[p->id], at = (i - j->first[p->id]) * full;
    uint64_t n = from->bytes - at < full ? from->bytes - at : full;
    unsigned char *source = (unsigned char *)buffer + PIECE_BYTES;
    zo2_status s = zo2_safetensors_read(j->c->source, from, at, n, source);
    if (s)
        return s;
    uint64_t bad = zo2_first_nonfinite(from->dtype, source, n / size);
    if (bad < n / size)
        return zo2_error(ZO2_ERR_NONFINITE,
                         "element %" PRIu64 " of %s in %s is infinite or not a number: such a model can't be trained",
                         at / size + bad, from->name, zo2_safetensors_file(j->c->source, from));
    return zo2_packchunk_make(&p->chunk, from->dtype, source, n, j->c->level, source + n);
}

static zo2_status write_chunk(void *arg, uint64_t i, void *buffer)
{
    const copy_job *j = arg;
    const piece *p = buffer;
    zo2_status s = ZO2_OK;
    (void)i; /* the writer checks that nothing is left out */
    if (p->opens) {
        zo2_packtensor record = zo2_pack_record(&j->c->arch->tensors[p->id], j->c->map[p->id]->dtype);
        s = zo2_packwriter_tensor(j->c->writer, &record);
    }
    return s ? s : zo2_packwriter_chunk(j->c->writer, &p->chunk);
}

static zo2_status report(void *arg, uint64_t done)
{
    const copy_job *j = arg;
    uint32_t id = done ? tensor_of(j, done - 1) : 0;
    uint64_t bytes = j->begin[id] + (done - j->first[id]) * j->full[id];
    return j->c->report(j->c->arg, bytes < j->begin[id + 1] ? bytes : j->begin[id + 1]);
}

zo2_status zo2_weights_copy_run(const zo2_weights_copy *c)
{
    copy_job j = {.c = c};
    zo2_pool *pool = NULL;
    uint32_t n = c->arch->n_tensors;
    zo2_status s = count(&j);
    if (!s)
        s = zo2_pool_create(&pool, c->threads);
    if (!s) {
        zo2_ordered o = {.workers = zo2_pool_workers(pool),
                         .n = j.first[n],
                         .buffer_bytes = PIECE_BYTES + (c->level ? 3 : 1) * j.largest,
                         .work = make_chunk,
                         .finish = write_chunk,
                         .report = report,
                         .arg = &j};
        s = zo2_ordered_run(&o);
    }
    if (!s)
        s = report(&j, j.first[n]); /* the last chunks may have been other threads' */
    zo2_pool_destroy(pool);
    free(j.first);
    free(j.begin);
    free(j.full);
    return s;
}
