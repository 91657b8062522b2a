/* fuzz_tune.c: the text that says which tensors a run moves, and what it makes of a model.
 *
 * Input: mode, then the text. LLAMA: the model is a small one of LLaMA's kind with a head of its own, else a tied OPT. BY_BLOCK: blocks take turns.
 *
 * Properties: ranges are ascending and apart; numbers are within what is documented; a refusal leaves nothing; the model's own tensors
 * keep their order, and exactly the run's own come from nowhere; what is counted is what moves; nothing below the fork moves; groups are
 * numbered without a hole; a text is refused or accepted whatever the model if it is no choice at all. */
#include "engine/families/families.h"
#include "engine/model/tune.h"
#include "tests/fuzz/fuzzing.h"

#include <math.h>

enum { LLAMA = 1, BY_BLOCK = 2 };

static const char opt[] = "{\"model_type\": \"opt\", \"hidden_size\": 8, \"num_attention_heads\": 2, \"ffn_dim\": 12,"
                          "\"num_hidden_layers\": 4, \"vocab_size\": 40, \"max_position_embeddings\": 16}";
static const char llama[] =
    "{\"model_type\": \"llama\", \"hidden_size\": 8, \"num_attention_heads\": 2, \"intermediate_size\": 12,"
    "\"num_hidden_layers\": 3, \"vocab_size\": 40, \"max_position_embeddings\": 16, \"num_key_value_heads\": 1}";

static void check_term(const zo2_term *t)
{
    for (uint32_t i = 0; i < t->n_ranges; i++) {
        FUZZ_CHECK(t->range[i].from <= t->range[i].to && t->range[i].to <= INT32_MAX);
        FUZZ_CHECK(i == 0 || t->range[i].from > t->range[i - 1].to + 1);
    }
    const int listed = t->kind == ZO2_TERM_LAYERS || t->kind == ZO2_TERM_MATRICES || t->kind == ZO2_TERM_ROWS;
    FUZZ_CHECK(t->kind == ZO2_TERM_LORA || listed == (t->n_ranges > 0));
    FUZZ_CHECK((t->kind == ZO2_TERM_MATCH) == (t->text != NULL));
    if (t->kind == ZO2_TERM_LORA) {
        FUZZ_CHECK(t->rank >= 1 && t->rank <= 1024 && t->targets && t->targets < 1u << ZO2_LORA_TARGETS);
        FUZZ_CHECK(isfinite((float)(t->alpha / t->rank)) && (float)(t->alpha / t->rank) > 0);
    }
}

/* 1: it is a choice of some model. */
static int check_text(const char *text)
{
    zo2_choice c;
    if (!FUZZ_OK(zo2_choice_parse(&c, text))) {
        FUZZ_CHECK(!c.term && !c.n);
        return 0;
    }
    FUZZ_CHECK(c.n >= 1 && c.n <= ZO2_TUNE_TERMS);
    for (uint32_t i = 0; i < c.n; i++)
        check_term(&c.term[i]);
    zo2_choice_free(&c);
    return 1;
}

static void check_tensors(const zo2_arch *a, const zo2_arch *model, int by_block)
{
    uint64_t moving = 0;
    uint32_t stored = 0, group = UINT32_MAX;
    for (uint32_t i = 0; i < a->n_tensors; i++) {
        const zo2_tensor *t = &a->tensors[i];
        FUZZ_CHECK(t->id == i && (t->stored == ZO2_NO_TENSOR || t->stored == stored++));
        FUZZ_CHECK((t->stored == ZO2_NO_TENSOR) == (zo2_is_lora(t) || t->role == ZO2_ROLE_HEAD_ROWS));
        FUZZ_CHECK(t->stored == ZO2_NO_TENSOR || strcmp(t->name, model->tensors[t->stored].name) == 0);
        FUZZ_CHECK(t->stored != ZO2_NO_TENSOR || !t->frozen);
        FUZZ_CHECK(zo2_arch_by_name(a, t->name) == t);
        if (t->frozen)
            continue;
        moving += t->rows * t->cols;
        FUZZ_CHECK(t->block >= a->fork);
        FUZZ_CHECK(by_block ? t->group == group || t->group == group + 1 : t->group == 0);
        group = t->group;
    }
    FUZZ_CHECK(stored == model->n_tensors && moving == a->moving && moving > 0 && a->fork < a->n_blocks);
    FUZZ_CHECK(a->groups == group + 1 && a->parameters == model->parameters);
    for (uint32_t i = 0; i < a->n_rows; i++)
        FUZZ_CHECK(a->row[i] < a->vocab && (i == 0 || a->row[i] > a->row[i - 1]));
}

static void check_model(const char *text, const char *config, int by_block)
{
    zo2_arch model, a;
    FUZZ_CHECK(FUZZ_OK(zo2_arch_from_config(&model, config, strlen(config), "config.json")));
    if (FUZZ_OK(zo2_arch_tune(&a, &model, text, by_block))) {
        FUZZ_CHECK(FUZZ_OK(zo2_arch_check(&a)));
        check_tensors(&a, &model, by_block);
    } else {
        FUZZ_CHECK(!a.tensors && !a.row);
    }
    zo2_arch_free(&a);
    zo2_arch_free(&model);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input in = {data, size};
    const uint8_t mode = fuzz_u8(&in);
    char *text = fuzz_alloc(in.left + 1);
    memcpy(text, in.at, in.left);
    text[in.left] = '\0';
    if (check_text(text))
        check_model(text, mode & LLAMA ? llama : opt, (mode & BY_BLOCK) != 0);
    free(text);
    return 0;
}
