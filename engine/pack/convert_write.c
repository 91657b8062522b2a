/* convert_write.c: a checked checkpoint into a pack. */
#include "codec/codec.h"
#include "engine/pack/convert_job.h"
#include "engine/pack/pack_api.h"
#include "engine/pack/pack_weights.h"
#include "engine/pack/pieces.h"
#include "storage/checkpoint/checkpoint.h"
#include "storage/instead/instead.h"
#include "storage/io/io.h"
#include "storage/pack/packfile.h"

#include <inttypes.h>
#include <stdlib.h>

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

/* What stands for a file that wasn't downloaded would be carried along, and found when a run begins. */
static zo2_status check_carried(const char *path, const char *data, size_t bytes)
{
    const zo2_origin *is = zo2_origin_of_bytes(data, bytes, bytes);
    return is && is->placeholder ? zo2_error(ZO2_ERR_FORMAT, "%s is %s; %s", path, is->what, is->advice) : ZO2_OK;
}

static zo2_status carry_files(const zo2_convert_job *j, zo2_packwriter *w)
{
    zo2_status s = zo2_packwriter_file(w, zo2_carried_files[0], j->config, j->config_bytes);
    for (const char *const *name = zo2_carried_files + 1; *name && !s; name++) {
        char *data = NULL, *path = zo2_path_join(j->dir, *name);
        size_t bytes = 0;
        if (!path)
            return zo2_error(ZO2_ERR_NOMEM, "out of memory for the name of %s/%s", j->dir, *name);
        s = zo2_io_slurp(path, ZO2_MAX_CARRIED_BYTES, &data, &bytes);
        if (!s)
            s = check_carried(path, data, bytes);
        if (!s)
            s = zo2_packwriter_file(w, *name, data, bytes);
        else if (s == ZO2_ERR_NOTFOUND)
            s = ZO2_OK; /* none of them is required */
        free(data);
        free(path);
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
