/* test_convert_gguf.c: models in GGUF files that the gguf package wrote (tests/make_fixtures/make_gguf_fixtures.py): the pack is that of
 * the same values in safetensors; what is written as GGUF comes back as it was. */
#include "engine/families/families.h"
#include "engine/model/arch.h"
#include "tests/unit/engine/hf_dir.h"

static const char *const fixtures[] = {"f32", "f16", "bf16", "q8_0", "q4_0", "q4_1"};

static zo2_status convert(const char *from, const char *to)
{
    zo2_convert_opts o;
    zo2_convert_opts_init(&o);
    o.threads = 2;
    o.force = 1;
    return zo2_pack_convert(from, to, &o);
}

static zo2_status export_gguf(const char *pack, const char *out, zo2_export_form form)
{
    zo2_export_opts o;
    zo2_export_opts_init(&o);
    o.threads = 2;
    o.form = form;
    return zo2_pack_export(pack, out, &o);
}

/* What a pack is: hash, and its configuration as the library writes it. */
static void look(const char *path, uint64_t *hash, char **config)
{
    zo2_pack *p;
    zo2_pack_info info;
    zo2_arch a;
    assert_ok(zo2_pack_open(&p, path));
    assert_ok(zo2_pack_get_info(p, &info));
    *hash = info.model_hash;
    zo2_pack_close(p);
    assert_ok(zo2_arch_load(&a, path, NULL));
    assert_non_null(*config = zo2_arch_config_json(&a, ZO2_F32));
    zo2_arch_free(&a);
}

static void same_pack(const char *a, const char *b)
{
    uint64_t x, y;
    char *p, *q;
    look(a, &x, &p);
    look(b, &y, &q);
    assert_string_equal(p, q);
    assert_true(x == y);
    free(p);
    free(q);
}

/* The file of a fixture: of a split one the first. */
static const char *file_of(const char *name)
{
    char file[64];
    snprintf(file, sizeof file, strcmp(name, "q4_1") == 0 ? "%s-00001-of-00002.gguf" : "%s.gguf", name);
    return hf_path(hf_path(ZO2_TEST_DATA "/gguf", name), file);
}

static void same_model(void **state)
{
    (void)state;
    char *dir = hf_temp();
    for (size_t i = 0; i < sizeof fixtures / sizeof *fixtures; i++) {
        assert_ok(convert(file_of(fixtures[i]), hf_path(dir, "a.zo2")));
        assert_ok(convert(hf_path(ZO2_TEST_DATA "/gguf", fixtures[i]), hf_path(dir, "b.zo2"))); /* its safetensors */
        same_pack(hf_path(dir, "a.zo2"), hf_path(dir, "b.zo2"));
    }
    hf_remove_tree(dir);
}

/* Out and in again: a model of 16-bit weights is the same model, one in blocks has the same blocks. */
static void there_and_back(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        zo2_export_form form;
    } cases[] = {{"f16", ZO2_EXPORT_GGUF_F16}, {"bf16", ZO2_EXPORT_GGUF_BF16}, {"q8_0", ZO2_EXPORT_GGUF_Q8_0}};
    char *dir = hf_temp();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_ok(convert(file_of(cases[i].name), hf_path(dir, "a.zo2")));
        remove(hf_path(dir, "m.gguf"));
        assert_ok(export_gguf(hf_path(dir, "a.zo2"), hf_path(dir, "m.gguf"), cases[i].form));
        assert_ok(convert(hf_path(dir, "m.gguf"), hf_path(dir, "b.zo2")));
        same_pack(hf_path(dir, "a.zo2"), hf_path(dir, "b.zo2"));
    }
    hf_remove_tree(dir);
}

/* With biases that are turned, and llama3's table: F32 has no form of its own, so values are compared from F16 to F16. */
static void table_and_biases(void **state)
{
    (void)state;
    char *dir = hf_temp();
    assert_ok(convert(file_of("f32"), hf_path(dir, "a.zo2")));
    assert_ok(export_gguf(hf_path(dir, "a.zo2"), hf_path(dir, "m.gguf"), ZO2_EXPORT_GGUF_F16));
    assert_ok(convert(hf_path(dir, "m.gguf"), hf_path(dir, "b.zo2")));
    assert_ok(export_gguf(hf_path(dir, "b.zo2"), hf_path(dir, "n.gguf"), ZO2_EXPORT_GGUF_F16));
    assert_ok(convert(hf_path(dir, "n.gguf"), hf_path(dir, "c.zo2")));
    same_pack(hf_path(dir, "b.zo2"), hf_path(dir, "c.zo2"));
    uint64_t hash;
    char *a, *b;
    look(hf_path(dir, "a.zo2"), &hash, &a);
    look(hf_path(dir, "b.zo2"), &hash, &b);
    assert_string_equal(a, b);
    free(a);
    free(b);
    hf_remove_tree(dir);
}

static void refused(void **state)
{
    (void)state;
    char *dir = hf_temp();
    assert_ok(convert(ZO2_TEST_DATA "/opt-fixtures/prenorm-f32", hf_path(dir, "opt.zo2")));
    assert_int_equal(export_gguf(hf_path(dir, "opt.zo2"), hf_path(dir, "m.gguf"), ZO2_EXPORT_GGUF_F16),
                     ZO2_ERR_UNSUPPORTED);
    assert_non_null(strstr(zo2_last_error(), "llama.cpp has no architecture for opt models"));
    assert_ok(convert(file_of("f16"), hf_path(dir, "a.zo2")));
    assert_int_equal(export_gguf(hf_path(dir, "a.zo2"), hf_path(dir, "m.gguf"), (zo2_export_form)4), ZO2_ERR_ARG);
    assert_ok(export_gguf(hf_path(dir, "a.zo2"), hf_path(dir, "m.gguf"), ZO2_EXPORT_GGUF_Q8_0));
    assert_int_equal(export_gguf(hf_path(dir, "a.zo2"), hf_path(dir, "m.gguf"), ZO2_EXPORT_GGUF_F16), ZO2_ERR_EXISTS);
    hf_remove_tree(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_model),
        cmocka_unit_test(there_and_back),
        cmocka_unit_test(table_and_biases),
        cmocka_unit_test(refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
