/* convert_write.c: a checked checkpoint into a pack. */
#include "codec/codec.h"
#include "engine/pack/convert_job.h"
#include "engine/pack/pack_api.h"
#include "engine/pack/pack_weights.h"
#include "engine/pack/pieces.h"
#include "storage/checkpoint/checkpoint.h"
#include "storage/io/io.h"
#include "storage/pack/packfile.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static zo2_status on_bytes(void *arg, uint64_t bytes)
{
    return zo2_convert_report(arg, bytes);
}

/* The source bits of a part of a tensor, refused if a value isn't finite. */
static zo2_status read_weights(void *arg, uint32_t tensor, uint64_t first, uint64_t n, void *bits)
{
    const zo2_convert_job *j = arg;
    zo2_status s = zo2_pieces_read(&j->pieces, tensor, first, n, bits);
    if (s)
        return s;
    uint64_t bad = zo2_first_nonfinite(zo2_pieces_dtype(&j->pieces, tensor), bits, n);
    if (bad < n) {
        uint64_t element, stored = zo2_pieces_locate(&j->pieces, tensor, first + bad, &element);
        const zo2_stored from = zo2_checkpoint_tensor(j->source, stored);
        return zo2_error(ZO2_ERR_NONFINITE,
                         "element %" PRIu64 " of %s in %s is infinite or not a number: such a model can't be trained",
                         element, from.name, from.file);
    }
    return ZO2_OK;
}

/* What belongs to the model and has no place in a pack. */
static void warn_left_behind(const zo2_convert_job *j)
{
    char text[512], *path = zo2_path_join(j->dir, "additional_chat_templates");
    if (path && j->o.log && access(path, F_OK) == 0) {
        snprintf(text, sizeof text, "%.400s isn't carried: exports have the default chat template only", path);
        j->o.log(j->o.log_ud, ZO2_LOG_WARNING, text);
    }
    free(path);
}

static zo2_status carry_files(const zo2_convert_job *j, zo2_packwriter *w)
{
    warn_left_behind(j);
    zo2_status s = zo2_packwriter_file(w, zo2_carried_files[0], j->config, j->config_bytes);
    for (const char *const *name = zo2_carried_files + 1; *name && !s; name++) {
        char *data = NULL;
        size_t bytes = 0;
        s = zo2_carried_read(j->dir, *name, j->o.log, j->o.log_ud, &data, &bytes);
        if (!s && data)
            s = zo2_packwriter_file(w, *name, data, bytes);
        free(data);
    }
    return s;
}

zo2_status zo2_convert_write(zo2_convert_job *j)
{
    zo2_packwriter *w = NULL;
    zo2_status s = zo2_packwriter_open(&w, &zo2_io_posix, j->out, j->arch.name, j->o.force);
    if (!s)
        s = carry_files(j, w);
    if (!s)
        s = zo2_convert_report(j, 0);
    zo2_dtype *dtypes = calloc(j->arch.n_tensors, sizeof *dtypes);
    if (!dtypes)
        s = s ? s : zo2_error(ZO2_ERR_NOMEM, "out of memory for the tensors of %s", j->dir);
    for (uint32_t i = 0; dtypes && i < j->arch.n_tensors; i++)
        dtypes[i] = zo2_pieces_dtype(&j->pieces, i);
    zo2_pack_weights weights = {.arch = &j->arch,
                                .dtypes = dtypes,
                                .writer = w,
                                .level = j->o.zstd_level,
                                .threads = j->o.threads,
                                .fill = read_weights,
                                .report = on_bytes,
                                .arg = j};
    if (!s)
        s = zo2_pack_weights_write(&weights);
    free(dtypes);
    if (!s)
        s = zo2_packwriter_commit(w, NULL);
    zo2_packwriter_close(w); /* without the commit nothing is left */
    return s;
}
