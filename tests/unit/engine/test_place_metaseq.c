/* test_place_metaseq.c: where the tensors of a metaseq checkpoint are in an OPT model, whatever number of parts it is cut in: each
 * of the model's elements is in exactly one of them, or in all. */
#include "engine/families/families.h"
#include "engine/model/place.h"
#include "tests/unit/engine/hf_dir.h"

static zo2_place_fn place_of(const zo2_arch *a)
{
    for (const zo2_naming *n = a->family->namings; n && n->name; n++)
        if (strcmp(n->name, "metaseq") == 0)
            return n->place;
    fail_msg("no naming metaseq");
    return NULL;
}

static zo2_stored stored(const char *name, uint32_t part, uint32_t parts, uint64_t rows, uint64_t cols)
{
    zo2_stored t = {.name = name, .part = part, .parts = parts, .rank = rows ? 2 : 1, .dtype = ZO2_F16};
    t.shape[0] = rows ? rows : cols;
    t.shape[1] = cols;
    return t;
}

/* The place i of a tensor of that name: of ours, from where, which rectangle. */
static void assert_place(const zo2_arch *a, const zo2_stored *t, uint32_t i, const char *ours, const zo2_place *want)
{
    zo2_place at;
    if (!place_of(a)(a, t, i, &at))
        fail_msg("%s has no place %u", t->name, i);
    const zo2_tensor *is = zo2_arch_by_name(a, ours);
    assert_int_equal(at.tensor, is ? is->id : ZO2_TIED_HEAD);
    if (at.rows != want->rows || at.cols != want->cols || at.from_row != want->from_row ||
        at.from_col != want->from_col || at.row != want->row || at.col != want->col)
        fail_msg("%s: place %u is [%llu, %llu] from %llu, %llu to %llu, %llu", t->name, i, (unsigned long long)at.rows,
                 (unsigned long long)at.cols, (unsigned long long)at.from_row, (unsigned long long)at.from_col,
                 (unsigned long long)at.row, (unsigned long long)at.col);
}

#define PLACE(a, t, i, ours, ...) assert_place(a, t, i, ours, &(zo2_place){__VA_ARGS__})

/* OPT-175B in eight parts, part 5. */
static void opt_175b(void **state)
{
    enum { D = 12288, F = 4 * D, V = 50272, K = 5 };
    zo2_arch a;
    zo2_stored t;
    zo2_place at;
    (void)state;
    assert_ok(zo2_arch_from_name(&a, "opt-175b"));
    t = stored("decoder.embed_tokens.weight", K, 8, V / 8, D);
    PLACE(&a, &t, 0, "embed_tokens.weight", .rows = V / 8, .cols = D, .row = K * V / 8);
    assert_int_equal(place_of(&a)(&a, &t, 1, &at), 0);
    t = stored("decoder.embed_positions.weight", K, 8, 2050, D);
    PLACE(&a, &t, 0, "embed_positions.weight", .rows = 2050, .cols = D);
    t = stored("decoder.layer_norm.bias", K, 8, 0, D);
    PLACE(&a, &t, 0, "final_layer_norm.bias", .rows = 1, .cols = D);
    t = stored("decoder.layers.95.final_layer_norm.weight", K, 8, 0, D);
    PLACE(&a, &t, 0, "layers.95.final_layer_norm.weight", .rows = 1, .cols = D);
    t = stored("decoder.layers.7.fc1.weight", K, 8, F / 8, D);
    PLACE(&a, &t, 0, "layers.7.fc1.weight", .rows = F / 8, .cols = D, .row = K * F / 8);
    t = stored("decoder.layers.7.fc1.bias", K, 8, 0, F / 8);
    PLACE(&a, &t, 0, "layers.7.fc1.bias", .rows = 1, .cols = F / 8, .col = K * F / 8);
    t = stored("decoder.layers.7.fc2.weight", K, 8, D, F / 8);
    PLACE(&a, &t, 0, "layers.7.fc2.weight", .rows = D, .cols = F / 8, .col = K * F / 8);
    t = stored("decoder.layers.7.fc2.bias", K, 8, 0, D);
    PLACE(&a, &t, 0, "layers.7.fc2.bias", .rows = 1, .cols = D);
    t = stored("decoder.layers.7.self_attn.out_proj.weight", K, 8, D, D / 8);
    PLACE(&a, &t, 0, "layers.7.self_attn.out_proj.weight", .rows = D, .cols = D / 8, .col = K * D / 8);
    t = stored("decoder.layers.7.self_attn.v_proj.weight", K, 8, D / 8, D);
    PLACE(&a, &t, 0, "layers.7.self_attn.v_proj.weight", .rows = D / 8, .cols = D, .row = K * D / 8);
    t = stored("decoder.layers.7.self_attn.qkv_proj.weight", K, 8, 3 * D / 8, D); /* K, V, Q */
    PLACE(&a, &t, 0, "layers.7.self_attn.k_proj.weight", .rows = D / 8, .cols = D, .row = K * D / 8);
    PLACE(&a, &t, 1, "layers.7.self_attn.v_proj.weight", .rows = D / 8, .cols = D, .row = K * D / 8, .from_row = D / 8);
    PLACE(&a, &t, 2, "layers.7.self_attn.q_proj.weight", .rows = D / 8, .cols = D, .row = K * D / 8, .from_row = D / 4);
    assert_int_equal(place_of(&a)(&a, &t, 3, &at), 0);
    t = stored("decoder.layers.7.self_attn.qkv_proj.bias", K, 8, 0, 3 * D / 8);
    PLACE(&a, &t, 2, "layers.7.self_attn.q_proj.bias", .rows = 1, .cols = D / 8, .col = K * D / 8, .from_col = D / 4);
    t = stored("decoder.output_projection.weight", K, 8, V / 8, D); /* like the embedding, or whole in each part */
    PLACE(&a, &t, 0, "lm_head.weight", .rows = V / 8, .cols = D, .row = K * V / 8);
    t = stored("decoder.output_projection.weight", K, 8, V, D);
    PLACE(&a, &t, 0, "lm_head.weight", .rows = V, .cols = D);
    zo2_arch_free(&a);
}

static void no_place(void **state)
{
    static const char *const names[] = {"decoder.version",
                                        "decoder.layers.96.fc1.weight",
                                        "decoder.layers.0.self_attn.qkv_proj.scale",
                                        "decoder.layers.x.self_attn.qkv_proj.weight",
                                        "decoder.qkv_proj.weight",
                                        ".qkv_proj.",
                                        "decoder.layers.0.self_attn.in_proj.weight",
                                        "decoder.layers.0.ffn_layernorm.weight",
                                        "decoder.lm_head.weight",
                                        ""};
    char longer[400];
    zo2_arch a;
    zo2_place at;
    (void)state;
    assert_ok(zo2_arch_from_name(&a, "opt-175b"));
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        zo2_stored t = stored(names[i], 0, 8, 4, 4);
        assert_int_equal(place_of(&a)(&a, &t, 0, &at), 0);
    }
    snprintf(longer, sizeof longer, "decoder.%0*d.qkv_proj.weight", 300, 0);
    zo2_stored t = stored(longer, 0, 8, 4, 4);
    assert_int_equal(place_of(&a)(&a, &t, 0, &at), 0);
    zo2_arch_free(&a);
}

/* ---- every element, once ----------------------------------------------------------------------------------------------- */

/* Adds 1 to each element of the tensor that the stored one has; what every part has counts once. */
static void count(const zo2_arch *a, const zo2_stored *t, uint32_t id, unsigned char *times)
{
    const zo2_tensor *is = &a->tensors[id];
    zo2_place at;
    for (uint32_t i = 0; place_of(a)(a, t, i, &at); i++) {
        if (at.tensor != id || (t->part > 0 && at.rows == is->rows && at.cols == is->cols))
            continue;
        for (uint64_t r = 0; r < at.rows; r++)
            for (uint64_t c = 0; c < at.cols; c++)
                times[(at.row + r) * is->cols + at.col + c]++;
    }
}

/* The name under which metaseq has a tensor of ours. */
static void name_of(const zo2_tensor *is, int fused, char name[96])
{
    const char *bare = is->name + strlen("model.decoder.");
    const char *at = strstr(bare, "_proj.");
    if (fused && at && strchr("qkv", at[-1]) && at[-2] == '.')
        snprintf(name, 96, "decoder.%.*sqkv%s", (int)(at - bare - 1), bare, at);
    else if (strncmp(bare, "final_", 6) == 0)
        snprintf(name, 96, "decoder.%s", bare + 6);
    else if (strncmp(bare, "project_", 8) == 0)
        snprintf(name, 96, "decoder.%.*s_dim.weight", (int)strcspn(bare, "."), bare);
    else
        snprintf(name, 96, "decoder.%s", bare);
}

static void covers(const char *folder, uint32_t parts, int fused)
{
    zo2_arch a;
    assert_ok(zo2_arch_load(&a, hf_path(ZO2_TEST_DATA "/metaseq", folder), NULL));
    for (uint32_t id = 0; id < a.n_tensors; id++) {
        const zo2_tensor *is = &a.tensors[id];
        unsigned char *times = calloc(1, is->rows * is->cols);
        char name[96];
        name_of(is, fused, name);
        for (uint32_t k = 0; k < parts; k++) {
            zo2_stored t = stored(name, k, parts, is->rank == 2 ? 1 : 0, 1);
            count(&a, &t, id, times);
        }
        for (uint64_t e = 0; e < is->rows * is->cols; e++)
            if (times[e] != 1)
                fail_msg("%s as %s in %u parts: element %llu is there %u times", is->name, name, parts,
                         (unsigned long long)e, times[e]);
        free(times);
    }
    zo2_arch_free(&a);
}

static void every_element_once(void **state)
{
    (void)state;
    for (uint32_t parts = 1; parts <= 8; parts *= 2)
        for (int fused = 0; fused < 2; fused++)
            covers("plain", parts, fused);
    for (int fused = 0; fused < 2; fused++)
        covers("narrow", 4, fused);
}

/* The embedding of 44 rows in eight parts: what is left over is told where pieces are counted. */
static void parts_that_dont_divide(void **state)
{
    zo2_arch a;
    zo2_place at;
    (void)state;
    assert_ok(zo2_arch_load(&a, ZO2_TEST_DATA "/metaseq/narrow", NULL));
    zo2_stored t = stored("decoder.embed_tokens.weight", 7, 8, 5, 12);
    PLACE(&a, &t, 0, "embed_tokens.weight", .rows = 5, .cols = 12, .row = 35);
    t = stored("decoder.embed_tokens.weight", 7, 100, 5, 12);
    assert_int_equal(place_of(&a)(&a, &t, 0, &at), 0);
    zo2_arch_free(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opt_175b),
        cmocka_unit_test(no_place),
        cmocka_unit_test(every_element_once),
        cmocka_unit_test(parts_that_dont_divide),
    };
    return cmocka_run_group_tests_name("place_metaseq", tests, NULL, NULL);
}
