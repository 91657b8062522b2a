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
#include "storage/pack/packfile.h"

#include <inttypes.h>
#include <stdlib.h>

/* Of the rows of one chunk of the pack, in double: a tensor's sum doesn't depend on who adds. */
typedef struct part {
    double squares, error_squares;
    uint64_t wire_bytes;
} part;

typedef struct compare_job {
    const zo2_packfile *file;
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

static zo2_status read_values(const compare_job *job, uint64_t row, uint64_t rows, float *w)
{
    const zo2_packtensor *t = zo2_packfile_tensor(job->file, job->tensor->id);
    void *bits = malloc(rows * t->cols * zo2_dtype_bytes(t->dtype));
    if (!bits)
        return no_memory(job->tensor);
    zo2_status s = zo2_packfile_read_rows(job->file, job->tensor->id, row, rows, bits);
    if (!s)
        zo2_source_decode(t->dtype, bits, rows * t->cols, w);
    free(bits);
    return s;
}

/* Encodes rows as one chunk of a run, and adds up what is lost of them row by row. */
static zo2_status compare_rows(const compare_job *job, const float *w, uint64_t rows, part *out)
{
    const uint64_t cols = job->tensor->cols, room = zo2_wire_room(job->codec, rows, cols);
    void *wire = aligned_alloc(64, zo2_round_up(room, 64));
    float *said = malloc(cols * sizeof *said);
    zo2_status s = wire && said ? ZO2_OK : no_memory(job->tensor);
    if (!s) {
        job->codec->split(w, rows, cols, 0, rows, wire, NULL);
        out->wire_bytes = zo2_wire_sent(job->codec, wire, rows, cols);
    }
    for (uint64_t r = 0; r < rows && !s; r++) {
        job->codec->decode(wire, rows, cols, r, 1, said);
        for (uint64_t c = 0; c < cols; c++) {
            const double value = w[r * cols + c], error = said[c] - value;
            out->squares += value * value;
            out->error_squares += error * error;
        }
    }
    free(said);
    free(wire);
    return s;
}

static void compare_part(void *arg, uint64_t i)
{
    compare_job *job = arg;
    const zo2_tensor *t = job->tensor;
    const uint64_t row = i * job->chunk_rows, rows = zo2_min_u64(job->chunk_rows, t->rows - row), n = rows * t->cols;
    float *w = malloc(n * sizeof *w);
    zo2_status s = w ? read_values(job, row, rows, w) : no_memory(t);
    if (!s && !zo2_codec_representable(job->codec, w, n))
        s = zo2_error(ZO2_ERR_NONFINITE, "tensor %s has a weight that the %s wire can't hold: choose another wire",
                      t->name, zo2_wire_name(job->codec->id));
    if (!s)
        s = compare_rows(job, w, rows, &job->parts[i]);
    free(w);
    if (s)
        zo2_job_error_set(&job->error, s);
}

static zo2_status compare(const zo2_pack *p, uint32_t id, zo2_wire wire, uint32_t threads, zo2_wire_error *out)
{
    const zo2_tensor *t = &p->arch.tensors[id];
    compare_job job = {.file = p->file,
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
