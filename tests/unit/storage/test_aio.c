/* test_aio.c: large transfers: every kind of queue moves the same bytes, on a disk and in memory, whatever the sizes, the
 * depth and where the buffers lie. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/unit/storage/aio_testing.h"

#include <errno.h>
#include <pthread.h>

typedef char *(*place)(void);
static const place places[] = {disk_make, scratch_make};

/* ---- files ------------------------------------------------------------------------------------------------------- */

static void a_file_is_opened_twice(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        char *dir = places[i](), *path = in_dir(dir, "f");
        zo2_aio_file f;
        FAILS(NOTFOUND, zo2_aio_file_open(&f, &zo2_io_posix, path, O_RDWR, 0));
        assert_null(f.path);
        OK(zo2_aio_file_open(&f, &zo2_io_posix, path, O_RDWR | O_CREAT | O_EXCL, 0600));
        assert_string_equal(f.path, path);
        assert_true(f.buffered >= 0);
        assert_int_equal(fcntl(f.buffered, F_GETFD), FD_CLOEXEC);
        assert_int_equal(fcntl(f.buffered, F_GETFL) & O_DIRECT, 0);
        assert_true(f.align > 0 && f.align <= 4096 && (f.align & (f.align - 1)) == 0);
        assert_true(f.memory_align > 0 && f.memory_align <= 4096 && (f.memory_align & (f.memory_align - 1)) == 0);
        if (f.direct >= 0) {
            assert_true(fcntl(f.direct, F_GETFL) & O_DIRECT);
            assert_int_equal(fcntl(f.direct, F_GETFD), FD_CLOEXEC);
        }
        zo2_aio_file other;
        FAILS(EXISTS, zo2_aio_file_open(&other, &zo2_io_posix, path, O_RDWR | O_CREAT | O_EXCL, 0600));
        zo2_aio_file_close(&f, &zo2_io_posix);
        zo2_aio_file_close(&f, &zo2_io_posix); /* zeroed */
        free(path);
        scratch_remove(dir);
    }
}

static void single_transfers_take_any_bytes(void **state)
{
    (void)state;
    static const uint64_t spans[][2] = {{0, 0},       {0, 1},           {4096, 4096},   {4095, 3},
                                        {512, 70000}, {8192, 3 * 4096}, {1 << 20, 5000}};
    for (int i = 0; i < 2; i++) {
        char *dir = places[i](), *path = in_dir(dir, "f");
        zo2_aio_file f = file_make(path);
        unsigned char *bytes = arena_make(2 * MIB), *expected = calloc(1, 2 * MIB), *random = sample_bytes(1, 2 * MIB);
        size_t end = 0, n;
        for (size_t k = 0; k < sizeof spans / sizeof *spans; k++) {
            uint64_t at = spans[k][0], len = spans[k][1];
            memcpy(expected + at, random + at, len);
            memcpy(bytes, random + at, len);
            OK(zo2_aio_file_write(&f, &zo2_io_posix, bytes, len, at));
            end = at + len > end ? at + len : end;
        }
        unsigned char *there = file_load(path, &n);
        assert_int_equal(n, end);
        assert_memory_equal(there, expected, n);
        for (size_t k = 0; k < sizeof spans / sizeof *spans; k++) {
            uint64_t at = spans[k][0], len = spans[k][1];
            for (int shift = 0; shift < 2; shift++) { /* an address that direct transfers can take, and another */
                memset(bytes, 0xEE, 2 * MIB);
                OK(zo2_aio_file_read(&f, &zo2_io_posix, bytes + shift, len, at));
                assert_memory_equal(bytes + shift, expected + at, len);
                assert_int_equal(bytes[(uint64_t)shift + len], 0xEE);
            }
        }
        FAILS(FORMAT, zo2_aio_file_read(&f, &zo2_io_posix, bytes, 4096, end - 1));
        SAYS("truncated");
        FAILS(ARG, zo2_aio_file_read(&f, &zo2_io_posix, bytes, 4096, (uint64_t)INT64_MAX));
        free(there);
        free(random);
        free(expected);
        free(bytes);
        zo2_aio_file_close(&f, &zo2_io_posix);
        free(path);
        scratch_remove(dir);
    }
}

/* ---- queues ------------------------------------------------------------------------------------------------------ */

/* Spans of two files, in an order of their own; the last is more than the pieces of a small depth. */
static const uint64_t sizes[] = {4096, 2 * MIB, 0, 4 * MIB + 4096, 12288, 9 * MIB, 4 * MIB};
#define N_SPANS (sizeof sizes / sizeof *sizes)
#define TOTAL   (24 * MIB)

typedef struct bench {
    zo2_aio_file files[2];
    unsigned char *arena, *elsewhere;
    zo2_aio_choice choice;
    uint32_t depth;
    int registered; /* the queue is told of the arena */
} bench;

/* Moves all spans of one file; i-th span to or from the arena, every third one elsewhere, at an odd address. */
static const char *move_all(const bench *b, zo2_aio_op op, uint32_t file)
{
    zo2_aio_config c = {.choice = b->choice, .files = b->files, .n_files = 2, .depth = b->depth};
    if (b->registered) {
        c.arena = b->arena;
        c.arena_bytes = TOTAL;
    }
    zo2_aio *q;
    if (zo2_aio_open(&q, &c))
        return "open";
    uint64_t at = 0, seen = 0;
    size_t sent = 0, back = 0;
    const char *wrong = NULL;
    while (back < N_SPANS && !wrong) {
        while (sent < N_SPANS && zo2_aio_room(q) > 0 && !wrong) {
            unsigned char *buffer = sent % 3 == 2 ? b->elsewhere + 1 + at : b->arena + at;
            zo2_aio_request r = {
                .op = op, .file = file, .buffer = buffer, .bytes = sizes[sent], .offset = at, .tag = sent};
            wrong = zo2_aio_submit(q, &r) ? "submit" : NULL;
            at += sizes[sent++];
        }
        zo2_aio_done done[2];
        uint32_t n = wrong ? 0 : zo2_aio_reap(q, done, 2, 1);
        if (n == 0 && !wrong)
            wrong = "reap took none";
        for (uint32_t i = 0; i < n; i++, back++) {
            wrong = done[i].status ? "a request failed" : wrong;
            seen |= (uint64_t)1 << done[i].tag;
        }
    }
    if (!wrong && (seen != ((uint64_t)1 << N_SPANS) - 1 || zo2_aio_in_flight(q) != 0))
        wrong = "not all are done";
    zo2_aio_close(q);
    return wrong;
}

static void copy_between(const bench *b, unsigned char *flat, int in)
{
    uint64_t at = 0;
    for (size_t i = 0; i < N_SPANS; at += sizes[i++]) {
        unsigned char *p = i % 3 == 2 ? b->elsewhere + 1 + at : b->arena + at;
        memcpy(in ? p : flat + at, in ? flat + at : p, (size_t)sizes[i]);
    }
}

static void every_kind_moves_the_same_bytes(void **state)
{
    (void)state;
    uint64_t all = 0;
    for (size_t i = 0; i < N_SPANS; i++)
        all += sizes[i];
    for (int i = 0; i < 2; i++) {
        char *dir = places[i](), *paths[2] = {in_dir(dir, "a"), in_dir(dir, "b")};
        bench b = {.files = {file_make(paths[0]), file_make(paths[1])},
                   .arena = arena_make(TOTAL),
                   .elsewhere = arena_make(TOTAL)};
        unsigned char *flat = malloc((size_t)all);
        for (size_t k = 0; k < N_KINDS * 3; k++) {
            static const uint32_t depths[] = {1, 3, 0};
            unsigned char *random = sample_bytes(k, (size_t)all), *there;
            size_t n;
            b.depth = depths[k % 3];
            b.registered = k % 2;
            b.choice = every_kind[k / 3];
            copy_between(&b, random, 1);
            assert_null(move_all(&b, ZO2_AIO_WRITE, k % 2));
            there = file_load(paths[k % 2], &n);
            assert_int_equal(n, all);
            assert_memory_equal(there, random, (size_t)all);
            memset(b.arena, 0xEE, TOTAL);
            memset(b.elsewhere, 0xEE, TOTAL);
            b.choice = every_kind[(k + 1) % N_KINDS];
            assert_null(move_all(&b, ZO2_AIO_READ, k % 2));
            copy_between(&b, flat, 0);
            assert_memory_equal(flat, random, (size_t)all);
            free(there);
            free(random);
        }
        free(flat);
        free(b.arena);
        free(b.elsewhere);
        for (int k = 0; k < 2; k++) {
            zo2_aio_file_close(&b.files[k], &zo2_io_posix);
            free(paths[k]);
        }
        scratch_remove(dir);
    }
}

static void *read_all(void *arg)
{
    return (void *)move_all(arg, ZO2_AIO_READ, 0);
}

/* Lanes open their queues where errors are raised, and use them on threads of their own. */
typedef struct elsewhere {
    zo2_aio *q;
    unsigned char *arena;
} elsewhere;

static void *write_and_read(void *arg)
{
    elsewhere *e = arg;
    memset(e->arena, 0x5A, 8 * MIB);
    zo2_status s = transfer_one(e->q, request_of(ZO2_AIO_WRITE, e->arena, 8 * MIB, 4096));
    if (!s)
        s = transfer_one(e->q, request_of(ZO2_AIO_SYNC, NULL, 0, 0));
    memset(e->arena, 0, 8 * MIB);
    if (!s)
        s = transfer_one(e->q, request_of(ZO2_AIO_READ, e->arena, 8 * MIB, 4096));
    for (size_t i = 0; !s && i < 8 * MIB; i++)
        if (e->arena[i] != 0x5A)
            return "other bytes came back";
    return s ? "failed" : NULL;
}

static void a_queue_belongs_to_the_thread_that_submits(void **state)
{
    (void)state;
    char *dir = disk_make(), *path = in_dir(dir, "f");
    zo2_aio_file f = file_make(path);
    unsigned char *arena = arena_make(8 * MIB);
    for (size_t k = 0; k < N_KINDS; k++) {
        zo2_aio_config c = {.choice = every_kind[k], .files = &f, .n_files = 1, .arena = arena, .arena_bytes = 8 * MIB};
        elsewhere e = {.arena = arena};
        OK(zo2_aio_open(&e.q, &c));
        pthread_t thread;
        void *wrong;
        assert_int_equal(pthread_create(&thread, NULL, write_and_read, &e), 0);
        assert_int_equal(pthread_join(thread, &wrong), 0);
        assert_null(wrong);
        zo2_aio_close(e.q);
    }
    free(arena);
    zo2_aio_file_close(&f, &zo2_io_posix);
    free(path);
    scratch_remove(dir);
}

/* Two queues on one file at once, as a read lane and a write lane have them. */
static void queues_work_side_by_side(void **state)
{
    (void)state;
    char *dir = disk_make(), *path = in_dir(dir, "f");
    for (size_t k = 0; k < N_KINDS; k++) {
        bench b[2];
        pthread_t thread[2];
        zo2_aio_file f = file_make(path);
        unsigned char *random = sample_bytes(k, TOTAL);
        OK(zo2_aio_file_write(&f, &zo2_io_posix, random, TOTAL, 0));
        for (int i = 0; i < 2; i++) {
            b[i] = (bench){.files = {f, f}, .choice = every_kind[k], .depth = 4, .registered = 1};
            b[i].arena = arena_make(TOTAL);
            b[i].elsewhere = arena_make(TOTAL);
            assert_int_equal(pthread_create(&thread[i], NULL, read_all, &b[i]), 0);
        }
        for (int i = 0; i < 2; i++) {
            void *wrong;
            assert_int_equal(pthread_join(thread[i], &wrong), 0);
            assert_null(wrong);
            assert_memory_equal(b[i].arena, random, 4096);
            free(b[i].arena);
            free(b[i].elsewhere);
        }
        free(random);
        zo2_aio_file_close(&f, &zo2_io_posix);
    }
    free(path);
    scratch_remove(dir);
}

static void room_is_counted(void **state)
{
    (void)state;
    char *dir = disk_make(), *path = in_dir(dir, "f");
    zo2_aio_file f = file_make(path);
    unsigned char *arena = arena_make(16 * MIB);
    for (size_t k = 0; k < N_KINDS; k++) {
        zo2_aio_config c = {.choice = every_kind[k], .files = &f, .n_files = 1, .depth = 2};
        zo2_aio_request r = request_of(ZO2_AIO_WRITE, arena, 16 * MIB, 0);
        zo2_aio_done done[4];
        zo2_aio *q;
        OK(zo2_aio_open(&q, &c));
        assert_int_equal(zo2_aio_reap(q, done, 4, 1), 0); /* nothing is in flight: nothing to wait for */
        assert_int_equal(zo2_aio_room(q), 2);
        OK(zo2_aio_submit(q, &r));
        OK(zo2_aio_submit(q, &r));
        assert_int_equal(zo2_aio_room(q), 0);
        assert_int_equal(zo2_aio_in_flight(q), 2);
        FAILS(BUSY, zo2_aio_submit(q, &r));
        assert_int_equal(zo2_aio_reap(q, done, 0, 1), 0);
        assert_int_equal(zo2_aio_reap(q, done, 1, 1), 1);
        assert_int_equal(zo2_aio_room(q), 1);
        while (zo2_aio_in_flight(q) > 0) /* never waiting comes to the same end */
            zo2_aio_reap(q, done, 4, 0);
        r.bytes = 4095;
        FAILS(ARG, zo2_aio_submit(q, &r));
        SAYS("4095 bytes");
        r.bytes = 4096;
        r.offset = 512;
        FAILS(ARG, zo2_aio_submit(q, &r));
        r.offset = (uint64_t)INT64_MAX + 1;
        FAILS(ARG, zo2_aio_submit(q, &r));
        r.offset = 0;
        r.file = 1;
        FAILS(ARG, zo2_aio_submit(q, &r));
        assert_int_equal(zo2_aio_in_flight(q), 0);
        r = request_of(ZO2_AIO_WRITE, arena, 16 * MIB, 0);
        OK(zo2_aio_submit(q, &r));
        zo2_aio_close(q); /* with something in flight */
        c.depth = 5000;
        FAILS(ARG, zo2_aio_open(&q, &c));
        assert_null(q);
    }
    zo2_aio_close(NULL);
    free(arena);
    zo2_aio_file_close(&f, &zo2_io_posix);
    free(path);
    scratch_remove(dir);
}

static const char *close_here(void *arg)
{
    zo2_aio_close(arg);
    return NULL;
}

/* A child has none of its parent's threads to wait for. */
static void a_forked_child_can_close(void **state)
{
    (void)state;
    char *dir = disk_make(), *path = in_dir(dir, "f");
    zo2_aio_file f = file_make(path);
    unsigned char *arena = arena_make(MIB);
    for (size_t k = 0; k < N_KINDS; k++) {
        zo2_aio_config c = {.choice = every_kind[k], .files = &f, .n_files = 1};
        zo2_aio *q;
        OK(zo2_aio_open(&q, &c));
        OK(transfer_one(q, request_of(ZO2_AIO_WRITE, arena, MIB, 0)));
        in_child(close_here, q);
        OK(transfer_one(q, request_of(ZO2_AIO_READ, arena, MIB, 0)));
        zo2_aio_close(q);
    }
    free(arena);
    zo2_aio_file_close(&f, &zo2_io_posix);
    free(path);
    scratch_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_is_opened_twice),          cmocka_unit_test(single_transfers_take_any_bytes),
        cmocka_unit_test(every_kind_moves_the_same_bytes), cmocka_unit_test(a_queue_belongs_to_the_thread_that_submits),
        cmocka_unit_test(queues_work_side_by_side),        cmocka_unit_test(room_is_counted),
        cmocka_unit_test(a_forked_child_can_close),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
