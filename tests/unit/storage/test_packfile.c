/* test_packfile.c: packs read back, at every size around a chunk's borders; verification; threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/unit/storage/packfile_testing.h"

#include <pthread.h>
#include <xxhash.h>

#define ONE_FILE "m.zo2"
#include "tests/unit/storage/one_file_testing.h"

/* ---- round trips ------------------------------------------------------------------------------------------------- */

static void the_sample_comes_back(void **state)
{
    (void)state;
    zo2_packfile *p;
    OK(sample_write(&zo2_io_posix, path, 0));
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

/* One matrix, read whole, row ranges at and beside the borders, and in multiples of chunk_rows.
 * */
static void round_trip(zo2_dtype dtype, uint64_t rows, uint64_t cols, uint64_t want_chunk_rows)
{
    const zo2_packtensor t = {.name = "w", .dtype = dtype, .rank = 2, .rows = rows, .cols = cols};
    size_t n = tensor_bytes(&t), row_bytes = n / (size_t)rows;
    unsigned char *bits = sample_bytes(rows * cols, n), *got = malloc(n);
    assert_non_null(got);
    zo2_packwriter *w;
    zo2_packfile *p;
    OK(zo2_packwriter_open(&w, &zo2_io_posix, path, "x", 1));
    OK(pack_tensor(w, &t, bits, 0));
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
        round_trip(ZO2_F16, rows[i], half_mib, rows[i] < 8 ? rows[i] : 8);
    round_trip(ZO2_BF16, 17, half_mib + 1, 7); /* a little over an eighth */
    round_trip(ZO2_F32, 3, (5 << 20) / 4, 1);  /* a row is larger than a chunk's target */
    round_trip(ZO2_F32, 3, 1 << 20, 1);        /* exactly a chunk */
    round_trip(ZO2_F16, 699051, 3, 699050);    /* rows of 6 bytes: one row over a chunk */
    round_trip(ZO2_F32, 1 << 20, 1, 1 << 20);
    round_trip(ZO2_F32, 1, 1, 1);
}

static void a_long_vector_is_one_chunk(void **state)
{
    (void)state;
    const zo2_packtensor t = {.name = "v", .dtype = ZO2_F32, .rank = 1, .rows = 1, .cols = 3000000};
    unsigned char *bits = sample_bytes(5, tensor_bytes(&t)), *got = malloc(tensor_bytes(&t));
    zo2_packwriter *w;
    zo2_packfile *p;
    OK(zo2_packwriter_open(&w, &zo2_io_posix, path, "x", 0));
    OK(pack_tensor(w, &t, bits, 0));
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
            OK(pack_tensor(w, &t, "ab", 0));
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
    OK(sample_write(&zo2_io_posix, path, 0));
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
    OK(pack_tensor(w, &t, bits, 0));
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
        T(the_sample_comes_back),          T(sizes_around_chunk_borders_come_back),      T(a_long_vector_is_one_chunk),
        T(thousands_of_tensors_are_quick), T(verify_reports_bytes_and_can_be_cancelled), T(two_threads_read_one_pack),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
