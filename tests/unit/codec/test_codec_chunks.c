/* All wire codecs: layout, exact join, disjoint rows, row copies, what is representable. For every instruction set. */
#include "tests/unit/codec/codec_test.h"

#include <math.h>

#include "codec/wire_inline.h"

static const uint64_t all_cols[] = {1, 2, 7, 8, 9, 15, 16, 17, 127, 128, 129, 192, 255, 256, 257, 576, 1000};
static const uint64_t all_rows[] = {1, 2, 3, 8, 13};
enum { WIRES = TEST_WIRES };
#define COUNT(a) (sizeof(a) / sizeof(a)[0])

static uint64_t pad16(uint64_t x)
{
    return (x + 15) / 16 * 16;
}

/* The planes of a wire, from its row in wires.h: codes, further bits of them, scales or heads, bits behind heads. */
enum { PLANES = 4 };
typedef struct planes {
    uint64_t at[PLANES + 1]; /* where they begin, and the end */
    uint64_t stride[PLANES]; /* of a row, 0 for a plane that isn't there */
    uint64_t used[PLANES];   /* bytes of a row that aren't all padding */
} planes;

/* Heads of bf12: of 256 columns a byte, and two of each for escapes, which are one more. */
static uint64_t head_bytes(uint64_t cols)
{
    uint64_t windows = (cols + 255) / 256;
    return windows + 2 * (windows < 255 ? windows + 1 : 256);
}

static planes planes_of(const zo2_codec *k, uint64_t rows, uint64_t cols)
{
    zo2_wire_shape s = test_wires[k->id - 1].shape;
    planes p = {.used = {(cols * s.bits + 7) / 8, (cols * s.more + 7) / 8}};
    if (s.shared == ZO2_SHARED_SCALE)
        p.used[2] = 2 * ((cols + s.group - 1) / s.group);
    if (s.shared == ZO2_SHARED_WINDOW) {
        p.used[2] = head_bytes(cols);
        p.used[3] = p.used[1];
    }
    for (int i = 0; i < PLANES; i++) {
        p.stride[i] = i != 2 ? pad16(p.used[i]) : p.used[i];
        p.at[i + 1] = pad16(p.at[i] + rows * p.stride[i]);
        /* codes shorter than a byte lie 16 apart: of a stripe that isn't full no byte need be padding */
        p.used[i] = (i == 0 && s.bits < 8) || i == 1 || i == 3 ? p.stride[i] : p.used[i];
    }
    return p;
}

/* Which row byte b of the wire belongs to; the padding behind scales and heads is the last one's. */
static uint64_t row_of_byte(const planes *p, uint64_t rows, uint64_t b)
{
    int i = PLANES - 1;
    while (b < p->at[i] || !p->stride[i])
        i--;
    uint64_t row = (b - p->at[i]) / p->stride[i];
    return row < rows ? row : rows - 1;
}

static int is_scaled(const zo2_codec *k)
{
    return test_wires[k->id - 1].shape.shared == ZO2_SHARED_SCALE;
}

static void plane_sizes(void **state)
{
    (void)state;
    for (size_t c = 0; c < COUNT(all_cols); c++) {
        for (size_t r = 0; r < COUNT(all_rows); r++) {
            uint64_t rows = all_rows[r], cols = all_cols[c];
            const zo2_codec *k = zo2_codec_get(ZO2_WIRE_FP32);
            assert_int_equal(k->wire_bytes(rows, cols), rows * pad16(4 * cols));
            assert_int_equal(k->rest_bytes(rows, cols), 0);
            k = zo2_codec_get(ZO2_WIRE_BF16);
            assert_int_equal(k->wire_bytes(rows, cols), rows * pad16(2 * cols));
            assert_int_equal(k->rest_bytes(rows, cols), rows * pad16(2 * cols));
            k = zo2_codec_get(ZO2_WIRE_FP16);
            assert_int_equal(k->wire_bytes(rows, cols), rows * pad16(2 * cols));
            assert_int_equal(k->rest_bytes(rows, cols), rows * pad16(4 * cols));
            for (int fp8 = 0; fp8 < 2; fp8++) {
                k = zo2_codec_get(fp8 ? ZO2_WIRE_E4M3 : ZO2_WIRE_E5M2);
                assert_int_equal(k->wire_bytes(rows, cols),
                                 rows * pad16(cols) + pad16(rows * ((cols + 127) / 128) * 2));
                assert_int_equal(k->rest_bytes(rows, cols), rows * pad16(4 * cols));
            }
            uint64_t scales = pad16(rows * ((cols + 127) / 128) * 2), quarter = pad16((cols + 3) / 4);
            k = zo2_codec_get(ZO2_WIRE_F10);
            assert_int_equal(k->wire_bytes(rows, cols), rows * (pad16(cols) + quarter) + scales);
            k = zo2_codec_get(ZO2_WIRE_F8);
            assert_int_equal(k->wire_bytes(rows, cols), rows * pad16(cols) + scales);
            k = zo2_codec_get(ZO2_WIRE_F6);
            assert_int_equal(k->wire_bytes(rows, cols), rows * (pad16((cols + 1) / 2) + quarter) + scales);
            assert_int_equal(k->rest_bytes(rows, cols), rows * pad16(4 * cols));
            k = zo2_codec_get(ZO2_WIRE_I4);
            assert_int_equal(k->wire_bytes(rows, cols),
                             rows * pad16((cols + 1) / 2) + pad16(rows * ((cols + 31) / 32) * 2));
            assert_int_equal(k->rest_bytes(rows, cols), rows * pad16(4 * cols));
            k = zo2_codec_get(ZO2_WIRE_BF12);
            assert_int_equal(k->wire_bytes(rows, cols),
                             rows * (pad16(cols) + 2 * pad16((cols + 1) / 2)) + pad16(rows * head_bytes(cols)));
            assert_int_equal(k->rest_bytes(rows, cols), rows * pad16(2 * cols));
        }
    }
    /* opt-175b's widest matrix, without overflow or rounding */
    assert_true(zo2_codec_get(ZO2_WIRE_E4M3)->wire_bytes(49152, 12288) == 49152ull * 12288 + 49152ull * 96 * 2);
    assert_true(zo2_codec_get(ZO2_WIRE_BF16)->wire_bytes(1 << 20, 1 << 19) == 1ull << 40);
    assert_true(zo2_codec_get(ZO2_WIRE_F10)->wire_bytes(49152, 12288) == 49152ull * 12288 / 8 * 10 + 49152ull * 96 * 2);
    assert_true(zo2_codec_get(ZO2_WIRE_F6)->wire_bytes(49152, 12288) == 49152ull * 12288 / 8 * 6 + 49152ull * 96 * 2);
    assert_true(zo2_codec_get(ZO2_WIRE_I4)->wire_bytes(49152, 12288) == 49152ull * 12288 / 32 * 18);
    assert_true(zo2_codec_get(ZO2_WIRE_BF12)->wire_bytes(49152, 12288) ==
                49152ull * 12288 * 2 + 49152ull * (48 + 2 * 49));
}

static void table(void **state)
{
    (void)state;
    for (size_t i = 0; i < WIRES; i++) {
        const zo2_codec *k = zo2_codec_get(test_wires[i].wire);
        assert_non_null(k);
        assert_int_equal(k->id, test_wires[i].wire);
    }
    assert_null(zo2_codec_get((zo2_wire)0));
    assert_null(zo2_codec_get((zo2_wire)(WIRES + 1)));
    assert_null(zo2_codec_get((zo2_wire)-1));
}

/* A chunk stored as a whole. */
typedef struct chunk {
    uint64_t rows, cols;
    float *w;
    unsigned char *wire, *rest;
    uint64_t wire_bytes, rest_bytes;
} chunk;

static chunk make_chunk(const zo2_codec *k, uint64_t rows, uint64_t cols, uint64_t seed)
{
    chunk c = {rows, cols, NULL, NULL, NULL, k->wire_bytes(rows, cols), k->rest_bytes(rows, cols)};
    c.w = test_alloc(rows * cols * sizeof *c.w);
    c.wire = test_alloc(c.wire_bytes);
    c.rest = test_alloc(c.rest_bytes);
    for (uint64_t i = 0; i < rows * cols; i++)
        c.w[i] = test_weight_for(k, &seed);
    assert_true(zo2_codec_representable(k, c.w, rows * cols));
    k->split(c.w, rows, cols, 0, rows, c.wire, c.rest);
    return c;
}

static void free_chunk(chunk *c)
{
    free(c->w);
    free(c->wire);
    free(c->rest);
}

/* Whatever rows are asked for, and padding is zero. */
static void join_is_exact(void **state)
{
    (void)state;
    FOR_EACH_ISA(isa)
    {
        for (size_t i = 0; i < WIRES * COUNT(all_cols) * COUNT(all_rows); i++) {
            const zo2_codec *k = zo2_codec_get(test_wires[i % WIRES].wire);
            uint64_t cols = all_cols[i / WIRES % COUNT(all_cols)], rows = all_rows[i / WIRES / COUNT(all_cols)];
            chunk c = make_chunk(k, rows, cols, i + 1);
            for (uint64_t row = 0; row < rows; row += 1 + i % 3) {
                uint64_t n = 1 + i % (rows - row);
                float *got = test_alloc((n * cols + 8) * sizeof *got);
                k->join(c.wire, c.rest, rows, cols, row, n, got);
                assert_same_floats(got, c.w + row * cols, n * cols, zo2_wire_name(k->id));
                assert_poison(got + n * cols, 8 * sizeof *got);
                free(got);
            }
            planes p = planes_of(k, rows, cols);
            assert_int_equal(p.at[PLANES], c.wire_bytes);
            for (int j = 0; j < PLANES; j++) {
                for (uint64_t at = p.at[j]; at < p.at[j + 1]; at++)
                    if (at - p.at[j] >= rows * p.stride[j] || (at - p.at[j]) % p.stride[j] >= p.used[j])
                        assert_int_equal(c.wire[at], 0);
            }
            free_chunk(&c);
        }
    }
}

/* Chunks of many values are stored past the caches: the same bytes as row by row. */
static void large_chunks(void **state)
{
    (void)state;
    static const uint64_t widths[] = {4099, 8192}, rows = 20;
    FOR_EACH_ISA(isa)
    {
        for (size_t i = 0; i < 2 * WIRES; i++) {
            const zo2_codec *k = zo2_codec_get(test_wires[i / 2].wire);
            uint64_t cols = widths[i % 2];
            chunk c = make_chunk(k, rows, cols, i + 5);
            unsigned char *wire = test_alloc(c.wire_bytes), *rest = test_alloc(c.rest_bytes);
            for (uint64_t row = 0; row < rows; row++)
                k->split(c.w + row * cols, rows, cols, row, 1, wire, rest);
            assert_int_equal(memcmp(wire, c.wire, c.wire_bytes), 0);
            assert_int_equal(memcmp(rest, c.rest, c.rest_bytes), 0);
            free(wire);
            free(rest);
            free_chunk(&c);
        }
    }
}

/* What decode gives, from what the wire must hold. */
static void decode_is_close(void **state)
{
    (void)state;
    FOR_EACH_ISA(isa)
    {
        for (size_t i = 0; i < WIRES * COUNT(all_cols); i++) {
            const zo2_codec *k = zo2_codec_get(test_wires[i % WIRES].wire);
            uint64_t cols = all_cols[i / WIRES], rows = 5;
            chunk c = make_chunk(k, rows, cols, i + 99);
            float *got = test_alloc((3 * cols + 8) * sizeof *got);
            k->decode(c.wire, rows, cols, 1, 3, got);
            assert_poison(got + 3 * cols, 8 * sizeof *got);
            for (uint64_t r = 0; r < 3; r++) {
                for (uint64_t j = 0; j < cols; j++) {
                    const float *row = c.w + (r + 1) * cols;
                    double w = (double)row[j], d = (double)got[r * cols + j], amax = 0;
                    uint64_t group = is_scaled(k) ? test_wires[k->id - 1].shape.group : 1, first = j / group * group;
                    for (uint64_t g = first; g < cols && g < first + group; g++)
                        amax = fmax(amax, fabs((double)row[g]));
                    /* half a step: of the value, or of the wire's smallest ones. bf16: an ulp at most, 2^-8; others: at most
                     * (1 + 2^-7) amax / max, the scale, times half the smallest code */
                    double max = k->id == ZO2_WIRE_E4M3 ? 448 : k->id == ZO2_WIRE_E5M2 ? 57344 : 1.875;
                    double scale = fmax(amax / max * (1 + 0x1p-7), 0x1p-126);
                    double bound = 0;
                    switch (k->id) {
                    case ZO2_WIRE_FP32: break;
                    case ZO2_WIRE_BF12:
                    case ZO2_WIRE_BF16: bound = fmax(fabs(w) * 0x1p-8, 0x1p-134); break;
                    case ZO2_WIRE_FP16: bound = fmax(fabs(w) * 0x1p-11, 0x1p-25); break;
                    case ZO2_WIRE_E4M3: bound = fmax(fabs(w) * 0x1.0001p-4, scale * 0x1.0001p-10); break;
                    case ZO2_WIRE_E5M2: bound = fmax(fabs(w) * 0x1.0001p-3, scale * 0x1.0001p-17); break;
                    case ZO2_WIRE_F10: bound = fmax(fabs(w) * 0x1.0001p-8, scale * 0x1.0001p-10); break;
                    case ZO2_WIRE_F8: bound = fmax(fabs(w) * 0x1.0001p-6, scale * 0x1.0001p-8); break;
                    /* beyond the grid's end: 141 less 102, of amax where that is 141; its middle: 13 */
                    case ZO2_WIRE_I4: bound = fmax(amax * 39 / 141, 0x1p-120 * 13); break;
                    case ZO2_WIRE_F6: bound = fmax(fabs(w) * 0x1.0001p-4, scale * 0x1.0001p-6); break;
                    }
                    assert_true(fabs(d - w) <= bound);
                    /* of zeros too, where there are two */
                    assert_true(!signbit(d) == !signbit(w) || (k->id == ZO2_WIRE_I4 && d == 0));
                }
            }
            free(got);
            free_chunk(&c);
        }
    }
}

/* Rows stored in pieces, in any order and over any ISA, give the chunk stored whole; no other byte is touched. */
static void rows_are_disjoint(void **state)
{
    (void)state;
    for (size_t i = 0; i < WIRES * COUNT(all_cols); i++) {
        const zo2_codec *k = zo2_codec_get(test_wires[i % WIRES].wire);
        uint64_t cols = all_cols[i / WIRES], rows = 13, rng = i + 1;
        chunk c = make_chunk(k, rows, cols, i + 7);
        unsigned char *wire = test_alloc(c.wire_bytes), *rest = test_alloc(c.rest_bytes);
        unsigned char *before_wire = test_alloc(c.wire_bytes), *before_rest = test_alloc(c.rest_bytes);
        static const uint64_t pieces[][2] = {{5, 3}, {12, 1}, {0, 1}, {8, 4}, {3, 2}, {1, 2}, {4, 0}};
        uint64_t changed = 0;
        for (size_t p = 0; p < COUNT(pieces); p++) {
            zo2_simd_select(test_isa((int)(test_random(&rng) % 3)));
            uint64_t row = pieces[p][0], n = pieces[p][1];
            k->split(c.w + row * cols, rows, cols, row, n, wire, rest);
            /* every byte is as before or final */
            for (uint64_t b = 0; b < c.wire_bytes; b++) {
                assert_true(wire[b] == before_wire[b] || wire[b] == c.wire[b]);
                changed += wire[b] != before_wire[b];
            }
            for (uint64_t b = 0; b < c.rest_bytes; b++)
                assert_true(rest[b] == before_rest[b] || rest[b] == c.rest[b]);
            memcpy(before_wire, wire, c.wire_bytes);
            memcpy(before_rest, rest, c.rest_bytes);
        }
        assert_memory_equal(wire, c.wire, c.wire_bytes);
        if (c.rest_bytes > 0)
            assert_memory_equal(rest, c.rest, c.rest_bytes);
        assert_true(changed > 0 && changed <= c.wire_bytes);
        free(wire);
        free(rest);
        free(before_wire);
        free(before_rest);
        free_chunk(&c);
    }
    zo2_simd_select(NULL);
}

/* Bytes of rows that were not stored stay, seen with two different poisons (one could equal a final byte). */
static void other_rows_stay(void **state)
{
    (void)state;
    for (size_t i = 0; i < WIRES * COUNT(all_cols); i++) {
        const zo2_codec *k = zo2_codec_get(test_wires[i % WIRES].wire);
        uint64_t cols = all_cols[i / WIRES], rows = 4;
        chunk c = make_chunk(k, rows, cols, i + 31);
        unsigned char *wire = malloc(c.wire_bytes), *rest = malloc(c.rest_bytes + 1);
        assert_true(wire != NULL && rest != NULL);
        for (int poison = 0; poison < 256; poison += 85) {
            memset(wire, poison, c.wire_bytes);
            memset(rest, poison, c.rest_bytes + 1);
            k->split(c.w + cols, rows, cols, 1, 2, wire, rest); /* rows 1 and 2 of 0...3 */
            planes p = planes_of(k, rows, cols);
            for (uint64_t b = 0; b < c.wire_bytes; b++) {
                uint64_t row = row_of_byte(&p, rows, b);
                assert_int_equal(wire[b], row == 1 || row == 2 ? c.wire[b] : poison);
            }
            for (uint64_t b = 0; b < c.rest_bytes; b++) {
                uint64_t r = b / (c.rest_bytes / rows);
                assert_int_equal(rest[b], r == 1 || r == 2 ? c.rest[b] : poison);
            }
        }
        free(wire);
        free(rest);
        free_chunk(&c);
    }
}

/* Copying every row into a chunk of another height gives the chunk that split would have made. */
static void copied_rows(void **state)
{
    (void)state;
    for (size_t i = 0; i < WIRES * COUNT(all_cols); i++) {
        const zo2_codec *k = zo2_codec_get(test_wires[i % WIRES].wire);
        uint64_t cols = all_cols[i / WIRES], rows = 6, picked = 3;
        static const uint64_t pick[] = {5, 0, 3};
        chunk c = make_chunk(k, rows, cols, i + 57);
        uint64_t bytes = k->wire_bytes(picked, cols);
        float *w = test_alloc(picked * cols * sizeof *w);
        unsigned char *want = test_alloc(bytes), *got = test_alloc(bytes + 16);
        unsigned char *rest = test_alloc(k->rest_bytes(picked, cols));
        for (uint64_t r = 0; r < picked; r++) {
            memcpy(w + r * cols, c.w + pick[r] * cols, cols * sizeof *w);
            k->copy_row(c.wire, rows, pick[r], cols, got, picked, r);
        }
        k->split(w, picked, cols, 0, picked, want, rest);
        assert_memory_equal(got, want, bytes);
        assert_poison(got + bytes, 16);
        free(w);
        free(want);
        free(got);
        free(rest);
        free_chunk(&c);
    }
}

static void representable(void **state)
{
    (void)state;
    static const struct {
        uint32_t bits;
        int fp32, fp16, e2m, others;
    } cases[] = {
        {0, 1, 1, 1, 1},          {1, 1, 1, 1, 1},          {0x477FEFFF, 1, 1, 1, 1}, {0x477FF000, 1, 0, 1, 1},
        {0x78FFFFFF, 1, 0, 1, 1}, {0x79000000, 1, 0, 0, 1}, {0x7F7F7FFF, 1, 0, 0, 1}, {0x7F7F8000, 1, 0, 0, 0},
        {0x7F7FFFFF, 1, 0, 0, 0}, {0x7F800000, 0, 0, 0, 0}, {0x7F800001, 0, 0, 0, 0}, {0x7FC00000, 0, 0, 0, 0},
    };
    float w[70];
    FOR_EACH_ISA(isa)
    {
        for (size_t i = 0; i < COUNT(cases) * WIRES; i++) {
            const zo2_codec *k = zo2_codec_get(test_wires[i % WIRES].wire);
            int want = k->id == ZO2_WIRE_FP32   ? cases[i / WIRES].fp32
                       : k->id == ZO2_WIRE_FP16 ? cases[i / WIRES].fp16
                       : (k->id >= ZO2_WIRE_F10 && k->id <= ZO2_WIRE_F6) || k->id == ZO2_WIRE_I4
                           ? cases[i / WIRES].e2m
                           : cases[i / WIRES].others;
            for (uint32_t at = 0; at < 70; at++) {
                memset(w, 0, sizeof w);
                w[at] = test_float(cases[i / WIRES].bits | (at % 2 ? 0x80000000u : 0));
                assert_int_equal(zo2_codec_representable(k, w, 70), want);
                assert_int_equal(zo2_codec_representable(k, w, at), 1); /* before it */
            }
        }
    }
    /* what is representable decodes to something finite; the next value would not, for fp8 the one after that */
    for (int i = 0; i < WIRES; i++) {
        const zo2_codec *k = zo2_codec_get(test_wires[i].wire);
        float most = test_float(k->limit_bits - 1), over = test_float(k->limit_bits + (uint32_t)is_scaled(k)), got;
        uint32_t wire[16], rest[8];
        k->split(&most, 1, 1, 0, 1, wire, rest);
        k->decode(wire, 1, 1, 0, 1, &got);
        assert_true(isfinite(got));
        k->split(&over, 1, 1, 0, 1, wire, rest);
        k->decode(wire, 1, 1, 0, 1, &got);
        assert_false(isfinite(got));
    }
}

/* wire_inline.h is what a wire means. */
static void one_element(void **state)
{
    (void)state;
    FOR_EACH_ISA(isa)
    {
        for (size_t i = 0; i < WIRES * COUNT(all_cols); i++) {
            const zo2_codec *k = zo2_codec_get(test_wires[i % WIRES].wire);
            uint64_t cols = all_cols[i / WIRES], rows = 3;
            chunk c = make_chunk(k, rows, cols, i + 77);
            float *got = test_alloc(rows * cols * sizeof *got);
            k->decode(c.wire, rows, cols, 0, rows, got);
            for (uint64_t j = 0; j < rows * cols; j++)
                assert_int_equal(test_bits(zo2_wire_get(k->id, c.wire, rows, cols, j / cols, j % cols)),
                                 test_bits(got[j]));
            free(got);
            free_chunk(&c);
        }
    }
    float one = 1;
    assert_true(zo2_wire_get((zo2_wire)(WIRES + 1), &one, 1, 1, 0, 0) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plane_sizes),     cmocka_unit_test(table),           cmocka_unit_test(join_is_exact),
        cmocka_unit_test(large_chunks),    cmocka_unit_test(decode_is_close), cmocka_unit_test(rows_are_disjoint),
        cmocka_unit_test(other_rows_stay), cmocka_unit_test(copied_rows),     cmocka_unit_test(representable),
        cmocka_unit_test(one_element),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
