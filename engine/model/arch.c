/* arch.c: look-ups in the tensor list. Relies on the list's layout: block 0, then the same roles for every layer, then the
 * head's. */
#include "engine/model/arch.h"

#include <stdlib.h>
#include <string.h>

void zo2_arch_free(zo2_arch *a)
{
    if (!a)
        return;
    free(a->tensors);
    memset(a, 0, sizeof *a);
}

/* Tensors of the embeddings and of each layer: at most three plus sixteen steps. */
static void count_blocks(const zo2_arch *a, uint32_t *embeddings, uint32_t *per_layer)
{
    uint32_t i = 0;
    while (i < a->n_tensors && a->tensors[i].block == 0)
        i++;
    *embeddings = i;
    while (i < a->n_tensors && a->layers > 0 && a->tensors[i].block == 1)
        i++;
    *per_layer = i - *embeddings;
}

uint32_t zo2_arch_find(const zo2_arch *a, zo2_role role, uint32_t layer)
{
    uint32_t embeddings, per_layer, from, to;
    if (layer >= a->layers)
        return ZO2_NO_TENSOR;
    count_blocks(a, &embeddings, &per_layer);
    if (role < ZO2_ROLE_ATTN_NORM_W) {
        from = 0;
        to = embeddings;
    } else if (role < ZO2_ROLE_FINAL_NORM_W) {
        from = embeddings + layer * per_layer;
        to = from + per_layer;
    } else {
        from = embeddings + a->layers * per_layer;
        to = a->n_tensors;
    }
    for (uint32_t i = from; i < to; i++)
        if (a->tensors[i].role == role)
            return i;
    return ZO2_NO_TENSOR;
}

/* The name behind the prefix that Hugging Face files come with: "model.decoder.", "decoder." or none. */
static const char *bare(const char *name)
{
    static const char *const prefixes[] = {"model.decoder.", "decoder."};
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++)
        if (strncmp(name, prefixes[i], strlen(prefixes[i])) == 0)
            return name + strlen(prefixes[i]);
    return name;
}

const zo2_tensor *zo2_arch_by_name(const zo2_arch *a, const char *name)
{
    static const char layers[] = "layers.";
    const char *wanted = bare(name);
    uint32_t embeddings, per_layer, from = 0, to = a->n_tensors;
    if (wanted != name && strcmp(wanted, "lm_head.weight") == 0)
        return NULL; /* the head is outside the decoder */
    if (strncmp(wanted, layers, sizeof layers - 1) ==
        0) { /* only that layer's names: files name thousands of tensors */
        unsigned long layer = strtoul(wanted + sizeof layers - 1, NULL, 10);
        if (layer >= a->layers)
            return NULL;
        count_blocks(a, &embeddings, &per_layer);
        from = embeddings + (uint32_t)layer * per_layer;
        to = from + per_layer;
    }
    for (uint32_t i = from; i < to; i++)
        if (strcmp(bare(a->tensors[i].name), wanted) == 0) /* the whole name: "layers.01." is not layer 1 */
            return &a->tensors[i];
    return NULL;
}
