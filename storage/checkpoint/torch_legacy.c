/* torch_legacy.c: the pickles around the state in files of torch before 1.6. */
#include "storage/checkpoint/pickle.h"
#include "storage/checkpoint/torch_state.h"
#include "storage/checkpoint/torch_tensor.h"

#include <stdlib.h>
#include <string.h>

#define VERSION       1001
#define MAX_KEYS      (1u << 20)
#define MAX_KEY_BYTES 255

/* 0x1950A86A20F9469CFC6C, as an integer is pickled: little-endian. */
static const unsigned char magic[10] = {0x6C, 0xFC, 0x9C, 0x46, 0xF9, 0x20, 0x6A, 0xA8, 0x50, 0x19};

static int is_magic(const zo2_pickle *p)
{
    const zo2_pickle_node *x = zo2_pickle_at(p, p->root);
    return x->kind == ZO2_PICKLE_LONG && x->c == sizeof magic && memcmp(p->bytes + x->b, magic, sizeof magic) == 0;
}

int zo2_torch_is_legacy(const void *bytes, size_t n)
{
    const size_t most = 64; /* other pickles may be long */
    zo2_pickle p;
    size_t used;
    if (zo2_pickle_load(&p, bytes, n < most ? n : most, &used, "", NULL) != ZO2_OK)
        return 0;
    const int is = is_magic(&p);
    zo2_pickle_free(&p);
    return is;
}

static int is_version(const zo2_pickle *p, uint32_t node)
{
    const zo2_pickle_node *x = zo2_pickle_at(p, node);
    return x->kind == ZO2_PICKLE_INT && x->value == VERSION;
}

/* {"protocol_version": 1001, "little_endian": True, "type_sizes": ...} */
static zo2_status check_system(const zo2_pickle *p, const char *where)
{
    uint32_t key, value;
    int little = -1;
    if (!zo2_pickle_is(p, p->root, ZO2_PICKLE_DICT))
        return zo2_error(ZO2_ERR_FORMAT, "%s: the third pickle says nothing of the system: damaged", where);
    for (zo2_pickle_items at = zo2_pickle_items_of(p, p->root);
         zo2_pickle_next(p, &at, &key) && zo2_pickle_next(p, &at, &value);) {
        if (zo2_pickle_is_text(p, key, "protocol_version") && !is_version(p, value))
            return zo2_error(ZO2_ERR_UNSUPPORTED, "%s: the protocol that its system names isn't %d", where, VERSION);
        if (zo2_pickle_is_text(p, key, "little_endian") && zo2_pickle_is(p, value, ZO2_PICKLE_BOOL))
            little = zo2_pickle_at(p, value)->value != 0;
    }
    if (little < 0)
        return zo2_error(ZO2_ERR_FORMAT, "%s: the third pickle says nothing of the byte order: damaged", where);
    if (!little)
        return zo2_error(
            ZO2_ERR_UNSUPPORTED,
            "%s: it was saved on a big-endian machine: load and save it there again, with torch 1.6 or later", where);
    return ZO2_OK;
}

zo2_status zo2_torch_legacy_header(const void *bytes, size_t n, size_t *used, const char *where)
{
    size_t at = 0, one;
    zo2_status s = ZO2_OK;
    *used = 0;
    for (int i = 0; s == ZO2_OK && i < 3; i++) {
        zo2_pickle p;
        if ((s = zo2_pickle_load(&p, (const char *)bytes + at, n - at, &one, where, NULL)) != ZO2_OK)
            return s;
        if (i == 0 && !is_magic(&p))
            s = zo2_error(ZO2_ERR_FORMAT, "%s: it doesn't begin with torch's magic number", where);
        else if (i == 1 && !is_version(&p, p.root))
            s = zo2_error(ZO2_ERR_UNSUPPORTED, "%s: its second pickle isn't the version %d", where, VERSION);
        else if (i == 2)
            s = check_system(&p, where);
        zo2_pickle_free(&p);
        at += one;
    }
    if (s == ZO2_OK)
        *used = at;
    return s;
}

/* ---- keys ---------------------------------------------------------------------------------------------------------- */

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static zo2_status check_unique(char *const *keys, uint32_t n, const char *where)
{
    zo2_status s = ZO2_OK;
    char **sorted = malloc((n + 1) * sizeof *sorted);
    if (!sorted)
        return zo2_error(ZO2_ERR_NOMEM, "%s: out of memory for its keys", where);
    memcpy(sorted, keys, n * sizeof *sorted);
    qsort(sorted, n, sizeof *sorted, by_text);
    for (uint32_t i = 1; s == ZO2_OK && i < n; i++)
        if (strcmp(sorted[i], sorted[i - 1]) == 0)
            s = zo2_error(ZO2_ERR_FORMAT, "%s: key %s is in its list twice: damaged or malicious", where, sorted[i]);
    free(sorted);
    return s;
}

static zo2_status copy_keys(const zo2_pickle *p, char **keys, const char *where)
{
    zo2_pickle_items at = zo2_pickle_items_of(p, p->root);
    uint32_t item;
    for (uint32_t i = 0; zo2_pickle_next(p, &at, &item); i++) {
        const zo2_pickle_node *x = zo2_pickle_at(p, item);
        if (x->kind != ZO2_PICKLE_TEXT || !zo2_torch_is_name(p->bytes + x->b, x->c, MAX_KEY_BYTES))
            return zo2_error(ZO2_ERR_FORMAT, "%s: key %u of its list is no text of 1 to %d bytes: damaged or malicious",
                             where, i, MAX_KEY_BYTES);
        if (!(keys[i] = strndup(p->bytes + x->b, x->c)))
            return zo2_error(ZO2_ERR_NOMEM, "%s: out of memory for its keys", where);
    }
    return ZO2_OK;
}

zo2_status zo2_torch_legacy_keys(char ***keys, uint64_t *n_keys, const void *bytes, size_t n, size_t *used,
                                 const char *where)
{
    zo2_pickle p;
    *keys = NULL;
    *n_keys = 0;
    zo2_status s = zo2_pickle_load(&p, bytes, n, used, where, NULL);
    if (s != ZO2_OK)
        return s;
    const uint32_t count = zo2_pickle_at(&p, p.root)->c;
    char **list = NULL;
    if (!zo2_pickle_is(&p, p.root, ZO2_PICKLE_LIST) || count > MAX_KEYS)
        s = zo2_error(ZO2_ERR_FORMAT, "%s: behind its state there is no list of at most %u keys: damaged", where,
                      MAX_KEYS);
    else if (!(list = calloc((size_t)count + 1, sizeof *list)))
        s = zo2_error(ZO2_ERR_NOMEM, "%s: out of memory for its keys", where);
    if (s == ZO2_OK)
        s = copy_keys(&p, list, where);
    if (s == ZO2_OK)
        s = check_unique(list, count, where);
    if (s == ZO2_OK) {
        *keys = list;
        *n_keys = count;
    } else {
        zo2_torch_legacy_keys_free(list, count);
        *used = 0;
    }
    zo2_pickle_free(&p);
    return s;
}

void zo2_torch_legacy_keys_free(char **keys, uint64_t n_keys)
{
    for (uint64_t i = 0; keys && i < n_keys; i++)
        free(keys[i]);
    free(keys);
}
