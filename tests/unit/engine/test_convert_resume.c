/* test_convert_resume.c: conversions that are cancelled, killed or out of room at any point, and what is left damaged: the same
 * call goes on, and the pack is the one of a conversion that nothing interrupted. */
#include "tests/unit/engine/hf_dir.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

static char *dir, *out;
static const char *model, *pack, *whole, *partial, *records;

typedef struct watch {
    uint64_t calls, stop_at;
    int die;  /* there, instead of cancelling */
    int kept; /* chunks that were there already */
} watch;

static int on_progress(void *ud, const char *what, uint64_t done, uint64_t total)
{
    watch *w = ud;
    (void)what;
    assert_true(done <= total);
    if (w->calls++ != w->stop_at)
        return 0;
    if (w->die)
        _exit(9);
    return 1;
}

static void on_log(void *ud, zo2_log_level level, const char *message)
{
    watch *w = ud;
    const char *text = strstr(message, "interrupted conversion, ");
    (void)level;
    if (text)
        w->kept = atoi(text + strlen("interrupted conversion, "));
}

static zo2_status convert(watch *w, int level)
{
    zo2_convert_opts o;
    zo2_convert_opts_init(&o);
    o.threads = 1;
    o.resume = 1;
    o.zstd_level = level;
    o.progress = on_progress;
    o.progress_ud = w;
    o.log = on_log;
    o.log_ud = w;
    return zo2_pack_convert(model, pack, &o);
}

/* In a process of its own, which ends at progress call `at`; limit: bytes that a file may have. Returns its exit status. */
static int convert_apart(uint64_t at, int level, uint64_t limit)
{
    const pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        watch w = {.stop_at = at, .die = 1};
        const struct rlimit most = {limit, limit};
        signal(SIGXFSZ, SIG_IGN);
        if (limit && setrlimit(RLIMIT_FSIZE, &most))
            _exit(1);
        _exit(-(int)convert(&w, level));
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

/* The same call, uninterrupted. Returns how many chunks were there. */
static int goes_on(int level)
{
    watch w = {.stop_at = UINT64_MAX};
    assert_ok(convert(&w, level));
    hf_assert_same_file(pack, whole);
    assert_int_equal(hf_count_entries(out), 1); /* nothing is left */
    assert_int_equal(unlink(pack), 0);
    return w.kept;
}

static void make_whole(int level)
{
    zo2_convert_opts o;
    zo2_convert_opts_init(&o);
    o.zstd_level = level;
    o.force = 1;
    assert_ok(zo2_pack_convert(model, whole, &o));
}

/* Progress calls of a conversion with one thread. */
static uint64_t count_calls(int level)
{
    watch w = {.stop_at = UINT64_MAX};
    assert_ok(convert(&w, level));
    assert_int_equal(unlink(pack), 0);
    return w.calls;
}

static void killed_anywhere(void **state)
{
    (void)state;
    for (int level = 0; level <= 1; level++) {
        make_whole(level);
        const uint64_t calls = count_calls(level);
        int most = 0;
        for (uint64_t i = 0; i < calls; i += level ? 5 : 2) {
            assert_int_equal(convert_apart(i, level, 0), 9);
            if (i % 3 == 2) /* again, earlier */
                convert_apart(i / 2, level, 0);
            const int kept = goes_on(level);
            assert_true(kept >= most || i % 3 == 2);
            most = kept > most ? kept : most;
        }
        assert_true(most > 20);
    }
}

static void cancelled_anywhere(void **state)
{
    (void)state;
    make_whole(0);
    const uint64_t calls = count_calls(0);
    for (uint64_t i = 0; i < calls; i += 3) {
        watch w = {.stop_at = i};
        assert_error(convert(&w, 0), ZO2_ERR_CANCELLED, "cancelled");
        const int left = hf_count_entries(out);
        assert_true(left == 0 || left == 2); /* without a chunk there is nothing to keep */
        assert_int_equal(goes_on(0) > 0, left == 2);
    }
}

/* No room at any length; what was begun behind the chunks then changes. */
static void out_of_room(void **state)
{
    (void)state;
    make_whole(0);
    struct stat st;
    assert_int_equal(stat(whole, &st), 0);
    for (off_t limit = 8192; limit < st.st_size; limit += st.st_size / 11)
        for (int changed = 0; changed <= 1; changed++) {
            const char *extra = hf_path(model, "generation_config.json");
            assert_int_equal(convert_apart(UINT64_MAX, 0, (uint64_t)limit), -ZO2_ERR_NOSPACE);
            if (changed)
                hf_write_text(extra, "{\"a\": \"a file that wasn't there before\"}");
            make_whole(0);
            assert_true(goes_on(0) > 0 || limit < 20000);
            if (changed)
                assert_int_equal(unlink(extra), 0);
            make_whole(0);
        }
}

static void other_sources_begin_anew(void **state)
{
    (void)state;
    make_whole(1);
    const uint64_t calls = count_calls(0);
    const char *weights = hf_path(model, "model.safetensors");
    assert_int_equal(convert_apart(calls - 1, 0, 0), 9);
    assert_int_equal(goes_on(1), 0); /* another level */
    make_whole(0);
    assert_int_equal(convert_apart(calls - 1, 0, 0), 9);
    const struct timespec times[2] = {{1000, 0}, {1000, 5}};
    assert_int_equal(utimensat(AT_FDCWD, weights, times, 0), 0);
    assert_int_equal(goes_on(0), 0);
}

/* Power cuts and worse: chunks that aren't what their records say are made again. */
static void damage_is_made_good(void **state)
{
    (void)state;
    for (int level = 0; level <= 1; level++) {
        make_whole(level);
        const uint64_t calls = count_calls(level);
        assert_int_equal(convert_apart(calls - 1, level, 0), 9);
        size_t n, m;
        char *data = hf_read(partial, &n), *notes = hf_read(records, &m), *p = strdup(partial), *r = strdup(records);
        for (int round = 0; round < 24; round++) {
            hf_write(p, data, round % 3 ? n : n * (size_t)round / 24);
            hf_write(r, notes, round % 4 ? m : m * (size_t)round / 24);
            const size_t at = (size_t)round * 7919 % n, note = (size_t)round * 31 % m;
            FILE *f = fopen(round % 2 ? p : r, "r+b");
            assert_non_null(f);
            assert_int_equal(fseek(f, (long)(round % 2 ? at : note), SEEK_SET), 0);
            fputc(round % 2 ? data[at] ^ 1 : notes[note] ^ 1, f);
            assert_int_equal(fclose(f), 0);
            goes_on(level);
        }
        free(data);
        free(notes);
        free(p);
        free(r);
    }
}

static int setup(void **state)
{
    (void)state;
    dir = hf_temp();
    out = hf_temp();
    model = strdup(dir);
    pack = strdup(hf_path(out, "out.zo2"));
    whole = strdup(hf_path(dir, "whole.zo2"));
    partial = strdup(hf_path(out, "out.zo2.partial"));
    records = strdup(hf_path(out, "out.zo2.partial-chunks"));
    hf_model *m = hf_load(FIXTURES "prenorm-bf16-sharded");
    hf_save(m, dir);
    hf_free(m);
    hf_copy(FIXTURES "prenorm-bf16-sharded/config.json", hf_path(dir, "config.json"), NULL, NULL);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    hf_remove_tree(dir);
    hf_remove_tree(out);
    free((void *)model);
    free((void *)pack);
    free((void *)whole);
    free((void *)partial);
    free((void *)records);
    return 0;
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(killed_anywhere), T(cancelled_anywhere), T(out_of_room), T(other_sources_begin_anew), T(damage_is_made_good),
    };
    return cmocka_run_group_tests_name("convert_resume", tests, NULL, NULL);
}
