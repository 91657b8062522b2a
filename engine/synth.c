/* synth.c: packs of random weights for measurements. Weights come from the noise generator, so a pack is a pure
 * function of architecture, type and seed. */
#include "codec/codec.h"
#include "codec/fpenv.h"
#include "engine/pack_api.h"

#include <inttypes.h>
#include <stdlib.h>

#define PIECE                 65536u /* elements made at a time */
#define STANDARD_DEVIATION    0.02f  /* OPT's init_std */
#define PACK_OVERHEAD_BYTES   ((uint64_t)1 << 20)
#define TENSOR_OVERHEAD_BYTES ((uint64_t)8 << 10)

typedef struct job {
    const char *out;
    zo2_synth_opts o;
    zo2_arch arch;
    float *values; /* [PIECE] */
    void *bits;    /* [PIECE] of the type */
    uint64_t done, total;
} job;

void zo2_synth_opts_init_sized(zo2_synth_opts *o, size_t size)
{
    zo2_synth_opts own = {.struct_size = sizeof own};
    zo2_opts_give(o, size, &own, sizeof own);
}

static zo2_status report(const job *j)
{
    if (j->o.progress && j->o.progress(j->o.progress_ud, "synth", j->done, j->total))
        return zo2_error(ZO2_ERR_CANCELLED, "making %s was cancelled", j->out);
    return ZO2_OK;
}

static int is_aliased(const job *j, const zo2_tensor *t)
{
    return j->o.alias && t->layer > 0;
}

static int is_norm_weight(zo2_role role)
{
    return role == ZO2_ROLE_ATTN_NORM_W || role == ZO2_ROLE_FFN_NORM_W || role == ZO2_ROLE_FINAL_NORM_W;
}

/* Values of elements [first, first + n): matrices random, norms one, biases zero. */
static zo2_status make_values(const job *j, const zo2_tensor *t, uint64_t first, uint64_t n)
{
    if (t->rank == 1) {
        float value = is_norm_weight(t->role) ? 1.0f : 0.0f;
        for (uint64_t i = 0; i < n; i++)
            j->values[i] = value;
        return ZO2_OK;
    }
    zo2_status s = zo2_noise_fill(j->values, j->o.seed, 0, 0, t->id, first, n, ZO2_GAUSSIAN);
    for (uint64_t i = 0; i < n; i++)
        j->values[i] *= STANDARD_DEVIATION;
    return s;
}

static zo2_status write_tensor(job *j, zo2_packwriter *w, const zo2_tensor *t)
{
    zo2_packtensor record = zo2_pack_record(t, j->o.dtype);
    uint32_t size = zo2_dtype_bytes(j->o.dtype);
    uint64_t n = t->rows * t->cols;
    if (is_aliased(j, t))
        return zo2_packwriter_alias(w, &record, zo2_arch_find(&j->arch, t->role, 0));
    zo2_status s = zo2_packwriter_tensor(w, &record);
    for (uint64_t first = 0; first < n && !s; first += PIECE) {
        uint64_t piece = n - first < PIECE ? n - first : PIECE;
        if ((s = make_values(j, t, first, piece)))
            break;
        zo2_source_encode(j->o.dtype, j->values, piece, j->bits);
        if (!(s = zo2_packwriter_rows(w, j->bits, piece * size))) {
            j->done += piece * size;
            s = report(j);
        }
    }
    return s;
}

static zo2_status write_pack(job *j)
{
    zo2_packwriter *w = NULL;
    char *config = zo2_arch_config_json(&j->arch, j->o.dtype);
    if (!config)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory for the config.json of %s", j->out);
    zo2_status s = zo2_packwriter_open(&w, &zo2_io_posix, j->out, j->arch.name, j->o.force);
    if (!s) {
        zo2_packwriter_zstd(w, j->o.zstd_level);
        s = zo2_packwriter_file(w, zo2_carried_files[0], config, strlen(config));
    }
    for (uint32_t i = 0; i < j->arch.n_tensors && !s; i++)
        s = write_tensor(j, w, &j->arch.tensors[i]);
    if (!s)
        s = zo2_packwriter_commit(w, NULL);
    zo2_packwriter_close(w);
    free(config);
    return s;
}

/* Before anything is written: a model of hundreds of GB must not fail after an hour. */
static zo2_status check_space(job *j)
{
    uint64_t space = PACK_OVERHEAD_BYTES;
    for (uint32_t i = 0; i < j->arch.n_tensors; i++) {
        const zo2_tensor *t = &j->arch.tensors[i];
        if (is_aliased(j, t))
            continue;
        j->total += t->rows * t->cols * zo2_dtype_bytes(j->o.dtype);
        space += TENSOR_OVERHEAD_BYTES;
    }
    zo2_status s = zo2_require_absent(j->out, j->o.force);
    return s ? s : zo2_require_space(j->out, j->total + j->total / 512 + space);
}

zo2_status zo2_pack_synth(const char *arch, const char *out, const zo2_synth_opts *o)
{
    zo2_status s;
    fenv_t fenv;
    job j = {.out = out};
    if (!arch || !out)
        return zo2_error(ZO2_ERR_ARG, "zo2_pack_synth: arch and out are needed");
    zo2_synth_opts_init(&j.o);
    if (!zo2_opts_take(&j.o, sizeof j.o, o))
        return zo2_error(ZO2_ERR_ARG, "zo2_pack_synth: struct_size is not set: use zo2_synth_opts_init()");
    if (!j.o.dtype)
        j.o.dtype = ZO2_F16;
    if (!zo2_dtype_bytes(j.o.dtype))
        return zo2_error(ZO2_ERR_ARG, "zo2_pack_synth: unknown dtype %d", (int)j.o.dtype);
    if ((s = zo2_zstd_level_check("zo2_pack_synth", j.o.zstd_level)))
        return s;
    zo2_fpenv_pin(&fenv);
    j.values = malloc(PIECE * sizeof *j.values);
    j.bits = malloc(PIECE * sizeof(float));
    if (!j.values || !j.bits)
        s = zo2_error(ZO2_ERR_NOMEM, "out of memory for the buffers of a synthetic pack");
    else if (!(s = zo2_arch_load(&j.arch, arch, NULL)) && !(s = check_space(&j)))
        s = write_pack(&j);
    zo2_arch_free(&j.arch);
    free(j.values);
    free(j.bits);
    zo2_fpenv_restore(&fenv);
    return s;
}
