/* test_engine_spill_faults.c: each operation on the files of a spilled run fails, in each way that a disk or a signal can; bytes on the
 * disk change, the disk is full, the system refuses io_uring or locked memory. Either it is got over and the bits are as always, or the
 * run stops, says why, and a resume has them. `--long`: every operation and every kilobyte. */
#include "tests/unit/engine/engine_spill_io.h"
#include "tests/unit/storage/aio_testing.h"
#include "tests/unit/storage/faulty_io.h"
#include "tests/unit/storage/refused.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

static uint64_t points = 5; /* operations that fail in each way */
static uint64_t flips = 24; /* bytes that change */

static zo2_engine_opts options(void)
{
    zo2_engine_opts o = usual();
    o.pending = 1;
    o.snapshot_seconds = 0;
    return o;
}

/* ---- operations ---- */

typedef struct way {
    int mask;
    faulty_kind kind;
    int err;
    uint64_t repeat;
    zo2_status expected; /* ZO2_OK: it is got over */
} way;

enum { CHANGES = FAULTY_PWRITE | FAULTY_SYNCS | FAULTY_ALLOCATE, TRANSFERS = FAULTY_PREAD | FAULTY_PWRITE };

static const way ways[] = {
    {CHANGES, FAULTY_FAIL, EIO, 1, ZO2_ERR_IO},
    {CHANGES, FAULTY_FAIL, EIO, 0, ZO2_ERR_IO},
    {CHANGES, FAULTY_FAIL, ENOSPC, 1, ZO2_ERR_NOSPACE},
    {CHANGES, FAULTY_TORN, ENOSPC, 0, ZO2_ERR_NOSPACE},
    {FAULTY_PREAD, FAULTY_FAIL, EIO, 1, ZO2_ERR_IO},
    {TRANSFERS, FAULTY_SHORT, 0, 1, ZO2_OK},
    {TRANSFERS, FAULTY_SHORT, 0, 3, ZO2_OK},
    {TRANSFERS, FAULTY_FAIL, EINTR, 1, ZO2_OK},
    {TRANSFERS, FAULTY_FAIL, EAGAIN, 2, ZO2_OK},
};

static void begin_faults(faulty_io *f)
{
    static zo2_io base;
    base = without_syncs();
    faulty_init(f);
    f->base = &base;
    io_table(f->io);
}

/* *noticed: operations that were spoilt before the engine was closed. */
static zo2_status train_through(session *s, faulty_io *f, const way *w, uint64_t nth, uint64_t *noticed)
{
    zo2_engine *e;
    use_own_dirs(s);
    faulty_arm(f, w->mask, nth, w->kind, w->err, w->repeat);
    zo2_status failed = zo2_engine_open(&e, s->pack, s->run, &s->o);
    if (!failed)
        failed = train_on(e);
    if (!failed)
        failed = zo2_snapshot(e); /* what the last step has to write is written behind it */
    pthread_mutex_lock(&f->lock);
    *noticed = f->spoilt;
    pthread_mutex_unlock(&f->lock);
    if (failed && e)
        assert_int_equal(step(e, NULL), failed); /* the engine keeps saying so */
    zo2_engine_close(e);
    return failed;
}

static void every_operation_fails(void **state)
{
    (void)state;
    zo2_engine_opts o = options();
    session ram;
    uint64_t failed = 0, all = 0;
    io_without_syncs();
    outcome want = in_ram(&o, 0, &ram);
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        const way *w = &ways[i], none = {.mask = w->mask};
        faulty_io f;
        uint64_t noticed;
        session s = fresh_spilled(&o, "counted", LEAST);
        begin_faults(&f);
        MUST(train_through(&s, &f, &none, 0, &noticed));
        const uint64_t n = faulty_count(&f, w->mask), apart = n / points ? n / points : 1;
        faulty_free(&f);
        all += n;
        for (uint64_t nth = i % apart; nth < n; nth += apart, failed++) {
            io_without_syncs();
            s = fresh_spilled(&o, "faulty", nth % 2 ? LEAST : HALF);
            begin_faults(&f);
            zo2_status status = train_through(&s, &f, w, nth, &noticed);
            if (w->expected == ZO2_OK)
                assert_int_equal(status, ZO2_OK);
            else if (status)
                assert_true(status == w->expected || status == ZO2_ERR_IO);
            else if (w->mask != FAULTY_PREAD) /* what is read before its pass begins is read again if that fails */
                assert_int_equal(noticed, 0);
            faulty_free(&f);
            io_without_syncs();
            must_end_as(&ram, &want, &s);
        }
    }
    print_message("    %" PRIu64 " faults of %" PRIu64 " possible ones\n", failed, all);
}

/* ---- bytes on the disk ---- */

/* Of the first page: the spill is refused, and done without. Of anything else: something is made again. */
static void bytes_change(void **state)
{
    (void)state;
    zo2_engine_opts o = options();
    session ram;
    uint32_t refused = 0;
    io_without_syncs();
    outcome want = in_ram(&o, 0, &ram);
    for (uint64_t i = 0; i < flips; i++) {
        struct stat st;
        zo2_engine *e;
        uint8_t byte;
        session s = fresh_spilled(&o, "flipped", i % 2 ? LEAST : HALF);
        e = start(&s);
        for (int k = 0; k < STEPS / 2; k++)
            MUST(step(e, NULL));
        MUST(zo2_snapshot(e));
        zo2_engine_close(e);
        char *path = spill_file_of(&s, (int)(i % 2));
        int fd = open(path, O_RDWR);
        assert_true(fd >= 0 && !fstat(fd, &st));
        uint64_t of = (uint64_t)st.st_size, where = i < 4 ? 61 * i : (of * i / flips + i % 512) % of;
        off_t at = (off_t)where;
        assert_int_equal(pread(fd, &byte, 1, at), 1);
        byte ^= (uint8_t)(1 + i % 255);
        assert_int_equal(pwrite(fd, &byte, 1, at), 1);
        close(fd);
        zo2_status status = zo2_engine_open(&e, s.pack, s.run, &s.o);
        zo2_engine_close(e);
        if (status) {
            assert_true(at < 4096 && (status == ZO2_ERR_FORMAT || status == ZO2_ERR_MISMATCH));
            assert_non_null(strstr(zo2_last_error(), path));
            assert_int_equal(unlink(path), 0);
            refused++;
        }
        free(path);
        must_end_as(&ram, &want, &s);
    }
    assert_true(refused > 0);
}

/* ---- a full disk ---- */

/* Files may not grow, nor be written, beyond a quarter of the spill's: what the system itself says in the middle of a run. */
static const char *train_with_less_room(void *arg)
{
    zo2_engine *e;
    session *s = arg;
    struct stat st;
    zo2_status status = ZO2_OK;
    use_own_dirs(s);
    signal(SIGXFSZ, SIG_IGN);
    if (zo2_engine_open(&e, s->pack, s->run, &s->o) || step(e, NULL) || step(e, NULL) || zo2_snapshot(e))
        return "no beginning";
    if (stat(spill_file_of(s, 0), &st))
        return "no spill";
    const struct rlimit limit = {(rlim_t)st.st_size / 4, (rlim_t)st.st_size};
    if (setrlimit(RLIMIT_FSIZE, &limit))
        return "setrlimit";
    for (int i = 2; i < STEPS - 1 && !status; i++)
        status = step(e, NULL);
    if (!status)
        status = zo2_snapshot(e);
    const char *wrong = strstr(zo2_last_error(), ".zo2x") ? NULL : "the file isn't named";
    zo2_engine_close(e);
    return status == ZO2_ERR_NOSPACE ? wrong : "the disk isn't full";
}

static void no_space(void **state)
{
    (void)state;
    zo2_engine_opts o = options();
    session ram, s = fresh_spilled(&o, "full", LEAST);
    io_real();
    outcome want = in_ram(&o, 0, &ram);
    in_child(train_with_less_room, &s);
    must_end_as(&ram, &want, &s);
}

/* ---- what the system refuses ---- */

typedef struct refusal {
    session *s;
    const char *says; /* how planes move */
    int seccomp;      /* io_uring is refused */
    uint64_t locked;  /* bytes of memory that may be */
} refusal;

static void count_says(void *ud, zo2_log_level level, const char *text)
{
    char *both = ud;
    (void)level;
    if (strncmp(text, "the spill is ", 13) == 0)
        snprintf(both + strlen(both), 600 - strlen(both), "%s\n", text);
}

static const char *train_refused(void *arg)
{
    const refusal *r = arg;
    char said[600] = "", want[300];
    if (r->seccomp ? refuse_io_uring(EPERM) : become_user(r->locked))
        return "no rights to give away";
    r->s->o.log = count_says;
    r->s->o.log_ud = said;
    if (train_alone(r->s))
        return "train";
    for (int i = 0; i < 2; i++) {
        snprintf(want, sizeof want, "the spill is %s through %s", i ? "written" : "read", r->says);
        if (!strstr(said, want)) {
            fprintf(stderr, "%s, not: %s", want, said);
            return "it says something else";
        }
    }
    return NULL;
}

static void train_with(refusal r)
{
    char user[512];
    zo2_engine_opts o = options();
    session ram, s;
    io_real();
    outcome want = in_ram(&o, 0, &ram);
    scratch_path(user, sizeof user, "user");
    assert_true(mkdir(user, 0777) == 0 || errno == EEXIST);
    assert_int_equal(chmod(user, 0777) || chmod(scratch_dir(), 0755), 0);
    s = fresh_spilled(&o, "user/run", LEAST);
    r.s = &s;
    in_child(train_refused, &r);
    must_end_as(&ram, &want, &s);
}

static void io_uring_is_refused(void **state)
{
    (void)state;
    train_with((refusal){.says = "pread threads (io_uring: Operation not permitted)", .seccomp = 1});
}

static void an_ordinary_user(void **state)
{
    (void)state;
    zo2_aio_config c = {.choice = ZO2_AIO_URING};
    zo2_aio *q;
    if (zo2_aio_open(&q, &c))
        skip();
    zo2_aio_close(q);
    train_with((refusal){.says = "io_uring", .locked = 8 * MIB});
    train_with((refusal){.says = "", .locked = 4096}); /* too little for a queue of io_uring, on some systems */
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
        cmocka_unit_test(every_operation_fails), cmocka_unit_test(bytes_change),     cmocka_unit_test(no_space),
        cmocka_unit_test(io_uring_is_refused),   cmocka_unit_test(an_ordinary_user),
    };
    if (argc > 1 && strcmp(argv[1], "--long") == 0) {
        points = UINT64_MAX;
        flips = 1000;
    }
    return cmocka_run_group_tests(tests, begin, test_clean);
}
