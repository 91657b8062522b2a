/* safetensors_header.c: the header of one safetensors file, taken as hostile:
 *
 *     u64 n | n bytes of JSON {"name": {"dtype": .., "shape": [..], "data_offsets": [begin, end]}, ..} | data
 *
 * The data must be covered exactly: no overlap, hole or rest. Format: https://huggingface.co/docs/safetensors. */
#include "engine/base/checked.h"
#include "engine/base/json.h"
#include "storage/checkpoint/safetensors.h"
#include "storage/checkpoint/safetensors_internal.h"
#include "storage/instead/instead.h"
#include "storage/io/io.h"
#include "storage/io/io_utf8.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define SIZE_BYTES 8 /* of the length in front */

/* ---- types and sizes --------------------------------------------------------------------------------------------- */

// clang-format off
static const zo2_st_dtype dtypes[] = {
    {"F32", 32, ZO2_F32}, {"F16", 16, ZO2_F16}, {"BF16", 16, ZO2_BF16}, {"BOOL", 8, 0}, {"U8", 8, 0},
    {"I8", 8, 0},         {"F8_E5M2", 8, 0},    {"F8_E4M3", 8, 0},      {"I16", 16, 0}, {"U16", 16, 0},
    {"I32", 32, 0},       {"U32", 32, 0},       {"F64", 64, 0},         {"I64", 64, 0}, {"U64", 64, 0},
    {"C64", 64, 0},       {"F8_E8M0", 8, 0},    {"F8_E4M3FNUZ", 8, 0},  {"F8_E5M2FNUZ", 8, 0},
    {"F4", 4, 0},         {"F6_E2M3", 6, 0},    {"F6_E3M2", 6, 0},
};
// clang-format on

const zo2_st_dtype *zo2_st_dtype_find(const char *name)
{
    for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++)
        if (strcmp(dtypes[i].name, name) == 0)
            return &dtypes[i];
    return NULL;
}

const zo2_st_dtype *zo2_st_dtype_of(zo2_dtype dtype)
{
    for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++)
        if (dtype != 0 && dtypes[i].dtype == dtype)
            return &dtypes[i];
    return NULL;
}

int zo2_st_size(const uint64_t *shape, uint32_t rank, uint32_t element_bits, uint64_t *elements, uint64_t *bytes)
{
    uint64_t n = 1, bits;
    for (uint32_t i = 0; i < rank; i++)
        if (!zo2_mul_u64(n, shape[i], &n))
            return 0;
    if (!zo2_mul_u64(n, element_bits, &bits) || bits % 8 != 0)
        return 0;
    *elements = n;
    *bytes = bits / 8;
    return 1;
}

/* ---- one tensor's description ------------------------------------------------------------------------------------ */

typedef struct where { /* for messages */
    const char *path;
    const char *tensor;
} where;

#define TENSOR_ERROR(w, ...) tensor_error((w), zo2_error(ZO2_ERR_FORMAT, __VA_ARGS__))

static zo2_status tensor_error(const where *w, zo2_status s)
{
    return zo2_error(s, "%s: tensor %.300s: %s; get the file again", w->path, w->tensor, zo2_last_error());
}

static zo2_status get_count(const where *w, const json_t *v, const char *what, uint64_t *out)
{
    if (json_is_real(v))
        return TENSOR_ERROR(w, "%s has the number %g, which is not an integer", what, json_real_value(v));
    if (!json_is_integer(v))
        return TENSOR_ERROR(w, "%s has something that is not a number", what);
    if (json_integer_value(v) < 0)
        return TENSOR_ERROR(w, "%s has the negative number %" JSON_INTEGER_FORMAT, what, json_integer_value(v));
    *out = (uint64_t)json_integer_value(v);
    return ZO2_OK;
}

/* t->offset is left relative to the data; its end comes back in *end. */
static zo2_status parse_tensor(const where *w, const json_t *v, uint64_t data_bytes, zo2_st_tensor *t, uint64_t *end)
{
    zo2_status s;
    if (!json_is_object(v))
        return TENSOR_ERROR(w, "its description is not a JSON object");
    const char *name = json_string_value(json_object_get(v, "dtype"));
    const json_t *shape = json_object_get(v, "shape");
    const json_t *offsets = json_object_get(v, "data_offsets");
    if (!name)
        return TENSOR_ERROR(w, "it has no \"dtype\" string");
    if (!json_is_array(shape))
        return TENSOR_ERROR(w, "it has no \"shape\" list");
    if (!json_is_array(offsets) || json_array_size(offsets) != 2)
        return TENSOR_ERROR(w, "it has no \"data_offsets\" pair");

    /* A type that came after this was written: its size isn't known, so that of its data is believed. It is no weight. */
    const zo2_st_dtype *type = zo2_st_dtype_find(name);
    snprintf(t->dtype_name, sizeof t->dtype_name, "%s", name);
    t->dtype = type ? type->dtype : (zo2_dtype)0;
    if (json_array_size(shape) > ZO2_ST_MAX_RANK)
        return TENSOR_ERROR(w, "it has %zu dimensions, more than the %d that are supported", json_array_size(shape),
                            ZO2_ST_MAX_RANK);
    t->rank = (uint32_t)json_array_size(shape);
    for (uint32_t i = 0; i < t->rank; i++)
        if ((s = get_count(w, json_array_get(shape, i), "shape", &t->shape[i])) != ZO2_OK)
            return s;
    if (!zo2_st_size(t->shape, t->rank, type ? type->bits : 8, &t->elements, &t->bytes))
        return TENSOR_ERROR(w, "its size overflows 64 bits, or isn't one of whole bytes");

    if ((s = get_count(w, json_array_get(offsets, 0), "data_offsets", &t->offset)) != ZO2_OK ||
        (s = get_count(w, json_array_get(offsets, 1), "data_offsets", end)) != ZO2_OK)
        return s;
    if (*end < t->offset)
        return TENSOR_ERROR(w, "its data end at %" PRIu64 ", before they begin at %" PRIu64, *end, t->offset);
    if (!type)
        t->bytes = *end - t->offset;
    if (*end - t->offset != t->bytes)
        return TENSOR_ERROR(w, "its offsets span %" PRIu64 " bytes, shape and dtype %s make %" PRIu64, *end - t->offset,
                            t->dtype_name, t->bytes);
    if (*end > data_bytes)
        return TENSOR_ERROR(w,
                            "its data end at %" PRIu64 ", the file has only %" PRIu64 " bytes of data: it is truncated",
                            *end, data_bytes);
    return ZO2_OK;
}

/* ---- the whole header -------------------------------------------------------------------------------------------- */

static zo2_status check_metadata(const char *path, json_t *v)
{
    const char *key;
    json_t *text;
    if (json_is_null(v)) /* as good as none, to the reference implementation too */
        return ZO2_OK;
    if (!json_is_object(v))
        return zo2_error(ZO2_ERR_FORMAT, "%s: __metadata__ is not a JSON object; get the file again", path);
    json_object_foreach(v, key, text)
    {
        if (!json_is_string(text))
            return zo2_error(ZO2_ERR_FORMAT, "%s: __metadata__ entry %.300s is not a string; get the file again", path,
                             key);
    }
    return ZO2_OK;
}

/* Zero-sized tensors share their begin with what follows them: the end decides. Names make the order total. */
static int by_offset(const void *a, const void *b)
{
    const zo2_st_tensor *x = a, *y = b;
    if (x->offset != y->offset)
        return x->offset < y->offset ? -1 : 1;
    if (x->bytes != y->bytes)
        return x->bytes < y->bytes ? -1 : 1;
    return strcmp(x->name, y->name);
}

/* t[n] must cover [0, data_bytes) exactly. */
static zo2_status check_cover(const char *path, const zo2_st_tensor *t, uint64_t n, uint64_t data_bytes)
{
    uint64_t end = 0;
    for (uint64_t i = 0; i < n; i++) {
        const where w = {path, t[i].name};
        if (t[i].offset < end)
            return TENSOR_ERROR(&w, "its data (from offset %" PRIu64 ") overlap those of tensor %.300s", t[i].offset,
                                t[i - 1].name);
        if (t[i].offset > end)
            return TENSOR_ERROR(&w, "there is a hole of %" PRIu64 " bytes before its data (at offset %" PRIu64 ")",
                                t[i].offset - end, end);
        end += t[i].bytes;
    }
    if (end != data_bytes)
        return zo2_error(ZO2_ERR_FORMAT,
                         "%s: %" PRIu64 " bytes behind the last tensor belong to none; get the file again", path,
                         data_bytes - end);
    return ZO2_OK;
}

static zo2_status reserve(zo2_safetensors *s, uint64_t more)
{
    if (s->n + more <= s->cap)
        return ZO2_OK;
    uint64_t cap = s->n + more > 2 * s->cap ? s->n + more : 2 * s->cap;
    zo2_st_tensor *grown = realloc(s->tensors, (size_t)cap * sizeof *grown);
    if (!grown)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory for the tensor list of %s", s->shards.path);
    s->tensors = grown;
    s->cap = cap;
    return ZO2_OK;
}

static zo2_status add_tensors(zo2_safetensors *s, uint32_t file, json_t *header, uint64_t data_offset,
                              uint64_t data_bytes)
{
    const char *path = s->files[file].path;
    const char *key;
    json_t *value;
    uint64_t first = s->n;
    zo2_status status = reserve(s, json_object_size(header));
    if (status != ZO2_OK)
        return status;
    json_object_foreach(header, key, value)
    {
        if (strcmp(key, "__metadata__") == 0) {
            if ((status = check_metadata(path, value)) != ZO2_OK)
                return status;
            continue;
        }
        zo2_st_tensor t = {.file = file};
        uint64_t end;
        const where w = {path, key};
        if ((status = parse_tensor(&w, value, data_bytes, &t, &end)) != ZO2_OK)
            return status;
        if (!(t.name = strdup(key)))
            return zo2_error(ZO2_ERR_NOMEM, "out of memory for the tensor names of %s", path);
        s->tensors[s->n++] = t;
    }
    zo2_st_tensor *mine = s->n > first ? s->tensors + first : NULL; /* there is no array before the first tensor */
    if (mine)
        qsort(mine, (size_t)(s->n - first), sizeof *mine, by_offset);
    status = check_cover(path, mine, s->n - first, data_bytes);
    for (uint64_t i = first; i < s->n; i++)
        s->tensors[i].offset += data_offset;
    return status;
}

static zo2_status load_file(zo2_safetensors *s, uint32_t file)
{
    const char *path = s->files[file].path;
    int fd = s->files[file].fd;
    struct stat st;
    char *text = NULL;
    json_t *header = NULL;
    json_error_t problem;
    uint64_t n;
    zo2_status status;
    if (fstat(fd, &st) != 0)
        return zo2_io_error("cannot examine", path);
    if (!S_ISREG(st.st_mode))
        return zo2_error(ZO2_ERR_FORMAT, "%s is not a regular file", path);
    uint64_t length = (uint64_t)st.st_size;
    if (length < SIZE_BYTES)
        return zo2_error(ZO2_ERR_FORMAT,
                         "%s has %" PRIu64
                         " bytes, less than the 8 of a safetensors header's length; get the file again",
                         path, length);
    if ((status = zo2_io_read(&zo2_io_posix, fd, &n, SIZE_BYTES, 0, path)) != ZO2_OK)
        return status;
    if (n > ZO2_ST_MAX_HEADER)
        return zo2_error(ZO2_ERR_FORMAT,
                         "%s: the header's length at offset 0 is %" PRIu64
                         ", more than 100,000,000: damaged or not a safetensors file",
                         path, n);
    if (n > length - SIZE_BYTES)
        return zo2_error(ZO2_ERR_FORMAT,
                         "%s: the header has %" PRIu64 " bytes, the file only %" PRIu64
                         " behind offset 8: it is truncated; get it again",
                         path, n, length - SIZE_BYTES);

    text = malloc((size_t)n + 1);
    if (!text)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory for the header of %s (%" PRIu64 " bytes)", path, n);
    if ((status = zo2_io_read(&zo2_io_posix, fd, text, n, SIZE_BYTES, path)) != ZO2_OK)
        goto done;
    size_t valid = zo2_utf8_valid_bytes(text, (size_t)n);
    if (valid != n) {
        status = zo2_error(ZO2_ERR_FORMAT, "%s: the header is not UTF-8 at offset %zu; get the file again", path,
                           valid + SIZE_BYTES);
        goto done;
    }
    header = zo2_json_parse(text, (size_t)n, JSON_REJECT_DUPLICATES, &problem);
    if (!header) {
        status = zo2_error(ZO2_ERR_FORMAT, "%s: the header is not valid JSON: %s (at offset %d); get the file again",
                           path, problem.text, problem.position + SIZE_BYTES);
        goto done;
    }
    if (!json_is_object(header))
        status = zo2_error(ZO2_ERR_FORMAT, "%s: the header is not a JSON object; get the file again", path);
    else
        status = add_tensors(s, file, header, SIZE_BYTES + n, length - SIZE_BYTES - n);
done:
    json_decref(header);
    free(text);
    return status;
}

zo2_status zo2_st_load_file(zo2_safetensors *s, uint32_t file)
{
    zo2_status status = load_file(s, file);
    return status == ZO2_ERR_FORMAT ? zo2_explain_file(status, s->files[file].path, ZO2_WANT_SAFETENSORS) : status;
}
