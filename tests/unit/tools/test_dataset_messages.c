/* Conversations as lines of a data file: rows, loss places and gaps, what is cut, batches, the hash, what is refused. */
#include "tests/unit/tools/test_tokenizer_files.h"
#include "tools/text/batcher.h"
#include "tools/text/dataset.h"

#define TEMPLATE                                                                                                \
    "{{ bos_token }}{% for message in messages %}{{ '<|im_start|>' + message.role + '\\n' + message.content + " \
    "'<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"

/* A byte vocabulary with <s> 0, </s> 2, the two markers and the three headers' names, so that a turn is: 300, 310 + role, '\n', content,
 * 301, '\n'. */
static zo2t_tokenizer *tokenizer;
static zo2t_chat *chat;

enum { START = 300, END = 301, SYSTEM = 310, USER, ASSISTANT };
#define B(c) (4 + (c))

static int open_all(void **state)
{
    static const char config[] =
        "{\"bos_token\": \"<s>\", \"added_tokens_decoder\": {\"0\": {\"content\": \"<s>\"}, \"300\": "
        "{\"content\": \"<|im_start|>\"}, \"301\": {\"content\": \"<|im_end|>\"}, \"310\": "
        "{\"content\": \"system\"}, \"311\": {\"content\": \"user\"}, \"312\": {\"content\": "
        "\"assistant\"}}}";
    static const char merges[] = "#version: 0.2\n";
    char *vocab = test_byte_vocab("");
    (void)state;
    zo2t_tokenizer_files f = {.vocab = {vocab, strlen(vocab)},
                              .merges = {merges, sizeof merges - 1},
                              .tokenizer_config = {config, sizeof config - 1}};
    zo2_status s = zo2t_tokenizer_open(&tokenizer, &f);
    free(vocab);
    if (!s)
        s = zo2t_chat_open(&chat, &(zo2t_chat_files){.chat_template = {TEMPLATE, sizeof TEMPLATE - 1},
                                                     .tokenizer_config = {config, sizeof config - 1}});
    if (s)
        print_error("%s\n", zo2_last_error());
    return s != ZO2_OK;
}

static int close_all(void **state)
{
    (void)state;
    zo2t_tokenizer_close(tokenizer);
    zo2t_chat_close(chat);
    return 0;
}

static zo2_status load(zo2t_dataset **out, const char *lines, uint32_t seq)
{
    char path[64];
    test_write(path, lines, strlen(lines));
    zo2_status s = zo2t_dataset_load(out, path, tokenizer,
                                     &(zo2t_dataset_opts){.seq = seq, .vocab = 4096, .bos = 2, .chat = chat});
    unlink(path);
    return s;
}

/* The one example's tokens; those of loss are given as ~id. */
static void check_row(const char *line, uint32_t seq, const int32_t *expected, size_t n)
{
    zo2t_dataset *d;
    zo2t_dataset_info info;
    zo2t_example e;
    int32_t found[256];
    if (load(&d, line, seq))
        fail_msg("%s", zo2_last_error());
    zo2t_dataset_get_info(d, &info);
    zo2t_dataset_example(d, 0, &e);
    assert_int_equal(e.rows, 1);
    assert_int_equal(e.prompt + e.suffix[0], n);
    assert_int_equal(info.tokens, n);
    uint64_t loss = 0;
    for (uint32_t i = 0; i < n; i++)
        found[i] = i < e.prompt ? e.tokens[i] : ~e.tokens[i];
    for (size_t g = 0; g < e.gaps; g++) {
        for (uint32_t i = e.gap[g].from; i < e.gap[g].from + e.gap[g].tokens; i++)
            found[e.prompt + i] = ~found[e.prompt + i];
    }
    for (size_t i = 0; i < n; i++) {
        loss += found[i] < 0;
        if (found[i] != expected[i])
            fail_msg("token %zu is %d, not %d", i, found[i], expected[i]);
    }
    assert_int_equal(info.loss_tokens, loss);
    assert_int_equal(info.kind, ZO2T_LM);
    zo2t_dataset_close(d);
}

#define ROW(line, seq, ...) \
    check_row(line, seq, (const int32_t[]){__VA_ARGS__}, sizeof((const int32_t[]){__VA_ARGS__}) / sizeof(int32_t))
#define SAYS(role, text) "{\"role\": \"" role "\", \"content\": \"" text "\"}"
#define LINE(...)        "{\"messages\": [" __VA_ARGS__ "]}\n"

static void rows(void **state)
{
    (void)state;
    ROW(LINE(SAYS("user", "q") ", " SAYS("assistant", "ab")), 64, 0, START, USER, B('\n'), B('q'), END, B('\n'), START,
        ASSISTANT, B('\n'), ~B('a'), ~B('b'), ~END, B('\n'));
    /* Two turns of the assistant, and a question without answer. */
    ROW(LINE(SAYS("system", "s") ", " SAYS("user", "q") ", " SAYS("assistant", "a") ", " SAYS("user", "") ", " SAYS(
            "assistant", "") ", " SAYS("user", "x")),
        64, 0, START, SYSTEM, B('\n'), B('s'), END, B('\n'), START, USER, B('\n'), B('q'), END, B('\n'), START,
        ASSISTANT, B('\n'), ~B('a'), ~END, B('\n'), START, USER, B('\n'), END, B('\n'), START, ASSISTANT, B('\n'), ~END,
        B('\n'), START, USER, B('\n'), B('x'), END, B('\n'));
}

#define LONG                                                                                          \
    LINE(SAYS("user", "q") ", " SAYS("assistant", "ab") ", " SAYS("user", "r") ", " SAYS("assistant", \
                                                                                         "cd") ", " SAYS("user", "x"))
/* 0 | START USER \n q END \n | START ASSISTANT \n ~a ~b ~END \n | START USER \n r END \n | START ASSISTANT \n ~c ~d ~END \n | START USER \n x END \n */

static void cut(void **state)
{
    (void)state;
    zo2t_dataset *d;
    /* First what follows the last loss token, then the oldest behind BOS. */
    ROW(LONG, 30, 0, START, USER, B('\n'), B('q'), END, B('\n'), START, ASSISTANT, B('\n'), ~B('a'), ~B('b'), ~END,
        B('\n'), START, USER, B('\n'), B('r'), END, B('\n'), START, ASSISTANT, B('\n'), ~B('c'), ~B('d'), ~END, B('\n'),
        START, USER, B('\n'));
    ROW(LONG, 17, 0, ~B('a'), ~B('b'), ~END, B('\n'), START, USER, B('\n'), B('r'), END, B('\n'), START, ASSISTANT,
        B('\n'), ~B('c'), ~B('d'), ~END);
    ROW(LONG, 16, 0, ~B('b'), ~END, B('\n'), START, USER, B('\n'), B('r'), END, B('\n'), START, ASSISTANT, B('\n'),
        ~B('c'), ~B('d'), ~END);
    ROW(LONG, 4, 0, ~B('c'), ~B('d'), ~END);
    assert_error(load(&d, LONG, 3), ZO2_ERR_FORMAT, "line 1: the last turn of the assistant has 3 tokens");
}

static void batches(void **state)
{
    (void)state;
    zo2t_dataset *d;
    zo2t_batcher *b;
    zo2_batch batch;
    zo2t_bounds bounds;
    assert_int_equal(load(&d, LONG "{\"prompt\": \"p\", \"completion\": \"c\"}\n{\"text\": \"xyz\"}\n", 64), ZO2_OK);
    assert_int_equal(zo2t_batcher_open_eval(&b, d), ZO2_OK);
    assert_int_equal(zo2t_batcher_fill(b, 0, 3, &batch), ZO2_OK);
    assert_int_equal(batch.rows, 3);
    assert_int_equal(batch.seq, 33);
    static const char loss[] = "000000000011100000000001110000000";
    for (size_t i = 0; i < 33; i++)
        assert_int_equal(batch.loss[i], loss[i] - '0');
    assert_int_equal(batch.loss[33 + 2], 1); /* BOS, prompt, completion */
    assert_int_equal(batch.loss[33 + 3], 0);
    assert_int_equal(zo2t_dataset_bounds(d, 1, &bounds), ZO2_OK);
    assert_int_equal(bounds.loss_tokens, 6);
    assert_int_equal(bounds.seq, 33);
    zo2t_batcher_close(b);
    zo2t_dataset_close(d);
}

static uint64_t hash_of(const char *lines)
{
    zo2t_dataset *d;
    zo2t_dataset_info info;
    assert_int_equal(load(&d, lines, 64), ZO2_OK);
    zo2t_dataset_get_info(d, &info);
    zo2t_dataset_close(d);
    return info.ids_hash;
}

static void hash(void **state)
{
    (void)state;
    static const char one[] = "{\"tokens\": [0, 300, 312, 14, 101, 301, 14], \"loss_from\": 4}\n";
    assert_int_equal(hash_of(LINE(SAYS("assistant", "a"))), hash_of("\n" LINE(SAYS("assistant", "a"))));
    assert_int_not_equal(hash_of(LINE(SAYS("assistant", "a"))),
                         hash_of(one)); /* the same tokens, one of them without loss */
}

static void refused(void **state)
{
    (void)state;
    zo2t_dataset *d;
    zo2t_chat *known = chat;
#define BAD(line, part) assert_error(load(&d, line, 64), ZO2_ERR_FORMAT, part)
    BAD("{\"messages\": [], \"text\": \"a\"}",
        "has more than one of \"text\", \"prompt\", \"tokens\" and \"messages\"");
    BAD("{\"messages\": 1}", "line 1: \"messages\": it is not a list of messages");
    BAD(LINE(SAYS("user", "q")) "\n", "line 1: \"messages\": no message is the assistant's");
    BAD("\n" LINE(SAYS("user", "q") ", " SAYS("robot", "a")), "line 2: \"messages\": message 2: the role \"robot\"");
    BAD("{\"messages\": [" SAYS("assistant", "a") "], \"tools\": [{}]}",
        "line 1: \"tools\" beside \"messages\" are not supported");
    chat = NULL;
    BAD(LINE(SAYS("assistant", "a")),
        "need the model's chat template: there is no chat template; render it beforehand, with transformers: ");
    chat = known;
    assert_int_equal(load(&d, "{\"messages\": [" SAYS("assistant", "a") "], \"tools\": [], \"id\": 7}", 64), ZO2_OK);
    zo2t_dataset_close(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows), cmocka_unit_test(cut),     cmocka_unit_test(batches),
        cmocka_unit_test(hash), cmocka_unit_test(refused),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
