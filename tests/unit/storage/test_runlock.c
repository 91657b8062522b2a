/* The lock of a run directory: one process has it, and it goes with that process. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/unit/engine/rundir_testing.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

/* A child that takes the lock, says so, and waits until its pipe closes. */
static pid_t holder(const char *dir, int *release)
{
    int said[2], held[2];
    assert_int_equal(pipe(said), 0);
    assert_int_equal(pipe(held), 0);
    const pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        close(held[1]);
        close(said[0]);
        int fd;
        char c = zo2_run_lock(dir, &fd) == ZO2_OK;
        if (write(said[1], &c, 1) != 1)
            _exit(1);
        c = (char)read(held[0], &c, 1);
        _exit(0); /* without closing fd */
    }
    close(held[0]);
    close(said[1]);
    char c = 0;
    assert_int_equal(read(said[0], &c, 1), 1);
    assert_int_equal(c, 1);
    close(said[0]);
    *release = held[1];
    return pid;
}

static void second_is_refused(void **state)
{
    (void)state;
    char *dir = scratch_make(), text[32];
    int release, fd;
    for (int killed = 0; killed <= 1; killed++) {
        const pid_t pid = holder(dir, &release);
        FAILS(BUSY, zo2_run_lock(dir, &fd));
        assert_int_equal(fd, -1);
        snprintf(text, sizeof text, "process %ld;", (long)pid);
        SAYS(text);
        SAYS(dir);
        if (killed)
            assert_int_equal(kill(pid, SIGKILL), 0);
        close(release);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        OK(zo2_run_lock(dir, &fd));
        close(fd);
    }
    scratch_remove(dir);
}

static void same_process(void **state)
{
    (void)state;
    char *dir = scratch_make();
    int a, b;
    OK(zo2_run_lock(dir, &a));
    FAILS(BUSY, zo2_run_lock(dir, &b));
    assert_true(fcntl(a, F_GETFD) & FD_CLOEXEC);
    char *path = in_dir(dir, "lock");
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07133, 0); /* at most 0644 */
    close(a);
    file_store(path, "not a number, and longer than a number would be", 47);
    OK(zo2_run_lock(dir, &b)); /* what is in the file doesn't matter */
    close(b);
    unlink(path);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_not_equal(zo2_run_lock(dir, &b), ZO2_OK);
    assert_int_equal(rmdir(path), 0);
    free(path);
    scratch_remove(dir);
    FAILS(NOTFOUND, zo2_run_lock("/no/such/folder", &b));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(second_is_refused), cmocka_unit_test(same_process)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
