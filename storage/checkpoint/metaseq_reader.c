/* metaseq_reader.c: checkpoints of metaseq as a row of the table of readers: each part a file of torch.save() with a tensor of every
 * name. What they are in the model is the family's to say (its naming "metaseq"); here it is known only which part one is of. */
#include "storage/checkpoint/checkpoint.h"
#include "storage/checkpoint/checkpoint_reader.h"
#include "storage/checkpoint/metaseq_files.h"
#include "storage/checkpoint/torch_file.h"
#include "storage/io/io.h"
#include "storage/io/listing.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define UNFLATTEN                                                                                                               \
    "make parts of whole tensors first: python -m metaseq.scripts.reshard_fsdp --unflatten-weights True --num-output-shards 1 " \
    "--skip-optimizer-state True, with all shards of a part as --input; or get the model as Hugging Face has it"

typedef struct part {
    zo2_torch_file *file;
    uint64_t first; /* number of its first tensor */
} part;

typedef struct metaseq {
    zo2_metaseq_files files;
    part *parts; /* [files.n] */
    uint64_t count;
} metaseq;

static int recognise(const zo2_listing *place)
{
    return zo2_metaseq_is_there(place);
}

/* ---- what can be known before reading ---------------------------------------------------------------------------------- */

/* A part that FSDP has flattened: one long vector a layer, which only metaseq knows how to take apart. */
static zo2_status check_names(const metaseq *m, uint32_t k)
{
    for (uint64_t i = 0; i < zo2_torch_file_count(m->parts[k].file); i++) {
        const zo2_stored t = zo2_torch_file_tensor(m->parts[k].file, i);
        if (strstr(t.name, "flat_param"))
            return zo2_error(ZO2_ERR_UNSUPPORTED, "%s has flattened weights (%s): " UNFLATTEN, t.file, t.name);
    }
    return ZO2_OK;
}

static int ends_with(const char *s, const char *ending)
{
    size_t n = strlen(s), m = strlen(ending);
    return n >= m && strcmp(s + n - m, ending) == 0;
}

/* How many parts the model was cut in, by a matrix that is square in the model; 0 if the file has none. */
static uint64_t parts_by_shape(const zo2_torch_file *f, zo2_stored *of)
{
    for (uint64_t i = 0; i < zo2_torch_file_count(f); i++) {
        *of = zo2_torch_file_tensor(f, i);
        if (ends_with(of->name, "self_attn.out_proj.weight") && of->rank == 2 && of->shape[1] &&
            of->shape[0] % of->shape[1] == 0)
            return of->shape[0] / of->shape[1];
    }
    return 0;
}

static zo2_status check_number(const metaseq *m)
{
    char why[400];
    zo2_stored t;
    uint64_t want = parts_by_shape(m->parts[0].file, &t);
    if (!want || want == m->files.n)
        return ZO2_OK;
    if (want < m->files.n)
        return zo2_error(ZO2_ERR_FORMAT,
                         "%s is of no use: the model is cut in %" PRIu64 ", says the shape of %s in %s, [%" PRIu64
                         ", %" PRIu64 "]; remove the parts of other models",
                         m->files.paths[want], want, t.name, zo2_path_name(t.file), t.shape[0], t.shape[1]);
    snprintf(why, sizeof why,
             "the model is cut in %" PRIu64 ", says the shape of %.200s in %.60s, [%" PRIu64 ", %" PRIu64 "]", want,
             t.name, zo2_path_name(t.file), t.shape[0], t.shape[1]);
    return zo2_metaseq_missing_part(m->files.paths[0], m->files.n, why);
}

static const char *shape_text(char *text, size_t n, const zo2_stored *t)
{
    size_t at = (size_t)snprintf(text, n, "%s [", t->dtype_name);
    for (uint32_t d = 0; d < t->rank && at < n; d++)
        at += (size_t)snprintf(text + at, n - at, "%s%" PRIu64, d ? ", " : "", t->shape[d]);
    if (at < n)
        snprintf(text + at, n - at, "]");
    return text;
}

static zo2_status lacks(const char *path, const zo2_stored *t)
{
    return zo2_error(ZO2_ERR_FORMAT, "%s has no %s, which %s has: they are parts of different models", path, t->name,
                     zo2_path_name(t->file));
}

/* All parts have the same tensors, in the same shapes. */
static zo2_status check_alike(const metaseq *m, uint32_t k)
{
    char mine[256], theirs[256];
    const zo2_torch_file *first = m->parts[0].file, *f = m->parts[k].file;
    for (uint64_t i = 0; i < zo2_torch_file_count(f); i++) {
        const zo2_stored t = zo2_torch_file_tensor(f, i);
        uint64_t at = zo2_torch_file_find(first, t.name);
        if (at == zo2_torch_file_count(first))
            return lacks(m->files.paths[0], &t);
        const zo2_stored other = zo2_torch_file_tensor(first, at);
        if (strcmp(shape_text(mine, sizeof mine, &t), shape_text(theirs, sizeof theirs, &other)) != 0)
            return zo2_error(ZO2_ERR_FORMAT, "%s in %s is %s, in %s %s: they are parts of different models", t.name,
                             t.file, mine, zo2_path_name(other.file), theirs);
    }
    for (uint64_t i = 0; i < zo2_torch_file_count(first); i++) {
        const zo2_stored t = zo2_torch_file_tensor(first, i);
        if (zo2_torch_file_find(f, t.name) == zo2_torch_file_count(f))
            return lacks(m->files.paths[k], &t);
    }
    return ZO2_OK;
}

/* ---- opening ----------------------------------------------------------------------------------------------------------- */

static void close_model(void *model)
{
    metaseq *m = model;
    if (!m)
        return;
    for (uint32_t k = 0; m->parts && k < m->files.n; k++)
        zo2_torch_file_close(m->parts[k].file);
    free(m->parts);
    zo2_metaseq_files_free(&m->files);
    free(m);
}

static zo2_status open_parts(metaseq *m, const char *path)
{
    m->parts = calloc(m->files.n, sizeof *m->parts);
    if (!m->parts)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory for the parts of %s", path);
    zo2_status s = ZO2_OK;
    for (uint32_t k = 0; k < m->files.n && !s; k++) {
        if ((s = zo2_torch_file_open(&m->parts[k].file, m->files.paths[k])))
            break;
        m->parts[k].first = m->count;
        m->count += zo2_torch_file_count(m->parts[k].file);
        s = check_names(m, k);
    }
    if (!s)
        s = check_number(m);
    for (uint32_t k = 1; k < m->files.n && !s; k++)
        s = check_alike(m, k);
    return s;
}

static zo2_status open_model(void **model, const char *path)
{
    metaseq *m = calloc(1, sizeof *m);
    *model = NULL;
    if (!m)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory to open %s", path);
    zo2_status s = zo2_metaseq_files_find(&m->files, path);
    if (!s)
        s = open_parts(m, path);
    if (s)
        close_model(m);
    else
        *model = m;
    return s;
}

/* ---- tensors ----------------------------------------------------------------------------------------------------------- */

/* The part that has tensor i, which is number *at there. */
static uint32_t part_of(const metaseq *m, uint64_t i, uint64_t *at)
{
    uint32_t k = m->files.n - 1;
    while (i < m->parts[k].first)
        k--;
    *at = i - m->parts[k].first;
    return k;
}

static uint64_t count(const void *model)
{
    return ((const metaseq *)model)->count;
}

static zo2_stored tensor(const void *model, uint64_t i)
{
    const metaseq *m = model;
    uint64_t at;
    uint32_t k = part_of(m, i, &at);
    zo2_stored t = zo2_torch_file_tensor(m->parts[k].file, at);
    t.part = k;
    t.parts = m->files.n;
    return t;
}

static uint64_t find(const void *model, const char *name)
{
    const metaseq *m = model;
    for (uint32_t k = 0; k < m->files.n; k++) {
        uint64_t at = zo2_torch_file_find(m->parts[k].file, name);
        if (at < zo2_torch_file_count(m->parts[k].file))
            return m->parts[k].first + at;
    }
    return m->count;
}

/* Names are asked for as Hugging Face has them; what both have in common is enough for most. */
static const char *absent(const void *model, const char *name, char *text, size_t n)
{
    static const char prefix[] = "model.";
    const metaseq *m = model;
    size_t skip = strncmp(name, prefix, sizeof prefix - 1) == 0 ? sizeof prefix - 1 : 0;
    text[0] = '\0';
    for (uint32_t k = 0; k < m->files.n && !text[0]; k++)
        zo2_torch_file_absent(m->parts[k].file, name + skip, text, n);
    return text;
}

static void oddities(const void *model, void (*say)(void *ud, const char *text), void *ud)
{
    char text[800];
    const metaseq *m = model;
    if (!m->files.unread)
        return;
    snprintf(text, sizeof text, "%.400s is taken; %.255s beside it isn't read", m->files.paths[0], m->files.unread);
    say(ud, text);
}

static zo2_status read_bytes(const void *model, uint64_t i, uint64_t first, uint64_t n, void *dst)
{
    const metaseq *m = model;
    uint64_t at;
    uint32_t k = part_of(m, i, &at);
    return zo2_torch_file_read(m->parts[k].file, at, first, n, dst);
}

const zo2_checkpoint_reader zo2_reader_metaseq = {
    .name = "metaseq",
    .naming = "metaseq",
    .recognise = recognise,
    .open = open_model,
    .close = close_model,
    .count = count,
    .tensor = tensor,
    .find = find,
    .absent = absent,
    .oddities = oddities,
    .read = read_bytes,
};
