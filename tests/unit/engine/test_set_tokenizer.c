/* test_set_tokenizer.c: other tokenizer files in a pack: the bytes that a conversion with them gives, the same model
 * hash, and what is refused. */
#include "tests/unit/engine/hf_dir.h"

typedef struct bench {
    char *dir, *log;
    const char *model, *tokenizer,
        *pack; /* the whole new model for comparison, the folder that is given, the pack of the old one */
    zo2_tokenizer_opts o;
} bench;

static void on_log(void *ud, zo2_log_level level, const char *message)
{
    (void)level;
    strncat(ud, message, 4095 - strlen(ud));
}

static bench begin(int zstd)
{
    static const char *const old[] = {
        "config.json",           "model.safetensors",      "vocab.json", "merges.txt", "tokenizer.json",
        "tokenizer_config.json", "special_tokens_map.json"};
    bench b = {.dir = hf_temp(), .log = calloc(1, 4096)};
    assert_non_null(b.log);
    b.model = strdup(hf_path(b.dir, "model"));
    b.tokenizer = strdup(hf_path(b.dir, "tokenizer"));
    b.pack = strdup(hf_path(b.dir, "m.zo2"));
    zo2_tokenizer_opts_init(&b.o);
    b.o.log = on_log;
    b.o.log_ud = b.log;
    assert_int_equal(mkdir(b.model, 0777) | mkdir(b.tokenizer, 0777), 0);
    for (size_t i = 0; i < sizeof old / sizeof *old; i++)
        hf_copy(hf_path(TINY, old[i]), hf_path(b.model, old[i]), NULL, NULL);
    hf_write_text(hf_path(b.model, "LICENSE"), "of the model");
    hf_write_text(hf_path(b.model, "generation_config.json"), "{\"of\": \"the model\"}");
    hf_write_text(hf_path(b.model, "chat_template.jinja"), "of the old tokenizer");
    zo2_convert_opts c;
    zo2_convert_opts_init(&c);
    c.zstd_level = zstd;
    assert_ok(zo2_pack_convert(b.model, b.pack, &c));
    return b;
}

static void end(bench *b)
{
    hf_remove_tree(b->dir);
    free(b->log);
    free((void *)b->model);
    free((void *)b->tokenizer);
    free((void *)b->pack);
}

/* A file of the new tokenizer, in the folder that is given and in the whole model. */
static void give(const bench *b, const char *name, const char *text)
{
    hf_write_text(hf_path(b->tokenizer, name), text);
    hf_write_text(hf_path(b->model, name), text);
}

static uint64_t hash_of(const char *path)
{
    zo2_pack *p;
    zo2_pack_info info;
    assert_ok(zo2_pack_open(&p, path));
    assert_ok(zo2_pack_get_info(p, &info));
    assert_ok(zo2_pack_verify(p, NULL, NULL));
    zo2_pack_close(p);
    return info.model_hash;
}

static void as_a_conversion_makes_it(void **state)
{
    (void)state;
    for (int with_settings = 0; with_settings < 2; with_settings++) {
        bench b = begin(with_settings); /* the second one compressed */
        const char *whole = hf_path(b.dir, "whole.zo2");
        uint64_t hash = hash_of(b.pack);
        give(&b, "vocab.json", "{\"a\": 0}");
        give(&b, "merges.txt", "#version: 0.2\n");
        give(&b, "added_tokens.json", "{}");
        if (with_settings)
            give(&b, "generation_config.json", "{\"of\": \"the tokenizer's folder\"}");
        hf_write_text(hf_path(b.tokenizer, "LICENSE"), "of the tokenizer: the model has its own");
        hf_write_text(hf_path(b.tokenizer, "config.json"), "{}"); /* the weights' own stays */
        assert_int_equal(unlink(hf_path(b.model, "tokenizer.json")), 0);
        assert_int_equal(unlink(hf_path(b.model, "tokenizer_config.json")), 0);
        assert_int_equal(unlink(hf_path(b.model, "special_tokens_map.json")), 0);
        assert_int_equal(unlink(hf_path(b.model, "chat_template.jinja")), 0);
        zo2_convert_opts c;
        zo2_convert_opts_init(&c);
        c.zstd_level = with_settings;
        assert_ok(zo2_pack_convert(b.model, whole, &c));
        assert_ok(zo2_pack_set_tokenizer(b.pack, b.tokenizer, &b.o));
        hf_assert_same_file(b.pack, whole);
        assert_true(hash_of(b.pack) == hash);
        assert_string_equal(b.log, "");
        assert_int_equal(hf_count_entries(b.dir), 4);
        end(&b);
    }
}

static void nothing_is_written_for_nothing(void **state)
{
    (void)state;
    bench b = begin(0);
    struct stat before, after;
    assert_int_equal(stat(b.pack, &before), 0);
    assert_ok(zo2_pack_set_tokenizer(b.pack, b.model, &b.o));
    assert_int_equal(stat(b.pack, &after), 0);
    assert_true(before.st_ino == after.st_ino);
    assert_string_equal(b.log, "the pack carries these files already");
    hf_copy(hf_path(b.model, "merges.txt"), hf_path(b.model, "merges.txt"), "#version", "# version");
    assert_ok(zo2_pack_set_tokenizer(b.pack, b.model, &b.o));
    assert_int_equal(stat(b.pack, &after), 0);
    assert_true(before.st_ino != after.st_ino);
    end(&b);
}

/* What leads to the pack stays, and whoever has it open keeps what he had. */
static void links_and_readers(void **state)
{
    (void)state;
    bench b = begin(0);
    zo2_pack *p;
    const char *data, *link = hf_path(b.dir, "link.zo2");
    size_t bytes;
    struct stat st;
    assert_int_equal(symlink("m.zo2", link), 0);
    assert_ok(zo2_pack_open(&p, link));
    give(&b, "tokenizer.json", "{}");
    assert_ok(zo2_pack_set_tokenizer(link, b.tokenizer, NULL));
    assert_int_equal(lstat(link, &st), 0);
    assert_true(S_ISLNK(st.st_mode));
    assert_ok(zo2_pack_file(p, "merges.txt", &data, &bytes));
    assert_ok(zo2_pack_verify(p, NULL, NULL));
    zo2_pack_close(p);
    assert_ok(zo2_pack_open(&p, b.pack));
    assert_int_equal(zo2_pack_file(p, "merges.txt", &data, &bytes), ZO2_ERR_NOTFOUND);
    assert_ok(zo2_pack_file(p, "tokenizer.json", &data, &bytes));
    zo2_pack_close(p);
    end(&b);
}

static void refusals(void **state)
{
    (void)state;
    bench b = begin(0);
    size_t n, have;
    char *before = hf_read(b.pack, &n);
    assert_error(zo2_pack_set_tokenizer(b.pack, b.tokenizer, &b.o), ZO2_ERR_NOTFOUND, "has no tokenizer");
    assert_error(zo2_pack_set_tokenizer(b.pack, "/nowhere/at/all", &b.o), ZO2_ERR_NOTFOUND,
                 "/nowhere/at/all has no tokenizer");
    hf_write_text(hf_path(b.tokenizer, "merges.txt"), "#version: 0.2\n"); /* is none alone */
    assert_error(zo2_pack_set_tokenizer(b.pack, b.tokenizer, &b.o), ZO2_ERR_NOTFOUND, "has no tokenizer");
    assert_int_equal(mkdir(hf_path(b.tokenizer, "vocab.json"), 0777), 0);
    assert_error(zo2_pack_set_tokenizer(b.pack, b.tokenizer, &b.o), ZO2_ERR_FORMAT, "vocab.json is not a regular file");
    assert_error(zo2_pack_set_tokenizer(hf_path(b.dir, "none.zo2"), b.model, &b.o), ZO2_ERR_NOTFOUND, "none.zo2");
    assert_error(zo2_pack_set_tokenizer(hf_path(b.model, "config.json"), b.model, &b.o), ZO2_ERR_FORMAT,
                 "is a JSON text");
    assert_error(zo2_pack_set_tokenizer(NULL, b.model, &b.o), ZO2_ERR_ARG, "pack and dir");
    assert_error(zo2_pack_set_tokenizer(b.pack, NULL, &b.o), ZO2_ERR_ARG, "pack and dir");
    zo2_tokenizer_opts bad = {0};
    assert_error(zo2_pack_set_tokenizer(b.pack, b.model, &bad), ZO2_ERR_ARG, "struct_size");
    char *after = hf_read(b.pack, &have);
    assert_int_equal(have, n);
    assert_memory_equal(after, before, n);
    assert_int_equal(hf_count_entries(b.dir), 3);
    free(before);
    free(after);
    end(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_a_conversion_makes_it),
        cmocka_unit_test(nothing_is_written_for_nothing),
        cmocka_unit_test(links_and_readers),
        cmocka_unit_test(refusals),
    };
    return cmocka_run_group_tests_name("set_tokenizer", tests, NULL, NULL);
}
