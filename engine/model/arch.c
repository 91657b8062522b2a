/* arch.c: look-ups in a model's tensor list. Blocks are runs of the list: embeddings, each layer, the head. */
#include "engine/model/arch.h"
#include "engine/model/family.h"

#include <stdlib.h>
#include <string.h>

const zo2_role zo2_lora_target[ZO2_LORA_TARGETS] = {ZO2_ROLE_Q_W,    ZO2_ROLE_K_W,   ZO2_ROLE_V_W,  ZO2_ROLE_O_W,
                                                    ZO2_ROLE_GATE_W, ZO2_ROLE_FC1_W, ZO2_ROLE_FC2_W};

typedef struct named {
    const char *bare;
    uint32_t tensor;
} named;

static int by_bare_name(const void *a, const void *b)
{
    return strcmp(((const named *)a)->bare, ((const named *)b)->bare);
}

/* Without one it has none that can be found; zo2_arch_check() refuses that. */
static const char *bare_name(const zo2_arch *a, uint32_t tensor)
{
    const char *bare = a->family->bare_name(a->tensors[tensor].name);
    return bare ? bare : "";
}

static void index_blocks(zo2_arch *a)
{
    uint32_t i = 0;
    for (uint32_t block = 0; block <= a->n_blocks; block++) {
        while (i < a->n_tensors && a->tensors[i].block < block)
            i++;
        a->block_at[block] = i;
    }
}

zo2_status zo2_arch_index(zo2_arch *a)
{
    named *names = malloc((size_t)a->n_tensors * sizeof *names);
    a->block_at = malloc(((size_t)a->n_blocks + 1) * sizeof *a->block_at);
    a->by_name = malloc((size_t)a->n_tensors * sizeof *a->by_name);
    if (!names || !a->block_at || !a->by_name) {
        zo2_status s = zo2_error(ZO2_ERR_NOMEM, "out of memory for the tables of %u tensors", a->n_tensors);
        free(names);
        zo2_arch_free(a);
        return s;
    }
    index_blocks(a);
    for (uint32_t i = 0; i < a->n_tensors; i++)
        names[i] = (named){bare_name(a, i), i};
    qsort(names, a->n_tensors, sizeof *names, by_bare_name);
    for (uint32_t i = 0; i < a->n_tensors; i++)
        a->by_name[i] = names[i].tensor;
    free(names);
    for (uint32_t i = 0; i < a->n_tensors; i++)
        a->tensors[i].stored = i;
    a->moving = a->parameters;
    a->groups = 1;
    return ZO2_OK;
}

void zo2_arch_free(zo2_arch *a)
{
    if (!a)
        return;
    free(a->tensors);
    free(a->block_at);
    free(a->by_name);
    free(a->row);
    memset(a, 0, sizeof *a);
}

uint32_t zo2_arch_fork(const zo2_arch *a, uint32_t group)
{
    uint32_t i = 0; /* blocks stand in ascending order */
    while (i < a->n_tensors && !zo2_moves(&a->tensors[i], group))
        i++;
    return i < a->n_tensors ? a->tensors[i].block : a->n_blocks;
}

static uint32_t find_in(const zo2_arch *a, uint32_t block, zo2_role role)
{
    for (uint32_t i = a->block_at[block]; i < a->block_at[block + 1]; i++)
        if (a->tensors[i].role == role)
            return i;
    return ZO2_NO_TENSOR;
}

uint32_t zo2_arch_find(const zo2_arch *a, zo2_role role, uint32_t layer)
{
    if (layer >= a->layers)
        return ZO2_NO_TENSOR;
    uint32_t found = find_in(a, layer + 1, role);
    if (found == ZO2_NO_TENSOR && layer == 0) /* roles of the outer blocks occur there only */
        found = find_in(a, 0, role);
    if (found == ZO2_NO_TENSOR && layer == 0)
        found = find_in(a, a->n_blocks - 1, role);
    return found;
}

const zo2_tensor *zo2_arch_by_name(const zo2_arch *a, const char *name)
{
    const char *wanted = a->family->bare_name(name);
    uint32_t low = 0, high = wanted ? a->n_tensors : 0;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        const zo2_tensor *t = &a->tensors[a->by_name[middle]];
        int order = strcmp(wanted, bare_name(a, a->by_name[middle]));
        if (!order)
            return t;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}
