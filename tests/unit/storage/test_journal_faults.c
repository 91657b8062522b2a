/* Every operation of creating, opening and appending made to fail, once and from then on: an error leaves a valid
 * prefix with every acknowledged step, transient trouble leaves nothing at all. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/unit/engine/rundir_testing.h"
#include "tests/unit/storage/faulty_io.h"

#define STEPS 4

#define ONE_FILE "journal"
#include "tests/unit/storage/one_file_testing.h"

static const struct {
    const char *name;
    faulty_kind kind;
    int err;
} faults[] = {
    {"EIO", FAULTY_FAIL, EIO},       {"ENOSPC", FAULTY_FAIL, ENOSPC},
    {"EDQUOT", FAULTY_FAIL, EDQUOT}, {"EINTR", FAULTY_FAIL, EINTR},
    {"EAGAIN", FAULTY_FAIL, EAGAIN}, {"short", FAULTY_SHORT, 0},
    {"torn", FAULTY_TORN, EIO},      {"torn by a full disk", FAULTY_TORN, ENOSPC},
};
#define FAULTS (sizeof faults / sizeof *faults)

static int is_transient(size_t k)
{
    return faults[k].err == EINTR || faults[k].err == EAGAIN || !faults[k].err;
}

/* One session: creates or opens, then appends to STEPS. Returns the steps acknowledged, -1 if there was no journal. */
static int session(const zo2_io *io, int create)
{
    const zo2_run_settings s = sample_settings(1);
    zo2_journal *j;
    if ((create ? zo2_journal_create(&j, io, path, &s) : zo2_journal_open(&j, io, path, 1)) != ZO2_OK) {
        assert_null(j);
        assert_int_not_equal(zo2_last_error()[0], 0);
        return -1;
    }
    zo2_status first = ZO2_OK;
    int acked = (int)zo2_journal_steps(j);
    for (int i = acked; i < STEPS; i++) {
        const zo2_status status = append_sample(j);
        if (first)
            assert_int_equal(status, ZO2_ERR_IO); /* sticky */
        if (!first)
            first = status;
        if (!status)
            acked++;
    }
    assert_journal(j, (uint64_t)acked, 1);
    zo2_journal_close(j);
    return acked;
}

/* What is on disk after a session, and that it can go on. */
static void check(int create, int acked)
{
    if (acked < 0 && create) { /* nothing left; the next attempt works */
        assert_int_not_equal(access(path, F_OK), 0);
        acked = session(&zo2_io_posix, 1);
    }
    zo2_journal *j;
    OK(zo2_journal_open(&j, &zo2_io_posix, path, 0));
    const uint64_t steps = zo2_journal_steps(j);
    /* An append whose sync failed may be there whole, if cutting it off failed too. */
    assert_in_range(steps, acked < 0 ? 0 : acked, acked < 0 ? STEPS : acked + 1);
    assert_journal(j, steps, 1);
    zo2_journal_close(j);
    assert_int_equal(session(&zo2_io_posix, 0), STEPS);
    OK(zo2_journal_open(&j, &zo2_io_posix, path, 0));
    assert_journal(j, STEPS, 1);
    assert_int_equal(zo2_journal_torn_bytes(j), 0);
    zo2_journal_close(j);
}

static void sweep(int create, uint64_t repeat, int mask)
{
    for (size_t k = 0; k < FAULTS; k++) {
        /* FAULTY_SHORT for ever makes progress; transient errors for ever are given up */
        for (uint64_t n = 0;; n++) {
            scratch_empty(dir);
            if (!create) {
                journal_write(path, 2, 1);
                FILE *t = fopen(path, "ab"); /* with a torn tail to be cut */
                assert_non_null(t);
                fputs("torn", t);
                fclose(t);
            }
            faulty_io f;
            faulty_init(&f);
            faulty_arm(&f, mask, n, faults[k].kind, faults[k].err, repeat);
            const int acked = session(&f.io, create);
            const uint64_t matched = f.matched, spoilt = f.spoilt;
            if (spoilt && repeat == 1 && is_transient(k)) {
                /* transfers go on; a sync that failed is never retried, whatever the errno */
                const long i = faulty_find(&f, 0, FAULTY_PWRITE | FAULTY_PREAD, NULL);
                assert_true(i >= 0 || acked < 0);
                if (faults[k].kind == FAULTY_SHORT)
                    assert_int_equal(acked, STEPS);
            }
            if (!spoilt)
                assert_int_equal(acked, STEPS);
            faulty_free(&f);
            if (!create || repeat || acked >= 0) {
                check(create, acked);
            } else { /* cleaning up failed too: what is left must not be in the way of anything but creating */
                zo2_journal *j;
                const zo2_status s = zo2_journal_open(&j, &zo2_io_posix, path, 1);
                if (s)
                    assert_int_equal(s, ZO2_ERR_NOTFOUND);
                zo2_journal_close(j);
            }
            if (n >= matched)
                break;
        }
    }
}

static void create_once(void **state)
{
    (void)state;
    sweep(1, 1, FAULTY_ALL & ~FAULTY_UNLINK);
}

static void create_from_then_on(void **state)
{
    (void)state;
    sweep(1, 0, FAULTY_ALL);
}

static void create_writes_from_then_on(void **state)
{
    (void)state;
    sweep(1, 0, FAULTY_WRITES);
}

static void open_once(void **state)
{
    (void)state;
    sweep(0, 1, FAULTY_ALL);
}

static void open_from_then_on(void **state)
{
    (void)state;
    sweep(0, 0, FAULTY_ALL);
}

/* EINTR, EAGAIN and short transfers alone never reach the caller. */
static void transient_transfers(void **state)
{
    (void)state;
    for (size_t k = 0; k < FAULTS; k++) {
        if (!is_transient(k))
            continue;
        for (uint64_t n = 0;; n++) {
            scratch_empty(dir);
            faulty_io f;
            faulty_init(&f);
            faulty_arm(&f, FAULTY_PREAD | FAULTY_PWRITE, n, faults[k].kind, faults[k].err, 3);
            assert_int_equal(session(&f.io, 1), STEPS);
            assert_int_equal(session(&f.io, 0), STEPS);
            const uint64_t matched = f.matched;
            faulty_free(&f);
            check(0, STEPS);
            if (n >= matched)
                break;
        }
    }
}

static void failed_append_is_final(void **state)
{
    (void)state;
    for (size_t k = 0; k < FAULTS; k++) {
        if (is_transient(k))
            continue;
        for (int on_sync = 0; on_sync <= 1; on_sync++) {
            for (int truncate_fails = 0; truncate_fails <= 1; truncate_fails++) {
                scratch_empty(dir);
                journal_write(path, 2, 1);
                faulty_io f;
                faulty_init(&f);
                zo2_journal *j;
                OK(zo2_journal_open(&j, &f.io, path, 1));
                const size_t before = f.entries;
                const int mask = (on_sync ? FAULTY_SYNCS : FAULTY_PWRITE) | (truncate_fails ? FAULTY_FTRUNCATE : 0);
                faulty_arm(&f, mask, 0, faults[k].kind, faults[k].err, truncate_fails ? 2 : 1);
                assert_int_equal(append_sample(j), faults[k].err == EIO ? ZO2_ERR_IO : ZO2_ERR_NOSPACE);
                SAYS("journal");
                assert_journal(j, 2, 1);
                /* written (and synced) once, cut once, and never again */
                assert_int_equal(f.entries - before, 2 + on_sync);
                FAILS(IO, append_sample(j));
                SAYS("earlier append failed");
                assert_int_equal(f.entries - before, 2 + on_sync);
                assert_journal(j, 2, 1);
                zo2_journal_close(j);
                faulty_free(&f);
                OK(zo2_journal_open(&j, &zo2_io_posix, path, 0));
                const int stays = on_sync && truncate_fails;
                assert_journal(j, 2 + (uint64_t)stays, 1);
                if (!truncate_fails)
                    assert_int_equal(zo2_journal_torn_bytes(j), 0);
                zo2_journal_close(j);
            }
        }
    }
}

/* A reader under which the writer cuts a torn tail that it was about to read. */
static const zo2_io *cutter_base = &zo2_io_posix;

static ssize_t cutting_pread(void *ud, int fd, void *buf, size_t n, off_t off)
{
    if (off >= (off_t)ZO2_JOURNAL_HEADER_BYTES)
        assert_int_equal(truncate(ud, 256 + 2 * 80), 0);
    return cutter_base->pread(cutter_base->ud, fd, buf, n, off);
}

static void reader_loses_tail(void **state)
{
    (void)state;
    journal_write(path, 2, 1);
    assert_int_equal(truncate(path, 256 + 3 * 80), 0); /* a third record of zeros */
    zo2_io io = zo2_io_posix;
    io.ud = path;
    io.pread = cutting_pread;
    zo2_journal *j;
    OK(zo2_journal_open(&j, &io, path, 0));
    assert_journal(j, 2, 1);
    assert_int_equal(zo2_journal_torn_bytes(j), 0);
    zo2_journal_close(j);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(create_once, setup, teardown),
        cmocka_unit_test_setup_teardown(create_from_then_on, setup, teardown),
        cmocka_unit_test_setup_teardown(create_writes_from_then_on, setup, teardown),
        cmocka_unit_test_setup_teardown(open_once, setup, teardown),
        cmocka_unit_test_setup_teardown(open_from_then_on, setup, teardown),
        cmocka_unit_test_setup_teardown(transient_transfers, setup, teardown),
        cmocka_unit_test_setup_teardown(failed_append_is_final, setup, teardown),
        cmocka_unit_test_setup_teardown(reader_loses_tail, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
