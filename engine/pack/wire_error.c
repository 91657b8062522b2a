/* wire_error.c: how far what a wire says of a pack's tensor is from the pack's own values. */
#include "codec/codec.h"
#include "engine/base/checked.h"
#include "engine/base/finish.h"
#include "engine/base/fpenv.h"
#include "engine/base/job_error.h"
#include "engine/base/opts.h"
#include "engine/base/pool.h"
#include "engine/model/arch.h"
#include "engine/model/wire_size.h"
#include "engine/pack/pack_api.h"
#include "engine/pack/wire_chunk.h"
#include "storage/pack/packfile.h"

#include <inttypes.h>
#include <stdlib.h>

/* Of the rows of one chunk of the pack, in double: a tensor's sum doesn't depend on who adds. */
typedef struct part {
    double squares, error_squares;
    uint64_t wire_bytes;
} part;

typedef struct compare_job {
    const zo2_pack *pack;
    const zo2_tensor *tensor;
    const zo2_codec *codec;
    uint64_t chunk_rows; /* of the pack: a read checks whole chunks */
    part *parts;
    zo2_job_error error;
} compare_job;

static zo2_status no_memory(const zo2_tensor *t)
{
    return zo2_error(ZO2_ERR_NOMEM, "no memory to encode tensor %s", t->name);
}

/* Adds up row by row what is lost of a chunk's values in its wire. */
static zo2_status compare_rows(const compare_job *job, const unsigned char *bits, const unsigned char *wire,
                               uint64_t rows, part *out)
{
    const zo2_dtype dtype = zo2_packfile_tensor(job->pack->file, job->tensor->id)->dtype;
    const uint64_t cols = job->tensor->cols, row_bytes = cols * zo2_dtype_bytes(dtype);
    float *w = malloc(2 * cols * sizeof *w);
    if (!w)
        return no_memory(job->tensor);
    float *said = w + cols;
    for (uint64_t r = 0; r < rows; r++) {
        zo2_source_decode(dtype, bits + r * row_bytes, cols, w);
        job->codec->decode(wire, rows, cols, r, 1, said);
        for (uint64_t c = 0; c < cols; c++) {
            const double value = w[c], error = said[c] - value;
            out->squares += value * value;
            out->error_squares += error * error;
        }
    }
    free(w);
    return ZO2_OK;
}

static void compare_part(void *arg, uint64_t i)
{
    compare_job *job = arg;
    const zo2_tensor *t = job->tensor;
    const zo2_packfile *file = job->pack->file;
    const uint64_t row = i * job->chunk_rows, rows = zo2_min_u64(job->chunk_rows, t->rows - row);
    unsigned char *bits = malloc(rows * t->cols * zo2_dtype_bytes(zo2_packfile_tensor(file, t->id)->dtype));
    unsigned char *wire = aligned_alloc(64, zo2_round_up(zo2_wire_room(job->codec, rows, t->cols), 64));
    zo2_status s = bits && wire ? zo2_packfile_read_rows(file, t->id, row, rows, bits) : no_memory(t);
    if (!s) {
        s = zo2_wire_chunk_encode(job->pack, job->codec, t->id, bits, rows, wire);
        if (s == ZO2_ERR_NONFINITE) /* there is no step here that it could be of */
            s = zo2_error(s, "tensor %s has a weight that the %s wire can't hold: choose another wire", t->name,
                          zo2_wire_name(job->codec->id));
    }
    if (!s)
        s = compare_rows(job, bits, wire, rows, &job->parts[i]);
    if (!s)
        job->parts[i].wire_bytes = zo2_wire_sent(job->codec, wire, rows, t->cols);
    free(wire);
    free(bits);
    if (s)
        zo2_job_error_set(&job->error, s);
}

static zo2_status compare(const zo2_pack *p, uint32_t id, zo2_wire wire, uint32_t threads, zo2_wire_error *out)
{
    const zo2_tensor *t = &p->arch.tensors[id];
    compare_job job = {.pack = p,
                       .tensor = t,
                       .codec = zo2_codec_get(t->exempt ? ZO2_WIRE_FP32 : wire),
                       .chunk_rows = zo2_packfile_chunk_rows(p->file, id),
                       .error = ZO2_JOB_ERROR_INIT};
    const uint64_t n = (t->rows + job.chunk_rows - 1) / job.chunk_rows;
    zo2_pool *pool = NULL;
    job.parts = calloc(n, sizeof *job.parts);
    zo2_status s = job.parts ? zo2_pool_create(&pool, threads) : no_memory(t);
    if (!s) {
        zo2_pool_run(pool, n, compare_part, &job);
        s = zo2_job_error_raise(&job.error);
    }
    zo2_pool_destroy(pool);
    out->wire = job.codec->id;
    out->weights = t->rows * t->cols;
    for (uint64_t i = 0; i < n && !s; i++) {
        out->wire_bytes += job.parts[i].wire_bytes;
        out->squares += job.parts[i].squares;
        out->error_squares += job.parts[i].error_squares;
    }
    free(job.parts);
    return s;
}

zo2_status zo2_pack_wire_error_sized(const zo2_pack *p, uint64_t i, zo2_wire wire, uint32_t threads,
                                     zo2_wire_error *out, size_t size)
{
    zo2_wire_error own = {.struct_size = sizeof own};
    fenv_t fenv;
    if (!p || !out || size < sizeof out->struct_size)
        return zo2_error(ZO2_ERR_ARG, "zo2_pack_wire_error: pack and out are needed");
    if (!zo2_codec_get(wire))
        return zo2_error(ZO2_ERR_ARG, "zo2_pack_wire_error: there is no wire number %d", (int)wire);
    if (i >= p->arch.n_tensors)
        return zo2_error(ZO2_ERR_NOTFOUND, "the model has %" PRIu32 " tensors, there is no number %" PRIu64,
                         p->arch.n_tensors, i);
    if (!p->file)
        return zo2_error(ZO2_ERR_UNSUPPORTED, "an architecture without a pack has no weights to encode");
    zo2_fpenv_pin(&fenv);
    zo2_status s = compare(p, (uint32_t)i, wire, threads, &own);
    zo2_fpenv_restore(&fenv);
    if (!s)
        zo2_opts_give(out, size, &own, sizeof own);
    return zo2_finish(s);
}
