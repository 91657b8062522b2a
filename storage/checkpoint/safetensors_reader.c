/* safetensors_reader.c: safetensors as a row of the table of checkpoint readers. */
#include "storage/checkpoint/checkpoint.h"
#include "storage/checkpoint/checkpoint_reader.h"
#include "storage/checkpoint/safetensors.h"
#include "storage/io/listing.h"

#include <assert.h>
#include <string.h>

static_assert(ZO2_ST_MAX_RANK <= ZO2_STORED_MAX_RANK, "a shape fits");

static int recognise(const zo2_listing *place)
{
    static const char *const endings[] = {".safetensors", ".safetensors.index.json", NULL};
    return zo2_listing_ending(place, endings) != NULL;
}

static zo2_status open_model(void **model, const char *path)
{
    zo2_safetensors *s;
    zo2_status status = zo2_safetensors_open(&s, path);
    *model = s;
    return status;
}

static void close_model(void *model)
{
    zo2_safetensors_close(model);
}

static uint64_t count(const void *model)
{
    return zo2_safetensors_count(model);
}

static zo2_stored tensor(const void *model, uint64_t i)
{
    const zo2_st_tensor *t = zo2_safetensors_at(model, i);
    zo2_stored stored = {.name = t->name,
                         .dtype_name = t->dtype_name,
                         .file = zo2_safetensors_file(model, t),
                         .dtype = t->dtype,
                         .rank = t->rank,
                         .bytes = t->bytes};
    memcpy(stored.shape, t->shape, sizeof t->shape);
    return stored;
}

static uint64_t find(const void *model, const char *name)
{
    const zo2_st_tensor *t = zo2_safetensors_find(model, name);
    return t ? (uint64_t)(t - zo2_safetensors_at(model, 0)) : zo2_safetensors_count(model);
}

static const char *absent(const void *model, const char *name, char *text, size_t n)
{
    return zo2_safetensors_absent(model, name, text, n);
}

static void oddities(const void *model, void (*say)(void *ud, const char *text), void *ud)
{
    zo2_safetensors_oddities(model, say, ud);
}

static zo2_status read_bytes(const void *model, uint64_t i, uint64_t first, uint64_t n, void *dst)
{
    return zo2_safetensors_read(model, zo2_safetensors_at(model, i), first, n, dst);
}

const zo2_checkpoint_reader zo2_reader_safetensors = {
    .name = "safetensors",
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
