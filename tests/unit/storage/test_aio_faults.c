/* test_aio_faults.c: what goes wrong in large transfers. Through the table every call fails in every way; the kinds that call
 * the system meet what can be had from it without a broken drive. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/unit/storage/aio_testing.h"
#include "tests/unit/storage/faulty_io.h"

#include <signal.h>
#include <sys/resource.h>

#define BYTES (9 * MIB) /* three pieces */

typedef struct bench {
    faulty_io f;
    char *dir, *path;
    zo2_aio_file file;
    zo2_aio *q;
    unsigned char *arena, *random;
} bench;

/* A file of random bytes and a queue that goes through the faulty table. */
static void bench_open(bench *b)
{
    memset(b, 0, sizeof *b);
    faulty_init(&b->f);
    b->dir = disk_make();
    b->path = in_dir(b->dir, "f");
    b->arena = arena_make(BYTES);
    b->random = sample_bytes(7, BYTES);
    file_store(b->path, b->random, BYTES);
    OK(zo2_aio_file_open(&b->file, &b->f.io, b->path, O_RDWR, 0));
    zo2_aio_config c = {.choice = ZO2_AIO_TABLE, .io = &b->f.io, .files = &b->file, .n_files = 1};
    OK(zo2_aio_open(&b->q, &c));
}

static void bench_close(bench *b)
{
    zo2_aio_close(b->q);
    zo2_aio_file_close(&b->file, &b->f.io);
    free(b->random);
    free(b->arena);
    free(b->path);
    scratch_remove(b->dir);
    faulty_free(&b->f);
}

/* By the queue, or at once. */
static zo2_status move(bench *b, zo2_aio_op op, uint64_t bytes, int by_queue)
{
    if (by_queue)
        return transfer_one(b->q, request_of(op, b->arena, bytes, 0));
    return op == ZO2_AIO_WRITE ? zo2_aio_file_write(&b->file, &b->f.io, b->arena, bytes, 0)
                               : zo2_aio_file_read(&b->file, &b->f.io, b->arena, bytes, 0);
}

static int file_is(const bench *b, const unsigned char *bytes, size_t n)
{
    size_t there;
    unsigned char *data = file_load(b->path, &there);
    int same = there == n && memcmp(data, bytes, n) == 0;
    free(data);
    return same;
}

/* Both directions must move all bytes with operations of the armed kind being spoilt. */
static void goes_through(faulty_kind kind, int err, uint64_t first, uint64_t repeat, uint64_t bytes)
{
    for (int by_queue = 0; by_queue < 2; by_queue++) {
        bench b;
        bench_open(&b);
        memset(b.arena, 0xEE, BYTES);
        faulty_arm(&b.f, FAULTY_PREAD, first, kind, err, repeat);
        OK(move(&b, ZO2_AIO_READ, bytes, by_queue));
        assert_true(b.f.spoilt > 0);
        assert_memory_equal(b.arena, b.random, bytes);
        unsigned char *others = sample_bytes(8, BYTES);
        memcpy(b.arena, others, BYTES);
        memcpy(b.random, others, bytes);
        faulty_arm(&b.f, FAULTY_PWRITE, first, kind, err, repeat);
        OK(move(&b, ZO2_AIO_WRITE, bytes, by_queue));
        assert_true(b.f.spoilt > 0);
        assert_true(file_is(&b, b.random, BYTES));
        free(others);
        bench_close(&b);
    }
}

static void short_transfers_are_continued(void **state)
{
    (void)state;
    goes_through(FAULTY_SHORT, 0, 0, 1, BYTES);
    goes_through(FAULTY_SHORT, 0, 0, 3, 12288); /* 6144, 3072, 1536: the rest isn't aligned */
    goes_through(FAULTY_SHORT, 0, 0, 0, BYTES); /* down to single bytes */
}

static void interrupted_calls_are_made_again(void **state)
{
    (void)state;
    goes_through(FAULTY_FAIL, EINTR, 0, 1, BYTES);
    goes_through(FAULTY_FAIL, EAGAIN, 0, 500, 4096);
}

/* A file system may refuse them though it let the file be opened with O_DIRECT. */
static void refused_direct_transfers_go_through_the_page_cache(void **state)
{
    (void)state;
    static const struct {
        int err;
        const char *text;
    } refusals[] = {{EINVAL, "Invalid argument"}, {EOPNOTSUPP, "Operation not supported"}};
    for (int i = 0; i < 2; i++) {
        bench b;
        bench_open(&b);
        if (b.file.direct >= 0) {
            goes_through(FAULTY_FAIL, refusals[i].err, 0, 1, 4096);
            faulty_clear_log(&b.f);
            faulty_arm(&b.f, FAULTY_PREAD, 0, FAULTY_FAIL, refusals[i].err, 1);
            OK(move(&b, ZO2_AIO_READ, 4096, 1));
            assert_int_equal(b.f.entries, 2);
            assert_int_equal(b.f.log[0].fd, b.file.direct);
            assert_int_equal(b.f.log[1].fd, b.file.buffered);
        }
        faulty_arm(&b.f, FAULTY_PREAD, 0, FAULTY_FAIL, refusals[i].err, 0); /* the page cache refuses as well */
        FAILS(IO, move(&b, ZO2_AIO_READ, 4096, 1));
        SAYS(refusals[i].text);
        bench_close(&b);
    }
}

static void a_file_without_direct_transfers_is_opened_all_the_same(void **state)
{
    (void)state;
    char *dir = disk_make(), *path = in_dir(dir, "f");
    faulty_io f;
    zo2_aio_file file;
    faulty_init(&f);
    faulty_arm(&f, FAULTY_OPEN, 1, FAULTY_FAIL, EINVAL, 1);
    OK(zo2_aio_file_open(&file, &f.io, path, O_RDWR | O_CREAT | O_EXCL, 0600));
    assert_int_equal(f.spoilt, 1);
    assert_int_equal(file.direct, -1);
    zo2_aio_config c = {.choice = ZO2_AIO_TABLE, .io = &f.io, .files = &file, .n_files = 1};
    zo2_aio *q;
    OK(zo2_aio_open(&q, &c));
    assert_non_null(strstr(zo2_aio_describe(q), "page cache"));
    zo2_aio_close(q);
    zo2_aio_file_close(&file, &f.io);
    faulty_arm(&f, FAULTY_OPEN, 1, FAULTY_FAIL, EMFILE, 1);
    FAILS(IO, zo2_aio_file_open(&file, &f.io, path, O_RDWR, 0));
    SAYS("Too many open files");
    assert_int_equal(faulty_count(&f, FAULTY_OPEN) - faulty_count(&f, FAULTY_CLOSE), 2); /* two opens failed */
    faulty_free(&f);
    free(path);
    scratch_remove(dir);
}

/* What is final names file and offset, and leaves other requests alone. */
static void errors_are_final(void **state)
{
    (void)state;
    static const struct {
        faulty_kind kind;
        int err, mask;
        zo2_status status;
        const char *text;
    } faults[] = {
        {FAULTY_FAIL, EIO, FAULTY_PREAD, ZO2_ERR_IO, "see the kernel log"},
        {FAULTY_FAIL, EIO, FAULTY_PWRITE, ZO2_ERR_IO, "see the kernel log"},
        {FAULTY_TORN, ENOSPC, FAULTY_PWRITE, ZO2_ERR_NOSPACE, "free space there"},
        {FAULTY_FAIL, EDQUOT, FAULTY_PWRITE, ZO2_ERR_NOSPACE, "quota"},
        {FAULTY_FAIL, EFBIG, FAULTY_PWRITE, ZO2_ERR_NOSPACE, "ulimit -f"},
        {FAULTY_EOF, 0, FAULTY_PREAD, ZO2_ERR_FORMAT, "truncated"},
        {FAULTY_FAIL, EAGAIN, FAULTY_PREAD, ZO2_ERR_IO, "Resource temporarily unavailable"},
    };
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
        for (int by_queue = 0; by_queue < 2; by_queue++) {
            bench b;
            bench_open(&b);
            zo2_aio_op op = faults[i].mask == FAULTY_PREAD ? ZO2_AIO_READ : ZO2_AIO_WRITE;
            faulty_arm(&b.f, faults[i].mask, by_queue, faults[i].kind, faults[i].err, 0);
            assert_int_equal(move(&b, op, by_queue ? BYTES : 8192, by_queue), faults[i].status);
            SAYS(faults[i].text);
            SAYS(b.path);
            SAYS(by_queue ? "offset 3145728" : "offset 0"); /* the second of three pieces */
            faulty_arm(&b.f, 0, 0, FAULTY_NONE, 0, 0);
            OK(move(&b, op, BYTES, by_queue));
            assert_string_equal(zo2_aio_last_error(b.q), "");
            bench_close(&b);
        }
}

static void a_failure_is_one_requests_own(void **state)
{
    (void)state;
    bench b;
    bench_open(&b);
    zo2_aio_config c = {.choice = ZO2_AIO_TABLE, .io = &b.f.io, .files = &b.file, .n_files = 1, .depth = 3};
    zo2_aio_close(b.q);
    OK(zo2_aio_open(&b.q, &c));
    /* Nothing of a request is issued when a piece of it has failed: of three requests of three pieces, with three in flight
     * at once, the first fails at once. */
    faulty_clear_log(&b.f);
    faulty_arm(&b.f, FAULTY_PREAD, 0, FAULTY_FAIL, EIO, 1);
    for (uint64_t i = 0; i < 3; i++) {
        zo2_aio_request r = {.op = ZO2_AIO_READ, .buffer = b.arena, .bytes = BYTES, .tag = i};
        OK(zo2_aio_submit(b.q, &r));
    }
    uint32_t failed = 0, fine = 0;
    while (zo2_aio_in_flight(b.q) > 0) {
        zo2_aio_done done;
        assert_int_equal(zo2_aio_reap(b.q, &done, 1, 1), 1);
        assert_int_equal(done.status, done.tag == 0 ? ZO2_ERR_IO : ZO2_OK);
        assert_int_equal(strstr(zo2_aio_last_error(b.q), "offset 0 of") != NULL, done.tag == 0);
        failed += done.tag == 0;
        fine += done.tag != 0;
    }
    assert_int_equal(failed, 1);
    assert_int_equal(fine, 2);
    assert_int_equal(faulty_count(&b.f, FAULTY_PREAD), 9); /* its other two were in flight already */
    assert_memory_equal(b.arena, b.random, BYTES);
    bench_close(&b);
}

static void a_failed_sync_is_told_and_not_repeated(void **state)
{
    (void)state;
    for (size_t k = 0; k < N_KINDS; k++) {
        bench b;
        bench_open(&b);
        zo2_aio_config c = {.choice = every_kind[k], .io = &b.f.io, .files = &b.file, .n_files = 1};
        zo2_aio_close(b.q);
        OK(zo2_aio_open(&b.q, &c));
        OK(transfer_one(b.q, request_of(ZO2_AIO_SYNC, NULL, 0, 0)));
        faulty_arm(&b.f, FAULTY_FDATASYNC, 0, FAULTY_FAIL, EIO, 0);
        FAILS(IO, transfer_one(b.q, request_of(ZO2_AIO_SYNC, NULL, 0, 0)));
        SAYS(b.path);
        assert_int_equal(b.f.spoilt, 1);
        bench_close(&b);
    }
}

/* ---- the system's own errors ------------------------------------------------------------------------------------- */

static void a_truncated_file_is_told(void **state)
{
    (void)state;
    static const uint64_t ends[] = {0, 4096, 4097, 4 * MIB, BYTES - 1};
    for (size_t k = 0; k < N_KINDS; k++)
        for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
            bench b;
            bench_open(&b);
            zo2_aio_config c = {.choice = every_kind[k], .files = &b.file, .n_files = 1};
            zo2_aio_close(b.q);
            OK(zo2_aio_open(&b.q, &c));
            assert_int_equal(truncate(b.path, (off_t)ends[i]), 0);
            FAILS(FORMAT, transfer_one(b.q, request_of(ZO2_AIO_READ, b.arena, BYTES, 0)));
            SAYS("is truncated");
            SAYS(b.path);
            OK(transfer_one(b.q, request_of(ZO2_AIO_READ, b.arena, ends[i] & ~UINT64_C(4095), 0)));
            assert_memory_equal(b.arena, b.random, ends[i] & ~UINT64_C(4095));
            bench_close(&b);
        }
}

/* /proc/self/mem has nothing at address 0: EIO without a broken drive. */
static void the_systems_eio_is_final(void **state)
{
    (void)state;
    zo2_aio_file mem;
    unsigned char *arena = arena_make(4096);
    OK(zo2_aio_file_open(&mem, &zo2_io_posix, "/proc/self/mem", O_RDONLY, 0));
    assert_int_equal(mem.direct, -1);
    for (size_t k = 0; k < N_KINDS; k++) {
        zo2_aio_config c = {.choice = every_kind[k], .files = &mem, .n_files = 1};
        zo2_aio *q;
        OK(zo2_aio_open(&q, &c));
        FAILS(IO, transfer_one(q, request_of(ZO2_AIO_READ, arena, 4096, 0)));
        SAYS("offset 0 of /proc/self/mem: Input/output error");
        zo2_aio_close(q);
    }
    zo2_aio_file_close(&mem, &zo2_io_posix);
    free(arena);
}

/* In a process of its own, with ulimit -f: the file can't grow past 4 MiB. */
static const char *write_too_much(void *arg)
{
    bench *b = arg;
    struct rlimit limit = {4 * MIB, 4 * MIB};
    signal(SIGXFSZ, SIG_IGN);
    if (setrlimit(RLIMIT_FSIZE, &limit))
        return "setrlimit";
    for (size_t k = 0; k < N_KINDS; k++) {
        zo2_aio_config c = {.choice = every_kind[k], .files = &b->file, .n_files = 1};
        zo2_aio *q;
        if (zo2_aio_open(&q, &c))
            return "open";
        if (transfer_one(q, request_of(ZO2_AIO_WRITE, b->arena, BYTES, 0)) != ZO2_ERR_NOSPACE)
            return "no ZO2_ERR_NOSPACE";
        if (!strstr(zo2_last_error(), "ulimit -f") || !strstr(zo2_last_error(), b->path))
            return "another text";
        if (transfer_one(q, request_of(ZO2_AIO_WRITE, b->arena, 4 * MIB, 0)))
            return "what fits fails";
        zo2_aio_close(q);
    }
    return NULL;
}

static void a_file_that_must_not_grow_is_told(void **state)
{
    (void)state;
    bench b;
    bench_open(&b);
    assert_int_equal(truncate(b.path, 0), 0);
    in_child(write_too_much, &b);
    bench_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(short_transfers_are_continued),
        cmocka_unit_test(interrupted_calls_are_made_again),
        cmocka_unit_test(refused_direct_transfers_go_through_the_page_cache),
        cmocka_unit_test(a_file_without_direct_transfers_is_opened_all_the_same),
        cmocka_unit_test(errors_are_final),
        cmocka_unit_test(a_failure_is_one_requests_own),
        cmocka_unit_test(a_failed_sync_is_told_and_not_repeated),
        cmocka_unit_test(a_truncated_file_is_told),
        cmocka_unit_test(the_systems_eio_is_final),
        cmocka_unit_test(a_file_that_must_not_grow_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
