/* Data files that are wrong: every message, and files damaged at random. */
#include "tests/unit/tools/test_tokenizer_files.h"
#include "tests/unit/tools/tiny_tokenizer_testing.h"
#include "tools/text/dataset.h"

static zo2_status try(zo2t_tokenizer *t, const void *data, size_t bytes, uint32_t seq, uint32_t vocab, int32_t bos)
{
    char path[64];
    zo2t_dataset *d = (zo2t_dataset *)1;
    test_write(path, data, bytes);
    zo2_status s = zo2t_dataset_load(&d, path, t, &(zo2t_dataset_opts){seq, vocab, bos, NULL, 0, NULL, NULL});
    unlink(path);
    if (s)
        assert_null(d);
    zo2t_dataset_close(d);
    return s;
}

#define BAD(line, part) assert_error(try(tokenizer, line, sizeof line - 1, 16, 4096, 2), ZO2_ERR_FORMAT, part)
#define OPTIONS(rest)   "{\"prompt\": \"a\", \"options\": " rest "}"

static void lines(void **state)
{
    (void)state;
    static const char good[] = "{\"text\": \"abc\"}\n";
    assert_int_equal(try(tokenizer, good, sizeof good - 1, 16, 4096, 2), ZO2_OK);
    BAD("", "no examples in the file");
    BAD("\n  \n\t\r\n", "no examples in the file");
    BAD("{\"text\": \"abc\"}\n\nabc\n", "line 3: not JSON");
    BAD("{\"text\": \"abc\"}\n{\"text\": \"abc\n", "line 2: not JSON");
    BAD("{\"text\": \"abc\"} {\"text\": \"abc\"}\n", "line 1: not JSON");
    BAD("{\"text\": \"a\", \"text\": \"b\"}", "line 1: not JSON: duplicate object key");
    BAD("{\"text\": \"\\ud800\"}", "line 1: not JSON");
    BAD("{\"text\": \"a\0b\"}", "line 1: not JSON");
    BAD("{\"text\": \"abc\"}\n[1]\n", "line 2: not a JSON object");
    BAD("3\n", "line 1: not");
    BAD("{\"text\": \"abc\"}\n{\"text\": \"ab\xFF\"}\n", "line 2: not UTF-8 at byte 12 of the line");
    BAD("\xFF\xFE{\0", "line 1: not UTF-8 at byte 0");
    BAD("{}", "line 1: has none of the keys \"text\", \"prompt\", \"tokens\" and \"messages\"");
    BAD("{\"Text\": \"a\"}", "has none of the keys");
    BAD("{\"completion\": \"a\"}", "has \"completion\" without a \"prompt\"");
    BAD("{\"options\": [\"a\"], \"label\": 0}", "has \"options\" without a \"prompt\"");
    BAD("{\"prompt\": \"a\"}", "has a \"prompt\" without \"completion\" or \"options\"");
    BAD("{\"prompt\": \"a\", \"text\": \"b\"}", "has more than one of");
    BAD("{\"tokens\": [1, 2], \"text\": \"b\"}", "has more than one of");
    BAD("{\"prompt\": \"a\", \"completion\": \"b\", \"options\": [\"a\", \"b\"]}",
        "has both \"completion\" and \"options\"");
    BAD("{\"text\": \"abc\"}\n{\"prompt\": \"a\", \"completion\": \"b\"}\n" OPTIONS("[\"a\", \"b\"], \"label\": 0"),
        "line 3: is an options line, line 1 is a language-model line");
    BAD("\n" OPTIONS("[\"a\", \"b\"], \"label\": 0") "\n{\"text\": \"abc\"}",
        "line 3: is a language-model line, line 2 is an options line");
}

/* What a file is instead, by a line of it that was refused; a command for it is tried in tests/cli/test_tune_data.sh. */
static void foreign(void **state)
{
    (void)state;
#define FIRST(line, part) BAD(line "\n", "and data are one JSON object a line; " part)
    FIRST("\x1F\x8B\x08\0\0\0\0\0", "this is a gzip file");
    FIRST("\x28\xB5\x2F\xFD\x04", "this is a zstd file");
    FIRST("PK\x03\x04\x14", "this is a zip archive");
    FIRST("PAR1\x15\x04", "this is a Parquet file");
    FIRST("\xFF\xFE{\0\"\0", "this is UTF-16: ");
    FIRST("\xFF\xFE\0\0{\0\0\0", "this is UTF-32: ");
    FIRST("{\0\"\0t\0", "this is UTF-16 without a mark: iconv -f UTF-16LE");
    FIRST("\0{\0\"", "this is UTF-16 without a mark: iconv -f UTF-16BE");
    FIRST("\x80\x04\x95\x01", "this is a Python pickle");
    FIRST("\x20\x01\0\0\0\0\0\0{\"a\"", "this is a safetensors file");
    FIRST("version https://git-lfs.github.com/spec/v1", "this is a pointer of Git LFS");
    FIRST("<!DOCTYPE html>", "this is a web page");
    FIRST("Entry not found", "this is a server's answer");
    FIRST("[", "this is a JSON array: jq");
    FIRST("[{\"text\": \"a\"},", "this is a JSON array: jq");
    FIRST("[2, 17, 18]", "this is an array of numbers");
    FIRST("[[2, 17]]", "this is a JSON array");
    FIRST("{", "the object doesn't end in its line");
    FIRST("{\"text\": \"a}\\\"}\"", "the object doesn't end in its line");
    FIRST("{\"text\": \"a}\"},", "there is a comma behind the object");
    FIRST("{\"text\": \"a\"} {\"text\": \"b\"}", "there is more than one object in the line");
    FIRST("{\"text\": \"a\"}\r{\"text\": \"b\"}", "there is more than one object in the line");
    FIRST("{\"text\": \"a\"}\xEF\xBB\xBF{\"text\": \"b\"}", "there is a byte order mark behind the object");
    FIRST("{'text': 'a'}", "this is Python's notation");
    FIRST("\"a text\"", "this is a JSON string");
    FIRST("text,label", "this looks like comma-separated values");
    FIRST("\"text\",\"label\"", "this is a JSON string"); /* a guess may be wrong, the line and its fault are right */
    FIRST("prompt\tcompletion", "this looks like tab-separated values");
    FIRST("Once upon a time, there was a text.", "this looks like plain text");
    /* nothing is known of these, and further down a line of text is no file of text */
    BAD("{\"text\": }\n", "one JSON object a line");
    assert_null(strstr(zo2_last_error(), "; "));
    BAD("\x01\x02\n", "one JSON object a line");
    assert_null(strstr(zo2_last_error(), "; "));
    BAD("{\"text\": \"abc\"}\nOnce upon a time\n", "one JSON object a line");
    assert_null(strstr(zo2_last_error(), "; "));
    BAD("{\"text\": \"abc\"}\n\xEF\xBB\xBF{\"text\": \"abc\"}\n", "line 2: not JSON: ");
    assert_non_null(strstr(zo2_last_error(), "it begins with a byte order mark, which only a file's first line may"));
    /* keys that a line has instead */
    BAD("{\"turns\": [{\"role\": \"user\"}]}", "; it has \"turns\"; for a line of each entry: jq -c '.turns[]'");
    BAD("{\"messages\": [{\"role\": \"user\"}]}",
        "line 1: \"messages\" need the model's chat template: there is no chat template; render it beforehand");
    BAD("{\"a\": 1, \"b\": 2, \"c\": 3, \"d\": 4, \"e\": 5}", "; it has \"a\", \"b\", \"c\", \"d\" and more");
    BAD("{\"it's\": [{}]}", "; it has \"it's\"");
    assert_null(strstr(zo2_last_error(), "jq"));
}

static void values(void **state)
{
    (void)state;
    BAD("{\"text\": 5}", "line 1: \"text\" is not a string");
    BAD("{\"text\": null}", "\"text\" is not a string");
    BAD("{\"text\": \"\"}", "\"text\" has 1 token: a loss token needs one before it");
    BAD("{\"prompt\": 1, \"completion\": \"a\"}", "\"prompt\" is not a string");
    BAD("{\"prompt\": \"a\", \"completion\": [\"a\"]}", "\"completion\" is not a string");
    BAD("{\"prompt\": \"a\", \"completion\": \"\"}", "\"completion\" is empty");
    BAD(OPTIONS("\"a\", \"label\": 0"), "\"options\" is not a list");
    BAD(OPTIONS("[], \"label\": 0"), "\"options\" has 0 entries");
    BAD(OPTIONS("[\"a\"], \"label\": 0"), "\"options\" has 1 entries: a choice needs at least two");
    BAD(OPTIONS("[\"a\", \"b\"]"), "\"options\" needs a \"label\"");
    BAD(OPTIONS("[\"a\", \"b\"], \"label\": \"0\""), "\"label\" is not an integer");
    BAD(OPTIONS("[\"a\", \"b\"], \"label\": 1.0"), "\"label\" is not an integer");
    BAD(OPTIONS("[\"a\", \"b\"], \"label\": 2"), "\"label\" is 2, the options are 0 to 1");
    BAD(OPTIONS("[\"a\", \"b\"], \"label\": -1"), "\"label\" is -1, the options are 0 to 1");
    BAD(OPTIONS("[\"a\", 5], \"label\": 0"), "option 1 is not a string");
    BAD(OPTIONS("[\"a\", \"\"], \"label\": 0"), "option 1 is empty");
    BAD("{\"tokens\": \"a\"}", "\"tokens\" is not a list");
    BAD("{\"tokens\": [1, 2.5]}", "entry 1 of \"tokens\" is not an integer");
    BAD("{\"tokens\": [1, \"2\"]}", "entry 1 of \"tokens\" is not an integer");
    BAD("{\"tokens\": [1, -2]}", "token -2 is outside the model's vocabulary of 4096");
    BAD("{\"tokens\": [1, 4096]}", "token 4096 is outside the model's vocabulary of 4096");
    BAD("{\"tokens\": [1, 4294967297]}", "token 4294967297 is outside");
    BAD("{\"tokens\": []}", "\"tokens\" has 0 tokens: a loss token needs one before it");
    BAD("{\"tokens\": [1]}", "\"tokens\" has 1 token:");
    BAD("{\"tokens\": [1, 2], \"loss_from\": 0}", "\"loss_from\" is 0: nothing predicts token 0");
    BAD("{\"tokens\": [1, 2], \"loss_from\": -3}", "\"loss_from\" is -3");
    BAD("{\"tokens\": [1, 2], \"loss_from\": 2}", "\"loss_from\" is 2 and there are 2 tokens: there is no loss token");
    BAD("{\"tokens\": [1, 2], \"loss_from\": 9223372036854775807}", "there is no loss token");
    BAD("{\"tokens\": [1, 2], \"loss_from\": null}", "\"loss_from\" is not an integer");
}

static void sizes(void **state)
{
    (void)state;
#define TRY(line, seq, vocab, bos, status, part) \
    assert_error(try(tokenizer, line, sizeof line - 1, seq, vocab, bos), status, part)
    static const char completion[] = "{\"prompt\": \"b b b b\", \"completion\": \" a a a\"}";
    assert_int_equal(try(tokenizer, completion, sizeof completion - 1, 4, 4096, 2), ZO2_OK);
    assert_int_equal(try(tokenizer, completion, sizeof completion - 1, 4, 4096, -1), ZO2_OK);
    TRY("\n{\"prompt\": \"b\", \"completion\": \" a a a\"}", 3, 4096, 2, ZO2_ERR_FORMAT,
        "line 2: \"completion\" has 3 tokens, which with one before them don't fit in a sequence of 3");
    TRY(OPTIONS("[\" a\", \" a a a\"], \"label\": 0"), 3, 4096, -1, ZO2_ERR_FORMAT, "the longest option has 3 tokens");
    TRY("{\"tokens\": [1, 2, 3, 4, 5], \"loss_from\": 2}", 3, 4096, -1, ZO2_ERR_FORMAT, "has 3 tokens");
    TRY("{\"prompt\": \"\", \"completion\": \"a\"}", 8, 4096, -1, ZO2_ERR_FORMAT,
        "\"prompt\" is empty and there is no BOS");
    TRY("{\"text\": \"a\"}", 8, 4096, -1, ZO2_ERR_FORMAT, "\"text\" has 1 token:");
    TRY("{\"text\": \" the\"}", 8, 200, 2, ZO2_ERR_FORMAT, "is outside the model's vocabulary of 200");
    TRY("{\"text\": \"a\"}", 1, 4096, -1, ZO2_ERR_ARG, "sequence length 1");
    TRY("{\"text\": \"a\"}", 8, 4096, 4096, ZO2_ERR_ARG, "BOS id 4096 is outside");

    /* The vocabulary is checked before truncation: whether a file is good doesn't depend on --seq. */
    TRY("{\"text\": \" the a a a a\"}", 3, 262, 2, ZO2_ERR_FORMAT, "is outside the model's vocabulary of 262");

    static const char tokens[] = "{\"tokens\": [1, 2]}\n{\"text\": \"a\"}\n";
    assert_int_equal(try(NULL, tokens, 19, 8, 4096, 2), ZO2_OK);
    assert_error(try(NULL, tokens, sizeof tokens - 1, 8, 4096, 2), ZO2_ERR_FORMAT,
                 "line 2: \"text\" is text, but the model file carries no tokenizer");

    zo2t_dataset *d;
    const zo2t_dataset_opts o = {8, 4096, 2, NULL, 0, NULL, NULL};
    assert_error(zo2t_dataset_load(&d, "/nowhere/x.jsonl", tokenizer, &o), ZO2_ERR_NOTFOUND,
                 "/nowhere/x.jsonl: No such");
    assert_error(zo2t_dataset_load(&d, "/tmp", tokenizer, &o), ZO2_ERR_IO, "/tmp: Is a directory");
    assert_null(d);
    zo2t_dataset_close(NULL);

    size_t n = ((size_t)64 << 20) + 1;
    char *line = malloc(n);
    memset(line, ' ', n);
    assert_error(try(tokenizer, line, n, 8, 4096, 2), ZO2_ERR_FORMAT, "line 1: longer than 67108864 bytes");
    free(line);
}

/* Cut anywhere, any bit flipped: an error with a line number, or a data set whose examples keep what dataset.h says. */
static void damaged(void **state)
{
    (void)state;
    char files[2][512] = {
        "{\"text\": \"the man\"}\n{\"prompt\": \"is \xC3\xA9\", \"completion\": \" a\"}\n"
        "{\"tokens\": [2, 5, 6], \"loss_from\": 2}\n",
        "{\"prompt\": \"It is\", \"options\": [\" an animal\", \" a\"], \"label\": 1}\n",
    };
    char path[64];
    test_write(path, "", 0);
    size_t loaded = 0, refused = 0;
    for (int i = 0; i < 2; i++) {
        size_t bytes = strlen(files[i]);
        for (size_t at = 0; at < bytes; at++) {
            for (int change = 0; change < 9; change++) {
                char keep = files[i][at];
                if (change < 8)
                    files[i][at] = (char)(keep ^ 1 << change);
                FILE *f = fopen(path, "wb");
                fwrite(files[i], 1, change < 8 ? bytes : at, f);
                fclose(f);
                files[i][at] = keep;
                zo2t_dataset *d;
                zo2_status s =
                    zo2t_dataset_load(&d, path, tokenizer, &(zo2t_dataset_opts){6, 4096, 2, NULL, 0, NULL, NULL});
                if (s) {
                    assert_int_equal(s, ZO2_ERR_FORMAT);
                    assert_true(strstr(zo2_last_error(), " line ") || strstr(zo2_last_error(), "no examples"));
                    refused++;
                    continue;
                }
                zo2t_dataset_info info;
                zo2t_dataset_get_info(d, &info);
                for (uint64_t k = 0; k < info.examples; k++) {
                    zo2t_example e;
                    zo2t_dataset_example(d, k, &e);
                    size_t tokens = e.prompt;
                    assert_true(e.prompt >= 1 && e.rows >= 1 && e.label < e.rows);
                    for (uint32_t r = 0; r < e.rows; r++) {
                        assert_true(e.suffix[r] >= 1 && e.prompt + e.suffix[r] <= 6);
                        tokens += e.suffix[r];
                    }
                    for (size_t m = 0; m < tokens; m++)
                        assert_true(e.tokens[m] >= 0 && e.tokens[m] < 4096);
                }
                zo2t_dataset_close(d);
                loaded++;
            }
        }
    }
    unlink(path);
    assert_true(loaded > 200 && refused > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines), cmocka_unit_test(foreign), cmocka_unit_test(values),
        cmocka_unit_test(sizes), cmocka_unit_test(damaged),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
