/* test_io.c: whole transfers under faults, output files that appear complete or not at all, small helpers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "storage/io/io_utf8.h"
#include "tests/unit/files_testing.h"
#include "tests/unit/storage/faulty_io.h"
#include "tests/unit/storage/scratch_dir_testing.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>

/* ---- transfers --------------------------------------------------------------------------------------------------- */

static void transfers_survive_transient_faults(void **state)
{
    (void)state;
    static const struct {
        faulty_kind kind;
        int err;
        uint64_t repeat;
    } faults[] = {{FAULTY_SHORT, 0, 0}, {FAULTY_SHORT, 0, 3}, {FAULTY_FAIL, EINTR, 1}, {FAULTY_FAIL, EAGAIN, 200}};
    char *path = in_dir(dir, "f");
    unsigned char *want = sample_bytes(1, 10007), *got = malloc(10007);
    assert_non_null(got);
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        faulty_io f;
        faulty_init(&f);
        int fd = f.io.open(f.io.ud, path, O_RDWR | O_CREAT | O_TRUNC, 0666);
        assert_true(fd >= 0);
        faulty_arm(&f, FAULTY_PWRITE | FAULTY_PREAD, 0, faults[i].kind, faults[i].err, faults[i].repeat);
        OK(zo2_io_write(&f.io, fd, want, 10007, 5, path));
        assert_true(f.spoilt > 0);
        faulty_arm(&f, FAULTY_PWRITE | FAULTY_PREAD, 0, faults[i].kind, faults[i].err, faults[i].repeat);
        memset(got, 0xEE, 10007);
        OK(zo2_io_read(&f.io, fd, got, 10007, 5, path));
        assert_true(f.spoilt > 0);
        assert_memory_equal(got, want, 10007);
        OK(zo2_io_read(&f.io, fd, got, 0, 1 << 20, path)); /* nothing, past the end: fine */
        f.io.close(f.io.ud, fd);
        faulty_free(&f);
    }
    free(want);
    free(got);
    free(path);
}

static void transfers_report_final_faults(void **state)
{
    (void)state;
    char *path = in_dir(dir, "f");
    unsigned char buf[100] = {0};
    faulty_io f;
    faulty_init(&f);
    int fd = f.io.open(f.io.ud, path, O_RDWR | O_CREAT | O_TRUNC, 0666);
    assert_true(fd >= 0);
    OK(zo2_io_write(&f.io, fd, buf, 100, 0, path));

    const int none[] = {ENOSPC, EDQUOT, EFBIG};
    for (size_t i = 0; i < 3; i++) {
        faulty_arm(&f, FAULTY_PWRITE, 0, FAULTY_TORN, none[i], 0);
        FAILS(NOSPACE, zo2_io_write(&f.io, fd, buf, 100, 4096, path));
        SAYS(path);
        SAYS("4096");
        SAYS(strerror(none[i]));
    }
    faulty_arm(&f, FAULTY_PWRITE, 0, FAULTY_FAIL, EIO, 0);
    FAILS(IO, zo2_io_write(&f.io, fd, buf, 100, 0, path));
    faulty_arm(&f, FAULTY_PREAD, 0, FAULTY_FAIL, EIO, 0);
    FAILS(IO, zo2_io_read(&f.io, fd, buf, 100, 0, path));
    SAYS(strerror(EIO));
    faulty_arm(&f, FAULTY_PREAD, 1, FAULTY_EOF, 0, 0);
    OK(zo2_io_read(&f.io, fd, buf, 100, 0, path));
    FAILS(FORMAT, zo2_io_read(&f.io, fd, buf, 100, 0, path));
    faulty_arm(&f, 0, 0, FAULTY_NONE, 0, 0);
    assert_int_equal(ftruncate(fd, 100), 0);
    FAILS(FORMAT, zo2_io_read(&f.io, fd, buf, 60, 50, path)); /* a real end of file */
    SAYS("offset 100");
    SAYS("truncated");
    faulty_arm(&f, FAULTY_ALL, 0, FAULTY_FAIL, EAGAIN, 0); /* for ever: must not hang */
    FAILS(IO, zo2_io_read(&f.io, fd, buf, 10, 0, path));
    FAILS(IO, zo2_io_write(&f.io, fd, buf, 10, 0, path));
    faulty_arm(&f, 0, 0, FAULTY_NONE, 0, 0);
    FAILS(ARG, zo2_io_read(&f.io, fd, buf, 1, UINT64_MAX, path));
    FAILS(ARG, zo2_io_write(&f.io, fd, buf, 2, INT64_MAX, path));
    f.io.close(f.io.ud, fd);
    faulty_free(&f);
    free(path);
}

static void errno_becomes_the_fitting_status(void **state)
{
    (void)state;
    static const struct {
        int err;
        zo2_status status;
    } map[] = {{ENOENT, ZO2_ERR_NOTFOUND}, {ENOTDIR, ZO2_ERR_NOTFOUND}, {EEXIST, ZO2_ERR_EXISTS},
               {ENOSPC, ZO2_ERR_NOSPACE},  {EDQUOT, ZO2_ERR_NOSPACE},   {EFBIG, ZO2_ERR_NOSPACE},
               {ENOMEM, ZO2_ERR_NOMEM},    {EBUSY, ZO2_ERR_BUSY},       {EIO, ZO2_ERR_IO},
               {EACCES, ZO2_ERR_IO},       {EROFS, ZO2_ERR_IO}};
    for (size_t i = 0; i < sizeof map / sizeof *map; i++) {
        errno = map[i].err;
        assert_int_equal(zo2_io_error("cannot frobnicate", "/some/file"), map[i].status);
        char want[200];
        snprintf(want, sizeof want, "cannot frobnicate /some/file: %s", strerror(map[i].err));
        assert_string_equal(zo2_last_error(), want);
    }
}

/* A real full disk, in the small: no table of faults between. */
static void a_file_size_limit_is_no_space(void **state)
{
    (void)state;
    char *path = in_dir(dir, "f");
    unsigned char buf[8192] = {0};
    struct rlimit old, small;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small = old;
    small.rlim_cur = 4096;
    zo2_outfile f;
    OK(zo2_outfile_open(&f, &zo2_io_posix, path, 0));
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    zo2_status s = zo2_io_write(&zo2_io_posix, f.fd, buf, sizeof buf, 0, path);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    signal(SIGXFSZ, handler);
    assert_int_equal(s, ZO2_ERR_NOSPACE);
    SAYS("ulimit");
    zo2_outfile_abort(&f);
    assert_int_equal(count_files(dir, ""), 0);

    int full = open("/dev/full", O_WRONLY);
    if (full >= 0) {
        FAILS(NOSPACE, zo2_io_write(&zo2_io_posix, full, buf, 10, 0, "/dev/full"));
        close(full);
    }
    free(path);
}

/* ---- output files ------------------------------------------------------------------------------------------------ */

static zo2_status write_file(const zo2_io *io, const char *path, const char *text, int force)
{
    zo2_outfile f;
    zo2_status s = zo2_outfile_open(&f, io, path, force);
    if (s == ZO2_OK)
        s = zo2_io_write(io, f.fd, text, strlen(text), 0, path);
    if (s == ZO2_OK)
        s = zo2_outfile_commit(&f);
    zo2_outfile_abort(&f);
    zo2_outfile_abort(&f); /* a no-op */
    return s;
}

static void assert_content(const char *path, const char *text)
{
    char *data;
    size_t n;
    OK(zo2_io_slurp(path, 1000, &data, &n));
    assert_string_equal(data, text);
    free(data);
}

static void an_output_file_is_synced_renamed_and_its_folder_synced(void **state)
{
    (void)state;
    char *path = in_dir(dir, "f");
    faulty_io f;
    faulty_init(&f);
    OK(write_file(&f.io, path, "new", 0));
    assert_content(path, "new");
    assert_int_equal(count_files(dir, ""), 1);
    long written = faulty_find(&f, 0, FAULTY_PWRITE, NULL);
    long synced = faulty_find(&f, (size_t)written, FAULTY_FSYNC, NULL);
    long renamed = faulty_find(&f, (size_t)synced, FAULTY_RENAME, NULL);
    assert_true(written >= 0 && synced > written && renamed > synced);
    assert_string_equal(f.log[renamed].path2, path);
    long folder = faulty_find(&f, (size_t)renamed, FAULTY_FSYNC, NULL);
    assert_true(folder > renamed);
    assert_string_equal(f.log[folder].path, dir);
    assert_int_equal(faulty_count(&f, FAULTY_OPEN), faulty_count(&f, FAULTY_CLOSE));
    faulty_free(&f);
    free(path);
}

static void an_existing_file_is_refused_without_force(void **state)
{
    (void)state;
    char *path = in_dir(dir, "f"), *sub = in_dir(dir, "sub"), *missing = in_dir(dir, "no/f");
    OK(write_file(&zo2_io_posix, path, "old", 0));
    FAILS(EXISTS, write_file(&zo2_io_posix, path, "new", 0));
    SAYS(path);
    assert_content(path, "old");
    OK(write_file(&zo2_io_posix, path, "new", 1));
    assert_content(path, "new");
    assert_int_equal(mkdir(sub, 0777), 0);
    FAILS(ARG, write_file(&zo2_io_posix, sub, "new", 0)); /* a folder is not replaced, so nobody is told to use force */
    FAILS(ARG, write_file(&zo2_io_posix, sub, "new", 1));
    assert_int_equal(rmdir(sub), 0);
    FAILS(NOTFOUND, write_file(&zo2_io_posix, missing, "new", 0));
    /* A dangling link is something too. */
    assert_int_equal(symlink("nowhere", sub), 0);
    FAILS(EXISTS, write_file(&zo2_io_posix, sub, "new", 0));
    /* One that comes while we write. */
    assert_int_equal(unlink(path), 0);
    zo2_outfile f;
    OK(zo2_outfile_open(&f, &zo2_io_posix, path, 0));
    file_store(path, "other", 5);
    FAILS(EXISTS, zo2_outfile_commit(&f));
    assert_content(path, "other");
    assert_int_equal(count_files(dir, "tmp"), 0);
    free(path);
    free(sub);
    free(missing);
}

static void two_writers_of_a_name_do_not_mix(void **state)
{
    (void)state;
    char *path = in_dir(dir, "f");
    zo2_outfile a, b;
    OK(zo2_outfile_open(&a, &zo2_io_posix, path, 1));
    FAILS(BUSY, zo2_outfile_open(&b, &zo2_io_posix, path, 1));
    SAYS("written by someone else");
    OK(zo2_io_write(&zo2_io_posix, a.fd, "a", 1, 0, path));
    OK(zo2_outfile_commit(&a));
    assert_content(path, "a");
    free(path);
}

/* What a crash left is emptied and used: with PIDs as low as in containers the name comes again. */
static void a_stale_temporary_file_is_reused(void **state)
{
    (void)state;
    char *path = in_dir(dir, "f"), tmp[200];
    snprintf(tmp, sizeof tmp, "%s.tmp-%ld", path, (long)getpid());
    file_store(tmp, "left by a crash", 15);
    OK(write_file(&zo2_io_posix, path, "new", 0));
    assert_content(path, "new");
    assert_int_equal(count_files(dir, ""), 1);
    assert_int_equal(unlink(path), 0);

    /* A link there must not lead the writer elsewhere. */
    char *victim = in_dir(dir, "victim");
    file_store(victim, "precious", 8);
    assert_int_equal(symlink(victim, tmp), 0);
    assert_int_not_equal(write_file(&zo2_io_posix, path, "new", 0), ZO2_OK);
    assert_content(victim, "precious");
    free(victim);
    free(path);
}

/* What others that were killed left goes when the path is written again; what is being written, or isn't named like it,
 * stays. */
static void leftovers_of_a_path_are_removed(void **state)
{
    (void)state;
    static const char *const stay[] = {"f.tmp-", "f.tmp-1x", "f.tmp-old", "g.tmp-1", "f2.tmp-1", "xf.tmp-1"};
    char *path = in_dir(dir, "f"), *gone = in_dir(dir, "f.tmp-1"), *busy = in_dir(dir, "f.tmp-2");
    for (size_t i = 0; i < sizeof stay / sizeof *stay; i++) {
        char *p = in_dir(dir, stay[i]);
        file_store(p, "x", 1);
        free(p);
    }
    file_store(gone, "left by a crash", 15);
    file_store(busy, "half", 4);
    int fd = open(busy, O_RDONLY);
    assert_true(fd >= 0);
    assert_int_equal(flock(fd, LOCK_EX), 0);
    OK(write_file(&zo2_io_posix, path, "new", 0));
    assert_int_not_equal(access(gone, F_OK), 0);
    assert_content(busy, "half");
    assert_int_equal(count_files(dir, ""), 2 + sizeof stay / sizeof *stay);
    close(fd);
    OK(write_file(&zo2_io_posix, path, "newer", 1));
    assert_int_not_equal(access(busy, F_OK), 0);
    free(path);
    free(gone);
    free(busy);
}

static void every_fault_leaves_the_old_file_or_nothing(void **state)
{
    (void)state;
    char *path = in_dir(dir, "f");
    faulty_io f;
    faulty_init(&f);
    OK(write_file(&f.io, path, "new", 0));
    uint64_t operations = faulty_count(&f, FAULTY_WRITES);
    faulty_free(&f);
    assert_true(operations >= 5);
    for (int force = 0; force < 2; force++)
        for (uint64_t i = 0; i < operations; i++) {
            scratch_empty(dir);
            if (force)
                file_store(path, "old", 3);
            faulty_init(&f);
            faulty_arm(&f, FAULTY_WRITES, i, FAULTY_FAIL, i % 2 ? EIO : ENOSPC, 0);
            zo2_status s = write_file(&f.io, path, "new", force);
            assert_int_equal(s, i % 2 ? ZO2_ERR_IO : ZO2_ERR_NOSPACE);
            assert_int_equal(count_files(dir, "tmp"), 0);
            assert_int_equal(count_files(dir, ""), force);
            if (force) /* only the sync of the folder comes after the rename */
                assert_content(path, i < operations - 2 ? "old" : "new");
            assert_int_equal(faulty_count(&f, FAULTY_CLOSE) + f.spoilt >= faulty_count(&f, FAULTY_OPEN), 1);
            faulty_free(&f);
        }
    free(path);
}

/* Some file systems cannot sync folders; that is no error. */
static void a_folder_without_fsync_is_accepted(void **state)
{
    (void)state;
    char *path = in_dir(dir, "f");
    faulty_io f;
    faulty_init(&f);
    faulty_arm(&f, FAULTY_FSYNC, 1, FAULTY_FAIL, EINVAL, 1);
    OK(write_file(&f.io, path, "new", 0));
    assert_int_equal(f.spoilt, 1);
    OK(zo2_io_sync_parent(&f.io, "no-slash"));
    OK(zo2_io_sync_parent(&f.io, "/tmp"));
    FAILS(NOTFOUND, zo2_io_sync_parent(&f.io, "/no/such/folder/f"));
    faulty_free(&f);
    free(path);
}

/* ---- helpers ----------------------------------------------------------------------------------------------------- */

static void slurp_reads_whole_files_up_to_a_limit(void **state)
{
    (void)state;
    char *path = in_dir(dir, "f"), *data;
    size_t n;
    const size_t sizes[] = {0, 1, 4094, 4095, 4096, 100000};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        unsigned char *want = sample_bytes(i, sizes[i]);
        file_store(path, want, sizes[i]);
        OK(zo2_io_slurp(path, sizes[i], &data, &n));
        assert_int_equal(n, sizes[i]);
        assert_memory_equal(data, want, n);
        assert_int_equal(data[n], 0);
        free(data);
        if (sizes[i] > 0) {
            FAILS(FORMAT, zo2_io_slurp(path, sizes[i] - 1, &data, &n));
            assert_null(data);
            SAYS(path);
        }
        free(want);
    }
    OK(zo2_io_slurp("/proc/self/status", 1 << 20, &data, &n)); /* its size is 0 */
    assert_true(n > 0);
    free(data);
    FAILS(FORMAT, zo2_io_slurp("/proc/self/status", 10, &data, &n));
    FAILS(FORMAT, zo2_io_slurp(dir, 100, &data, &n));
    assert_int_equal(unlink(path), 0);
    FAILS(NOTFOUND, zo2_io_slurp(path, 100, &data, &n));
    SAYS(path);
    assert_int_equal(mkfifo(path, 0666), 0);
    FAILS(FORMAT, zo2_io_slurp(path, 100, &data, &n)); /* and doesn't hang */
    free(path);
}

static void paths_join_with_one_slash(void **state)
{
    (void)state;
    static const char *const t[][3] = {{"a", "b", "a/b"}, {"a/", "b", "a/b"}, {"/", "b", "/b"}, {"", "b", "b"}};
    for (size_t i = 0; i < 4; i++) {
        char *p = zo2_path_join(t[i][0], t[i][1]);
        assert_string_equal(p, t[i][2]);
        free(p);
    }
}

static void free_space_is_told(void **state)
{
    (void)state;
    uint64_t bytes = 0;
    OK(zo2_io_free_bytes(dir, &bytes));
    assert_true(bytes > 0);
    FAILS(NOTFOUND, zo2_io_free_bytes("/no/such/folder", &bytes));
    SAYS("/no/such/folder");
}

static void utf8_is_told_from_other_bytes(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t n, valid;
    } t[] = {
        {"", 0, 0},
        {"plain", 5, 5},
        {"\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80", 9, 9},
        {"\xED\x9F\xBF\xEE\x80\x80\xF4\x8F\xBF\xBF", 10, 10}, /* next to the surrogates; U+10FFFF */
        {"a\x80", 2, 1},                                      /* continuation without a start */
        {"ab\xC0\x80", 4, 2},                                 /* overlong */
        {"\xC1\xBF", 2, 0},                                   /* overlong */
        {"\xE0\x9F\xBF", 3, 0},                               /* overlong */
        {"\xF0\x8F\xBF\xBF", 4, 0},                           /* overlong */
        {"\xED\xA0\x80", 3, 0},                               /* surrogate */
        {"\xF4\x90\x80\x80", 4, 0},                           /* beyond U+10FFFF */
        {"\xF5\x80\x80\x80", 4, 0},
        {"\xFF", 1, 0},
        {"\xE2\x82", 2, 0}, /* cut off */
        {"\xE2\x82 ", 3, 0},
        {"\xF0\x9F\x98", 3, 0},
    };
    for (size_t i = 0; i < sizeof t / sizeof *t; i++)
        assert_int_equal(zo2_utf8_valid_bytes(t[i].text, t[i].n), t[i].valid);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(transfers_survive_transient_faults),
        T(transfers_report_final_faults),
        T(errno_becomes_the_fitting_status),
        T(a_file_size_limit_is_no_space),
        T(an_output_file_is_synced_renamed_and_its_folder_synced),
        T(an_existing_file_is_refused_without_force),
        T(two_writers_of_a_name_do_not_mix),
        T(a_stale_temporary_file_is_reused),
        T(leftovers_of_a_path_are_removed),
        T(every_fault_leaves_the_old_file_or_nothing),
        T(a_folder_without_fsync_is_accepted),
        T(slurp_reads_whole_files_up_to_a_limit),
        T(paths_join_with_one_slash),
        T(free_space_is_told),
        T(utf8_is_told_from_other_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
