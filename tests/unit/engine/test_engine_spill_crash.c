/* test_engine_spill_crash.c: a spilled run is killed, at random moments and at every operation by which something becomes durable, its
 * journal is cut, another process comes: it goes on each time, and ends with the journal and the masters of a run that nothing happened
 * to. `--long`: a thousand kills, and every operation. */
#include "storage/run/journal_format.h"
#include "tests/unit/engine/engine_spill_io.h"
#include "tests/unit/storage/aio_testing.h"

#include <pthread.h>
#include <sys/wait.h>
#include <time.h>

static uint32_t random_kills = 15;
static uint64_t points = 2; /* deaths at operations of each kind, and of each setting */
static int everything;

static zo2_engine_opts options(int k)
{
    zo2_engine_opts o = usual();
    o.pending = k ? 3 : 0;
    o.dist = k ? ZO2_RADEMACHER : ZO2_GAUSSIAN;
    o.snapshot_seconds = 0;
    return o;
}

static outcome reference(const zo2_engine_opts *o, session *ram)
{
    io_without_syncs();
    return in_ram(o, 0, ram);
}

/* As must_end_as(); and a snapshot leaves no version behind that a resume would find damaged. */
static void must_end_whole(const session *ram, const outcome *want, session *s)
{
    uint64_t chunks;
    must_end_as(ram, want, s);
    zo2_engine *e = start(s);
    MUST(zo2_snapshot(e));
    zo2_engine_close(e);
    MUST(zo2_run_verify_spill(s->run, s->dirs, 2, NULL, NULL, &chunks));
    assert_true(chunks > 0);
}

/* ---- at every durability point ---- */

#define POINT_MAP(X)                        \
    X(JOURNAL_APPEND, "journal append")     \
    X(JOURNAL_SYNC, "journal sync")         \
    X(SPILL_MADE, "spill's room")           \
    X(SLOT_DATA, "slot data")               \
    X(SLOT_DATA_SYNC, "slot data sync")     \
    X(SLOT_HEADER, "slot headers")          \
    X(SLOT_HEADER_SYNC, "slot header sync") \
    X(OTHER, "other")

typedef enum point {
#define POINT(name, text) POINT_##name,
    POINT_MAP(POINT)
#undef POINT
        POINT_COUNT
} point;

static const char *const point_names[] = {
#define NAME(name, text) text,
    POINT_MAP(NAME)
#undef NAME
};

/* Counts operations by which something becomes durable, and ends the process at one. */
typedef struct killer {
    pthread_mutex_t mutex;
    uint64_t slots_at, seen[POINT_COUNT];
    point point; /* POINT_COUNT: it lives */
    uint64_t nth;
    int half;   /* dies when half of the operation, or nothing, is done; else after it */
    int header; /* the last write to a spill was one of headers */
} killer;

static point point_of(killer *k, int fd, uint64_t off, int is_sync)
{
    char link[32], path[600] = "";
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n > 0 && strstr(path, ".zo2j"))
        return is_sync ? POINT_JOURNAL_SYNC : POINT_JOURNAL_APPEND;
    if (n <= 0 || !strstr(path, ".zo2x"))
        return POINT_OTHER;
    if (!is_sync)
        k->header = off < k->slots_at;
    if (k->header)
        return is_sync ? POINT_SLOT_HEADER_SYNC : POINT_SLOT_HEADER;
    return is_sync ? POINT_SLOT_DATA_SYNC : POINT_SLOT_DATA;
}

/* Whether the process dies with this operation. The lock stays taken then: others wait for the end. */
static int is_last(killer *k, point p)
{
    return k->seen[p]++ == k->nth && k->point == p;
}

static void die(const killer *k)
{
    _exit(10 + (int)k->point);
}

static ssize_t killer_pwrite(void *ud, int fd, const void *buf, size_t n, off_t off)
{
    killer *k = ud;
    pthread_mutex_lock(&k->mutex);
    int last = is_last(k, point_of(k, fd, (uint64_t)off, 0));
    ssize_t done = __real_zo2_io_posix.pwrite(NULL, fd, buf, last && k->half ? n / 2 : n, off);
    if (last)
        die(k);
    pthread_mutex_unlock(&k->mutex);
    return done;
}

static int killer_sync(void *ud, int fd)
{
    killer *k = ud;
    pthread_mutex_lock(&k->mutex);
    if (is_last(k, point_of(k, fd, 0, 1)))
        die(k);
    pthread_mutex_unlock(&k->mutex);
    return 0;
}

static int killer_allocate(void *ud, int fd, off_t size)
{
    killer *k = ud;
    pthread_mutex_lock(&k->mutex);
    int last = is_last(k, POINT_SPILL_MADE);
    int failed = last && k->half ? 0 : __real_zo2_io_posix.allocate(NULL, fd, size);
    if (last)
        die(k);
    pthread_mutex_unlock(&k->mutex);
    return failed;
}

static void io_killer(killer *k)
{
    zo2_io io = __real_zo2_io_posix;
    pthread_mutex_init(&k->mutex, NULL);
    io.ud = k;
    io.pwrite = killer_pwrite;
    io.fdatasync = io.fsync = killer_sync;
    io.allocate = killer_allocate;
    io_table(io);
}

/* A session in a process of its own, which dies at that point, or, if it doesn't come to it, trains to the end: 0. */
static int train_until(session *s, killer k)
{
    int status;
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (!child) {
        io_killer(&k);
        zo2_status failed = train_alone(s);
        if (failed)
            fprintf(stderr, "%s\n", zo2_last_error());
        _exit(failed != ZO2_OK);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_true(WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 10 + (int)k.point);
    return WEXITSTATUS(status) != 0;
}

/* How many operations of each point a session comes to. */
static killer count_points(const zo2_engine_opts *o, room r)
{
    killer k = {.point = POINT_COUNT};
    session s = fresh_spilled(o, "counted", r);
    MUST(train_alone(&s));
    char *file = spill_file_of(&s, 0);
    k.slots_at = slots_at(file);
    free(file);
    s = fresh_spilled(o, "counted", r);
    io_killer(&k);
    MUST(train_alone(&s));
    io_without_syncs();
    return k;
}

static void killed_at_durability_points(void **state)
{
    (void)state;
    uint32_t deaths[POINT_COUNT] = {0};
    for (int i = 0; i < 2; i++) {
        zo2_engine_opts o = options(i);
        room r = i ? HALF : LEAST;
        session ram;
        outcome want = reference(&o, &ram);
        killer k = count_points(&o, r);
        for (k.point = 0; k.point < POINT_COUNT; k.point++) {
            uint64_t n = k.seen[k.point], apart = n / points ? n / points : 1;
            for (uint64_t nth = 0; nth < n; nth += apart) {
                session s = fresh_spilled(&o, "killed", r);
                killer one = {.slots_at = k.slots_at, .point = k.point, .nth = nth, .half = (int)(nth / apart % 2)};
                for (int half = 0; half < 1 + everything; half++, one.half = !one.half) {
                    deaths[k.point] += (uint32_t)train_until(&s, one);
                    must_end_whole(&ram, &want, &s);
                    s = fresh_spilled(&o, "killed", r);
                }
            }
        }
    }
    for (int p = 0; p < POINT_OTHER; p++) {
        print_message("    %-18s %u deaths\n", point_names[p], deaths[p]);
        assert_true(deaths[p] > 0);
    }
}

/* ---- at random moments ---- */

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* 1: it was killed, 0: it ended before. */
static int killed_after(session *s, double after)
{
    int status;
    pid_t child = fork();
    assert_true(child >= 0);
    if (!child) {
        zo2_status failed = train_alone(s);
        if (failed)
            fprintf(stderr, "%s\n", zo2_last_error());
        _exit(failed != ZO2_OK);
    }
    struct timespec wait = {0, (long)(1e9 * after)};
    nanosleep(&wait, NULL);
    kill(child, SIGKILL);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
    return WIFSIGNALED(status);
}

static void killed_at_random(void **state)
{
    (void)state;
    uint32_t kills = 0, runs = 0, random = 7;
    session ram[2];
    outcome want[2];
    zo2_engine_opts o[2];
    for (int k = 0; k < 2; k++) {
        o[k] = options(k);
        want[k] = reference(&o[k], &ram[k]);
    }
    if (everything)
        io_real();
    session s = fresh_spilled(&o[0], "timed", LEAST);
    double from = seconds();
    MUST(train_alone(&s));
    double whole = seconds() - from;
    for (; kills < random_kills; runs++) {
        int k = (int)(runs % 2);
        s = fresh_spilled(&o[k], "shot", runs % 4 < 2 ? LEAST : HALF);
        for (int again = 1; again && kills < random_kills;) {
            again = killed_after(&s, 0.7 * whole * test_random(&random) / (1 << 24));
            kills += (uint32_t)again;
        }
        must_end_whole(&ram[k], &want[k], &s);
    }
    print_message("    %u kills of %u runs, a session of which takes %.0f ms\n", kills, runs, 1e3 * whole);
}

/* ---- journals that are cut, with a spill ahead of them ---- */

#define HEAD   ZO2_JOURNAL_HEADER_BYTES
#define RECORD ZO2_JOURNAL_RECORD_BYTES(1)

static void cut_journal(const session *s, uint64_t bytes)
{
    size_t n;
    char *path = zo2_journal_path(s->run);
    free(journal_of(s, &n));
    assert_int_equal(n, HEAD + STEPS * RECORD);
    assert_int_equal(truncate(path, (off_t)bytes), 0);
    free(path);
}

static void copy_tree(const char *from, const char *to)
{
    char command[2400];
    snprintf(command, sizeof command, "cp -r '%s' '%s'", from, to);
    assert_int_equal(system(command), 0);
}

static session copy_of(const session *s, const char *name)
{
    session copy = fresh_spilled(&s->o, name, LEAST);
    copy_tree(s->run, copy.run);
    for (int i = 0; i < 2; i++)
        copy_tree(s->dir[i], copy.dir[i]);
    return copy;
}

/* After each record, and in the middle of the next one. */
static void journal_is_cut(void **state)
{
    (void)state;
    zo2_engine_opts o = options(0);
    session ram, s = fresh_spilled(&o, "ahead", LEAST);
    outcome want = reference(&o, &ram);
    MUST(train_alone(&s));
    for (uint64_t cut = HEAD; cut < HEAD + STEPS * RECORD; cut += RECORD / 2) {
        session c = copy_of(&s, "cut");
        cut_journal(&c, cut);
        must_end_whole(&ram, &want, &c);
    }
}

/* Batches that the first future never saw. */
static zo2_status train_otherwise(zo2_engine *e)
{
    zo2_engine_state state;
    zo2_status s = ZO2_OK;
    for (zo2_engine_get_state(e, &state); state.step < STEPS && !s; zo2_engine_get_state(e, &state)) {
        test_batch t;
        random_batch(&t, (uint32_t)state.step + 100, 90, ROWS, SEQ, 0);
        s = zo2_step(e, &t.b, NULL);
    }
    return s;
}

static const char *die_after_other_steps(void *arg)
{
    zo2_engine *e;
    session *s = arg;
    use_own_dirs(s);
    if (zo2_engine_open(&e, s->pack, s->run, &s->o))
        return "open";
    return train_otherwise(e) ? "step" : NULL;
}

/* What the spill has of steps that were cut off is of no use when as many have been taken again, in another way: not even where
 * nothing was written over it, as with chunks in RAM. */
static void another_future(void **state)
{
    (void)state;
    zo2_engine_opts o = options(0);
    outcome want = {0}, first = {0};
    session ram = spilled(o, 0, "future-ram"), s = fresh_spilled(&o, "future", HALF);
    zo2_engine *e = start(&ram);
    train(e, &first, STEPS / 2);
    MUST(train_otherwise(e));
    finish(e, &want);
    zo2_engine_close(e);
    MUST(train_alone(&s));
    cut_journal(&s, HEAD + STEPS / 2 * RECORD);
    in_child(die_after_other_steps, &s);
    must_end_whole(&ram, &want, &s);
}

/* ---- another process ---- */

static void second_process(void **state)
{
    (void)state;
    zo2_engine *e, *f;
    zo2_engine_opts o = options(0);
    session s = fresh_spilled(&o, "ours", LEAST), copy = fresh_spilled(&o, "theirs", LEAST);
    e = start(&s);
    MUST(step(e, NULL));
    assert_int_equal(zo2_engine_open(&f, s.pack, s.run, &s.o), ZO2_ERR_BUSY);
    assert_non_null(strstr(zo2_last_error(), s.run));
    /* a copy of the run, which would write to the same files */
    copy_tree(s.run, copy.run);
    assert_int_equal(zo2_engine_open(&f, s.pack, copy.run, &s.o), ZO2_ERR_BUSY);
    assert_non_null(strstr(zo2_last_error(), s.dir[0]));
    MUST(step(e, NULL));
    zo2_engine_close(e);
}

static int begin(void **state)
{
    (void)state;
    io_real();
    test_device_begin(0);
    return 0;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(killed_at_durability_points),
        cmocka_unit_test(killed_at_random),
        cmocka_unit_test(journal_is_cut),
        cmocka_unit_test(another_future),
        cmocka_unit_test(second_process),
    };
    if (argc > 1 && strcmp(argv[1], "--long") == 0) {
        random_kills = 1000;
        points = UINT64_MAX;
        everything = 1;
    }
    return cmocka_run_group_tests(tests, begin, test_clean);
}
