/* safetensors_find.c: tensors by name and by number. */
#include "storage/checkpoint/safetensors.h"
#include "storage/checkpoint/safetensors_internal.h"
#include "storage/io/io.h"

#include <stdlib.h>
#include <string.h>

static int by_name(const void *a, const void *b)
{
    const zo2_st_tensor *x = *(zo2_st_tensor *const *)a, *y = *(zo2_st_tensor *const *)b;
    int order = strcmp(x->name, y->name);
    return order ? order : (x->file > y->file) - (x->file < y->file);
}

zo2_status zo2_st_sort_names(zo2_safetensors *s)
{
    s->by_name = malloc(((size_t)s->n + 1) * sizeof *s->by_name);
    if (!s->by_name)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory for the tensor list of %s", s->shards.path);
    for (uint64_t i = 0; i < s->n; i++)
        s->by_name[i] = &s->tensors[i];
    qsort(s->by_name, (size_t)s->n, sizeof *s->by_name, by_name);
    return ZO2_OK;
}

uint64_t zo2_safetensors_count(const zo2_safetensors *s)
{
    return s->n;
}

const zo2_st_tensor *zo2_safetensors_at(const zo2_safetensors *s, uint64_t i)
{
    return i < s->n ? &s->tensors[i] : NULL;
}

/* The place in by_name of the first name that isn't less. */
static uint64_t place_of(const zo2_safetensors *s, const char *name)
{
    uint64_t low = 0, high = s->n;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        if (strcmp(s->by_name[middle]->name, name) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

const zo2_st_tensor *zo2_safetensors_find(const zo2_safetensors *s, const char *name)
{
    uint64_t i = place_of(s, name);
    return i < s->n && strcmp(s->by_name[i]->name, name) == 0 ? s->by_name[i] : NULL;
}

int zo2_st_is_in(const zo2_safetensors *s, const char *name, const char *file)
{
    int is = 0;
    for (uint64_t i = place_of(s, name); i < s->n && strcmp(s->by_name[i]->name, name) == 0 && !is; i++)
        is = strcmp(zo2_path_name(s->files[s->by_name[i]->file].path), file) == 0;
    return is;
}

const char *zo2_safetensors_file(const zo2_safetensors *s, const zo2_st_tensor *t)
{
    return s->files[t->file].path;
}
