/* test_answers.c: the tokens that a data set asks for: exactly those that a batch of all its lines has losses on. */
#include "tests/unit/tools/test_tokenizer_files.h"
#include "tests/unit/tools/tiny_tokenizer_testing.h"
#include "tools/text/answers.h"
#include "tools/text/batcher.h"

enum { VOCAB = 4096 };

static zo2t_dataset *load_file(const char *path, const zo2t_chat *chat)
{
    zo2t_dataset *d;
    if (zo2t_dataset_load(&d, path, tokenizer,
                          &(zo2t_dataset_opts){.seq = 256, .vocab = VOCAB, .bos = 2, .chat = chat}))
        fail_msg("%s", zo2_last_error());
    return d;
}

static zo2t_dataset *load(const char *lines, const zo2t_chat *chat)
{
    char path[64];
    test_write(path, lines, strlen(lines));
    zo2t_dataset *d = load_file(path, chat);
    unlink(path);
    return d;
}

static char *answers_of(const zo2t_dataset *d)
{
    char *text;
    assert_int_equal(zo2t_answers(d, VOCAB, &text), ZO2_OK);
    return text;
}

/* Marks what a list names, once each and ascending. */
static void read_list(const char *text, unsigned char marks[VOCAB])
{
    long last = -2;
    memset(marks, 0, VOCAB);
    for (const char *at = text; *at;) {
        char *end;
        const long from = strtol(at, &end, 10);
        const long to = *end == '-' ? strtol(end + 1, &end, 10) : from;
        assert_true(from > last + 1 && to >= from && to < VOCAB && (*end == ',' || !*end));
        memset(marks + from, 1, (size_t)(to - from + 1));
        last = to;
        at = end + (*end == ',');
    }
}

/* The same set, from the other side: the loss tokens of batches. Returns how many ids there are. */
static size_t check_against_batches(const zo2t_dataset *d)
{
    unsigned char got[VOCAB], want[VOCAB] = {0};
    zo2t_batcher *b;
    zo2t_dataset_info info;
    char *text = answers_of(d);
    read_list(text, got);
    free(text);
    zo2t_dataset_get_info(d, &info);
    assert_int_equal(zo2t_batcher_open_eval(&b, d), ZO2_OK);
    for (uint64_t at = 0; at < info.examples;) {
        zo2_batch batch = {.struct_size = sizeof batch};
        assert_int_equal(zo2t_batcher_fill(b, at, 50, &batch), ZO2_OK);
        for (size_t i = 0; i < (size_t)batch.rows * batch.seq; i++)
            if (batch.loss[i])
                want[batch.tokens[i]] = 1;
        at = batch.data_position;
    }
    zo2t_batcher_close(b);
    assert_memory_equal(got, want, sizeof want);
    size_t n = 0;
    for (size_t i = 0; i < VOCAB; i++)
        n += want[i];
    return n;
}

static void lists(void **state)
{
    (void)state;
    static const struct {
        const char *lines, *want;
    } cases[] = {
        {"{\"tokens\": [2, 10], \"loss_from\": 1}", "10"},
        {"{\"tokens\": [9, 8, 7, 6, 5]}", "5-8"},
        {"{\"tokens\": [2, 30, 12, 11, 30], \"loss_from\": 3}\n{\"tokens\": [2, 14, 15]}", "11,14-15,30"},
        {"{\"tokens\": [2, 0, 4095, 1]}", "0-1,4095"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        zo2t_dataset *d = load(cases[i].lines, NULL);
        char *text = answers_of(d);
        assert_string_equal(text, cases[i].want);
        free(text);
        check_against_batches(d);
        zo2t_dataset_close(d);
    }
}

/* Known from an independent tokenizer in Python. */
static void tiny_files(void **state)
{
    (void)state;
    static const struct {
        const char *name, *want; /* NULL: too many to write down */
        size_t least;
    } cases[] = {{"wordnet_kind.train.jsonl", "261,322,676,734,1366,1630", 6},
                 {"wordnet_verb.train.jsonl", "285,904,1085,2388,3085,3291", 6},
                 {"proverbs.test.jsonl", NULL, 500}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char path[4096];
        snprintf(path, sizeof path, "%s/tiny-opt/data/%s", ZO2_TEST_DATA, cases[i].name);
        zo2t_dataset *d = load_file(path, NULL);
        char *text = answers_of(d);
        if (cases[i].want)
            assert_string_equal(text, cases[i].want);
        free(text);
        assert_true(check_against_batches(d) >= cases[i].least);
        zo2t_dataset_close(d);
    }
}

/* What is said between two turns of the assistant is no answer. */
static void conversations(void **state)
{
    (void)state;
    static const char template[] =
        "{{ bos_token }}{% for message in messages %}{{ '<|im_start|>' + message.role + '\\n' + message.content + "
        "'<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";
    static const char config[] = "{\"bos_token\": \"</s>\"}";
    zo2t_chat *chat;
    assert_int_equal(zo2t_chat_open(&chat, &(zo2t_chat_files){.chat_template = {template, sizeof template - 1},
                                                              .tokenizer_config = {config, sizeof config - 1}}),
                     ZO2_OK);
    zo2t_dataset *d = load("{\"messages\": [{\"role\": \"user\", \"content\": \"zebra\"}, {\"role\": \"assistant\", "
                           "\"content\": \"a\"}, {\"role\": \"user\", \"content\": \"quick quick\"}, {\"role\": "
                           "\"assistant\", \"content\": \"b\"}]}\n",
                           chat);
    zo2t_example e;
    zo2t_dataset_example(d, 0, &e);
    assert_true(e.gaps > 0); /* or it would show nothing */
    unsigned char marks[VOCAB];
    char *text = answers_of(d);
    read_list(text, marks);
    free(text);
    const size_t n = check_against_batches(d);
    size_t others = 0; /* ids of the row that are no answers */
    uint32_t tokens = e.prompt + e.suffix[0];
    for (uint32_t i = 0; i < tokens; i++)
        others += !marks[e.tokens[i]];
    assert_true(n >= 2 && others > 0);
    zo2t_dataset_close(d);
    zo2t_chat_close(chat);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists),
        cmocka_unit_test(tiny_files),
        cmocka_unit_test(conversations),
    };
    return cmocka_run_group_tests_name("answers", tests, setup, teardown);
}
