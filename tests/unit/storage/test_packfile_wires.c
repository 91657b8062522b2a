/* test_packfile_wires.c: stored wires of a pack: PACK.md's bytes, what is refused on either side, copies, and what is there when an
 * operation fails. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "codec/codec.h"
#include "storage/pack/packfile_format.h"
#include "tests/unit/storage/faulty_io.h"
#include "tests/unit/storage/packfile_testing.h"

#include <xxhash.h>

#define ONE_FILE "m.zo2"
#include "tests/unit/storage/one_file_testing.h"

/* bf16 of embed.weight (5 x 3): rows of 16 bytes; fp8-e4m3 of 0.fc.weight (3 x 7): 3 rows of 16 bytes and 3 scales, padded to 16. */
enum { EMBED = 0, FC = 1, BF16_BYTES = 80, E4M3_BYTES = 64 };
enum { BF16_AT = 5 * 4096, E4M3_AT = 6 * 4096, FILES_AT = 7 * 4096 };

static const unsigned char bf16[BF16_BYTES] = {1, 2, 3}, e4m3[E4M3_BYTES] = {4, 5, 6};

static zo2_status put_wire(zo2_packwriter *w, zo2_wire wire, uint32_t tensor, const void *data, uint64_t bytes)
{
    zo2_status s = zo2_packwriter_wire(w, wire, tensor);
    return s ? s : zo2_packwriter_wire_chunk(w, data, bytes, bytes, XXH3_64bits(data, bytes));
}

/* The sample gets both wires: its own file's place is taken. */
static zo2_status add_wires(const zo2_io *io)
{
    static const char *const files[] = {"config.json", "empty.txt", "vocab.json"};
    zo2_packfile *from;
    zo2_packwriter *w = NULL;
    zo2_status s = zo2_packfile_open(&from, path);
    if (!s)
        s = zo2_packwriter_open(&w, io, path, "opt", 1);
    for (int i = 0; i < 3 && !s; i++) {
        const char *data;
        size_t bytes;
        OK(zo2_packfile_file(from, files[i], &data, &bytes));
        s = zo2_packwriter_file(w, files[i], data, bytes);
    }
    if (!s)
        s = zo2_packwriter_copy(w, from, 0, BF16_BYTES + E4M3_BYTES, NULL, NULL);
    if (!s)
        s = put_wire(w, ZO2_WIRE_BF16, EMBED, bf16, BF16_BYTES);
    if (!s)
        s = put_wire(w, ZO2_WIRE_E4M3, FC, e4m3, E4M3_BYTES);
    if (!s)
        s = zo2_packwriter_commit(w, NULL);
    zo2_packwriter_close(w);
    zo2_packfile_close(from);
    return s;
}

static unsigned char *with_wires(size_t *n)
{
    OK(sample_write(&zo2_io_posix, path, 1));
    OK(add_wires(&zo2_io_posix));
    return file_load(path, n);
}

/* PACK.md, "Wires". */
static void the_bytes_are_the_specified_ones(void **state)
{
    (void)state;
    size_t n;
    assert_int_equal(zo2_codec_get(ZO2_WIRE_BF16)->wire_bytes(5, 3), BF16_BYTES);
    assert_int_equal(zo2_codec_get(ZO2_WIRE_E4M3)->wire_bytes(3, 7), E4M3_BYTES);
    unsigned char *b = with_wires(&n);
    assert_int_equal(get(b, 16, 8), 2);
    assert_int_equal(get(b, 48, 8), 6);
    assert_memory_equal(b + BF16_AT, bf16, BF16_BYTES);
    assert_memory_equal(b + E4M3_AT, e4m3, E4M3_BYTES);
    assert_memory_equal(b + FILES_AT, "{\"a\": 1}\n", 9);
    const uint64_t at = get(b, 200, 8), chunks = get(b, 96, 8);
    assert_int_equal(at, n - 4096); /* the last part */
    assert_int_equal(get(b, 208, 8), 32);
    assert_int_equal(get(b, 216, 8), XXH3_64bits(b + at, 32));
    const uint64_t records[][3] = {{1, EMBED, 4}, {3, FC, 5}};
    const uint64_t places[][3] = {{BF16_AT, BF16_BYTES, XXH3_64bits(bf16, BF16_BYTES)},
                                  {E4M3_AT, E4M3_BYTES, XXH3_64bits(e4m3, E4M3_BYTES)}};
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(get(b, at + 16 * i, 4), records[i][0]);
        assert_int_equal(get(b, at + 16 * i + 4, 4), records[i][1]);
        assert_int_equal(get(b, at + 16 * i + 8, 8), records[i][2]);
        const size_t c = chunks + 48 * (4 + i);
        assert_int_equal(get(b, c, 8), places[i][0]);
        assert_int_equal(get(b, c + 8, 8), places[i][1]);
        assert_int_equal(get(b, c + 16, 8), places[i][1]);
        assert_int_equal(get(b, c + 24, 8), 0);
        assert_int_equal(get(b, c + 32, 8), places[i][2]);
        assert_int_equal(get(b, c + 40, 8), places[i][2]);
    }
    free(b);
}

static void what_was_written_is_found(void **state)
{
    (void)state;
    size_t n;
    free(with_wires(&n));
    zo2_packfile *p;
    zo2_packplace place;
    unsigned char got[128];
    OK(zo2_packfile_open(&p, path));
    OK(zo2_packfile_verify(p, NULL, NULL, NULL));
    const zo2_packheader *h = zo2_packfile_header(p);
    assert_true(h->wires == 2 && h->wire_bytes == BF16_BYTES + E4M3_BYTES && h->largest_chunk == BF16_BYTES);
    assert_true(h->source_bytes == 60 + 42 + 14 + 14 && h->stored_bytes == h->source_bytes);
    assert_true(zo2_packfile_has_wire(p, EMBED, ZO2_WIRE_BF16) && zo2_packfile_has_wire(p, FC, ZO2_WIRE_E4M3));
    assert_true(zo2_packfile_has_wire(p, SAMPLE_ALIAS, ZO2_WIRE_E4M3)); /* it is stored as FC */
    assert_false(zo2_packfile_has_wire(p, EMBED, ZO2_WIRE_E4M3) || zo2_packfile_has_wire(p, FC, ZO2_WIRE_BF16) ||
                 zo2_packfile_has_wire(p, FC, ZO2_WIRE_FP16) || zo2_packfile_has_wire(p, 99, ZO2_WIRE_BF16));
    OK(zo2_packfile_wire_place(p, SAMPLE_ALIAS, ZO2_WIRE_E4M3, 2, &place));
    assert_true(place.row == 0 && place.rows == 3 && place.bytes == E4M3_BYTES && place.offset == E4M3_AT);
    OK(zo2_packfile_read_place(p, FC, &place, got));
    assert_memory_equal(got, e4m3, E4M3_BYTES);
    FAILS(NOTFOUND, zo2_packfile_wire_place(p, EMBED, ZO2_WIRE_FP16, 0, &place));
    SAYS("no stored fp16 wire of tensor embed.weight");
    FAILS(ARG, zo2_packfile_wire_place(p, EMBED, ZO2_WIRE_BF16, 5, &place));
    zo2_packfile_close(p);
}

static void a_flipped_byte_is_named(void **state)
{
    (void)state;
    size_t n;
    unsigned char *b = with_wires(&n);
    for (size_t i = BF16_AT; i < FILES_AT; i += i % 4096 < 96 ? 1 : 499) {
        zo2_packfile *p;
        b[i] ^= 4;
        file_store(path, b, n);
        OK(zo2_packfile_open(&p, path));
        FAILS(FORMAT, zo2_packfile_verify(p, NULL, NULL, NULL));
        if (i < BF16_AT + BF16_BYTES)
            SAYS("embed.weight, stored wire 1 (bf16), rows 0 to 4 (offset 20480, 80 bytes)");
        zo2_packfile_close(p);
        b[i] ^= 4;
    }
    free(b);
}

/* Right checksums, wrong contents. */
static void liars_are_refused(void **state)
{
    (void)state;
    static const struct {
        int chunk; /* 1: in the first wire's chunk record, 0: in the wire table */
        size_t at, n;
        uint64_t value;
        const char *says; /* NULL: it is no lie */
    } lies[] = {
        {0, 0, 4, 0, "out of range"},
        {0, 0, 4, 256, "out of range"},
        {0, 4, 4, 5, "no such tensor"},
        {0, 4, 4, UINT32_MAX, "no such tensor"},
        {0, 4, 4, 2, "vector"},
        {0, 4, 4, SAMPLE_ALIAS, "no bytes of its own"},
        {0, 4, 4, FC, "length doesn't fit"},
        {0, 0, 4, 4, "length doesn't fit"},
        {0, 16, 8, 1, "out of order"}, /* the first one again */
        {0, 16, 4, 1, "length doesn't fit"},
        {0, 16, 4, 77, NULL}, /* a wire of the future */
        {0, 20, 4, EMBED, "length doesn't fit"},
        {0, 8, 8, 3, "first chunk"},
        {0, 24, 8, 4, "first chunk"},
        {0, 24, 8, UINT64_MAX, "first chunk"},
        {1, 0, 8, 4096, "doesn't follow"},
        {1, 8, 8, 64, "length doesn't fit"},
        {1, 16, 8, 64, "length doesn't fit"},
        {1, 16, 8, UINT64_MAX, "length doesn't fit"},
        {1, 24, 4, 1, "encoding"},
        {1, 28, 4, 1, "encoding"},
        {1, 40, 8, 1, "stored and decoded"},
    };
    size_t n;
    unsigned char *good = with_wires(&n), *bad = malloc(n);
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        memcpy(bad, good, n);
        const uint64_t chunks = get(bad, 96, 8), at = get(bad, 200, 8);
        memcpy(bad + (lies[i].chunk ? chunks + 4 * 48 : at) + lies[i].at, &lies[i].value, lies[i].n);
        const uint64_t hashes[] = {XXH3_64bits(bad + chunks, 6 * 48), XXH3_64bits(bad + at, 32)};
        memcpy(bad + 112, &hashes[0], 8);
        memcpy(bad + 216, &hashes[1], 8);
        store_with_checksum(path, bad, n);
        zo2_packfile *p;
        zo2_status s = zo2_packfile_open(&p, path);
        if (!lies[i].says && lies[i].value == 77) {
            OK(s);
            OK(zo2_packfile_verify(p, NULL, NULL, NULL));
            assert_true(zo2_packfile_has_wire(p, FC, (zo2_wire)77) && !zo2_packfile_has_wire(p, FC, ZO2_WIRE_E4M3));
        } else {
            assert_int_equal(s, ZO2_ERR_FORMAT);
            SAYS(path);
            if (lies[i].says)
                SAYS(lies[i].says);
        }
        zo2_packfile_close(p);
    }
    free(bad);
    free(good);
}

/* bf12 of 0.fc.weight: a row is 16 + 16 bytes, a head of 5, and 16 that are left off; the heads padded to 16. */
static void zeros_at_the_end_are_left_off(void **state)
{
    (void)state;
    enum { ROOM = 160, LEAST = 112 };
    static const unsigned char wire[ROOM] = {9, 8, 7, [LEAST - 16] = 6};
    static const uint64_t stored[] = {LEAST, LEAST + 16, ROOM, LEAST - 1, ROOM + 1};
    unsigned char *bits[] = {sample_bits(EMBED), sample_bits(FC)}, got[ROOM];
    for (int i = 0; i < 5; i++) {
        zo2_packwriter *w;
        zo2_packfile *p;
        zo2_packplace place;
        OK(zo2_packwriter_open(&w, &zo2_io_posix, path, "opt", 1));
        OK(pack_tensor(w, &sample_tensor[EMBED], bits[0], 0));
        OK(pack_tensor(w, &sample_tensor[FC], bits[1], 0));
        OK(zo2_packwriter_wire(w, ZO2_WIRE_BF12, FC));
        zo2_status s = zo2_packwriter_wire_chunk(w, wire, ROOM, stored[i], XXH3_64bits(wire, LEAST));
        assert_int_equal(s, i < 3 ? ZO2_OK : ZO2_ERR_ARG);
        if (!s && i == 0)
            OK(zo2_packwriter_commit(w, NULL));
        zo2_packwriter_close(w);
        if (i)
            continue;
        OK(zo2_packfile_open(&p, path));
        OK(zo2_packfile_verify(p, NULL, NULL, NULL));
        assert_true(zo2_packfile_is_narrow(p, FC, ZO2_WIRE_BF12) && !zo2_packfile_is_narrow(p, EMBED, ZO2_WIRE_BF12));
        assert_true(zo2_packfile_header(p)->wire_bytes == LEAST && zo2_packfile_header(p)->largest_chunk == ROOM);
        OK(zo2_packfile_wire_place(p, FC, ZO2_WIRE_BF12, 0, &place));
        assert_true(place.bytes == ROOM && place.stored_bytes == LEAST);
        memset(got, 0xA5, sizeof got);
        OK(zo2_packfile_read_place(p, FC, &place, got));
        assert_memory_equal(got, wire, ROOM);
        zo2_packfile_close(p);
    }
    free(bits[0]);
    free(bits[1]);
}

static void the_writer_refuses_what_no_reader_takes(void **state)
{
    (void)state;
    zo2_packwriter *w;
    unsigned char *bits = sample_bits(EMBED);
    for (int i = 0; i < 8; i++) {
        OK(zo2_packwriter_open(&w, &zo2_io_posix, path, "opt", 0));
        OK(pack_tensor(w, &sample_tensor[EMBED], bits, 0));
        switch (i) {
        case 0: FAILS(ARG, zo2_packwriter_wire(w, (zo2_wire)0, 0)); break;
        case 1: FAILS(ARG, zo2_packwriter_wire(w, ZO2_WIRE_BF16, 1)); break;
        case 2: FAILS(ARG, zo2_packwriter_wire_chunk(w, bf16, BF16_BYTES, BF16_BYTES, 0)); break;
        case 3:
            OK(zo2_packwriter_wire(w, ZO2_WIRE_BF16, 0));
            FAILS(ARG, zo2_packwriter_wire_chunk(w, bf16, BF16_BYTES - 16, BF16_BYTES - 16, 0));
            break;
        case 4:
            OK(put_wire(w, ZO2_WIRE_BF16, 0, bf16, BF16_BYTES));
            FAILS(ARG, zo2_packwriter_wire_chunk(w, bf16, BF16_BYTES, BF16_BYTES, 0));
            break;
        case 5:
            OK(zo2_packwriter_wire(w, ZO2_WIRE_BF16, 0));
            FAILS(ARG, zo2_packwriter_commit(w, NULL));
            SAYS("1 chunks of wire 1 of tensor embed.weight were not written");
            break;
        case 6:
            OK(put_wire(w, ZO2_WIRE_FP16, 0, bf16, BF16_BYTES));
            FAILS(ARG, zo2_packwriter_wire(w, ZO2_WIRE_BF16, 0)); /* before the one that is there */
            break;
        default:
            OK(put_wire(w, ZO2_WIRE_BF16, 0, bf16, BF16_BYTES));
            FAILS(ARG, zo2_packwriter_tensor(w, &sample_tensor[FC]));
            SAYS("tensors come before wires");
        }
        zo2_packwriter_close(w);
        assert_int_equal(count_files(dir, ""), 0);
    }
    free(bits);
}

/* With the files that it has already: the same bytes, or those of a pack without wires. */
static void a_copy_has_them_or_not(void **state)
{
    (void)state;
    size_t n[2], have;
    OK(sample_write(&zo2_io_posix, path, 1));
    unsigned char *want[2] = {file_load(path, &n[0])};
    want[1] = with_wires(&n[1]);
    for (int wires = 0; wires < 2; wires++)
        for (int clones = 0; clones < 2; clones++) {
            faulty_io f;
            zo2_packfile *from;
            zo2_packwriter *w;
            faulty_init(&f);
            f.clones = clones;
            file_store(path, want[1], n[1]);
            OK(zo2_packfile_open(&from, path));
            OK(zo2_packwriter_open(&w, &f.io, path, "opt", 1));
            OK(zo2_packwriter_file(w, "config.json", "{\"a\": 1}\n", 9));
            OK(zo2_packwriter_file(w, "empty.txt", "", 0));
            OK(zo2_packwriter_file(w, "vocab.json", "{}", 2));
            OK(zo2_packwriter_copy(w, from, wires, 0, NULL, NULL));
            OK(zo2_packwriter_commit(w, NULL));
            zo2_packwriter_close(w);
            zo2_packfile_close(from);
            unsigned char *got = file_load(path, &have);
            assert_int_equal(have, n[wires]);
            assert_memory_equal(got, want[wires], have);
            free(got);
            faulty_free(&f);
        }
    free(want[0]);
    free(want[1]);
}

static void a_failed_operation_leaves_the_old_pack(void **state)
{
    (void)state;
    size_t n, have;
    OK(sample_write(&zo2_io_posix, path, 1));
    unsigned char *was = file_load(path, &n);
    const int codes[] = {EIO, ENOSPC};
    for (int c = 0; c < 2; c++)
        for (uint64_t i = 0;; i++) {
            faulty_io f;
            faulty_init(&f);
            file_store(path, was, n);
            faulty_arm(&f, FAULTY_WRITES, i, FAULTY_TORN, codes[c], 0);
            zo2_status s = add_wires(&f.io);
            const uint64_t spoilt = f.spoilt;
            faulty_free(&f);
            unsigned char *is = file_load(path, &have);
            if (s) {
                assert_int_equal(s, c ? ZO2_ERR_NOSPACE : ZO2_ERR_IO);
                assert_int_equal(count_files(dir, ""), 1);
            }
            if (s && spoilt && have == n) /* a failed sync of the folder comes behind the rename */
                assert_memory_equal(is, was, n);
            else
                assert_true(have > n);
            free(is);
            if (!s)
                break;
        }
    free(was);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(the_bytes_are_the_specified_ones),
        T(what_was_written_is_found),
        T(a_flipped_byte_is_named),
        T(liars_are_refused),
        T(zeros_at_the_end_are_left_off),
        T(a_copy_has_them_or_not),
        T(a_failed_operation_leaves_the_old_pack),
        T(the_writer_refuses_what_no_reader_takes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
