/* tensor_list.c: see tensor_list.h. */
#include "engine/families/tensor_list.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The format of packs and every index computation rely on it. */
#define MAX_ELEMENTS ((uint64_t)1 << 40)

static int is_norm_weight(zo2_role role)
{
    return role == ZO2_ROLE_ATTN_NORM_W || role == ZO2_ROLE_FFN_NORM_W || role == ZO2_ROLE_FINAL_NORM_W ||
           role == ZO2_ROLE_Q_NORM || role == ZO2_ROLE_K_NORM;
}

static void append(zo2_arch *a, const char *prefix, const zo2_tensor_row *r, uint32_t layer)
{
    zo2_tensor *t = &a->tensors[a->n_tensors];
    memset(t, 0, sizeof *t);
    if (r->part == ZO2_PART_LAYER)
        snprintf(t->name, sizeof t->name, "%slayers.%" PRIu32 ".%s", prefix, layer, r->name);
    else
        snprintf(t->name, sizeof t->name, "%s%s", r->role == ZO2_ROLE_LM_HEAD ? "" : prefix, r->name);
    t->role = r->role;
    t->id = a->n_tensors++;
    t->layer = layer;
    t->block = r->part == ZO2_PART_EMBEDDINGS ? 0 : r->part == ZO2_PART_LAYER ? layer + 1 : a->layers + 1;
    t->rank = r->rows ? 2 : 1;
    t->rows = r->rows ? r->rows : 1;
    t->cols = r->cols;
    t->decays = t->rank == 2;
    t->ones = is_norm_weight(r->role);
    t->exempt = t->rank == 1 || r->role == ZO2_ROLE_EMBED_POSITIONS;
    a->parameters += t->rows * t->cols;
}

static void append_part(zo2_arch *a, const char *prefix, const zo2_tensor_row *rows, size_t n, zo2_part part,
                        uint32_t layer)
{
    for (size_t i = 0; i < n; i++)
        if (rows[i].part == part && rows[i].has)
            append(a, prefix, &rows[i], layer);
}

zo2_status zo2_tensor_list_build(zo2_arch *a, const char *what, const char *prefix, const zo2_tensor_row *rows,
                                 size_t n)
{
    uint32_t outer = 0, layer = 0;
    for (size_t i = 0; i < n; i++) {
        const zo2_tensor_row *r = &rows[i];
        if (!r->has)
            continue;
        if ((r->rows ? r->rows : 1) * r->cols >= MAX_ELEMENTS) /* the caps on sizes keep the product far below 2^64 */
            return zo2_error(ZO2_ERR_FORMAT,
                             "%s: %s would have %" PRIu64 " x %" PRIu64 " elements; fewer than 2^40 are supported",
                             what, r->name, r->rows ? r->rows : 1, r->cols);
        if (r->part == ZO2_PART_LAYER)
            layer++;
        else
            outer++;
    }
    const uint32_t count = outer + a->layers * layer;
    a->tensors = malloc(count * sizeof *a->tensors);
    if (!a->tensors)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory for the list of %" PRIu32 " tensors of %s", count, what);
    a->n_tensors = 0;
    a->parameters = 0;
    a->n_blocks = a->layers + 2;
    append_part(a, prefix, rows, n, ZO2_PART_EMBEDDINGS, 0);
    for (uint32_t l = 0; l < a->layers; l++)
        append_part(a, prefix, rows, n, ZO2_PART_LAYER, l);
    append_part(a, prefix, rows, n, ZO2_PART_HEAD, 0);
    return ZO2_OK;
}
