/* Each operation of a spill fails in turn, in each way that a disk or a signal can; and single bytes of its files change.
 * Whatever happens, what was committed is found whole or is known to be damaged. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/unit/storage/faulty_io.h"
#include "tests/unit/storage/spill_dirs_testing.h"
#include "tests/unit/storage/spill_testing.h"

static int64_t committed[CHUNKS], newest[CHUNKS];

static zo2_status commit(zo2_spill *s)
{
    const zo2_status status = zo2_spill_commit(s);
    if (!status)
        memcpy(committed, newest, sizeof committed);
    return status;
}

/* Five steps in two sessions; stops at the first error. */
static zo2_status two_sessions(const zo2_io *io, const zo2_spill_config *c)
{
    zo2_status status = ZO2_OK;
    memset(newest, 0xFF, sizeof newest);
    memset(committed, 0xFF, sizeof committed);
    for (uint64_t from = 1; !status && from <= 4; from += 3) {
        zo2_spill *s = NULL;
        status = zo2_spill_open(&s, io, c);
        for (uint64_t step = from; !status && step < from + 3; step++) {
            for (uint32_t i = 0; !status && i < CHUNKS; i++) {
                int written = i == NOT_KEPT || (i + step) % 3 == 0;
                while (!status && !written) {
                    if ((status = test_write(s, io, i, step, &written)) == ZO2_OK && !written)
                        status = commit(s);
                    if (written)
                        newest[i] = (int64_t)step;
                }
            }
            if (!status && step % 2)
                status = commit(s);
        }
        zo2_spill_close(s);
    }
    return status;
}

/* Without the faults. Uncommitted versions may have become durable. */
static void check_found(const zo2_spill_config *config)
{
    zo2_spill *s;
    zo2_spill_config c = *config;
    c.writable = 0;
    const zo2_status status = zo2_spill_open(&s, &zo2_io_posix, &c);
    if (status != ZO2_ERR_NOTFOUND)
        assert_int_equal(status, ZO2_OK);
    for (uint32_t i = 0; i < CHUNKS; i++)
        assert_in_range((s ? test_step(s, i) : -1) + 1, committed[i] + 1, newest[i] + 1);
    zo2_spill_close(s);
    assert_int_equal(count_files(dir, ".tmp-") + count_files(other, ".tmp-"), 0);
}

static void clear(void)
{
    scratch_empty(dir);
    scratch_empty(other);
}

static void every_operation_fails(void **state)
{
    (void)state;
    static const struct {
        faulty_kind kind;
        int err;
        uint64_t repeat;
        zo2_status expected; /* ZO2_OK: it is got over */
    } ways[] = {
        {FAULTY_FAIL, EIO, 1, ZO2_ERR_IO}, {FAULTY_FAIL, EIO, 0, ZO2_ERR_IO}, {FAULTY_FAIL, ENOSPC, 1, ZO2_ERR_NOSPACE},
        {FAULTY_TORN, EIO, 1, ZO2_ERR_IO}, {FAULTY_SHORT, 0, 1, ZO2_OK},      {FAULTY_SHORT, 0, 3, ZO2_OK},
        {FAULTY_FAIL, EINTR, 1, ZO2_OK},   {FAULTY_FAIL, EAGAIN, 2, ZO2_OK},
    };
    const zo2_spill_config c = test_config(dirs, 2);
    faulty_io f;
    faulty_init(&f);
    OK(two_sessions(&f.io, &c));
    check_found(&c);
    const int all = FAULTY_OPEN | FAULTY_PREAD | FAULTY_PWRITE | FAULTY_SYNCS | FAULTY_ALLOCATE | FAULTY_RENAME;
    for (size_t w = 0; w < sizeof ways / sizeof *ways; w++) {
        const int mask = ways[w].expected == ZO2_OK ? FAULTY_PREAD | FAULTY_PWRITE : all;
        const uint64_t n = faulty_count(&f, mask);
        for (uint64_t nth = 0; nth < n; nth++) {
            faulty_io g;
            faulty_init(&g);
            clear();
            faulty_arm(&g, mask, nth, ways[w].kind, ways[w].err, ways[w].repeat);
            const zo2_status status = two_sessions(&g.io, &c);
            assert_true(g.spoilt > 0);
            if (ways[w].expected == ZO2_OK)
                OK(status);
            else if (status) /* a sync of a folder or a name may be said otherwise, never silently */
                assert_true(status == ways[w].expected || status == ZO2_ERR_IO || status == ZO2_ERR_NOSPACE);
            else
                fail_msg("operation %d of way %d failed and nobody noticed", (int)nth, (int)w);
            faulty_arm(&g, 0, 0, FAULTY_NONE, 0, 0);
            check_found(&c);
            faulty_free(&g);
        }
    }
    faulty_free(&f);
    clear();
}

/* ---- damage ------------------------------------------------------------------------------------------------------ */

static uint32_t warnings;

static void count_warnings(void *ud, zo2_log_level level, const char *message)
{
    (void)ud;
    assert_non_null(strstr(message, RUN_TAG));
    warnings += level == ZO2_LOG_WARNING;
}

/* Reads every chunk; -1 where there is none, -2 where its hashes say it is damaged. */
static void read_all(zo2_spill *s, int64_t *steps)
{
    test_planes *p = test_planes_new(), *want = test_planes_new();
    for (uint32_t i = 0; i < CHUNKS; i++) {
        zo2_spill_version v;
        steps[i] = -1;
        if (!zo2_spill_find(s, i, &v))
            continue;
        const zo2_status status = zo2_spill_read(s, &v, p->wire, p->rest);
        steps[i] = status ? -2 : (int64_t)v.step;
        if (status) {
            assert_int_equal(status, ZO2_ERR_FORMAT);
            SAYS(RUN_TAG);
            zo2_spill_forget(s, &v);
            assert_false(zo2_spill_find(s, i, &v));
            continue;
        }
        test_fill(want, i, v.step);
        assert_memory_equal(p->wire, want->wire, chunk_sizes[i].wire_bytes);
        assert_memory_equal(p->rest, want->rest, chunk_sizes[i].rest_bytes);
    }
    free(p);
    free(want);
}

/* The superblock's page: refused. A slot header or a plane: one chunk less, or an older version of it. The rest: nothing. */
static void a_changed_byte_costs_a_chunk(void **state)
{
    (void)state;
    zo2_spill_config c = test_config(dirs, 1);
    c.log = count_warnings;
    OK(two_sessions(&zo2_io_posix, &c));
    size_t n;
    char *path = in_dir(dir, RUN_TAG);
    unsigned char *b = file_load(path, &n);
    zo2_spill *s;
    c.writable = 0;
    int64_t before[CHUNKS], after[CHUNKS];
    OK(zo2_spill_open(&s, &zo2_io_posix, &c));
    read_all(s, before);
    const uint32_t slots = ((const zo2_spill_head *)(const void *)b)->slots;
    zo2_spill_close(s);
    assert_int_equal(warnings, 0);
    uint32_t costs = 0;
    /* Every byte of the front's contents and of the headers, then one of each kilobyte. */
    for (size_t at = 0; at < n; at = at < 4096 + 64 * slots - 1 ? at + 1 : (at + 1024) / 1024 * 1024 + at % 97) {
        const unsigned char changed = b[at] ^ (unsigned char)(1 + at % 255);
        warnings = 0;
        file_poke(path, at, &changed, 1);
        const zo2_status status = zo2_spill_open(&s, &zo2_io_posix, &c);
        zo2_spill_report r;
        const zo2_status verified = zo2_spill_verify(&zo2_io_posix, &c, NULL, NULL, &r);
        if (status) {
            assert_true(at < 4096);
            assert_true(status == ZO2_ERR_FORMAT && verified == ZO2_ERR_FORMAT);
            SAYS(path);
        } else {
            assert_true(at >= 4096);
            uint32_t other_steps = 0, damaged = 0;
            read_all(s, after);
            for (uint32_t i = 0; i < CHUNKS; i++) {
                other_steps += after[i] != before[i];
                damaged += after[i] == -2;
            }
            zo2_spill_close(s);
            assert_in_range(other_steps, 0, 1);
            assert_int_equal(warnings, at < 4096 + 64 * slots);
            assert_int_equal(r.damaged_headers, warnings);
            assert_int_equal(r.damaged, damaged);
            assert_int_equal(verified, warnings + damaged ? ZO2_ERR_FORMAT : ZO2_OK);
            costs += other_steps;
        }
        file_poke(path, at, &b[at], 1);
    }
    assert_true(costs > 64 * 6 / 2);
    free(b);
    free(path);
}

/* Right checksums under numbers that lie. */
static void hostile_numbers_are_refused(void **state)
{
    (void)state;
    zo2_spill_config c = test_config(dirs, 1);
    OK(two_sessions(&zo2_io_posix, &c));
    size_t n;
    char *path = in_dir(dir, RUN_TAG);
    unsigned char *good = file_load(path, &n), *bad = malloc(n);
    static const struct {
        size_t at, bytes;
        uint64_t value;
        const char *says;
    } lies[] = {
        {8, 4, 2, "spill version 2"},
        {12, 4, 255, "out of range"},
        {16, 8, 4, "feature 2"},
        {24, 8, 5, "another run"},
        {40, 4, UINT32_MAX, "out of range"},
        {44, 4, 0, "out of range"},
        {44, 4, 17, "out of range"},
        {48, 4, 1, "out of range"},
        {52, 4, 121, "out of range"},
        {52, 4, UINT32_MAX, "out of range"},
        {52, 4, 3, "contradicts"},
        {56, 4, 15, "contradicts"},
        {60, 4, 512, "out of range"},
        {64, 8, 1, "contradicts"},
        {80, 4, 0, "weight"},
        {80, 4, 65537, "weight"},
        {84, 4, 1, "weight"},
        {150, 1, 1, "reserved"},
        {256, 8, 0, "contradicts"},
        {256, 8, 4097, "contradicts"},
        {256, 8, UINT64_MAX, "contradicts"},
        {264, 8, 4096, "contradicts"},
        {272, 4, 1, "contradicts"},
        {276, 4, UINT32_MAX, "contradicts"},
        {276, 4, 0, "contradicts"},
        {280, 8, 1, "contradicts"},
        {256 + 32 * 4, 8, 4096, "contradicts"},
    };
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        memcpy(bad, good, n);
        memcpy(bad + lies[i].at, &lies[i].value, lies[i].bytes);
        zo2_spill_front *f = (zo2_spill_front *)(void *)bad;
        if (f->head.classes <= ZO2_SPILL_MAX_CLASSES)
            f->head.classes_hash = XXH3_64bits(f->classes, f->head.classes * sizeof *f->classes);
        f->head.hash = XXH3_64bits(bad, 248);
        file_store(path, bad, n);
        zo2_spill *s;
        const zo2_status status = zo2_spill_open(&s, &zo2_io_posix, &c);
        assert_true(status == ZO2_ERR_FORMAT || status == ZO2_ERR_MISMATCH);
        SAYS(path);
        SAYS(lies[i].says);
    }
    for (size_t cut = 0; cut < n; cut += n / 50) { /* an interrupted copy */
        file_store(path, good, cut);
        zo2_spill *s;
        FAILS(FORMAT, zo2_spill_open(&s, &zo2_io_posix, &c));
        SAYS(path);
    }
    /* Slot headers: the numbers are those of another slot, of no chunk, of a chunk that lives elsewhere. */
    memcpy(bad, good, n);
    zo2_spill_slot *h = (zo2_spill_slot *)(void *)(bad + 4096);
    h[0].chunk = CHUNKS;
    h[1].slot = 2;
    h[2].chunk = 2;
    h[3].generation = UINT64_MAX;
    h[4].wire_bytes = UINT32_MAX;
    for (int k = 0; k < 5; k++)
        h[k].hash = zo2_spill_slot_hash(&h[k], RUN);
    file_store(path, bad, n);
    warnings = 0;
    c.log = count_warnings;
    zo2_spill *s;
    OK(zo2_spill_open(&s, &zo2_io_posix, &c));
    assert_int_equal(warnings, 1);
    for (uint32_t i = 0; i < CHUNKS; i++) {
        zo2_spill_version v;
        assert_int_equal(zo2_spill_find(s, i, &v),
                         i == 2 || i == 4 || i == 5); /* the others were in those five slots */
    }
    zo2_spill_close(s);
    free(good);
    free(bad);
    free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(every_operation_fails),
        TEST(a_changed_byte_costs_a_chunk),
        TEST(hostile_numbers_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
