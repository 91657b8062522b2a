/* The power fails behind every single operation of a spill: each chunk is found at a version that was written, at least the
 * last committed one, and its bytes are whole; the spill then goes on. `--long`: many more images of each cut. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/unit/storage/powercut.h"
#include "tests/unit/storage/powercut_dirs_testing.h"
#include "tests/unit/storage/spill_testing.h"

static uint64_t images = 3; /* random ones per cut */

static struct {
    size_t at; /* operations in the log when the commit came back */
    int64_t step[CHUNKS];
} acks[64];
static size_t n_acks;
static int64_t newest[CHUNKS];

static void acknowledge(const faulty_io *f)
{
    assert_true(n_acks < 64);
    acks[n_acks].at = f->entries;
    memcpy(acks[n_acks++].step, newest, sizeof newest);
}

static void write_one(faulty_io *f, zo2_spill *s, uint32_t chunk, uint64_t step)
{
    int written;
    OK(test_write(s, &f->io, chunk, step, &written));
    if (!written) {
        OK(zo2_spill_commit(s));
        acknowledge(f);
        OK(test_write(s, &f->io, chunk, step, &written));
        assert_true(written);
    }
    newest[chunk] = (int64_t)step;
}

/* A few steps with a commit now and then; chunks of one size outnumber their spare slots, which moves them about. */
static void session(faulty_io *f, zo2_spill_config *c, uint64_t from, uint64_t to)
{
    zo2_spill *s;
    OK(zo2_spill_open(&s, &f->io, c));
    for (uint64_t step = from; step < to; step++) {
        for (uint32_t i = 0; i < CHUNKS; i++)
            if (i != NOT_KEPT && (i + step) % 4 != 0)
                write_one(f, s, i, step);
        if (step % 2) {
            OK(zo2_spill_commit(s));
            acknowledge(f);
        }
    }
    zo2_spill_close(s);
}

static void check_chunks(zo2_spill *s, const int64_t *acked, uint64_t most)
{
    for (uint32_t i = 0; i < CHUNKS; i++) {
        const int64_t step = s ? test_step(s, i) : -1;
        assert_in_range(step + 1, acked[i] + 1, most + 1);
    }
}

static void goes_on(zo2_spill_config *c, const int64_t *acked, uint64_t most)
{
    zo2_spill *s;
    c->writable = 1;
    OK(zo2_spill_open(&s, &zo2_io_posix, c));
    check_chunks(s, acked, most);
    for (uint64_t step = 500; step < 502; step++) {
        for (uint32_t i = 0; i < CHUNKS; i++) {
            int written = i == NOT_KEPT;
            while (!written) {
                OK(test_write(s, &zo2_io_posix, i, step, &written));
                if (!written)
                    OK(zo2_spill_commit(s));
            }
        }
        OK(zo2_spill_commit(s));
    }
    zo2_spill_close(s);
    c->writable = 0;
    OK(zo2_spill_open(&s, &zo2_io_posix, c));
    for (uint32_t i = 0; i < CHUNKS; i++)
        assert_int_equal(test_step(s, i), i == NOT_KEPT ? -1 : 501);
    zo2_spill_close(s);
}

static void check_image(zo2_spill_config c, const int64_t *acked, uint64_t most, int also_go_on)
{
    zo2_spill *s;
    c.dirs = image_dirs;
    c.writable = 0;
    const zo2_status status = zo2_spill_open(&s, &zo2_io_posix, &c);
    if (status && status != ZO2_ERR_NOTFOUND)
        fail_msg("%s", zo2_last_error());
    check_chunks(s, acked, most);
    zo2_spill_close(s);
    if (also_go_on)
        goes_on(&c, acked, most);
}

static void check_cuts(const faulty_io *f, const zo2_spill_config *c, uint64_t most)
{
    for (size_t k = 0; k <= f->entries; k++) {
        int64_t acked[CHUNKS];
        memset(acked, 0xFF, sizeof acked);
        for (size_t a = 0; a < n_acks && acks[a].at <= k; a++)
            memcpy(acked, acks[a].step, sizeof acked);
        for (uint64_t i = 0; i < images + 2; i++) {
            for (uint32_t d = 0; d < c->n_dirs; d++)
                powercut_image(f, k, i < 2 ? (int)i : POWERCUT_RANDOM, k * 1000 + i, dir[d], image[d]);
            check_image(*c, acked, most, (k + i) % 5 == 0);
        }
    }
}

static void every_cut(void **state)
{
    (void)state;
    for (uint32_t n = 1; n <= 2; n++) {
        faulty_io f;
        faulty_init(&f);
        f.keep_data = 1;
        n_acks = 0;
        memset(newest, 0xFF, sizeof newest);
        zo2_spill_config c = test_config(dirs, n);
        session(&f, &c, 1, 6);
        acknowledge(&f); /* 5 ended with a commit */
        session(&f, &c, 6, 10);
        check_cuts(&f, &c, 9);
        faulty_free(&f);
        for (int d = 0; d < 2; d++)
            scratch_empty(dir[d]);
    }
}

/* A commit fails: what was committed before is there, whatever reached the disk of the rest. */
static void after_a_failed_commit(void **state)
{
    (void)state;
    for (uint64_t nth = 0; nth < 5; nth++) {
        faulty_io f;
        faulty_init(&f);
        f.keep_data = 1;
        n_acks = 0;
        memset(newest, 0xFF, sizeof newest);
        zo2_spill_config c = test_config(dirs, 1);
        session(&f, &c, 1, 4);
        zo2_spill *s;
        OK(zo2_spill_open(&s, &f.io, &c));
        for (uint32_t i = 0; i < CHUNKS; i += 2) {
            int written;
            OK(test_write(s, &f.io, i, 4, &written));
            assert_true(written);
        }
        faulty_arm(&f, FAULTY_SYNCS | FAULTY_PWRITE, nth, nth % 2 ? FAULTY_TORN : FAULTY_FAIL, EIO, 0);
        const zo2_status status = zo2_spill_commit(s);
        if (nth < 3) {
            assert_int_equal(status, ZO2_ERR_IO);
            SAYS(RUN_TAG);
            faulty_arm(&f, 0, 0, FAULTY_NONE, 0, 0);
            FAILS(IO, zo2_spill_commit(s)); /* final */
            SAYS(RUN_TAG);
            zo2_spill_version v;
            assert_false(zo2_spill_take(s, 4, &v));
        } else {
            assert_int_equal(status, ZO2_OK);
            for (uint32_t i = 0; i < CHUNKS; i += 2)
                newest[i] = 4;
            acknowledge(&f);
        }
        zo2_spill_close(s);
        faulty_arm(&f, 0, 0, FAULTY_NONE, 0, 0);
        session(&f, &c, 5, 6);
        check_cuts(&f, &c, 5);
        faulty_free(&f);
        scratch_empty(dir[0]);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(every_cut),
        TEST(after_a_failed_commit),
    };
    if (argc > 1 && strcmp(argv[1], "--long") == 0)
        images = 300;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
