/* Bundles: their bytes, as RUN.md has them; what is written is read again; cut, flipped, prolonged at every byte, or false with
 * right checksums they are refused; every operation of writing one made to fail leaves nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "storage/run/bundle.h"
#include "storage/run/bundle_format.h"
#include "tests/unit/engine/rundir_testing.h"
#include "tests/unit/storage/faulty_io.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#define HEAD ZO2_BUNDLE_HEADER_BYTES

#define ONE_FILE "tuned.zo2b"
#include "tests/unit/storage/one_file_testing.h"

/* The bundle of a journal of `have` sample steps. */
static zo2_status write_of(const zo2_io *io, uint64_t have, uint32_t queries, uint64_t steps, int force)
{
    char *journal = in_dir(dir, "journal");
    zo2_journal *j;
    unlink(journal);
    journal_write(journal, have, queries);
    OK(zo2_journal_open(&j, &zo2_io_posix, journal, 0));
    const zo2_status s = zo2_bundlefile_write(io, path, j, steps, force, NULL, NULL);
    zo2_journal_close(j);
    unlink(journal);
    free(journal);
    return s;
}

static uint32_t bits_of(float v)
{
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    return bits;
}

/* The checksums made right. */
static void seal(unsigned char *b, size_t n)
{
    uint64_t hash = XXH3_64bits(b + 256, 248);
    memcpy(b + 256 + 248, &hash, 8);
    hash = XXH3_64bits(b + 256, n - 256);
    memcpy(b + 40, &hash, 8);
    hash = XXH3_64bits(b, 248);
    memcpy(b + 248, &hash, 8);
}

static void refused(const void *b, size_t n, const char *text)
{
    zo2_bundlefile *f;
    file_store(path, b, n);
    FAILS(FORMAT, zo2_bundlefile_open(&f, &zo2_io_posix, path));
    SAYS(text);
    SAYS("tuned.zo2b");
    assert_null(f);
}

/* ---- what is written --------------------------------------------------------------------------------------------- */

/* Byte by byte from RUN.md. */
static void the_bytes(void **state)
{
    (void)state;
    enum { STEPS = 9, QUERIES = 3, RECORD = 8 + 4 * QUERIES };
    unsigned char want[HEAD + STEPS * RECORD] = {0};
    const zo2_run_settings set = sample_settings(QUERIES);
    memcpy(want, "ZO2BNDL\n", 8);
    memcpy(want + 8, (uint32_t[]){1, 512, RECORD}, 12);
    memcpy(want + 32, (uint64_t[]){STEPS}, 8);
    zo2_journal_encode_head((zo2_journal_head *)(void *)(want + 256), &set);
    for (uint64_t step = 0; step < STEPS; step++) {
        const zo2_journal_record r = sample_record(step, QUERIES);
        uint32_t words[2 + QUERIES] = {r.skipped != 0, bits_of(r.d)};
        for (uint32_t q = 0; q < QUERIES; q++)
            words[2 + q] = bits_of(r.query[q].c);
        if (r.skipped)
            memset(words + 1, 0, sizeof words - 4);
        memcpy(want + HEAD + step * RECORD, words, RECORD);
    }
    seal(want, sizeof want);
    OK(write_of(&zo2_io_posix, STEPS + 2, QUERIES, STEPS, 0));
    size_t n;
    unsigned char *got = file_load(path, &n);
    assert_int_equal(n, sizeof want);
    assert_memory_equal(got, want, n);
    free(got);
}

static void written_and_read(void **state)
{
    (void)state;
    static const uint64_t counts[] = {0, 1, 7, 8, 4095, 4096, 4097, 8193}; /* around a piece of writing */
    for (uint32_t q = 1; q <= ZO2_MAX_QUERIES; q += 5)
        for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
            zo2_bundlefile *b;
            if (q > 1 && counts[i] > 4097)
                continue;
            OK(write_of(&zo2_io_posix, counts[i], q, counts[i], 1));
            OK(zo2_bundlefile_open(&b, &zo2_io_posix, path));
            assert_int_equal(zo2_bundlefile_steps(b), counts[i]);
            size_t bytes;
            free(file_load(path, &bytes));
            assert_int_equal(zo2_bundlefile_bytes(b), bytes);
            const zo2_run_settings want = sample_settings(q);
            zo2_journal_head x, y;
            zo2_journal_encode_head(&x, &want);
            zo2_journal_encode_head(&y, zo2_bundlefile_settings(b));
            assert_memory_equal(&x, &y, sizeof x);
            for (uint64_t step = 0; step < counts[i]; step++) {
                const zo2_journal_record r = sample_record(step, q);
                zo2_journal_record got;
                zo2_bundlefile_at(b, step, &got);
                assert_int_equal(got.step, step);
                assert_int_equal(got.queries, q);
                assert_int_equal(got.skipped, r.skipped);
                assert_int_equal(bits_of(got.d), r.skipped ? 0 : bits_of(r.d));
                for (uint32_t k = 0; k < q; k++)
                    assert_int_equal(bits_of(got.query[k].c), r.skipped ? 0 : bits_of(r.query[k].c));
            }
            zo2_bundlefile_close(b);
        }
}

/* "Under 2 MB for 20,000 steps", measured. */
static void twenty_thousand_steps(void **state)
{
    (void)state;
    static const struct {
        uint32_t queries;
        size_t bytes;
    } cases[] = {{1, 240512}, {4, 480512}, {16, 1440512}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t n;
        OK(write_of(&zo2_io_posix, 20000, cases[i].queries, 20000, 1));
        free(file_load(path, &n));
        print_message("20,000 steps of %u queries: %zu bytes\n", cases[i].queries, n);
        assert_int_equal(n, cases[i].bytes);
        assert_true(n < 2000000);
    }
}

static int count_to(void *ud, const char *what, uint64_t done, uint64_t total)
{
    uint64_t *left = ud;
    assert_string_equal(what, "bundle");
    assert_true(done <= total && total == 9000);
    return !(*left)--;
}

static void cancelled(void **state)
{
    (void)state;
    char *journal = in_dir(dir, "journal");
    zo2_journal *j;
    journal_write(journal, 9000, 1);
    OK(zo2_journal_open(&j, &zo2_io_posix, journal, 0));
    for (uint64_t n = 0; n < 3; n++) {
        uint64_t left = n;
        FAILS(CANCELLED, zo2_bundlefile_write(&zo2_io_posix, path, j, 9000, 0, count_to, &left));
        assert_int_equal(count_files(dir, "tuned"), 0);
    }
    uint64_t left = 3;
    OK(zo2_bundlefile_write(&zo2_io_posix, path, j, 9000, 0, count_to, &left));
    FAILS(EXISTS, zo2_bundlefile_write(&zo2_io_posix, path, j, 9000, 0, NULL, NULL));
    OK(zo2_bundlefile_write(&zo2_io_posix, path, j, 8, 1, NULL, NULL));
    zo2_bundlefile *b;
    OK(zo2_bundlefile_open(&b, &zo2_io_posix, path));
    assert_int_equal(zo2_bundlefile_steps(b), 8);
    zo2_bundlefile_close(b);
    zo2_journal_close(j);
    free(journal);
}

/* ---- what is refused --------------------------------------------------------------------------------------------- */

static unsigned char *sample(uint64_t steps, uint32_t queries, size_t *n)
{
    OK(write_of(&zo2_io_posix, steps, queries, steps, 1));
    return file_load(path, n);
}

static void cut_at_every_byte(void **state)
{
    (void)state;
    for (uint32_t q = 1; q <= ZO2_MAX_QUERIES; q += 15) {
        size_t n;
        unsigned char *b = sample(6, q, &n);
        for (size_t cut = 0; cut < n; cut++)
            refused(b, cut, cut < 8 ? "" : "was cut");
        free(b);
    }
}

/* No bundle is taken for a shorter one because some of its records are missing, as a journal is. */
static void whole_steps_missing(void **state)
{
    (void)state;
    size_t n;
    unsigned char *b = sample(6, 1, &n);
    refused(b, n - 12, "has 572 bytes where a bundle of 6 steps has 584: it was cut");
    b = realloc(b, n + 24);
    assert_non_null(b);
    memset(b + n, 0, 24);
    for (size_t more = 1; more <= 24; more++)
        refused(b, n + more, "goes on behind its end");
    free(b);
}

static void flip_every_byte(void **state)
{
    (void)state;
    size_t n;
    unsigned char *b = sample(8, 2, &n);
    for (size_t i = 0; i < n; i++)
        for (unsigned bit = 0; bit < 8; bit++) {
            b[i] ^= (unsigned char)(1u << bit);
            refused(b, n, i < 8 ? "" : i < 256 ? "the header is damaged" : "its steps are damaged");
            b[i] ^= (unsigned char)(1u << bit);
        }
    free(b);
}

/* The steps of another run behind this one's head, settings of another run: no part fits into another bundle. */
static void mixed(void **state)
{
    (void)state;
    size_t n;
    unsigned char *b = sample(8, 1, &n), *c = malloc(n);
    assert_non_null(c);
    memcpy(c, b, n);
    zo2_run_settings s = sample_settings(1);
    s.seed = 5;
    zo2_journal_encode_head((zo2_journal_head *)(void *)(c + 256), &s);
    refused(c, n, "its steps are damaged");
    memcpy(c, b, n);
    memcpy(c + HEAD, b + HEAD + 12, 12);
    memcpy(c + HEAD + 12, b + HEAD, 12);
    refused(c, n, "its steps are damaged");
    free(b);
    free(c);
}

/* Hostile files whose checksums are right. */
static void right_checksums_wrong_contents(void **state)
{
    (void)state;
    size_t n;
    unsigned char *b = sample(8, 1, &n), *c = malloc(n);
    assert_non_null(c);
    static const struct {
        size_t at;
        uint32_t value;
        const char *says;
    } words[] = {
        {8, 0, "bundle version 0, this program reads version 1"},
        {8, 2, "bundle version 2"},
        {12, 256, "contradicts itself"},
        {16, 0, "contradicts itself"},
        {16, 11, "contradicts itself"},
        {16, 76, "contradicts itself"},
        {16, UINT32_MAX, "contradicts itself"},
        {16, 16, "where a bundle of 8 steps has 640"},
        {20, 1, "contradicts itself"},
        {24, 1, "needs features 0x1"},
        {28, 1, "needs features 0x100000000"},
        {32, 7, "where a bundle of 7 steps has 596"},
        {32, 9, "where a bundle of 9 steps has 620"},
        {36, 1, "contradicts itself"},
        {36, UINT32_MAX, "contradicts itself"},
        {48, 1, "contradicts itself"},
        {244, 1, "contradicts itself"},
        {256, 0, "not a zo2 journal"},
        {256 + 8, 2, "journal version 2"},
        {256 + 16, 112, "contradicts itself"},
        {256 + 24, 1, "contradicts itself"}, /* no choice of tensors, no turns */
        {256 + 24, 4, "needs features 0x4"},
        {256 + 100, 7, "unknown distribution"},
        {256 + 104, 0, "number of queries out of range"},
        {256 + 104, 17, "number of queries out of range"},
        {256 + 104, UINT32_MAX, "number of queries out of range"},
        {256 + 140, 1, "contradicts itself"},
        {HEAD, 2, "step 0 can't be used: unknown flags"},
        {HEAD, 0x80000001, "unknown flags"},
        {HEAD + 12, 1, "step 1 can't be used: a skipped step has coefficients"},
        {HEAD + 6 * 12, 0, NULL}, /* skipped, and now it isn't: an update of zeros, which is one */
        {HEAD + 6 * 12 + 8, 0x80000000, "step 6 can't be used: a skipped step has coefficients"},
        {HEAD + 2 * 12 + 4, 0x7F800000, "step 2 can't be used: the decay coefficient is not finite"},
        {HEAD + 7 * 12 + 8, 0xFFC00000, "step 7 can't be used: an update coefficient is not finite"},
    };
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        memcpy(c, b, n);
        memcpy(c + words[i].at, &words[i].value, 4);
        seal(c, n);
        if (words[i].says) {
            refused(c, n, words[i].says);
            continue;
        }
        zo2_bundlefile *f;
        file_store(path, c, n);
        OK(zo2_bundlefile_open(&f, &zo2_io_posix, path));
        zo2_bundlefile_close(f);
    }
    /* more queries than the records have room for */
    memcpy(c, b, n);
    memcpy(c + 256 + 104, (uint32_t[]){2}, 4);
    memcpy(c + 256 + 16, (uint32_t[]){112}, 4);
    seal(c, n);
    refused(c, n, "contradicts itself");
    /* a hole behind the header that the steps could be in, were they not too many */
    memcpy(c, b, n);
    memcpy(c + 32, (uint64_t[]){(UINT64_C(1) << 28) + 1}, 8);
    seal(c, n);
    file_store(path, c, n);
    if (truncate(path, (off_t)(HEAD + ((UINT64_C(1) << 28) + 1) * 12)) == 0) {
        zo2_bundlefile *f;
        FAILS(FORMAT, zo2_bundlefile_open(&f, &zo2_io_posix, path));
        SAYS("contradicts itself");
    }
    free(b);
    free(c);
}

static void other_things(void **state)
{
    (void)state;
    zo2_bundlefile *f;
    FAILS(NOTFOUND, zo2_bundlefile_open(&f, &zo2_io_posix, path));
    SAYS("tuned.zo2b");
    FAILS(FORMAT, zo2_bundlefile_open(&f, &zo2_io_posix, dir));
    SAYS("is a folder, not a bundle");
    char *journal = in_dir(dir, "journal.zo2j");
    journal_write(journal, 2, 1);
    FAILS(FORMAT, zo2_bundlefile_open(&f, &zo2_io_posix, journal));
    SAYS("is the journal of a run");
    FAILS(FORMAT, zo2_bundlefile_open(&f, &zo2_io_posix, dir));
    SAYS("is a run directory, not a bundle: zo2-pack export FILE OUT_DIR --run ");
    free(journal);
    refused("\x89ZO2\r\n\x1a\n", 8, "is a zo2 pack");
    refused("", 0, "");
}

/* ---- faults ------------------------------------------------------------------------------------------------------ */

static void every_fault(void **state)
{
    (void)state;
    static const struct {
        faulty_kind kind;
        int err;
        zo2_status status;
    } faults[] = {{FAULTY_FAIL, EIO, ZO2_ERR_IO}, {FAULTY_TORN, ENOSPC, ZO2_ERR_NOSPACE}, {FAULTY_SHORT, 0, ZO2_OK}};
    for (size_t k = 0; k < sizeof faults / sizeof *faults; k++)
        for (uint64_t at = 0;; at++) {
            faulty_io f;
            faulty_init(&f);
            faulty_arm(&f, FAULTY_WRITES, at, faults[k].kind, faults[k].err, 1);
            scratch_empty(dir);
            const zo2_status s = write_of(&f.io, 3, 1, 3, 0);
            const uint64_t spoilt = f.spoilt, matched = f.matched;
            faulty_free(&f);
            zo2_bundlefile *b;
            if (s) {
                assert_int_equal(s, faults[k].status);
                assert_int_equal(count_files(dir, "tuned"), 0);
            } else {
                assert_true(!spoilt || !faults[k].status);
                OK(zo2_bundlefile_open(&b, &zo2_io_posix, path));
                assert_int_equal(zo2_bundlefile_steps(b), 3);
                zo2_bundlefile_close(b);
            }
            if (at >= matched)
                break;
        }
    for (uint64_t at = 0;; at++) { /* reading */
        faulty_io f;
        zo2_bundlefile *b;
        faulty_init(&f);
        faulty_arm(&f, FAULTY_OPEN | FAULTY_PREAD, at, FAULTY_FAIL, EIO, 1);
        const zo2_status s = zo2_bundlefile_open(&b, &f.io, path);
        const uint64_t matched = f.matched;
        faulty_free(&f);
        assert_true(s == (at < matched ? ZO2_ERR_IO : ZO2_OK));
        assert_true((b == NULL) == (s != ZO2_OK));
        zo2_bundlefile_close(b);
        if (at >= matched)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_bytes, setup, teardown),
        cmocka_unit_test_setup_teardown(written_and_read, setup, teardown),
        cmocka_unit_test_setup_teardown(twenty_thousand_steps, setup, teardown),
        cmocka_unit_test_setup_teardown(cancelled, setup, teardown),
        cmocka_unit_test_setup_teardown(cut_at_every_byte, setup, teardown),
        cmocka_unit_test_setup_teardown(whole_steps_missing, setup, teardown),
        cmocka_unit_test_setup_teardown(flip_every_byte, setup, teardown),
        cmocka_unit_test_setup_teardown(mixed, setup, teardown),
        cmocka_unit_test_setup_teardown(right_checksums_wrong_contents, setup, teardown),
        cmocka_unit_test_setup_teardown(other_things, setup, teardown),
        cmocka_unit_test_setup_teardown(every_fault, setup, teardown),
    };
    return cmocka_run_group_tests_name("bundle", tests, NULL, NULL);
}
