/* trunk_testing.h: what the tests of trunk caches share: entries whose key and bytes a number fixes, and what must hold of
 * whatever is found. Include after cmocka.h. */
#ifndef ZO2_TESTS_UNIT_STORAGE_TRUNK_TESTING_H
#define ZO2_TESTS_UNIT_STORAGE_TRUNK_TESTING_H

#include "storage/trunk/trunk.h"
#include "storage/trunk/trunk_format.h"
#include "tests/unit/files_testing.h"

#define RUN     UINT64_C(0x0123456789ABCDEF)
#define RUN_TAG "trunk-0123456789abcdef.zo2t"
#define LONGEST 5000 /* of an entry below */

static const zo2_trunk_key test_identity = {42, 43};

static inline zo2_trunk_config test_config(const char *const *folders, uint32_t n)
{
    return (zo2_trunk_config){
        .bytes = 1 << 20, .dirs = folders, .n_dirs = n, .run = RUN, .identity = test_identity, .writable = 1};
}

static inline zo2_trunk_key test_key(uint64_t i)
{
    uint64_t s = i + 1;
    const uint64_t low = mix(&s);
    return (zo2_trunk_key){low, mix(&s)};
}

static inline uint64_t test_bytes(uint64_t i)
{
    static const uint64_t sizes[] = {8, 100, 0, 1, 7, 9, 4096, LONGEST, 48, 250};
    return sizes[i % (sizeof sizes / sizeof *sizes)];
}

static inline int test_put(zo2_trunk *t, uint64_t i)
{
    const zo2_trunk_key key = test_key(i);
    unsigned char *src = sample_bytes(i, test_bytes(i));
    const int kept = zo2_trunk_put(t, &key, src, test_bytes(i));
    free(src);
    return kept;
}

/* 1: it is there, with its own bytes. 0: it isn't. Nothing is written behind the buffer. */
static inline int test_get(zo2_trunk *t, uint64_t i)
{
    const zo2_trunk_key key = test_key(i);
    const uint64_t bytes = test_bytes(i);
    unsigned char *want = sample_bytes(i, bytes), got[LONGEST + 8];
    memset(got, 0xEE, sizeof got);
    const int has = zo2_trunk_has(t, &key, bytes), there = zo2_trunk_get(t, &key, got, bytes);
    if (there)
        assert_memory_equal(got, want, bytes);
    assert_int_equal(got[bytes], 0xEE);
    assert_true(has || !there);
    assert_int_equal(zo2_trunk_has(t, &key, bytes), there); /* damaged ones are forgotten */
    free(want);
    return there;
}

static inline void test_put_all(zo2_trunk *t, uint64_t from, uint64_t to)
{
    for (uint64_t i = from; i < to; i++)
        assert_int_equal(test_put(t, i), 1);
}

static inline void test_get_all(zo2_trunk *t, uint64_t from, uint64_t to)
{
    for (uint64_t i = from; i < to; i++)
        if (!test_get(t, i))
            fail_msg("entry %d isn't there", (int)i);
}

static inline uint64_t test_sum(uint64_t from, uint64_t to)
{
    uint64_t sum = 0;
    for (uint64_t i = from; i < to; i++)
        sum += zo2_trunk_entry_bytes(test_bytes(i));
    return sum;
}

/* A log that counts, and keeps the last message. */
typedef struct test_log {
    int infos, warnings;
    char last[1024];
} test_log;

static inline void test_log_fn(void *ud, zo2_log_level level, const char *message)
{
    test_log *l = ud;
    l->infos += level == ZO2_LOG_INFO;
    l->warnings += level == ZO2_LOG_WARNING;
    snprintf(l->last, sizeof l->last, "%s", message);
}

#define LOGGED(l, text)                                          \
    do {                                                         \
        if (!strstr((l).last, text))                             \
            fail_msg("\"%s\" is not in \"%s\"", text, (l).last); \
    } while (0)

#endif
