/* test_packfile_dropped.c: matrices that a pack has as a wire alone: PACK.md's bytes, what is read and what isn't, what is refused on either
 * side, copies, and what is there when an operation fails. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "storage/pack/packfile_format.h"
#include "tests/unit/storage/faulty_io.h"
#include "tests/unit/storage/packfile_testing.h"

#include <xxhash.h>

#define ONE_FILE "m.zo2"
#include "tests/unit/storage/one_file_testing.h"

/* 0.fc.weight (3 x 7) is there as its fp8-e4m3 wire alone, and so is its alias. */
enum { EMBED = 0, FC = 1, BIAS = 2, E4M3_BYTES = 64, WIRE_AT = 4 * 4096 };

static const unsigned char e4m3[E4M3_BYTES] = {4, 5, 6};

static zo2_status put_wire(zo2_packwriter *w)
{
    zo2_status s = zo2_packwriter_wire(w, ZO2_WIRE_E4M3, FC);
    return s ? s : zo2_packwriter_wire_chunk(w, e4m3, sizeof e4m3, sizeof e4m3, XXH3_64bits(e4m3, sizeof e4m3));
}

static zo2_status put_files(zo2_packwriter *w)
{
    zo2_status s = zo2_packwriter_file(w, "config.json", "{\"a\": 1}\n", 9);
    return s ? s : zo2_packwriter_file(w, "empty.txt", "", 0);
}

/* The sample at path becomes one without those bits at `to`. */
static zo2_status drop(const zo2_io *io, const char *to)
{
    const uint8_t without[SAMPLE_TENSORS] = {[FC] = 1};
    zo2_packfile *from;
    zo2_packwriter *w = NULL;
    zo2_status s = zo2_packfile_open(&from, path);
    if (!s)
        s = zo2_packwriter_open(&w, io, to, "opt", 0);
    if (!s)
        s = put_files(w);
    if (!s)
        s = zo2_packwriter_copy_without(w, from, without, E4M3_BYTES, NULL, NULL);
    if (!s)
        s = put_wire(w);
    if (!s)
        s = zo2_packwriter_commit(w, NULL);
    zo2_packwriter_close(w);
    zo2_packfile_close(from);
    return s;
}

static char *small_path(void)
{
    return in_dir(dir, "small.zo2");
}

/* Its bytes, at path. */
static unsigned char *dropped(size_t *n)
{
    char *small = small_path();
    OK(sample_write(&zo2_io_posix, path, 1));
    OK(drop(&zo2_io_posix, small));
    unsigned char *b = file_load(small, n);
    assert_int_equal(rename(small, path), 0);
    free(small);
    return b;
}

/* PACK.md, "Wires without source". */
static void the_bytes_are_the_specified_ones(void **state)
{
    (void)state;
    size_t n, whole;
    OK(sample_write(&zo2_io_posix, path, 1));
    unsigned char *was = file_load(path, &whole), *b = dropped(&n);
    assert_int_equal(get(b, 16, 8), 2 | 4);
    assert_int_equal(get(b, 48, 8), 4);        /* chunks: three tensors', and a wire's */
    assert_memory_equal(b + 32, was + 32, 16); /* model hash and parameters */
    const uint64_t table = get(b, 72, 8), before = get(was, 72, 8);
    static const struct {
        uint64_t first, flags;
    } want[SAMPLE_TENSORS] = {{0, 1}, {1, 3}, {1, 0}, {1, 3}, {2, 0}};
    for (size_t i = 0; i < SAMPLE_TENSORS; i++) {
        const size_t at = table + 64 * i, old = before + 64 * i;
        assert_memory_equal(b + at, was + old, 24); /* rows, columns, hash */
        assert_int_equal(get(b, at + 24, 8), want[i].first);
        assert_int_equal(get(b, at + 58, 2), want[i].flags);
        assert_memory_equal(b + at + 32, was + old + 32, 26);
    }
    assert_memory_equal(b + 4096, was + 4096, 60);
    assert_memory_equal(b + WIRE_AT, e4m3, E4M3_BYTES);
    free(was);
    free(b);
}

static void what_is_there_is_read_and_the_rest_refused(void **state)
{
    (void)state;
    size_t n;
    free(dropped(&n));
    zo2_packfile *p;
    zo2_packplace place;
    unsigned char got[128], *bits = sample_bits(EMBED);
    OK(zo2_packfile_open(&p, path));
    OK(zo2_packfile_verify(p, NULL, NULL, NULL));
    const zo2_packheader *h = zo2_packfile_header(p);
    assert_true(h->dropped == 1 && h->wires == 1 && h->source_bytes == 60 + 14 + 14 && h->largest_chunk == E4M3_BYTES);
    for (uint32_t i = 0; i < SAMPLE_TENSORS; i++) {
        const int is = i == FC || i == SAMPLE_ALIAS;
        const zo2_packtensor *t = zo2_packfile_tensor(p, i);
        assert_int_equal(t->dropped_to, is ? ZO2_WIRE_E4M3 : 0);
        assert_int_equal(zo2_packfile_check_source(p, i), is ? ZO2_ERR_UNSUPPORTED : ZO2_OK);
        assert_int_equal(zo2_packfile_read_rows(p, i, 0, t->rows, got), is ? ZO2_ERR_UNSUPPORTED : ZO2_OK);
        assert_int_equal(zo2_packfile_place(p, i, 0, &place), is ? ZO2_ERR_UNSUPPORTED : ZO2_OK);
        if (!is)
            continue;
        SAYS(path);
        SAYS(t->name);
        SAYS("only its fp8-e4m3 wire");
        SAYS("use the pack that it was made from");
    }
    OK(zo2_packfile_read_rows(p, EMBED, 0, 5, got));
    assert_memory_equal(got, bits, 60);
    OK(zo2_packfile_wire_place(p, SAMPLE_ALIAS, ZO2_WIRE_E4M3, 2, &place));
    assert_true(place.row == 0 && place.rows == 3 && place.bytes == E4M3_BYTES && place.offset == WIRE_AT);
    OK(zo2_packfile_read_place(p, FC, &place, got));
    assert_memory_equal(got, e4m3, E4M3_BYTES);
    FAILS(ARG, zo2_packfile_wire_place(p, FC, ZO2_WIRE_E4M3, 3, &place));
    FAILS(ARG, zo2_packfile_read_rows(p, FC, 3, 1, got)); /* what was asked for is wrong all the same */
    zo2_packfile_close(p);
    free(bits);
}

/* Right checksums, wrong contents. */
static void liars_are_refused(void **state)
{
    (void)state;
    enum { SUPER, TENSOR, WIRE };
    static const struct {
        int where;
        size_t at, n;
        uint64_t value;
        const char *says;
    } lies[] = {
        {SUPER, 16, 8, 2, "which the superblock's features don't say"},
        {TENSOR, 64 * FC + 58, 2, 1, "length doesn't fit"}, /* the next tensor's chunk */
        {TENSOR, 64 * FC + 57, 1, 1, "a vector"},
        {TENSOR, 64 * BIAS + 58, 2, 2, "a vector without source bits"},
        {TENSOR, 64 * EMBED + 58, 2, 3, "first chunk"},
        {TENSOR, 64 * SAMPLE_ALIAS + 58, 2, 1, "differs"},
        {TENSOR, 64 * FC + 24, 8, 0, "first chunk"},
        {TENSOR, 64 * FC + 32, 8, 0, "rows per chunk"},
        {TENSOR, 64 * FC + 32, 8, 4, "rows per chunk"},
        {TENSOR, 64 * FC + 32, 8, 2, "differs"},
        {WIRE, 0, 4, 77, "neither source bits nor a wire that this program knows"},
        {WIRE, 4, 4, EMBED, "length doesn't fit"},
    };
    size_t n;
    unsigned char *good = dropped(&n), *bad = malloc(n);
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        memcpy(bad, good, n);
        const uint64_t tensors = get(bad, 72, 8), wires = get(bad, 200, 8);
        memcpy(bad +
                   (lies[i].where == TENSOR ? tensors
                    : lies[i].where == WIRE ? wires
                                            : 0) +
                   lies[i].at,
               &lies[i].value, lies[i].n);
        const uint64_t hashes[] = {XXH3_64bits(bad + tensors, SAMPLE_TENSORS * 64), XXH3_64bits(bad + wires, 16)};
        memcpy(bad + 88, &hashes[0], 8);
        memcpy(bad + 216, &hashes[1], 8);
        store_with_checksum(path, bad, n);
        zo2_packfile *p;
        const zo2_status s = zo2_packfile_open(&p, path);
        zo2_packfile_close(p);
        assert_int_equal(s, ZO2_ERR_FORMAT);
        SAYS(path);
        SAYS(lies[i].says);
    }
    free(bad);
    free(good);
}

static void the_writer_refuses_what_no_reader_takes(void **state)
{
    (void)state;
    zo2_packwriter *w;
    zo2_packtensor vector = sample_tensor[BIAS];
    OK(zo2_packwriter_open(&w, &zo2_io_posix, path, "opt", 0));
    FAILS(ARG, zo2_packwriter_dropped(w, &vector));
    SAYS("only matrices");
    zo2_packwriter_close(w);
    OK(zo2_packwriter_open(&w, &zo2_io_posix, path, "opt", 0));
    OK(zo2_packwriter_dropped(w, &sample_tensor[FC]));
    FAILS(ARG, zo2_packwriter_chunk(w, &(zo2_packchunk){.bytes = 42}));
    zo2_packwriter_close(w);
    OK(zo2_packwriter_open(&w, &zo2_io_posix, path, "opt", 0));
    OK(zo2_packwriter_dropped(w, &sample_tensor[FC]));
    FAILS(ARG, zo2_packwriter_commit(w, NULL));
    SAYS("tensor 0.fc.weight has neither source bits nor a wire");
    zo2_packwriter_close(w);
    OK(zo2_packwriter_open(&w, &zo2_io_posix, path, "opt", 0));
    OK(zo2_packwriter_dropped(w, &sample_tensor[FC]));
    OK(zo2_packwriter_wire(w, (zo2_wire)77, 0)); /* one that nobody knows */
    OK(zo2_packwriter_wire_chunk(w, e4m3, sizeof e4m3, sizeof e4m3, XXH3_64bits(e4m3, sizeof e4m3)));
    FAILS(ARG, zo2_packwriter_commit(w, NULL));
    zo2_packwriter_close(w);
    assert_int_equal(count_files(dir, ""), 0);
}

/* Copied with its wires (other carried files) or told tensor by tensor, it is the same pack. */
static void a_copy_is_the_same_pack(void **state)
{
    (void)state;
    size_t n, have;
    unsigned char *want = dropped(&n);
    for (int how = 0; how < 3; how++) { /* 0, 1: with and without shared blocks */
        faulty_io f;
        zo2_packfile *from;
        zo2_packwriter *w;
        char *small = small_path();
        faulty_init(&f);
        f.clones = how == 1;
        OK(zo2_packfile_open(&from, path));
        OK(zo2_packwriter_open(&w, &f.io, small, "opt", 0));
        OK(put_files(w));
        if (how < 2)
            OK(zo2_packwriter_copy(w, from, 1, 0, NULL, NULL));
        for (uint32_t i = 0; how == 2 && i < SAMPLE_TENSORS; i++) {
            unsigned char *bits = sample_bits(i);
            const zo2_packtensor *t = zo2_packfile_tensor(from, i);
            OK(t->stored_as != i ? zo2_packwriter_alias(w, t, t->stored_as)
               : t->dropped_to   ? zo2_packwriter_dropped(w, t)
                                 : pack_tensor(w, t, bits, 0));
            free(bits);
        }
        if (how == 2)
            OK(put_wire(w));
        OK(zo2_packwriter_commit(w, NULL));
        zo2_packwriter_close(w);
        zo2_packfile_close(from);
        unsigned char *got = file_load(small, &have);
        assert_int_equal(have, n);
        assert_memory_equal(got, want, n);
        assert_int_equal(unlink(small), 0);
        free(got);
        free(small);
        faulty_free(&f);
    }
    free(want);
}

/* Chunks stay compressed, and the feature goes with the last of them. */
static void compressed_chunks_stay_so(void **state)
{
    (void)state;
    enum { ROWS = 64, COLS = 256 };
    static uint16_t bits[ROWS * COLS]; /* zeros: zstd saves nearly all of it */
    const zo2_packtensor t[] = {
        {.name = "a", .dtype = ZO2_F16, .rank = 2, .rows = ROWS, .cols = COLS, .block = 0},
        {.name = "b", .dtype = ZO2_F16, .rank = 2, .rows = ROWS, .cols = COLS, .block = 1},
    };
    zo2_packwriter *w;
    OK(zo2_packwriter_open(&w, &zo2_io_posix, path, "opt", 0));
    OK(pack_tensor(w, &t[0], bits, 1));
    OK(pack_tensor(w, &t[1], bits, 1));
    OK(zo2_packwriter_commit(w, NULL));
    zo2_packwriter_close(w);
    for (int both = 0; both < 2; both++) {
        const uint8_t without[] = {1, (uint8_t)both};
        zo2_packfile *from, *p;
        char *small = small_path();
        OK(zo2_packfile_open(&from, path));
        assert_true(zo2_packfile_header(from)->compressed);
        OK(zo2_packwriter_open(&w, &zo2_io_posix, small, "opt", 0));
        OK(zo2_packwriter_copy_without(w, from, without, 0, NULL, NULL));
        for (uint32_t i = 0; i < 1 + (uint32_t)both; i++) {
            OK(zo2_packwriter_wire(w, ZO2_WIRE_FP16, i));
            OK(zo2_packwriter_wire_chunk(w, bits, sizeof bits, sizeof bits, XXH3_64bits(bits, sizeof bits)));
        }
        OK(zo2_packwriter_commit(w, NULL));
        zo2_packwriter_close(w);
        zo2_packfile_close(from);
        OK(zo2_packfile_open(&p, small));
        OK(zo2_packfile_verify(p, NULL, NULL, NULL));
        assert_int_equal(zo2_packfile_header(p)->compressed, !both);
        zo2_packfile_close(p);
        assert_int_equal(unlink(small), 0);
        free(small);
    }
}

static void a_failed_operation_leaves_the_old_pack_alone(void **state)
{
    (void)state;
    size_t n, have;
    OK(sample_write(&zo2_io_posix, path, 1));
    unsigned char *was = file_load(path, &n);
    char *small = small_path();
    const int codes[] = {EIO, ENOSPC};
    for (int c = 0; c < 2; c++)
        for (uint64_t i = 0;; i++) {
            faulty_io f;
            faulty_init(&f);
            faulty_arm(&f, FAULTY_WRITES, i, FAULTY_TORN, codes[c], 0);
            const zo2_status s = drop(&f.io, small);
            faulty_free(&f);
            unsigned char *is = file_load(path, &have);
            assert_int_equal(have, n);
            assert_memory_equal(is, was, n);
            free(is);
            if (s)
                assert_int_equal(s, c ? ZO2_ERR_NOSPACE : ZO2_ERR_IO);
            unlink(small); /* a failed sync of the folder comes behind the rename */
            assert_int_equal(count_files(dir, ""), 1);
            if (!s)
                break;
        }
    FAILS(EXISTS, drop(&zo2_io_posix, path));
    free(small);
    free(was);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(the_bytes_are_the_specified_ones),
        T(what_is_there_is_read_and_the_rest_refused),
        T(liars_are_refused),
        T(the_writer_refuses_what_no_reader_takes),
        T(a_copy_is_the_same_pack),
        T(compressed_chunks_stay_so),
        T(a_failed_operation_leaves_the_old_pack_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
