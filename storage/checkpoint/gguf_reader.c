/* gguf_reader.c: GGUF as a row of the table of checkpoint readers. */
#include "codec/codec.h"
#include "storage/checkpoint/checkpoint.h"
#include "storage/checkpoint/checkpoint_reader.h"
#include "storage/checkpoint/gguf.h"
#include "storage/checkpoint/gguf_config.h"
#include "storage/checkpoint/gguf_meta.h"
#include "storage/checkpoint/gguf_names.h"
#include "storage/checkpoint/gguf_tokenizer.h"
#include "storage/io/listing.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static_assert(ZO2_GGUF_MAX_DIMS <= ZO2_STORED_MAX_RANK, "a shape fits");

static int recognise(const zo2_listing *place)
{
    return zo2_gguf_is_there(place);
}

static zo2_status open_model(void **model, const char *path)
{
    zo2_gguf *m;
    zo2_status s = zo2_gguf_open(&m, path);
    *model = m;
    return s;
}

static void close_model(void *model)
{
    zo2_gguf_close(model);
}

static uint64_t count(const void *model)
{
    return ((const zo2_gguf *)model)->n;
}

static zo2_stored tensor(const void *model, uint64_t i)
{
    const zo2_gguf *m = model;
    const zo2_gguf_tensor *t = &m->tensors[i];
    zo2_stored out = {.name = t->name,
                      .dtype_name = t->type->name,
                      .file = m->files[t->file].path,
                      .dtype = t->dtype,
                      .rank = t->rank,
                      .bytes = t->elements * zo2_dtype_bytes(t->dtype)};
    memcpy(out.shape, t->shape, sizeof t->shape);
    return out;
}

static uint64_t find(const void *model, const char *name)
{
    const zo2_gguf *m = model;
    const zo2_gguf_tensor *t = zo2_gguf_find(m, name);
    return t ? (uint64_t)(t - m->tensors) : m->n;
}

/* Names are asked for as Hugging Face has them. */
static const char *absent(const void *model, const char *name, char *text, size_t n)
{
    char own[300];
    const zo2_gguf *m = model;
    text[0] = '\0';
    if (zo2_gguf_from_huggingface(name, own, sizeof own) && !zo2_gguf_find(m, own))
        snprintf(text, n, "%.400s has no %s; get all of the model", m->files[0].path, own);
    return text;
}

static void oddities(const void *model, void (*say)(void *ud, const char *text), void *ud)
{
    char text[800];
    const zo2_gguf *m = model;
    const char *type = NULL;
    uint64_t stored = 0, given = 0;
    for (uint64_t i = 0; i < m->n; i++) {
        const zo2_gguf_tensor *t = &m->tensors[i];
        stored += t->bytes;
        given += t->elements * zo2_dtype_bytes(t->dtype);
        if (t->type->decode && (!type || t->rank > 1))
            type = t->type->name;
    }
    if (!type)
        return;
    snprintf(text, sizeof text,
             "%.400s has weights in blocks (%s): they are decoded, and the pack has them as F32: %" PRIu64
             " MB of weights for %" PRIu64 " MB",
             m->files[0].path, type, given / 1000000, stored / 1000000);
    say(ud, text);
}

/* Bytes [first, first + n) of the elements: those at both ends may be cut. */
static zo2_status read_bytes(const void *model, uint64_t i, uint64_t first, uint64_t n, void *dst)
{
    const zo2_gguf *m = model;
    const zo2_gguf_tensor *t = &m->tensors[i];
    const uint64_t size = zo2_dtype_bytes(t->dtype), all = t->elements * size;
    if (first > all || n > all - first)
        return zo2_error(ZO2_ERR_ARG,
                         "tensor %s of %s has %" PRIu64 " bytes; %" PRIu64 " from %" PRIu64 " were asked for", t->name,
                         m->files[t->file].path, all, n, first);
    if (first % size == 0 && n % size == 0)
        return zo2_gguf_read(m, t, first / size, n / size, dst);
    const uint64_t from = first / size, to = (first + n + size - 1) / size;
    unsigned char *whole = malloc((size_t)((to - from) * size));
    zo2_status s = whole ? zo2_gguf_read(m, t, from, to - from, whole)
                         : zo2_error(ZO2_ERR_NOMEM, "out of memory to read %s of %s", t->name, m->files[t->file].path);
    if (!s)
        memcpy(dst, whole + (first - from * size), (size_t)n);
    free(whole);
    return s;
}

static zo2_status file(const void *model, const char *name, char **data, size_t *bytes, char *why, size_t n)
{
    const zo2_gguf *m = model;
    if (strcmp(name, "config.json") == 0)
        return zo2_gguf_config(m, data, bytes);
    if (strcmp(name, "tokenizer.json") == 0)
        return zo2_gguf_tokenizer(&m->files[0].header, data, bytes, why, n);
    return strcmp(name, "tokenizer_config.json") == 0 ? zo2_gguf_tokenizer_config(&m->files[0].header, data, bytes)
                                                      : ZO2_OK;
}

const zo2_checkpoint_reader zo2_reader_gguf = {
    .name = "GGUF",
    .naming = ZO2_NAMING_GGUF,
    .recognise = recognise,
    .open = open_model,
    .close = close_model,
    .count = count,
    .tensor = tensor,
    .find = find,
    .absent = absent,
    .oddities = oddities,
    .read = read_bytes,
    .file = file,
};
