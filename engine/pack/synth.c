/* synth.c: packs of random weights for measurements. Weights come from the noise generator, so a pack is a pure
 * function of architecture, type and seed. */
#include "codec/codec.h"
#include "codec/update.h"
#include "engine/base/finish.h"
#include "engine/base/fpenv.h"
#include "engine/base/opts.h"
#include "engine/families/families.h"
#include "engine/model/arch.h"
#include "engine/pack/pack_api.h"
#include "engine/pack/pack_weights.h"
#include "storage/io/io.h"
#include "storage/pack/packfile.h"
#include "storage/pack/packfile_format.h"
#include "storage/pack/packfile_zstd.h"

#include <inttypes.h>
#include <stdlib.h>

#define PIECE              4096u /* elements made at a time: on a thread's stack */
#define STANDARD_DEVIATION 0.02f /* OPT's init_std */

typedef struct job {
    const char *out;
    zo2_synth_opts o;
    zo2_arch arch;
    uint64_t total; /* bytes of weights */
} job;

void zo2_synth_opts_init_sized(zo2_synth_opts *o, size_t size)
{
    zo2_synth_opts own = {.struct_size = sizeof own};
    zo2_opts_give(o, size, &own, sizeof own);
}

static zo2_status report(void *arg, uint64_t bytes)
{
    const job *j = arg;
    if (j->o.progress && j->o.progress(j->o.progress_ud, "synth", bytes, j->total))
        return zo2_error(ZO2_ERR_CANCELLED, "making %s was cancelled", j->out);
    return ZO2_OK;
}

static int is_aliased(const job *j, const zo2_tensor *t)
{
    return j->o.alias && t->layer > 0;
}

/* Source bits of elements [first, first + n): matrices random, norms one, biases zero. */
static zo2_status make_bits(void *arg, uint32_t tensor, uint64_t first, uint64_t n, void *bits)
{
    const job *j = arg;
    const zo2_tensor *t = &j->arch.tensors[tensor];
    uint64_t key = zo2_noise_key(j->o.seed, 0);
    uint32_t size = zo2_dtype_bytes(j->o.dtype);
    float values[PIECE];
    for (uint64_t at = 0; at < n; at += PIECE) {
        uint64_t piece = n - at < PIECE ? n - at : PIECE;
        if (t->rank == 2)
            zo2_noise_values(values, key, 0, t->id, first + at, piece, ZO2_GAUSSIAN);
        for (uint64_t i = 0; i < piece; i++)
            values[i] = t->rank == 2 ? values[i] * STANDARD_DEVIATION : t->ones ? 1.0f : 0.0f;
        zo2_source_encode(j->o.dtype, values, piece, (unsigned char *)bits + at * size);
    }
    return ZO2_OK;
}

static zo2_status write_weights(job *j, zo2_packwriter *w)
{
    uint32_t n = j->arch.n_tensors;
    zo2_dtype *dtypes = calloc(n, sizeof *dtypes);
    uint32_t *stored_as = calloc(n, sizeof *stored_as);
    zo2_status s =
        dtypes && stored_as ? ZO2_OK : zo2_error(ZO2_ERR_NOMEM, "out of memory for the tensors of %s", j->out);
    for (uint32_t i = 0; i < n && !s; i++) {
        const zo2_tensor *t = &j->arch.tensors[i];
        dtypes[i] = j->o.dtype;
        stored_as[i] = is_aliased(j, t) ? zo2_arch_find(&j->arch, t->role, 0) : i;
    }
    zo2_pack_weights weights = {.arch = &j->arch,
                                .dtypes = dtypes,
                                .stored_as = stored_as,
                                .writer = w,
                                .level = j->o.zstd_level,
                                .threads = j->o.threads,
                                .fill = make_bits,
                                .report = report,
                                .arg = j};
    if (!s)
        s = zo2_pack_weights_write(&weights);
    free(dtypes);
    free(stored_as);
    return s;
}

static zo2_status write_pack(job *j)
{
    zo2_packwriter *w = NULL;
    char *config = zo2_arch_config_json(&j->arch, j->o.dtype);
    if (!config)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory for the config.json of %s", j->out);
    zo2_status s = zo2_packwriter_open(&w, &zo2_io_posix, j->out, j->arch.name, j->o.force);
    if (!s)
        s = zo2_packwriter_file(w, zo2_carried_files[0], config, strlen(config));
    if (!s)
        s = write_weights(j, w);
    if (!s)
        s = zo2_packwriter_commit(w, NULL);
    zo2_packwriter_close(w);
    free(config);
    return s;
}

/* Before anything is written: a model of hundreds of GB must not fail after an hour. */
static zo2_status check_space(job *j)
{
    uint64_t stored = 0; /* tensors */
    for (uint32_t i = 0; i < j->arch.n_tensors; i++) {
        const zo2_tensor *t = &j->arch.tensors[i];
        if (is_aliased(j, t))
            continue;
        j->total += t->rows * t->cols * zo2_dtype_bytes(j->o.dtype);
        stored++;
    }
    zo2_status s = zo2_require_replaceable(j->out);
    if (!s)
        s = zo2_require_absent(j->out, j->o.force);
    return s ? s : zo2_require_space(j->out, zo2_pack_bytes_at_most(stored, j->total));
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
    zo2_fpenv_pin(&fenv); /* this thread makes values too */
    if (!(s = zo2_arch_load(&j.arch, arch, NULL)) && !(s = check_space(&j)))
        s = write_pack(&j);
    zo2_arch_free(&j.arch);
    zo2_fpenv_restore(&fenv);
    return zo2_finish(s);
}
