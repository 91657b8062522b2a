/* Journals cut and flipped at every byte: the valid prefix comes back, or the damage is named; nothing else. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/unit/engine/rundir_testing.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#define HEAD ZO2_JOURNAL_HEADER_BYTES

#define ONE_FILE "journal"
#include "tests/unit/storage/one_file_testing.h"

static void assert_file(const void *want, size_t n)
{
    size_t got_n;
    unsigned char *got = file_load(path, &got_n);
    assert_int_equal(got_n, n);
    assert_memory_equal(got, want, n);
    free(got);
}

static void cut_at_every_byte(void **state)
{
    (void)state;
    for (uint32_t q = 1; q <= ZO2_MAX_QUERIES; q += 15) {
        const size_t record = ZO2_JOURNAL_RECORD_BYTES(q);
        journal_write(path, 6, q);
        size_t n;
        unsigned char *whole = file_load(path, &n);
        for (size_t cut = 0; cut < n; cut++) {
            file_store(path, whole, cut);
            zo2_journal *j;
            if (cut < HEAD) {
                for (int writable = 0; writable <= 1; writable++) {
                    FAILS(FORMAT, zo2_journal_open(&j, &zo2_io_posix, path, writable));
                    SAYS("no steps yet");
                    assert_null(j);
                }
                assert_file(whole, cut);
                continue;
            }
            const uint64_t steps = (cut - HEAD) / record, torn = (cut - HEAD) % record;
            OK(zo2_journal_open(&j, &zo2_io_posix, path, 0));
            assert_journal(j, steps, q);
            assert_int_equal(zo2_journal_torn_bytes(j), torn);
            zo2_journal_close(j);
            assert_file(whole, cut); /* a reader cuts nothing */

            OK(zo2_journal_open(&j, &zo2_io_posix, path, 1));
            assert_journal(j, steps, q);
            assert_int_equal(zo2_journal_torn_bytes(j), torn);
            assert_file(whole, HEAD + steps * record);
            while (zo2_journal_steps(j) < 6)
                OK(append_sample(j));
            assert_file(whole, n); /* as if nothing had happened */
            zo2_journal_close(j);
        }
        free(whole);
        unlink(path);
    }
}

static void flip_every_byte(void **state)
{
    (void)state;
    const uint32_t q = 2;
    const size_t record = ZO2_JOURNAL_RECORD_BYTES(2);
    journal_write(path, 5, q);
    size_t n;
    unsigned char *b = file_load(path, &n);
    for (size_t i = 0; i < n; i++) {
        for (unsigned bit = 0; bit < 8; bit += 1 + (i > HEAD)) {
            b[i] ^= (unsigned char)(1u << bit);
            file_store(path, b, n);
            zo2_journal *j;
            if (i < HEAD + 4 * record) { /* header or a record with others after it: refused, untouched */
                for (int writable = 0; writable <= 1; writable++) {
                    FAILS(FORMAT, zo2_journal_open(&j, &zo2_io_posix, path, writable));
                    if (i >= HEAD) {
                        char where[64];
                        const size_t k = (i - HEAD) / record;
                        snprintf(where, sizeof where, "step %zu at byte %zu is damaged", k, HEAD + k * record);
                        SAYS(where);
                    }
                }
                assert_file(b, n);
            } else { /* the last record: as good as not written */
                for (int writable = 0; writable <= 1; writable++) {
                    OK(zo2_journal_open(&j, &zo2_io_posix, path, writable));
                    assert_journal(j, 4, q);
                    assert_int_equal(zo2_journal_torn_bytes(j), record);
                    zo2_journal_close(j);
                    if (!writable)
                        assert_file(b, n);
                }
                assert_file(b, n - record);
            }
            b[i] ^= (unsigned char)(1u << bit);
        }
    }
    free(b);
}

/* Bytes behind the last valid record: up to one record is a torn tail, more is damage. */
static void tails(void **state)
{
    (void)state;
    const size_t record = ZO2_JOURNAL_RECORD_BYTES(1);
    journal_write(path, 3, 1);
    size_t n;
    unsigned char *b = file_load(path, &n);
    b = realloc(b, n + 4 * record);
    assert_non_null(b);
    for (int fill = 0; fill <= 0xFF; fill += 0xFF) {
        memset(b + n, fill, 4 * record);
        for (size_t tail = 0; tail <= 4 * record; tail++) {
            file_store(path, b, n + tail);
            zo2_journal *j;
            if (tail <= record) {
                OK(zo2_journal_open(&j, &zo2_io_posix, path, 1));
                assert_journal(j, 3, 1);
                assert_int_equal(zo2_journal_torn_bytes(j), tail);
                zo2_journal_close(j);
                assert_file(b, n);
            } else {
                FAILS(FORMAT, zo2_journal_open(&j, &zo2_io_posix, path, 1));
                assert_file(b, n + tail);
            }
        }
    }
    /* a hole of a terabyte behind the records costs neither memory nor time */
    file_store(path, b, n);
    if (truncate(path, (off_t)1 << 40) == 0) {
        zo2_journal *j;
        FAILS(FORMAT, zo2_journal_open(&j, &zo2_io_posix, path, 0));
    }
    free(b);
}

/* Records out of place: each valid for itself, but not in this chain. */
static void misplaced_records(void **state)
{
    (void)state;
    const size_t record = ZO2_JOURNAL_RECORD_BYTES(1);
    journal_write(path, 6, 1);
    size_t n;
    unsigned char *b = file_load(path, &n), *c = malloc(n);
    assert_non_null(c);
    zo2_journal *j;
    for (size_t from = 0; from < 6; from++)
        for (size_t to = 0; to < 5; to++) {
            if (from == to)
                continue;
            memcpy(c, b, n);
            memcpy(c + HEAD + to * record, b + HEAD + from * record, record);
            file_store(path, c, n);
            FAILS(FORMAT, zo2_journal_open(&j, &zo2_io_posix, path, 1));
        }
    /* one missing in the middle */
    memcpy(c, b, n);
    memmove(c + HEAD + 2 * record, c + HEAD + 3 * record, 3 * record);
    file_store(path, c, n - record);
    FAILS(FORMAT, zo2_journal_open(&j, &zo2_io_posix, path, 1));
    SAYS("step 2");
    /* the records of another run behind this header */
    memcpy(c, b, n);
    zo2_run_settings s = sample_settings(1);
    s.seed = 5;
    zo2_journal_encode_head((zo2_journal_head *)(void *)c, &s);
    file_store(path, c, n);
    FAILS(FORMAT, zo2_journal_open(&j, &zo2_io_posix, path, 1));
    SAYS("step 0");
    free(b);
    free(c);
}

/* Hostile files whose checksums are right: refused by what they say, never cut. */
static void right_checksums_wrong_contents(void **state)
{
    (void)state;
    const size_t record = ZO2_JOURNAL_RECORD_BYTES(1);
    journal_write(path, 2, 1);
    size_t n;
    unsigned char *b = file_load(path, &n), *c = malloc(n);
    assert_non_null(c);
    zo2_journal *j;
    static const struct {
        size_t at;
        uint32_t value;
    } head[] = {{8, 2},
                {8, 0},
                {12, 512},
                {16, 112},
                {16, 0},
                {20, 1},
                {24, 1},
                {28, 1},
                {96, 0},
                {96, 9},
                {96, 1},
                {100, 3},
                {104, 0},
                {104, 2},
                {104, 17},
                {104, UINT32_MAX},
                {108, 65},
                {112, 0},
                {116, 0},
                {116, 4},
                {120, 0},
                {120, 4},
                {124, 0},
                {124, 4},
                {124, 0x80000001u},
                {140, 1},
                {144, 1},
                {244, 1}},
      last[] = {{0, 0},
                {4, 2},
                {8, 0},
                {8, 2},
                {12, 1},
                {32, 0x7FC00000u},
                {36, 0},
                {36, 2},
                {56, 1 /* c below */},
                {64, 0xFF800000u},
                {68, 1}};
    for (size_t i = 0; i < sizeof head / sizeof *head; i++) {
        memcpy(c, b, n);
        memcpy(c + head[i].at, &head[i].value, 4);
        const uint64_t hash = XXH3_64bits(c, HEAD - 8);
        memcpy(c + HEAD - 8, &hash, 8);
        file_store(path, c, n);
        FAILS(FORMAT, zo2_journal_open(&j, &zo2_io_posix, path, 1));
        assert_file(c, n);
    }
    for (size_t i = 0; i < sizeof last / sizeof *last; i++) {
        memcpy(c, b, n);
        unsigned char *r = c + HEAD + record;
        memcpy(r + last[i].at, &last[i].value, 4);
        const uint64_t sum = zo2_journal_checksum(r, record, zo2_journal_stored_checksum(r - record, record));
        memcpy(r + record - 8, &sum, 8);
        file_store(path, c, n);
        if (last[i].at == 56) { /* any g is fine */
            OK(zo2_journal_open(&j, &zo2_io_posix, path, 1));
            zo2_journal_close(j);
            continue;
        }
        FAILS(FORMAT, zo2_journal_open(&j, &zo2_io_posix, path, 1));
        SAYS("step 1");
        assert_file(c, n);
    }
    free(b);
    free(c);
}

/* Random bytes behind the magic, and random changes to a good file: an answer, no crash. */
static void noise(void **state)
{
    (void)state;
    uint64_t rng = 42;
    journal_write(path, 8, 3);
    size_t n;
    unsigned char *b = file_load(path, &n), *c = malloc(n);
    assert_non_null(c);
    for (int round = 0; round < 3000; round++) {
        memcpy(c, b, n);
        const size_t from = round % 2 ? 8 : 0, length = n - (size_t)(mix(&rng) % 200);
        const int changes = round % 3 ? 1 + (int)(mix(&rng) % 8) : (int)n;
        for (int k = 0; k < changes; k++)
            c[from + mix(&rng) % (n - from)] = (unsigned char)mix(&rng);
        file_store(path, c, length);
        zo2_journal *j;
        if (zo2_journal_open(&j, &zo2_io_posix, path, 0) == ZO2_OK)
            assert_journal(j, zo2_journal_steps(j), 3);
        zo2_journal_close(j);
    }
    free(b);
    free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(cut_at_every_byte, setup, teardown),
        cmocka_unit_test_setup_teardown(flip_every_byte, setup, teardown),
        cmocka_unit_test_setup_teardown(tails, setup, teardown),
        cmocka_unit_test_setup_teardown(misplaced_records, setup, teardown),
        cmocka_unit_test_setup_teardown(right_checksums_wrong_contents, setup, teardown),
        cmocka_unit_test_setup_teardown(noise, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
