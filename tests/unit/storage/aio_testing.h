/* aio_testing.h: what the tests of large transfers share. Include after cmocka.h. */
#ifndef ZO2_TESTS_UNIT_STORAGE_AIO_TESTING_H
#define ZO2_TESTS_UNIT_STORAGE_AIO_TESTING_H

#include "storage/io/aio.h"
#include "tests/unit/files_testing.h"

#include <fcntl.h>
#include <stdint.h>
#include <sys/wait.h>

#define KIB ((uint64_t)1 << 10)
#define MIB ((uint64_t)1 << 20)

/* AUTO is io_uring, see test_aio_refused.c; where a system refuses it, that can't be tested. */
static const zo2_aio_choice every_kind[] = {ZO2_AIO_AUTO, ZO2_AIO_THREADS, ZO2_AIO_TABLE};
#define N_KINDS (sizeof every_kind / sizeof *every_kind)

/* A fresh folder on a disk, if /tmp is on one: most have O_DIRECT. */
static inline char *disk_make(void)
{
    char *dir = strdup("/tmp/zo2-test-XXXXXX");
    assert_non_null(dir);
    assert_non_null(mkdtemp(dir));
    return dir;
}

static inline zo2_aio_file file_make(const char *path)
{
    zo2_aio_file f;
    OK(zo2_aio_file_open(&f, &zo2_io_posix, path, O_RDWR | O_CREAT, 0600));
    return f;
}

/* Zeroed, aligned to 4096. */
static inline unsigned char *arena_make(uint64_t bytes)
{
    unsigned char *p = aligned_alloc(4096, (size_t)bytes);
    assert_non_null(p);
    memset(p, 0, (size_t)bytes);
    return p;
}

static inline zo2_aio_request request_of(zo2_aio_op op, void *buffer, uint64_t bytes, uint64_t offset)
{
    return (zo2_aio_request){.op = op, .buffer = buffer, .bytes = bytes, .offset = offset, .tag = offset};
}

/* One request, done. Its error is this thread's last one, too. */
static inline zo2_status transfer_one(zo2_aio *q, zo2_aio_request r)
{
    zo2_aio_done done = {0};
    zo2_status s = zo2_aio_submit(q, &r);
    if (s)
        return s;
    if (zo2_aio_reap(q, &done, 1, 1) != 1 || done.tag != r.tag)
        return zo2_error(ZO2_ERR_INTERNAL, "another request is done");
    return done.status ? zo2_error(done.status, "%s", zo2_aio_last_error(q)) : ZO2_OK;
}

/* Runs fn in a process of its own, whose limits are its own too. fn returns NULL, or says what went wrong. */
static inline void in_child(const char *(*fn)(void *arg), void *arg)
{
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        const char *wrong = fn(arg);
        if (wrong)
            fprintf(stderr, "child: %s (last error: %s)\n", wrong, zo2_last_error());
        _exit(wrong != NULL);
    }
    int status = -1;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

#endif
