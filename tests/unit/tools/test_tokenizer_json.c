/* tokenizer.json: what is refused, by name; what is odd, in notes; and a tokenizer beside a model: BOS and ids. */
#include "tests/unit/tools/test_tokenizer_files.h"
#include "tools/text/fit.h"

#include <sys/stat.h>

#define LEVEL  "{\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"use_regex\": true}"
#define MERGES "[[\"a\", \"b\"], \"ab c\"]"
#define EXTRA  "\"ab\": 260, \"abc\": 261"

/* A tokenizer.json of the byte vocabulary with `extra` tokens: `model` continues the model, `parts` the file. To be freed. */
static char *make_json(const char *extra, const char *model, const char *parts)
{
    char *vocab = test_byte_vocab(extra);
    const size_t n = strlen(vocab) + strlen(model) + strlen(parts) + 64;
    char *text = malloc(n);
    assert_non_null(text);
    snprintf(text, n, "{\"model\": {\"vocab\": %s, %s}%s}", vocab, model, parts);
    free(vocab);
    return text;
}

static zo2t_file text_file(const char *text)
{
    return (zo2t_file){text, text ? strlen(text) : 0};
}

static zo2_status try(const char *json)
{
    zo2t_tokenizer *t = (zo2t_tokenizer *)1;
    zo2_status s = zo2t_tokenizer_open(&t, &(zo2t_tokenizer_files){.tokenizer = text_file(json)});
    if (s)
        assert_null(t);
    zo2t_tokenizer_close(t);
    return s;
}

static zo2_status try_parts(const char *model, const char *parts)
{
    char *json = make_json(EXTRA, model, parts);
    zo2_status s = try(json);
    free(json);
    return s;
}

static zo2t_tokenizer *made(const char *parts, const char *config, const char *vocab, const char *merges)
{
    char *json = make_json(EXTRA, "\"type\": \"BPE\", \"merges\": " MERGES, parts);
    zo2t_tokenizer_files f = {.tokenizer = text_file(json),
                              .tokenizer_config = text_file(config),
                              .vocab = text_file(vocab),
                              .merges = text_file(merges)};
    zo2t_tokenizer *t;
    if (zo2t_tokenizer_open(&t, &f))
        fail_msg("%s", zo2_last_error());
    free(json);
    return t;
}

#define BPE   "\"type\": \"BPE\", \"merges\": " MERGES
#define WORDS ", \"pre_tokenizer\": " LEVEL
#define NONE  "not supported by this version"
#define SPLIT \
    "{\"type\": \"Split\", \"pattern\": {\"Regex\": \"\\\\w+\"}, \"behavior\": \"Isolated\", \"invert\": false}"
#define NAMED          ", \"special_tokens\": {\"<s>\": {\"id\": \"<s>\", \"ids\": [0]}}}"
#define FRONT          "{\"SpecialToken\": {\"id\": \"<s>\", \"type_id\": 0}}"
#define TEXT_A         "{\"Sequence\": {\"id\": \"A\", \"type_id\": 0}}"
#define AROUND(single) ", \"post_processor\": {\"type\": \"TemplateProcessing\", \"single\": [" single "]" NAMED

static void refused(void **state)
{
    (void)state;
#define UNSUPPORTED(model, parts, part) assert_error(try_parts(model, parts), ZO2_ERR_UNSUPPORTED, part)
#define MALFORMED(model, parts, part)   assert_error(try_parts(model, parts), ZO2_ERR_FORMAT, part)
    assert_int_equal(try_parts(BPE, WORDS), ZO2_OK);
    assert_int_equal(try_parts("\"merges\": []", WORDS), ZO2_OK); /* old files name no type */
    UNSUPPORTED("\"type\": \"WordPiece\"", WORDS, "models of type \"WordPiece\" are " NONE);
    UNSUPPORTED("\"unk_id\": 0", WORDS, "other than BPE");
    UNSUPPORTED(BPE ", \"dropout\": 0.1", WORDS, "\"dropout\"");
    UNSUPPORTED(BPE ", \"end_of_word_suffix\": \"</w>\"", WORDS, "\"end_of_word_suffix\"");
    assert_int_equal(
        try_parts(BPE ", \"dropout\": 0.0, \"continuing_subword_prefix\": \"\", \"byte_fallback\": false", WORDS),
        ZO2_OK);
    UNSUPPORTED(BPE, WORDS ", \"normalizer\": {\"type\": \"Lowercase\"}", "\"normalizer\" \"Lowercase\" is " NONE);
    UNSUPPORTED(BPE, "", "neither \"byte_fallback\" nor \"unk_token\"");
    MALFORMED(BPE ", \"byte_fallback\": true", "", "\"byte_fallback\", but no token \"<0x00>\"");
    MALFORMED(BPE ", \"unk_token\": \"<none>\"", "", "the \"unk_token\" \"<none>\" is not in its vocabulary");
    UNSUPPORTED(BPE, ", \"pre_tokenizer\": {\"type\": \"BertPreTokenizer\"}",
                "\"pre_tokenizer\" \"BertPreTokenizer\" is " NONE);
    UNSUPPORTED(BPE, ", \"pre_tokenizer\": {\"type\": \"ByteLevel\", \"add_prefix_space\": true}",
                "\"add_prefix_space\": true");
    UNSUPPORTED(BPE, ", \"pre_tokenizer\": {\"type\": \"ByteLevel\", \"use_regex\": false}", "without a pattern");
    UNSUPPORTED(BPE, ", \"pre_tokenizer\": {\"type\": \"Sequence\", \"pretokenizers\": [" SPLIT ", " LEVEL "]}",
                "\"Split\" pattern \"\\w+\" is " NONE);
    UNSUPPORTED(BPE, ", \"pre_tokenizer\": {\"type\": \"Sequence\", \"pretokenizers\": [" LEVEL ", " LEVEL "]}",
                "\"ByteLevel\" behind another one");
    UNSUPPORTED(BPE, WORDS ", \"post_processor\": {\"type\": \"Other\"}", "\"post_processor\" \"Other\" is " NONE);
    UNSUPPORTED(BPE, WORDS AROUND(FRONT ", " FRONT ", " TEXT_A), "puts 2 tokens in front");
    UNSUPPORTED(BPE, WORDS AROUND(FRONT), "doesn't hold the text once");

    assert_error(try("{"), ZO2_ERR_FORMAT, "tokenizer.json line 1: not JSON");
    assert_error(try("{}"), ZO2_ERR_FORMAT, "tokenizer.json: no object \"model\"");
    assert_error(try("{\"model\": {\"merges\": [], \"vocab\": {\"a\": 0}}, \"pre_tokenizer\": " LEVEL "}"),
                 ZO2_ERR_FORMAT, "tokenizer.json: no token \"\xC4\x8A\" for byte 0x0A");
    MALFORMED("\"type\": \"BPE\"", WORDS, "\"merges\" is not a list");
    MALFORMED("\"merges\": [[\"a\"]]", WORDS, "tokenizer.json merge 1: neither");
    MALFORMED("\"merges\": [[\"a\", \"b\"], \"a  b\"]", WORDS, "tokenizer.json merge 2: \"a  b\" is not two tokens");
    MALFORMED("\"merges\": [[\"a\", \"c\"]]", WORDS,
              "tokenizer.json merge 1: the merged token \"ac\" is not in its vocabulary");
    MALFORMED(BPE, WORDS ", \"added_tokens\": [{\"content\": \"x\"}]", "added token 1 has no \"id\"");
    MALFORMED(BPE, WORDS ", \"added_tokens\": [{\"id\": 4, \"content\": \"<x>\"}]", "both have id 4");
    MALFORMED(BPE, WORDS ", \"pre_tokenizer\": {}", "duplicate object key");
    MALFORMED(BPE, ", \"pre_tokenizer\": {}", "\"pre_tokenizer\" has no \"type\"");
}

/* Exactly one note, with `part` in it; NULL: none. */
static void check_note(zo2t_tokenizer *t, const char *part)
{
    const char *note = zo2t_tokenizer_note(t, 0);
    if (!part ? note != NULL : !note || !strstr(note, part))
        fail_msg("the note is \"%s\", not one with \"%s\"", note ? note : "", part ? part : "");
    assert_null(note ? zo2t_tokenizer_note(t, 1) : NULL);
    zo2t_tokenizer_close(t);
}

static void notes(void **state)
{
    (void)state;
    char *same = test_byte_vocab(EXTRA), *lacks = test_byte_vocab("\"ab\": 260"),
         *swapped = test_byte_vocab("\"ab\": 261, \"abc\": 260"), *more = test_byte_vocab(EXTRA ", \"abcd\": 262");
    static const char merges[] = "#version: 0.2\na b\r\n\nab c\n";
    check_note(made(WORDS, NULL, NULL, NULL), NULL);
    check_note(made(WORDS, NULL, same, merges), NULL);
    check_note(
        made(WORDS, NULL, lacks, merges),
        "disagree about 1 token, the first of them \"abc\": id 261 in tokenizer.json, none in the other file; tokenizer.json is "
        "used");
    check_note(made(WORDS, NULL, swapped, merges),
               "2 tokens, the first of them \"ab\": id 261 in vocab.json, 260 in the other");
    check_note(made(WORDS, NULL, more, merges), "1 token, the first of them \"abcd\": id 262 in vocab.json, none in");
    check_note(made(WORDS, NULL, "{", merges), "vocab.json line 1: not JSON");
    check_note(made(WORDS, NULL, same, "#version: 0.2\nab c\na b\n"),
               "disagree from merge 1 on; tokenizer.json is used");
    check_note(made(WORDS, NULL, same, "#version: 0.2\na b\n"), "disagree from merge 2 on, where merges.txt ends");
    check_note(made(WORDS, NULL, same, "#version: 0.2\na b\nab c\nb c\n"),
               "from merge 3 on, where the list in tokenizer.json ends");
    /* Added tokens may be in one of them only. */
    check_note(made(WORDS ", \"added_tokens\": [{\"id\": 262, \"content\": \"abcd\"}]", NULL, more, merges), NULL);
    check_note(made(WORDS ", \"added_tokens\": [{\"id\": 261, \"content\": \"abc\"}]", NULL, lacks, merges), NULL);

    check_note(
        made(WORDS ", \"added_tokens\": [{\"id\": 300, \"content\": \"<x>\"}]", NULL, NULL, NULL),
        "the added token \"<x>\" has id 300, as the files say; Hugging Face's fast tokenizers number added tokens from 262");
    check_note(made(WORDS, "{\"pad_token\": \"[P]\", \"bos_token\": null, \"eos_token\": null, \"unk_token\": null}",
                    NULL, NULL),
               "the special token \"[P]\" is named, but no file has its id: it gets the next free one, 262");
    check_note(made(WORDS AROUND(TEXT_A ", " FRONT), NULL, NULL, NULL), "puts 1 token behind every text; zo2 doesn't");
    free(same);
    free(lacks);
    free(swapped);
    free(more);
}

static void bos(void **state)
{
    (void)state;
    static const struct {
        const char *parts, *config;
        int32_t bos;
    } cases[] = {
        {WORDS, NULL, -1},
        {WORDS ", \"post_processor\": null", "{\"add_bos_token\": true, \"bos_token\": \"<s>\"}",
         -1}, /* tokenizer.json decides */
        {WORDS ", \"post_processor\": " LEVEL, NULL, -1},
        {WORDS AROUND(FRONT ", " TEXT_A), NULL, 0},
        {WORDS ", \"post_processor\": {\"type\": \"RobertaProcessing\", \"cls\": [\"</s>\", 2], \"sep\": [\"<s>\", 0]}",
         NULL, 2},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        zo2t_tokenizer *t = made(cases[i].parts, cases[i].config, NULL, NULL);
        assert_int_equal(zo2t_tokenizer_bos(t), cases[i].bos);
        zo2t_tokenizer_close(t);
    }
}

/* What a tokenizer with that BOS (-2: vocab.json and merges.txt alone) and a model's own one make of "auto", and the note. */
static void check_fit(const char *parts, int32_t own, int32_t expected, const char *part)
{
    zo2t_notes list = {0};
    int32_t id = -7;
    const zo2_pack_info model = {.vocab = 262, .bos_token_id = own};
    char *vocab = test_byte_vocab(EXTRA);
    zo2t_tokenizer *t;
    if (parts)
        t = made(parts, NULL, NULL, NULL);
    else
        assert_int_equal(zo2t_tokenizer_open(&t, &(zo2t_tokenizer_files){.vocab = text_file(vocab),
                                                                         .merges = text_file("#version: 0.2\n")}),
                         ZO2_OK);
    assert_int_equal(zo2t_bos_parse("auto", t, &model, &id), ZO2_OK);
    assert_int_equal(id, expected);
    assert_int_equal(zo2t_bos_parse("3", t, &model, &id), ZO2_OK);
    assert_int_equal(id, 3);
    assert_int_equal(zo2t_fit_bos(t, &model, &list), ZO2_OK);
    assert_int_equal(list.n, part != NULL);
    if (part && !strstr(list.text[0], part))
        fail_msg("\"%s\" is not in \"%s\"", part, list.text[0]);
    zo2t_notes_free(&list);
    zo2t_tokenizer_close(t);
    free(vocab);
}

static void fit(void **state)
{
    (void)state;
    check_fit(WORDS, -1, -1, NULL);
    check_fit(WORDS, 2, -1,
              "bos_token_id is 2, but the tokenizer puts no token in front of a text, so none is: --bos 2");
    check_fit(WORDS AROUND(FRONT ", " TEXT_A), 0, 0, NULL);
    check_fit(WORDS AROUND(FRONT ", " TEXT_A), 2, 0, "bos_token_id is 2, but the tokenizer puts token 0 in front");
    check_fit(WORDS AROUND(FRONT ", " TEXT_A), -1, 0, "bos_token_id is none, but the tokenizer puts token 0 in front");
    check_fit(NULL, 2, 2, "files don't say whether");
    check_fit(NULL, -1, -1, NULL);

    zo2t_notes list = {0};
    zo2t_tokenizer *t = made(WORDS, NULL, NULL, NULL);
    assert_int_equal(zo2t_fit_ids(t, &(zo2_pack_info){.vocab = 262}, &list), ZO2_OK);
    assert_int_equal(list.n, 0);
    assert_int_equal(zo2t_fit_ids(t, &(zo2_pack_info){.vocab = 261}, &list), ZO2_OK);
    assert_int_equal(list.n, 1);
    assert_non_null(strstr(list.text[0], "ids up to 261, the model's vocabulary ends with 260"));
    zo2t_notes_free(&list);
    zo2t_tokenizer_close(t);
}

/* The tiny model's tokenizer.json alone gives what its vocab.json and merges.txt give. */
static void folder(void **state)
{
    (void)state;
    static const char text[] = "What is <s> a  na\xC3\xAFve</s><pad> it's 1212";
    zo2t_file json = test_read(ZO2_TEST_DATA "/tiny-opt/model", "tokenizer.json");
    zo2t_tokenizer *both, *alone, *none;
    zo2t_ids x = {0}, y = {0};
    assert_int_equal(zo2t_tokenizer_open_folder(&both, ZO2_TEST_DATA "/tiny-opt/model"), ZO2_OK);
    assert_int_equal(zo2t_tokenizer_open(&alone, &(zo2t_tokenizer_files){.tokenizer = json}), ZO2_OK);
    assert_null(zo2t_tokenizer_note(both, 0));
    assert_int_equal(zo2t_tokenizer_bos(both), 2);
    assert_int_equal(zo2t_tokenizer_bos(alone), 2);
    assert_int_equal(zo2t_tokenizer_size(alone), 4096);
    assert_int_equal(zo2t_encode(both, text, sizeof text - 1, -1, &x), ZO2_OK);
    assert_int_equal(zo2t_encode(alone, text, sizeof text - 1, -1, &y), ZO2_OK);
    assert_int_equal(x.n, y.n);
    assert_memory_equal(x.id, y.id, x.n * sizeof *x.id);
    assert_error(zo2t_tokenizer_open_folder(&none, ZO2_TEST_DATA "/tokenizers"), ZO2_ERR_NOTFOUND,
                 "neither tokenizer.json nor vocab.json");
    assert_null(none);

    char path[64] = "/tmp/zo2-text-XXXXXX", inner[96];
    assert_non_null(mkdtemp(path));
    snprintf(inner, sizeof inner, "%s/tokenizer.json", path);
    assert_int_equal(mkdir(inner, 0700), 0);
    assert_error(zo2t_tokenizer_open_folder(&none, path), ZO2_ERR_IO, "tokenizer.json: Is a directory");
    rmdir(inner);
    rmdir(path);
    zo2t_ids_free(&x);
    zo2t_ids_free(&y);
    zo2t_tokenizer_close(both);
    zo2t_tokenizer_close(alone);
    free((char *)(uintptr_t)json.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refused), cmocka_unit_test(notes),  cmocka_unit_test(bos),
        cmocka_unit_test(fit),     cmocka_unit_test(folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
