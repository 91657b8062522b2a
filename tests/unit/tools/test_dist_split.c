/* test_dist_split.c: every pair of query and micro-batch is in one rank's part, and parts are as large as shares say; facts that differ. */
#include "tools/dist/facts.h"
#include "tools/dist/split.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MOST = 9 };

static void covers(const dist_split *s, uint32_t queries, uint32_t micros)
{
    uint8_t seen[MOST][MOST] = {{0}};
    for (uint32_t r = 0; r < s->ranks; r++) {
        zo2_pass_work w = {.queries = queries, .micros = micros};
        dist_split_part(s, r, &w);
        assert_true(w.query + w.own_queries <= queries && w.micro + w.own_micros <= micros);
        for (uint32_t q = w.query; q < w.query + w.own_queries; q++)
            for (uint32_t m = w.micro; m < w.micro + w.own_micros; m++)
                seen[q][m]++;
        if (!s->share && s->mode == DIST_QUERIES)
            assert_true(w.own_queries == queries / s->ranks || w.own_queries == queries / s->ranks + 1);
        if (!s->share && s->mode == DIST_BATCH)
            assert_true(w.own_micros == micros / s->ranks || w.own_micros == micros / s->ranks + 1);
    }
    for (uint32_t q = 0; q < queries; q++)
        for (uint32_t m = 0; m < micros; m++)
            assert_int_equal(seen[q][m], 1);
}

static void all_of_it(void **state)
{
    (void)state;
    const uint64_t uneven[MOST] = {3, 1, 4, 1, 5, 9, 2, 6, 5}, last[MOST] = {1, 1, 1, 1, 1, 1, 1, 1, 1u << 30};
    const uint64_t *const shares[] = {NULL, uneven, last};
    for (int mode = DIST_QUERIES; mode <= DIST_BOTH; mode++)
        for (uint32_t ranks = 1; ranks <= MOST; ranks++)
            for (size_t i = 0; i < 3; i++)
                for (uint32_t queries = 1; queries <= MOST; queries++)
                    for (uint32_t micros = 1; micros <= MOST; micros++)
                        covers(&(dist_split){.mode = (dist_mode)mode, .ranks = ranks, .share = shares[i]}, queries,
                               micros);
}

static zo2_pass_work part(dist_mode mode, uint32_t ranks, const uint64_t *share, uint32_t rank, uint32_t queries,
                          uint32_t micros)
{
    const dist_split s = {.mode = mode, .ranks = ranks, .share = share};
    zo2_pass_work w = {.queries = queries, .streams = 2, .micros = micros};
    dist_split_part(&s, rank, &w);
    return w;
}

static void sizes(void **state)
{
    (void)state;
    /* the grid with the smallest largest part; of equals the one that splits queries */
    zo2_pass_work w = part(DIST_BOTH, 4, NULL, 3, 2, 8);
    assert_int_equal(w.own_queries, 1);
    assert_int_equal(w.own_micros, 4);
    w = part(DIST_BOTH, 4, NULL, 0, 4, 4);
    assert_int_equal(w.own_queries, 1);
    assert_int_equal(w.own_micros, 4);
    w = part(DIST_BOTH, 3, NULL, 0, 1, 6);
    assert_int_equal(w.own_queries, 1);
    assert_int_equal(w.own_micros, 2);
    /* a machine three times as fast */
    const uint64_t share[] = {3, 1};
    assert_int_equal(part(DIST_BATCH, 2, share, 0, 1, 8).own_micros, 6);
    assert_int_equal(part(DIST_QUERIES, 2, share, 1, 4, 8).own_queries, 1);
    /* many rows, large shares: nothing overflows */
    const uint64_t large[] = {UINT32_MAX / 4, UINT32_MAX / 4};
    assert_int_equal(part(DIST_BATCH, 2, large, 1, 1, 1u << 30).own_micros, 1u << 29);
    const uint64_t first[] = {0, 3, 4, 9};
    w = (zo2_pass_work){.streams = 2, .own_queries = 3, .micro = 1, .own_micros = 2, .first = first};
    assert_int_equal(dist_part_values(&w), 3 * 2 * 6);
}

static void facts(void **state)
{
    (void)state;
    const struct {
        const char *a, *b, *name, *of_a, *of_b;
    } cases[] = {
        {"x\t1\ny\t2\n", "x\t1\ny\t3\n", "y", "2", "3"},
        {"x\t1\n", "x\t1\ny\t3\n", "y", "nothing", "3"},
        {"x\t1\ny\t3\n", "x\t1\n", "y", "3", "nothing"},
        {"x\t12\n", "x\t1\n", "x", "12", "1"},
        {"", "x\t\n", "x", "nothing", ""},
    };
    dist_difference d;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_true(dist_facts_differ(&d, cases[i].a, cases[i].b));
        assert_string_equal(d.name, cases[i].name);
        assert_string_equal(d.a, cases[i].of_a);
        assert_string_equal(d.b, cases[i].of_b);
    }
    char *text = NULL;
    size_t bytes;
    FILE *f = open_memstream(&text, &bytes);
    assert_non_null(f);
    dist_fact_text(f, "a", NULL);
    dist_fact_text(f, "b", "two\nlines");
    dist_fact_f64(f, "c", 0.1);
    dist_fact_f64(f, "d", NAN);
    dist_fact_u64(f, "e", UINT64_MAX);
    dist_fact_hash(f, "f", 255);
    assert_int_equal(fclose(f), 0);
    assert_string_equal(text, "a\tunset\nb\ttwo lines\nc\t0.10000000000000001\nd\tunset\ne\t18446744073709551615\n"
                              "f\t0x00000000000000ff\n");
    assert_false(dist_facts_differ(&d, text, text));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_of_it),
        cmocka_unit_test(sizes),
        cmocka_unit_test(facts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
