/* Order of training examples: permutations, dependence on seed and epoch, golden values, positions in any order. */
#include "tests/unit/tools/test_tokenizer_files.h"
#include "tools/text/order.h"

static void epoch_of(zo2t_order *o, uint64_t n, uint64_t epoch, uint64_t *out)
{
    for (uint64_t i = 0; i < n; i++)
        assert_int_equal(zo2t_order_at(o, epoch * n + i, &out[i]), ZO2_OK);
}

static void permutations(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {1, 2, 3, 10, 255, 256, 257, 1000, 70000};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        uint64_t n = sizes[i];
        zo2t_order *o;
        assert_int_equal(zo2t_order_open(&o, n, 5), ZO2_OK);
        uint64_t *p = malloc(n * sizeof *p);
        uint8_t *seen = malloc(n);
        for (uint64_t epoch = 0; epoch < 3; epoch++) {
            memset(p, 0xEE, n * sizeof *p);
            memset(seen, 0, n);
            epoch_of(o, n, epoch, p);
            for (uint64_t k = 0; k < n; k++) {
                assert_true(p[k] < n && !seen[p[k]]);
                seen[p[k]] = 1;
            }
        }
        free(p);
        free(seen);
        zo2t_order_close(o);
    }
}

/* From an independent implementation in Python of order.h's definition. They fix the order of every run for good. */
static void golden(void **state)
{
    (void)state;
    static const struct {
        uint64_t seed, epoch, order[10];
    } want[] = {
        {0, 0, {7, 8, 5, 1, 9, 4, 0, 6, 3, 2}},          {0, 1, {9, 7, 0, 5, 4, 6, 1, 3, 2, 8}},
        {1, 0, {9, 7, 8, 1, 5, 4, 0, 3, 6, 2}},          {12345, 2, {9, 0, 6, 2, 3, 5, 7, 8, 1, 4}},
        {UINT64_MAX, 7, {9, 4, 1, 7, 6, 5, 8, 3, 2, 0}},
    };
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        zo2t_order *o;
        uint64_t p[10];
        assert_int_equal(zo2t_order_open(&o, 10, want[i].seed), ZO2_OK);
        epoch_of(o, 10, want[i].epoch, p);
        assert_memory_equal(p, want[i].order, sizeof p);
        zo2t_order_close(o);
    }
    /* More than one buffer of words. */
    zo2t_order *o;
    uint64_t sum = 0, example;
    assert_int_equal(zo2t_order_open(&o, 1000, 42), ZO2_OK);
    for (uint64_t i = 0; i < 1000; i++) {
        assert_int_equal(zo2t_order_at(o, 3000 + i, &example), ZO2_OK);
        sum += (i + 1) * example;
    }
    assert_int_equal(sum, 250709126);
    zo2t_order_close(o);
}

static void differ(void **state)
{
    (void)state;
    uint64_t p[4][100];
    zo2t_order *a, *b;
    assert_int_equal(zo2t_order_open(&a, 100, 0), ZO2_OK);
    assert_int_equal(zo2t_order_open(&b, 100, 1), ZO2_OK);
    epoch_of(a, 100, 0, p[0]);
    epoch_of(a, 100, 1, p[1]);
    epoch_of(b, 100, 0, p[2]);
    epoch_of(b, 100, 1, p[3]);
    for (int i = 0; i < 4; i++) {
        for (int j = 0; j < i; j++)
            assert_memory_not_equal(p[i], p[j], sizeof p[0]);
    }
    /* Positions in any order, back to an earlier epoch too: a run that is resumed starts anywhere. */
    uint64_t example, random = 7;
    for (int i = 0; i < 1000; i++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        uint64_t position = (random >> 33) % 200;
        assert_int_equal(zo2t_order_at(a, position, &example), ZO2_OK);
        assert_int_equal(example, p[position / 100][position % 100]);
    }
    assert_int_equal(zo2t_order_at(a, UINT64_MAX, &example), ZO2_OK);
    assert_true(example < 100);
    zo2t_order_close(a);
    zo2t_order_close(b);
}

/* Every permutation is as likely: chi-squared over the 24 of 4 examples, 20,000 epochs, below its 1e-6 quantile. */
static void uniform(void **state)
{
    (void)state;
    zo2t_order *o;
    uint64_t p[4], count[256] = {0};
    const double epochs = 20000;
    assert_int_equal(zo2t_order_open(&o, 4, 3), ZO2_OK);
    for (uint64_t e = 0; e < (uint64_t)epochs; e++) {
        epoch_of(o, 4, e, p);
        count[p[0] | p[1] << 2 | p[2] << 4 | p[3] << 6]++;
    }
    zo2t_order_close(o);
    double chi = 0;
    int permutations_seen = 0;
    for (int i = 0; i < 256; i++) {
        double expected = epochs / 24, d = (double)count[i] - expected;
        if (!count[i])
            continue;
        permutations_seen++;
        chi += d * d / expected;
    }
    assert_int_equal(permutations_seen, 24);
    assert_true(chi < 71.2); /* 23 degrees of freedom */
}

static void errors(void **state)
{
    (void)state;
    zo2t_order *o = (zo2t_order *)1;
    assert_error(zo2t_order_open(&o, 0, 0), ZO2_ERR_ARG, "an order of 0 examples");
    assert_null(o);
    assert_error(zo2t_order_open(&o, (uint64_t)1 << 32, 0), ZO2_ERR_ARG, "an order of 4294967296 examples");
    zo2t_order_close(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(permutations), cmocka_unit_test(golden), cmocka_unit_test(differ),
        cmocka_unit_test(uniform),      cmocka_unit_test(errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
