/* export.c: a pack, and optionally a run's steps on top of it, to a Hugging Face directory. Weights stream in groups:
 * the caller's thread writes, the pool reads, decodes, replays and encodes in between. A group is a few chunks of the
 * pack, replayed from step 0; or, where a snapshot is at hand, one of its units, replayed from there. */
#include "codec/codec.h"
#include "engine/base/fpenv.h"
#include "engine/base/job_error.h"
#include "engine/base/opts.h"
#include "engine/base/pool.h"
#include "engine/export/export_dir.h"
#include "engine/masters/history.h"
#include "engine/masters/replay.h"
#include "engine/masters/snapshot_find.h"
#include "engine/model/arch.h"
#include "engine/model/layout.h"
#include "engine/pack/pack_api.h"
#include "engine/run/run_api.h"
#include "storage/checkpoint/safetensors.h"
#include "storage/io/io.h"
#include "storage/pack/packfile.h"
#include "storage/run/journal.h"
#include "storage/run/snapshot.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define GROUP               ((uint64_t)8 << 20) /* elements between two writes; more when a chunk of the pack is larger */
#define PIECE               ((uint64_t)1 << 16) /* elements of a task */
#define LAYOUT_CHUNK_BYTES  ((uint64_t)4 << 20) /* any: units don't depend on it */
#define DEFAULT_SPLIT_BYTES UINT64_C(5000000000)
#define OVERHEAD_BYTES      ((uint64_t)64 << 20) /* headers and tokenizer files, for the disk check */
/* Value updates between two progress reports, per thread: about two seconds of the slowest noise. */
#define STAGE_UPDATES ((uint64_t)1 << 31)

typedef struct job {
    const char *pack_path;
    zo2_export_opts o;
    zo2_pack *pack;
    zo2_run *run;
    zo2_history history;
    uint64_t steps;         /* to replay */
    zo2_layout layout;      /* of the run; the snapshot's units */
    zo2_snapfile *snapshot; /* NULL: none that serves */
    zo2_pool *pool;
    zo2_st_tensor *tensors; /* [n_tensors] as written */
    zo2_export_dir dir;
    uint64_t done, total; /* bytes written */

    /* the group in work: elements [first, first + n) of t */
    const zo2_tensor *t;
    zo2_dtype from, to;
    uint64_t first, n;
    int decode;                  /* this pass takes the source bits; else values are there already */
    uint64_t step_from, step_to; /* steps of this pass over it */
    zo2_job_error error;         /* of reading it */
    unsigned char *source, *result;
    float *values;
    uint64_t *bad; /* [pieces] first element of a piece that the result can't hold, UINT64_MAX if none */
} job;

void zo2_export_opts_init_sized(zo2_export_opts *o, size_t size)
{
    zo2_export_opts own = {.struct_size = sizeof own, .at_step = -1};
    zo2_opts_give(o, size, &own, sizeof own);
}

static zo2_status report(const job *j, uint64_t done)
{
    if (j->o.progress && j->o.progress(j->o.progress_ud, "export", done, j->total))
        return zo2_error(ZO2_ERR_CANCELLED, "the export of %s was cancelled", j->pack_path);
    return ZO2_OK;
}

/* ---- preparation --------------------------------------------------------------------------------------------------
 */

static zo2_status find_snapshot(job *j)
{
    const zo2_run_settings *set = zo2_journal_settings(j->run->journal);
    if (!j->steps)
        return ZO2_OK;
    char *dir = j->o.snapshot_dir ? strdup(j->o.snapshot_dir) : zo2_path_join(j->o.run_dir, "snapshots");
    zo2_status s = dir ? zo2_layout_create(&j->layout, &j->pack->arch, set->wire, set->compute, LAYOUT_CHUNK_BYTES)
                       : zo2_error(ZO2_ERR_NOMEM, "out of memory for the name of the snapshots of %s", j->o.run_dir);
    if (!s)
        j->snapshot = zo2_snapshot_find(dir, j->run->journal, &j->layout, j->steps, j->o.log, j->o.log_ud);
    free(dir);
    return s;
}

static zo2_status open_run(job *j)
{
    const char *dir = j->o.run_dir;
    if (!dir)
        return j->o.at_step > 0
                   ? zo2_error(ZO2_ERR_ARG, "an export at step %" PRId64 " needs a run directory", j->o.at_step)
                   : ZO2_OK;
    const zo2_packheader *h = zo2_packfile_header(j->pack->file);
    zo2_status s = zo2_run_open(&j->run, dir);
    if (!s)
        s = zo2_run_check_model(j->run, h->model_hash, j->pack_path);
    if (s)
        return s;
    if (h->aliased)
        return zo2_error(ZO2_ERR_UNSUPPORTED,
                         "%s stores one layer for all, so the weights of a run on it mean nothing and aren't exported",
                         j->pack_path);
    uint64_t steps = zo2_run_steps(j->run);
    if (j->o.at_step >= 0 && (uint64_t)j->o.at_step > steps)
        return zo2_error(ZO2_ERR_ARG, "the run in %s has %" PRIu64 " steps; there is no step %" PRId64 " to export at",
                         dir, steps, j->o.at_step);
    j->steps = j->o.at_step < 0 ? steps : (uint64_t)j->o.at_step;
    zo2_history_init(&j->history, zo2_journal_settings(j->run->journal));
    s = zo2_history_load(&j->history, j->run->journal, j->steps);
    return s ? s : find_snapshot(j);
}

/* Rows of a group: whole chunks of the pack, so that each is read and hashed once; or a unit of the snapshot, for the
 * same reason. All units of a matrix but the last have as many rows. */
static uint64_t group_rows(const job *j, const zo2_tensor *t)
{
    if (j->snapshot)
        return t->rank == 1 ? 1 : j->layout.units[j->layout.tensor_unit[t->id]].rows;
    uint64_t chunk = zo2_packfile_chunk_rows(j->pack->file, t->id);
    uint64_t chunks = GROUP / (chunk * t->cols);
    uint64_t rows = chunk * (chunks ? chunks : 1);
    return rows < t->rows ? rows : t->rows;
}

static zo2_status prepare(job *j)
{
    const zo2_arch *a = &j->pack->arch;
    uint64_t largest = 1;
    j->tensors = calloc(a->n_tensors, sizeof *j->tensors);
    if (!j->tensors)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory for the tensors of %s", j->pack_path);
    for (uint32_t i = 0; i < a->n_tensors; i++) {
        const zo2_tensor *t = &a->tensors[i];
        zo2_dtype dtype = j->o.dtype ? j->o.dtype : zo2_packfile_tensor(j->pack->file, i)->dtype;
        uint64_t elements = t->rows * t->cols, group = group_rows(j, t) * t->cols;
        j->tensors[i] = (zo2_st_tensor){
            .name = t->name,
            .dtype = dtype,
            .rank = t->rank,
            .shape = {t->rank == 1 ? t->cols : t->rows, t->rank == 1 ? 0 : t->cols},
            .elements = elements,
            .bytes = elements * zo2_dtype_bytes(dtype),
        };
        snprintf(j->tensors[i].dtype_name, sizeof j->tensors[i].dtype_name, "%s",
                 dtype == ZO2_F32   ? "F32"
                 : dtype == ZO2_F16 ? "F16"
                                    : "BF16");
        j->total += j->tensors[i].bytes;
        largest = group > largest ? group : largest;
    }
    for (uint32_t i = 0; j->snapshot && i < j->layout.n_units; i++) /* vectors come with all of their block */
        largest = j->layout.units[i].elements > largest ? j->layout.units[i].elements : largest;
    j->source = malloc(largest * sizeof(float));
    j->result = malloc(largest * sizeof(float));
    j->values = malloc(largest * sizeof *j->values);
    j->bad = malloc((largest / PIECE + 1) * sizeof *j->bad);
    if (!j->source || !j->result || !j->values || !j->bad)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory for the buffers of an export (%" PRIu64 " bytes)", 12 * largest);
    return zo2_pool_create(&j->pool, j->o.threads);
}

/* ---- weights ------------------------------------------------------------------------------------------------------
 */

/* One piece of one pass: the first pass decodes, every pass replays its steps, the last one encodes and looks for what
 * got lost. */
static void do_piece(void *arg, uint64_t i)
{
    const job *j = arg;
    uint64_t at = i * PIECE, n = j->n - at < PIECE ? j->n - at : PIECE;
    float *values = j->values + at;
    unsigned char *result = j->result + at * zo2_dtype_bytes(j->to);
    if (j->decode)
        zo2_source_decode(j->from, j->source + at * zo2_dtype_bytes(j->from), n, values);
    zo2_history_apply(&j->history, j->t->id, j->t->decays, j->first + at, n, j->step_from, j->step_to, values);
    if (j->step_to < j->steps)
        return;
    zo2_source_encode(j->to, values, n, result);
    uint64_t bad = zo2_first_nonfinite(j->to, result, n);
    j->bad[i] = bad < n ? at + bad : UINT64_MAX;
}

static zo2_status refuse_value(const job *j, uint64_t i)
{
    uint64_t element = j->first + i;
    if (!isfinite(j->values[i]))
        return zo2_error(ZO2_ERR_NONFINITE,
                         "element %" PRIu64 " of %s is infinite or not a number after %" PRIu64
                         " steps; export an earlier step",
                         element, j->t->name, j->steps);
    return zo2_error(ZO2_ERR_NONFINITE, "element %" PRIu64 " of %s is %g, too large for %s; export as %s", element,
                     j->t->name, (double)j->values[i], zo2_dtype_name(j->to),
                     j->to == ZO2_F16 ? "bf16 or fp32" : "fp32");
}

/* Source bits (decode), or values that stand at step `from`, of a group to result bits. */
static zo2_status convert_group(job *j, uint64_t from)
{
    uint64_t pieces = (j->n + PIECE - 1) / PIECE;
    uint32_t queries = j->run ? zo2_journal_settings(j->run->journal)->queries : 1;
    uint64_t stage = STAGE_UPDATES * zo2_pool_threads(j->pool) / (j->n * (queries ? queries : 1));
    uint64_t bytes = j->n * zo2_dtype_bytes(j->to);
    if (stage == 0)
        stage = 1;
    j->step_from = from;
    do {
        j->step_to = j->steps - j->step_from < stage ? j->steps : j->step_from + stage;
        zo2_pool_run(j->pool, pieces, do_piece, j);
        j->decode = 0;
        j->step_from = j->step_to;
        if (j->step_from < j->steps) {
            zo2_status s = report(j, j->done + (uint64_t)((double)bytes * (double)j->step_from / (double)j->steps));
            if (s)
                return s;
        }
    } while (j->step_from < j->steps);
    for (uint64_t i = 0; i < pieces; i++)
        if (j->bad[i] != UINT64_MAX)
            return refuse_value(j, j->bad[i]);
    return ZO2_OK;
}

/* ---- where values come from --------------------------------------------------------------------------------------
 */

/* Values of the group in work from the snapshot, which stand at step *from then. 0: they have to come from the pack. */
static int take_from_snapshot(job *j, uint64_t row, uint64_t *from)
{
    if (!j->snapshot)
        return 0;
    uint32_t unit = zo2_layout_unit(&j->layout, j->t->id, row);
    const zo2_unit *u = &j->layout.units[unit];
    if (!zo2_snapshot_unit(j->snapshot, unit, j->steps, j->values, from, j->o.log, j->o.log_ud))
        return 0;
    if (u->tensor == ZO2_NO_TENSOR) { /* one of the block's vectors, all of which were read */
        const zo2_chunk *c = &j->layout.chunks[u->first_chunk];
        const zo2_span *span = &j->layout.spans[c->first_span];
        while (span->tensor != j->t->id)
            span++;
        memmove(j->values, j->values + span->element_at, (size_t)j->n * sizeof *j->values);
    }
    return 1;
}

/* Rows of one chunk of the pack that lie in the group. */
static void read_piece(void *arg, uint64_t i)
{
    job *j = arg;
    uint64_t chunk = zo2_packfile_chunk_rows(j->pack->file, j->t->id);
    uint64_t begin = j->first / j->t->cols, end = begin + j->n / j->t->cols;
    uint64_t from = (begin / chunk + i) * chunk, to = from + chunk;
    from = from > begin ? from : begin;
    to = to < end ? to : end;
    unsigned char *at = j->source + (from - begin) * j->t->cols * zo2_dtype_bytes(j->from);
    zo2_status s = zo2_packfile_read_rows(j->pack->file, j->t->id, from, to - from, at);
    if (s)
        zo2_job_error_set(&j->error, s);
}

static zo2_status read_source(job *j, uint64_t row, uint64_t rows)
{
    uint64_t chunk = zo2_packfile_chunk_rows(j->pack->file, j->t->id);
    zo2_pool_run(j->pool, (row + rows - 1) / chunk - row / chunk + 1, read_piece, j);
    return zo2_job_error_raise(&j->error);
}

/* ---- tensors ------------------------------------------------------------------------------------------------------
 */

static zo2_status write_tensor(job *j, zo2_st_writer *w, uint32_t id)
{
    const zo2_tensor *t = &j->pack->arch.tensors[id];
    uint64_t group = group_rows(j, t);
    zo2_status s = ZO2_OK;
    j->t = t;
    j->from = zo2_packfile_tensor(j->pack->file, id)->dtype;
    j->to = j->tensors[id].dtype;
    int verbatim = j->steps == 0 && j->from == j->to; /* the source's own bits */
    uint64_t from;
    for (uint64_t row = 0; row < t->rows && !s; row += group) {
        uint64_t rows = t->rows - row < group ? t->rows - row : group;
        j->first = row * t->cols;
        j->n = rows * t->cols;
        j->decode = !take_from_snapshot(j, row, &from);
        if (j->decode) {
            s = read_source(j, row, rows);
            from = 0;
        }
        if (!s && !verbatim)
            s = convert_group(j, from);
        if (!s)
            s = zo2_st_writer_append(w, verbatim ? j->source : j->result, j->n * zo2_dtype_bytes(j->to));
        if (!s) {
            j->done += j->n * zo2_dtype_bytes(j->to);
            s = report(j, j->done);
        }
    }
    return s;
}

static zo2_status write_weights(job *j)
{
    zo2_st_writer *w = NULL;
    uint64_t split = j->o.split_bytes ? j->o.split_bytes : DEFAULT_SPLIT_BYTES;
    uint32_t n = j->pack->arch.n_tensors;
    zo2_status s = report(j, 0);
    if (!s)
        s = zo2_st_writer_open(&w, &zo2_io_posix, j->dir.tmp, j->tensors, n, split);
    for (uint32_t i = 0; i < n && !s; i++)
        s = write_tensor(j, w, i);
    if (!s)
        s = zo2_st_writer_commit(w);
    zo2_st_writer_close(w);
    return s;
}

/* ---- entry --------------------------------------------------------------------------------------------------------
 */

static zo2_status export_pack(job *j, const char *out_dir)
{
    zo2_status s;
    if ((s = zo2_pack_open(&j->pack, j->pack_path)) || (s = open_run(j)) || (s = prepare(j)) ||
        (s = zo2_export_dir_begin(&j->dir, out_dir, j->o.force)) ||
        (s = zo2_require_space(j->dir.path, j->total + OVERHEAD_BYTES)))
        return s;
    zo2_replay_announce(&j->history, j->snapshot ? zo2_snapfile_get_header(j->snapshot)->step : 0, j->steps,
                        j->snapshot != NULL, j->pack->arch.parameters, zo2_pool_threads(j->pool), j->o.log,
                        j->o.log_ud);
    if ((s = write_weights(j)) || (s = zo2_export_files(&j->dir, j->pack->file, j->o.dtype)))
        return s;
    return zo2_export_dir_commit(&j->dir);
}

zo2_status zo2_pack_export(const char *pack, const char *out_dir, const zo2_export_opts *o)
{
    fenv_t fenv;
    job j = {.pack_path = pack, .error = ZO2_JOB_ERROR_INIT};
    if (!pack || !out_dir || !*out_dir)
        return zo2_error(ZO2_ERR_ARG, "zo2_pack_export: pack and out_dir are needed");
    zo2_export_opts_init(&j.o);
    if (!zo2_opts_take(&j.o, sizeof j.o, o))
        return zo2_error(ZO2_ERR_ARG, "zo2_pack_export: struct_size is not set: use zo2_export_opts_init()");
    if (j.o.dtype && !zo2_dtype_bytes(j.o.dtype))
        return zo2_error(ZO2_ERR_ARG, "zo2_pack_export: unknown dtype %d", (int)j.o.dtype);
    zo2_fpenv_pin(&fenv);
    zo2_status s = export_pack(&j, out_dir);
    zo2_export_dir_end(&j.dir);
    zo2_pool_destroy(j.pool);
    zo2_history_free(&j.history);
    zo2_snapfile_close(j.snapshot);
    zo2_layout_free(&j.layout);
    zo2_run_close(j.run);
    zo2_pack_close(j.pack);
    free(j.tensors);
    free(j.source);
    free(j.result);
    free(j.values);
    free(j.bad);
    zo2_fpenv_restore(&fenv);
    return s;
}
