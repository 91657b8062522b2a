/* torch_archive.c: a zip archive as torch.save() writes it: STEM/data.pkl says what there is, STEM/data/KEY has the data of each
 * storage, STEM/byteorder their byte order. */
#include "storage/checkpoint/torch_internal.h"
#include "storage/checkpoint/torch_state.h"
#include "storage/checkpoint/torch_zip.h"
#include "storage/io/io.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PICKLE     "/data.pkl"
#define MAX_NAME   1024
#define SAVE_AGAIN "save it again with torch.save(model.state_dict(), FILE)"

typedef struct archive {
    zo2_torch_file *f;
    zo2_zip zip;
    char stem[MAX_NAME];
} archive;

static const zo2_zip_entry *entry_of(const archive *a, const char *name)
{
    char path[2 * MAX_NAME];
    int n = snprintf(path, sizeof path, "%s/%s", a->stem, name);
    return n > 0 && (size_t)n < sizeof path ? zo2_zip_find(&a->zip, path) : NULL;
}

/* ---- what kind of archive it is -------------------------------------------------------------------------------------- */

static int ends_with(const char *text, const char *ending)
{
    size_t n = strlen(text), m = strlen(ending);
    return n > m && strcmp(text + n - m, ending) == 0;
}

/* Everything is in one folder, whatever the file's own name is now: that of the only NAME/data.pkl. */
static zo2_status find_stem(archive *a)
{
    const char *found = NULL;
    for (uint64_t i = 0; i < a->zip.n; i++) {
        const char *name = a->zip.entries[i].name;
        size_t n = strlen(name);
        if (!ends_with(name, PICKLE) || strchr(name, '/') != name + n - strlen(PICKLE) || n >= sizeof a->stem)
            continue;
        if (found)
            return zo2_error(ZO2_ERR_FORMAT, "%s holds two models, %.200s and %.200s; " SAVE_AGAIN, a->f->path, found,
                             name);
        found = name;
    }
    if (!found)
        return zo2_error(
            ZO2_ERR_UNSUPPORTED,
            "%s is a zip archive, but not of torch.save(): there is no data.pkl in it; unpack it, or " SAVE_AGAIN,
            a->f->path);
    snprintf(a->stem, sizeof a->stem, "%.*s", (int)(strlen(found) - strlen(PICKLE)), found);
    return ZO2_OK;
}

/* A TorchScript archive has code beside the same entries, and its data.pkl is a module, not a state dictionary. */
static zo2_status check_no_script(const archive *a)
{
    size_t stem = strlen(a->stem);
    int is = entry_of(a, "constants.pkl") != NULL;
    for (uint64_t i = 0; i < a->zip.n && !is; i++) {
        const char *name = a->zip.entries[i].name;
        is = strncmp(name, a->stem, stem) == 0 && strncmp(name + stem, "/code/", 6) == 0;
    }
    return is ? zo2_error(ZO2_ERR_UNSUPPORTED,
                          "%s is a TorchScript program (torch.jit.save), not a file of weights; save those alone: "
                          "torch.save(torch.jit.load(\"%s\").state_dict(), FILE)",
                          a->f->path, zo2_path_name(a->f->path))
              : ZO2_OK;
}

static zo2_status check_byte_order(const archive *a)
{
    char order[16] = "";
    const zo2_zip_entry *e = entry_of(a, "byteorder");
    if (!e) /* PyTorch before 2.1, on machines that nobody has */
        return ZO2_OK;
    if (e->bytes < sizeof order) {
        zo2_status s = zo2_io_read(&zo2_io_posix, a->f->fd, order, e->bytes, e->at, a->f->path);
        if (s)
            return s;
    }
    if (strcmp(order, "little") == 0)
        return ZO2_OK;
    if (strcmp(order, "big") == 0)
        return zo2_error(ZO2_ERR_UNSUPPORTED,
                         "%s is of a big-endian machine, which this version doesn't read; load it "
                         "on a little-endian one and " SAVE_AGAIN,
                         a->f->path);
    return zo2_error(ZO2_ERR_FORMAT, "%s: byteorder is neither \"little\" nor \"big\"; get the file again", a->f->path);
}

/* ---- pickle and storages --------------------------------------------------------------------------------------------- */

static zo2_status load_pickle(const archive *a)
{
    char where[MAX_NAME + 32];
    size_t used;
    const zo2_zip_entry *e = entry_of(a, "data.pkl");
    snprintf(where, sizeof where, "%.900s, data.pkl", a->f->path);
    if (e->bytes > ZO2_TORCH_MAX_PICKLE)
        return zo2_error(ZO2_ERR_FORMAT, "%s has %" PRIu64 " bytes, more than the %zu that any model's has", where,
                         e->bytes, ZO2_TORCH_MAX_PICKLE);
    void *bytes = malloc((size_t)e->bytes + 1);
    if (!bytes)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory for %s (%" PRIu64 " bytes)", where, e->bytes);
    zo2_status s = zo2_io_read(&zo2_io_posix, a->f->fd, bytes, e->bytes, e->at, a->f->path);
    if (!s)
        s = zo2_torch_state_load(&a->f->state, bytes, (size_t)e->bytes, &used, where);
    free(bytes);
    return s;
}

static zo2_status place_storage(const archive *a, uint32_t storage)
{
    char name[MAX_NAME];
    const zo2_torch_storage *is = &a->f->state.storages[storage];
    snprintf(name, sizeof name, "data/%.300s", is->key);
    const zo2_zip_entry *e = entry_of(a, name);
    if (!e)
        return zo2_error(ZO2_ERR_FORMAT, "%s lacks the entry %.300s/%s, which data.pkl names; get the file again",
                         a->f->path, a->stem, name);
    if (e->bytes < is->elements * is->element_bytes)
        return zo2_error(ZO2_ERR_FORMAT,
                         "%s: the entry %.300s/%s has %" PRIu64 " bytes, but data.pkl asks for %" PRIu64
                         " elements of %" PRIu32 " bytes; get the file again",
                         a->f->path, a->stem, name, e->bytes, is->elements, is->element_bytes);
    a->f->storage_at[storage] = e->at;
    return ZO2_OK;
}

/* Only those that tensors are in: what else a file has is none of our business. */
static zo2_status place_storages(const archive *a)
{
    zo2_status s = zo2_torch_place_storages(a->f);
    for (uint64_t i = 0; i < a->f->state.n_tensors && !s; i++)
        s = place_storage(a, a->f->state.tensors[i].storage);
    return s;
}

zo2_status zo2_torch_load_zip(zo2_torch_file *f)
{
    archive a = {.f = f};
    zo2_status s = zo2_zip_list(&a.zip, f->fd, f->size, f->path);
    if (!s)
        s = find_stem(&a);
    if (!s)
        s = check_no_script(&a);
    if (!s)
        s = zo2_zip_check_stored(&a.zip, f->path);
    if (!s)
        s = check_byte_order(&a);
    if (!s)
        s = load_pickle(&a);
    if (!s)
        s = place_storages(&a);
    zo2_zip_free(&a.zip);
    return s;
}
