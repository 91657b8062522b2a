/* Tokenizer files that are wrong, text that isn't UTF-8, and the byte alphabet. */
#include "tests/unit/tools/test_tokenizer_files.h"
#include "tools/text/json_file.h"
#include "tools/text/vocab.h"

#define MERGES "#version: 0.2\n"

static zo2_status try(const char *vocab, const char *merges, const char *map, const char *config, const char *added)
{
    zo2t_tokenizer_files f = {
        .vocab = {vocab, strlen(vocab)},
        .merges = {merges, strlen(merges)},
        .special_tokens_map = {map, map ? strlen(map) : 0},
        .tokenizer_config = {config, config ? strlen(config) : 0},
        .added_tokens = {added, added ? strlen(added) : 0},
    };
    zo2t_tokenizer *t = (zo2t_tokenizer *)1;
    zo2_status s = zo2t_tokenizer_open(&t, &f);
    if (s)
        assert_null(t);
    zo2t_tokenizer_close(t);
    return s;
}

static zo2_status try_extra(const char *extra, const char *merges, const char *map, const char *config,
                            const char *added)
{
    char *vocab = test_byte_vocab(extra);
    zo2_status s = try(vocab, merges, map, config, added);
    free(vocab);
    return s;
}

static void vocabulary(void **state)
{
    (void)state;
#define VOCAB(json, part)  assert_error(try(json, MERGES, NULL, NULL, NULL), ZO2_ERR_FORMAT, part)
#define EXTRA(extra, part) assert_error(try_extra(extra, MERGES, NULL, NULL, NULL), ZO2_ERR_FORMAT, part)
    assert_int_equal(try_extra("", MERGES, NULL, NULL, NULL), ZO2_OK);
    VOCAB("", "vocab.json line 1: not JSON");
    VOCAB("{\"a\": 1,\n\n}", "vocab.json line 3: not JSON");
    VOCAB("{\"a\": 1", "vocab.json line 1: not JSON");
    VOCAB("[1]", "vocab.json: not an object");
    VOCAB("{}", "vocab.json: no tokens");
    VOCAB("{\"a\": 1}", "for byte 0x00");
    VOCAB("{\"\": 1}", "vocab.json: a token is empty");
    EXTRA("\"a\": 9", "duplicate object key");
    EXTRA("\"xy\": 4", "both have id 4");
    EXTRA("\"xy\": 400, \"zz\": 400", "the tokens \"xy\" and \"zz\" both have id 400");
    EXTRA("\"xy\": -1", "token \"xy\" has id -1");
    EXTRA("\"xy\": 2147483648", "has id 2147483648, ids are 0 to 2147483647");
    EXTRA("\"xy\": 99999999999999999999", "the id of token \"xy\" is not an integer");
    EXTRA("\"xy\": 4.5", "the id of token \"xy\" is not an integer");
    EXTRA("\"xy\": \"4\"", "the id of token \"xy\" is not an integer");
    EXTRA("\"x\\u001b[2J\": null", "token \"x\\x1B[2J\"");
    assert_int_equal(try_extra("\"xy\": 2147483647", MERGES, NULL, NULL, NULL), ZO2_OK);

    zo2t_vocab v;
    assert_error(zo2t_vocab_load(&v, "", ZO2T_TEXT_FILE_BYTES + 1), ZO2_ERR_FORMAT, "vocab.json: 67108865 bytes");
    zo2t_vocab_free(&v);
    zo2t_tokenizer *t;
    assert_error(zo2t_tokenizer_open(&t, &(zo2t_tokenizer_files){.merges = {"", 0}}), ZO2_ERR_NOTFOUND, "vocab.json");
    assert_error(zo2t_tokenizer_open(&t, &(zo2t_tokenizer_files){.vocab = {"", 0}}), ZO2_ERR_NOTFOUND, "merges.txt");
    assert_null(t);
    zo2t_tokenizer_close(NULL);

    /* Many tokens with falling ids: no quadratic time. */
    size_t n = 400000, at = 0;
    char *json = malloc(n * 24);
    at += (size_t)sprintf(json, "{");
    for (size_t i = 0; i < n; i++)
        at += (size_t)sprintf(json + at, "%s\"t%zu\": %zu", i ? "," : "", i, n - i);
    at += (size_t)sprintf(json + at, "}");
    assert_int_equal(zo2t_vocab_load(&v, json, at), ZO2_OK);
    size_t bytes;
    assert_memory_equal(zo2t_vocab_text(&v, 1, &bytes), "t399999", 7);
    assert_int_equal(zo2t_vocab_find(&v, "t0", 2), 400000);
    assert_null(zo2t_vocab_text(&v, 0, &bytes));
    assert_null(zo2t_vocab_text(&v, 400001, &bytes));
    assert_null(zo2t_vocab_text(&v, -1, &bytes));
    zo2t_vocab_free(&v);
    free(json);
}

static void merges(void **state)
{
    (void)state;
#define MERGE(merges, part) assert_error(try_extra("\"ab\": 300", merges, NULL, NULL, NULL), ZO2_ERR_FORMAT, part)
    assert_int_equal(try_extra("\"ab\": 300", MERGES "a b", NULL, NULL, NULL), ZO2_OK);
    MERGE("", "merges.txt line 1: does not begin with \"#version\"");
    MERGE("a b\n", "merges.txt line 1");
    MERGE(MERGES "a b\nb\n", "merges.txt line 3: \"b\" is not two tokens");
    MERGE(MERGES "a  b\n", "merges.txt line 2: \"a  b\" is not two tokens");
    MERGE(MERGES " b\n", "line 2: \" b\" is not two tokens");
    MERGE(MERGES "a \n", "line 2: \"a \" is not two tokens");
    MERGE(MERGES "a b c\n", "line 2: \"a b c\" is not two tokens");
    MERGE(MERGES "a b\n\xFF\xFE c\n", "line 3: token \"\\xFF\\xFE\" is not in vocab.json");
    MERGE(MERGES "a nothing\n", "line 2: token \"nothing\" is not in vocab.json");
    MERGE(MERGES "b a\n", "line 2: the merged token \"ba\" is not in vocab.json");
    MERGE(MERGES "a b\n\na b\n", "line 4: the pair \"a\" \"b\" is there already");
    char *longest = malloc(5001);
    memset(longest, 'q', 5000);
    longest[5000] = '\0';
    char *file = malloc(11000), *extra = malloc(6000);
    sprintf(file, MERGES "%s a\n", longest);
    sprintf(extra, "\"%s\": 300", longest);
    assert_error(try_extra(extra, file, NULL, NULL, NULL), ZO2_ERR_FORMAT, "qqq...\" is not in vocab.json");
    free(longest);
    free(file);
    free(extra);
}

static void specials(void **state)
{
    (void)state;
#define MAP(json, part)            assert_error(try_extra("", MERGES, json, NULL, NULL), ZO2_ERR_FORMAT, part)
#define CONFIG(json, status, part) assert_error(try_extra("", MERGES, NULL, json, NULL), status, part)
#define ADDED(json, part)          assert_error(try_extra("", MERGES, NULL, NULL, json), ZO2_ERR_FORMAT, part)
    MAP("{", "special_tokens_map.json line 1: not JSON");
    MAP("[]", "special_tokens_map.json: not an object");
    /* Tokens without id get the next ones, as long as there are any. */
    assert_int_equal(try_extra("\"xy\": 2147483646", MERGES,
                               "{\"bos_token\": \"xy\", \"pad_token\": \"P\", "
                               "\"eos_token\": \"<s>\", \"unk_token\": \"Q Q\"}",
                               NULL, NULL),
                     ZO2_OK);
    assert_error(try_extra("\"xy\": 2147483647", MERGES, "{\"bos_token\": \"xy\", \"pad_token\": \"[P]\"}", NULL, NULL),
                 ZO2_ERR_FORMAT, "token \"[P]\" has id 214748364");
    MAP("{\"bos_token\": 1}", "\"bos_token\" is neither a string nor an object");
    MAP("{\"bos_token\": {\"content\": 1}}", "\"bos_token\" is neither a string nor an object");
    MAP("{\"additional_special_tokens\": \"a\"}", "\"additional_special_tokens\" is not a list");
    CONFIG("{\"split_special_tokens\": true}", ZO2_ERR_UNSUPPORTED, "\"split_special_tokens\": true");
    CONFIG("{\"tokenizer_class\": \"Qwen2Tokenizer\"}", ZO2_ERR_UNSUPPORTED, "of class \"Qwen2Tokenizer\"");
    CONFIG("{\"add_prefix_space\": true}", ZO2_ERR_UNSUPPORTED, "tokenizer_config.json: \"add_prefix_space\": true");
    CONFIG("{\"added_tokens_decoder\": []}", ZO2_ERR_FORMAT, "\"added_tokens_decoder\" is not an object");
    CONFIG("{\"added_tokens_decoder\": {\"x\": \"a\"}}", ZO2_ERR_FORMAT, "the key \"x\", which is no id");
    CONFIG("{\"added_tokens_decoder\": {\"-5\": \"a\"}}", ZO2_ERR_FORMAT, "which is no id");
    CONFIG("{\"added_tokens_decoder\": {\"9999999999\": \"zz\"}}", ZO2_ERR_FORMAT, "has id 9999999999");
    CONFIG("{\"added_tokens_decoder\": {\"5\": null}}", ZO2_ERR_FORMAT, "added token 5 is null");
    CONFIG("{\"added_tokens_decoder\": {\"5\": \"zz\"}}", ZO2_ERR_FORMAT, "both have id 5");
    ADDED("{\"</s>\": 7}", "added_tokens.json: token \"</s>\" has id 7 here and 2 elsewhere");
    ADDED("{\"zz\": \"7\"}", "added_tokens.json: the id of token \"zz\" is not an integer");
    ADDED("{\"\": 700}", "added_tokens.json: a token is empty");
}

static void text(void **state)
{
    (void)state;
    zo2t_tokenizer *t = test_tiny_tokenizer();
    static const struct {
        const char *text;
        size_t bytes;
        const char *part;
    } bad[] = {
        {"a\xFF", 2, "byte 1 "},
        {"\x80", 1, "byte 0 "},             /* continuation alone */
        {"ab\xC3", 3, "byte 2 "},           /* cut */
        {"\xC0\x80", 2, "byte 0 "},         /* overlong */
        {"\xE0\x9F\xBF", 3, "byte 0 "},     /* overlong */
        {"x\xED\xA0\x80", 4, "byte 1 "},    /* surrogate */
        {"\xF0\x8F\xBF\xBF", 4, "byte 0 "}, /* overlong */
        {"\xF4\x90\x80\x80", 4, "byte 0 "}, /* above U+10FFFF */
        {"\xF5\x80\x80\x80", 4, "byte 0 "},
        {"\xE2\x82", 2, "byte 0 "},
    };
    zo2t_ids out = {0};
    assert_int_equal(zo2t_encode(t, "\xF4\x8F\xBF\xBF\xEE\x80\x80\xED\x9F\xBF", 10, 2, &out), ZO2_OK);
    size_t n = out.n;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_error(zo2t_encode(t, bad[i].text, bad[i].bytes, 2, &out), ZO2_ERR_FORMAT, bad[i].part);
        assert_int_equal(out.n, n);
    }
    char *back = (char *)1;
    assert_error(zo2t_decode(t, (const int32_t[]){5, 4096}, 2, &back, NULL), ZO2_ERR_ARG, "4096 is not in");
    assert_null(back);
    assert_error(zo2t_decode(t, (const int32_t[]){-1}, 1, &back, NULL), ZO2_ERR_ARG, "-1 is not in");
    assert_int_equal(zo2t_decode(t, NULL, 0, &back, NULL), ZO2_OK);
    assert_string_equal(back, "");
    free(back);
    zo2t_ids_free(&out);
    zo2t_tokenizer_close(t);
}

static void alphabet(void **state)
{
    (void)state;
    uint8_t seen[512] = {0};
    for (int b = 0; b < 256; b++) {
        uint32_t cp = zo2t_byte_char((uint8_t)b);
        assert_true(cp < 512 && !seen[cp]);
        seen[cp] = 1;
        assert_int_equal(zo2t_char_byte(cp), b);
        char text[2];
        size_t at = 0, n = zo2t_utf8_put2(cp, text);
        assert_int_equal(zo2t_utf8_next(text, &at), cp);
        assert_int_equal(at, n);
    }
    int chars = 0;
    for (uint32_t cp = 0; cp < 0x1000; cp++)
        chars += zo2t_char_byte(cp) >= 0;
    assert_int_equal(chars, 256);
    assert_int_equal(zo2t_byte_char(' '), 0x120);
    assert_int_equal(zo2t_byte_char('\n'), 0x10A);
    size_t at = 0;
    assert_int_equal(zo2t_utf8_next("\xF0\x9F\x91\xA8", &at), 0x1F468);
    assert_int_equal(at, 4);
}

/* Files cut anywhere and with flipped bits: an error or a tokenizer that works, never anything else. */
static void damaged(void **state)
{
    (void)state;
    char *vocab = test_byte_vocab("\"ab\": 300, \"abc\": 301, \"\xC4\xA0"
                                  "a\": 302");
    char merge[] = MERGES "a b\nab c\n\xC4\xA0 a\n";
    char map[] =
        "{\"bos_token\": {\"content\": \"</s>\", \"lstrip\": false}, \"additional_special_tokens\": [\"<s>\"]}";
    char config[] = "{\"unk_token\": \"<unk>\", \"added_tokens_decoder\": {\"400\": {\"content\": \"<x>\"}}}";
    char *file[] = {vocab, merge, map, config};
    size_t bytes[] = {strlen(vocab), strlen(merge), strlen(map), strlen(config)};
    size_t opened = 0, refused = 0;
    for (size_t i = 0; i < 4; i++) {
        for (size_t at = 0; at < bytes[i]; at += i ? 1 : 37) {
            for (int change = 0; change < 9; change++) {
                size_t n[4];
                memcpy(n, bytes, sizeof n);
                char keep = file[i][at];
                if (change < 8)
                    file[i][at] = (char)(keep ^ 1 << change);
                else
                    n[i] = at;
                zo2t_tokenizer_files f = {{vocab, n[0]}, {merge, n[1]}, {map, n[2]}, {config, n[3]}, {0}, {0}};
                zo2t_tokenizer *t;
                zo2_status s = zo2t_tokenizer_open(&t, &f);
                if (s) {
                    assert_true(s == ZO2_ERR_FORMAT || s == ZO2_ERR_UNSUPPORTED);
                    assert_null(t);
                    refused++;
                } else {
                    zo2t_ids out = {0};
                    char *back;
                    assert_int_equal(zo2t_encode(t, "abc <s> abcab</s>", 17, 2, &out), ZO2_OK);
                    assert_int_equal(zo2t_decode(t, out.id + 1, out.n - 1, &back, NULL), ZO2_OK);
                    free(back);
                    zo2t_ids_free(&out);
                    opened++;
                }
                zo2t_tokenizer_close(t);
                file[i][at] = keep;
            }
        }
    }
    assert_true(opened > 100 && refused > 1000);
    free(vocab);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vocabulary), cmocka_unit_test(merges),   cmocka_unit_test(specials),
        cmocka_unit_test(text),       cmocka_unit_test(alphabet), cmocka_unit_test(damaged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
