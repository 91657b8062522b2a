/* test_export_config.c: what an export says of itself: files beside the weights, and a config.json that is true for
 * them. What Hugging Face makes of such exports: tests/make_fixtures/check_exports.py. */
#include "tests/unit/engine/hf_dir.h"

typedef struct bench {
    char *dir, *log;
    const char *source, *pack, *out;
} bench;

/* A copy of a fixture whose config.json has one replacement. */
static bench begin(const char *fixture, const char *from, const char *to)
{
    bench b = {.dir = hf_temp(), .log = calloc(1, 4096)};
    assert_non_null(b.log);
    b.source = strdup(hf_path(b.dir, "source"));
    b.pack = strdup(hf_path(b.dir, "model.zo2"));
    b.out = strdup(hf_path(b.dir, "out"));
    assert_int_equal(mkdir(b.source, 0777), 0);
    const char *folder = hf_path(ZO2_TEST_DATA "/opt-fixtures", fixture);
    hf_copy(hf_path(folder, "config.json"), hf_path(b.source, "config.json"), from, to);
    hf_model *m = hf_load(folder);
    hf_save(m, b.source);
    hf_free(m);
    return b;
}

static void end(bench *b)
{
    hf_remove_tree(b->dir);
    free(b->log);
    free((void *)b->source);
    free((void *)b->pack);
    free((void *)b->out);
}

static void on_log(void *ud, zo2_log_level level, const char *message)
{
    assert_int_equal(level, ZO2_LOG_WARNING);
    strncat(ud, message, 4095 - strlen(ud));
}

static void export(bench *b, zo2_dtype dtype)
{
    zo2_convert_opts c;
    zo2_export_opts o;
    zo2_convert_opts_init(&c);
    zo2_export_opts_init(&o);
    c.force = o.force = 1;
    c.log = on_log;
    c.log_ud = b->log;
    o.dtype = dtype;
    assert_ok(zo2_pack_convert(b->source, b->pack, &c));
    assert_ok(zo2_pack_export(b->pack, b->out, &o));
}

/* The exported config.json is the source's but for one stretch. */
static void check_config(const char *fixture, const char *from, const char *to, zo2_dtype dtype, const char *was,
                         const char *is)
{
    bench b = begin(fixture, from, to);
    const char *expected = hf_path(b.dir, "expected.json");
    export(&b, dtype);
    hf_copy(hf_path(b.source, "config.json"), expected, was, is);
    hf_assert_same_file(hf_path(b.out, "config.json"), expected);
    zo2_pack *p;
    assert_ok(zo2_pack_open_arch(&p, b.out)); /* and it is one */
    zo2_pack_close(p);
    end(&b);
}

#define CLASSES "[\n    \"OPTForCausalLM\"\n  ]"

/* The tensors that are written are those of OPTForCausalLM, whatever class saved the source. */
static void the_class_is_that_of_the_weights(void **state)
{
    static const char *const sources[] = {"[\"OPTModel\"]", "[\n    \"OPTForSequenceClassification\"\n  ]", "null",
                                          "[]", "[\"OPTForCausalLM\", \"OPTModel\"]"};
    (void)state;
    for (size_t i = 0; i < sizeof sources / sizeof *sources; i++) {
        char was[128];
        snprintf(was, sizeof was, "\"architectures\": %s", sources[i]);
        check_config("bare-postnorm-f16", CLASSES, sources[i], 0, was, "\"architectures\": [\"OPTForCausalLM\"]");
    }
    check_config("bare-postnorm-f16", "\"architectures\": " CLASSES ",\n  ", "", 0, "\n}",
                 ",\n  \"architectures\": [\"OPTForCausalLM\"]\n}");
    check_config("bare-postnorm-f16", NULL, NULL, 0, NULL, NULL);
}

/* Hugging Face rounds weights to the type that config.json names when it loads them. */
static void the_type_loses_nothing(void **state)
{
    (void)state;
#define SAYS(name) "\"torch_dtype\": \"" name "\""
    check_config("prenorm-f32", SAYS("float32"), SAYS("float16"), 0, SAYS("float16"), SAYS("float32"));
    check_config("prenorm-f32", SAYS("float32"), SAYS("torch.float32"), 0, SAYS("torch.float32"), SAYS("float32"));
    check_config("postnorm-proj-f16", SAYS("float16"), SAYS("bfloat16"), 0, SAYS("bfloat16"), SAYS("float16"));
    check_config("postnorm-proj-f16", SAYS("float16"), SAYS("float32"), 0, NULL, NULL); /* wider: a wish */
    check_config("postnorm-proj-f16", SAYS("float16") ",", "", 0, NULL, NULL);          /* the weights tell */
    check_config("postnorm-proj-f16", SAYS("float16"), "\"torch_dtype\": null", 0, NULL, NULL);
    /* asked for: every key that is there, the older one if none is */
    check_config("postnorm-proj-f16", SAYS("float16"), "\"dtype\": null, " SAYS("float16"), ZO2_BF16,
                 "\"dtype\": null, " SAYS("float16"), "\"dtype\": \"bfloat16\", " SAYS("bfloat16"));
    check_config("postnorm-proj-f16", "  " SAYS("float16") ",\n", "", ZO2_F32, "\n}", ",\n  " SAYS("float32") "\n}");
}

static void numbers_keep_their_digits(void **state)
{
    (void)state;
#define LARGE "\"x\": 1000000000000000019884624838656, \"y\": 0.10, "
    check_config("prenorm-f32", "\"torch_dtype\"", LARGE "\"torch_dtype\"", ZO2_F16, LARGE SAYS("float32"),
                 LARGE SAYS("float16"));
}

static void the_head_is_tied_as_the_weights_are(void **state)
{
    (void)state;
    check_config("prenorm-f32", "\"tie_word_embeddings\": true", "\"tie_word_embeddings\": null", 0,
                 "\"tie_word_embeddings\": null", "\"tie_word_embeddings\": true");
    check_config("untied-f32-sharded", NULL, NULL, 0, NULL, NULL);
}

static void files_go_along(void **state)
{
    static const char *const names[] = {"chat_template.jinja",
                                        "chat_template.json",
                                        "generation_config.json",
                                        "LICENSE",
                                        "LICENSE.md",
                                        "LICENSE.txt",
                                        "NOTICE"};
    const int n = (int)(sizeof names / sizeof *names);
    (void)state;
    bench b = begin("prenorm-f32", NULL, NULL);
    for (int i = 0; i < n; i++)
        hf_write_text(hf_path(b.source, names[i]), names[i]);
    hf_write_text(hf_path(b.source, "README.md"), "of the source: its results aren't the export's");
    export(&b, 0);
    assert_string_equal(b.log, "");
    for (int i = 0; i < n; i++)
        hf_assert_same_file(hf_path(b.source, names[i]), hf_path(b.out, names[i]));
    assert_int_equal(hf_count_entries(b.out), n + 2);
    end(&b);
}

static void large_ones_stay_behind(void **state)
{
    (void)state;
    bench b = begin("prenorm-f32", NULL, NULL);
    const size_t limit = (size_t)1 << 20;
    char *text = calloc(1, limit + 1);
    assert_non_null(text);
    hf_write(hf_path(b.source, "LICENSE"), text, limit);
    hf_write(hf_path(b.source, "chat_template.jinja"), text, limit + 1);
    assert_int_equal(mkdir(hf_path(b.source, "NOTICE"), 0777), 0);
    assert_int_equal(mkdir(hf_path(b.source, "additional_chat_templates"), 0777), 0);
    export(&b, 0);
    assert_non_null(strstr(b.log,
                           "chat_template.jinja has 1048577 bytes, more than the 1048576 that are accepted here: it "
                           "isn't carried"));
    assert_non_null(strstr(b.log, "NOTICE is not a regular file: it isn't carried"));
    assert_non_null(strstr(b.log, "additional_chat_templates isn't carried"));
    hf_assert_same_file(hf_path(b.source, "LICENSE"), hf_path(b.out, "LICENSE"));
    assert_int_equal(hf_count_entries(b.out), 3);
    free(text);
    end(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_class_is_that_of_the_weights),
        cmocka_unit_test(the_type_loses_nothing),
        cmocka_unit_test(numbers_keep_their_digits),
        cmocka_unit_test(the_head_is_tied_as_the_weights_are),
        cmocka_unit_test(files_go_along),
        cmocka_unit_test(large_ones_stay_behind),
    };
    return cmocka_run_group_tests_name("export_config", tests, NULL, NULL);
}
