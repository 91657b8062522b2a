/* Journals that nothing happens to: what goes in comes out, bit for bit; what may not go in is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/unit/engine/rundir_testing.h"

#include <math.h>
#include <sys/stat.h>

#define ONE_FILE "journal"
#include "tests/unit/storage/one_file_testing.h"

/* As the header stores them: a memcmp() of the structs would compare padding. */
static void assert_settings(const zo2_run_settings *got, const zo2_run_settings *want)
{
    zo2_journal_head a, b;
    zo2_journal_encode_head(&a, got);
    zo2_journal_encode_head(&b, want);
    assert_memory_equal(&a, &b, sizeof a);
}

static void round_trip(void **state)
{
    (void)state;
    for (uint32_t q = 1; q <= ZO2_MAX_QUERIES; q++) {
        const zo2_run_settings want = sample_settings(q);
        const uint64_t steps = q == 1 ? 2500 : 10 + 3 * q; /* more than a read, and than the array's first size */
        zo2_journal *j;
        OK(zo2_journal_create(&j, &zo2_io_posix, path, &want));
        assert_int_equal(zo2_journal_steps(j), 0);
        uint64_t *chain = calloc(steps + 1, sizeof *chain);
        assert_non_null(chain);
        chain[0] = zo2_journal_chain(j, 0);
        for (uint64_t i = 0; i < steps; i++) {
            OK(append_sample(j));
            chain[i + 1] = zo2_journal_chain(j, i + 1);
            assert_int_not_equal(chain[i + 1], chain[i]);
        }
        assert_journal(j, steps, q);
        zo2_journal_close(j);

        for (int writable = 0; writable <= 1; writable++) {
            OK(zo2_journal_open(&j, &zo2_io_posix, path, writable));
            assert_settings(zo2_journal_settings(j), &want);
            assert_journal(j, steps, q);
            assert_int_equal(zo2_journal_torn_bytes(j), 0);
            for (uint64_t i = 0; i <= steps; i++)
                assert_int_equal(zo2_journal_chain(j, i), chain[i]);
            if (!writable) {
                FAILS(ARG, append_sample(j));
            } else {
                OK(append_sample(j));
            }
            zo2_journal_close(j);
        }
        struct stat st;
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_size, 256 + (steps + 1) * (48 + 32 * q));
        free(chain);
        assert_int_equal(scratch_empty(dir), 1);
    }
}

static void assert_bytes(const unsigned char *b, size_t at, uint64_t want, size_t n)
{
    uint64_t got = 0;
    memcpy(&got, b + at, n);
    if (got != want)
        fail_msg("byte %zu: 0x%llx, not 0x%llx", at, (unsigned long long)got, (unsigned long long)want);
}

/* RUN.md's bytes, each field at its place: if this test fails, old runs can't be resumed. */
static void golden_bytes(void **state)
{
    (void)state;
    const zo2_run_settings s = sample_settings(1);
    zo2_journal_record r;
    memset(&r, 0, sizeof r);
    r.tokens = 0x1122334455;
    r.data_position = 0x66778899AA;
    r.d = 0.5f;
    r.queries = 1;
    r.query[0] = (zo2_journal_query){.loss_plus = 1.5, .loss_minus = -2, .g_raw = 4, .g_clipped = 2, .c = 0.25f};
    zo2_journal *j;
    OK(zo2_journal_create(&j, &zo2_io_posix, path, &s));
    OK(zo2_journal_append(j, &r));
    r.step = 1;
    r.skipped = 5; /* any non-zero value */
    OK(zo2_journal_append(j, &r));
    assert_int_equal(zo2_journal_at(j, 1)->skipped, 1);
    zo2_journal_close(j);

    size_t n;
    unsigned char *b = file_load(path, &n);
    assert_int_equal(n, 256 + 2 * 80);
    assert_memory_equal(b, "ZO2JRNL\n", 8);
    static const struct {
        size_t at;
        uint64_t value;
        size_t n;
    } want[] = {
        {8, 1, 4}, /* version, header bytes, record bytes */
        {12, 256, 4},
        {16, 80, 4},
        {20, 0, 4},
        {24, 0, 8},
        {32, 0x0123456789ABCDEF, 8}, /* model hash, seed */
        {40, UINT64_MAX, 8},
        {48, 0x3EB0C6F7A0B5ED8D, 8}, /* 1e-6, 1e-3, 0.1, 2.5 */
        {56, 0x3F50624DD2F1A9FC, 8},
        {64, 0x3FB999999999999A, 8},
        {72, 0x4004000000000000, 8},
        {80, 17, 8},
        {88, 20000, 8},
        {96, 2, 4}, /* linear, rademacher, one query, K = 3 */
        {100, 2, 4},
        {104, 1, 4},
        {108, 3, 4},
        {112, UINT32_MAX, 4}, /* whole batch, e4m3, fp16, cpu */
        {116, 3, 4},
        {120, 2, 4},
        {124, 1, 4},
        {128, 1, 4}, /* versions of noise, tile rule, decay set */
        {132, 2, 4},
        {136, 3, 4},
        {140, 0, 4},
        {248, 0xBDB7C1DE56568F2D, 8}, /* hash */
        {256, 0x4345525A, 4},         /* a record */
        {260, 0, 4},
        {264, 0, 8},
        {272, 0x1122334455, 8},
        {280, 0x66778899AA, 8},
        {288, 0x3F000000, 4},
        {292, 1, 4},
        {296, 0x3FF8000000000000, 8},
        {304, 0xC000000000000000, 8},
        {312, 0x40800000, 4},
        {316, 0x40000000, 4},
        {320, 0x3E800000, 4},
        {324, 0, 4},
        {336 + 4, 1, 4}, /* the next: skipped, step 1 */
        {336 + 8, 1, 8},
        {408, 0x37783C4FEBA18696, 8} /* chain */,
    };
    for (size_t i = 0; i < sizeof want / sizeof *want; i++)
        assert_bytes(b, want[i].at, want[i].value, want[i].n);
    free(b);
}

static void create_refuses(void **state)
{
    (void)state;
    zo2_run_settings s = sample_settings(1);
    zo2_journal *j = (void *)&s;
#define REFUSED(field, value, text)                                  \
    do {                                                             \
        s = sample_settings(1);                                      \
        s.field = (value);                                           \
        FAILS(ARG, zo2_journal_create(&j, &zo2_io_posix, path, &s)); \
        assert_null(j);                                              \
        SAYS(text);                                                  \
    } while (0)
    REFUSED(lr, (double)NAN, "lr");
    REFUSED(lr, -1, "lr");
    REFUSED(eps, 0, "eps");
    REFUSED(eps, (double)INFINITY, "eps");
    REFUSED(weight_decay, (double)NAN, "weight decay");
    REFUSED(clip, -0.5, "clip");
    REFUSED(schedule, (zo2_schedule)0, "schedule");
    REFUSED(schedule, (zo2_schedule)4, "schedule");
    REFUSED(schedule, ZO2_CONSTANT, "total");
    REFUSED(total_steps, 0, "total");
    REFUSED(dist, (zo2_dist)3, "distribution");
    REFUSED(queries, 0, "queries");
    REFUSED(queries, ZO2_MAX_QUERIES + 1, "queries");
    REFUSED(pending, ZO2_MAX_PENDING + 1, "pending");
    REFUSED(micro_batch, 0, "micro-batch");
    REFUSED(wire, (zo2_wire)0, "wire");
    REFUSED(wire, (zo2_wire)99, "wire");
    REFUSED(compute, (zo2_dtype)0, "compute");
    REFUSED(backend, ZO2_BACKEND_AUTO, "backend");
#undef REFUSED
    assert_int_equal(count_files(dir, ""), 0);

    s = sample_settings(1);
    file_store(path, "mine", 4);
    FAILS(EXISTS, zo2_journal_create(&j, &zo2_io_posix, path, &s));
    size_t n;
    unsigned char *b = file_load(path, &n);
    assert_int_equal(n, 4);
    free(b);
    char *lost = in_dir(dir, "no-such-folder/journal");
    FAILS(NOTFOUND, zo2_journal_create(&j, &zo2_io_posix, lost, &s));
    free(lost);
}

static void create_removes_leftovers(void **state)
{
    (void)state;
    static const char *const names[] = {"journal.tmp-1", "journal.tmp-99999999", "metrics.jsonl", "other.tmp-1"};
    for (size_t i = 0; i < 4; i++) {
        char *p = in_dir(dir, names[i]);
        file_store(p, "x", 1);
        free(p);
    }
    journal_write(path, 1, 1);
    assert_int_equal(count_files(dir, "journal.tmp"), 0);
    assert_int_equal(count_files(dir, ""), 3);
}

static void append_refuses(void **state)
{
    (void)state;
    journal_write(path, 3, 2);
    zo2_journal *j;
    OK(zo2_journal_open(&j, &zo2_io_posix, path, 1));
    zo2_journal_record r = sample_record(2, 2);
    FAILS(ARG, zo2_journal_append(j, &r));
    r = sample_record(4, 2);
    FAILS(ARG, zo2_journal_append(j, &r));
    r = sample_record(3, 1);
    FAILS(ARG, zo2_journal_append(j, &r));
    r = sample_record(3, 2);
    r.query[1].c = NAN;
    FAILS(NONFINITE, zo2_journal_append(j, &r));
    r = sample_record(3, 2);
    r.d = -INFINITY;
    FAILS(NONFINITE, zo2_journal_append(j, &r));
    SAYS("step 3");
    OK(append_sample(j)); /* nothing was written, so nothing is broken */
    assert_journal(j, 4, 2);
    zo2_journal_close(j);
    OK(zo2_journal_open(&j, &zo2_io_posix, path, 0));
    assert_journal(j, 4, 2);
    zo2_journal_close(j);
}

static void open_refuses(void **state)
{
    (void)state;
    zo2_journal *j = NULL;
    FAILS(NOTFOUND, zo2_journal_open(&j, &zo2_io_posix, path, 1));
    SAYS(path);
    file_store(path, "", 0);
    FAILS(FORMAT, zo2_journal_open(&j, &zo2_io_posix, path, 1));
    SAYS("no steps yet");
    unlink(path);
    assert_int_equal(mkfifo(path, 0600), 0);
    FAILS(FORMAT, zo2_journal_open(&j, &zo2_io_posix, path, 0));
    assert_null(j);
    zo2_journal_close(NULL);
}

/* A reader sees the steps that were there when it opened, whatever the writer does meanwhile. */
static void reader_beside_writer(void **state)
{
    (void)state;
    const zo2_run_settings s = sample_settings(1);
    zo2_journal *w, *r;
    OK(zo2_journal_create(&w, &zo2_io_posix, path, &s));
    for (uint64_t i = 0; i < 60; i++) {
        OK(zo2_journal_open(&r, &zo2_io_posix, path, 0));
        assert_journal(r, i, 1);
        OK(append_sample(w));
        assert_journal(r, i, 1);
        zo2_journal_close(r);
    }
    /* half a record under way: the reader leaves it alone, the writer completes it */
    FILE *f = fopen(path, "ab");
    assert_non_null(f);
    assert_int_equal(fwrite("ZREC and more", 1, 13, f), 13);
    fclose(f);
    OK(zo2_journal_open(&r, &zo2_io_posix, path, 0));
    assert_journal(r, 60, 1);
    assert_int_equal(zo2_journal_torn_bytes(r), 13);
    zo2_journal_close(r);
    OK(append_sample(w));
    OK(zo2_journal_open(&r, &zo2_io_posix, path, 0));
    assert_journal(r, 61, 1);
    zo2_journal_close(r);
    zo2_journal_close(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(round_trip, setup, teardown),
        cmocka_unit_test_setup_teardown(golden_bytes, setup, teardown),
        cmocka_unit_test_setup_teardown(create_refuses, setup, teardown),
        cmocka_unit_test_setup_teardown(create_removes_leftovers, setup, teardown),
        cmocka_unit_test_setup_teardown(append_refuses, setup, teardown),
        cmocka_unit_test_setup_teardown(open_refuses, setup, teardown),
        cmocka_unit_test_setup_teardown(reader_beside_writer, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
