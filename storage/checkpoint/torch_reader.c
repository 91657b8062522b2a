/* torch_reader.c: models in files of torch.save() as a row of the table of checkpoint readers: pytorch_model.bin, the shards of its index,
 * or whatever files of weights a folder has. Which form a file has is told by its bytes (torch_file.c). */
#include "storage/checkpoint/checkpoint.h"
#include "storage/checkpoint/checkpoint_reader.h"
#include "storage/checkpoint/shards.h"
#include "storage/checkpoint/torch_file.h"
#include "storage/instead/instead.h"
#include "storage/io/io.h"
#include "storage/io/listing.h"

#include <stdlib.h>
#include <string.h>

typedef struct torch_model {
    zo2_shards shards;
    zo2_torch_file **files; /* [n_files] */
    uint64_t *first;        /* [n_files + 1] tensors before each file */
    uint32_t n_files;
} torch_model;

/* ---- which files ----------------------------------------------------------------------------------------------------- */

static int fits(const char *name)
{
    return zo2_is_torch_name(name);
}

static int file_has(const char *path, const char *tensor)
{
    zo2_torch_file *f;
    if (zo2_torch_file_open(&f, path) != ZO2_OK)
        return 0;
    int has = zo2_torch_file_find(f, tensor) < zo2_torch_file_count(f);
    zo2_torch_file_close(f);
    return has;
}

static const zo2_shard_kind kind = {.single = "pytorch_model.bin",
                                    .index = "pytorch_model.bin.index.json",
                                    .ending = ".bin",
                                    .wanted = ZO2_WANT_TORCH,
                                    .fits = fits,
                                    .looks_right = zo2_torch_file_looks_like,
                                    .has = file_has};

static int recognise(const zo2_listing *place)
{
    for (uint64_t i = 0; i < place->n; i++)
        if (fits(place->names[i]) || strcmp(place->names[i], kind.index) == 0)
            return 1;
    return 0;
}

/* ---- opening --------------------------------------------------------------------------------------------------------- */

static void close_model(void *model)
{
    torch_model *m = model;
    if (!m)
        return;
    for (uint32_t i = 0; i < m->n_files; i++)
        zo2_torch_file_close(m->files[i]);
    zo2_shards_free(&m->shards);
    free(m->files);
    free(m->first);
    free(m);
}

static zo2_status open_files(torch_model *m)
{
    const uint32_t n = m->shards.n_files;
    zo2_status s = ZO2_OK;
    m->files = calloc((size_t)n + 1, sizeof(zo2_torch_file *));
    m->first = calloc((size_t)n + 1, sizeof *m->first);
    if (!m->files || !m->first)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory to open %s", m->shards.path);
    for (uint32_t i = 0; i < n && !s; i++) {
        s = zo2_torch_file_open(&m->files[i], m->shards.files[i]);
        m->n_files = i + 1;
        m->first[i + 1] = m->first[i] + (s ? 0 : zo2_torch_file_count(m->files[i]));
    }
    return s;
}

static zo2_status open_model(void **model, const char *path)
{
    *model = NULL;
    torch_model *m = calloc(1, sizeof *m);
    if (!m)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory to open %s", path);
    zo2_status s = zo2_shards_find(&m->shards, &kind, path);
    if (!s)
        s = zo2_shards_blame(&m->shards, open_files(m));
    if (s)
        close_model(m);
    else
        *model = m;
    return s;
}

/* ---- tensors --------------------------------------------------------------------------------------------------------- */

static uint64_t count(const void *model)
{
    const torch_model *m = model;
    return m->first[m->n_files];
}

/* first[file] <= i < first[file + 1] */
static uint32_t file_of(const torch_model *m, uint64_t i)
{
    uint32_t low = 0, high = m->n_files;
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        if (m->first[middle] <= i)
            low = middle;
        else
            high = middle;
    }
    return low;
}

static zo2_stored tensor(const void *model, uint64_t i)
{
    const torch_model *m = model;
    const uint32_t file = file_of(m, i);
    return zo2_torch_file_tensor(m->files[file], i - m->first[file]);
}

static int is_in(const torch_model *m, uint32_t file, const char *name)
{
    return zo2_torch_file_find(m->files[file], name) < zo2_torch_file_count(m->files[file]);
}

static uint64_t find(const void *model, const char *name)
{
    const torch_model *m = model;
    for (uint32_t i = 0; i < m->n_files; i++)
        if (is_in(m, i, name))
            return m->first[i] + zo2_torch_file_find(m->files[i], name);
    return count(m);
}

static zo2_status read_bytes(const void *model, uint64_t i, uint64_t first, uint64_t n, void *dst)
{
    const torch_model *m = model;
    const uint32_t file = file_of(m, i);
    return zo2_torch_file_read(m->files[file], i - m->first[file], first, n, dst);
}

/* ---- what is said ------------------------------------------------------------------------------------------------------ */

static const char *absent(const void *model, const char *name, char *text, size_t n)
{
    const torch_model *m = model;
    text[0] = '\0';
    for (uint32_t i = 0; i < m->n_files && !text[0]; i++)
        zo2_torch_file_absent(m->files[i], name, text, n);
    return text[0] ? text : zo2_shards_absent(&m->shards, name, text, n);
}

static zo2_shard_place place_of(const void *model, const char *name, const char *file)
{
    const torch_model *m = model;
    zo2_shard_place place = ZO2_SHARD_NOWHERE;
    for (uint32_t i = 0; i < m->n_files && place != ZO2_SHARD_THERE; i++)
        if (is_in(m, i, name))
            place = strcmp(zo2_path_name(m->shards.files[i]), file) == 0 ? ZO2_SHARD_THERE : ZO2_SHARD_ELSEWHERE;
    return place;
}

static void oddities(const void *model, void (*say)(void *ud, const char *text), void *ud)
{
    const torch_model *m = model;
    zo2_shards_oddities(&m->shards, place_of, m, say, ud);
}

const zo2_checkpoint_reader zo2_reader_torch = {
    .name = "torch",
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
