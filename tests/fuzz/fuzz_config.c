/* fuzz_config.c: config.json of a Hugging Face model.
 *
 * Input: the file.
 *
 * Properties: an accepted configuration has sane sizes and a consistent tensor list; written as config.json again it is
 * the same architecture. A member set in its text has the value, and all others keep theirs. */
#include "engine/base/json.h"
#include "engine/export/json_edit.h"
#include "engine/families/families.h"
#include "engine/families/limits.h"
#include "tests/fuzz/fuzzing.h"

static void check_sizes(const zo2_arch *a)
{
    FUZZ_CHECK(a->layers >= 1 && a->layers <= ZO2_MAX_LAYERS && a->heads >= 1);
    FUZZ_CHECK(a->hidden >= 1 && a->hidden <= ZO2_MAX_HIDDEN && a->head_dim >= 1);
    FUZZ_CHECK(a->kv_heads >= 1 && a->heads % a->kv_heads == 0);
    FUZZ_CHECK(zo2_attention_columns(a) <= ZO2_MAX_FFN && a->wide >= zo2_attention_columns(a));
    FUZZ_CHECK(a->rope.kind || zo2_attention_columns(a) == a->hidden);
    FUZZ_CHECK(a->vocab >= 1 && a->context >= 1 && a->ffn >= 1 && a->embed_dim >= 1);
    FUZZ_CHECK(a->bos >= -1 && a->bos < (int)a->vocab && a->eos < (int)a->vocab && a->pad < (int)a->vocab);
    FUZZ_CHECK(a->n_blocks == a->layers + 2 && a->n_tensors > 0);
}

static void check_tensors(const zo2_arch *a)
{
    uint64_t parameters = 0;
    for (uint32_t i = 0; i < a->n_tensors; i++) {
        const zo2_tensor *t = &a->tensors[i];
        FUZZ_CHECK(t->id == i && t->block < a->n_blocks && (i == 0 || t->block >= t[-1].block));
        FUZZ_CHECK(t->rows >= 1 && t->cols >= 1 && (t->rank == 2 || t->rows == 1));
        parameters += t->rows * t->cols;
        if (i % 16 != 0 && i + 16 < a->n_tensors) /* names are looked up one by one: not all of a thousand layers */
            continue;
        FUZZ_CHECK(zo2_arch_by_name(a, t->name) == t);
        FUZZ_CHECK(zo2_arch_find(a, t->role, t->layer) == i);
    }
    FUZZ_CHECK(parameters == a->parameters);
    if (a->rope.kind) {
        float frequency[64] = {0};
        zo2_rope_frequencies(&a->rope, a->head_dim < 128 ? a->head_dim : 128, frequency);
    }
    FUZZ_CHECK(!zo2_arch_by_name(a, "model.decoder.layers.99999.fc1.weight") && !zo2_arch_by_name(a, ""));
    FUZZ_CHECK(zo2_arch_find(a, ZO2_ROLE_Q_W, a->layers) == ZO2_NO_TENSOR);
}

static void check_same(const zo2_arch *a, const zo2_arch *b)
{
    FUZZ_CHECK(a->layers == b->layers && a->hidden == b->hidden && a->heads == b->heads && a->ffn == b->ffn);
    FUZZ_CHECK(a->vocab == b->vocab && a->embed_dim == b->embed_dim && a->context == b->context);
    FUZZ_CHECK(a->pre_norm == b->pre_norm && a->final_norm == b->final_norm && a->bias == b->bias);
    FUZZ_CHECK(a->kv_heads == b->kv_heads && a->head_dim == b->head_dim && a->wide == b->wide);
    FUZZ_CHECK(a->qkv_bias == b->qkv_bias && a->out_bias == b->out_bias && a->ffn_bias == b->ffn_bias);
    FUZZ_CHECK(a->positions == b->positions && a->window == b->window && a->rope.kind == b->rope.kind);
    FUZZ_CHECK(a->affine == b->affine && a->tied == b->tied && a->act == b->act && a->n_tensors == b->n_tensors);
    FUZZ_CHECK(a->bos == b->bos && a->eos == b->eos && a->pad == b->pad && a->parameters == b->parameters);
    for (uint32_t i = 0; i < a->n_tensors; i++)
        FUZZ_CHECK(strcmp(a->tensors[i].name, b->tensors[i].name) == 0 && a->tensors[i].rows == b->tensors[i].rows);
}

/* An export sets members of the text. */
static void check_edit(const char *text, size_t size, const char *key)
{
    json_error_t e;
    char *edited = zo2_json_edit(text, size, key, "[\"new\"]");
    FUZZ_CHECK(edited != NULL);
    json_t *before = zo2_json_parse(text, size, JSON_REJECT_DUPLICATES, &e);
    json_t *after = zo2_json_parse(edited, strlen(edited), JSON_REJECT_DUPLICATES, &e);
    FUZZ_CHECK(before && after);
    FUZZ_CHECK(json_object_set_new(before, key, json_pack("[s]", "new")) == 0 && json_equal(before, after));
    json_decref(before);
    json_decref(after);
    free(edited);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    zo2_arch a, again;
    if (!FUZZ_OK(zo2_arch_from_config(&a, (const char *)data, size, "config.json"))) {
        FUZZ_CHECK(!a.tensors);
        return 0;
    }
    check_sizes(&a);
    check_tensors(&a);
    check_edit((const char *)data, size, "torch_dtype");
    check_edit((const char *)data, size, "architectures");
    const zo2_dtype dtype = a.dtype ? a.dtype : ZO2_F16;
    char *text = zo2_arch_config_json(&a, dtype);
    FUZZ_CHECK(text && FUZZ_OK(zo2_arch_from_config(&again, text, strlen(text), "config.json")));
    check_same(&a, &again);
    FUZZ_CHECK(again.dtype == dtype);
    free(text);
    zo2_arch_free(&again);
    zo2_arch_free(&a);
    return 0;
}
