/* export.c: a pack, and optionally the steps of a run or bundle on top of it, to a Hugging Face directory or a file for llama.cpp: the order of work.
 * Weights stream in groups: export_model.c makes one, this thread writes it. */
#include "codec/codec.h"
#include "engine/base/finish.h"
#include "engine/base/fpenv.h"
#include "engine/base/job_error.h"
#include "engine/base/pool.h"
#include "engine/export/export_adapter.h"
#include "engine/export/export_dir.h"
#include "engine/export/export_gguf.h"
#include "engine/export/export_model.h"
#include "engine/export/export_opts.h"
#include "engine/export/export_values.h"
#include "engine/masters/replay.h"
#include "engine/model/arch.h"
#include "engine/pack/dropped.h"
#include "engine/pack/pack_api.h"
#include "storage/checkpoint/safetensors.h"
#include "storage/io/io.h"
#include "storage/run/snapshot.h"

#include <stdlib.h>

#define DEFAULT_SPLIT_BYTES UINT64_C(5000000000)
#define OVERHEAD_BYTES      ((uint64_t)64 << 20) /* headers and tokenizer files, for the disk check */

typedef struct job {
    zo2_export_opts o;
    zo2_export_values values;
    zo2_export_model model;
    zo2_st_tensor *tensors; /* [n_tensors of the model] as written */
    zo2_export_dir dir;
    uint64_t done, total; /* bytes written */
} job;

/* group_bytes: of the group in work, beyond what is written. */
static zo2_status report(void *arg, uint64_t group_bytes)
{
    const job *j = arg;
    return zo2_export_progress(&j->values, j->done + group_bytes, j->total);
}

static zo2_status list_tensors(job *j)
{
    const zo2_arch *a = j->model.arch;
    j->tensors = calloc(a->n_tensors, sizeof *j->tensors);
    if (!j->tensors)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory for the tensors of %s", j->values.pack_path);
    for (uint32_t i = 0; i < a->n_tensors; i++) {
        const zo2_tensor *t = &a->tensors[i];
        zo2_dtype dtype = j->o.dtype ? j->o.dtype : zo2_export_model_source(&j->model, i);
        j->tensors[i] = (zo2_st_tensor){
            .name = t->name,
            .dtype = dtype,
            .rank = t->rank,
            .shape = {t->rank == 1 ? t->cols : t->rows, t->rank == 1 ? 0 : t->cols},
        };
        j->total += t->rows * t->cols * zo2_dtype_bytes(dtype);
    }
    return ZO2_OK;
}

static zo2_status write_tensor(job *j, zo2_st_writer *w, uint32_t id)
{
    const zo2_tensor *t = &j->model.arch->tensors[id];
    zo2_dtype dtype = j->tensors[id].dtype;
    zo2_status s = zo2_export_model_begin(&j->model, id, dtype);
    for (uint64_t row = 0, rows; row < t->rows && !s; row += rows) {
        rows = zo2_export_model_rows(&j->model, row);
        uint64_t bytes = rows * t->cols * zo2_dtype_bytes(dtype);
        const void *bits;
        s = zo2_export_model_group(&j->model, row, rows, &bits);
        if (!s)
            s = zo2_st_writer_append(w, bits, bytes);
        if (!s) {
            j->done += bytes;
            s = report(j, 0);
        }
    }
    return s;
}

static zo2_status write_weights(job *j)
{
    zo2_st_writer *w = NULL;
    uint64_t split = j->o.split_bytes ? j->o.split_bytes : DEFAULT_SPLIT_BYTES;
    uint32_t n = j->model.arch->n_tensors;
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

static void announce(const job *j)
{
    const zo2_export_values *v = &j->values;
    if (v->queries && !v->spill) /* else it has said what it has */
        zo2_replay_announce(&v->history, v->snapshot ? zo2_snapfile_get_header(v->snapshot)->step : 0, v->steps,
                            v->snapshot != NULL, v->arch.moving, zo2_pool_threads(v->pool), j->o.log, j->o.log_ud);
}

static zo2_status export_folder(job *j, const char *out_dir)
{
    zo2_status s;
    if ((s = zo2_export_model_open(&j->model, &j->values)) || (s = list_tensors(j)) ||
        (s = zo2_export_dir_begin(&j->dir, out_dir, j->o.force)) ||
        (s = zo2_require_space(j->dir.path, j->total + OVERHEAD_BYTES)))
        return s;
    announce(j);
    if ((s = write_weights(j)) || (s = zo2_export_files(&j->dir, j->values.pack, j->model.arch, j->o.dtype)))
        return s;
    return zo2_export_dir_commit(&j->dir);
}

static zo2_status export_pack(job *j, const char *out)
{
    zo2_export_values *v = &j->values;
    zo2_status s = zo2_export_values_open(v);
    const int adapters = !s && v->arch.lora_rank && !j->o.merge;
    if (!s && adapters)
        s = zo2_export_adapter_check(v);
    if (!s && !adapters) /* adapters alone need nothing of the model */
        s = zo2_dropped_check_none(v->pack->file, "an export");
    if (s || (j->o.form == ZO2_EXPORT_FOLDER && !adapters))
        return s ? s : export_folder(j, out);
    announce(j);
    return adapters ? zo2_export_adapter(v, out) : zo2_export_gguf(v, out);
}

zo2_status zo2_pack_export(const char *pack, const char *out_dir, const zo2_export_opts *o)
{
    fenv_t fenv;
    job j = {.values = {.error = ZO2_JOB_ERROR_INIT}};
    if (!pack || !out_dir || !*out_dir)
        return zo2_error(ZO2_ERR_ARG, "zo2_pack_export: pack and out_dir are needed");
    zo2_status s = zo2_export_opts_own(&j.o, o, "zo2_pack_export");
    if (s)
        return s;
    if (j.o.dtype && !zo2_dtype_bytes(j.o.dtype))
        return zo2_error(ZO2_ERR_ARG, "zo2_pack_export: unknown dtype %d", (int)j.o.dtype);
    if (j.o.form > ZO2_EXPORT_GGUF_Q8_0)
        return zo2_error(ZO2_ERR_ARG, "zo2_pack_export: unknown form %d", (int)j.o.form);
    j.values.pack_path = pack;
    j.values.o = &j.o;
    j.values.report = report;
    j.values.arg = &j;
    zo2_fpenv_pin(&fenv);
    s = export_pack(&j, out_dir);
    zo2_export_dir_end(&j.dir);
    zo2_export_model_close(&j.model);
    zo2_export_values_close(&j.values);
    free(j.tensors);
    zo2_fpenv_restore(&fenv);
    return zo2_finish(s);
}
