/* test_packfile.c: packs written and read back, at every size around a chunk's borders; the writer's rules; a known
 * file. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/unit/packfile_testing.h"

#include <pthread.h>
#include <xxhash.h>

#define ONE_FILE "m.zo2"
#include "tests/unit/one_file_testing.h"

/* ---- round trips ------------------------------------------------------------------------------------------------- */

static void the_sample_comes_back(void **state)
{
    (void)state;
    zo2_packfile *p;
    OK(sample_write(&zo2_io_posix, path, 0, 5));
    assert_int_equal(count_files(dir, ""), 1);
    OK(zo2_packfile_open(&p, path));
    assert_string_equal(zo2_packfile_path(p), path);
    const zo2_packheader *h = zo2_packfile_header(p);
    assert_int_equal(h->version, 1);
    assert_int_equal(h->tensors, SAMPLE_TENSORS);
    assert_int_equal(h->blocks, 3);
    assert_int_equal(h->files, 3);
    assert_int_equal(h->parameters, 15 + 21 + 7 + 21 + 7);
    assert_true(h->aliased);
    assert_string_equal(h->arch, "opt");
    for (uint32_t i = 0; i < SAMPLE_TENSORS; i++) {
        const zo2_packtensor *t = zo2_packfile_tensor(p, i), *want = &sample_tensor[i];
        assert_string_equal(t->name, want->name);
        assert_int_equal(t->dtype, want->dtype);
        assert_int_equal(t->rank, want->rank);
        assert_int_equal(t->rows, want->rows);
        assert_int_equal(t->cols, want->cols);
        assert_int_equal(t->block, want->block);
        assert_int_equal(!!t->decays, want->decays);
        assert_int_equal(t->stored_as, i == SAMPLE_ALIAS ? 1 : i);
        unsigned char *bits = sample_bits(i), got[64];
        size_t n = tensor_bytes(want);
        assert_true(t->hash == XXH3_64bits(bits, n));
        memset(got, 0xEE, sizeof got);
        OK(zo2_packfile_read_rows(p, i, 0, t->rows, got));
        assert_memory_equal(got, bits, n);
        assert_int_equal(got[n], 0xEE);
        free(bits);
    }
    assert_null(zo2_packfile_tensor(p, SAMPLE_TENSORS));
    FAILS(ARG, zo2_packfile_read_rows(p, SAMPLE_TENSORS, 0, 1, NULL));
    FAILS(ARG, zo2_packfile_read_rows(p, 0, 0, 6, NULL));
    FAILS(ARG, zo2_packfile_read_rows(p, 0, 6, 0, NULL));
    FAILS(ARG, zo2_packfile_read_rows(p, 0, 2, UINT64_MAX, NULL));
    OK(zo2_packfile_read_rows(p, 0, 5, 0, NULL));

    const char *data;
    size_t n;
    OK(zo2_packfile_file(p, "config.json", &data, &n));
    assert_int_equal(n, 9);
    assert_string_equal(data, "{\"a\": 1}\n");
    OK(zo2_packfile_file(p, "empty.txt", &data, &n));
    assert_int_equal(n, 0);
    assert_string_equal(data, "");
    FAILS(NOTFOUND, zo2_packfile_file(p, "merges.txt", &data, &n));
    SAYS("merges.txt");
    assert_string_equal(zo2_packfile_file_name(p, 2), "vocab.json");
    assert_null(zo2_packfile_file_name(p, 3));
    OK(zo2_packfile_verify(p, NULL, NULL, NULL));
    zo2_packfile_close(p);
    zo2_packfile_close(NULL);
}

static void equal_models_give_equal_files(void **state)
{
    (void)state;
    char *other = in_dir(dir, "other.zo2");
    size_t n, m;
    OK(sample_write(&zo2_io_posix, path, 0, 1));
    OK(sample_write(&zo2_io_posix, other, 0, 1000));
    unsigned char *a = file_load(path, &n), *b = file_load(other, &m);
    assert_int_equal(n, m);
    assert_memory_equal(a, b, n);
    free(a);
    free(b);
    free(other);
}

/* One matrix, written in odd pieces, read whole, row ranges at and beside the borders, and in multiples of chunk_rows.
 * */
static void round_trip(zo2_dtype dtype, uint64_t rows, uint64_t cols, uint64_t want_chunk_rows, size_t piece)
{
    const zo2_packtensor t = {.name = "w", .dtype = dtype, .rank = 2, .rows = rows, .cols = cols};
    size_t n = tensor_bytes(&t), row_bytes = n / (size_t)rows;
    unsigned char *bits = sample_bytes(rows * cols, n), *got = malloc(n);
    assert_non_null(got);
    zo2_packwriter *w;
    zo2_packfile *p;
    OK(zo2_packwriter_open(&w, &zo2_io_posix, path, "x", 1));
    OK(zo2_packwriter_tensor(w, &t));
    for (size_t at = 0; at < n; at += piece)
        OK(zo2_packwriter_rows(w, bits + at, n - at < piece ? n - at : piece));
    OK(zo2_packwriter_commit(w, NULL));
    zo2_packwriter_close(w);

    OK(zo2_packfile_open(&p, path));
    uint64_t c = zo2_packfile_chunk_rows(p, 0);
    assert_int_equal(c, want_chunk_rows);
    const uint64_t edges[] = {0, 1, c - 1, c, c + 1, 2 * c - 1, 2 * c, rows - 1, rows};
    for (size_t i = 0; i < sizeof edges / sizeof *edges; i++)
        for (size_t k = 0; k < sizeof edges / sizeof *edges; k++) {
            uint64_t a = edges[i], b = edges[k];
            if (a > b || b > rows)
                continue;
            memset(got, 0xEE, n);
            OK(zo2_packfile_read_rows(p, 0, a, b - a, got));
            assert_memory_equal(got, bits + a * row_bytes, (size_t)(b - a) * row_bytes);
            if ((b - a) * row_bytes < n)
                assert_int_equal(got[(b - a) * row_bytes], 0xEE);
        }
    OK(zo2_packfile_verify(p, NULL, NULL, NULL));
    zo2_packfile_close(p);
    free(bits);
    free(got);
}

static void sizes_around_chunk_borders_come_back(void **state)
{
    (void)state;
    const uint64_t half_mib = 1 << 18; /* F16 values: 8 rows make a chunk */
    const uint64_t rows[] = {1, 7, 8, 9, 16, 17};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        round_trip(ZO2_F16, rows[i], half_mib, rows[i] < 8 ? rows[i] : 8, i % 2 ? 777777 : 100 << 20);
    round_trip(ZO2_BF16, 17, half_mib + 1, 7, 4 << 20); /* a little over an eighth */
    round_trip(ZO2_F32, 3, (5 << 20) / 4, 1, 999999);   /* a row is larger than a chunk's target */
    round_trip(ZO2_F32, 3, 1 << 20, 1, 4 << 20);        /* exactly a chunk */
    round_trip(ZO2_F16, 699051, 3, 699050, 123457);     /* rows of 6 bytes: one row over a chunk */
    round_trip(ZO2_F32, 1 << 20, 1, 1 << 20, 50 << 20);
    round_trip(ZO2_F32, 1, 1, 1, 1);
}

static void a_long_vector_is_one_chunk(void **state)
{
    (void)state;
    const zo2_packtensor t = {.name = "v", .dtype = ZO2_F32, .rank = 1, .rows = 1, .cols = 3000000};
    unsigned char *bits = sample_bytes(5, tensor_bytes(&t)), *got = malloc(tensor_bytes(&t));
    zo2_packwriter *w;
    zo2_packfile *p;
    OK(zo2_packwriter_open(&w, &zo2_io_posix, path, "x", 0));
    OK(zo2_packwriter_tensor(w, &t));
    OK(zo2_packwriter_rows(w, bits, tensor_bytes(&t)));
    OK(zo2_packwriter_commit(w, NULL));
    zo2_packwriter_close(w);
    OK(zo2_packfile_open(&p, path));
    assert_int_equal(zo2_packfile_chunk_rows(p, 0), 1);
    OK(zo2_packfile_read_rows(p, 0, 0, 1, got));
    assert_memory_equal(got, bits, tensor_bytes(&t));
    zo2_packfile_close(p);
    free(bits);
    free(got);
}

static void thousands_of_tensors_are_quick(void **state)
{
    (void)state;
    enum { N = 20000 };
    zo2_packwriter *w;
    zo2_packfile *p;
    OK(zo2_packwriter_open(&w, &zo2_io_posix, path, "x", 0));
    for (uint32_t i = 0; i < N; i++) {
        char name[32];
        snprintf(name, sizeof name, "t.%u", (unsigned)i);
        const zo2_packtensor t = {.name = name, .dtype = ZO2_F16, .rank = 1, .rows = 1, .cols = 1, .block = i / 10};
        if (i == 0) {
            OK(zo2_packwriter_tensor(w, &t));
            OK(zo2_packwriter_rows(w, "ab", 2));
        } else {
            OK(zo2_packwriter_alias(w, &t, i - 1)); /* of an alias: the original is found */
        }
    }
    OK(zo2_packwriter_commit(w, NULL));
    zo2_packwriter_close(w);
    OK(zo2_packfile_open(&p, path));
    assert_int_equal(zo2_packfile_header(p)->tensors, N);
    assert_int_equal(zo2_packfile_header(p)->blocks, N / 10);
    assert_int_equal(zo2_packfile_tensor(p, N - 1)->stored_as, 0);
    unsigned char got[2];
    OK(zo2_packfile_read_rows(p, N - 1, 0, 1, got));
    assert_memory_equal(got, "ab", 2);
    zo2_packfile_close(p);
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
        OK(zo2_packwriter_tensor(w, &t));
        OK(zo2_packwriter_rows(w, "0123456789ab", 12));
        OK(zo2_packwriter_commit(w, &hash[i]));
        zo2_packwriter_close(w);
    }
    const uint64_t record[4] = {XXH3_64bits("0123456789ab", 12), 2, 3, ZO2_F16};
    assert_true(hash[0] == XXH3_64bits(record, 32));
    assert_true(hash[1] == hash[0]);
    assert_true(hash[2] != hash[0]);
}

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
    OK(zo2_packwriter_tensor(w, &t));
    OK(zo2_packwriter_rows(w, bits, 12));
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

/* ---- rules ------------------------------------------------------------------------------------------------------- */

static void existing_packs_need_force(void **state)
{
    (void)state;
    file_store(path, "old", 3);
    FAILS(EXISTS, sample_write(&zo2_io_posix, path, 0, 100));
    SAYS(path);
    size_t n;
    unsigned char *old = file_load(path, &n);
    assert_int_equal(n, 3);
    free(old);
    OK(sample_write(&zo2_io_posix, path, 1, 100));
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
    OK(zo2_packwriter_rows(w, "0123", 4));
    assert_int_equal(count_files(dir, "tmp"), 1);
    zo2_packwriter_close(w);
    zo2_packwriter_close(NULL);
    assert_int_equal(count_files(dir, ""), 0);
}

/* Runs one wrong call on a writer with one finished tensor ("w", F16, 2 x 3, block 1). It, and everything after, must
 * fail. */
enum { BAD_TENSOR, BAD_ALIAS, BAD_ROWS, BAD_FILE };

static void refuse(int what, const zo2_packtensor *t, uint32_t number, const char *name, const char *says)
{
    const zo2_packtensor first = {.name = "w", .dtype = ZO2_F16, .rank = 2, .rows = 2, .cols = 3, .block = 1};
    zo2_packwriter *w;
    OK(zo2_packwriter_open(&w, &zo2_io_posix, path, "opt", 0));
    OK(zo2_packwriter_tensor(w, &first));
    OK(zo2_packwriter_rows(w, "0123456789ab", what == BAD_ROWS ? number : 12));
    switch (what) {
    case BAD_TENSOR: FAILS(ARG, zo2_packwriter_tensor(w, t)); break;
    case BAD_ALIAS: FAILS(ARG, zo2_packwriter_alias(w, t, number)); break;
    case BAD_ROWS: FAILS(ARG, zo2_packwriter_commit(w, NULL)); break;
    default: FAILS(ARG, zo2_packwriter_file(w, name, "", number)); break;
    }
    SAYS(says);
    FAILS(ARG, zo2_packwriter_tensor(w, &first));
    FAILS(ARG, zo2_packwriter_rows(w, "0", 1));
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
    refuse(BAD_ROWS, NULL, 11, NULL, "1 bytes of tensor w");
    refuse(BAD_ROWS, NULL, 0, NULL, "12 bytes of tensor w");
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
    OK(zo2_packwriter_open(&w, &zo2_io_posix, path, "opt", 0));
    FAILS(ARG, zo2_packwriter_rows(w, "0", 1)); /* no tensor yet */
    zo2_packwriter_close(w);
    OK(zo2_packwriter_open(&w, &zo2_io_posix, path, "opt", 0));
    OK(zo2_packwriter_tensor(w, &good));
    FAILS(ARG, zo2_packwriter_rows(w, "0123456789abc", 13));
    SAYS("1 bytes too many");
    zo2_packwriter_close(w);
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
    OK(zo2_packwriter_tensor(w, &t));
    OK(zo2_packwriter_rows(w, "01", 2));
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
    OK(zo2_packwriter_tensor(w, &t));
    OK(zo2_packwriter_rows(w, "01", 2));
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

/* ---- progress, threads ------------------------------------------------------------------------------------------- */

struct progress {
    uint64_t last, total;
    int calls, cancel_at;
};

static int on_progress(void *ud, const char *what, uint64_t done, uint64_t total)
{
    struct progress *g = ud;
    assert_string_equal(what, "verify");
    assert_true(done >= g->last && done <= total);
    g->last = done;
    g->total = total;
    return g->calls++ == g->cancel_at;
}

static void verify_reports_bytes_and_can_be_cancelled(void **state)
{
    (void)state;
    zo2_packfile *p;
    OK(sample_write(&zo2_io_posix, path, 0, 100));
    OK(zo2_packfile_open(&p, path));
    struct progress g = {.cancel_at = -1};
    OK(zo2_packfile_verify(p, NULL, on_progress, &g));
    assert_int_equal(g.last, g.total);
    assert_int_equal(g.total, zo2_packfile_header(p)->file_bytes);
    int calls = g.calls;
    for (int i = 0; i < calls; i++) {
        g = (struct progress){.cancel_at = i};
        FAILS(CANCELLED, zo2_packfile_verify(p, NULL, on_progress, &g));
        assert_int_equal(g.calls, i + 1);
    }
    zo2_packfile_close(p);
}

struct reader {
    const zo2_packfile *p;
    const unsigned char *bits;
    uint64_t seed;
    int wrong;
};

static void *read_at_random(void *ud)
{
    struct reader *r = ud;
    const zo2_packtensor *t = zo2_packfile_tensor(r->p, 0);
    size_t row_bytes = (size_t)t->cols * 2;
    unsigned char *got = malloc(tensor_bytes(t));
    for (int i = 0; got && i < 30; i++) {
        uint64_t row = mix(&r->seed) % t->rows, n = mix(&r->seed) % (t->rows - row) + 1;
        r->wrong |= zo2_packfile_read_rows(r->p, 0, row, n, got) != ZO2_OK;
        r->wrong |= memcmp(got, r->bits + row * row_bytes, (size_t)n * row_bytes) != 0;
    }
    r->wrong |= !got;
    free(got);
    return NULL;
}

static void two_threads_read_one_pack(void **state)
{
    (void)state;
    const zo2_packtensor t = {.name = "w", .dtype = ZO2_F16, .rank = 2, .rows = 5000, .cols = 1000};
    unsigned char *bits = sample_bytes(9, tensor_bytes(&t));
    zo2_packwriter *w;
    zo2_packfile *p;
    OK(zo2_packwriter_open(&w, &zo2_io_posix, path, "opt", 0));
    OK(zo2_packwriter_tensor(w, &t));
    OK(zo2_packwriter_rows(w, bits, tensor_bytes(&t)));
    OK(zo2_packwriter_commit(w, NULL));
    zo2_packwriter_close(w);
    OK(zo2_packfile_open(&p, path));
    struct reader r[2] = {{p, bits, 1, 0}, {p, bits, 2, 0}};
    pthread_t thread[2];
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, read_at_random, &r[i]), 0);
    for (int i = 0; i < 2; i++) {
        pthread_join(thread[i], NULL);
        assert_false(r[i].wrong);
    }
    zo2_packfile_close(p);
    free(bits);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(the_sample_comes_back),
        T(equal_models_give_equal_files),
        T(sizes_around_chunk_borders_come_back),
        T(a_long_vector_is_one_chunk),
        T(thousands_of_tensors_are_quick),
        T(the_model_hash_is_over_bits_shapes_and_types_only),
        T(a_small_pack_has_the_specified_bytes),
        T(existing_packs_need_force),
        T(without_a_commit_nothing_is_left),
        T(wrong_calls_of_the_writer_are_refused),
        T(longest_names),
        T(names_are_unique),
        T(a_pack_without_anything_is_a_pack),
        T(verify_reports_bytes_and_can_be_cancelled),
        T(two_threads_read_one_pack),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
