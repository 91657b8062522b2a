/* test_arch_choice.c: the list of tensors that a choice makes of a model: frozen ones, where the trunk ends, groups, the run's own tensors, and
 * who shares whose storage. */
#include "engine/families/families.h"
#include "engine/model/tune.h"
#include "tests/unit/engine/hf_dir.h"

static zo2_arch model_of(const char *config)
{
    zo2_arch a;
    assert_ok(zo2_arch_load(&a, config, NULL));
    return a;
}

static zo2_arch tiny_model(void)
{
    return model_of(TINY "/config.json");
}

static zo2_arch tuned(const zo2_arch *model, const char *text, int by_block)
{
    zo2_arch a;
    assert_ok(zo2_arch_tune(&a, model, text, by_block));
    assert_ok(zo2_arch_check(&a));
    return a;
}

/* Which of a run's tensors move, as a bit for each of the model's, by a rule of the test's own. */
typedef int (*rule)(const zo2_tensor *t);

static int is_all(const zo2_tensor *t)
{
    (void)t;
    return 1;
}

static int is_vector(const zo2_tensor *t)
{
    return strstr(t->name, ".bias") || strstr(t->name, "norm");
}

static int in_layers_4_5(const zo2_tensor *t)
{
    return strstr(t->name, "layers.4.") || strstr(t->name, "layers.5.");
}

static int matrices_of_4_5(const zo2_tensor *t)
{
    return in_layers_4_5(t) && !is_vector(t);
}

static int vectors_or_layer_0(const zo2_tensor *t)
{
    return is_vector(t) || strstr(t->name, "layers.0.");
}

static int is_fc1_weight(const zo2_tensor *t)
{
    return strstr(t->name, ".fc1.weight") != NULL;
}

static int is_final_norm(const zo2_tensor *t)
{
    return strstr(t->name, "decoder.final_layer_norm") != NULL;
}

static int is_positions(const zo2_tensor *t)
{
    return strstr(t->name, "embed_positions") != NULL;
}

static void tensors_of_choices(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        rule moves;
        uint32_t fork, groups;
    } cases[] = {
        {NULL, is_all, 0, 8},
        {"all", is_all, 0, 8},
        {"vectors", is_vector, 1, 7},
        {"layers=4-5", in_layers_4_5, 5, 2},
        {"layers=5,4", in_layers_4_5, 5, 2},
        {"matrices=4-5", matrices_of_4_5, 5, 2},
        {"vectors+layers=0", vectors_or_layer_0, 1, 7},
        {"match=*.fc1.weight", is_fc1_weight, 1, 6},
        {"match=*decoder.final_layer_norm*", is_final_norm, 7, 1},
        {"match=*embed_positions*", is_positions, 0, 1},
        {"all+layers=2", is_all, 0, 8},
    };
    zo2_arch model = tiny_model();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int by_block = 0; by_block <= 1; by_block++) {
            zo2_arch a = tuned(&model, cases[i].text, by_block);
            uint64_t moving = 0;
            uint32_t last = UINT32_MAX, group = UINT32_MAX;
            assert_int_equal(a.n_tensors, model.n_tensors);
            for (uint32_t k = 0; k < a.n_tensors; k++) {
                const zo2_tensor *t = &a.tensors[k];
                assert_string_equal(t->name, model.tensors[k].name);
                assert_int_equal(t->stored, k);
                if (t->frozen == cases[i].moves(t))
                    fail_msg("%s: %s is %s", cases[i].text, t->name, t->frozen ? "frozen" : "moving");
                if (t->frozen)
                    continue;
                moving += t->rows * t->cols;
                group += t->block != last; /* from 0 on */
                last = t->block;
                assert_int_equal(t->group, by_block ? group : 0);
            }
            assert_true(a.moving == moving && a.parameters == model.parameters);
            assert_int_equal(a.fork, cases[i].fork);
            assert_int_equal(a.groups, by_block ? cases[i].groups : 1);
            assert_true(!a.n_rows && !a.row);
            zo2_arch_free(&a);
        }
    zo2_arch_free(&model);
}

static void rows_of_the_head(void **state)
{
    (void)state;
    zo2_arch model = tiny_model();
    zo2_arch a = tuned(&model, "rows=12,98-100,4095", 0);
    const uint32_t want[] = {12, 98, 99, 100, 4095};
    const zo2_tensor *t = &a.tensors[a.n_tensors - 1]; /* tied: behind all others */
    assert_int_equal(a.n_tensors, model.n_tensors + 1);
    assert_string_equal(t->name, "lm_head.rows");
    assert_int_equal(t->role, ZO2_ROLE_HEAD_ROWS);
    assert_true(t->rows == 5 && t->cols == 192 && t->rank == 2 && !t->frozen);
    assert_true(t->block == a.n_blocks - 1 && t->stored == ZO2_NO_TENSOR);
    assert_int_equal(a.n_rows, 5);
    assert_memory_equal(a.row, want, sizeof want);
    assert_true(a.moving == 5 * 192 && a.fork == 7);
    for (uint32_t i = 0; i + 1 < a.n_tensors; i++)
        assert_true(a.tensors[i].frozen && a.tensors[i].stored == i);
    zo2_arch_free(&a);

    a = tuned(&model, "matrices=5+rows=0", 1);
    assert_true(a.fork == 6 && a.groups == 2 && a.n_rows == 1);
    assert_int_equal(a.tensors[a.n_tensors - 1].group, 1);
    zo2_arch_free(&a);
    assert_error(zo2_arch_tune(&a, &model, "rows=4096", 0), ZO2_ERR_ARG, "the vocabulary has rows 0 to 4095");
    assert_error(zo2_arch_tune(&a, &model, "rows=7,5000-2147483647", 0), ZO2_ERR_ARG, "rows 0 to 4095");
    assert_error(zo2_arch_tune(&a, &model, "all+rows=5", 0), ZO2_ERR_ARG,
                 "embed_tokens.weight, which moves as a whole");
    assert_null(a.tensors);
    zo2_arch_free(&model);

    model = model_of(FIXTURES "untied-f32-sharded/config.json"); /* before the head */
    a = tuned(&model, "rows=3", 0);
    const uint32_t head = zo2_arch_find(&a, ZO2_ROLE_LM_HEAD, 0), rows = zo2_arch_find(&a, ZO2_ROLE_HEAD_ROWS, 0);
    assert_int_equal(rows + 1, head);
    assert_int_equal(a.tensors[head].stored + 1, head);
    assert_int_equal(a.tensors[head].id, head);
    zo2_arch_free(&a);
    assert_error(zo2_arch_tune(&a, &model, "rows=3+match=lm_head*", 0), ZO2_ERR_ARG, "lm_head.weight, which moves");
    a = tuned(&model, "rows=3+match=*embed_tokens*", 0); /* which is another matrix here */
    assert_int_equal(a.fork, 0);
    zo2_arch_free(&a);
    zo2_arch_free(&model);
}

/* Behind the matrix that they are added to, in pairs. */
static void check_adapter(const zo2_arch *a, uint32_t of, const char *stem, uint32_t rank)
{
    char name[100];
    const zo2_tensor *w = &a->tensors[of], *A = w + 1, *B = w + 2;
    snprintf(name, sizeof name, "%s.lora_A.weight", stem);
    assert_string_equal(A->name, name);
    snprintf(name, sizeof name, "%s.lora_B.weight", stem);
    assert_string_equal(B->name, name);
    assert_true(A->rows == rank && A->cols == w->cols && B->rows == w->rows && B->cols == rank);
    for (const zo2_tensor *t = A; t <= B; t++) {
        assert_true(zo2_is_lora(t) && zo2_is_vector(t) && !zo2_is_streamed(a, t));
        assert_true(t->rank == 2 && t->exempt && t->decays && !t->frozen && t->stored == ZO2_NO_TENSOR);
        assert_true(t->block == w->block && t->layer == w->layer && t->id == (uint32_t)(t - a->tensors));
    }
    assert_true(w->frozen);
}

static void adapters_of_matrices(void **state)
{
    (void)state;
    zo2_arch model = tiny_model();
    zo2_arch a = tuned(&model, "lora:r=4,alpha=6,targets=q_proj+fc1,layers=1-2", 0);
    assert_int_equal(a.n_tensors, model.n_tensors + 2 * 2 * 2);
    assert_true(a.lora_scale == 1.5f);
    assert_int_equal(a.fork, 2);
    assert_int_equal(a.moving, 2 * (4 * (192 + 192) + 4 * (192 + 768)));
    for (uint32_t layer = 1; layer <= 2; layer++) {
        char stem[80];
        snprintf(stem, sizeof stem, "model.decoder.layers.%u.self_attn.q_proj", layer);
        check_adapter(&a, zo2_arch_find(&a, ZO2_ROLE_Q_W, layer), stem, 4);
        snprintf(stem, sizeof stem, "model.decoder.layers.%u.fc1", layer);
        check_adapter(&a, zo2_arch_find(&a, ZO2_ROLE_FC1_W, layer), stem, 4);
    }
    assert_int_equal(zo2_arch_find(&a, ZO2_ROLE_LORA_A, 3), ZO2_NO_TENSOR);
    assert_int_equal(zo2_arch_find(&a, ZO2_ROLE_LORA_A, 2), zo2_arch_find(&a, ZO2_ROLE_Q_W, 2) + 1);
    uint32_t own = 0;
    for (uint32_t i = 0; i < a.n_tensors; i++) /* the others in the model's order */
        if (a.tensors[i].stored == ZO2_NO_TENSOR)
            own++;
        else
            assert_true(a.tensors[i].stored + own == i && a.tensors[i].frozen);
    zo2_arch_free(&a);
    /* all targets of all layers, beside what moves itself */
    a = tuned(&model, "vectors+lora:targets=q_proj+k_proj+v_proj+o_proj+fc1+fc2", 1);
    assert_int_equal(a.n_tensors, model.n_tensors + 6 * 6 * 2);
    assert_int_equal(a.groups, 7);
    zo2_arch_free(&a);
    assert_error(zo2_arch_tune(&a, &model, "lora:targets=gate_proj", 0), ZO2_ERR_ARG, "the model has none of these");
    assert_error(zo2_arch_tune(&a, &model, "lora:layers=6", 0), ZO2_ERR_ARG, "layer 6: the model has layers 0 to 5");
    zo2_arch_free(&model);

    model = model_of(ZO2_TEST_DATA "/decoder-fixtures/llama-plain/config.json");
    a = tuned(&model, "lora:r=2,targets=gate_proj+up_proj+down_proj+k_proj", 0);
    check_adapter(&a, zo2_arch_find(&a, ZO2_ROLE_GATE_W, 1), "model.layers.1.mlp.gate_proj", 2);
    check_adapter(&a, zo2_arch_find(&a, ZO2_ROLE_FC1_W, 1), "model.layers.1.mlp.up_proj", 2);
    check_adapter(&a, zo2_arch_find(&a, ZO2_ROLE_FC2_W, 0), "model.layers.0.mlp.down_proj", 2);
    check_adapter(&a, zo2_arch_find(&a, ZO2_ROLE_K_W, 0), "model.layers.0.self_attn.k_proj", 2);
    zo2_arch_free(&a);
    zo2_arch_free(&model);
}

static void what_a_model_lacks(void **state)
{
    (void)state;
    zo2_arch model = tiny_model(), a;
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"layers=6", "layer 6: the model has layers 0 to 5"},
        {"layers=0-2147483647", "layer 2147483647: the model has layers 0 to 5"},
        {"vectors+matrices=3,9", "layer 9: the model has layers 0 to 5"},
        {"match=nothing", "match=nothing: no tensor of the model has such a name"},
        {"match=*lora*+lora:r=1", "match=*lora*: no tensor of the model"},
        {"nonsense", "'nonsense'"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        memset(&a, 0xA5, sizeof a);
        assert_error(zo2_arch_tune(&a, &model, cases[i].text, 0), ZO2_ERR_ARG, cases[i].says);
        assert_true(!a.tensors && !a.row && !a.n_tensors);
    }
    zo2_arch_free(&model);
    model = model_of(FIXTURES "no-affine-f32/config.json"); /* norms without weights; biases are there */
    a = tuned(&model, "vectors", 0);
    assert_true(a.moving > 0);
    zo2_arch_free(&a);
    zo2_arch_free(&model);
}

/* Frozen tensors share with frozen ones alone, and those of one group with each other. */
static void aliases(void **state)
{
    (void)state;
    zo2_arch model = tiny_model();
    uint32_t *stored_as = malloc(model.n_tensors * sizeof *stored_as), *got;
    assert_non_null(stored_as);
    for (uint32_t i = 0; i < model.n_tensors; i++) { /* one stored layer serves all */
        const zo2_tensor *t = &model.tensors[i];
        stored_as[i] = t->block > 1 && t->block < 7 ? zo2_arch_find(&model, t->role, 0) : i;
    }
    zo2_arch a = tuned(&model, "layers=4-5+lora:r=1,layers=2", 0);
    assert_ok(zo2_arch_aliases(&a, NULL, &got));
    assert_null(got);
    assert_ok(zo2_arch_aliases(&a, stored_as, &got));
    for (uint32_t i = 0; i < a.n_tensors; i++) {
        const zo2_tensor *t = &a.tensors[i];
        uint32_t want = i;
        if (t->stored != ZO2_NO_TENSOR && t->block >= 1 && t->block <= 6)
            want = zo2_arch_find(&a, t->role, t->frozen ? 0 : 4);
        if (got[i] != want)
            fail_msg("%s is stored as %s", t->name, a.tensors[got[i]].name);
    }
    free(got);
    zo2_arch_free(&a);
    a = tuned(&model, "layers=4-5", 1); /* at different steps: each its own */
    assert_ok(zo2_arch_aliases(&a, stored_as, &got));
    for (uint32_t i = 0; i < a.n_tensors; i++)
        if (!a.tensors[i].frozen)
            assert_int_equal(got[i], i);
    free(got);
    zo2_arch_free(&a);
    free(stored_as);
    zo2_arch_free(&model);
}

static void counted(void **state)
{
    (void)state;
    zo2_tune_info all, some, poisoned;
    assert_ok(zo2_tune_count(TINY "/config.json", NULL, &all));
    assert_true(all.struct_size == sizeof all && all.parameters == 3505536 && all.moving == 3505536);
    assert_true(all.tensors == 100 && all.moving_tensors == 100 && all.layers == 6 && all.fork_block == 0);
    assert_true(all.groups == 8 && !all.rows && !all.lora_tensors && all.hidden == 192 && all.token_bytes == 0);
    assert_ok(zo2_tune_count(TINY "/config.json", "matrices=4-5+rows=1-5+lora:r=2,layers=0", &some));
    assert_int_equal(some.moving, 2 * (4 * 192 * 192 + 2 * 192 * 768) + 5 * 192 + 2 * 2 * (192 + 192));
    assert_true(some.moving_tensors == 12 + 1 + 4 && some.rows == 5 && some.lora_tensors == 4);
    assert_true(some.fork_block == 1 && some.groups == 4 && some.master_bytes == 4 * some.moving && !some.token_bytes);
    assert_ok(zo2_tune_count(TINY "/config.json", "layers=1", &some));
    assert_true(some.fork_block == 2 && some.token_bytes == 768);
    assert_ok(zo2_tune_count("opt-175b", "layers=88-95", &some));
    assert_true(some.moving == 8 * UINT64_C(1812099072) && some.fork_block == 89);
    memset(&poisoned, 0xA5, sizeof poisoned);
    assert_error(zo2_tune_count(TINY "/config.json", "layers=6", &poisoned), ZO2_ERR_ARG, "layer 6");
    assert_true(poisoned.struct_size == sizeof poisoned && !poisoned.moving && !poisoned.token_bytes);
    assert_error(zo2_tune_count("opt-1x", NULL, &poisoned), ZO2_ERR_NOTFOUND, "opt-1x");
    assert_error(zo2_tune_count(NULL, NULL, &poisoned), ZO2_ERR_ARG, "are needed");
    assert_error(zo2_tune_count("opt-125m", NULL, NULL), ZO2_ERR_ARG, "are needed");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tensors_of_choices),
        cmocka_unit_test(rows_of_the_head),
        cmocka_unit_test(adapters_of_matrices),
        cmocka_unit_test(what_a_model_lacks),
        cmocka_unit_test(aliases),
        cmocka_unit_test(counted),
    };
    return cmocka_run_group_tests_name("choices of tensors", tests, NULL, NULL);
}
