/* test_packfile_writer.c: the bytes that the writer writes, and what it refuses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/unit/storage/packfile_testing.h"

#include <xxhash.h>

#define ONE_FILE "m.zo2"
#include "tests/unit/storage/one_file_testing.h"

/* ---- a known file ------------------------------------------------------------------------------------------------ */

static void put32(unsigned char *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (unsigned char)(v >> 8 * i);
}

static void put64(unsigned char *p, uint64_t v)
{
    for (int i = 0; i < 8; i++)
        p[i] = (unsigned char)(v >> 8 * i);
}

/* Built byte by byte from PACK.md, without the structs that wrote it. */
static void a_small_pack_has_the_specified_bytes(void **state)
{
    (void)state;
    const zo2_packtensor t = {.name = "w", .dtype = ZO2_F16, .rank = 2, .rows = 2, .cols = 3, .block = 0, .decays = 1};
    const zo2_packtensor a = {.name = "wa", .dtype = ZO2_F16, .rank = 2, .rows = 2, .cols = 3, .block = 1};
    const char bits[12] = "0123456789ab";
    zo2_packwriter *w;
    uint64_t model_hash;
    OK(zo2_packwriter_open(&w, &zo2_io_posix, path, "opt", 0));
    OK(zo2_packwriter_file(w, "config.json", "{}", 2));
    OK(pack_tensor(w, &t, bits, 0));
    OK(zo2_packwriter_alias(w, &a, 0));
    OK(zo2_packwriter_commit(w, &model_hash));
    zo2_packwriter_close(w);

    enum { CHUNK = 4096, FILE_AT = 8192, TENSORS = 12288, CHUNKS = 16384, FILES = 20480, NAMES = 24576, END = 28672 };
    unsigned char *want = calloc(1, END), *e;
    assert_non_null(want);
    const uint64_t bits_hash = XXH3_64bits(bits, 12);
    memcpy(want + CHUNK, bits, 12);
    memcpy(want + FILE_AT, "{}", 2);
    for (int i = 0; i < 2; i++) { /* tensor records */
        e = want + TENSORS + 64 * i;
        put64(e + 0, 2); /* rows */
        put64(e + 8, 3); /* cols */
        put64(e + 16, bits_hash);
        put64(e + 24, 0);         /* first chunk */
        put64(e + 32, 2);         /* rows per chunk */
        put32(e + 40, i ? 2 : 0); /* name */
        put32(e + 44, i ? 2 : 1);
        put32(e + 48, (uint32_t)i); /* block */
        put32(e + 52, 0);           /* stored as */
        e[56] = 2;                  /* F16 */
        e[57] = 2;                  /* rank */
        e[58] = i ? 0 : 1;          /* decays */
    }
    e = want + CHUNKS;
    put64(e + 0, CHUNK);
    put64(e + 8, 12);
    put64(e + 16, 12);
    put32(e + 24, 0);
    put64(e + 32, bits_hash);
    put64(e + 40, bits_hash);
    e = want + FILES;
    put64(e + 0, FILE_AT);
    put64(e + 8, 2);
    put64(e + 16, XXH3_64bits("{}", 2));
    put32(e + 24, 5);
    put32(e + 28, 11);
    memcpy(want + NAMES, "w\0wa\0config.json", 17);
    unsigned char model[64] = {0};
    for (int i = 0; i < 2; i++) {
        put64(model + 32 * i, bits_hash);
        put64(model + 32 * i + 8, 2);
        put64(model + 32 * i + 16, 3);
        put64(model + 32 * i + 24, 2);
    }
    memcpy(want, "\x89ZO2\r\n\x1a\n", 8);
    put32(want + 8, 1);
    put32(want + 12, 4096);
    put64(want + 16, 0);
    put64(want + 24, END);
    put64(want + 32, XXH3_64bits(model, 64));
    put64(want + 40, 12); /* parameters */
    put64(want + 48, 1);  /* chunks */
    put32(want + 56, 2);  /* tensors */
    put32(want + 60, 2);  /* blocks */
    put32(want + 64, 1);  /* files */
    const uint64_t table[4][2] = {{TENSORS, 128}, {CHUNKS, 48}, {FILES, 32}, {NAMES, 17}};
    for (int i = 0; i < 4; i++) {
        put64(want + 72 + 24 * i, table[i][0]);
        put64(want + 80 + 24 * i, table[i][1]);
        put64(want + 88 + 24 * i, XXH3_64bits(want + table[i][0], table[i][1]));
    }
    memcpy(want + 168, "opt", 3);
    put64(want + 4088, XXH3_64bits(want, 4088));

    size_t n;
    unsigned char *got = file_load(path, &n);
    assert_int_equal(n, END);
    assert_memory_equal(got, want, END);
    assert_true(model_hash == XXH3_64bits(model, 64));
    /* Literals, from the xxhash package of PyPI: a wrong hash function on both sides would not show above. */
    assert_true(bits_hash == UINT64_C(0xCC054135822AE555));
    assert_true(model_hash == UINT64_C(0xF0FFB019CC405CC7));
    free(got);
    free(want);
}

static void equal_models_give_equal_files(void **state)
{
    (void)state;
    char *other = in_dir(dir, "other.zo2");
    size_t n, m;
    OK(sample_write(&zo2_io_posix, path, 0));
    OK(sample_write(&zo2_io_posix, other, 0));
    unsigned char *a = file_load(path, &n), *b = file_load(other, &m);
    assert_int_equal(n, m);
    assert_memory_equal(a, b, n);
    free(a);
    free(b);
    free(other);
}

static void the_model_hash_is_over_bits_shapes_and_types_only(void **state)
{
    (void)state;
    uint64_t hash[3];
    for (int i = 0; i < 3; i++) {
        zo2_packtensor t = {.name = "w", .dtype = ZO2_F16, .rank = 2, .rows = 2, .cols = 3};
        zo2_packwriter *w;
        if (i == 1) { /* another name, block, file: the same model */
            t.name = "v";
            t.block = 7;
        }
        if (i == 2)
            t.dtype = ZO2_BF16;
        OK(zo2_packwriter_open(&w, &zo2_io_posix, path, i == 1 ? "y" : "x", 1));
        if (i == 1)
            OK(zo2_packwriter_file(w, "f", "f", 1));
        OK(pack_tensor(w, &t, "0123456789ab", 0));
        OK(zo2_packwriter_commit(w, &hash[i]));
        zo2_packwriter_close(w);
    }
    const uint64_t record[4] = {XXH3_64bits("0123456789ab", 12), 2, 3, ZO2_F16};
    assert_true(hash[0] == XXH3_64bits(record, 32));
    assert_true(hash[1] == hash[0]);
    assert_true(hash[2] != hash[0]);
}

/* ---- rules ------------------------------------------------------------------------------------------------------- */

static void existing_packs_need_force(void **state)
{
    (void)state;
    file_store(path, "old", 3);
    FAILS(EXISTS, sample_write(&zo2_io_posix, path, 0));
    SAYS(path);
    size_t n;
    unsigned char *old = file_load(path, &n);
    assert_int_equal(n, 3);
    free(old);
    OK(sample_write(&zo2_io_posix, path, 1));
    assert_int_equal(count_files(dir, ""), 1);
    zo2_packfile *p;
    OK(zo2_packfile_open(&p, path));
    zo2_packfile_close(p);
}

static void without_a_commit_nothing_is_left(void **state)
{
    (void)state;
    zo2_packwriter *w;
    OK(zo2_packwriter_open(&w, &zo2_io_posix, path, "opt", 0));
    OK(zo2_packwriter_tensor(w, &sample_tensor[0]));
    assert_int_equal(count_files(dir, "tmp"), 1);
    zo2_packwriter_close(w);
    zo2_packwriter_close(NULL);
    assert_int_equal(count_files(dir, ""), 0);
}

/* Runs one wrong call on a writer with one finished tensor ("w", F16, 2 x 3, block 1). It, and everything after, must
 * fail. */
enum { BAD_TENSOR, BAD_ALIAS, BAD_END, BAD_FILE };

static void refuse(int what, const zo2_packtensor *t, uint32_t number, const char *name, const char *says)
{
    const zo2_packtensor first = {.name = "w", .dtype = ZO2_F16, .rank = 2, .rows = 2, .cols = 3, .block = 1};
    zo2_packwriter *w;
    OK(zo2_packwriter_open(&w, &zo2_io_posix, path, "opt", 0));
    OK(what == BAD_END ? zo2_packwriter_tensor(w, &first) : pack_tensor(w, &first, "0123456789ab", 0));
    switch (what) {
    case BAD_TENSOR: FAILS(ARG, zo2_packwriter_tensor(w, t)); break;
    case BAD_ALIAS: FAILS(ARG, zo2_packwriter_alias(w, t, number)); break;
    case BAD_END: FAILS(ARG, zo2_packwriter_commit(w, NULL)); break;
    default: FAILS(ARG, zo2_packwriter_file(w, name, "", number)); break;
    }
    SAYS(says);
    FAILS(ARG, zo2_packwriter_tensor(w, &first));
    FAILS(ARG, zo2_packwriter_chunk(w, &(zo2_packchunk){0}));
    FAILS(ARG, zo2_packwriter_file(w, "f", "", 0));
    FAILS(ARG, zo2_packwriter_commit(w, NULL));
    zo2_packwriter_close(w);
    assert_int_equal(count_files(dir, ""), 0);
}

static void wrong_calls_of_the_writer_are_refused(void **state)
{
    (void)state;
    const zo2_packtensor good = {.name = "v", .dtype = ZO2_F16, .rank = 2, .rows = 2, .cols = 3, .block = 1};
    zo2_packtensor t;
    char long_name[600];
    memset(long_name, 'n', sizeof long_name);
    long_name[513] = '\0';
#define BAD(field, value, says) \
    t = good;                   \
    t.field = (value);          \
    refuse(BAD_TENSOR, &t, 0, NULL, says)
    BAD(name, "", "empty");
    BAD(name, NULL, "empty");
    BAD(name, long_name, "512");
    BAD(name, "a\nb", "control");
    BAD(name, "a\xFF", "UTF-8");
    BAD(dtype, (zo2_dtype)0, "data type");
    BAD(dtype, (zo2_dtype)4, "data type");
    BAD(rank, 0, "rank");
    BAD(rank, 3, "rank");
    BAD(rank, 1, "vector");
    BAD(rows, 0, "no elements");
    BAD(cols, 0, "no elements");
    BAD(rows, UINT64_C(1) << 40, "2^40");
    BAD(rows, UINT64_MAX, "2^40");
    BAD(cols, (UINT64_C(1) << 29) + 1, "1 GiB");
    BAD(block, 0, "block");
    BAD(block, 1u << 20, "block");
#undef BAD
    refuse(BAD_ALIAS, &good, 1, NULL, "isn't before");
    refuse(BAD_ALIAS, &good, UINT32_MAX, NULL, "isn't before");
    t = good;
    t.cols = 4;
    refuse(BAD_ALIAS, &t, 0, NULL, "differ");
    t = good;
    t.dtype = ZO2_BF16;
    refuse(BAD_ALIAS, &t, 0, NULL, "differ");
    refuse(BAD_END, NULL, 0, NULL, "12 bytes of tensor w");
    static const char *const names[] = {"", ".", "..", "a/b", "../a", "a\\b", "a\tb", "\x80"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        refuse(BAD_FILE, NULL, 0, names[i], "cannot carry");
    static const char *const weights[] = {".safetensors", "model.safetensors", "Model.SafeTensors",
                                          "model-00001-of-00002.safetensors", "model.safetensors.index.json"};
    for (size_t i = 0; i < sizeof weights / sizeof *weights; i++)
        refuse(BAD_FILE, NULL, 0, weights[i], "one of weights");
    long_name[201] = '\0';
    refuse(BAD_FILE, NULL, 0, long_name, "200 bytes");

    zo2_packwriter *w;
    FAILS(ARG, zo2_packwriter_open(&w, &zo2_io_posix, path, "", 0));
    assert_null(w);
    FAILS(ARG, zo2_packwriter_open(&w, &zo2_io_posix, path, "a name of thirty-two characters..", 0));
    assert_int_equal(count_files(dir, ""), 0);
}

/* The longest names that are allowed, of a tensor and of a carried file; the file's is one that an export can write. */
static void longest_names(void **state)
{
    (void)state;
    char tensor[513], file[201];
    memset(tensor, 't', sizeof tensor - 1);
    memset(file, 'f', sizeof file - 1);
    tensor[512] = file[200] = '\0';
    const zo2_packtensor t = {.name = tensor, .dtype = ZO2_F16, .rank = 1, .rows = 1, .cols = 1};
    zo2_packwriter *w;
    OK(zo2_packwriter_open(&w, &zo2_io_posix, path, "opt", 0));
    OK(pack_tensor(w, &t, "01", 0));
    OK(zo2_packwriter_file(w, file, "x", 1));
    OK(zo2_packwriter_commit(w, NULL));
    zo2_packwriter_close(w);
    zo2_packfile *p;
    OK(zo2_packfile_open(&p, path));
    assert_string_equal(zo2_packfile_tensor(p, 0)->name, tensor);
    assert_string_equal(zo2_packfile_file_name(p, 0), file);
    zo2_packfile_close(p);
    zo2_outfile f = {0};
    char *exported = in_dir(dir, file);
    OK(zo2_outfile_open(&f, &zo2_io_posix, exported, 0));
    OK(zo2_outfile_commit(&f));
    unlink(exported);
    free(exported);
}

static void names_are_unique(void **state)
{
    (void)state;
    const zo2_packtensor t = {.name = "w", .dtype = ZO2_F16, .rank = 1, .rows = 1, .cols = 1};
    zo2_packwriter *w;
    OK(zo2_packwriter_open(&w, &zo2_io_posix, path, "opt", 0));
    OK(pack_tensor(w, &t, "01", 0));
    OK(zo2_packwriter_alias(w, &t, 0));
    FAILS(ARG, zo2_packwriter_commit(w, NULL));
    SAYS("two tensors are named w");
    zo2_packwriter_close(w);
    OK(zo2_packwriter_open(&w, &zo2_io_posix, path, "opt", 0));
    OK(zo2_packwriter_file(w, "f", "", 0));
    OK(zo2_packwriter_file(w, "f", "", 0));
    FAILS(ARG, zo2_packwriter_commit(w, NULL));
    SAYS("two carried files are named f");
    zo2_packwriter_close(w);
    assert_int_equal(count_files(dir, ""), 0);
}

static void a_pack_without_anything_is_a_pack(void **state)
{
    (void)state;
    zo2_packwriter *w;
    zo2_packfile *p;
    OK(zo2_packwriter_open(&w, &zo2_io_posix, path, "opt", 0));
    OK(zo2_packwriter_commit(w, NULL));
    FAILS(ARG, zo2_packwriter_commit(w, NULL));
    zo2_packwriter_close(w);
    OK(zo2_packfile_open(&p, path));
    assert_int_equal(zo2_packfile_header(p)->tensors, 0);
    OK(zo2_packfile_verify(p, NULL, NULL, NULL));
    zo2_packfile_close(p);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(a_small_pack_has_the_specified_bytes),
        T(equal_models_give_equal_files),
        T(the_model_hash_is_over_bits_shapes_and_types_only),
        T(existing_packs_need_force),
        T(without_a_commit_nothing_is_left),
        T(wrong_calls_of_the_writer_are_refused),
        T(longest_names),
        T(names_are_unique),
        T(a_pack_without_anything_is_a_pack),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
