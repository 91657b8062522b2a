/* test_run_choice.c: runs that move a part of the model: the choice of tensors behind a journal's header, and in a bundle. Its bytes as
 * RUN.md has them; what is written is read again; cut, flipped, or false with right checksums it is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "storage/run/bundle.h"
#include "storage/run/bundle_format.h"
#include "tests/unit/engine/rundir_testing.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#define HEAD   ZO2_JOURNAL_HEADER_BYTES
#define CHOICE "matrices=4-5+rows=12,98-103" /* 27 bytes: 5 more until records begin */
#define PADDED 32

#define ONE_FILE "journal"
#include "tests/unit/storage/one_file_testing.h"

static zo2_run_settings settings_of(const char *tune)
{
    zo2_run_settings s = sample_settings(1);
    s.tune = tune;
    return s;
}

/* A journal of `steps` sample steps of a run with this choice. */
static void write_journal(const char *to, const char *tune, uint64_t steps)
{
    const zo2_run_settings s = settings_of(tune);
    zo2_journal *j;
    OK(zo2_journal_create(&j, &zo2_io_posix, to, &s));
    for (uint64_t i = 0; i < steps; i++)
        OK(append_sample(j));
    zo2_journal_close(j);
}

static void seal(unsigned char *b)
{
    const uint64_t hash = XXH3_64bits(b, 248);
    memcpy(b + 248, &hash, 8);
}

static void put32(unsigned char *b, size_t at, uint32_t v)
{
    memcpy(b + at, &v, 4);
}

static uint32_t get32(const unsigned char *b, size_t at)
{
    uint32_t v;
    memcpy(&v, b + at, 4);
    return v;
}

static void refused(const unsigned char *b, size_t n, const char *text)
{
    zo2_journal *j;
    file_store(path, b, n);
    for (int writable = 0; writable <= 1; writable++) {
        FAILS(FORMAT, zo2_journal_open(&j, &zo2_io_posix, path, writable));
        SAYS(text);
        SAYS(path);
        assert_null(j);
    }
    size_t have;
    unsigned char *after = file_load(path, &have);
    assert_int_equal(have, n);
    assert_memory_equal(after, b, n);
    free(after);
}

/* ---- journals ---------------------------------------------------------------------------------------------------- */

/* RUN.md's bytes: if this test fails, runs that tune a part can't be resumed. */
static void golden_bytes(void **state)
{
    (void)state;
    zo2_run_settings s = settings_of(CHOICE);
    s.tune_rotate = 100;
    s.tune_order = ZO2_ORDER_RANDOM;
    s.trunk_type = ZO2_BF16;
    s.frozen_wire = ZO2_WIRE_FP16;
    zo2_journal *j;
    OK(zo2_journal_create(&j, &zo2_io_posix, path, &s));
    OK(append_sample(j));
    zo2_journal_close(j);
    size_t n;
    unsigned char *b = file_load(path, &n);
    assert_int_equal(n, HEAD + PADDED + 80);
    assert_int_equal(get32(b, 8), 1);
    assert_int_equal(get32(b, 12), HEAD + PADDED);
    assert_int_equal(get32(b, 24), 3);
    assert_int_equal(get32(b, 28), 0);
    assert_int_equal(get32(b, 144), 100);
    assert_int_equal(get32(b, 148), 2);
    assert_int_equal(get32(b, 152), 2);
    assert_int_equal(get32(b, 156), strlen(CHOICE));
    assert_int_equal(get32(b, 160) | (uint64_t)get32(b, 164) << 32, UINT64_C(0x92DCADF78CAE5409));
    assert_int_equal(get32(b, 168), 5);
    for (size_t i = 172; i < 248; i++)
        assert_int_equal(b[i], 0);
    assert_memory_equal(b + HEAD, CHOICE "\0\0\0\0\0", PADDED);
    assert_memory_equal(b + HEAD + PADDED, "ZREC", 4);
    free(b);
}

/* A run of the whole model has the header that it always had; one of turns alone says that it has them. */
static void what_is_required(void **state)
{
    (void)state;
    zo2_journal_head h;
    zo2_run_settings s = settings_of(NULL);
    zo2_journal_encode_head(&h, &s);
    assert_true(h.required == 0 && h.header_bytes == HEAD && !h.tune_bytes && !h.tune_hash);
    assert_true(h.tune_rotate == 0 && h.tune_order == 0 && h.trunk_type == 0);
    s.tune_rotate = 7;
    zo2_journal_encode_head(&h, &s);
    assert_true(h.required == ZO2_JOURNAL_TUNES && h.header_bytes == HEAD && !h.tune_bytes);
    zo2_run_settings again;
    OK(zo2_journal_decode_head(&h, &again, "turns"));
    assert_true(again.tune_rotate == 7 && again.tune_order == ZO2_ORDER_TOP && again.trunk_type == ZO2_F32);
    /* The run's wire is stored as what it was before frozen matrices could have another. */
    assert_true(h.frozen_wire == 0 && again.frozen_wire == again.wire);
    s.frozen_wire = ZO2_WIRE_FP32;
    zo2_journal_encode_head(&h, &s);
    assert_true(h.required == (ZO2_JOURNAL_TUNES | ZO2_JOURNAL_FROZEN_WIRE) && h.frozen_wire == ZO2_WIRE_FP32);
    OK(zo2_journal_decode_head(&h, &again, "wires"));
    assert_true(again.frozen_wire == ZO2_WIRE_FP32 && again.wire == s.wire);
}

/* Texts of every length around the padding, and the longest. */
static void round_trip(void **state)
{
    (void)state;
    char *text = malloc(ZO2_JOURNAL_TUNE_MOST + 1);
    assert_non_null(text);
    memset(text, 'a', ZO2_JOURNAL_TUNE_MOST);
    const size_t lengths[] = {1, 7, 8, 9, 15, 16, 17, 4095, 4096, ZO2_JOURNAL_TUNE_MOST - 1, ZO2_JOURNAL_TUNE_MOST};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        text[lengths[i]] = '\0';
        write_journal(path, text, 3);
        for (int writable = 0; writable <= 1; writable++) {
            zo2_journal *j;
            OK(zo2_journal_open(&j, &zo2_io_posix, path, writable));
            assert_string_equal(zo2_journal_settings(j)->tune, text);
            assert_journal(j, 3 + (uint64_t)0, 1);
            assert_int_equal(zo2_journal_torn_bytes(j), 0);
            zo2_journal_close(j);
        }
        zo2_journal *j;
        OK(zo2_journal_open(&j, &zo2_io_posix, path, 1));
        OK(append_sample(j));
        zo2_journal_close(j);
        OK(zo2_journal_open(&j, &zo2_io_posix, path, 0));
        assert_journal(j, 4, 1);
        zo2_journal_close(j);
        unlink(path);
        text[lengths[i]] = 'a';
    }
    free(text);
}

/* Two runs that differ in their choices alone have different chains: no record fits the other. */
static void choice_is_of_the_chain(void **state)
{
    (void)state;
    char *other = in_dir(dir, "other");
    zo2_journal *a, *b;
    write_journal(path, "layers=4", 1);
    write_journal(other, "layers=5", 1);
    OK(zo2_journal_open(&a, &zo2_io_posix, path, 0));
    OK(zo2_journal_open(&b, &zo2_io_posix, other, 0));
    assert_true(zo2_journal_chain(a, 0) != zo2_journal_chain(b, 0));
    assert_true(zo2_journal_chain(a, 1) != zo2_journal_chain(b, 1));
    zo2_journal_close(a);
    zo2_journal_close(b);
    free(other);
}

static void cut_at_every_byte(void **state)
{
    (void)state;
    size_t n;
    write_journal(path, CHOICE, 4);
    unsigned char *whole = file_load(path, &n);
    for (size_t cut = 0; cut < n; cut++) {
        if (cut < HEAD + PADDED) {
            refused(whole, cut, cut < HEAD ? "no steps yet" : "it was cut");
            continue;
        }
        zo2_journal *j;
        file_store(path, whole, cut);
        OK(zo2_journal_open(&j, &zo2_io_posix, path, 1));
        assert_journal(j, (cut - HEAD - PADDED) / 80, 1);
        assert_int_equal(zo2_journal_torn_bytes(j), (cut - HEAD - PADDED) % 80);
        while (zo2_journal_steps(j) < 4)
            OK(append_sample(j));
        zo2_journal_close(j);
        size_t have;
        unsigned char *again = file_load(path, &have);
        assert_int_equal(have, n);
        assert_memory_equal(again, whole, n);
        free(again);
    }
    free(whole);
}

static void flip_every_bit(void **state)
{
    (void)state;
    size_t n;
    write_journal(path, CHOICE, 2);
    unsigned char *b = file_load(path, &n);
    for (size_t i = 8; i < HEAD + PADDED; i++)
        for (unsigned bit = 0; bit < 8; bit++) {
            b[i] ^= (unsigned char)(1u << bit);
            refused(b, n,
                    i < HEAD                    ? "damaged"
                    : i < HEAD + strlen(CHOICE) ? "the choice of tensors behind the header is damaged"
                                                : "the choice of tensors behind the header contradicts itself");
            b[i] ^= (unsigned char)(1u << bit);
        }
    free(b);
}

/* Hostile files whose checksums are right. */
static void right_checksums_wrong_contents(void **state)
{
    (void)state;
    size_t n;
    write_journal(path, CHOICE, 1);
    unsigned char *b = file_load(path, &n), *c = malloc(n);
    assert_non_null(c);
    static const struct {
        size_t at;
        uint32_t value;
        const char *says;
    } words[] = {
        {12, 256, "contradicts itself"},
        {12, 256 + 24, "contradicts itself"},
        {12, 256 + 40, "contradicts itself"},
        {12, 256 + 33, "contradicts itself"},
        {24, 0, "contradicts itself"}, /* a choice that no older program was warned of */
        {24, 3, "contradicts itself"}, /* a wire of frozen matrices that isn't there */
        {24, 5, "needs features 0x4"},
        {28, 1, "needs features 0x100000000"},
        {148, 3, "unknown order"},
        {148, UINT32_MAX, "unknown order"},
        {152, 1, "fp32 or bf16"},
        {152, 3, "fp32 or bf16"},
        {156, 0, "contradicts itself"},
        {156, 24, "contradicts itself"},
        {156, 33, "contradicts itself"},
        {156, ZO2_JOURNAL_TUNE_MOST + 1, "contradicts itself"},
        {156, UINT32_MAX, "contradicts itself"},
        {156, 26, "is damaged (checksum)"}, /* the same room */
        {160, 0x12345678, "is damaged (checksum)"},
        {168, 1, "contradicts itself"}, /* one that no older program was warned of */
        {168, 200, "unknown wire codec of frozen matrices"},
        {172, 1, "contradicts itself"},
        {244, 1, "contradicts itself"},
    };
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        memcpy(c, b, n);
        put32(c, words[i].at, words[i].value);
        seal(c);
        refused(c, n, words[i].says);
    }
    /* a NUL in the text, its hash right */
    memcpy(c, b, n);
    c[HEAD + 3] = 0;
    const uint64_t hash = XXH3_64bits(c + HEAD, strlen(CHOICE));
    memcpy(c + 160, &hash, 8);
    seal(c);
    refused(c, n, "contradicts itself");
    /* the feature without its reason */
    const zo2_run_settings plain = settings_of(NULL);
    zo2_journal_encode_head((zo2_journal_head *)(void *)c, &plain);
    put32(c, 24, 1);
    seal(c);
    refused(c, HEAD, "contradicts itself");
    free(b);
    free(c);
}

/* ---- bundles ----------------------------------------------------------------------------------------------------- */

static unsigned char *bundle_of(const char *tune, uint64_t steps, size_t *n)
{
    char *journal = in_dir(dir, "of-a-bundle");
    zo2_journal *j;
    unlink(journal);
    write_journal(journal, tune, steps);
    OK(zo2_journal_open(&j, &zo2_io_posix, journal, 0));
    OK(zo2_bundlefile_write(&zo2_io_posix, path, j, steps, 1, NULL, NULL));
    zo2_journal_close(j);
    free(journal);
    return file_load(path, n);
}

static void bundle_bytes(void **state)
{
    (void)state;
    size_t n;
    unsigned char *b = bundle_of(CHOICE, 5, &n);
    const zo2_run_settings s = settings_of(CHOICE);
    zo2_journal_head h;
    zo2_journal_encode_head(&h, &s);
    assert_int_equal(n, 512 + PADDED + 5 * 12);
    assert_int_equal(get32(b, 12), 512 + PADDED);
    assert_memory_equal(b + 256, &h, sizeof h);
    assert_memory_equal(b + 512, CHOICE "\0\0\0\0\0", PADDED);
    const uint64_t hash = XXH3_64bits(b + 256, n - 256);
    assert_memory_equal(b + 40, &hash, 8);
    zo2_bundlefile *f;
    OK(zo2_bundlefile_open(&f, &zo2_io_posix, path));
    assert_string_equal(zo2_bundlefile_settings(f)->tune, CHOICE);
    assert_int_equal(zo2_bundlefile_bytes(f), n);
    for (uint64_t step = 0; step < 5; step++) {
        const zo2_journal_record want = sample_record(step, 1);
        zo2_journal_record got;
        zo2_bundlefile_at(f, step, &got);
        assert_true(got.skipped == want.skipped && (got.skipped || got.query[0].c == want.query[0].c));
    }
    zo2_bundlefile_close(f);
    free(b);
}

static void refused_bundle(const unsigned char *b, size_t n)
{
    zo2_bundlefile *f;
    file_store(path, b, n);
    FAILS(FORMAT, zo2_bundlefile_open(&f, &zo2_io_posix, path));
    assert_null(f);
}

static void bundle_is_whole_or_refused(void **state)
{
    (void)state;
    size_t n;
    unsigned char *b = bundle_of(CHOICE, 3, &n);
    for (size_t cut = 0; cut < n; cut++)
        refused_bundle(b, cut);
    for (size_t i = 0; i < n; i++) {
        b[i] ^= (unsigned char)(1u << i % 8);
        refused_bundle(b, n);
        b[i] ^= (unsigned char)(1u << i % 8);
    }
    /* lengths that differ between the two headers */
    put32(b, 12, 512 + PADDED - 12);
    put32(b, 32, 4);
    const uint64_t hash = XXH3_64bits(b, 248);
    memcpy(b + 248, &hash, 8);
    refused_bundle(b, n);
    SAYS("contradicts itself");
    free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(golden_bytes, setup, teardown),
        cmocka_unit_test(what_is_required),
        cmocka_unit_test_setup_teardown(round_trip, setup, teardown),
        cmocka_unit_test_setup_teardown(choice_is_of_the_chain, setup, teardown),
        cmocka_unit_test_setup_teardown(cut_at_every_byte, setup, teardown),
        cmocka_unit_test_setup_teardown(flip_every_bit, setup, teardown),
        cmocka_unit_test_setup_teardown(right_checksums_wrong_contents, setup, teardown),
        cmocka_unit_test_setup_teardown(bundle_bytes, setup, teardown),
        cmocka_unit_test_setup_teardown(bundle_is_whole_or_refused, setup, teardown),
    };
    return cmocka_run_group_tests_name("choices of tensors in a run", tests, NULL, NULL);
}
