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
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <xxhash.h>

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
                         "element %" PRIu64 " of %s in %s is infinite or not a number%s: such a model can't be trained",
                         element, from.name, from.file,
                         from.rounded ? ", or too large for the F32 that F64 is read as" : "");
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

/* A file of the folder or, where it has none, what the format holds of it. */
static zo2_status read_carried(const zo2_convert_job *j, const char *name, char **data, size_t *bytes)
{
    char why[600];
    zo2_status s = zo2_carried_read(j->dir, name, j->o.log, j->o.log_ud, data, bytes);
    if (s || *data)
        return s;
    s = zo2_checkpoint_file(j->source, name, data, bytes, why, sizeof why);
    if (!s && why[0])
        zo2_convert_warn(j, "%s: the pack has no tokenizer (zo2-pack tokenizer puts in a folder's)", why);
    return s;
}

static zo2_status carry_files(const zo2_convert_job *j, zo2_packwriter *w)
{
    warn_left_behind(j);
    zo2_status s = zo2_packwriter_file(w, zo2_carried_files[0], j->config, j->config_bytes);
    for (const char *const *name = zo2_carried_files + 1; *name && !s; name++) {
        char *data = NULL;
        size_t bytes = 0;
        s = read_carried(j, *name, &data, &bytes);
        if (!s && data)
            s = zo2_packwriter_file(w, *name, data, bytes);
        free(data);
    }
    return s;
}

static void hash_text(XXH3_state_t *h, const char *text)
{
    XXH3_64bits_update(h, text, strlen(text) + 1);
}

/* Whatever the chunks depend on: the source's files, by their headers, sizes and times, and how they are stored here. */
static zo2_status source_key(const zo2_convert_job *j, uint64_t *key)
{
    XXH3_state_t *h = XXH3_createState();
    if (!h)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory to hash the names of %s", j->dir);
    XXH3_64bits_reset(h);
    hash_text(h, j->arch.name);
    XXH3_64bits_update(h, j->config, j->config_bytes);
    XXH3_64bits_update(h, &j->o.zstd_level, sizeof j->o.zstd_level);
    for (uint64_t i = 0; i < zo2_checkpoint_count(j->source); i++) {
        const zo2_stored t = zo2_checkpoint_tensor(j->source, i);
        struct stat st = {0};
        (void)stat(t.file, &st); /* it is open: if it has no name any more, then so for the next one */
        const int64_t numbers[] = {st.st_size, st.st_mtim.tv_sec, st.st_mtim.tv_nsec, (int64_t)t.bytes, t.rank};
        hash_text(h, t.name);
        hash_text(h, t.dtype_name);
        hash_text(h, t.file);
        XXH3_64bits_update(h, numbers, sizeof numbers);
        XXH3_64bits_update(h, t.shape, t.rank * sizeof *t.shape);
    }
    *key = XXH3_64bits_digest(h);
    XXH3_freeState(h);
    return ZO2_OK;
}

static zo2_status open_writer(const zo2_convert_job *j, zo2_packwriter **w)
{
    uint64_t key = 0;
    char text[512];
    if (!j->o.resume)
        return zo2_packwriter_open(w, &zo2_io_posix, j->out, j->arch.name, j->o.force);
    zo2_status s = source_key(j, &key);
    if (!s)
        s = zo2_packwriter_resume(w, &zo2_io_posix, j->out, j->arch.name, j->o.force, key);
    if (!s && zo2_packwriter_kept(*w) && j->o.log) {
        snprintf(text, sizeof text, "%.400s: going on with an interrupted conversion, %" PRIu64 " chunks are there",
                 j->out, zo2_packwriter_kept(*w));
        j->o.log(j->o.log_ud, ZO2_LOG_INFO, text);
    }
    return s;
}

/* Failures that the same call may not have the next time. */
static int may_go_on(zo2_status s)
{
    return s == ZO2_ERR_CANCELLED || s == ZO2_ERR_NOSPACE || s == ZO2_ERR_NOMEM;
}

zo2_status zo2_convert_write(zo2_convert_job *j)
{
    zo2_packwriter *w = NULL;
    zo2_status s = open_writer(j, &w);
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
    if (j->o.resume && may_go_on(s))
        zo2_packwriter_leave(w);
    else
        zo2_packwriter_close(w); /* without the commit nothing is left */
    return s;
}
