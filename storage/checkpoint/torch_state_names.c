/* torch_state_names.c: what a state has under a name; its end. */
#include "storage/checkpoint/torch_state.h"

#include <stdlib.h>
#include <string.h>

static int by_tensor_name(const void *a, const void *b)
{
    const zo2_torch_tensor *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

static int by_opaque_name(const void *a, const void *b)
{
    return strcmp(((const zo2_torch_opaque *)a)->name, ((const zo2_torch_opaque *)b)->name);
}

zo2_status zo2_torch_state_sort(zo2_torch_state *o, const char *where)
{
    if (o->n_opaques)
        qsort(o->opaques, (size_t)o->n_opaques, sizeof *o->opaques, by_opaque_name);
    if (o->n_tensors == 0)
        return ZO2_OK;
    if (!(o->by_name = calloc((size_t)o->n_tensors, sizeof *o->by_name)))
        return zo2_error(ZO2_ERR_NOMEM, "%s: out of memory for the names of its tensors", where);
    for (uint64_t i = 0; i < o->n_tensors; i++)
        o->by_name[i] = &o->tensors[i];
    qsort(o->by_name, (size_t)o->n_tensors, sizeof *o->by_name, by_tensor_name);
    for (uint64_t i = 0; i < o->n_tensors; i++) {
        const char *name = o->by_name[i]->name;
        if ((i > 0 && strcmp(name, o->by_name[i - 1]->name) == 0) || zo2_torch_state_opaque(o, name))
            return zo2_error(ZO2_ERR_FORMAT, "%s: there is more than one %.300s: damaged or malicious", where, name);
    }
    return ZO2_OK;
}

void zo2_torch_state_free(zo2_torch_state *s)
{
    for (uint32_t i = 0; i < s->n_storages; i++)
        free(s->storages[i].key);
    for (uint64_t i = 0; i < s->n_tensors; i++)
        free(s->tensors[i].name);
    for (uint64_t i = 0; i < s->n_opaques; i++) {
        free(s->opaques[i].name);
        free(s->opaques[i].what);
    }
    free(s->storages);
    free(s->tensors);
    free(s->opaques);
    free(s->by_name);
    memset(s, 0, sizeof *s);
}

uint64_t zo2_torch_state_find(const zo2_torch_state *s, const char *name)
{
    zo2_torch_tensor wanted = {.name = (char *)name};
    const zo2_torch_tensor *key = &wanted;
    zo2_torch_tensor **found =
        s->n_tensors ? bsearch(&key, s->by_name, (size_t)s->n_tensors, sizeof *s->by_name, by_tensor_name) : NULL;
    return found ? (uint64_t)(*found - s->tensors) : s->n_tensors;
}

const char *zo2_torch_state_opaque(const zo2_torch_state *s, const char *name)
{
    const zo2_torch_opaque wanted = {.name = (char *)name};
    const zo2_torch_opaque *found =
        s->n_opaques ? bsearch(&wanted, s->opaques, (size_t)s->n_opaques, sizeof *s->opaques, by_opaque_name) : NULL;
    return found ? found->what : NULL;
}
