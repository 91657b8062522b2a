/* Small tokenizers in every layout: the ids are those of Hugging Face's AutoTokenizer, with the BOS that it puts in front
 * (tests/make_fixtures/make_tokenizer_cases.py). */
#include "tests/unit/tools/test_tokenizer_files.h"
#include "tools/text/fit.h"

/* @BYTES@ stands for the specials and bytes that all vocabularies begin with. To be freed. */
static zo2t_file expand(const char *text)
{
    static const char mark[] = "\"@BYTES@\": 0";
    char *base = test_byte_vocab("");
    base[strlen(base) - 1] = '\0'; /* the braces stay with the text */
    const char *at = strstr(text, mark);
    const size_t n = strlen(text) + strlen(base) + 1;
    char *out = malloc(n);
    assert_non_null(out);
    if (at)
        snprintf(out, n, "%.*s%s%s", (int)(at - text), text, base + 1, at + sizeof mark - 1);
    else
        strcpy(out, text);
    free(base);
    return (zo2t_file){out, strlen(out)};
}

static zo2t_file file_of(const json_t *files, const char *name)
{
    const char *text = json_string_value(json_object_get(files, name));
    return text ? expand(text) : (zo2t_file){0};
}

static zo2t_tokenizer *open_case(const json_t *files)
{
    zo2t_tokenizer_files f = {
        .vocab = file_of(files, "vocab.json"),
        .merges = file_of(files, "merges.txt"),
        .special_tokens_map = file_of(files, "special_tokens_map.json"),
        .tokenizer_config = file_of(files, "tokenizer_config.json"),
        .added_tokens = file_of(files, "added_tokens.json"),
        .tokenizer = file_of(files, "tokenizer.json"),
    };
    zo2t_tokenizer *t = NULL;
    if (zo2t_tokenizer_open(&t, &f))
        print_error("%s\n", zo2_last_error());
    const zo2t_file *all[] = {&f.vocab,        &f.merges,   &f.special_tokens_map, &f.tokenizer_config,
                              &f.added_tokens, &f.tokenizer};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free((char *)(uintptr_t)all[i]->data);
    return t;
}

static int differs(zo2t_tokenizer *t, const char *name, const json_t *answer, int32_t bos)
{
    const json_t *text = json_object_get(answer, "text"), *want = json_object_get(answer, "ids");
    zo2t_ids out = {0};
    assert_int_equal(zo2t_encode(t, json_string_value(text), json_string_length(text), bos, &out), ZO2_OK);
    int same = out.n == json_array_size(want);
    for (size_t i = 0; same && i < out.n; i++)
        same = out.id[i] == json_integer_value(json_array_get(want, i));
    if (!same) {
        char *ids = json_dumps(want, 0);
        print_error("%s: \"%s\" is %s, not", name, json_string_value(text), ids);
        for (size_t i = 0; i < out.n; i++)
            print_error(" %d", out.id[i]);
        print_error("\n");
        free(ids);
    }
    zo2t_ids_free(&out);
    return !same;
}

static void hugging_face(void **state)
{
    (void)state;
    const zo2_pack_info model = {.vocab = 4096, .bos_token_id = 2};
    zo2t_file f = test_read(ZO2_TEST_DATA "/tokenizers", "cases.json");
    assert_non_null(f.data);
    json_t *cases = json_loadb(f.data, f.bytes, 0, NULL);
    int different = 0;
    assert_true(json_array_size(cases) > 20);
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const json_t *c = json_array_get(cases, i), *answers = json_object_get(c, "answers");
        const char *name = json_string_value(json_object_get(c, "name"));
        zo2t_tokenizer *t = open_case(json_object_get(c, "files"));
        int32_t bos = -5;
        if (!t)
            fail_msg("%s: not opened", name);
        assert_int_equal(zo2t_bos_parse("auto", t, &model, &bos), ZO2_OK);
        assert_true(json_array_size(answers) >= 10);
        for (size_t k = 0; k < json_array_size(answers); k++)
            different += differs(t, name, json_array_get(answers, k), bos);
        zo2t_tokenizer_close(t);
    }
    json_decref(cases);
    free((char *)(uintptr_t)f.data);
    assert_int_equal(different, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(hugging_face)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
