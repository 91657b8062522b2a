/* The power fails behind every single operation of a run's journal: what is found afterwards opens, holds every
 * acknowledged step and nothing that was not appended, and goes on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/unit/storage/powercut.h"

#define IMAGES 60 /* random ones per cut */

static char *dir, *image, *path, *found;
static uint32_t queries;
static struct {
    size_t at; /* operations in the log when it was acknowledged */
    uint64_t steps;
} acks[64];
static size_t n_acks;

static void acknowledge(const faulty_io *f, uint64_t steps)
{
    assert_true(n_acks < 64);
    acks[n_acks].at = f->entries;
    acks[n_acks++].steps = steps;
}

static void check_image(int64_t acked, uint64_t most)
{
    zo2_journal *j;
    const zo2_status s = zo2_journal_open(&j, &zo2_io_posix, found, 1);
    if (s == ZO2_ERR_NOTFOUND && acked < 0)
        return; /* it had not been created yet */
    if (s)
        fail_msg("%s", zo2_last_error());
    const uint64_t steps = zo2_journal_steps(j);
    assert_in_range(steps, acked < 0 ? 0 : acked, most);
    assert_journal(j, steps, queries);
    OK(append_sample(j));
    zo2_journal_close(j);
    OK(zo2_journal_open(&j, &zo2_io_posix, found, 0));
    assert_journal(j, steps + 1, queries);
    zo2_journal_close(j);
}

static void check_cuts(const faulty_io *f, uint64_t most)
{
    for (size_t k = 0; k <= f->entries; k++) {
        int64_t acked = -1;
        for (size_t a = 0; a < n_acks && acks[a].at <= k; a++)
            acked = (int64_t)acks[a].steps;
        for (uint64_t i = 0; i < IMAGES + 2; i++) {
            powercut_image(f, k, i < 2 ? (int)i : POWERCUT_RANDOM, k * 1000 + i, dir, image);
            check_image(acked, most);
        }
    }
}

static void append_until(faulty_io *f, zo2_journal *j, uint64_t steps)
{
    while (zo2_journal_steps(j) < steps) {
        OK(append_sample(j));
        acknowledge(f, zo2_journal_steps(j));
    }
}

/* Create, append, leave; come back and append. */
static void two_sessions(void **state)
{
    (void)state;
    for (queries = 1; queries <= ZO2_MAX_QUERIES; queries += 15) {
        faulty_io f;
        faulty_init(&f);
        f.keep_data = 1;
        n_acks = 0;
        const zo2_run_settings s = sample_settings(queries);
        zo2_journal *j;
        OK(zo2_journal_create(&j, &f.io, path, &s));
        acknowledge(&f, 0);
        append_until(&f, j, 5);
        zo2_journal_close(j);
        OK(zo2_journal_open(&j, &f.io, path, 1));
        append_until(&f, j, 9);
        zo2_journal_close(j);
        check_cuts(&f, 9);
        faulty_free(&f);
        scratch_empty(dir);
    }
}

/* A session ends with a failed append: its write or its sync failed, the cut failed too or didn't; another one goes on.
 * The pages that the failed sync should have written look fine in memory and are lost on the disk. */
static void after_a_failed_append(void **state)
{
    (void)state;
    queries = 1;
    for (int sync = 0; sync <= 1; sync++)
        for (int cut = 0; cut <= 1; cut++) {
            faulty_io f;
            faulty_init(&f);
            f.keep_data = 1;
            n_acks = 0;
            const zo2_run_settings s = sample_settings(queries);
            zo2_journal *j;
            OK(zo2_journal_create(&j, &f.io, path, &s));
            acknowledge(&f, 0);
            append_until(&f, j, 3);
            faulty_arm(&f, (sync ? FAULTY_SYNCS : FAULTY_PWRITE) | (cut ? 0 : FAULTY_FTRUNCATE), 0, FAULTY_FAIL, EIO,
                       0);
            assert_int_not_equal(append_sample(j), ZO2_OK);
            zo2_journal_close(j);
            faulty_arm(&f, 0, 0, FAULTY_NONE, 0, 0);
            OK(zo2_journal_open(&j, &f.io, path, 1));
            assert_int_equal(zo2_journal_steps(j), 3 + (sync && !cut));
            acknowledge(&f, zo2_journal_steps(j)); /* masters may be built on what a writer loaded */
            append_until(&f, j, 7);
            zo2_journal_close(j);
            check_cuts(&f, 7);
            faulty_free(&f);
            scratch_empty(dir);
        }
}

static int setup(void **state)
{
    (void)state;
    dir = scratch_make();
    image = scratch_make();
    path = in_dir(dir, "journal");
    found = in_dir(image, "journal");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    scratch_remove(dir);
    scratch_remove(image);
    free(path);
    free(found);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(two_sessions, setup, teardown),
        cmocka_unit_test_setup_teardown(after_a_failed_append, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
