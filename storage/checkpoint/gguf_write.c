/* gguf_write.c: metadata and tensors as a GGUF file of version 3. Shapes are known beforehand, so the header is written first, and
 * every tensor has its place: rows may come in any order. */
#include "storage/checkpoint/gguf_write.h"
#include "engine/base/checked.h"
#include "storage/checkpoint/gguf_blocks.h"
#include "storage/checkpoint/gguf_meta.h"
#include "storage/io/io.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define VERSION   3u
#define ALIGNMENT 32u

struct zo2_gguf_writer {
    const zo2_io *io;
    zo2_outfile file;
    zo2_gguf_out *tensors;
    uint64_t n;
    uint64_t data; /* where it begins in the file */
    uint64_t end;  /* of the file */
    uint64_t left; /* bytes of tensors still to come */
};

/* ---- metadata --------------------------------------------------------------------------------------------------------- */

static void put(zo2_gguf_keys *k, const void *data, size_t n)
{
    if (!k->failed && k->cap - k->n < n) {
        const size_t cap = 2 * k->cap + n + 4096;
        unsigned char *grown = realloc(k->bytes, cap);
        k->failed = !grown;
        k->bytes = grown ? grown : k->bytes;
        k->cap = grown ? cap : k->cap;
    }
    if (k->failed)
        return;
    memcpy(k->bytes + k->n, data, n);
    k->n += n;
}

static void put_length(zo2_gguf_keys *k, uint64_t n)
{
    put(k, &n, sizeof n);
}

static void put_type(zo2_gguf_keys *k, uint32_t type)
{
    put(k, &type, sizeof type);
}

static void put_string(zo2_gguf_keys *k, const char *text)
{
    const size_t n = strlen(text);
    put_length(k, n);
    put(k, text, n);
}

static void begin(zo2_gguf_keys *k, const char *key, uint32_t type)
{
    put_string(k, key);
    put_type(k, type);
    k->count++;
}

static void begin_array(zo2_gguf_keys *k, const char *key, uint32_t of, uint64_t n)
{
    begin(k, key, ZO2_GGUF_ARRAY);
    put_type(k, of);
    put_length(k, n);
}

void zo2_gguf_put_u32(zo2_gguf_keys *k, const char *key, uint32_t value)
{
    begin(k, key, ZO2_GGUF_U32);
    put(k, &value, sizeof value);
}

void zo2_gguf_put_f32(zo2_gguf_keys *k, const char *key, float value)
{
    begin(k, key, ZO2_GGUF_F32);
    put(k, &value, sizeof value);
}

void zo2_gguf_put_bool(zo2_gguf_keys *k, const char *key, int value)
{
    const unsigned char byte = value != 0;
    begin(k, key, ZO2_GGUF_BOOL);
    put(k, &byte, sizeof byte);
}

void zo2_gguf_put_text(zo2_gguf_keys *k, const char *key, const char *text)
{
    begin(k, key, ZO2_GGUF_STRING);
    put_string(k, text);
}

void zo2_gguf_put_u32s(zo2_gguf_keys *k, const char *key, const uint32_t *values, uint64_t n)
{
    begin_array(k, key, ZO2_GGUF_I32, n);
    put(k, values, (size_t)n * sizeof *values);
}

void zo2_gguf_put_f32s(zo2_gguf_keys *k, const char *key, const float *values, uint64_t n)
{
    begin_array(k, key, ZO2_GGUF_F32, n);
    put(k, values, (size_t)n * sizeof *values);
}

void zo2_gguf_put_texts(zo2_gguf_keys *k, const char *key, const char *const *texts, uint64_t n)
{
    begin_array(k, key, ZO2_GGUF_STRING, n);
    for (uint64_t i = 0; i < n; i++)
        put_string(k, texts[i]);
}

void zo2_gguf_keys_free(zo2_gguf_keys *k)
{
    free(k->bytes);
    *k = (zo2_gguf_keys){0};
}

/* ---- the header ------------------------------------------------------------------------------------------------------- */

uint64_t zo2_gguf_out_bytes(const zo2_gguf_out *t)
{
    const zo2_gguf_block *type = zo2_gguf_block_of(t->type);
    return t->shape[0] * (t->rank > 1 ? t->shape[1] : 1) / type->elements * type->bytes;
}

static void put_tensor(zo2_gguf_keys *h, const zo2_gguf_out *t)
{
    put_string(h, t->name);
    put_type(h, t->rank);
    for (uint32_t d = t->rank; d-- > 0;)
        put_length(h, t->shape[d]);
    put_type(h, t->type);
    put_length(h, t->offset);
}

static void make_header(zo2_gguf_writer *w, const zo2_gguf_keys *keys, zo2_gguf_keys *h)
{
    static const unsigned char padding[ALIGNMENT];
    uint64_t at = 0;
    put(h, "GGUF", 4);
    put_type(h, VERSION);
    put_length(h, w->n);
    put_length(h, keys->count);
    put(h, keys->bytes, keys->n);
    for (uint64_t i = 0; i < w->n; i++) {
        zo2_gguf_out *t = &w->tensors[i];
        t->offset = at;
        t->bytes = zo2_gguf_out_bytes(t);
        at = zo2_round_up(at + t->bytes, ALIGNMENT);
        w->left += t->bytes;
        put_tensor(h, t);
    }
    put(h, padding, (size_t)(zo2_round_up(h->n, ALIGNMENT) - h->n));
    w->data = h->n;
    w->end = h->n + at;
}

static zo2_status write_header(zo2_gguf_writer *w, const char *path, int force, const zo2_gguf_keys *keys)
{
    zo2_gguf_keys h = {.failed = keys->failed};
    zo2_status s;
    make_header(w, keys, &h);
    if (h.failed)
        s = zo2_error(ZO2_ERR_NOMEM, "out of memory for the header of %s", path);
    else if (!(s = zo2_outfile_open(&w->file, w->io, path, force)))
        s = zo2_io_write(w->io, w->file.fd, h.bytes, h.n, 0, path);
    zo2_gguf_keys_free(&h);
    if (!s && w->io->ftruncate(w->io->ud, w->file.fd, (off_t)w->end) != 0) /* padding is zeros */
        s = zo2_io_error("cannot write", path);
    return s;
}

zo2_status zo2_gguf_writer_open(zo2_gguf_writer **out, const zo2_io *io, const char *path, int force,
                                const zo2_gguf_keys *keys, zo2_gguf_out *tensors, uint64_t n)
{
    *out = NULL;
    zo2_gguf_writer *w = calloc(1, sizeof *w);
    if (!w)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory to write %s", path);
    *w = (zo2_gguf_writer){.io = io, .tensors = tensors, .n = n};
    zo2_status s = write_header(w, path, force, keys);
    if (s)
        zo2_gguf_writer_close(w);
    else
        *out = w;
    return s;
}

/* ---- data ------------------------------------------------------------------------------------------------------------- */

zo2_status zo2_gguf_writer_put(zo2_gguf_writer *w, uint64_t tensor, uint64_t first, const void *data, uint64_t bytes)
{
    const zo2_gguf_out *t = &w->tensors[tensor];
    if (first > t->bytes || bytes > t->bytes - first || bytes > w->left)
        return zo2_error(ZO2_ERR_INTERNAL, "%s: %s has %" PRIu64 " bytes; %" PRIu64 " more came at %" PRIu64,
                         w->file.path, t->name, t->bytes, bytes, first);
    w->left -= bytes;
    return zo2_io_write(w->io, w->file.fd, data, bytes, w->data + t->offset + first, w->file.path);
}

zo2_status zo2_gguf_writer_commit(zo2_gguf_writer *w)
{
    return w->left ? zo2_error(ZO2_ERR_INTERNAL, "%s: %" PRIu64 " bytes of weights didn't come", w->file.path, w->left)
                   : zo2_outfile_commit(&w->file);
}

void zo2_gguf_writer_close(zo2_gguf_writer *w)
{
    if (!w)
        return;
    zo2_outfile_abort(&w->file);
    free(w);
}
