/* opt_metaseq.c: where the tensors of a metaseq checkpoint are in an OPT model. metaseq is what OPT was trained with. It cuts
 * a model for tensor parallelism: each of its parts has a tensor of every name. Matrices (and biases) whose outputs are cut lie
 * one below the other, those whose inputs are cut side by side, and what follows such a sum is in every part.
 *
 * Easy to get wrong: the fused projection is K, V, Q, in that order and in each part by itself; and final_layer_norm is a layer's second
 * norm, while the one behind the last layer is layer_norm. */
#include "engine/families/opt/opt.h"
#include "engine/model/arch.h"
#include "engine/model/place.h"
#include "storage/checkpoint/checkpoint.h"

#include <stdio.h>
#include <string.h>

#define MAX_NAME 80 /* of a tensor, as in zo2_tensor */

/* metaseq's name and ours, without the prefix. */
static const char *const renamed[][2] = {
    {"layer_norm.weight", "final_layer_norm.weight"},
    {"layer_norm.bias", "final_layer_norm.bias"},
    {"project_in_dim.weight", "project_in.weight"},
    {"project_out_dim.weight", "project_out.weight"},
};

/* ---- which part of ours a shard is ------------------------------------------------------------------------------------- */

/* How metaseq cuts a tensor. */
typedef enum cut { CUT_NOWHERE, CUT_OUTPUTS, CUT_INPUTS } cut;

static cut cut_of(zo2_role role)
{
    switch (role) {
    case ZO2_ROLE_EMBED_TOKENS:
    case ZO2_ROLE_LM_HEAD:
    case ZO2_ROLE_Q_W:
    case ZO2_ROLE_Q_B:
    case ZO2_ROLE_K_W:
    case ZO2_ROLE_K_B:
    case ZO2_ROLE_V_W:
    case ZO2_ROLE_V_B:
    case ZO2_ROLE_FC1_W:
    case ZO2_ROLE_FC1_B: return CUT_OUTPUTS;
    case ZO2_ROLE_O_W:
    case ZO2_ROLE_FC2_W: return CUT_INPUTS;
    default: return CUT_NOWHERE;
    }
}

/* The rectangle of `is` that part number `part` of `parts` has, as place of the tensor `id`. A size that the parts don't divide
 * leaves something over, which is told where the pieces are counted. */
static zo2_place place_of(const zo2_tensor *is, uint32_t id, cut how, uint32_t part, uint32_t parts)
{
    zo2_place at = {.tensor = id, .rows = is->rows, .cols = is->cols};
    if (how == CUT_NOWHERE)
        return at;
    if (how == CUT_OUTPUTS && is->rank == 2) {
        at.rows /= parts;
        at.row = part * at.rows;
    } else {
        at.cols /= parts;
        at.col = part * at.cols;
    }
    return at;
}

/* ---- names --------------------------------------------------------------------------------------------------------------- */

/* "layers.N.self_attn.qkv_proj.weight": its third number i, K, V or Q. */
static int place_fused(const zo2_arch *a, const zo2_stored *t, const char *bare, uint32_t i, zo2_place *out)
{
    static const char order[] = "kvq";
    char name[MAX_NAME];
    const char *at = strstr(bare, ".qkv_proj.");
    if (i >= 3 || snprintf(name, sizeof name, "%.*s.%c_proj.%s", (int)(at - bare), bare, order[i],
                           at + sizeof ".qkv_proj." - 1) >= (int)sizeof name)
        return 0;
    const zo2_tensor *is = zo2_arch_by_name(a, name);
    if (!is)
        return 0;
    *out = place_of(is, is->id, CUT_OUTPUTS, t->part, t->parts);
    if (is->rank == 2)
        out->from_row = i * out->rows;
    else
        out->from_col = i * out->cols;
    return out->rows && out->cols;
}

/* The output embedding. metaseq's own merging takes it as whole in each part; cut like the embedding, it is one of its shards. */
static int place_head(const zo2_arch *a, const zo2_stored *t, zo2_place *out)
{
    uint32_t id = zo2_arch_find(a, a->tied ? ZO2_ROLE_EMBED_TOKENS : ZO2_ROLE_LM_HEAD, 0);
    const zo2_tensor *is = &a->tensors[id];
    cut how = t->rank == 2 && t->shape[0] == is->rows ? CUT_NOWHERE : CUT_OUTPUTS;
    *out = place_of(is, a->tied ? ZO2_TIED_HEAD : id, how, t->part, t->parts);
    return out->rows != 0;
}

int zo2_opt_place_metaseq(const zo2_arch *a, const zo2_stored *t, uint32_t i, zo2_place *out)
{
    const char *bare = zo2_opt_bare_name(t->name);
    if (!bare)
        return 0;
    if (strstr(bare, ".qkv_proj."))
        return place_fused(a, t, bare, i, out);
    if (i > 0)
        return 0;
    if (strcmp(bare, "output_projection.weight") == 0)
        return place_head(a, t, out);
    for (size_t k = 0; k < sizeof renamed / sizeof *renamed; k++)
        if (strcmp(bare, renamed[k][0]) == 0)
            bare = renamed[k][1];
    const zo2_tensor *is = zo2_arch_by_name(a, bare);
    if (!is)
        return 0;
    *out = place_of(is, is->id, cut_of(is->role), t->part, t->parts);
    return out->rows && out->cols;
}
