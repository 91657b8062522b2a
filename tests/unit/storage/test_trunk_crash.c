/* A trunk cache's writer is killed, or the power fails behind any operation: what is found is right, what was synced is there, and
 * the file goes on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/unit/storage/powercut.h"
#include "tests/unit/storage/powercut_dirs_testing.h"
#include "tests/unit/storage/trunk_testing.h"

#include <signal.h>
#include <sys/wait.h>
#include <time.h>

/* ---- the power fails --------------------------------------------------------------------------------------------- */

typedef struct synced { /* these entries were, when the log had that many operations */
    size_t at;
    uint64_t to;
} synced;

static synced acks[64];
static size_t n_acks;

static void session(faulty_io *f, zo2_trunk_config c, uint64_t from, uint64_t to)
{
    zo2_trunk *t;
    c.io = &f->io;
    OK(zo2_trunk_open(&t, &c));
    for (uint64_t i = from; i < to; i++) {
        assert_int_equal(test_put(t, i), 1);
        if (i % 3 == 0) {
            OK(zo2_trunk_sync(t));
            assert_true(n_acks < 64);
            acks[n_acks++] = (synced){f->entries, i + 1};
        }
    }
    zo2_trunk_close(t);
    acks[n_acks++] = (synced){f->entries, to};
}

static void check_image(zo2_trunk_config c, uint64_t from, uint64_t acked, uint64_t to)
{
    zo2_trunk *t;
    c.dirs = image_dirs;
    for (int writable = 0; writable <= 1; writable++) {
        c.writable = writable;
        OK(zo2_trunk_open(&t, &c));
        test_get_all(t, from, acked);
        for (uint64_t i = 0; i < to; i++) /* nothing but right or absent, and none of another identity */
            assert_true(!test_get(t, i) || i >= from);
        if (writable)
            test_put_all(t, from, to);
        zo2_trunk_close(t);
    }
    OK(zo2_trunk_open(&t, &c));
    test_get_all(t, from, to);
    zo2_trunk_close(t);
}

static void check_cuts(const faulty_io *f, const zo2_trunk_config *c, size_t first, uint64_t from, uint64_t to)
{
    for (size_t k = first; k <= f->entries; k++) {
        uint64_t acked = from;
        for (size_t a = 0; a < n_acks && acks[a].at <= k; a++)
            acked = acks[a].to > acked ? acks[a].to : acked;
        for (uint64_t i = 0; i < 5; i++) {
            for (uint32_t d = 0; d < c->n_dirs; d++)
                powercut_image(f, k, i < 2 ? (int)i : POWERCUT_RANDOM, k * 1000 + i, dir[d], image[d]);
            check_image(*c, from, acked, to);
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
        zo2_trunk_config c = test_config(dirs, n);
        session(&f, c, 0, 9);
        session(&f, c, 9, 14);
        check_cuts(&f, &c, 0, 0, 14);
        /* The same files for another identity: what is found there is of the new one. */
        const size_t before = f.entries;
        c.identity.low++;
        n_acks = 0;
        session(&f, c, 20, 27);
        check_cuts(&f, &c, before + 12, 20, 27);
        faulty_free(&f);
        for (int d = 0; d < 2; d++)
            scratch_empty(dir[d]);
    }
}

/* ---- the process is killed --------------------------------------------------------------------------------------- */

static zo2_trunk_config unbounded(void)
{
    zo2_trunk_config c = test_config(dirs, 2);
    c.bytes = UINT64_MAX;
    return c;
}

static void child(int said)
{
    zo2_trunk *t;
    const zo2_trunk_config c = unbounded();
    if (zo2_trunk_open(&t, &c))
        _exit(1);
    for (uint64_t i = 0; i < 2000; i++) {
        const zo2_trunk_key key = test_key(i);
        unsigned char *src = sample_bytes(i, test_bytes(i));
        const int kept = zo2_trunk_put(t, &key, src, test_bytes(i));
        free(src);
        if (!kept || write(said, &i, sizeof i) != sizeof i)
            _exit(1);
    }
    zo2_trunk_close(t);
    _exit(0);
}

/* Killed at some point, more than once at the same file. Entries that a put returned for are there. */
static void killed(void **state)
{
    (void)state;
    uint64_t most = 0, cut_short = 0;
    for (long round = 0; round < 40; round++) {
        int pipes[2];
        assert_int_equal(pipe(pipes), 0);
        const pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0)
            child(pipes[1]);
        close(pipes[1]);
        nanosleep(&(struct timespec){.tv_nsec = 200000 + 311000 * (round % 20)}, NULL);
        kill(pid, SIGKILL);
        uint64_t i, kept = most;
        while (read(pipes[0], &i, sizeof i) == sizeof i)
            kept = i + 1 > kept ? i + 1 : kept;
        close(pipes[0]);
        int status;
        assert_true(waitpid(pid, &status, 0) == pid);
        cut_short += WIFSIGNALED(status);
        assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
        zo2_trunk *t;
        const zo2_trunk_config c = unbounded();
        OK(zo2_trunk_open(&t, &c));
        test_get_all(t, 0, kept);
        assert_in_range(zo2_trunk_stats_of(t).entries, kept, kept + 1);
        most = kept + (uint64_t)test_get(t, kept);
        assert_int_equal(zo2_trunk_stats_of(t).damaged, 0);
        zo2_trunk_close(t);
        if (round % 8 == 7) {
            OK(zo2_trunk_remove(NULL, RUN, dirs, 2));
            most = 0;
        }
    }
    assert_true(cut_short > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(every_cut),
        TEST(killed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
