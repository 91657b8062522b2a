/* safetensors_find.c: tensors by name and by number. */
#include "storage/checkpoint/safetensors.h"
#include "storage/checkpoint/safetensors_internal.h"

#include <stdlib.h>
#include <string.h>

static int by_name(const void *a, const void *b)
{
    return strcmp((*(zo2_st_tensor *const *)a)->name, (*(zo2_st_tensor *const *)b)->name);
}

static int name_of(const void *key, const void *b)
{
    return strcmp(key, (*(zo2_st_tensor *const *)b)->name);
}

zo2_status zo2_st_sort_names(zo2_safetensors *s)
{
    s->by_name = malloc(((size_t)s->n + 1) * sizeof *s->by_name);
    if (!s->by_name)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory for the tensor list of %s", s->path);
    for (uint64_t i = 0; i < s->n; i++)
        s->by_name[i] = &s->tensors[i];
    qsort(s->by_name, (size_t)s->n, sizeof *s->by_name, by_name);
    for (uint64_t i = 1; i < s->n; i++) {
        const zo2_st_tensor *a = s->by_name[i - 1], *b = s->by_name[i];
        if (strcmp(a->name, b->name) == 0)
            return zo2_error(ZO2_ERR_FORMAT,
                             "tensor %.300s is in two files, %s and %s; remove the one that doesn't belong", a->name,
                             s->files[a->file < b->file ? a->file : b->file].path,
                             s->files[a->file < b->file ? b->file : a->file].path);
    }
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

const zo2_st_tensor *zo2_safetensors_find(const zo2_safetensors *s, const char *name)
{
    zo2_st_tensor **t = s->n ? bsearch(name, s->by_name, (size_t)s->n, sizeof *s->by_name, name_of) : NULL;
    return t ? *t : NULL;
}

const char *zo2_safetensors_file(const zo2_safetensors *s, const zo2_st_tensor *t)
{
    return s->files[t->file].path;
}
