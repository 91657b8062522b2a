/* gguf_meta.c: see gguf_meta.h: reads and checks a header. What is asked of one afterwards is in gguf_values.c. */
#include "storage/checkpoint/gguf_meta.h"
#include "engine/base/checked.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define MAX_KEY       65535u /* bytes, says the specification */
#define MAX_NAME      255u   /* of a tensor; ggml's are shorter than 64 */
#define MAX_DEPTH     4      /* arrays in arrays: nobody writes two */
#define MIN_VALUE     13u    /* bytes: length of a key, type, one byte */
#define MIN_INFO      32u    /* length of a name, dimensions, one of them, type, offset */
#define MAX_ALIGNMENT (1u << 20)

/* ---- bytes ------------------------------------------------------------------------------------------------------------ */

/* Where the parser is in the first n bytes of a file. */
typedef struct cursor {
    const unsigned char *bytes;
    uint64_t at, n, file_bytes;
    const char *path;
    int more; /* what was wanted is behind these bytes, but not behind the file */
} cursor;

/* The next n bytes; NULL if they aren't there: what for: "FILE ends inside WHAT". */
static const unsigned char *take(cursor *c, uint64_t n, const char *what, zo2_status *s)
{
    if (n > c->file_bytes - c->at) {
        *s =
            zo2_error(ZO2_ERR_FORMAT, "%s ends inside %s at byte %" PRIu64 ": download it again", c->path, what, c->at);
        return NULL;
    }
    if (n > c->n - c->at) {
        c->more = 1;
        *s = ZO2_ERR_FORMAT;
        return NULL;
    }
    c->at += n;
    return c->bytes + c->at - n;
}

static zo2_status take_u32(cursor *c, const char *what, uint32_t *out)
{
    zo2_status s = ZO2_OK;
    const unsigned char *p = take(c, sizeof *out, what, &s);
    if (p)
        memcpy(out, p, sizeof *out);
    return s;
}

static zo2_status take_u64(cursor *c, const char *what, uint64_t *out)
{
    zo2_status s = ZO2_OK;
    const unsigned char *p = take(c, sizeof *out, what, &s);
    if (p)
        memcpy(out, p, sizeof *out);
    return s;
}

static zo2_status take_text(cursor *c, const char *what, zo2_gguf_text *out)
{
    uint64_t n = 0;
    zo2_status s = take_u64(c, what, &n);
    const unsigned char *p = s ? NULL : take(c, n, what, &s);
    if (p)
        *out = (zo2_gguf_text){(const char *)p, (size_t)n};
    return s;
}

/* ---- metadata --------------------------------------------------------------------------------------------------------- */

static zo2_status skip_value(cursor *c, const zo2_gguf_value *v, uint32_t type, int depth);

/* Type and number of the elements of an array, and past them. */
static zo2_status skip_array(cursor *c, const zo2_gguf_value *v, uint32_t *of, uint64_t *n, int depth)
{
    char key[104];
    zo2_status s = take_u32(c, "an array's type", of);
    uint64_t bytes;
    if (!s)
        s = take_u64(c, "an array's length", n);
    if (s)
        return s;
    if (depth == MAX_DEPTH)
        return zo2_error(ZO2_ERR_FORMAT, "%s: %s has arrays in arrays, more than %d deep", c->path,
                         zo2_gguf_quote(key, v->key), MAX_DEPTH);
    if (zo2_gguf_type_bytes(*of)) {
        if (!zo2_mul_u64(*n, zo2_gguf_type_bytes(*of), &bytes))
            bytes = UINT64_MAX;
        take(c, bytes, "an array", &s);
        return s;
    }
    for (uint64_t i = 0; i < *n && !s; i++) /* each is at least some bytes: ends with the file */
        s = skip_value(c, v, *of, depth + 1);
    return s;
}

static zo2_status skip_value(cursor *c, const zo2_gguf_value *v, uint32_t type, int depth)
{
    char key[104];
    zo2_status s = ZO2_OK;
    zo2_gguf_text text;
    uint32_t of;
    uint64_t n;
    if (type >= ZO2_GGUF_TYPES)
        return zo2_error(ZO2_ERR_FORMAT, "%s: %s has type %" PRIu32 ", which doesn't exist", c->path,
                         zo2_gguf_quote(key, v->key), type);
    if (type == ZO2_GGUF_STRING)
        return take_text(c, "a string", &text);
    if (type == ZO2_GGUF_ARRAY)
        return skip_array(c, v, &of, &n, depth);
    take(c, zo2_gguf_type_bytes(type), "a value", &s);
    return s;
}

static int is_printable(zo2_gguf_text t)
{
    for (size_t i = 0; i < t.n; i++)
        if (t.at[i] < ' ' || t.at[i] > '~')
            return 0;
    return t.n > 0;
}

static zo2_status read_value(cursor *c, zo2_gguf_value *v, uint64_t number)
{
    uint64_t elements;
    zo2_status s = take_text(c, "a key", &v->key);
    if (!s && (v->key.n > MAX_KEY || !is_printable(v->key)))
        return zo2_error(ZO2_ERR_FORMAT, "%s: key %" PRIu64 " isn't a name: at most %u characters of ASCII are needed",
                         c->path, number, MAX_KEY);
    if (!s)
        s = take_u32(c, "a value's type", &v->type);
    if (s)
        return s;
    v->n = 1;
    v->at = c->bytes + c->at;
    if (v->type != ZO2_GGUF_ARRAY)
        return skip_value(c, v, v->type, 0);
    s = skip_array(c, v, &v->of, &elements, 0);
    v->n = elements;
    v->at += sizeof(uint32_t) + sizeof(uint64_t);
    return s;
}

static int by_key(const void *a, const void *b)
{
    return zo2_gguf_compare(((const zo2_gguf_value *)a)->key, ((const zo2_gguf_value *)b)->key);
}

static zo2_status read_values(cursor *c, zo2_gguf_header *h)
{
    char key[104];
    zo2_status s = ZO2_OK;
    for (uint64_t i = 0; i < h->n_values && !s; i++)
        s = read_value(c, &h->values[i], i + 1);
    if (s || h->n_values == 0)
        return s;
    qsort(h->values, (size_t)h->n_values, sizeof *h->values, by_key);
    for (uint64_t i = 1; i < h->n_values; i++)
        if (by_key(&h->values[i - 1], &h->values[i]) == 0)
            return zo2_error(ZO2_ERR_FORMAT, "%s has the key %s twice", c->path, zo2_gguf_quote(key, h->values[i].key));
    return ZO2_OK;
}

/* ---- tensors ---------------------------------------------------------------------------------------------------------- */

static zo2_status read_info(cursor *c, zo2_gguf_info *t, uint64_t number)
{
    char name[104];
    zo2_status s = take_text(c, "a tensor's name", &t->name);
    if (!s && (t->name.n > MAX_NAME || !is_printable(t->name)))
        return zo2_error(ZO2_ERR_FORMAT,
                         "%s: tensor %" PRIu64 " has no proper name: at most %u characters of ASCII are needed",
                         c->path, number, MAX_NAME);
    if (!s)
        s = take_u32(c, "a tensor's shape", &t->dims);
    if (!s && (t->dims == 0 || t->dims > ZO2_GGUF_MAX_DIMS))
        return zo2_error(ZO2_ERR_FORMAT, "%s: tensor %s has %" PRIu32 " dimensions; 1 to %d are possible", c->path,
                         zo2_gguf_quote(name, t->name), t->dims, ZO2_GGUF_MAX_DIMS);
    for (uint32_t d = 0; d < t->dims && !s; d++)
        s = take_u64(c, "a tensor's shape", &t->shape[d]);
    if (!s)
        s = take_u32(c, "a tensor's type", &t->type);
    return s ? s : take_u64(c, "a tensor's offset", &t->offset);
}

static int by_name(const void *a, const void *b)
{
    return zo2_gguf_compare((*(const zo2_gguf_info *const *)a)->name, (*(const zo2_gguf_info *const *)b)->name);
}

static zo2_status check_names(const zo2_gguf_header *h)
{
    char name[104];
    zo2_status s = ZO2_OK;
    const zo2_gguf_info **sorted = calloc((size_t)h->n_tensors + 1, sizeof *sorted);
    if (!sorted)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory for the tensors of %s", h->path);
    for (uint64_t i = 0; i < h->n_tensors; i++)
        sorted[i] = &h->tensors[i];
    qsort(sorted, (size_t)h->n_tensors, sizeof(const zo2_gguf_info *), by_name);
    for (uint64_t i = 1; i < h->n_tensors && !s; i++)
        if (by_name(&sorted[i - 1], &sorted[i]) == 0)
            s = zo2_error(ZO2_ERR_FORMAT, "%s has the tensor %s twice", h->path, zo2_gguf_quote(name, sorted[i]->name));
    free(sorted);
    return s;
}

static zo2_status read_tensors(cursor *c, zo2_gguf_header *h)
{
    zo2_status s = ZO2_OK;
    for (uint64_t i = 0; i < h->n_tensors && !s; i++)
        s = read_info(c, &h->tensors[i], i + 1);
    return s ? s : check_names(h);
}

/* ---- the header ------------------------------------------------------------------------------------------------------- */

static zo2_status read_version(cursor *c, zo2_gguf_header *h)
{
    zo2_status s = ZO2_OK;
    const unsigned char *magic = take(c, 4, "its magic", &s);
    if (s)
        return s;
    if (memcmp(magic, "GGUF", 4) != 0)
        return zo2_error(ZO2_ERR_FORMAT, "%s isn't a GGUF file: it doesn't begin with \"GGUF\"", c->path);
    if ((s = take_u32(c, "its version", &h->version)))
        return s;
    if (h->version == 1)
        return zo2_error(
            ZO2_ERR_UNSUPPORTED,
            "%s is a GGUF file of version 1; versions 2 and 3 are read: convert the model again with a present-day "
            "llama.cpp",
            c->path);
    if ((h->version & 0xFFFF) == 0 && h->version != 0)
        return zo2_error(
            ZO2_ERR_UNSUPPORTED,
            "%s is a big-endian GGUF file; little-endian ones are read: llama.cpp's gguf_convert_endian.py makes one",
            c->path);
    if (h->version != 2 && h->version != 3)
        return zo2_error(ZO2_ERR_UNSUPPORTED, "%s is a GGUF file of version %" PRIu32 "; versions 2 and 3 are read",
                         c->path, h->version);
    return ZO2_OK;
}

/* Every item takes some bytes, so a count says how much file there must be. */
static zo2_status check_count(const cursor *c, uint64_t n, uint64_t least, const char *what)
{
    return n > (zo2_min_u64(c->file_bytes, ZO2_GGUF_MAX_HEADER) - c->at) / least
               ? zo2_error(ZO2_ERR_FORMAT, "%s says that it has %" PRIu64 " %s, more than fit into it", c->path, n,
                           what)
               : ZO2_OK;
}

static zo2_status read_counts(cursor *c, zo2_gguf_header *h)
{
    zo2_status s;
    if ((s = take_u64(c, "its counts", &h->n_tensors)) || (s = take_u64(c, "its counts", &h->n_values)) ||
        (s = check_count(c, h->n_tensors, MIN_INFO, "tensors")) || (s = check_count(c, h->n_values, MIN_VALUE, "keys")))
        return s;
    h->values = calloc((size_t)h->n_values + 1, sizeof *h->values);
    h->tensors = calloc((size_t)h->n_tensors + 1, sizeof *h->tensors);
    return h->values && h->tensors ? ZO2_OK : zo2_error(ZO2_ERR_NOMEM, "out of memory for the header of %s", c->path);
}

static zo2_status read_alignment(cursor *c, zo2_gguf_header *h)
{
    const zo2_gguf_value *v = zo2_gguf_get(h, "general.alignment");
    uint64_t to = 32;
    if (v && (!zo2_gguf_uint(v, 0, &to) || to == 0 || to > MAX_ALIGNMENT || (to & (to - 1)) != 0))
        return zo2_error(ZO2_ERR_FORMAT, "%s: general.alignment isn't a power of two up to %u", c->path, MAX_ALIGNMENT);
    h->alignment = (uint32_t)to;
    return ZO2_OK;
}

zo2_status zo2_gguf_parse(zo2_gguf_header *out, const unsigned char *bytes, uint64_t n, uint64_t file_bytes,
                          const char *path, int *more)
{
    cursor c = {.bytes = bytes, .n = n, .file_bytes = file_bytes, .path = path};
    zo2_gguf_header h = {.path = path};
    zo2_status s;
    *out = (zo2_gguf_header){0};
    *more = 0;
    if (!(s = read_version(&c, &h)) && !(s = read_counts(&c, &h)) && !(s = read_values(&c, &h)) &&
        !(s = read_alignment(&c, &h)) && !(s = read_tensors(&c, &h))) {
        h.bytes = zo2_round_up(c.at, h.alignment);
        *out = h;
        return ZO2_OK;
    }
    zo2_gguf_header_free(&h);
    *more = c.more;
    return c.more ? ZO2_OK : s;
}

void zo2_gguf_header_free(zo2_gguf_header *h)
{
    free(h->values);
    free(h->tensors);
    *h = (zo2_gguf_header){0};
}
