/* convert_missing.c: what is said where a checkpoint lacks tensors of its model, or has some that change the meaning of those
 * it has. What is there instead is told by the names. */
#include "engine/model/arch.h"
#include "engine/pack/convert_job.h"
#include "storage/checkpoint/checkpoint.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MERGE    "merge it into its base model first (with PEFT: model.merge_and_unload(), then save_pretrained())"
#define ORIGINAL "convert the model that it was quantised from"
#define SEPARATE "this version reads models that store q, k and v apart, under Hugging Face's names"

typedef enum mark_kind { MARK_OTHER, MARK_ADAPTER, MARK_QUANTISED } mark_kind;

/* A part of tensor names that tells what a checkpoint is. A mark ends where a word does. */
typedef struct mark {
    const char *text;
    mark_kind kind;
    const char *what, *advice;
} mark;

static const mark marks[] = {
    {".lora_A", MARK_ADAPTER, "a LoRA adapter", MERGE},
    {".lora_B", MARK_ADAPTER, "a LoRA adapter", MERGE},
    {".lora_embedding_A", MARK_ADAPTER, "a LoRA adapter", MERGE},
    {".lora_embedding_B", MARK_ADAPTER, "a LoRA adapter", MERGE},
    {".lora_magnitude_vector", MARK_ADAPTER, "a DoRA adapter", MERGE},
    {".base_layer", MARK_ADAPTER, "a model with an adapter beside its weights", MERGE},
    {".ia3_l", MARK_ADAPTER, "an IA3 adapter", MERGE},
    {".modules_to_save", MARK_ADAPTER, "a model with an adapter beside its weights", MERGE},
    {".qweight", MARK_QUANTISED, "quantised weights (GPTQ or AWQ)", ORIGINAL},
    {".qzeros", MARK_QUANTISED, "quantised weights (GPTQ or AWQ)", ORIGINAL},
    {".g_idx", MARK_QUANTISED, "quantised weights (GPTQ)", ORIGINAL},
    {".scales", MARK_QUANTISED, "quantised weights (GPTQ or AWQ)", ORIGINAL},
    {".SCB", MARK_QUANTISED, "quantised weights (bitsandbytes)", ORIGINAL},
    {".weight.absmax", MARK_QUANTISED, "quantised weights (bitsandbytes)", ORIGINAL},
    {".weight.quant_map", MARK_QUANTISED, "quantised weights (bitsandbytes)", ORIGINAL},
    {".weight.quant_state", MARK_QUANTISED, "quantised weights (bitsandbytes)", ORIGINAL},
    {".weight_scale", MARK_QUANTISED, "quantised weights (weights with a separate scale)", ORIGINAL},
    {".weight_scales", MARK_QUANTISED, "quantised weights (EETQ)", ORIGINAL},
    {".weight._scale", MARK_QUANTISED, "quantised weights (quanto)", ORIGINAL},
    {".weight._data", MARK_QUANTISED, "quantised weights (quanto)", ORIGINAL},
    {".W_q", MARK_QUANTISED, "quantised weights (HQQ)", ORIGINAL},
    {".weight_packed", MARK_QUANTISED, "quantised weights (compressed-tensors)", ORIGINAL},
    {".qkv_proj", MARK_OTHER, "q, k and v in one tensor", SEPARATE},
    {".qkv", MARK_OTHER, "q, k and v in one tensor", SEPARATE},
    {".Wqkv", MARK_OTHER, "q, k and v in one tensor", SEPARATE},
    {".query_key_value", MARK_OTHER, "q, k and v in one tensor", SEPARATE},
    {".c_attn", MARK_OTHER, "q, k and v in one tensor", SEPARATE},
    {".in_proj_weight", MARK_OTHER, "q, k and v in one tensor", SEPARATE},
    {"flat_param", MARK_OTHER, "an FSDP shard", "save the model with a full state dict (FULL_STATE_DICT) first"},
};

/* The mark in a name and where it is; NULL if there is none. */
static const mark *find_mark(const char *name, const char **at)
{
    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++) {
        *at = strstr(name, marks[i].text);
        char next = *at ? (*at)[strlen(marks[i].text)] : 'x';
        if (next == '\0' || next == '.' || next == '_')
            return &marks[i];
    }
    return NULL;
}

/* ---- a tensor is missing ------------------------------------------------------------------------------------------------ */

static size_t common_ending(const char *a, const char *b)
{
    size_t n = 0, la = strlen(a), lb = strlen(b);
    while (n < la && n < lb && a[la - 1 - n] == b[lb - 1 - n])
        n++;
    return n;
}

#define SHOWN 3

/* ". It has 36 tensors: A, B, C, ...": the name that ends most like the missing one, then the first ones. */
static void list_names(const zo2_convert_job *j, const char *missing, char *text, size_t n)
{
    uint64_t count = zo2_checkpoint_count(j->source), best = 0, shown = 1;
    size_t length = 0, at;
    for (uint64_t i = 0; i < count; i++) {
        size_t common = common_ending(zo2_checkpoint_tensor(j->source, i).name, missing);
        best = common > length ? i : best;
        length = common > length ? common : length;
    }
    if (!count) {
        snprintf(text, n, ". It has no tensors at all");
        return;
    }
    at = (size_t)snprintf(text, n, ". It has %" PRIu64 " tensor%s: %.90s", count, count == 1 ? "" : "s",
                          zo2_checkpoint_tensor(j->source, best).name);
    for (uint64_t i = 0; i < count && shown < SHOWN && at < n; i++)
        if (i != best) {
            at += (size_t)snprintf(text + at, n - at, ", %.90s", zo2_checkpoint_tensor(j->source, i).name);
            shown++;
        }
    if (count > SHOWN && at < n)
        snprintf(text + at, n - at, ", ...");
}

/* Why it is missing, as far as anything tells; "" if nothing does. */
static void explain(const zo2_convert_job *j, const zo2_tensor *t, char *text, size_t n)
{
    const char *at;
    if (zo2_checkpoint_absent(j->source, t->name, text, n)[0])
        return;
    for (uint64_t i = 0; i < zo2_checkpoint_count(j->source); i++) {
        const char *name = zo2_checkpoint_tensor(j->source, i).name;
        const mark *is = j->pieces.extents[i].rank ? NULL : find_mark(name, &at); /* those that are ours tell nothing */
        if (!is)
            continue;
        snprintf(text, n, "%.90s is of %s: %s", name, is->what, is->advice);
        return;
    }
    if (t->role == ZO2_ROLE_LM_HEAD)
        snprintf(text, n, "if the embedding is its head, set \"tie_word_embeddings\" to true");
}

zo2_status zo2_convert_missing(const zo2_convert_job *j, const zo2_tensor *t, uint32_t n_more)
{
    char why[500], more[64] = "", names[400];
    explain(j, t, why, sizeof why);
    list_names(j, t->name, names, sizeof names);
    if (n_more)
        snprintf(more, sizeof more, ", and lacks %" PRIu32 " more", n_more);
    return zo2_error(ZO2_ERR_NOTFOUND, "%s has no tensor %s, which its config.json asks for%s%s%s%s%s", j->dir, t->name,
                     t->role == ZO2_ROLE_LM_HEAD ? " (\"tie_word_embeddings\" is false)" : "", more, why[0] ? ": " : "",
                     why, names);
}

/* ---- none is missing, but there is more --------------------------------------------------------------------------------- */

/* 1 if a stored tensor that the model takes is the weight that a scale stands beside. */
static int scales_ours(const zo2_convert_job *j, const char *name, const char *mark_at)
{
    char weight[512];
    int n = snprintf(weight, sizeof weight, "%.*s.weight", (int)(mark_at - name), name);
    if (n < 0 || (size_t)n >= sizeof weight)
        return 0;
    uint64_t i = zo2_checkpoint_find(j->source, weight);
    return i < zo2_checkpoint_count(j->source) && j->pieces.extents[i].rank != 0;
}

zo2_status zo2_convert_leftovers(const zo2_convert_job *j)
{
    int warned = 0;
    for (uint64_t i = 0; i < zo2_checkpoint_count(j->source); i++) {
        const char *name = zo2_checkpoint_tensor(j->source, i).name, *at;
        const mark *is = j->pieces.extents[i].rank ? NULL : find_mark(name, &at);
        if (!is)
            continue;
        if (is->kind == MARK_QUANTISED && scales_ours(j, name, at))
            return zo2_error(ZO2_ERR_UNSUPPORTED,
                             "%s: %s stands beside a weight that means nothing without it: these are %s; %s", j->dir,
                             name, is->what, is->advice);
        if (is->kind != MARK_ADAPTER || warned)
            continue;
        if (j->wrapping.prefix[0])
            return zo2_error(ZO2_ERR_UNSUPPORTED, "%s: %s is of %s, which the model's weights lack: %s", j->dir, name,
                             is->what, is->advice);
        zo2_convert_warn(j, "%s: %s is of %s, which isn't in the pack's weights; if it should be, %s", j->dir, name,
                         is->what, is->advice);
        warned = 1;
    }
    return ZO2_OK;
}
