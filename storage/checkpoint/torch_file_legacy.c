/* torch_file_legacy.c: files of torch.save() before PyTorch 1.6: pickles one behind the other, then per storage the number of its elements and
 * their data, in the order of a list of keys (torch_state.h). */
#include "engine/base/checked.h"
#include "storage/checkpoint/torch_internal.h"
#include "storage/checkpoint/torch_state.h"
#include "storage/io/io.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_WINDOW ((uint64_t)1 << 20)
#define MAX_WINDOW   (2 * (uint64_t)ZO2_TORCH_MAX_PICKLE) /* the state's pickle, and the keys' */
#define GET_AGAIN    "get the file again"

/* What the pickles say. */
typedef struct front {
    char **keys;
    uint64_t n_keys;
    uint64_t end; /* offset behind them */
} front;

static void free_front(front *r)
{
    zo2_torch_legacy_keys_free(r->keys, r->n_keys);
    *r = (front){0};
}

/* All pickles must be in bytes[n]. */
static zo2_status load_pickles(zo2_torch_file *f, front *out, const unsigned char *bytes, size_t n)
{
    size_t at = 0, used;
    zo2_status s = zo2_torch_legacy_header(bytes, n, &used, f->path);
    if (s)
        return s;
    at += used;
    if ((s = zo2_torch_state_load(&f->state, bytes + at, n - at, &used, f->path)))
        return s;
    at += used;
    if ((s = zo2_torch_legacy_keys(&out->keys, &out->n_keys, bytes + at, n - at, &used, f->path)))
        return s;
    out->end = at + used;
    return ZO2_OK;
}

/* Nothing says how long the pickles are: a window of the file that grows until they are in it. */
static zo2_status load_front(zo2_torch_file *f, front *out)
{
    const uint64_t most = zo2_min_u64(f->size, MAX_WINDOW);
    unsigned char *bytes = NULL;
    zo2_status s = ZO2_ERR_FORMAT;
    for (uint64_t n = 0; s == ZO2_ERR_FORMAT && n < most;) {
        n = zo2_min_u64(most, n ? 8 * n : FIRST_WINDOW);
        unsigned char *grown = realloc(bytes, (size_t)n);
        if (!grown) {
            s = zo2_error(ZO2_ERR_NOMEM, "out of memory for the first %" PRIu64 " bytes of %s", n, f->path);
            break;
        }
        bytes = grown;
        zo2_torch_state_free(&f->state);
        free_front(out);
        s = zo2_io_read(&zo2_io_posix, f->fd, bytes, n, 0, f->path);
        if (!s)
            s = load_pickles(f, out, bytes, (size_t)n);
    }
    free(bytes);
    return s;
}

/* ---- where the data are ---------------------------------------------------------------------------------------------- */

static int by_key(const void *a, const void *b)
{
    const zo2_torch_storage *x = *(zo2_torch_storage *const *)a, *y = *(zo2_torch_storage *const *)b;
    return strcmp(x->key, y->key);
}

static zo2_torch_storage *find_storage(zo2_torch_storage **sorted, uint32_t n, char *key)
{
    zo2_torch_storage wanted = {.key = key}, *at = &wanted;
    zo2_torch_storage **found = n ? bsearch(&at, sorted, n, sizeof *sorted, by_key) : NULL;
    return found ? *found : NULL;
}

/* The storage at offset *at, which then is behind it. */
static zo2_status place(zo2_torch_file *f, const zo2_torch_storage *is, uint64_t *at)
{
    uint64_t elements, end;
    if (*at > f->size || f->size - *at < sizeof elements)
        return zo2_error(ZO2_ERR_FORMAT, "%s ends before storage %.255s: it is cut short; " GET_AGAIN, f->path,
                         is->key);
    zo2_status s = zo2_io_read(&zo2_io_posix, f->fd, &elements, sizeof elements, *at, f->path);
    if (s)
        return s;
    if (elements != is->elements)
        return zo2_error(ZO2_ERR_FORMAT,
                         "%s: storage %.255s has %" PRIu64 " elements at offset %" PRIu64 ", the pickle says %" PRIu64
                         "; " GET_AGAIN,
                         f->path, is->key, elements, *at, is->elements);
    *at += sizeof elements;
    f->storage_at[is - f->state.storages] = *at;
    if (!zo2_add_u64(*at, is->elements * is->element_bytes, &end) || end > f->size)
        return zo2_error(ZO2_ERR_FORMAT,
                         "%s: storage %.255s has %" PRIu64 " bytes, of which the file has %" PRIu64
                         ": it is cut short; " GET_AGAIN,
                         f->path, is->key, is->elements * is->element_bytes, f->size - *at);
    *at = end;
    return ZO2_OK;
}

/* One whose size nobody knows hides where the next ones are; that matters if there are any that tensors need. */
static zo2_status place_all(zo2_torch_file *f, const front *r, zo2_torch_storage **sorted, const unsigned char *is_used)
{
    uint64_t at = r->end, i = 0;
    uint32_t placed = 0, used = 0;
    zo2_status s = ZO2_OK;
    for (uint32_t k = 0; k < f->state.n_storages; k++)
        used += is_used[k];
    for (; i < r->n_keys && placed < used && !s; i++) {
        const zo2_torch_storage *is = find_storage(sorted, f->state.n_storages, r->keys[i]);
        if (!is)
            return zo2_error(ZO2_ERR_UNSUPPORTED,
                             "%s: storage %.255s is of a type that this version doesn't know, and others lie behind "
                             "it; save the weights alone with torch.save(model.state_dict(), FILE)",
                             f->path, r->keys[i]);
        s = place(f, is, &at);
        placed += is_used[is - f->state.storages]; /* keys are unique */
    }
    for (uint32_t k = 0; k < f->state.n_storages && !s; k++)
        if (is_used[k] && !f->storage_at[k])
            s = zo2_error(ZO2_ERR_FORMAT, "%s lacks the data of storage %.255s; " GET_AGAIN, f->path,
                          f->state.storages[k].key);
    return s;
}

zo2_status zo2_torch_load_legacy(zo2_torch_file *f)
{
    front r = {0};
    zo2_torch_storage **sorted = NULL;
    unsigned char *is_used = NULL;
    zo2_status s = load_front(f, &r);
    if (!s)
        s = zo2_torch_place_storages(f);
    if (!s) {
        sorted = malloc(((size_t)f->state.n_storages + 1) * sizeof *sorted);
        is_used = calloc((size_t)f->state.n_storages + 1, 1);
    }
    if (!s && (!sorted || !is_used))
        s = zo2_error(ZO2_ERR_NOMEM, "out of memory for the tensors of %s", f->path);
    if (!s) {
        for (uint32_t i = 0; i < f->state.n_storages; i++)
            sorted[i] = &f->state.storages[i];
        if (f->state.n_storages)
            qsort(sorted, f->state.n_storages, sizeof *sorted, by_key);
        for (uint64_t i = 0; i < f->state.n_tensors; i++)
            is_used[f->state.tensors[i].storage] = 1;
        s = place_all(f, &r, sorted, is_used);
    }
    free(sorted);
    free(is_used);
    free_front(&r);
    return s;
}
