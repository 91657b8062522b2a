/* gguf_open.c: opens the files of a GGUF model and checks where their tensors lie: known types, whole blocks, inside the file, none
 * on another. */
#include "codec/fp16.h"
#include "engine/base/checked.h"
#include "storage/checkpoint/gguf.h"
#include "storage/checkpoint/gguf_blocks.h"
#include "storage/checkpoint/gguf_meta.h"
#include "storage/checkpoint/gguf_names.h"
#include "storage/instead/instead.h"
#include "storage/io/io.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FIRST_READ  ((uint64_t)1 << 20)
#define MAX_VECTOR  ((uint64_t)1 << 20) /* elements of vectors that are looked into */
#define READ_VECTOR 4096u

/* ---- headers ---------------------------------------------------------------------------------------------------------- */

/* The header's length stands nowhere: more is read until all of it is there. */
static zo2_status read_header(zo2_gguf_file *f)
{
    zo2_status s = ZO2_OK;
    int more = 1;
    for (uint64_t n = zo2_min_u64(f->size, FIRST_READ); more && !s; n = zo2_min_u64(f->size, 4 * n)) {
        if (n > ZO2_GGUF_MAX_HEADER)
            return zo2_error(ZO2_ERR_FORMAT, "%s has a header of more than %" PRIu64 " bytes", f->path,
                             ZO2_GGUF_MAX_HEADER);
        free(f->bytes);
        if (!(f->bytes = malloc((size_t)n + 1)))
            return zo2_error(ZO2_ERR_NOMEM, "out of memory for the header of %s", f->path);
        if (!(s = zo2_io_read(&zo2_io_posix, f->fd, f->bytes, n, 0, f->path)))
            s = zo2_gguf_parse(&f->header, f->bytes, n, f->size, f->path, &more);
    }
    return s;
}

static zo2_status open_file(zo2_gguf_file *f)
{
    struct stat st;
    f->fd = open(f->path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (f->fd < 0 || fstat(f->fd, &st) != 0)
        return zo2_io_error("cannot open", f->path);
    if (!S_ISREG(st.st_mode))
        return zo2_error(ZO2_ERR_ARG, "%s is not a regular file", f->path);
    f->size = (uint64_t)st.st_size;
    zo2_status s = read_header(f);
    return s == ZO2_ERR_FORMAT ? zo2_explain_file(s, f->path, ZO2_WANT_MODEL_FOLDER) : s;
}

/* What the files of a split model say of themselves: they are all of it, in order. */
static zo2_status check_split(const zo2_gguf *m, uint32_t i)
{
    const zo2_gguf_header *h = &m->files[i].header;
    const zo2_gguf_value *number = zo2_gguf_get(h, "split.no"), *count = zo2_gguf_get(h, "split.count");
    uint64_t no = 0, n = 1;
    if ((number && !zo2_gguf_uint(number, 0, &no)) || (count && !zo2_gguf_uint(count, 0, &n)))
        return zo2_error(ZO2_ERR_FORMAT, "%s: split.no or split.count isn't a number", h->path);
    n = n ? n : 1;
    if (n == m->n_files && no == i)
        return ZO2_OK;
    if (m->n_files == 1)
        return zo2_error(ZO2_ERR_FORMAT,
                         "%s is file %" PRIu64 " of %" PRIu64
                         " of a model that was split: give the files back the names that "
                         "llama-gguf-split gave them, NAME-%05" PRIu64 "-of-%05" PRIu64 ".gguf",
                         h->path, no + 1, n, no + 1, n);
    return zo2_error(ZO2_ERR_FORMAT,
                     "%s is file %" PRIu32 " of %" PRIu32 " by its name, but %" PRIu64 " of %" PRIu64
                     " by its metadata: it belongs to another model",
                     h->path, i + 1, m->n_files, no + 1, n);
}

/* ---- tensors ---------------------------------------------------------------------------------------------------------- */

static zo2_status check_type(const zo2_gguf_file *f, zo2_gguf_tensor *t, uint32_t type)
{
    const char *name = zo2_gguf_data_name(type);
    if ((t->type = zo2_gguf_block_of(type)))
        return ZO2_OK;
    if (!name)
        return zo2_error(ZO2_ERR_FORMAT, "%s: %s has type %" PRIu32 ", which is none of GGUF's", f->path, t->name,
                         type);
    return zo2_error(
        ZO2_ERR_UNSUPPORTED,
        "%s: %s is %s; this version reads F32, F16, BF16, Q8_0, Q4_0 and Q4_1: get the model as one of these, or make "
        "it with llama.cpp: llama-quantize --allow-requantize FILE OUT Q8_0",
        f->path, t->name, name);
}

static zo2_status place_tensor(const zo2_gguf_file *f, zo2_gguf_tensor *t, const zo2_gguf_info *info)
{
    uint64_t end;
    zo2_status s = check_type(f, t, info->type);
    if (s)
        return s;
    t->dtype = t->type->dtype;
    t->elements = 1;
    t->rank = info->dims;
    while (t->rank > 1 && info->shape[t->rank - 1] == 1) /* trailing ones, of old writers */
        t->rank--;
    for (uint32_t d = 0; d < info->dims; d++) {
        if (d < t->rank)
            t->shape[t->rank - 1 - d] = info->shape[d];
        if (info->shape[d] == 0 || !zo2_mul_u64(t->elements, info->shape[d], &t->elements))
            return zo2_error(ZO2_ERR_FORMAT, "%s: %s has an impossible shape", f->path, t->name);
    }
    if (info->shape[0] % t->type->elements != 0)
        return zo2_error(ZO2_ERR_FORMAT,
                         "%s: rows of %s have %" PRIu64 " elements, which blocks of %" PRIu32 " (%s) don't divide",
                         f->path, t->name, info->shape[0], t->type->elements, t->type->name);
    if (info->offset % f->header.alignment != 0)
        return zo2_error(ZO2_ERR_FORMAT,
                         "%s: %s begins at byte %" PRIu64 " of the data, which isn't a multiple of %" PRIu32, f->path,
                         t->name, info->offset, f->header.alignment);
    if (!zo2_mul_u64(t->elements / t->type->elements, t->type->bytes, &t->bytes) ||
        !zo2_add_u64(f->header.bytes, info->offset, &t->offset) || !zo2_add_u64(t->offset, t->bytes, &end) ||
        end > f->size)
        return zo2_error(ZO2_ERR_FORMAT, "%s has %" PRIu64 " bytes, too few for its tensor %s: download it again",
                         f->path, f->size, t->name);
    return ZO2_OK;
}

static int by_offset(const void *a, const void *b)
{
    const zo2_gguf_tensor *x = a, *y = b;
    return x->file != y->file ? (x->file > y->file) - (x->file < y->file)
                              : (x->offset > y->offset) - (x->offset < y->offset);
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(const zo2_gguf_tensor *const *)a)->name, (*(const zo2_gguf_tensor *const *)b)->name);
}

static zo2_status sort_tensors(zo2_gguf *m)
{
    m->by_name = calloc((size_t)m->n + 1, sizeof *m->by_name);
    if (!m->by_name)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory for the tensors of %s", m->files[0].path);
    qsort(m->tensors, (size_t)m->n, sizeof *m->tensors, by_offset);
    for (uint64_t i = 0; i < m->n; i++)
        m->by_name[i] = &m->tensors[i];
    qsort(m->by_name, (size_t)m->n, sizeof(const zo2_gguf_tensor *), by_name);
    for (uint64_t i = 1; i < m->n; i++) {
        const zo2_gguf_tensor *a = &m->tensors[i - 1], *b = &m->tensors[i];
        if (a->file == b->file && b->offset - a->offset < a->bytes)
            return zo2_error(ZO2_ERR_FORMAT, "%s: %s and %s overlap", m->files[a->file].path, a->name, b->name);
        if (strcmp(m->by_name[i - 1]->name, m->by_name[i]->name) == 0)
            return zo2_error(ZO2_ERR_FORMAT, "%s and %s both have the tensor %s",
                             m->files[m->by_name[i - 1]->file].path, m->files[m->by_name[i]->file].path,
                             m->by_name[i]->name);
    }
    return ZO2_OK;
}

static zo2_status list_tensors(zo2_gguf *m)
{
    uint64_t n = 0;
    zo2_status s = ZO2_OK;
    for (uint32_t i = 0; i < m->n_files; i++)
        n += m->files[i].header.n_tensors;
    m->tensors = calloc((size_t)n + 1, sizeof *m->tensors);
    for (uint32_t i = 0; m->tensors && i < m->n_files && !s; i++) {
        const zo2_gguf_file *f = &m->files[i];
        for (uint64_t k = 0; k < f->header.n_tensors && !s; k++) {
            zo2_gguf_tensor *t = &m->tensors[m->n];
            t->file = i;
            if (!(t->name = strndup(f->header.tensors[k].name.at, f->header.tensors[k].name.n)))
                break;
            m->n++;
            s = place_tensor(f, t, &f->header.tensors[k]);
        }
    }
    if (!s && m->n != n)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory for the tensors of %s", m->files[0].path);
    if (!s && n == 0)
        return zo2_error(ZO2_ERR_NOTFOUND, "%s has no tensors: it is a vocabulary, not a model", m->files[0].path);
    return s ? s : sort_tensors(m);
}

/* ---- vectors ---------------------------------------------------------------------------------------------------------- */

/* llama.cpp wants norms and biases as F32, whatever they were. Where all of them are values of the 16-bit type that all matrices
 * have, they were of that type before: so they are given, and a model that went through GGUF is the same model. */
static int is_vector(const zo2_gguf_tensor *t)
{
    return t->rank == 1 && t->type->type == ZO2_GGUF_F32_DATA && t->elements <= MAX_VECTOR &&
           strcmp(t->name, ZO2_GGUF_ROPE_FREQS) != 0;
}

static zo2_dtype dtype_of_matrices(const zo2_gguf *m)
{
    zo2_dtype all = 0;
    for (uint64_t i = 0; i < m->n; i++) {
        const zo2_gguf_tensor *t = &m->tensors[i];
        if (is_vector(t) || strcmp(t->name, ZO2_GGUF_ROPE_FREQS) == 0)
            continue;
        if (t->type->elements != 1 || t->dtype == ZO2_F32 || (all && all != t->dtype))
            return 0;
        all = t->dtype;
    }
    return all;
}

static int holds(zo2_dtype dtype, float value)
{
    uint32_t bits, again;
    memcpy(&bits, &value, sizeof bits);
    if (dtype == ZO2_BF16)
        return (bits & 0xFFFF) == 0;
    const float back = zo2_fp16_get(zo2_fp16_encode(value));
    memcpy(&again, &back, sizeof again);
    return again == bits;
}

static zo2_status vector_holds(const zo2_gguf *m, const zo2_gguf_tensor *t, zo2_dtype dtype, int *yes)
{
    float values[READ_VECTOR];
    zo2_status s = ZO2_OK;
    for (uint64_t at = 0, n; at < t->elements && *yes && !s; at += n) {
        n = zo2_min_u64(t->elements - at, READ_VECTOR);
        s = zo2_gguf_read(m, t, at, n, values); /* as F32 still */
        for (uint64_t i = 0; i < n && !s; i++)
            *yes &= holds(dtype, values[i]);
    }
    return s;
}

static zo2_status give_back_types(zo2_gguf *m)
{
    const zo2_dtype dtype = dtype_of_matrices(m);
    int yes = dtype != 0;
    zo2_status s = ZO2_OK;
    for (uint64_t i = 0; i < m->n && yes && !s; i++)
        if (is_vector(&m->tensors[i]))
            s = vector_holds(m, &m->tensors[i], dtype, &yes);
    for (uint64_t i = 0; i < m->n && yes && !s; i++)
        if (is_vector(&m->tensors[i]))
            m->tensors[i].dtype = dtype;
    return s;
}

/* ---- opening ---------------------------------------------------------------------------------------------------------- */

static zo2_status open_files(zo2_gguf *m, const char *path)
{
    char **paths;
    uint32_t n;
    zo2_status s = zo2_gguf_find_files(path, &paths, &n);
    if (s)
        return s;
    m->files = calloc(n, sizeof *m->files);
    for (uint32_t i = 0; m->files && i < n; i++)
        m->files[i] = (zo2_gguf_file){.path = paths[i], .fd = -1};
    if (!m->files) {
        zo2_gguf_free_paths(paths, n);
        return zo2_error(ZO2_ERR_NOMEM, "out of memory to open %s", path);
    }
    free(paths);
    m->n_files = n;
    for (uint32_t i = 0; i < n && !s; i++)
        if (!(s = open_file(&m->files[i])))
            s = check_split(m, i);
    return s;
}

zo2_status zo2_gguf_open(zo2_gguf **out, const char *path)
{
    zo2_gguf *m = calloc(1, sizeof *m);
    *out = NULL;
    if (!m)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory to open %s", path);
    zo2_status s;
    if ((s = open_files(m, path)) || (s = list_tensors(m)) || (s = give_back_types(m))) {
        zo2_gguf_close(m);
        return s;
    }
    *out = m;
    return ZO2_OK;
}

void zo2_gguf_close(zo2_gguf *m)
{
    if (!m)
        return;
    for (uint32_t i = 0; i < m->n_files; i++) {
        zo2_gguf_header_free(&m->files[i].header);
        if (m->files[i].fd >= 0)
            close(m->files[i].fd);
        free(m->files[i].bytes);
        free(m->files[i].path);
    }
    for (uint64_t i = 0; i < m->n; i++)
        free(m->tensors[i].name);
    free(m->files);
    free(m->tensors);
    free(m->by_name);
    free(m);
}
