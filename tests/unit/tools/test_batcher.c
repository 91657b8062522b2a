/* Batches: padding, masks, loss flags, example numbers and labels; across the ends of epochs and of the file. */
#include "tests/unit/tools/test_tokenizer_files.h"
#include "tools/text/batcher.h"
#include "tools/text/order.h"

static zo2t_dataset *load(const char *lines)
{
    char path[64];
    zo2t_dataset *d;
    test_write(path, lines, strlen(lines));
    zo2t_tokenizer *t = test_tiny_tokenizer();
    zo2_status s = zo2t_dataset_load(&d, path, t, &(zo2t_dataset_opts){16, 4096, -1, NULL, 0, NULL, NULL});
    zo2t_tokenizer_close(t);
    unlink(path);
    if (s)
        fail_msg("%s", zo2_last_error());
    return d;
}

static void language_model(void **state)
{
    (void)state;
    zo2t_dataset *d =
        load("{\"tokens\": [11, 12, 13, 14], \"loss_from\": 2}\n{\"tokens\": [21, 22]}\n{\"tokens\": [31, 32, 33]}\n");
    zo2t_batcher *b;
    zo2_batch x;
    assert_int_equal(zo2t_batcher_open_eval(&b, d), ZO2_OK);
    assert_int_equal(zo2t_batcher_fill(b, 0, 2, &x), ZO2_OK);
    assert_int_equal(x.struct_size, sizeof x);
    assert_true(x.rows == 2 && x.seq == 4 && x.examples == 0 && !x.example && !x.label && x.data_position == 2);
    assert_memory_equal(x.tokens, ((const int32_t[]){11, 12, 13, 14, 21, 22, 0, 0}), 8 * sizeof(int32_t));
    assert_memory_equal(x.mask, ((const uint8_t[]){1, 1, 1, 1, 1, 1, 0, 0}), 8);
    assert_memory_equal(x.loss, ((const uint8_t[]){0, 0, 1, 1, 0, 1, 0, 0}), 8);
    /* The last batch is short, as narrow as its rows, and nothing of the batch before it shows. */
    assert_int_equal(zo2t_batcher_fill(b, 2, 2, &x), ZO2_OK);
    assert_true(x.rows == 1 && x.seq == 3 && x.data_position == 3);
    assert_memory_equal(x.tokens, ((const int32_t[]){31, 32, 33}), 3 * sizeof(int32_t));
    assert_memory_equal(x.loss, ((const uint8_t[]){0, 1, 1}), 3);
    assert_int_equal(zo2t_batcher_fill(b, 1, 2, &x), ZO2_OK);
    assert_memory_equal(x.tokens, ((const int32_t[]){21, 22, 0, 31, 32, 33}), 6 * sizeof(int32_t));
    assert_memory_equal(x.mask, ((const uint8_t[]){1, 1, 0, 1, 1, 1}), 6);
    assert_memory_equal(x.loss, ((const uint8_t[]){0, 1, 0, 0, 1, 1}), 6);
    assert_error(zo2t_batcher_fill(b, 3, 2, &x), ZO2_ERR_ARG, "position 3 is past the 3 examples");
    assert_error(zo2t_batcher_fill(b, 0, 0, &x), ZO2_ERR_ARG, "a batch of 0 lines");
    assert_error(zo2t_batcher_fill(b, UINT64_MAX, 2, &x), ZO2_ERR_ARG, "at position 18446744073709551615");
    zo2t_batcher_close(b);
    zo2t_batcher_close(NULL);
    zo2t_dataset_close(d);
}

static void options(void **state)
{
    (void)state;
    zo2t_dataset *d = load("{\"prompt\": \"ab\", \"options\": [\"!\", \"!?\", \"?\"], \"label\": 1}\n"
                           "{\"prompt\": \"a\", \"options\": [\"!\", \"?\"], \"label\": 0}\n");
    zo2t_tokenizer *t = test_tiny_tokenizer();
    zo2t_ids ab = {0}, a = {0}, no = {0}, yes = {0}, both = {0};
    assert_int_equal(zo2t_encode(t, "ab", 2, -1, &ab), ZO2_OK);
    assert_int_equal(zo2t_encode(t, "a", 1, -1, &a), ZO2_OK);
    assert_int_equal(zo2t_encode(t, "!", 1, -1, &no), ZO2_OK);
    assert_int_equal(zo2t_encode(t, "?", 1, -1, &yes), ZO2_OK);
    assert_int_equal(zo2t_encode(t, "!?", 2, -1, &both), ZO2_OK);
    zo2t_tokenizer_close(t);
    zo2t_batcher *b;
    zo2_batch x;
    assert_int_equal(zo2t_batcher_open_eval(&b, d), ZO2_OK);
    assert_int_equal(zo2t_batcher_fill(b, 0, 10, &x), ZO2_OK);
    uint32_t seq = (uint32_t)(ab.n + both.n);
    assert_true(x.rows == 5 && x.seq == seq && x.examples == 2 && x.data_position == 2);
    assert_memory_equal(x.example, ((const uint32_t[]){0, 0, 0, 1, 1}), 5 * sizeof(uint32_t));
    assert_memory_equal(x.label, ((const uint32_t[]){1, 0}), 2 * sizeof(uint32_t));
    const zo2t_ids *row[5][2] = {{&ab, &no}, {&ab, &both}, {&ab, &yes}, {&a, &no}, {&a, &yes}};
    for (size_t r = 0; r < 5; r++) {
        size_t p = row[r][0]->n, n = p + row[r][1]->n;
        for (size_t i = 0; i < seq; i++) {
            assert_int_equal(x.mask[r * seq + i], i < n);
            assert_int_equal(x.loss[r * seq + i], i >= p && i < n);
            int32_t want = i < p ? row[r][0]->id[i] : i < n ? row[r][1]->id[i - p] : 0;
            assert_int_equal(x.tokens[r * seq + i], want);
        }
    }
    zo2t_ids_free(&ab);
    zo2t_ids_free(&a);
    zo2t_ids_free(&no);
    zo2t_ids_free(&yes);
    zo2t_ids_free(&both);
    zo2t_batcher_close(b);
    zo2t_dataset_close(d);
}

/* Seven examples in batches of three, and one batch longer than two epochs: always the order's examples. */
static void epochs(void **state)
{
    (void)state;
    char lines[1024] = "";
    for (int i = 0; i < 7; i++)
        sprintf(lines + strlen(lines), "{\"tokens\": [%d, 1]}\n", 100 + i);
    zo2t_dataset *d = load(lines);
    zo2t_batcher *b;
    zo2t_order *o;
    zo2_batch x;
    assert_int_equal(zo2t_batcher_open_train(&b, d, 9), ZO2_OK);
    assert_int_equal(zo2t_order_open(&o, 7, 9), ZO2_OK);
    int count[7] = {0};
    uint64_t position = 0, example;
    for (int step = 0; step < 7; step++) {
        assert_int_equal(zo2t_batcher_fill(b, position, 3, &x), ZO2_OK);
        assert_true(x.rows == 3 && x.data_position == position + 3);
        for (uint32_t r = 0; r < 3; r++) {
            assert_int_equal(zo2t_order_at(o, position + r, &example), ZO2_OK);
            assert_int_equal(x.tokens[2 * r], 100 + (int)example);
            count[example]++;
        }
        position = x.data_position;
    }
    for (int i = 0; i < 7; i++)
        assert_int_equal(count[i], 3);
    assert_int_equal(zo2t_batcher_fill(b, 5, 16, &x), ZO2_OK);
    for (uint32_t r = 0; r < 16; r++) {
        assert_int_equal(zo2t_order_at(o, 5 + r, &example), ZO2_OK);
        assert_int_equal(x.tokens[2 * r], 100 + (int)example);
    }
    assert_int_equal(x.data_position, 21);
    zo2t_order_close(o);
    zo2t_batcher_close(b);
    zo2t_dataset_close(d);
}

/* Batches never exceed the bounds that the engine is opened with. */
static void within_bounds(void **state)
{
    (void)state;
    zo2t_tokenizer *t = test_tiny_tokenizer();
    static const char *const file[] = {"wordnet_kind.dev.jsonl", "proverbs.test.jsonl"};
    for (int i = 0; i < 2; i++) {
        char path[4096];
        snprintf(path, sizeof path, "%s/tiny-opt/data/%s", ZO2_TEST_DATA, file[i]);
        zo2t_dataset *d;
        zo2t_batcher *b;
        zo2t_bounds most;
        zo2t_dataset_info info;
        assert_int_equal(zo2t_dataset_load(&d, path, t, &(zo2t_dataset_opts){256, 4096, 2, NULL, 0, NULL, NULL}),
                         ZO2_OK);
        assert_int_equal(zo2t_dataset_bounds(d, 16, &most), ZO2_OK);
        assert_int_equal(zo2t_batcher_open_train(&b, d, 0), ZO2_OK);
        zo2t_dataset_get_info(d, &info);
        uint64_t tokens = 0;
        for (uint64_t at = 0; at < 2 * info.examples; at += 16) {
            zo2_batch x;
            uint64_t loss = 0;
            uint64_t lines = 2 * info.examples - at < 16 ? 2 * info.examples - at : 16;
            assert_int_equal(zo2t_batcher_fill(b, at, lines, &x), ZO2_OK);
            for (size_t k = 0; k < (size_t)x.rows * x.seq; k++) {
                loss += x.loss[k];
                tokens += x.mask[k];
                assert_true(x.loss[k] <= x.mask[k]);
            }
            assert_true(x.rows <= most.rows && x.seq <= most.seq && loss <= most.loss_tokens);
            assert_int_equal(x.examples, i ? 0 : lines);
        }
        assert_int_equal(tokens, 2 * info.tokens);
        zo2t_batcher_close(b);
        zo2t_dataset_close(d);
    }
    zo2t_tokenizer_close(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(language_model),
        cmocka_unit_test(options),
        cmocka_unit_test(epochs),
        cmocka_unit_test(within_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
