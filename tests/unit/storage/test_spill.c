/* test_spill.c: spill files: their layout byte by byte, the life of slots, several folders, who may open them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/unit/storage/faulty_io.h"
#include "tests/unit/storage/spill_dirs_testing.h"
#include "tests/unit/storage/spill_testing.h"

#include <pthread.h>
#include <sys/stat.h>

static uint64_t u64_at(const unsigned char *p, size_t at)
{
    uint64_t v;
    memcpy(&v, p + at, 8);
    return v;
}

static uint32_t u32_at(const unsigned char *p, size_t at)
{
    uint32_t v;
    memcpy(&v, p + at, 4);
    return v;
}

static void write_one(zo2_spill *s, uint32_t chunk, uint64_t step)
{
    int written;
    OK(test_write(s, &zo2_io_posix, chunk, step, &written));
    assert_true(written);
}

static zo2_spill *open_spill(const zo2_spill_config *c)
{
    zo2_spill *s;
    OK(zo2_spill_open(&s, &zo2_io_posix, c));
    return s;
}

/* From the text of SPILL.md, without the code's structs. */
static void a_file_is_what_the_specification_says(void **state)
{
    (void)state;
    const zo2_spill_config c = test_config(dirs, 1);
    zo2_spill *s = open_spill(&c);
    write_one(s, 0, 7);
    write_one(s, 2, 9);
    OK(zo2_spill_commit(s));
    zo2_spill_version v[2];
    assert_true(zo2_spill_find(s, 0, &v[0]) && zo2_spill_find(s, 2, &v[1]));
    zo2_spill_close(s);
    size_t n;
    char *path = in_dir(dir, RUN_TAG);
    unsigned char *b = file_load(path, &n);
    assert_memory_equal(b, "ZO2SPIL\n", 8);
    assert_int_equal(u32_at(b, 8), 1);
    assert_int_equal(u32_at(b, 12), 256);
    assert_true(u64_at(b, 16) == 0 && u64_at(b, 24) == RUN && u64_at(b, 32) == 42);
    assert_int_equal(u32_at(b, 40), CHUNKS);
    assert_int_equal(u32_at(b, 44), 1);
    assert_int_equal(u32_at(b, 48), 0);
    assert_int_equal(u32_at(b, 60), 4096);
    assert_int_equal(u64_at(b, 64), n);
    assert_int_equal(u32_at(b, 80), 65536);
    assert_true(u64_at(b, 248) == XXH3_64bits(b, 248));
    /* Sizes of slots: 16384 for chunks 0, 1 and 6, 12288 for 5, 8192 for 4, 4096 for 2; two spare ones each. */
    static const uint64_t sizes[] = {16384, 12288, 8192, 4096}, slots[] = {5, 3, 3, 3};
    assert_int_equal(u32_at(b, 52), 4);
    assert_int_equal(u32_at(b, 56), 14);
    assert_true(u64_at(b, 72) == XXH3_64bits(b + 256, 4 * 32));
    uint64_t first = 0, at = 8192;
    for (size_t k = 0; k < 4; k++) {
        const unsigned char *r = b + 256 + 32 * k;
        assert_int_equal(u64_at(r, 0), sizes[k]);
        assert_int_equal(u64_at(r, 8), at);
        assert_int_equal(u32_at(r, 16), first);
        assert_int_equal(u32_at(r, 20), slots[k]);
        first += slots[k];
        at += slots[k] * sizes[k];
    }
    assert_int_equal(n, at);
    assert_int_equal(zo2_spill_bytes(&c), n);
    test_planes *p = test_planes_new();
    for (int i = 0; i < 2; i++) {
        const unsigned char *h = b + 4096 + 64 * v[i].slot;
        const uint32_t chunk = i ? 2 : 0;
        test_fill(p, chunk, i ? 9 : 7);
        assert_int_equal(u32_at(h, 0), chunk);
        assert_int_equal(u32_at(h, 4), v[i].slot);
        assert_int_equal(u64_at(h, 8), i ? 9 : 7);
        assert_int_equal(u64_at(h, 16), 1);
        assert_true(u64_at(h, 24) == test_history(NULL, i ? 9 : 7));
        assert_true(u64_at(h, 32) == XXH3_64bits(p->wire, chunk_sizes[chunk].wire_bytes));
        assert_true(u64_at(h, 40) == XXH3_64bits(p->rest, chunk_sizes[chunk].rest_bytes));
        assert_int_equal(u32_at(h, 48), chunk_sizes[chunk].wire_bytes);
        assert_int_equal(u32_at(h, 52), chunk_sizes[chunk].rest_bytes);
        assert_true(u64_at(h, 56) == XXH3_64bits_withSeed(h, 56, RUN));
        const uint64_t slot_at = i ? 8192 + 5 * 16384 + 3 * 12288 + 3 * 8192 + (v[1].slot - 11) * UINT64_C(4096)
                                   : 8192 + v[0].slot * UINT64_C(16384);
        assert_int_equal(v[i].wire_at, slot_at);
        assert_memory_equal(b + slot_at, p->wire, chunk_sizes[chunk].wire_bytes);
        assert_int_equal(v[i].rest_at, slot_at + (i ? 4096 : 12288));
        memset(b + 4096 + 64 * v[i].slot, 0, 64);
    }
    for (size_t i = 4096; i < 8192; i++) /* the other slot headers */
        assert_int_equal(b[i], 0);
    free(p);
    free(b);
    free(path);
}

static void versions_come_back(void **state)
{
    (void)state;
    for (uint32_t n = 1; n <= 2; n++) {
        zo2_spill_config c = test_config(dirs, n);
        zo2_spill *s = open_spill(&c);
        for (uint64_t step = 1; step <= 30; step++) {
            for (uint32_t i = 0; i < CHUNKS; i++)
                if (i != NOT_KEPT && (step + i) % 3 == 0) {
                    write_one(s, i, step);
                    assert_int_equal(test_step(s, i), step);
                }
            assert_in_range(zo2_spill_uncommitted(s), 2, 2);
            OK(zo2_spill_commit(s));
            assert_int_equal(zo2_spill_uncommitted(s), 0);
        }
        write_one(s, 0, 31); /* lost */
        assert_int_equal(test_step(s, 0), 31);
        zo2_spill_close(s);
        const char *const swapped[] = {dirs[n - 1], dirs[0]};
        c.dirs = swapped;
        for (int writable = 0; writable <= 1; writable++) {
            c.writable = writable;
            s = open_spill(&c);
            for (uint32_t i = 0; i < CHUNKS; i++)
                assert_int_equal(test_step(s, i), i == NOT_KEPT ? -1 : 28 + (int)((i * 2 + 2) % 3));
            zo2_spill_close(s);
        }
        assert_int_equal(count_files(other, ""), n - 1);
        c.writable = 1;
        OK(zo2_spill_remove(&zo2_io_posix, RUN, dirs, 2));
        assert_int_equal(count_files(dir, "") + count_files(other, ""), 0);
    }
}

/* Slots run out, a commit gives them back; a chunk that is written twice in between needs one slot. */
static void slots_come_back_with_a_commit(void **state)
{
    (void)state;
    const zo2_spill_config c = test_config(dirs, 1);
    zo2_spill *s = open_spill(&c);
    zo2_spill_version v[3];
    for (uint64_t step = 1; step < 50; step++)
        write_one(s, 0, step);
    assert_int_equal(zo2_spill_uncommitted(s), 1);
    write_one(s, 1, 50);
    write_one(s, 6, 50);
    assert_true(zo2_spill_take(s, 6, &v[0]) && zo2_spill_take(s, 0, &v[1])); /* chunks of one size share them */
    assert_false(zo2_spill_take(s, 1, &v[2]));
    zo2_spill_give_back(s, &v[0]);
    zo2_spill_give_back(s, &v[1]);
    for (uint64_t step = 51; step < 60; step++) {
        OK(zo2_spill_commit(s)); /* 3 slots are committed */
        write_one(s, 0, step);
        write_one(s, 1, step);
        assert_false(zo2_spill_take(s, 6, &v[0]));
        assert_true(zo2_spill_take(s, 4, &v[0])); /* of another size */
        zo2_spill_give_back(s, &v[0]);
    }
    zo2_spill_close(s);
}

static void what_is_forgotten_is_not_found(void **state)
{
    (void)state;
    const zo2_spill_config c = test_config(dirs, 1);
    zo2_spill *s = open_spill(&c);
    zo2_spill_version a, b, none;
    write_one(s, 5, 1);
    OK(zo2_spill_commit(s));
    assert_true(zo2_spill_find(s, 5, &a));
    write_one(s, 5, 2);
    assert_true(zo2_spill_find(s, 5, &b));
    zo2_spill_forget(s, &a); /* not the newest: nothing happens */
    assert_int_equal(test_step(s, 5), 2);
    zo2_spill_forget(s, &b); /* the one before is committed */
    assert_int_equal(test_step(s, 5), 1);
    assert_int_equal(zo2_spill_uncommitted(s), 0);
    OK(zo2_spill_commit(s));
    zo2_spill_forget(s, &a);
    assert_false(zo2_spill_find(s, 5, &none));
    for (uint64_t step = 3; step < 6; step++) {
        write_one(s, 5, step);
        OK(zo2_spill_commit(s));
    }
    assert_int_equal(test_step(s, 5), 5);
    zo2_spill_close(s);
    s = open_spill(&c);
    assert_int_equal(test_step(s, 5), 5);
    zo2_spill_close(s);
}

/* A journal that was cut back, and one that went on otherwise. */
static void versions_of_other_histories_do_not_count(void **state)
{
    (void)state;
    zo2_spill_config c = test_config(dirs, 1);
    zo2_spill *s = open_spill(&c);
    for (uint32_t i = 0; i < CHUNKS; i += 2) {
        write_one(s, i, 90);
        OK(zo2_spill_commit(s));
        write_one(s, i, 110);
        OK(zo2_spill_commit(s));
    }
    zo2_spill_close(s);
    for (int cut = 0; cut <= 1; cut++) {
        zo2_spill_config d = c;
        d.most_step = cut ? 100 : 1000;
        d.history_ud = cut ? NULL : &c;
        d.writable = 0;
        s = open_spill(&d);
        zo2_spill_version v;
        for (uint32_t i = 0; i < CHUNKS; i += 2) { /* the older one is in a free slot, nobody has taken it yet */
            assert_int_equal(test_step(s, i), 90);
            assert_true(zo2_spill_find(s, i, &v));
            zo2_spill_forget(s, &v);
            assert_false(zo2_spill_find(s, i, &v));
        }
        zo2_spill_report r;
        OK(zo2_spill_verify(&zo2_io_posix, &d, NULL, NULL, &r));
        assert_int_equal(r.newest_step, 90);
        zo2_spill_close(s);
    }
    c.most_step = 100;
    s = open_spill(&c);
    write_one(s, 0, 95); /* newer than what is ahead of the journal, whatever its step */
    OK(zo2_spill_commit(s));
    zo2_spill_close(s);
    c.most_step = 1000;
    s = open_spill(&c);
    assert_int_equal(test_step(s, 0), 95);
    assert_int_equal(test_step(s, 2), 110);
    zo2_spill_close(s);
}

static void files_that_do_not_fit_are_refused(void **state)
{
    (void)state;
    zo2_spill *s, *t;
    const zo2_spill_config c = test_config(dirs, 2);
    zo2_spill_config d = c;
    d.writable = 0;
    FAILS(NOTFOUND, zo2_spill_open(&t, &zo2_io_posix, &d));
    SAYS(dir);
    assert_null(t);
    s = open_spill(&c);
    FAILS(BUSY, zo2_spill_open(&t, &zo2_io_posix, &c));
    SAYS(RUN_TAG);
    FAILS(BUSY, zo2_spill_open(&t, &zo2_io_posix, &d));
    FAILS(BUSY, zo2_spill_remove(&zo2_io_posix, RUN, dirs, 2));
    zo2_spill_close(s);
    s = open_spill(&d); /* several may read */
    t = open_spill(&d);
    zo2_spill_close(t);
    FAILS(BUSY, zo2_spill_open(&t, &zo2_io_posix, &c));
    zo2_spill_close(s);

    d = c;
    d.layout++;
    FAILS(MISMATCH, zo2_spill_open(&t, &zo2_io_posix, &d));
    SAYS("chunk size");
    d = c;
    d.n_dirs = 1;
    FAILS(MISMATCH, zo2_spill_open(&t, &zo2_io_posix, &d));
    SAYS("name all the folders");
    zo2_spill_chunk sizes[CHUNKS];
    memcpy(sizes, chunk_sizes, sizeof sizes);
    sizes[4].wire_bytes = 50000;
    d = c;
    d.chunks = sizes;
    FAILS(MISMATCH, zo2_spill_open(&t, &zo2_io_posix, &d));
    SAYS("slots for other chunks");
    d.writable = 0; /* to which they are of no use, and not in the way */
    FAILS(NOTFOUND, zo2_spill_open(&t, &zo2_io_posix, &d));
    SAYS("another form of the pack");
    d.n_chunks--;
    FAILS(NOTFOUND, zo2_spill_open(&t, &zo2_io_posix, &d));
    SAYS("another form of the pack");
    const char *const twice[] = {dirs[0], dirs[0]};
    d = c;
    d.dirs = twice;
    d.writable = 0;
    FAILS(MISMATCH, zo2_spill_open(&t, &zo2_io_posix, &d));
    SAYS("name each folder once");
    sizes[4].wire_bytes = UINT64_C(1) << 33;
    d = c;
    d.chunks = sizes;
    d.run++;
    FAILS(ARG, zo2_spill_open(&t, &zo2_io_posix, &d));
    assert_int_equal(zo2_spill_bytes(&d), 0);
    const double shares[] = {1, 0};
    d = c;
    d.run++;
    d.share = shares;
    FAILS(ARG, zo2_spill_open(&t, &zo2_io_posix, &d));
    d.n_dirs = 17;
    FAILS(ARG, zo2_spill_open(&t, &zo2_io_posix, &d));
    assert_int_equal(count_files(dir, ""), 1);
}

/* Chunks go by the shares; a file that is gone is made again, and the other one keeps what it has. */
static void files_share_the_chunks(void **state)
{
    (void)state;
    enum { N = 1000 };
    static zo2_spill_chunk many[N];
    for (size_t i = 0; i < N; i++)
        many[i] = (zo2_spill_chunk){4096, 4096};
    const double shares[] = {3e9, 1e9};
    zo2_spill_config c = test_config(dirs, 2);
    c.chunks = many;
    c.n_chunks = N;
    c.share = shares;
    zo2_spill *s = open_spill(&c);
    struct stat a, b;
    char *path[2] = {in_dir(dir, RUN_TAG), in_dir(other, RUN_TAG)};
    assert_int_equal(stat(path[0], &a) + stat(path[1], &b), 0);
    assert_int_equal(a.st_size + b.st_size, zo2_spill_bytes(&c));
    assert_int_equal(a.st_size, 4096 + 12 * 4096 + (750 + 15) * 8192);
    assert_int_equal(b.st_size, 4096 + 4 * 4096 + (250 + 5) * 8192);
    zo2_spill_version v[N];
    uint32_t last = 0, run = 0;
    for (uint32_t i = 0; i < N; i++) {
        assert_true(zo2_spill_take(s, i, &v[i]));
        run = i && v[i].file == last ? run + 1 : 1;
        last = v[i].file;
        assert_in_range(run, 1, 3); /* neighbours are spread, so that both disks work at any time */
        v[i].step = i;
        v[i].history = test_history(NULL, i);
        zo2_spill_written(s, &v[i]);
    }
    OK(zo2_spill_commit(s));
    zo2_spill_close(s);
    assert_int_equal(unlink(path[1]), 0);
    const double now[] = {1, 1};
    c.share = now;
    c.writable = 0;
    for (int made = 0; made <= 1; made++) {
        s = open_spill(&c);
        for (uint32_t i = 0; i < N; i++) {
            zo2_spill_version w;
            assert_int_equal(zo2_spill_find(s, i, &w), v[i].file == 0);
            assert_true(v[i].file == 1 || (w.step == i && w.slot == v[i].slot && w.wire_at == v[i].wire_at));
        }
        zo2_spill_close(s);
        assert_int_equal(count_files(other, ""), made);
        c.writable = 1;
        zo2_spill_close(open_spill(&c));
        assert_int_equal(stat(path[1], &b), 0);
        assert_int_equal(b.st_size, 4096 + 4 * 4096 + (250 + 5) * 8192);
    }
    free(path[0]);
    free(path[1]);
}

/* A disk that is full says so before the first step, and nothing is left there; one whose file system can't set room aside is
 * asked for its free space. */
static void room_is_set_aside(void **state)
{
    (void)state;
    zo2_spill_config c = test_config(dirs, 2);
    zo2_spill *s;
    for (uint64_t nth = 0; nth < 2; nth++) {
        faulty_io f;
        faulty_init(&f);
        faulty_arm(&f, FAULTY_ALLOCATE, nth, FAULTY_FAIL, ENOSPC, 0);
        FAILS(NOSPACE, zo2_spill_open(&s, &f.io, &c));
        SAYS(nth ? other : dir);
        assert_int_equal(count_files(dir, "") + count_files(other, ""), 0);
        faulty_free(&f);
    }
    faulty_io f;
    faulty_init(&f);
    faulty_arm(&f, FAULTY_ALLOCATE, 0, FAULTY_FAIL, EOPNOTSUPP, 0);
    OK(zo2_spill_open(&s, &f.io, &c));
    write_one(s, 0, 1);
    OK(zo2_spill_commit(s));
    assert_int_equal(test_step(s, 0), 1);
    zo2_spill_close(s);
    zo2_spill_chunk huge[] = {{1, 0}, {1, 0}};
    c.chunks = huge;
    c.n_chunks = 2;
    c.run++;
    huge[0].wire_bytes = huge[1].wire_bytes = UINT64_C(1) << 31;
    c.spare = 4e5; /* 800 TB in each folder */
    FAILS(NOSPACE, zo2_spill_open(&s, &f.io, &c));
    SAYS("are free in");
    faulty_free(&f);
    assert_int_equal(count_files(dir, "") + count_files(other, ""), 2);
}

/* One thread commits while others write and read; each chunk is one thread's. */
typedef struct worker {
    zo2_spill *s;
    uint32_t chunk;
    pthread_t thread;
} worker;

static void *work(void *arg)
{
    worker *w = arg;
    for (uint64_t step = 1; step <= 200;) {
        int written;
        OK(test_write(w->s, &zo2_io_posix, w->chunk, step, &written));
        if (written)
            assert_int_equal(test_step(w->s, w->chunk), step);
        step += (uint64_t)written;
    }
    return NULL;
}

static void many_threads(void **state)
{
    (void)state;
    const zo2_spill_config c = test_config(dirs, 2);
    zo2_spill *s = open_spill(&c);
    worker w[3] = {{.s = s, .chunk = 0}, {.s = s, .chunk = 1}, {.s = s, .chunk = 6}};
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&w[i].thread, NULL, work, &w[i]), 0);
    zo2_spill_version v;
    for (uint64_t least = 0; least < 200;) {
        OK(zo2_spill_commit(s));
        least = 200;
        for (int i = 0; i < 3; i++)
            least = !zo2_spill_find(s, w[i].chunk, &v) ? 0 : v.step < least ? v.step : least;
    }
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_join(w[i].thread, NULL), 0);
    OK(zo2_spill_commit(s));
    zo2_spill_close(s);
    s = open_spill(&c);
    for (int i = 0; i < 3; i++)
        assert_int_equal(test_step(s, w[i].chunk), 200);
    zo2_spill_close(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_file_is_what_the_specification_says),
        TEST(versions_come_back),
        TEST(slots_come_back_with_a_commit),
        TEST(what_is_forgotten_is_not_found),
        TEST(versions_of_other_histories_do_not_count),
        TEST(files_that_do_not_fit_are_refused),
        TEST(files_share_the_chunks),
        TEST(room_is_set_aside),
        TEST(many_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
