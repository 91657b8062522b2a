/* test_safetensors_write.c: safetensors files and shards as they are written, read back, and with every operation
 * failing in turn. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/unit/storage/faulty_io.h"
#include "tests/unit/storage/safetensors_testing.h"
#include "tests/unit/storage/scratch_dir_testing.h"

#define N 6
static const zo2_st_tensor sample[N] = {
    {.name = "a.weight", .dtype = ZO2_F32, .rank = 2, .shape = {3, 5}},              /* 60 bytes */
    {.name = "b \"quoted\" \xC3\xA9\n", .dtype = ZO2_BF16, .rank = 1, .shape = {7}}, /* 14 */
    {.name = "empty", .dtype = ZO2_F16, .rank = 3, .shape = {2, 0, 4}},              /* 0 */
    {.name = "scalar", .dtype_name = "I64", .rank = 0},                              /* 8 */
    {.name = "c.weight", .dtype = ZO2_F16, .rank = 4, .shape = {1, 2, 3, 4}},        /* 48 */
    {.name = "last", .dtype_name = "U8", .rank = 1, .shape = {3}},                   /* 3 */
};
static const uint64_t sample_size[N] = {60, 14, 0, 8, 48, 3};
#define TOTAL 133

static zo2_status write_sample(const zo2_io *io, uint64_t split_bytes, size_t piece)
{
    unsigned char *data = sample_bytes(3, TOTAL);
    zo2_st_writer *w;
    zo2_status s = zo2_st_writer_open(&w, io, dir, sample, N, split_bytes);
    for (size_t at = 0; s == ZO2_OK && at < TOTAL; at += piece)
        s = zo2_st_writer_append(w, data + at, TOTAL - at < piece ? TOTAL - at : piece);
    if (s == ZO2_OK)
        s = zo2_st_writer_commit(w);
    zo2_st_writer_close(w);
    free(data);
    return s;
}

static void assert_sample(void)
{
    zo2_safetensors *s;
    OK(zo2_safetensors_open(&s, dir));
    assert_int_equal(zo2_safetensors_count(s), N);
    unsigned char *data = sample_bytes(3, TOTAL), got[64];
    size_t at = 0;
    for (int i = 0; i < N; i++) {
        const zo2_st_tensor *t = zo2_safetensors_find(s, sample[i].name);
        assert_non_null(t);
        assert_int_equal(t->bytes, sample_size[i]);
        assert_int_equal(t->rank, sample[i].rank);
        assert_memory_equal(t->shape, sample[i].shape, sizeof t->shape);
        assert_int_equal(t->dtype, sample[i].dtype);
        OK(zo2_safetensors_read(s, t, 0, t->bytes, got));
        assert_memory_equal(got, data + at, sample_size[i]);
        at += sample_size[i];
    }
    free(data);
    zo2_safetensors_close(s);
}

static void every_split_and_piece_comes_back(void **state)
{
    (void)state;
    static const struct {
        uint64_t split;
        int files; /* shards, and the index */
    } splits[] = {{0, 1}, {TOTAL, 1}, {TOTAL - 1, 3}, {82, 3}, {81, 3}, {60, 4}, {56, 4}, {1, 6}};
    static const size_t pieces[] = {1, 7, 60, 61, TOTAL};
    for (size_t i = 0; i < sizeof splits / sizeof *splits; i++)
        for (size_t k = 0; k < sizeof pieces / sizeof *pieces; k++) {
            OK(write_sample(&zo2_io_posix, splits[i].split, pieces[k]));
            assert_sample();
            assert_int_equal(count_files(dir, ""), splits[i].files);
            scratch_empty(dir);
        }
}

static void a_file_has_the_known_bytes(void **state)
{
    (void)state;
    static const zo2_st_tensor t[2] = {{.name = "w", .dtype = ZO2_F16, .rank = 2, .shape = {1, 2}},
                                       {.name = "v", .dtype = ZO2_F32, .rank = 1, .shape = {1}}};
    static const char header[] = "{\"__metadata__\":{\"format\":\"pt\"},"
                                 "\"w\":{\"dtype\":\"F16\",\"shape\":[1,2],\"data_offsets\":[0,4]},"
                                 "\"v\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}";
    zo2_st_writer *w;
    OK(zo2_st_writer_open(&w, &zo2_io_posix, dir, t, 2, 0));
    OK(zo2_st_writer_append(w, "01234567", 8));
    assert_int_equal(count_files(dir, "tmp"), 1); /* no final name before the commit */
    assert_int_equal(count_files(dir, ""), 1);
    OK(zo2_st_writer_commit(w));
    zo2_st_writer_close(w);
    char *path = in_dir(dir, "model.safetensors");
    size_t n, text = sizeof header - 1, padded = (text + 7) / 8 * 8;
    unsigned char *got = file_load(path, &n);
    assert_int_equal(n, 8 + padded + 8);
    assert_int_equal(got[0], padded);
    for (int i = 1; i < 8; i++)
        assert_int_equal(got[i], 0);
    assert_memory_equal(got + 8, header, text);
    for (size_t i = text; i < padded; i++)
        assert_int_equal(got[8 + i], ' ');
    assert_memory_equal(got + 8 + padded, "01234567", 8);
    free(got);
    free(path);
}

static void shards_and_index_have_the_known_names(void **state)
{
    (void)state;
    static const zo2_st_tensor t[3] = {{.name = "z", .dtype = ZO2_F32, .rank = 1, .shape = {1}},
                                       {.name = "y", .dtype = ZO2_F32, .rank = 1, .shape = {1}},
                                       {.name = "x", .dtype = ZO2_F32, .rank = 1, .shape = {1}}};
    zo2_st_writer *w;
    OK(zo2_st_writer_open(&w, &zo2_io_posix, dir, t, 3, 8));
    OK(zo2_st_writer_append(w, "0123456789ab", 12));
    OK(zo2_st_writer_commit(w));
    zo2_st_writer_close(w);
    assert_int_equal(count_files(dir, ""), 3);
    assert_int_equal(count_files(dir, "model-00001-of-00002.safetensors"), 1);
    assert_int_equal(count_files(dir, "model-00002-of-00002.safetensors"), 1);
    char *path = in_dir(dir, "model.safetensors.index.json");
    size_t n;
    unsigned char *got = file_load(path, &n);
    assert_string_equal((char *)got, "{\n"
                                     "  \"metadata\": {\n"
                                     "    \"total_size\": 12\n"
                                     "  },\n"
                                     "  \"weight_map\": {\n"
                                     "    \"x\": \"model-00002-of-00002.safetensors\",\n"
                                     "    \"y\": \"model-00001-of-00002.safetensors\",\n"
                                     "    \"z\": \"model-00001-of-00002.safetensors\"\n"
                                     "  }\n"
                                     "}\n");
    free(got);
    free(path);
}

static void a_file_of_another_name(void **state)
{
    (void)state;
    static const zo2_st_tensor t = {.name = "w", .dtype = ZO2_F32, .rank = 1, .shape = {2}};
    zo2_st_writer *w;
    zo2_safetensors *s;
    float got[2];
    OK(zo2_st_writer_open_file(&w, &zo2_io_posix, dir, "adapter_model.safetensors", &t, 1));
    OK(zo2_st_writer_append(w, (float[2]){1, -2}, 8));
    OK(zo2_st_writer_commit(w));
    zo2_st_writer_close(w);
    assert_int_equal(count_files(dir, ""), 1);
    FAILS(EXISTS, zo2_st_writer_open_file(&w, &zo2_io_posix, dir, "adapter_model.safetensors", &t, 1));
    char *path = in_dir(dir, "adapter_model.safetensors");
    OK(zo2_safetensors_open(&s, path));
    OK(zo2_safetensors_read(s, zo2_safetensors_find(s, "w"), 0, 8, got));
    assert_true(got[0] == 1 && got[1] == -2);
    zo2_safetensors_close(s);
    free(path);
}

static void a_model_without_tensors_is_a_file(void **state)
{
    (void)state;
    zo2_st_writer *w;
    zo2_safetensors *s;
    OK(zo2_st_writer_open(&w, &zo2_io_posix, dir, NULL, 0, 10));
    FAILS(ARG, zo2_st_writer_append(w, "0", 1));
    zo2_st_writer_close(w);
    OK(zo2_st_writer_open(&w, &zo2_io_posix, dir, NULL, 0, 10));
    OK(zo2_st_writer_commit(w));
    FAILS(ARG, zo2_st_writer_commit(w));
    zo2_st_writer_close(w);
    OK(zo2_safetensors_open(&s, dir));
    assert_int_equal(zo2_safetensors_count(s), 0);
    zo2_safetensors_close(s);
}

static void wrong_calls_are_refused(void **state)
{
    (void)state;
    zo2_st_writer *w;
    const zo2_st_tensor good = {.name = "t", .dtype = ZO2_F32, .rank = 1, .shape = {1}};
    zo2_st_tensor t[2];
#define BAD(field, value, says)                                      \
    t[0] = good;                                                     \
    t[0].field = (value);                                            \
    FAILS(ARG, zo2_st_writer_open(&w, &zo2_io_posix, dir, t, 1, 0)); \
    assert_null(w);                                                  \
    SAYS(says)
    BAD(name, NULL, "no name");
    BAD(name, "__metadata__", "no name");
    BAD(name, "a\xFF", "UTF-8");
    BAD(dtype, (zo2_dtype)0, "type");
    BAD(dtype, (zo2_dtype)9, "type");
    BAD(rank, 9, "dimensions");
    BAD(shape[0], UINT64_MAX, "overflows");
    BAD(shape[0], UINT64_C(1) << 62, "overflows");
#undef BAD
    t[0] = t[1] = good;
    FAILS(ARG, zo2_st_writer_open(&w, &zo2_io_posix, dir, t, 2, 0));
    SAYS("two tensors are named t");

    OK(zo2_st_writer_open(&w, &zo2_io_posix, dir, &good, 1, 0));
    OK(zo2_st_writer_append(w, "012", 3));
    FAILS(ARG, zo2_st_writer_commit(w));
    SAYS("lacks 1 bytes");
    FAILS(ARG, zo2_st_writer_append(w, "3", 1)); /* an error is final */
    zo2_st_writer_close(w);
    OK(zo2_st_writer_open(&w, &zo2_io_posix, dir, &good, 1, 0));
    FAILS(ARG, zo2_st_writer_append(w, "01234", 5));
    SAYS("1 bytes more");
    zo2_st_writer_close(w);
    zo2_st_writer_close(NULL);
    assert_int_equal(count_files(dir, ""), 0);
    FAILS(NOTFOUND, zo2_st_writer_open(&w, &zo2_io_posix, "/no/such/folder", &good, 1, 0));
}

/* A file in the way of the last shard or the index shows before the first byte. */
static void existing_files_are_refused_at_once(void **state)
{
    (void)state;
    static const char *const names[] = {"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors",
                                        "model.safetensors.index.json"};
    for (size_t i = 0; i < 3; i++) {
        zo2_st_writer *w;
        char *path = in_dir(dir, names[i]);
        file_store(path, "old", 3);
        FAILS(EXISTS, zo2_st_writer_open(&w, &zo2_io_posix, dir, sample, N, 82));
        SAYS(names[i]);
        assert_int_equal(scratch_empty(dir), 1);
        free(path);
    }
}

static void a_failed_operation_leaves_nothing_behind(void **state)
{
    (void)state;
    static const uint64_t splits[] = {0, 82, 1};
    for (size_t k = 0; k < 3; k++) {
        faulty_io f;
        faulty_init(&f);
        OK(write_sample(&f.io, splits[k], 50));
        uint64_t operations = faulty_count(&f, FAULTY_WRITES);
        faulty_free(&f);
        for (uint64_t i = 0; i < operations; i++)
            for (int kind = 0; kind < 4; kind++) {
                int err = kind % 2 ? EIO : ENOSPC;
                scratch_empty(dir);
                faulty_init(&f);
                faulty_arm(&f, FAULTY_WRITES, i, kind < 2 ? FAULTY_FAIL : FAULTY_TORN, err, (uint64_t)(kind % 2));
                assert_int_equal(write_sample(&f.io, splits[k], 50), kind % 2 ? ZO2_ERR_IO : ZO2_ERR_NOSPACE);
                assert_true(f.spoilt > 0);
                assert_int_equal(count_files(dir, ""), 0);
                assert_int_equal(faulty_count(&f, FAULTY_CLOSE) <= faulty_count(&f, FAULTY_OPEN), 1);
                faulty_free(&f);
            }
        scratch_empty(dir);
    }
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(every_split_and_piece_comes_back),      T(a_file_has_the_known_bytes),
        T(shards_and_index_have_the_known_names), T(a_file_of_another_name),
        T(a_model_without_tensors_is_a_file),     T(wrong_calls_are_refused),
        T(existing_files_are_refused_at_once),    T(a_failed_operation_leaves_nothing_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
