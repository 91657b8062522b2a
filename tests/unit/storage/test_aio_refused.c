/* test_aio_refused.c: what a system doesn't allow is done without, and said: io_uring as containers refuse it, and memory that
 * an ordinary user may not lock. Each in a process of its own, which gives the right away. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/unit/storage/aio_testing.h"
#include "tests/unit/storage/refused.h"

#include <errno.h>

#define BYTES (9 * MIB)

typedef struct bench {
    zo2_aio_file file;
    unsigned char *arena, *random;
    uint64_t arena_bytes;
} bench;

/* Writes and reads by a queue that the system chooses, and looks at what it says of itself. */
static const char *moves_and_says(const bench *b, zo2_aio_choice choice, const char *says)
{
    zo2_aio_config c = {.choice = choice, .files = &b->file, .n_files = 1};
    c.arena = b->arena;
    c.arena_bytes = b->arena_bytes;
    zo2_aio *q;
    if (zo2_aio_open(&q, &c))
        return "open";
    const char *is = zo2_aio_describe(q);
    if (strncmp(is, says, strlen(says)) != 0) {
        fprintf(stderr, "\"%s\", not \"%s\"\n", is, says);
        return "it says something else";
    }
    memcpy(b->arena, b->random, BYTES);
    if (transfer_one(q, request_of(ZO2_AIO_WRITE, b->arena, BYTES, 0)))
        return "write";
    memset(b->arena, 0, BYTES);
    if (transfer_one(q, request_of(ZO2_AIO_READ, b->arena, BYTES, 0)))
        return "read";
    zo2_aio_close(q);
    return memcmp(b->arena, b->random, BYTES) == 0 ? NULL : "other bytes came back";
}

static const char *refused(const bench *b, uint32_t err, const char *reason)
{
    zo2_aio_config c = {.choice = ZO2_AIO_URING, .files = &b->file, .n_files = 1};
    zo2_aio *q;
    char says[128];
    if (refuse_io_uring(err))
        return "no seccomp filter";
    if (zo2_aio_open(&q, &c) != ZO2_ERR_UNSUPPORTED || q || !strstr(zo2_last_error(), reason))
        return "io_uring isn't refused";
    snprintf(says, sizeof says, "pread threads (io_uring: %s)", reason);
    return moves_and_says(b, ZO2_AIO_AUTO, says);
}

static const char *refused_eperm(void *arg)
{
    return refused(arg, EPERM, "Operation not permitted");
}

static const char *refused_enosys(void *arg)
{
    return refused(arg, ENOSYS, "Function not implemented");
}

/* An ordinary user who may lock 8 MiB, the default of most systems. */
static const char *locks_little(void *arg)
{
    if (become_user(8 * MIB))
        return "limits";
    const char *wrong = moves_and_says(arg, ZO2_AIO_URING, "io_uring, buffers not registered (Cannot allocate memory");
    return wrong ? wrong : moves_and_says(arg, ZO2_AIO_AUTO, "io_uring");
}

static void bench_run(const char *(*fn)(void *arg))
{
    char *dir = disk_make(), *path = in_dir(dir, "f");
    bench b = {.file = file_make(path), .arena_bytes = 32 * MIB};
    b.arena = arena_make(b.arena_bytes);
    b.random = sample_bytes(3, BYTES);
    in_child(fn, &b);
    free(b.random);
    free(b.arena);
    zo2_aio_file_close(&b.file, &zo2_io_posix);
    free(path);
    scratch_remove(dir);
}

static void threads_take_over_where_io_uring_is_refused(void **state)
{
    (void)state;
    bench_run(refused_eperm);
    bench_run(refused_enosys);
}

static void buffers_stay_unregistered_where_memory_cannot_be_locked(void **state)
{
    (void)state;
    bench_run(locks_little);
}

/* Without a limit they are registered. */
static const char *locks_all(void *arg)
{
    const struct rlimit limit = {RLIM_INFINITY, RLIM_INFINITY};
    if (setrlimit(RLIMIT_MEMLOCK, &limit))
        return NULL; /* not allowed to raise it: nothing to be seen here */
    return moves_and_says(arg, ZO2_AIO_AUTO, "io_uring, registered buffers");
}

static void buffers_are_registered(void **state)
{
    (void)state;
    bench_run(locks_all);
}

int main(void)
{
    zo2_aio_config c = {.choice = ZO2_AIO_URING};
    zo2_aio *q;
    if (zo2_aio_open(&q, &c)) {
        printf("skipped: %s\n", zo2_last_error());
        return 77;
    }
    zo2_aio_close(q);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_take_over_where_io_uring_is_refused),
        cmocka_unit_test(buffers_stay_unregistered_where_memory_cannot_be_locked),
        cmocka_unit_test(buffers_are_registered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
