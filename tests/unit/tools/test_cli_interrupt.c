/* Ctrl-C: the first signal only asks, the second one ends the process with status 130 although nobody looks. SIGHUP and
 * SIGPIPE only ever ask. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "tools/cli/interrupt.h"

/* A child that installs the handler, says so, and then works without ever looking at the flag; with `looks` it exits
 * with 7 once it sees the first signal. */
static pid_t start_child(int looks)
{
    int ready[2];
    char byte = 0;
    assert_int_equal(pipe(ready), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        cli_interrupt_install();
        if (write(ready[1], "x", 1) != 1)
            _exit(99);
        for (int i = 0; i < 30000; i++) {
            if (looks && cli_interrupted())
                _exit(7);
            usleep(1000);
        }
        _exit(98); /* 30 s without a signal that ends it */
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    return child;
}

static int exit_status(pid_t child)
{
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void test_first_signal_asks(void **state)
{
    (void)state;
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGPIPE};
    for (int i = 0; i < 4; i++) {
        pid_t child = start_child(1);
        assert_int_equal(kill(child, signals[i]), 0);
        assert_int_equal(exit_status(child), 7);
    }
}

static void test_second_signal_ends(void **state)
{
    (void)state;
    static const int second[] = {SIGINT, SIGTERM};
    for (int i = 0; i < 2; i++) {
        pid_t child = start_child(0);
        assert_int_equal(kill(child, SIGINT), 0);
        usleep(200000); /* two pending signals of one number would be one */
        assert_int_equal(waitpid(child, NULL, WNOHANG), 0);
        assert_int_equal(kill(child, second[i]), 0);
        assert_int_equal(exit_status(child), 130);
    }
}

/* Another SIGHUP or SIGPIPE ends nothing; a SIGTERM after them does. */
static void test_hangups_only_ask(void **state)
{
    (void)state;
    static const int sent[] = {SIGHUP, SIGHUP, SIGPIPE, SIGPIPE, SIGXFSZ};
    pid_t child = start_child(0);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(kill(child, sent[i]), 0);
        usleep(50000);
        assert_int_equal(waitpid(child, NULL, WNOHANG), 0);
    }
    assert_int_equal(kill(child, SIGTERM), 0);
    assert_int_equal(exit_status(child), 130);
}

/* As nohup(1) starts a program. */
static void test_ignored_hangup_stays_ignored(void **state)
{
    (void)state;
    assert_true(signal(SIGHUP, SIG_IGN) != SIG_ERR);
    pid_t child = start_child(1);
    signal(SIGHUP, SIG_DFL);
    assert_int_equal(kill(child, SIGHUP), 0);
    usleep(200000);
    assert_int_equal(waitpid(child, NULL, WNOHANG), 0);
    assert_int_equal(kill(child, SIGTERM), 0);
    assert_int_equal(exit_status(child), 7);
}

int main(void)
{
    signal(SIGHUP, SIG_DFL); /* ignored where this runs under nohup */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first_signal_asks),
        cmocka_unit_test(test_second_signal_ends),
        cmocka_unit_test(test_hangups_only_ask),
        cmocka_unit_test(test_ignored_hangup_stays_ignored),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
