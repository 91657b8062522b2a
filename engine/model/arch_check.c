/* arch_check.c: what everyone relies on in a family's list of tensors. A fault here is the family's: its first model that is
 * opened finds it. */
#include "engine/model/arch.h"
#include "engine/model/family.h"

#include <string.h>

_Static_assert(ZO2_ROLE_COUNT <= 64, "a block's roles are bits");

static int is_shape(const zo2_tensor *t, uint64_t rows, uint64_t cols)
{
    return t->rank == 2 && t->rows == rows && t->cols == cols;
}

/* What is wrong with a tensor, NULL: nothing. roles: those of its block before it. */
static const char *fault_of(const zo2_arch *a, uint32_t i, uint64_t *roles)
{
    const zo2_tensor *t = &a->tensors[i];
    uint32_t before = i ? t[-1].block : 0;
    int in_layer = t->block > 0 && t->block <= a->layers;
    if (t->block != before)
        *roles = 0;
    if (t->id != i)
        return "its id is not its place";
    if (t->block >= a->n_blocks || t->block < before)
        return "blocks are not in ascending order";
    if (t->layer != (in_layer ? t->block - 1 : 0))
        return "its layer is not its block's";
    if (!t->cols || !t->rows || (t->rank == 1 ? t->rows != 1 : t->rank != 2))
        return "it is neither a vector nor a matrix";
    if (t->rank == 1 && !t->exempt)
        return "a vector has the fp32 wire";
    if ((unsigned)t->role >= ZO2_ROLE_COUNT || *roles >> t->role & 1)
        return "its block has that role twice";
    if (!a->family->bare_name(t->name))
        return "its name has no bare form";
    *roles |= 1ull << t->role;
    switch (t->role) {
    case ZO2_ROLE_EMBED_TOKENS:
    case ZO2_ROLE_LM_HEAD: return is_shape(t, a->vocab, a->embed_dim) ? NULL : "it must be [vocab][embed_dim]";
    case ZO2_ROLE_EMBED_POSITIONS:
        return t->exempt && is_shape(t, t->rows, a->hidden) ? NULL
                                                            : "it must be [positions][hidden] with the fp32 wire";
    case ZO2_ROLE_PROJECT_IN: return is_shape(t, a->hidden, a->embed_dim) ? NULL : "it must be [hidden][embed_dim]";
    case ZO2_ROLE_PROJECT_OUT: return is_shape(t, a->embed_dim, a->hidden) ? NULL : "it must be [embed_dim][hidden]";
    case ZO2_ROLE_Q_NORM:
    case ZO2_ROLE_K_NORM: return t->rank == 1 && t->cols == a->head_dim ? NULL : "it must be [head_dim]";
    default: return NULL;
    }
}

static int has(const zo2_arch *a, zo2_role role)
{
    return zo2_arch_find(a, role, 0) != ZO2_NO_TENSOR;
}

static const char *fault_of_model(const zo2_arch *a)
{
    int narrow = a->embed_dim != a->hidden;
    if (!a->layers || a->n_blocks != a->layers + 2)
        return "its blocks are not embeddings, layers and head";
    if (!a->heads || !a->head_dim || !a->wide || !a->context)
        return "a size is missing: heads, head_dim, wide or context";
    if (!a->kv_heads || a->heads % a->kv_heads)
        return "the heads of keys and values must be a divisor of those of the queries";
    if (a->rope.kind && a->head_dim % 2)
        return "rotary positions turn pairs: head_dim must be even";
    if (!has(a, ZO2_ROLE_EMBED_TOKENS) || has(a, ZO2_ROLE_LM_HEAD) != !a->tied)
        return "it needs an embedding, and a head unless the embedding is the head";
    if (has(a, ZO2_ROLE_PROJECT_IN) != narrow || has(a, ZO2_ROLE_PROJECT_OUT) != narrow)
        return "projections come with an embedding of another width";
    return NULL;
}

zo2_status zo2_arch_check(const zo2_arch *a)
{
    const char *fault = fault_of_model(a);
    uint64_t roles = 0;
    if (fault)
        return zo2_error(ZO2_ERR_INTERNAL, "family %s: %s", a->family->model_type, fault);
    for (uint32_t i = 0; i < a->n_tensors; i++)
        if ((fault = fault_of(a, i, &roles)))
            return zo2_error(ZO2_ERR_INTERNAL, "family %s, tensor %u (%s): %s", a->family->model_type, i,
                             a->tensors[i].name, fault);
    for (uint32_t i = 1; i < a->n_tensors; i++) { /* by_name is sorted: equals are neighbours */
        const char *name = a->tensors[a->by_name[i]].name, *before = a->tensors[a->by_name[i - 1]].name;
        if (strcmp(a->family->bare_name(name), a->family->bare_name(before)) == 0)
            return zo2_error(ZO2_ERR_INTERNAL, "family %s: %s and %s have one bare name", a->family->model_type, before,
                             name);
    }
    return ZO2_OK;
}
