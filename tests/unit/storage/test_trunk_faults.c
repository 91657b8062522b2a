/* Every operation of a trunk cache's files fails, in several ways: nothing but opening returns an error, what is found is right, the
 * log says what was lost, once, and the next session goes on with what is there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/unit/storage/faulty_io.h"
#include "tests/unit/storage/trunk_dirs_testing.h"

enum { BEFORE = 6, AFTER = 14 }; /* entries of the first session, and with those of the second */

static faulty_io f;

static zo2_trunk_config logged(uint32_t n_dirs)
{
    zo2_trunk_config c = test_config(dirs, n_dirs);
    c.log = test_log_fn;
    c.log_ud = &heard;
    c.io = &f.io;
    return c;
}

/* Two sessions; the second reads what the first kept and adds more. What it finds is right or absent. 1: it opened. */
static int second_session(const zo2_trunk_config *c)
{
    zo2_trunk *t;
    const zo2_status s = zo2_trunk_open(&t, c);
    if (s) {
        assert_int_equal(s, ZO2_ERR_IO);
        SAYS(RUN_TAG);
        assert_null(t);
        return 0;
    }
    uint64_t kept = 0, found = 0;
    for (uint64_t i = 0; i < AFTER; i++) {
        (void)test_get(t, i);
        kept += (uint64_t)test_put(t, i);
        found += (uint64_t)test_get(t, i);
        if (i % 4 == 3)
            (void)zo2_trunk_sync(t);
    }
    assert_true(found <= kept + 1); /* a read may fail behind a write that didn't */
    zo2_trunk_close(t);
    return 1;
}

static void first_session(uint32_t n_dirs)
{
    zo2_trunk *t;
    const zo2_trunk_config c = test_config(dirs, n_dirs);
    scratch_empty(dir[0]);
    scratch_empty(dir[1]);
    OK(zo2_trunk_open(&t, &c));
    test_put_all(t, 0, BEFORE);
    zo2_trunk_close(t);
}

/* Whatever happened: a later session finds only what is right, and has room for all. */
static uint64_t third_session(uint32_t n_dirs)
{
    zo2_trunk *t;
    uint64_t there = 0;
    const zo2_trunk_config c = test_config(dirs, n_dirs);
    OK(zo2_trunk_open(&t, &c));
    for (uint64_t i = 0; i < AFTER; i++)
        there += (uint64_t)test_get(t, i);
    test_put_all(t, 0, AFTER);
    test_get_all(t, 0, AFTER);
    zo2_trunk_close(t);
    OK(zo2_trunk_open(&t, &c));
    test_get_all(t, 0, AFTER);
    zo2_trunk_close(t);
    return there;
}

static void every_operation(void **state)
{
    (void)state;
    static const struct {
        int mask;
        faulty_kind kind;
        int err;
        uint64_t repeat;
    } faults[] = {
        {FAULTY_WRITES, FAULTY_FAIL, EIO, 1}, {FAULTY_WRITES, FAULTY_FAIL, ENOSPC, 1},
        {FAULTY_WRITES, FAULTY_FAIL, EIO, 0}, {FAULTY_WRITES, FAULTY_TORN, ENOSPC, 0},
        {FAULTY_WRITES, FAULTY_TORN, EIO, 1}, {FAULTY_PWRITE, FAULTY_FLIP, 0, 1},
        {FAULTY_PWRITE, FAULTY_SHORT, 0, 0},  {FAULTY_PREAD, FAULTY_FAIL, EIO, 1},
        {FAULTY_PREAD, FAULTY_FAIL, EIO, 0},  {FAULTY_PREAD, FAULTY_EOF, 0, 1},
        {FAULTY_PREAD, FAULTY_FLIP, 0, 1},    {FAULTY_PREAD, FAULTY_SHORT, 0, 0},
        {FAULTY_ALL, FAULTY_TORN, EIO, 0}, /* as if the process had ended there */
    };
    for (uint32_t n_dirs = 1; n_dirs <= 2; n_dirs++)
        for (size_t k = 0; k < sizeof faults / sizeof *faults; k++)
            for (uint64_t at = 0;; at++) {
                first_session(n_dirs);
                heard = (test_log){0};
                faulty_init(&f);
                faulty_arm(&f, faults[k].mask, at, faults[k].kind, faults[k].err, faults[k].repeat);
                const zo2_trunk_config c = logged(n_dirs);
                const int opened = second_session(&c), harmless = faults[k].kind == FAULTY_SHORT;
                const uint64_t matched = f.matched, spoilt = f.spoilt;
                faulty_free(&f);
                assert_true(heard.warnings <= 6);
                if (harmless || !spoilt) {
                    assert_true(opened);
                    assert_int_equal(heard.warnings + heard.infos, 0);
                    assert_int_equal(third_session(n_dirs), AFTER);
                } else {
                    const uint64_t there = third_session(n_dirs);
                    /* what was synced before is lost only with a header that was read wrong */
                    assert_true(there >= BEFORE || (faults[k].kind == FAULTY_FLIP && heard.warnings + heard.infos) ||
                                faults[k].mask == FAULTY_PWRITE);
                }
                if (at >= matched)
                    break;
            }
}

/* The disk is full at entry 3 of the second session: what was kept is read, the log says so once, the file isn't longer. */
static void no_space(void **state)
{
    (void)state;
    first_session(1);
    size_t before, after;
    free(file_load(path, &before));
    faulty_init(&f);
    zo2_trunk *t;
    const zo2_trunk_config c = logged(1);
    OK(zo2_trunk_open(&t, &c));
    test_put_all(t, BEFORE, BEFORE + 3);
    faulty_arm(&f, FAULTY_PWRITE, 0, FAULTY_TORN, ENOSPC, 0);
    for (uint64_t i = BEFORE + 3; i < AFTER; i++)
        assert_int_equal(test_put(t, i), 0);
    assert_int_equal(f.matched, 1); /* not tried again */
    assert_int_equal(heard.warnings, 1);
    assert_int_equal(heard.infos, 1);
    LOGGED(heard, "takes no more: no file takes entries");
    test_get_all(t, 0, BEFORE + 3);
    assert_int_equal(zo2_trunk_stats_of(t).full, 1);
    zo2_trunk_close(t);
    assert_int_equal(heard.warnings, 1);
    free(file_load(path, &after));
    assert_int_equal(after, 256 + test_sum(0, BEFORE + 3));
    faulty_free(&f);
}

/* The process ends between the two writes of a record: without its header it is none, whatever its payload is. */
static void payload_first(void **state)
{
    (void)state;
    first_session(1);
    faulty_init(&f);
    zo2_trunk *t;
    const zo2_trunk_config c = logged(1);
    OK(zo2_trunk_open(&t, &c));
    faulty_arm(&f, FAULTY_ALL, 1, FAULTY_FAIL, EIO, 0);
    assert_int_equal(test_put(t, 7), 0); /* 5,000 bytes */
    zo2_trunk_close(t);
    faulty_free(&f);
    size_t n;
    unsigned char *b = file_load(path, &n), *want = sample_bytes(7, test_bytes(7));
    const size_t end = 256 + test_sum(0, BEFORE);
    static const unsigned char none[48];
    assert_int_equal(n, end + 48 + test_bytes(7));
    assert_memory_equal(b + end, none, 48);
    assert_memory_equal(b + end + 48, want, test_bytes(7));
    free(b);
    free(want);
    assert_int_equal(third_session(1), BEFORE);
}

/* What can't be begun or cut when it is opened gets nothing, and is in order for the next session. */
static void nothing_is_kept(const char *text, uint64_t there)
{
    zo2_trunk *t;
    const zo2_trunk_config c = logged(1);
    OK(zo2_trunk_open(&t, &c));
    assert_int_equal(heard.warnings, 1);
    LOGGED(heard, text);
    for (uint64_t i = 0; i < AFTER; i++)
        assert_int_equal(test_put(t, i), i < there);
    test_get_all(t, 0, there);
    assert_int_equal(zo2_trunk_stats_of(t).full, 1);
    zo2_trunk_close(t);
    faulty_free(&f);
    heard = (test_log){0};
    assert_int_equal(third_session(1), there);
}

static void cannot_begin(void **state)
{
    (void)state;
    static const faulty_kind kinds[] = {FAULTY_FAIL, FAULTY_TORN};
    for (int k = 0; k < 2; k++) {
        scratch_empty(dir[0]);
        faulty_init(&f);
        faulty_arm(&f, FAULTY_PWRITE, 0, kinds[k], ENOSPC, 1);
        nothing_is_kept("no rows are kept there", 0);
    }
    scratch_empty(dir[0]); /* nor is there room for its name */
    faulty_init(&f);
    faulty_arm(&f, FAULTY_OPEN, 0, FAULTY_FAIL, ENOSPC, 1);
    nothing_is_kept("no rows are kept there", 0);
}

static void cannot_cut(void **state)
{
    (void)state;
    first_session(1);
    assert_int_equal(truncate(path, (off_t)(256 + test_sum(0, 4) + 50)), 0);
    faulty_init(&f);
    faulty_arm(&f, FAULTY_FTRUNCATE, 0, FAULTY_FAIL, EIO, 1);
    nothing_is_kept("cannot cut", 4);
}

static void cannot_begin_anew(void **state)
{
    (void)state;
    first_session(1);
    faulty_init(&f);
    faulty_arm(&f, FAULTY_FTRUNCATE, 0, FAULTY_FAIL, EIO, 1);
    zo2_trunk *t;
    zo2_trunk_config c = logged(1);
    c.identity.low++;
    OK(zo2_trunk_open(&t, &c));
    LOGGED(heard, "cannot empty");
    assert_int_equal(zo2_trunk_stats_of(t).entries, 0);
    assert_int_equal(test_put(t, 0), 0);
    zo2_trunk_close(t);
    faulty_free(&f);
    assert_int_equal(third_session(1), BEFORE); /* it is still the other one's */
}

/* Who only reads does without a file that can't be opened; who would write is told. */
static void cannot_open(void **state)
{
    (void)state;
    first_session(2);
    faulty_init(&f);
    zo2_trunk *t;
    zo2_trunk_config c = logged(2);
    faulty_arm(&f, FAULTY_OPEN, 0, FAULTY_FAIL, EACCES, 1);
    FAILS(IO, zo2_trunk_open(&t, &c));
    SAYS(path);
    assert_int_equal(heard.warnings, 0);
    c.writable = 0;
    faulty_arm(&f, FAULTY_OPEN, 0, FAULTY_FAIL, EACCES, 1);
    OK(zo2_trunk_open(&t, &c));
    assert_int_equal(heard.warnings, 1);
    LOGGED(heard, path);
    uint64_t found = 0;
    for (uint64_t i = 0; i < BEFORE; i++)
        found += (uint64_t)test_get(t, i);
    assert_in_range(found, 1, BEFORE - 1); /* those of the other folder */
    zo2_trunk_close(t);
    faulty_free(&f);
    assert_int_equal(third_session(2), BEFORE);
}

/* More than the machine has: said once, and smaller ones are kept. */
static void no_memory(void **state)
{
    (void)state;
    zo2_trunk *t;
    zo2_trunk_config c = logged(0);
    c.bytes = UINT64_MAX;
    OK(zo2_trunk_open(&t, &c));
    test_put_all(t, 0, 3);
    for (uint64_t i = 100; i < 103; i++) {
        const zo2_trunk_key key = test_key(i);
        assert_int_equal(zo2_trunk_put(t, &key, &key, UINT64_C(1) << 61), 0); /* none of it is read */
        assert_false(zo2_trunk_has(t, &key, UINT64_C(1) << 61));
    }
    assert_int_equal(heard.infos, 1);
    LOGGED(heard, "the trunk cache has 3 entries and takes no more: cannot allocate 2305843009213693952 bytes");
    test_put_all(t, 3, AFTER);
    test_get_all(t, 0, AFTER);
    zo2_trunk_close(t);
}

/* Headers that can't be read now may be readable later: the file is neither cut nor begun anew. */
static void cannot_scan(void **state)
{
    (void)state;
    for (uint64_t at = 0; at < 2; at++) { /* the header, the records */
        first_session(1);
        faulty_init(&f);
        faulty_arm(&f, FAULTY_PREAD, at, FAULTY_FAIL, EIO, 1);
        zo2_trunk *t;
        const zo2_trunk_config c = logged(1);
        heard = (test_log){0};
        OK(zo2_trunk_open(&t, &c));
        assert_int_equal(heard.warnings, 1);
        LOGGED(heard, "no more are kept there");
        assert_int_equal(test_put(t, AFTER), 0);
        zo2_trunk_close(t);
        assert_int_equal(faulty_count(&f, FAULTY_PWRITE | FAULTY_FTRUNCATE), 0);
        faulty_free(&f);
        assert_int_equal(third_session(1), BEFORE);
    }
}

/* One of two disks fails: the other one takes all. */
static void one_disk_fails(void **state)
{
    (void)state;
    faulty_init(&f);
    zo2_trunk *t;
    const zo2_trunk_config c = logged(2);
    OK(zo2_trunk_open(&t, &c));
    faulty_arm(&f, FAULTY_PWRITE, 0, FAULTY_FAIL, EIO, 1);
    test_put_all(t, 0, 20);
    test_get_all(t, 0, 20);
    assert_int_equal(heard.warnings, 1);
    LOGGED(heard, "no more rows are kept there");
    assert_int_equal(zo2_trunk_stats_of(t).full, 0);
    zo2_trunk_close(t);
    assert_int_equal(heard.warnings + heard.infos, 1);
    faulty_free(&f);
    assert_int_equal(third_session(2), AFTER);
}

/* A sync that fails is told once, and never made again. */
static void a_failed_sync(void **state)
{
    (void)state;
    faulty_init(&f);
    zo2_trunk *t;
    const zo2_trunk_config c = logged(1);
    OK(zo2_trunk_open(&t, &c));
    test_put_all(t, 0, 3);
    OK(zo2_trunk_sync(t));
    test_put_all(t, 3, 5);
    faulty_arm(&f, FAULTY_SYNCS, 0, FAULTY_FAIL, EIO, 1);
    FAILS(IO, zo2_trunk_sync(t));
    SAYS(path);
    LOGGED(heard, "cannot sync");
    OK(zo2_trunk_sync(t));
    assert_int_equal(test_put(t, 5), 0);
    test_get_all(t, 0, 5);
    zo2_trunk_close(t);
    assert_int_equal(f.matched, 1);
    assert_int_equal(heard.warnings, 1);
    faulty_free(&f);
}

/* A read that fails costs this entry; put again it is there again, also for the next session. */
static void a_failed_read(void **state)
{
    (void)state;
    first_session(1);
    faulty_init(&f);
    zo2_trunk *t;
    const zo2_trunk_config c = logged(1);
    OK(zo2_trunk_open(&t, &c));
    faulty_arm(&f, FAULTY_PREAD, 0, FAULTY_FAIL, EIO, 2);
    assert_int_equal(test_get(t, 0), 0);
    assert_int_equal(test_get(t, 1), 0);
    assert_int_equal(heard.warnings, 1);
    LOGGED(heard, "cannot read 8 bytes");
    LOGGED(heard, "computed again");
    test_get_all(t, 2, BEFORE);
    test_put_all(t, 0, 2);
    test_get_all(t, 0, BEFORE);
    assert_int_equal(zo2_trunk_stats_of(t).damaged, 2);
    zo2_trunk_close(t);
    faulty_free(&f);
    assert_int_equal(third_session(1), BEFORE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(every_operation), TEST(no_space),          TEST(payload_first), TEST(cannot_begin),
        TEST(cannot_cut),      TEST(cannot_begin_anew), TEST(cannot_open),   TEST(no_memory),
        TEST(cannot_scan),     TEST(one_disk_fails),    TEST(a_failed_sync), TEST(a_failed_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
