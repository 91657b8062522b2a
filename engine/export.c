/* export.c: a pack, and optionally a run's steps on top of it, to a Hugging Face directory. Weights stream in groups of
 * a few million elements: the caller's thread reads source bits and writes the result, the pool decodes, replays and
 * encodes in between. Replay goes from step 0: snapshots are cut by the engine's units and only it knows them. */
#include "codec/codec.h"
#include "codec/fpenv.h"
#include "engine/export_dir.h"
#include "engine/history.h"
#include "engine/pack_api.h"
#include "engine/pool.h"
#include "engine/run_api.h"
#include "storage/safetensors.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define GROUP               ((uint64_t)2 << 20) /* elements between two writes; more when a chunk of the pack is larger */
#define PIECE               ((uint64_t)1 << 16) /* elements of a task */
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
    uint64_t steps; /* to replay */
    zo2_pool *pool;
    zo2_st_tensor *tensors; /* [n_tensors] as written */
    zo2_export_dir dir;
    uint64_t done, total; /* bytes written */

    /* the group in work: elements [first, first + n) of t */
    const zo2_tensor *t;
    zo2_dtype from, to;
    uint64_t first, n;
    uint64_t step_from, step_to; /* steps of this pass over it */
    unsigned char *source, *result;
    float *values;
    uint64_t *bad; /* [pieces] first element of a piece that the result can't hold, UINT64_MAX if none */
} job;

void zo2_export_opts_init(zo2_export_opts *o)
{
    if (o)
        *o = (zo2_export_opts){.struct_size = sizeof *o, .at_step = -1};
}

static zo2_status report(const job *j, uint64_t done)
{
    if (j->o.progress && j->o.progress(j->o.progress_ud, "export", done, j->total))
        return zo2_error(ZO2_ERR_CANCELLED, "the export of %s was cancelled", j->pack_path);
    return ZO2_OK;
}

/* ---- preparation --------------------------------------------------------------------------------------------------
 */

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
    return zo2_history_load(&j->history, j->run->journal, j->steps);
}

/* Rows of a group: whole chunks of the pack, so that each is read and hashed once. */
static uint64_t group_rows(const job *j, const zo2_tensor *t)
{
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
    j->source = malloc(largest * sizeof(float));
    j->result = malloc(largest * sizeof(float));
    j->values = malloc(largest * sizeof *j->values);
    j->bad = malloc((largest / PIECE + 1) * sizeof *j->bad);
    if (!j->source || !j->result || !j->values || !j->bad)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory for the buffers of an export (%" PRIu64 " bytes)", 12 * largest);
    return zo2_pool_create(&j->pool, j->o.threads);
}

/* ---- the estimate -------------------------------------------------------------------------------------------------
 */

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Says how long the replay will take, from the time a few of its steps take on a few values. */
static void announce_replay(const job *j)
{
    uint32_t updates, sampled;
    char text[256];
    zo2_history_range(&j->history, 0, j->steps, &updates);
    if (!j->o.log || !updates)
        return;
    uint64_t steps = j->steps < 64 ? j->steps : 64, n = 1024;
    double begin = now();
    memset(j->values, 0, n * sizeof *j->values);
    zo2_history_apply(&j->history, 0, 1, 0, n, 0, steps, j->values);
    double elapsed = now() - begin;
    zo2_history_range(&j->history, 0, steps, &sampled);
    double seconds = sampled ? elapsed / ((double)n * sampled) * (double)j->pack->arch.parameters * updates /
                                   zo2_pool_threads(j->pool)
                             : 0;
    snprintf(text, sizeof text,
             "replaying %" PRIu64 " steps over %" PRIu64 " parameters with %" PRIu32 " threads: about %.0f %s",
             j->steps, j->pack->arch.parameters, zo2_pool_threads(j->pool),
             seconds < 120 ? ceil(seconds) : ceil(seconds / 60), seconds < 120 ? "seconds" : "minutes");
    j->o.log(j->o.log_ud, ZO2_LOG_INFO, text);
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
    if (j->step_from == 0)
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

/* Source bits of a group to result bits. */
static zo2_status convert_group(job *j)
{
    uint64_t pieces = (j->n + PIECE - 1) / PIECE;
    uint32_t queries = j->run ? zo2_journal_settings(j->run->journal)->queries : 1;
    uint64_t stage = STAGE_UPDATES * zo2_pool_threads(j->pool) / (j->n * (queries ? queries : 1));
    uint64_t bytes = j->n * zo2_dtype_bytes(j->to);
    if (stage == 0)
        stage = 1;
    j->step_from = 0;
    do {
        j->step_to = j->steps - j->step_from < stage ? j->steps : j->step_from + stage;
        zo2_pool_run(j->pool, pieces, do_piece, j);
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

static zo2_status write_tensor(job *j, zo2_st_writer *w, uint32_t id)
{
    const zo2_tensor *t = &j->pack->arch.tensors[id];
    uint64_t group = group_rows(j, t);
    zo2_status s = ZO2_OK;
    j->t = t;
    j->from = zo2_packfile_tensor(j->pack->file, id)->dtype;
    j->to = j->tensors[id].dtype;
    int verbatim = j->steps == 0 && j->from == j->to; /* the source's own bits */
    for (uint64_t row = 0; row < t->rows && !s; row += group) {
        uint64_t rows = t->rows - row < group ? t->rows - row : group;
        j->first = row * t->cols;
        j->n = rows * t->cols;
        s = zo2_packfile_read_rows(j->pack->file, id, row, rows, j->source);
        if (!s && !verbatim)
            s = convert_group(j);
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

/* ---- the other files ----------------------------------------------------------------------------------------------
 */

/* JSON text in as few digits as give the same numbers back: 0.1 must not become 0.10000000000000001. */
static char *dump_json(const json_t *v)
{
    char *text = json_dumps(v, JSON_INDENT(2) | JSON_REAL_PRECISION(15));
    json_t *back = text ? json_loads(text, 0, NULL) : NULL;
    if (back && !json_equal(v, back)) {
        free(text);
        text = json_dumps(v, JSON_INDENT(2) | JSON_REAL_PRECISION(17));
    }
    json_decref(back);
    return text;
}

/* config.json with the type that the weights now have, under the key it used. Order and everything else stay. */
static zo2_status write_config(const job *j, const char *text, size_t bytes)
{
    static const char *const names[] = {"", "float32", "float16", "bfloat16"};
    if (!j->o.dtype)
        return zo2_export_dir_file(&j->dir, "config.json", text, bytes);
    json_t *config = json_loadb(text, bytes, 0, NULL);
    const char *key = json_object_get(config, "dtype") ? "dtype" : "torch_dtype";
    char *edited = NULL;
    if (config && json_object_set_new(config, key, json_string(names[j->o.dtype])) == 0)
        edited = dump_json(config);
    zo2_status s = edited ? zo2_export_dir_file(&j->dir, "config.json", edited, strlen(edited))
                          : zo2_error(ZO2_ERR_NOMEM, "out of memory for the config.json of %s", j->pack_path);
    free(edited);
    json_decref(config);
    return s;
}

static zo2_status write_files(const job *j)
{
    zo2_status s = ZO2_OK;
    const char *name, *data;
    size_t bytes;
    for (size_t i = 0; !s && (name = zo2_packfile_file_name(j->pack->file, i)); i++)
        if (!(s = zo2_packfile_file(j->pack->file, name, &data, &bytes)))
            s = strcmp(name, "config.json") == 0 ? write_config(j, data, bytes)
                                                 : zo2_export_dir_file(&j->dir, name, data, bytes);
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
    announce_replay(j);
    if ((s = write_weights(j)) || (s = write_files(j)))
        return s;
    return zo2_export_dir_commit(&j->dir);
}

zo2_status zo2_pack_export(const char *pack, const char *out_dir, const zo2_export_opts *o)
{
    fenv_t fenv;
    job j = {.pack_path = pack};
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
