/* test_packfile_copy.c: weights of one pack in another one with other files: the bytes of a pack that was written from
 * the start, by copying and by sharing blocks; and what is there when an operation fails or the process dies. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/unit/storage/faulty_io.h"
#include "tests/unit/storage/packfile_testing.h"

#include <sys/stat.h>

#define ONE_FILE "m.zo2"
#include "tests/unit/storage/one_file_testing.h"

static uint64_t progress_calls, cancel_at;

static int on_progress(void *ud, const char *what, uint64_t done, uint64_t total)
{
    (void)ud;
    assert_string_equal(what, "copy");
    assert_true(done < total);
    return progress_calls++ == cancel_at;
}

/* The pack at path gets other files. */
static zo2_status replace_files(const zo2_io *io)
{
    zo2_packfile *from;
    zo2_packwriter *w = NULL;
    zo2_status s = zo2_packfile_open(&from, path);
    if (s == ZO2_OK)
        s = zo2_packwriter_open(&w, io, path, "opt", 1);
    if (s == ZO2_OK)
        s = zo2_packwriter_file(w, "config.json", "{\"a\": 1}\n", 9);
    if (s == ZO2_OK)
        s = zo2_packwriter_file(w, "merges.txt", "quite another one", 17);
    if (s == ZO2_OK)
        s = zo2_packwriter_copy(w, from, 1, 0, on_progress, NULL);
    if (s == ZO2_OK)
        s = zo2_packwriter_commit(w, NULL);
    zo2_packwriter_close(w);
    zo2_packfile_close(from);
    return s;
}

/* The same pack, made the long way; malloc'ed. */
static unsigned char *expected_pack(size_t *n)
{
    zo2_packwriter *w;
    OK(zo2_packwriter_open(&w, &zo2_io_posix, path, "opt", 0));
    for (uint32_t i = 0; i < SAMPLE_TENSORS; i++) {
        unsigned char *bits = sample_bits(i);
        if (i == SAMPLE_ALIAS)
            OK(zo2_packwriter_alias(w, &sample_tensor[i], 1));
        else
            OK(pack_tensor(w, &sample_tensor[i], bits, 0));
        free(bits);
    }
    OK(zo2_packwriter_file(w, "config.json", "{\"a\": 1}\n", 9));
    OK(zo2_packwriter_file(w, "merges.txt", "quite another one", 17));
    OK(zo2_packwriter_commit(w, NULL));
    zo2_packwriter_close(w);
    unsigned char *data = file_load(path, n);
    scratch_empty(dir);
    return data;
}

static int begin(void **state)
{
    progress_calls = 0;
    cancel_at = UINT64_MAX;
    return setup(state);
}

static void begin_io(faulty_io *f, int clones)
{
    faulty_init(f);
    f->clones = clones;
}

/* 0: the old pack, 1: the new one; nothing else may be there. */
static int which(const unsigned char *want, size_t n)
{
    size_t have;
    zo2_packfile *p;
    OK(zo2_packfile_open(&p, path));
    OK(zo2_packfile_verify(p, NULL, NULL, NULL));
    int files = (int)zo2_packfile_header(p)->files;
    zo2_packfile_close(p);
    unsigned char *data = file_load(path, &have);
    if (files == 2) {
        assert_int_equal(have, n);
        assert_memory_equal(data, want, n);
    }
    free(data);
    return files == 2;
}

static void the_bytes_are_those_of_a_new_pack(void **state)
{
    (void)state;
    size_t n;
    unsigned char *want = expected_pack(&n);
    for (int clones = 0; clones < 2; clones++) {
        faulty_io f;
        begin_io(&f, clones);
        progress_calls = 0;
        OK(sample_write(&zo2_io_posix, path, 1));
        assert_int_equal(chmod(path, 0640), 0);
        OK(replace_files(&f.io));
        assert_int_equal(which(want, n), 1);
        assert_int_equal(progress_calls, clones ? 0 : SAMPLE_TENSORS - 1); /* a chunk each, the alias has none */
        struct stat st;
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_mode & 07777, 0640);
        assert_int_equal(count_files(dir, ""), 1);
        faulty_free(&f);
    }
    free(want);
}

static void a_failed_operation_leaves_the_old_pack(void **state)
{
    (void)state;
    size_t n;
    unsigned char *want = expected_pack(&n);
    for (int clones = 0; clones < 2; clones++) {
        uint64_t operations = UINT64_MAX;
        for (uint64_t i = 0; i < operations; i++) {
            faulty_io f;
            begin_io(&f, clones);
            OK(sample_write(&zo2_io_posix, path, 1));
            faulty_arm(&f, FAULTY_WRITES, i, FAULTY_TORN, EIO, 0);
            zo2_status s = replace_files(&f.io);
            if (s == ZO2_OK) { /* past the last one */
                assert_int_equal(f.spoilt, 0);
                operations = i;
            } else {
                assert_int_equal(s, ZO2_ERR_IO);
                SAYS(dir);
                assert_int_equal(count_files(dir, "tmp"), 0);
            }
            which(want, n);
            faulty_free(&f);
        }
        assert_true(operations > 10);
    }
    free(want);
}

static void a_crash_leaves_the_old_pack_or_the_new_one(void **state)
{
    (void)state;
    size_t n;
    unsigned char *want = expected_pack(&n);
    for (int clones = 0; clones < 2; clones++) {
        int seen[2] = {0, 0};
        for (uint64_t i = 0;; i++) {
            faulty_io f;
            begin_io(&f, clones);
            scratch_empty(dir);
            OK(sample_write(&zo2_io_posix, path, 0));
            faulty_arm(&f, FAULTY_ALL, i, FAULTY_TORN, EIO, 0);
            replace_files(&f.io);
            seen[which(want, n)]++;
            uint64_t spoilt = f.spoilt;
            faulty_free(&f);
            OK(replace_files(&zo2_io_posix)); /* the next attempt isn't in its way */
            assert_int_equal(which(want, n), 1);
            assert_int_equal(count_files(dir, ""), 1);
            if (!spoilt)
                break;
        }
        assert_true(seen[0] > 10 && seen[1] > 1);
    }
    free(want);
}

/* The original is about to go: what is damaged must not take its place. */
static void damage_is_not_copied(void **state)
{
    (void)state;
    OK(sample_write(&zo2_io_posix, path, 0));
    size_t n;
    unsigned char *data = file_load(path, &n);
    data[4096 + 7] ^= 1; /* in the first chunk */
    file_store(path, data, n);
    faulty_io f;
    begin_io(&f, 0);
    FAILS(FORMAT, replace_files(&f.io));
    SAYS("embed.weight");
    SAYS("wrong checksum");
    faulty_free(&f);
    size_t have;
    unsigned char *still = file_load(path, &have);
    assert_int_equal(have, n);
    assert_memory_equal(still, data, n);
    assert_int_equal(count_files(dir, ""), 1);
    free(still);
    free(data);
}

static void it_can_be_cancelled(void **state)
{
    (void)state;
    faulty_io f;
    begin_io(&f, 0);
    OK(sample_write(&zo2_io_posix, path, 0));
    for (cancel_at = 0; cancel_at < SAMPLE_TENSORS - 1; cancel_at++) {
        progress_calls = 0;
        FAILS(CANCELLED, replace_files(&f.io));
        assert_int_equal(count_files(dir, ""), 1);
        assert_int_equal(which(NULL, 0), 0);
    }
    faulty_free(&f);
}

static void weights_come_first_or_not_at_all(void **state)
{
    (void)state;
    zo2_packfile *from;
    zo2_packwriter *w;
    char *other = in_dir(dir, "other.zo2");
    OK(sample_write(&zo2_io_posix, path, 0));
    OK(zo2_packfile_open(&from, path));
    OK(zo2_packwriter_open(&w, &zo2_io_posix, other, "opt", 0));
    unsigned char *bits = sample_bits(0);
    OK(pack_tensor(w, &sample_tensor[0], bits, 0));
    FAILS(ARG, zo2_packwriter_copy(w, from, 1, 0, NULL, NULL));
    free(bits);
    zo2_packwriter_close(w);
    zo2_packfile_close(from);
    free(other);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, begin, teardown)
    const struct CMUnitTest tests[] = {
        T(the_bytes_are_those_of_a_new_pack),
        T(a_failed_operation_leaves_the_old_pack),
        T(a_crash_leaves_the_old_pack_or_the_new_one),
        T(damage_is_not_copied),
        T(it_can_be_cancelled),
        T(weights_come_first_or_not_at_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
