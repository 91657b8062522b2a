/* Data sets: the four kinds of lines, BOS, truncation, counts and bounds, the tiny model's own files. */
#include "tests/unit/tools/test_tokenizer_files.h"
#include "tests/unit/tools/tiny_tokenizer_testing.h"
#include "tools/text/dataset.h"
#include "tools/text/fit.h"

#include <xxhash.h>

static zo2t_dataset *load(const char *lines, uint32_t seq, int32_t bos)
{
    char path[64];
    zo2t_dataset *d;
    test_write(path, lines, strlen(lines));
    zo2_status s = zo2t_dataset_load(&d, path, tokenizer, &(zo2t_dataset_opts){seq, 4096, bos, NULL, 0, NULL, NULL});
    unlink(path);
    if (s)
        fail_msg("%s", zo2_last_error());
    return d;
}

/* ids of a text; n of them */
static size_t ids_of(const char *text, int32_t bos, int32_t *ids)
{
    zo2t_ids out = {0};
    assert_int_equal(zo2t_encode(tokenizer, text, strlen(text), bos, &out), ZO2_OK);
    size_t n = out.n;
    memcpy(ids, out.id, n * sizeof *ids);
    zo2t_ids_free(&out);
    return n;
}

static void kinds(void **state)
{
    (void)state;
    zo2t_dataset *d = load("{\"text\": \"In the beginning\", \"id\": 7}\n"
                           "\n \t\r\n"
                           "{\"prompt\": \"In the\", \"completion\": \" beginning\"}\r\n"
                           "{\"tokens\": [2, 10, 11, 12, 13], \"loss_from\": 3}\n"
                           "{\"tokens\": [10, 11]}",
                           256, 2);
    int32_t text[64], prompt[64], completion[64];
    size_t nt = ids_of("In the beginning", 2, text), np = ids_of("In the", 2, prompt);
    size_t nc = ids_of(" beginning", -1, completion);
    zo2t_example e;
    zo2t_dataset_example(d, 0, &e);
    assert_true(e.rows == 1 && e.prompt == 1 && e.suffix[0] == nt - 1);
    assert_memory_equal(e.tokens, text, nt * sizeof *text);
    zo2t_dataset_example(d, 1, &e);
    assert_true(e.rows == 1 && e.prompt == np && e.suffix[0] == nc);
    assert_memory_equal(e.tokens, prompt, np * sizeof *prompt);
    assert_memory_equal(e.tokens + np, completion, nc * sizeof *prompt);
    zo2t_dataset_example(d, 2, &e);
    assert_true(e.rows == 1 && e.prompt == 3 && e.suffix[0] == 2);
    assert_memory_equal(e.tokens, ((const int32_t[]){2, 10, 11, 12, 13}), 5 * sizeof *prompt);
    zo2t_dataset_example(d, 3, &e); /* no BOS in front of ready tokens */
    assert_true(e.rows == 1 && e.prompt == 1 && e.suffix[0] == 1 && e.tokens[0] == 10 && e.tokens[1] == 11);
    zo2t_dataset_info i;
    zo2t_dataset_get_info(d, &i);
    assert_true(i.kind == ZO2T_LM && i.examples == 4 && i.rows == 4 && i.max_options == 1 && i.truncated == 0);
    assert_int_equal(i.tokens, nt + np + nc + 5 + 2);
    assert_int_equal(i.loss_tokens, nt - 1 + nc + 2 + 1);
    assert_int_equal(i.first_truncated, 0);
    zo2t_dataset_close(d);

    d = load("\xEF\xBB\xBF{\"prompt\": \"It is\", \"options\": [\" an animal\", \" a plant\", \"x\"], \"label\": 2}\n",
             256, -1);
    np = ids_of("It is", -1, prompt);
    zo2t_dataset_example(d, 0, &e);
    assert_true(e.rows == 3 && e.label == 2 && e.prompt == np);
    assert_memory_equal(e.tokens, prompt, np * sizeof *prompt);
    const int32_t *at = e.tokens + np;
    static const char *const option[] = {" an animal", " a plant", "x"};
    for (uint32_t r = 0; r < 3; r++) {
        nc = ids_of(option[r], -1, completion);
        assert_int_equal(e.suffix[r], nc);
        assert_memory_equal(at, completion, nc * sizeof *completion);
        at += nc;
    }
    zo2t_dataset_get_info(d, &i);
    assert_true(i.kind == ZO2T_OPTIONS && i.examples == 1 && i.rows == 3 && i.max_options == 3);
    zo2t_dataset_close(d);

    /* An empty prompt is fine when BOS stands in front. NUL is a character like others. */
    d = load("{\"prompt\": \"\", \"completion\": \"a\\u0000b\"}", 8, 2);
    zo2t_dataset_example(d, 0, &e);
    assert_true(e.prompt == 1 && e.tokens[0] == 2 && e.suffix[0] == 3);
    zo2t_dataset_close(d);
}

/* What is in order, but rarely meant: lines are counted once, the first is named. */
static void oddities(void **state)
{
    (void)state;
    zo2t_dataset_info i;
    zo2t_dataset *d = load("{\"text\": \"a \"}\n"
                           "{\"prompt\": \"a\", \"completion\": \" b\"}\n"
                           "{\"prompt\": \"a\\n\", \"completion\": \"b\"}\n"
                           "{\"prompt\": \"a:\", \"completion\": \"b\"}\n"
                           "{\"prompt\": \"a\", \"completion\": \"\xC3\xA9\"}\n"
                           "{\"tokens\": [5, 6]}\n",
                           16, 2);
    zo2t_dataset_get_info(d, &i);
    for (int k = 0; k < ZO2T_ODDITIES; k++)
        assert_true(i.odd[k].lines == 0 && i.odd[k].first == 0);
    assert_false(i.one_label);
    zo2t_dataset_close(d);
    d = load("{\"prompt\": \"a\", \"completion\": \" b\"}\n\n"
             "{\"prompt\": \"a \", \"completion\": \"b\"}\n"
             "{\"prompt\": \"\", \"completion\": \"b\"}\n"
             "{\"prompt\": \"9\", \"completion\": \"Z\"}\n"
             "{\"prompt\": \"  \", \"completion\": \" b\"}\n",
             16, 2);
    zo2t_dataset_get_info(d, &i);
    assert_true(i.odd[ZO2T_SPACE_AT_END].lines == 2 && i.odd[ZO2T_SPACE_AT_END].first == 3);
    assert_true(i.odd[ZO2T_EMPTY_PROMPT].lines == 1 && i.odd[ZO2T_EMPTY_PROMPT].first == 4);
    assert_true(i.odd[ZO2T_NO_SPACE].lines == 1 && i.odd[ZO2T_NO_SPACE].first == 5);
    assert_int_equal(i.odd[ZO2T_SAME_OPTIONS].lines, 0);
    zo2t_dataset_close(d);
    d = load("{\"prompt\": \"a\", \"options\": [\" b\", \" c\", \" bc\"], \"label\": 1}\n"
             "{\"prompt\": \"a\", \"options\": [\" b\", \" c\", \" b\"], \"label\": 1}\n"
             "{\"prompt\": \"a \", \"options\": [\" b\", \" b\", \" b\"], \"label\": 1}\n"
             "{\"prompt\": \"a\", \"options\": [\" b\", \"c\"], \"label\": 1}\n",
             16, 2);
    zo2t_dataset_get_info(d, &i);
    assert_true(i.odd[ZO2T_SAME_OPTIONS].lines == 2 && i.odd[ZO2T_SAME_OPTIONS].first == 2);
    assert_true(i.odd[ZO2T_SPACE_AT_END].lines == 1 && i.odd[ZO2T_NO_SPACE].lines == 1 && i.one_label);
    zo2t_dataset_close(d);
    d = load("{\"prompt\": \"a\", \"options\": [\" b\", \" c\"], \"label\": 0}\n"
             "{\"prompt\": \"a\", \"options\": [\" b\", \" c\"], \"label\": 1}\n"
             "{\"prompt\": \"a\", \"options\": [\" b\", \" c\"], \"label\": 0}\n",
             16, 2);
    zo2t_dataset_get_info(d, &i);
    assert_false(i.one_label);
    zo2t_dataset_close(d);
}

/* "a"s with a space in front are one token each (" a" = 261). */
#define A6 " a a a a a a"

static void truncation(void **state)
{
    (void)state;
    zo2t_example e;
    zo2t_dataset_info i;
    /* Exactly fits; text loses its oldest tokens behind BOS; without BOS simply the oldest. */
    zo2t_dataset *d = load("{\"text\": \"" A6 "\"}", 7, 2);
    zo2t_dataset_get_info(d, &i);
    assert_true(i.truncated == 0 && i.longest_row == 7);
    zo2t_dataset_close(d);
    static const char text[] = "{\"text\": \" the\"}\n\n{\"text\": \" the of" A6 "\"}\n{\"text\": \"" A6 "\"}";
    d = load(text, 6, 2);
    zo2t_dataset_get_info(d, &i);
    assert_true(i.truncated == 2 && i.first_truncated == 3 && i.longest_row == 6);
    zo2t_dataset_example(d, 1, &e);
    assert_memory_equal(e.tokens, ((const int32_t[]){2, 261, 261, 261, 261, 261}), 6 * sizeof(int32_t));
    assert_true(e.prompt == 1 && e.suffix[0] == 5);
    zo2t_dataset_close(d);
    d = load("{\"text\": \" the of" A6 "\"}", 7, -1);
    zo2t_dataset_example(d, 0, &e);
    int32_t of[4];
    assert_int_equal(ids_of(" of", -1, of), 1);
    assert_true(e.tokens[0] == of[0] && e.tokens[1] == 261 && e.suffix[0] == 6);
    zo2t_dataset_close(d);

    /* The completion stays whole; the prompt keeps BOS and its newest tokens, down to BOS alone. */
    for (uint32_t seq = 4; seq <= 10; seq++) {
        d = load("{\"prompt\": \" the of" A6 "\", \"completion\": \" and and and\"}", seq, 2);
        zo2t_dataset_example(d, 0, &e);
        assert_true(e.prompt == seq - 3 && e.suffix[0] == 3 && e.tokens[0] == 2);
        for (uint32_t k = 1; k < e.prompt && k < 7; k++)
            assert_int_equal(e.tokens[e.prompt - k], 261);
        zo2t_dataset_get_info(d, &i);
        assert_int_equal(i.truncated, 1);
        zo2t_dataset_close(d);
    }
    /* All rows of a choice lose the same tokens, as many as the longest option needs. */
    d = load("{\"prompt\": \" the of" A6 "\", \"options\": [\" and\", \" and and and\", \" and and\"], \"label\": 0}",
             6, 2);
    zo2t_dataset_example(d, 0, &e);
    assert_true(e.prompt == 3 && e.suffix[0] == 1 && e.suffix[1] == 3 && e.suffix[2] == 2);
    assert_true(e.tokens[0] == 2 && e.tokens[1] == 261 && e.tokens[2] == 261 && e.tokens[3] == e.tokens[8]);
    zo2t_dataset_close(d);
    /* Ready tokens: as a text, or as prompt and completion; a first one that is BOS stays. */
    d = load("{\"tokens\": [2, 10, 11, 12, 13, 14]}\n{\"tokens\": [9, 10, 11, 12, 13, 14]}\n"
             "{\"tokens\": [2, 10, 11, 12, 13, 14], \"loss_from\": 4}\n"
             "{\"tokens\": [9, 10, 11, 12, 13, 14], \"loss_from\": 4}\n",
             4, 2);
    static const int32_t want[4][4] = {{2, 12, 13, 14}, {11, 12, 13, 14}, {2, 12, 13, 14}, {11, 12, 13, 14}};
    for (int k = 0; k < 4; k++) {
        zo2t_dataset_example(d, (uint64_t)k, &e);
        assert_memory_equal(e.tokens, want[k], sizeof want[k]);
        assert_int_equal(e.prompt, k < 2 ? 1 : 2);
        assert_int_equal(e.suffix[0], k < 2 ? 3 : 2);
    }
    zo2t_dataset_close(d);
}

static void bounds(void **state)
{
    (void)state;
    /* Loss tokens 1, 3, 2; rows 1 each. */
    zo2t_dataset *d = load("{\"tokens\": [5, 6]}\n{\"tokens\": [5, 6, 7, 8]}\n{\"tokens\": [5, 6, 7]}\n", 8, -1);
    zo2t_bounds b;
    static const struct {
        uint64_t lines, loss;
    } want[] = {{1, 3}, {2, 6}, {3, 8}, {4, 10}, {5, 13}};
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        assert_int_equal(zo2t_dataset_bounds(d, want[i].lines, &b), ZO2_OK);
        assert_true(b.rows == want[i].lines && b.seq == 4);
        assert_int_equal(b.loss_tokens, want[i].loss);
    }
    assert_error(zo2t_dataset_bounds(d, 0, &b), ZO2_ERR_ARG, "a batch of 0 lines");
    assert_error(zo2t_dataset_bounds(d, (uint64_t)1 << 32, &b), ZO2_ERR_ARG, "a batch of 4294967296 lines");
    zo2t_dataset_close(d);
    d = load("{\"prompt\": \"a\", \"options\": [\"a\", \"b\"], \"label\": 0}\n"
             "{\"prompt\": \"a\", \"options\": [\"a\", \"b\", \"c\"], \"label\": 0}\n",
             8, -1);
    assert_int_equal(zo2t_dataset_bounds(d, 1, &b), ZO2_OK);
    assert_true(b.rows == 3 && b.loss_tokens == 3);
    assert_int_equal(zo2t_dataset_bounds(d, 3, &b), ZO2_OK);
    assert_true(b.rows == 8 && b.loss_tokens == 8); /* the line of three may come twice in a row */
    assert_error(zo2t_dataset_bounds(d, UINT32_MAX, &b), ZO2_ERR_ARG, "rows");
    zo2t_dataset_close(d);
}

/* Counts of the tiny model's files, from an independent tokenizer in Python. */
static void tiny_files(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        zo2t_kind kind;
        uint64_t examples, rows, tokens, loss;
        uint32_t longest;
    } want[] = {
        {"wordnet_kind.train.jsonl", ZO2T_OPTIONS, 2000, 8000, 163556, 16000, 43},
        {"wordnet_kind.dev.jsonl", ZO2T_OPTIONS, 500, 2000, 41204, 4000, 37},
        {"wordnet_kind.test.jsonl", ZO2T_OPTIONS, 1000, 4000, 82064, 8000, 41},
        {"wordnet_verb.train.jsonl", ZO2T_OPTIONS, 1200, 4800, 81836, 8400, 37},
        {"wordnet_verb.dev.jsonl", ZO2T_OPTIONS, 400, 1600, 26736, 2800, 33},
        {"wordnet_verb.test.jsonl", ZO2T_OPTIONS, 1000, 4000, 67712, 7000, 34},
        {"proverbs.train.jsonl", ZO2T_LM, 500, 500, 12665, 12165, 66},
        {"proverbs.test.jsonl", ZO2T_LM, 200, 200, 5025, 4825, 48},
    };
    for (size_t k = 0; k < sizeof want / sizeof *want; k++) {
        char path[4096];
        snprintf(path, sizeof path, "%s/tiny-opt/data/%s", ZO2_TEST_DATA, want[k].name);
        zo2t_dataset *d;
        if (zo2t_dataset_load(&d, path, tokenizer, &(zo2t_dataset_opts){256, 4096, 2, NULL, 0, NULL, NULL}))
            fail_msg("%s", zo2_last_error());
        zo2t_dataset_info i;
        zo2t_dataset_get_info(d, &i);
        assert_int_equal(i.kind, want[k].kind);
        assert_int_equal(i.examples, want[k].examples);
        assert_int_equal(i.rows, want[k].rows);
        assert_int_equal(i.tokens, want[k].tokens);
        assert_int_equal(i.loss_tokens, want[k].loss);
        assert_int_equal(i.longest_row, want[k].longest);
        assert_int_equal(i.max_options, want[k].kind == ZO2T_OPTIONS ? 4 : 1);
        assert_int_equal(i.truncated, 0);
        zo2t_file f = test_read(ZO2_TEST_DATA "/tiny-opt/data", want[k].name);
        assert_int_equal(i.file_bytes, f.bytes);
        assert_int_equal(i.file_hash, XXH3_64bits(f.data, f.bytes));
        free((char *)(uintptr_t)f.data);
        zo2t_dataset_close(d);
    }
}

/* Lines across the blocks that files are read in; the hash doesn't depend on them. */
static void large_file(void **state)
{
    (void)state;
    size_t n = 0, lines = 3000, capacity = 4000000;
    char *data = malloc(capacity);
    for (size_t i = 0; i < lines; i++) {
        n += (size_t)sprintf(data + n, "{\"tokens\": [");
        for (size_t k = 0; k < 2 + i % 257; k++)
            n += (size_t)sprintf(data + n, "%s%zu", k ? "," : "", (i + k) % 4096);
        n += (size_t)sprintf(data + n, "]}\n");
    }
    char path[64];
    test_write(path, data, n);
    zo2t_dataset *d;
    assert_int_equal(zo2t_dataset_load(&d, path, NULL, &(zo2t_dataset_opts){1000, 4096, 2, NULL, 0, NULL, NULL}),
                     ZO2_OK);
    unlink(path);
    zo2t_dataset_info info;
    zo2t_dataset_get_info(d, &info);
    assert_int_equal(info.examples, lines);
    assert_int_equal(info.file_hash, XXH3_64bits(data, n));
    assert_int_equal(info.longest_row, 258);
    for (size_t i = 0; i < lines; i++) {
        zo2t_example e;
        zo2t_dataset_example(d, i, &e);
        assert_int_equal(e.suffix[0], 1 + i % 257);
        assert_int_equal(e.tokens[0], i % 4096);
        assert_int_equal(e.tokens[e.suffix[0]], (i + e.suffix[0]) % 4096);
    }
    zo2t_dataset_close(d);
    free(data);
}

static void bos(void **state)
{
    (void)state;
    zo2_pack_info info = {.vocab = 4096, .bos_token_id = 2}, none = {.vocab = 4096, .bos_token_id = -1};
    int32_t id = 99;
    assert_int_equal(zo2t_bos_parse("auto", NULL, &info, &id), ZO2_OK);
    assert_int_equal(id, 2);
    assert_int_equal(zo2t_bos_parse("auto", NULL, &none, &id), ZO2_OK);
    assert_int_equal(id, -1);
    assert_int_equal(zo2t_bos_parse("none", NULL, &info, &id), ZO2_OK);
    assert_int_equal(id, -1);
    assert_int_equal(zo2t_bos_parse("0", NULL, &info, &id), ZO2_OK);
    assert_int_equal(id, 0);
    assert_int_equal(zo2t_bos_parse("4095", NULL, &none, &id), ZO2_OK);
    assert_int_equal(id, 4095);
    static const char *const bad[] = {"", "-1", "2x", "all", " 2", "99999999999999999999"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_error(zo2t_bos_parse(bad[i], NULL, &info, &id), ZO2_ERR_ARG, "use auto, none or a token id");
    assert_error(zo2t_bos_parse("4096", NULL, &info, &id), ZO2_ERR_ARG,
                 "BOS id 4096 is outside the model's vocabulary");
    info.bos_token_id = 5000;
    assert_error(zo2t_bos_parse("auto", NULL, &info, &id), ZO2_ERR_ARG, "BOS id 5000");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kinds),  cmocka_unit_test(oddities),   cmocka_unit_test(truncation),
        cmocka_unit_test(bounds), cmocka_unit_test(tiny_files), cmocka_unit_test(large_file),
        cmocka_unit_test(bos),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
