/* test_arch_tensors.c: the canonical order. A tensor's place is its tensor_id and seeds its noise: if a golden list
 * here has to change, every existing run breaks. */
#include "engine/families/families.h"
#include "engine/model/arch.h"
#include "tests/unit/engine/hf_dir.h"

typedef struct golden {
    const char *name;
    uint32_t block, layer;
    uint64_t rows, cols; /* rows 1: a vector */
    int decays, exempt;
} golden;

#define LAYER(n, h, f)                                                                   \
    {"model.decoder.layers." #n ".self_attn_layer_norm.weight", n + 1, n, 1, h, 0, 1},   \
        {"model.decoder.layers." #n ".self_attn_layer_norm.bias", n + 1, n, 1, h, 0, 1}, \
        {"model.decoder.layers." #n ".self_attn.q_proj.weight", n + 1, n, h, h, 1, 0},   \
        {"model.decoder.layers." #n ".self_attn.q_proj.bias", n + 1, n, 1, h, 0, 1},     \
        {"model.decoder.layers." #n ".self_attn.k_proj.weight", n + 1, n, h, h, 1, 0},   \
        {"model.decoder.layers." #n ".self_attn.k_proj.bias", n + 1, n, 1, h, 0, 1},     \
        {"model.decoder.layers." #n ".self_attn.v_proj.weight", n + 1, n, h, h, 1, 0},   \
        {"model.decoder.layers." #n ".self_attn.v_proj.bias", n + 1, n, 1, h, 0, 1},     \
        {"model.decoder.layers." #n ".self_attn.out_proj.weight", n + 1, n, h, h, 1, 0}, \
        {"model.decoder.layers." #n ".self_attn.out_proj.bias", n + 1, n, 1, h, 0, 1},   \
        {"model.decoder.layers." #n ".final_layer_norm.weight", n + 1, n, 1, h, 0, 1},   \
        {"model.decoder.layers." #n ".final_layer_norm.bias", n + 1, n, 1, h, 0, 1},     \
        {"model.decoder.layers." #n ".fc1.weight", n + 1, n, f, h, 1, 0},                \
        {"model.decoder.layers." #n ".fc1.bias", n + 1, n, 1, f, 0, 1},                  \
        {"model.decoder.layers." #n ".fc2.weight", n + 1, n, h, f, 1, 0},                \
    {                                                                                    \
        "model.decoder.layers." #n ".fc2.bias", n + 1, n, 1, h, 0, 1                     \
    }

static void assert_list(const zo2_arch *a, const golden *g, uint32_t n)
{
    uint64_t parameters = 0;
    for (uint32_t i = 0; i < n && i < a->n_tensors; i++) {
        const zo2_tensor *t = &a->tensors[i];
        assert_string_equal(t->name, g[i].name);
        assert_int_equal(t->id, i);
        assert_int_equal(t->block, g[i].block);
        assert_int_equal(t->layer, g[i].layer);
        assert_int_equal(t->rank, g[i].rows == 1 ? 1 : 2);
        assert_int_equal(t->rows, g[i].rows);
        assert_int_equal(t->cols, g[i].cols);
        assert_int_equal(t->decays, g[i].decays);
        assert_int_equal(t->exempt, g[i].exempt);
        parameters += t->rows * t->cols;
        assert_int_equal(zo2_arch_find(a, t->role, t->layer), i);
        assert_ptr_equal(zo2_arch_by_name(a, t->name), t);
    }
    assert_int_equal(a->n_tensors, n);
    assert_int_equal(a->parameters, parameters);
}

/* Pre-norm, tied: the usual case. */
static void plain(void **state)
{
    static const golden g[] = {
        {"model.decoder.embed_tokens.weight", 0, 0, 104, 32, 1, 0},
        {"model.decoder.embed_positions.weight", 0, 0, 16, 32, 1, 1},
        LAYER(0, 32, 48),
        LAYER(1, 32, 48),
        {"model.decoder.final_layer_norm.weight", 3, 0, 1, 32, 0, 1},
        {"model.decoder.final_layer_norm.bias", 3, 0, 1, 32, 0, 1},
    };
    zo2_arch a;
    (void)state;
    assert_ok(zo2_arch_load(&a, FIXTURES "prenorm-f32", NULL));
    assert_list(&a, g, sizeof g / sizeof *g);
    assert_int_equal(a.n_blocks, 4);
    zo2_arch_free(&a);
}

/* Projections and an untied head. */
static void projections(void **state)
{
    static const golden g[] = {
        {"model.decoder.embed_tokens.weight", 0, 0, 109, 20, 1, 0},
        {"model.decoder.embed_positions.weight", 0, 0, 34, 48, 1, 1},
        {"model.decoder.project_in.weight", 0, 0, 48, 20, 1, 0},
        LAYER(0, 48, 96),
        {"model.decoder.final_layer_norm.weight", 2, 0, 1, 48, 0, 1},
        {"model.decoder.final_layer_norm.bias", 2, 0, 1, 48, 0, 1},
        {"model.decoder.project_out.weight", 2, 0, 20, 48, 1, 0},
        {"lm_head.weight", 2, 0, 109, 20, 1, 0},
    };
    zo2_arch a;
    (void)state;
    assert_ok(zo2_arch_load(&a, FIXTURES "untied-proj-bf16", NULL));
    assert_list(&a, g, sizeof g / sizeof *g);
    zo2_arch_free(&a);
}

static int count(const zo2_arch *a, const char *part)
{
    int n = 0;
    for (uint32_t i = 0; i < a->n_tensors; i++)
        n += strstr(a->tensors[i].name, part) != NULL;
    return n;
}

static void switches(void **state)
{
    zo2_arch a;
    (void)state;
    assert_ok(zo2_arch_load(&a, FIXTURES "no-bias-bf16", NULL)); /* norms keep their biases */
    assert_int_equal(count(&a, "proj.bias") + count(&a, "fc1.bias") + count(&a, "fc2.bias"), 0);
    assert_int_equal(count(&a, "norm.bias"), 2 * 2 + 1);
    zo2_arch_free(&a);
    assert_ok(zo2_arch_load(&a, FIXTURES "no-affine-f32", NULL));
    assert_int_equal(count(&a, "norm"), 0);
    assert_int_equal(count(&a, "proj.bias"), 2 * 4);
    assert_int_equal(zo2_arch_find(&a, ZO2_ROLE_FINAL_NORM_W, 0), ZO2_NO_TENSOR);
    assert_int_equal(zo2_arch_find(&a, ZO2_ROLE_ATTN_NORM_B, 1), ZO2_NO_TENSOR);
    assert_true(a.final_norm); /* it is applied, it has no parameters */
    zo2_arch_free(&a);
    assert_ok(zo2_arch_load(&a, FIXTURES "bare-postnorm-f16", NULL));
    assert_int_equal(a.n_tensors, 2 + 2 * 6);
    assert_int_equal(a.n_blocks, 4); /* the head's block is there, with no tensor in it */
    zo2_arch_free(&a);
    assert_ok(zo2_arch_load(&a, FIXTURES "no-final-norm-f32", NULL));
    assert_int_equal(zo2_arch_find(&a, ZO2_ROLE_FINAL_NORM_B, 0), ZO2_NO_TENSOR);
    zo2_arch_free(&a);
    assert_ok(zo2_arch_load(&a, FIXTURES "postnorm-gelu-f32", NULL));
    assert_int_equal(zo2_arch_find(&a, ZO2_ROLE_FINAL_NORM_W, 0), ZO2_NO_TENSOR);
    zo2_arch_free(&a);
    assert_ok(zo2_arch_from_name(&a, "opt-350m"));
    assert_int_equal(a.n_tensors, 3 + 24 * 16 + 1);
    assert_string_equal(a.tensors[a.n_tensors - 1].name, "model.decoder.project_out.weight");
    zo2_arch_free(&a);
}

static void look_ups(void **state)
{
    zo2_arch a;
    (void)state;
    assert_ok(zo2_arch_from_name(&a, "opt-175b"));
    const zo2_tensor *t = zo2_arch_by_name(&a, "layers.95.fc2.bias");
    assert_non_null(t);
    assert_int_equal(t->id, zo2_arch_find(&a, ZO2_ROLE_FC2_B, 95));
    assert_ptr_equal(zo2_arch_by_name(&a, "decoder.layers.95.fc2.bias"), t);
    assert_ptr_equal(zo2_arch_by_name(&a, "model.decoder.layers.95.fc2.bias"), t);
    assert_non_null(zo2_arch_by_name(&a, "final_layer_norm.weight"));
    static const char *const unknown[] = {
        "",
        "layers.",
        "layers.96.fc2.bias",
        "layers.-1.fc2.bias",
        "layers.01.fc2.bias",
        "layers.1.fc2.bia",
        "layers.1",
        "layers.1.fc2.biasx",
        "layers.1 .fc2.bias",
        "layers.4294967297.fc2.bias",
        "layers.99999999999999999999.fc2.bias",
        "model.layers.1.fc2.bias",
        "decoder.model.layers.1.fc2.bias",
        "lm_head.weight",
        "decoder.version",
        "embed_tokens",
        "model.decoder.model.decoder.embed_tokens.weight",
    };
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++)
        if (zo2_arch_by_name(&a, unknown[i]))
            fail_msg("%s was found", unknown[i]);
    assert_int_equal(zo2_arch_find(&a, ZO2_ROLE_FC1_W, 96), ZO2_NO_TENSOR);
    assert_int_equal(zo2_arch_find(&a, ZO2_ROLE_LM_HEAD, 0), ZO2_NO_TENSOR);
    zo2_arch_free(&a);
    assert_ok(zo2_arch_load(&a, FIXTURES "untied-f32-sharded", NULL));
    assert_non_null(zo2_arch_by_name(&a, "lm_head.weight"));
    assert_null(zo2_arch_by_name(&a, "model.decoder.lm_head.weight"));
    zo2_arch_free(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain),
        cmocka_unit_test(projections),
        cmocka_unit_test(switches),
        cmocka_unit_test(look_ups),
    };
    return cmocka_run_group_tests_name("arch_tensors", tests, NULL, NULL);
}
