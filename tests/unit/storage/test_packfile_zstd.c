/* test_packfile_zstd.c: compressed chunks: what they hold by the specification, when they are used, round trips, and
 * frames that are damaged or lie. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "storage/pack/packfile_format.h"
#include "storage/pack/packfile_zstd.h"
#include "tests/unit/storage/packfile_testing.h"

#include <fcntl.h>
#include <xxhash.h>
#include <zstd.h>

#define ONE_FILE "m.zo2"
#include "tests/unit/storage/one_file_testing.h"

/* Bits as weights have them: the most significant byte takes few values, the others all. */
static unsigned char *weights(uint64_t seed, size_t n, size_t size)
{
    unsigned char *bits = sample_bytes(seed, n);
    for (size_t i = size - 1; i < n; i += size)
        bits[i] = (unsigned char)(0x3C ^ (bits[i] & 0x83));
    return bits;
}

static void write_one(const zo2_packtensor *t, const unsigned char *bits, int level)
{
    zo2_packwriter *w;
    OK(zo2_packwriter_open(&w, &zo2_io_posix, path, "x", 1));
    OK(pack_tensor(w, t, bits, level));
    OK(zo2_packwriter_commit(w, NULL));
    zo2_packwriter_close(w);
}

static const zo2_pack_chunk_record *chunk(const unsigned char *file, size_t i)
{
    const zo2_pack_superblock *b = (const void *)file;
    return (const zo2_pack_chunk_record *)(const void *)(file + b->table[ZO2_PACK_CHUNKS].offset) + i;
}

static uint64_t features(const unsigned char *file)
{
    uint64_t bits;
    memcpy(&bits, file + 16, sizeof bits);
    return bits;
}

static void planes_begin_with_the_most_significant_bytes(void **state)
{
    (void)state;
    char out[8], back[8];
    zo2_pack_split_planes("aAbBcCdD", 8, 2, out);
    assert_memory_equal(out, "ABCDabcd", 8);
    zo2_pack_merge_planes(out, 8, 2, back);
    assert_memory_equal(back, "aAbBcCdD", 8);
    zo2_pack_split_planes("abcdABCD", 8, 4, out);
    assert_memory_equal(out, "dDcCbBaA", 8);
    zo2_pack_merge_planes(out, 8, 4, back);
    assert_memory_equal(back, "abcdABCD", 8);
}

/* The file's own bytes, taken chunk by chunk by somebody else than the reader, in whole pages. */
static void check_places(const zo2_packfile *p, const zo2_packtensor *t, const unsigned char *bits)
{
    size_t m, n = tensor_bytes(t), row_bytes = n / t->rows;
    unsigned char *file = file_load(path, &m), *data = malloc(n + 4096), *scratch = malloc(n);
    uint64_t row = 0;
    for (zo2_packplace c; row < t->rows; row += c.rows) {
        OK(zo2_packfile_place(p, 0, row, &c));
        assert_int_equal(c.row, row);
        assert_int_equal(c.offset % 4096, 0);
        assert_int_equal(c.bytes, c.rows * row_bytes);
        const size_t pages = (c.stored_bytes + 4095) / 4096 * 4096;
        assert_true(c.stored_bytes <= c.bytes && c.offset + pages <= m);
        memcpy(data, file + c.offset, pages);
        OK(zo2_packfile_restore(p, 0, c.chunk, data, c.compressed ? scratch : NULL));
        assert_memory_equal(data, bits + row * row_bytes, c.bytes);
        zo2_packplace same;
        OK(zo2_packfile_place(p, 0, row + c.rows - 1, &same));
        assert_true(same.chunk == c.chunk && same.row == row && same.offset == c.offset);
        memcpy(data, file + c.offset, pages);
        data[c.stored_bytes / 2] ^= 1;
        FAILS(FORMAT, zo2_packfile_restore(p, 0, c.chunk, data, scratch));
        SAYS("wrong checksum");
    }
    assert_int_equal(row, t->rows);
    zo2_packplace none;
    FAILS(ARG, zo2_packfile_place(p, 0, t->rows, &none));
    FAILS(ARG, zo2_packfile_place(p, 1, 0, &none));
    free(scratch);
    free(data);
    free(file);
}

static void matrices_come_back(void **state)
{
    (void)state;
    static const struct {
        zo2_dtype dtype;
        uint64_t rows, cols;
    } cases[] = {
        {ZO2_F16, 5000, 1000},
        {ZO2_BF16, 5000, 1001},
        {ZO2_F32, 3, (5 << 20) / 4}, /* a row is larger than a chunk's target */
        {ZO2_F32, 2, 4000},
    };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        const zo2_packtensor t = {
            .name = "w", .dtype = cases[k].dtype, .rank = 2, .rows = cases[k].rows, .cols = cases[k].cols};
        size_t n = tensor_bytes(&t), row = n / t.rows, size = t.dtype == ZO2_F32 ? 4 : 2, m;
        unsigned char *bits = weights(k, n, size), *got = malloc(n);
        zo2_packfile *p;
        write_one(&t, bits, 0);
        OK(zo2_packfile_open(&p, path));
        const uint64_t model = zo2_packfile_header(p)->model_hash;
        assert_false(zo2_packfile_header(p)->compressed);
        check_places(p, &t, bits);
        zo2_packfile_close(p);
        write_one(&t, bits, 1);
        OK(zo2_packfile_open(&p, path));
        const zo2_packheader *h = zo2_packfile_header(p);
        assert_true(h->model_hash == model);
        assert_true(h->compressed);
        assert_int_equal(h->source_bytes, n);
        assert_true(h->stored_bytes < n * (size == 2 ? 7 : 9) / (size == 2 ? 8 : 10));
        OK(zo2_packfile_verify(p, NULL, NULL, NULL));
        check_places(p, &t, bits);
        uint64_t c = zo2_packfile_chunk_rows(p, 0), edges[] = {0, 1, c, t.rows - 1, t.rows};
        for (size_t i = 0; i < 5; i++)
            for (size_t j = i; j < 5; j++) {
                if (edges[i] > edges[j])
                    continue;
                memset(got, 0xEE, n);
                OK(zo2_packfile_read_rows(p, 0, edges[i], edges[j] - edges[i], got));
                assert_memory_equal(got, bits + edges[i] * row, (edges[j] - edges[i]) * row);
            }
        zo2_packfile_close(p);
        unsigned char *file = file_load(path, &m);
        assert_int_equal(features(file), 1);
        free(file);
        free(bits);
        free(got);
    }
}

/* Decoded here from the text of PACK.md, without the reader. */
static void a_chunk_is_what_the_specification_says(void **state)
{
    (void)state;
    const zo2_packtensor t = {.name = "w", .dtype = ZO2_F32, .rank = 2, .rows = 100, .cols = 100};
    size_t n = tensor_bytes(&t), m;
    unsigned char *bits = weights(3, n, 4), *planes = malloc(n);
    write_one(&t, bits, 3);
    unsigned char *file = file_load(path, &m);
    const zo2_pack_chunk_record *c = chunk(file, 0);
    assert_int_equal(c->encoding, 1);
    assert_int_equal(c->offset, 4096);
    assert_int_equal(c->decoded_bytes, n);
    assert_true(c->stored_bytes <= n - 4096);
    assert_true(c->stored_hash == XXH3_64bits(file + 4096, c->stored_bytes));
    assert_true(c->decoded_hash == XXH3_64bits(bits, n));
    for (size_t k = 0, at = 4096; k < 4; k++) {
        size_t frame = ZSTD_findFrameCompressedSize(file + at, 4096 + c->stored_bytes - at);
        assert_int_equal(ZSTD_decompress(planes + k * n / 4, n / 4, file + at, frame), n / 4);
        at += frame;
        assert_true(k < 3 || at == 4096 + c->stored_bytes);
    }
    for (size_t i = 0; i < n / 4; i++)
        for (size_t k = 0; k < 4; k++)
            assert_int_equal(planes[k * n / 4 + i], bits[4 * i + 3 - k]);
    free(file);
    free(bits);
    free(planes);
}

/* What doesn't save a page of the file is stored as it is; then the pack is the uncompressed one, byte for byte. */
static void chunks_that_do_not_shrink_are_stored_as_they_are(void **state)
{
    (void)state;
    const zo2_packtensor small = {.name = "v", .dtype = ZO2_F16, .rank = 1, .rows = 1, .cols = 2048};
    const zo2_packtensor random = {.name = "w", .dtype = ZO2_F16, .rank = 2, .rows = 300, .cols = 1000};
    for (int k = 0; k < 2; k++) {
        const zo2_packtensor *t = k ? &random : &small;
        size_t n = tensor_bytes(t), a, b;
        unsigned char *bits = k ? sample_bytes(1, n) : calloc(1, n);
        write_one(t, bits, 0);
        unsigned char *raw = file_load(path, &a);
        write_one(t, bits, 19);
        unsigned char *file = file_load(path, &b);
        assert_int_equal(a, b);
        assert_memory_equal(raw, file, a);
        assert_int_equal(features(file), 0);
        free(raw);
        free(file);
        free(bits);
    }
}

/* ---- damage and lies --------------------------------------------------------------------------------------------- */

/* Frames in any form, of a chunk of n bytes of 16-bit values: 1 if the decoder takes them, else *says is what it said.
 */
static int decodes(const void *frames, size_t bytes, size_t n, const char **says)
{
    unsigned char *planes = malloc(n + 1), *dst = malloc(n + 1);
    memset(planes, 0xEE, n + 1);
    memset(dst, 0xEE, n + 1);
    OK(zo2_pack_zstd_decode(frames, bytes, 2, planes, dst, n, says));
    assert_int_equal(planes[n], 0xEE);
    assert_int_equal(dst[n], 0xEE);
    for (size_t i = 0; i < n && *says; i++)
        assert_int_equal(dst[i], 0xEE); /* as it was */
    free(planes);
    free(dst);
    return !*says;
}

static void frames_of_another_form_are_refused(void **state)
{
    (void)state;
    enum { N = 6000, CAP = 70000 };
    unsigned char *bits = weights(9, N, 2), *planes = malloc(N), *f = calloc(1, CAP), *g = calloc(1, CAP);
    const char *says;
    ZSTD_CCtx *c = ZSTD_createCCtx();
    zo2_pack_split_planes(bits, N, 2, planes);
    size_t first = ZSTD_compress2(c, f, CAP, planes, N / 2);
    size_t n = first + ZSTD_compress2(c, f + first, CAP - first, planes + N / 2, N / 2);
    assert_true(decodes(f, n, N, &says));
    assert_false(decodes(f, n, N + 2, &says)); /* of another chunk */
    assert_non_null(strstr(says, "of a byte plane's length"));
    assert_false(decodes(f, n, 2, &says));
    for (size_t k = 0; k < n; k++) /* cut anywhere */
        assert_false(decodes(f, k, N, &says));
    assert_false(decodes(f, n + 1, N, &says)); /* bytes behind it */
    assert_non_null(strstr(says, "doesn't end where"));
    size_t empty = ZSTD_compress2(c, f + n, CAP - n, bits, 0); /* an empty frame behind it, and between */
    assert_false(decodes(f, n + empty, N, &says));
    assert_non_null(strstr(says, "doesn't end where"));
    memcpy(g, f, first);
    memcpy(g + first, f + n, empty);
    memcpy(g + first + empty, f + first, n - first);
    assert_false(decodes(g, n + empty, N, &says));
    const uint32_t skippable[2] = {0x184D2A50, 3}; /* a frame that is to be skipped */
    memcpy(g, skippable, 8);
    memcpy(g + 11, f, n);
    assert_false(decodes(g, n + 11, N, &says));
    assert_non_null(strstr(says, "of a byte plane's length"));
    n = ZSTD_compress2(c, f, CAP, planes, N); /* one frame for both */
    assert_false(decodes(f, n, N, &says));
    ZSTD_CCtx_setParameter(c, ZSTD_c_contentSizeFlag, 0);
    n = ZSTD_compress2(c, f, CAP, planes, N / 2); /* frames that don't know their size */
    memcpy(f + n, f, n);
    assert_false(decodes(f, 2 * n, N, &says));
    ZSTD_freeCCtx(c);

    /* By hand: 1 GiB promised in a few bytes; and the right size, in a window of 2 GiB and blocks of one byte repeated. */
    const unsigned char bomb[] = {0x28, 0xB5, 0x2F, 0xFD, 0xA0, 0, 0, 0, 0x40, 0x03, 0, 0};
    assert_false(decodes(bomb, sizeof bomb, N, &says));
    const uint32_t rle = (N / 2) << 3 | 1 << 1 | 1;
    const unsigned char window[] = {0x28,         0xB5, 0x2F, 0xFD,      0x80,           21 << 3,   (N / 2) & 255,
                                    (N / 2) >> 8, 0,    0,    rle & 255, rle >> 8 & 255, rle >> 16, 'x'};
    memcpy(g, window, sizeof window);
    memcpy(g + sizeof window, window, sizeof window);
    assert_true(decodes(g, 2 * sizeof window, N, &says)); /* a legal frame, and no memory goes by the window */
    free(bits);
    free(planes);
    free(f);
    free(g);
}

/* In a pack, under right checksums of table and stored bytes: whatever the frame decodes to, it isn't taken for the
 * weights. */
static void flipped_frames_under_right_checksums_are_found(void **state)
{
    (void)state;
    const zo2_packtensor t = {.name = "the.weight", .dtype = ZO2_F16, .rank = 2, .rows = 40, .cols = 400};
    size_t n = tensor_bytes(&t), m;
    unsigned char *bits = weights(5, n, 2), *got = malloc(n);
    write_one(&t, bits, 1);
    unsigned char *good = file_load(path, &m), *bad = malloc(m);
    const size_t stored = chunk(good, 0)->stored_bytes,
                 table = ((const zo2_pack_superblock *)(void *)good)->table[ZO2_PACK_CHUNKS].offset;
    uint64_t seed = 17;
    int by_hash = 0;
    for (int round = 0; round < 1000; round++) {
        size_t at = round < 40 ? (size_t)round : mix(&seed) % stored;
        memcpy(bad, good, m);
        bad[4096 + at] ^= (unsigned char)(1 + mix(&seed) % 255);
        zo2_pack_superblock *b = (zo2_pack_superblock *)(void *)bad;
        zo2_pack_chunk_record *c = (zo2_pack_chunk_record *)(void *)(bad + table);
        c->stored_hash = XXH3_64bits(bad + 4096, stored);
        b->table[ZO2_PACK_CHUNKS].hash = XXH3_64bits(c, sizeof *c);
        b->hash = XXH3_64bits(bad, 4088);
        file_store(path, bad, m);
        zo2_packfile *p;
        OK(zo2_packfile_open(&p, path));
        zo2_status s = zo2_packfile_read_rows(p, 0, 0, t.rows, got);
        zo2_packfile_close(p);
        if (s == ZO2_OK) { /* zstd has a few bits that mean nothing */
            assert_memory_equal(got, bits, n);
            continue;
        }
        assert_int_equal(s, ZO2_ERR_FORMAT);
        SAYS("the.weight");
        SAYS("offset 4096");
        by_hash += strstr(zo2_last_error(), "what it decompresses to") != NULL;
    }
    assert_true(by_hash > 100); /* incompressible bytes are in the frame as they are: only the hash can tell */
    free(good);
    free(bad);
    free(bits);
    free(got);
}

/* Fields of the chunk table that the zstd encoding adds rules for. */
static void lying_records_are_refused(void **state)
{
    (void)state;
    const zo2_packtensor t = {.name = "w", .dtype = ZO2_F16, .rank = 2, .rows = 40, .cols = 400};
    size_t n = tensor_bytes(&t), m;
    unsigned char *bits = weights(5, n, 2);
    write_one(&t, bits, 1);
    unsigned char *good = file_load(path, &m), *bad = malloc(m);
    const size_t table = ((const zo2_pack_superblock *)(void *)good)->table[ZO2_PACK_CHUNKS].offset;
    const struct {
        size_t off;
        uint64_t value;
        size_t bytes;
        const char *says;
    } lies[] = {
        {16, 0, 8, "features don't say"},
        {16, 3, 8, "wire table"},
        {16, 9, 8, "feature 3"},
        {table + 8, 0, 8, "not smaller for it"},
        {table + 8, n, 8, "not smaller for it"},
        {table + 8, UINT64_MAX, 8, "not smaller for it"},
        {table + 8, n - 1, 8, ""}, /* the parts behind it are then elsewhere */
        {table + 16, n + 2, 8, "decoded length"},
        {table + 16, UINT64_C(1) << 50, 8, "decoded length"},
        {table + 24, 0, 4, "stored as is"},
        {table + 24, 2, 4, "encoding 2"},
        {table + 8, chunk(good, 0)->stored_bytes - 1, 8, "wrong checksum"}, /* found when it is read */
    };
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        zo2_packfile *p;
        zo2_pack_superblock *b = (zo2_pack_superblock *)(void *)bad;
        memcpy(bad, good, m);
        memcpy(bad + lies[i].off, &lies[i].value, lies[i].bytes);
        b->table[ZO2_PACK_CHUNKS].hash = XXH3_64bits(bad + table, 48);
        b->hash = XXH3_64bits(bad, 4088);
        file_store(path, bad, m);
        zo2_status s = zo2_packfile_open(&p, path);
        if (s == ZO2_OK)
            s = zo2_packfile_verify(p, NULL, NULL, NULL);
        zo2_packfile_close(p);
        assert_int_equal(s, ZO2_ERR_FORMAT);
        SAYS(path);
        SAYS(lies[i].says);
    }
    free(good);
    free(bad);
    free(bits);
}

/* Ready chunks: only the one that comes next is taken. */
static void chunks_out_of_place_are_refused(void **state)
{
    (void)state;
    const zo2_packtensor t = {.name = "w", .dtype = ZO2_F16, .rank = 2, .rows = 9, .cols = 1 << 18}; /* 8 rows and 1 */
    size_t full = 8 << 19, last = 1 << 19;
    unsigned char *bits = weights(5, full + last, 2), *scratch = malloc(2 * full);
    zo2_packchunk a, b;
    zo2_packwriter *w;
    OK(zo2_packchunk_make(&a, t.dtype, bits, full, 1, scratch));
    OK(zo2_packchunk_make(&b, t.dtype, bits + full, last, 0, NULL));
    OK(zo2_packwriter_open(&w, &zo2_io_posix, path, "x", 1));
    OK(zo2_packwriter_tensor(w, &t));
    OK(zo2_packwriter_chunk(w, &a));
    OK(zo2_packwriter_chunk(w, &b)); /* compressed and not: as each one came */
    OK(zo2_packwriter_commit(w, NULL));
    zo2_packwriter_close(w);
    zo2_packfile *p;
    unsigned char *got = malloc(full + last);
    OK(zo2_packfile_open(&p, path));
    OK(zo2_packfile_verify(p, NULL, NULL, NULL));
    OK(zo2_packfile_read_rows(p, 0, 0, 9, got));
    assert_memory_equal(got, bits, full + last);
    zo2_packfile_close(p);
    const zo2_packchunk none = {.source = bits, .stored = bits};
    const zo2_packchunk *const wrong[] = {&a, &b, &a, &b, &none}; /* without a tensor; instead of a, b; behind them */
    for (int i = 0; i < 5; i++) {
        OK(zo2_packwriter_open(&w, &zo2_io_posix, path, "x", 1));
        if (i > 0)
            OK(zo2_packwriter_tensor(w, &t));
        if (i > 1)
            OK(zo2_packwriter_chunk(w, &a));
        if (i > 2)
            OK(zo2_packwriter_chunk(w, &b));
        FAILS(ARG, zo2_packwriter_chunk(w, wrong[i]));
        SAYS("no place here");
        FAILS(ARG, zo2_packwriter_commit(w, NULL));
        zo2_packwriter_close(w);
    }
    free(bits);
    free(scratch);
    free(got);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(planes_begin_with_the_most_significant_bytes),
        T(matrices_come_back),
        T(a_chunk_is_what_the_specification_says),
        T(chunks_that_do_not_shrink_are_stored_as_they_are),
        T(frames_of_another_form_are_refused),
        T(flipped_frames_under_right_checksums_are_found),
        T(lying_records_are_refused),
        T(chunks_out_of_place_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
