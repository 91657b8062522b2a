/* The index of a trunk cache against a plain array: entries set, replaced and removed at random, keys of one home, keys that differ
 * in one half; a way to a place is never longer than its bound. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "storage/trunk/trunk_index.h"
#include "tests/unit/storage/trunk_testing.h"

enum { KEYS = 600, CROWDED = 1200, CROWD_BITS = 12 };

/* Keys whose places in tables of up to 2^bits begin at the same one. */
static zo2_trunk_key *keys_of_one_home(size_t n, unsigned bits)
{
    zo2_trunk_key *keys = malloc(n * sizeof *keys);
    assert_non_null(keys);
    zo2_trunk_key k = {0, 7};
    const uint64_t mask = (UINT64_C(1) << bits) - 1, home = mask - 2; /* ways go on at the table's begin */
    for (size_t have = 0; have < n; k.low++)
        if ((XXH3_64bits(&k, sizeof k) & mask) == home)
            keys[have++] = k;
    return keys;
}

static zo2_trunk_entry entry_of(const zo2_trunk_key *key, uint64_t version)
{
    return (zo2_trunk_entry){.key = *key, .at = version, .bytes = version + 1, .hash = key->low, .part = 3};
}

/* version[i]: of keys[i], 0: it isn't there. */
static void same_as_array(const zo2_trunk_index *x, const zo2_trunk_key *keys, const uint64_t *version, size_t n)
{
    uint64_t there = 0;
    for (size_t i = 0; i < n; i++) {
        const zo2_trunk_entry *e = zo2_trunk_index_find(x, &keys[i]);
        assert_int_equal(e != NULL, version[i] != 0);
        if (!e)
            continue;
        there++;
        assert_int_equal(e->at, version[i]);
        assert_int_equal(e->bytes, version[i] + 1);
        assert_int_equal(e->hash, keys[i].low);
        assert_int_equal(e->part, 3);
    }
    assert_int_equal(x->n, there);
}

static void at_random(const zo2_trunk_key *keys, size_t n, uint64_t seed)
{
    zo2_trunk_index x = {0};
    uint64_t version[KEYS] = {0};
    assert_null(zo2_trunk_index_find(&x, &keys[0]));
    zo2_trunk_index_remove(&x, &keys[0]);
    for (uint64_t turn = 1; turn < 6000; turn++) {
        const uint64_t dice = mix(&seed);
        const size_t i = (size_t)(dice >> 8) % n;
        const zo2_trunk_entry e = entry_of(&keys[i], turn);
        if (dice % 16 < (turn / 1000 % 2 ? 5u : 11u)) { /* fuller, emptier */
            assert_int_equal(zo2_trunk_index_set(&x, &e), 1);
            version[i] = turn;
        } else {
            zo2_trunk_index_remove(&x, &keys[i]);
            version[i] = 0;
        }
        if (turn % 16 == 0)
            same_as_array(&x, keys, version, n);
        assert_true(x.n <= x.places / 2);
    }
    zo2_trunk_index_free(&x);
    assert_null(zo2_trunk_index_find(&x, &keys[0]));
}

static void against_an_array(void **state)
{
    (void)state;
    zo2_trunk_key keys[KEYS];
    for (uint64_t i = 0; i < KEYS; i++)
        keys[i] = test_key(i);
    for (uint64_t seed = 0; seed < 4; seed++)
        at_random(keys, seed % 2 ? KEYS : 100, seed);
    zo2_trunk_key *crowd = keys_of_one_home(80, 10), some[100];
    for (size_t i = 0; i < 100; i++)
        some[i] = i % 2 ? crowd[i / 2] : keys[i]; /* one long way with others in it */
    at_random(crowd, 80, 5);
    at_random(some, 100, 6);
    free(crowd);
}

static void halves_of_a_key(void **state)
{
    (void)state;
    zo2_trunk_index x = {0};
    enum { SIDE = 40 };
    for (uint64_t i = 0; i < SIDE * SIDE; i++) {
        const zo2_trunk_key key = {i / SIDE, i % SIDE};
        const zo2_trunk_entry e = entry_of(&key, i);
        assert_int_equal(zo2_trunk_index_set(&x, &e), 1);
    }
    assert_int_equal(x.n, SIDE * SIDE);
    for (uint64_t i = 0; i < SIDE * SIDE; i++)
        assert_int_equal(zo2_trunk_index_find(&x, &(zo2_trunk_key){i / SIDE, i % SIDE})->at, i);
    zo2_trunk_index_free(&x);
    /* the same place, one half of the key the same, too */
    zo2_trunk_key *crowd = keys_of_one_home(2, 8);
    const zo2_trunk_entry e = entry_of(&crowd[0], 1);
    assert_int_equal(zo2_trunk_index_set(&x, &e), 1);
    for (uint64_t high = 8; high < 5000; high++)
        assert_null(zo2_trunk_index_find(&x, &(zo2_trunk_key){crowd[0].low, high}));
    for (uint64_t low = 0; low < 5000; low++)
        assert_true(low == crowd[0].low || !zo2_trunk_index_find(&x, &(zo2_trunk_key){low, 7}));
    free(crowd);
    zo2_trunk_index_free(&x);
}

/* Keys that somebody made to have one home: no more than the bound are kept, and nobody looks further. */
static void a_crowd(void **state)
{
    (void)state;
    zo2_trunk_index x = {0};
    zo2_trunk_key *keys = keys_of_one_home(CROWDED, CROWD_BITS);
    for (size_t i = 0; i < CROWDED; i++) {
        const zo2_trunk_entry e = entry_of(&keys[i], i);
        assert_int_equal(zo2_trunk_index_set(&x, &e), i < ZO2_TRUNK_MAX_PROBES);
    }
    assert_int_equal(x.n, ZO2_TRUNK_MAX_PROBES);
    for (size_t i = 0; i < CROWDED; i++)
        assert_int_equal(zo2_trunk_index_find(&x, &keys[i]) != NULL, i < ZO2_TRUNK_MAX_PROBES);
    zo2_trunk_index_remove(&x, &keys[CROWDED - 1]); /* isn't there */
    zo2_trunk_index_remove(&x, &keys[0]);
    const zo2_trunk_entry e = entry_of(&keys[CROWDED - 1], 1);
    assert_int_equal(zo2_trunk_index_set(&x, &e), 1);
    assert_int_equal(x.n, ZO2_TRUNK_MAX_PROBES);
    for (size_t i = 1; i < ZO2_TRUNK_MAX_PROBES; i++)
        assert_non_null(zo2_trunk_index_find(&x, &keys[i]));
    free(keys);
    zo2_trunk_index_free(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(against_an_array),
        cmocka_unit_test(halves_of_a_key),
        cmocka_unit_test(a_crowd),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
