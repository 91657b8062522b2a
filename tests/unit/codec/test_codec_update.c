/* The fused pass (zo2_update_chunk): the bits of join, update and split, for every wire, instruction set, distribution,
 * shape, number of steps and queries; other rows and padding untouched; what can't be stored is reported. */
#include "tests/unit/codec/codec_test.h"

#include <math.h>

enum { ROWS = 5, MOST_COLS = 4500, MOST_UPDATES = 3 };

static const uint64_t widths[] = {1, 3, 8, 20, 31, 32, 33, 64, 127, 128, 129, 256, 768, 1000, 2048, 2080, MOST_COLS};
#define COUNT(a) (sizeof(a) / sizeof(a)[0])

static uint64_t rng = 4;

static zo2_update make_update(uint32_t queries)
{
    zo2_update u;
    memset(&u, 0, sizeof u);
    u.key = test_random(&rng);
    u.d = (float)((double)(test_random(&rng) >> 40) * 0x1p-44);
    u.queries = queries;
    for (uint32_t q = 0; q < queries; q++)
        u.c[q] = (float)((double)(int64_t)test_random(&rng) * 0x1p-63 * 1e-3);
    return u;
}

/* At `offset` bytes from a 64-byte boundary, poison behind it. */
typedef struct plane {
    unsigned char *memory, *at;
    uint64_t bytes;
} plane;

static plane make_plane(uint64_t bytes, uint64_t offset)
{
    plane p = {aligned_alloc(64, (bytes + offset + 127) / 64 * 64), NULL, bytes};
    assert_non_null(p.memory);
    memset(p.memory, POISON, (bytes + offset + 127) / 64 * 64);
    p.at = p.memory + offset;
    return p;
}

static void assert_guards(const plane *p, uint64_t offset)
{
    assert_poison(p->memory, offset);
    assert_poison(p->at + p->bytes, 64);
}

/* One chunk, rows [row, row + n) of it, on the instruction set in force. The planes at odd offsets: bf16's may have any
 * address, fp32 ones need that of a float. */
static void check(const zo2_codec *k, uint64_t cols, uint64_t row, uint64_t n, uint64_t first, const zo2_updates *a,
                  uint64_t offset)
{
    uint64_t wire_bytes = k->wire_bytes(ROWS, cols), rest_bytes = k->rest_bytes(ROWS, cols);
    uint64_t wire_offset = k->id == ZO2_WIRE_FP32 ? offset & ~3ull : offset;
    uint64_t rest_offset = k->id == ZO2_WIRE_BF16 ? offset + 1 : offset & ~3ull;
    plane wire = make_plane(wire_bytes, wire_offset), rest = make_plane(rest_bytes, rest_offset);
    plane want_wire = make_plane(wire_bytes, 0), want_rest = make_plane(rest_bytes, 0);
    float *w = test_alloc(ROWS * cols * sizeof *w);
    for (uint64_t i = 0; i < ROWS * cols; i++)
        w[i] = test_weight_for(k, &rng);
    k->split(w, ROWS, cols, 0, ROWS, wire.at, rest.at);
    memcpy(want_wire.at, wire.at, wire_bytes);
    memcpy(want_rest.at, rest.at, rest_bytes);

    k->join(want_wire.at, want_rest.at, ROWS, cols, row, n, w);
    zo2_update_apply(w, n * cols, first, a->tensor_id, a->dist, a->decays, a->u, a->count);
    k->split(w, ROWS, cols, row, n, want_wire.at, want_rest.at);

    assert_int_equal(zo2_update_chunk(k, wire.at, rest.at, ROWS, cols, row, n, first, a), 1);
    if (memcmp(wire.at, want_wire.at, wire_bytes) != 0 || memcmp(rest.at, want_rest.at, rest_bytes) != 0)
        fail_msg("%s, %s: %llu columns, rows %llu + %llu, first %llu, %u updates", zo2_simd_current(),
                 zo2_wire_name(k->id), (unsigned long long)cols, (unsigned long long)row, (unsigned long long)n,
                 (unsigned long long)first, a->count);
    assert_guards(&wire, wire_offset);
    assert_guards(&rest, rest_offset);
    free(wire.memory);
    free(rest.memory);
    free(want_wire.memory);
    free(want_rest.memory);
    free(w);
}

static void same_as_join_update_split(void **state)
{
    (void)state;
    zo2_update once[MOST_UPDATES] = {make_update(1), make_update(1), make_update(1)};
    zo2_update mixed[MOST_UPDATES] = {make_update(1), make_update(3), make_update(0)};
    zo2_update last[MOST_UPDATES] = {make_update(2), make_update(16), make_update(1)};
    const zo2_update *lists[] = {once, mixed, last};
    uint64_t trial = 0;
    FOR_EACH_ISA(isa)
    {
        int scalar = strcmp(isa, "scalar") == 0; /* slow: fewer of the same */
        for (size_t c = 0; c < COUNT(widths); c++) {
            for (size_t k = 0; k < TEST_WIRES; k++) {
                for (zo2_dist dist = ZO2_GAUSSIAN; dist <= ZO2_RADEMACHER; dist++) {
                    for (uint32_t count = 0; count <= MOST_UPDATES; count++, trial++) {
                        if (scalar && trial % 3 != 0)
                            continue;
                        zo2_updates a = {.tensor_id = 3,
                                         .dist = dist,
                                         .decays = trial % 2,
                                         .u = lists[trial % COUNT(lists)],
                                         .count = count};
                        uint64_t row = trial % ROWS, n = 1 + trial / ROWS % (ROWS - row);
                        uint64_t first = trial % 4 == 0 ? row * widths[c] : test_random(&rng) >> (20 + trial % 40);
                        check(zo2_codec_get(test_wires[k].wire), widths[c], row, n, first, &a, trial % 64);
                    }
                }
            }
        }
    }
}

/* A chunk in pieces of rows, on any instruction sets, is the chunk as a whole. */
static void rows_in_any_order(void **state)
{
    (void)state;
    enum { COLS = 700 };
    zo2_update u[2] = {make_update(1), make_update(2)};
    for (size_t k = 0; k < 2 * TEST_WIRES; k++) {
        const zo2_codec *codec = zo2_codec_get(test_wires[k / 2].wire);
        zo2_updates a = {.tensor_id = 9, .dist = k % 2 ? ZO2_GAUSSIAN : ZO2_RADEMACHER, .decays = 1, .u = u};
        a.count = 1 + k / 2 % 2;
        uint64_t wire_bytes = codec->wire_bytes(ROWS, COLS), rest_bytes = codec->rest_bytes(ROWS, COLS);
        plane wire = make_plane(wire_bytes, 0), rest = make_plane(rest_bytes, 0);
        plane whole_wire = make_plane(wire_bytes, 0), whole_rest = make_plane(rest_bytes, 0);
        float w[ROWS * COLS];
        for (uint64_t i = 0; i < ROWS * COLS; i++)
            w[i] = test_weight_for(codec, &rng);
        codec->split(w, ROWS, COLS, 0, ROWS, wire.at, rest.at);
        codec->split(w, ROWS, COLS, 0, ROWS, whole_wire.at, whole_rest.at);
        zo2_simd_select(NULL);
        assert_int_equal(zo2_update_chunk(codec, whole_wire.at, whole_rest.at, ROWS, COLS, 0, ROWS, 77, &a), 1);
        static const uint64_t pieces[][2] = {{3, 2}, {0, 1}, {1, 2}};
        for (size_t p = 0; p < COUNT(pieces); p++) {
            zo2_simd_select(test_isa((int)p)); /* where it isn't there the old one stays */
            uint64_t row = pieces[p][0];
            assert_int_equal(
                zo2_update_chunk(codec, wire.at, rest.at, ROWS, COLS, row, pieces[p][1], 77 + row * COLS, &a), 1);
        }
        assert_int_equal(memcmp(wire.at, whole_wire.at, wire_bytes), 0);
        assert_int_equal(memcmp(rest.at, whole_rest.at, rest_bytes), 0);
        free(wire.memory);
        free(rest.memory);
        free(whole_wire.memory);
        free(whole_rest.memory);
    }
    zo2_simd_select(NULL);
}

/* Wherever it is in the row, whatever comes before and after. */
static void unrepresentable_is_reported(void **state)
{
    (void)state;
    enum { COLS = 2100 };
    static const uint64_t places[] = {0, 1, 31, 32, 255, 256, 1000, 2047, 2048, 2098, 2099};
    static float w[COLS];
    static unsigned char wire[16 + 4 * COLS], rest[16 + 4 * COLS];
    FOR_EACH_ISA(isa)
    {
        for (size_t i = 0; i < TEST_WIRES * COUNT(places) * 4; i++) {
            const zo2_codec *k = zo2_codec_get(test_wires[i % TEST_WIRES].wire);
            zo2_update u[2] = {make_update(1), make_update(2)};
            zo2_updates a = {
                .dist = i / 2 % 2 ? ZO2_GAUSSIAN : ZO2_RADEMACHER, .decays = 1, .u = u, .count = 1 + i % 2};
            float limit = test_float(k->limit_bits - 1); /* the largest that can be stored */
            for (int over = 0; over < 2; over++) {
                for (uint64_t j = 0; j < COLS; j++)
                    w[j] = 0.02f;
                /* d = -1/8 pushes it over; d = 0 leaves it: c z is far below half an ulp */
                u[0].d = u[1].d = 0;
                u[a.count - 1].d = over ? -0.125f : 0;
                uint64_t at = places[i / 20 % COUNT(places)];
                w[at] = i % 3 ? limit : -limit;
                if (limit < 1e30f && !over) /* fp16's has an ulp of 2^-8: c z shows there */
                    u[0].c[0] = u[1].c[0] = u[1].c[1] = 1e-6f;
                assert_true(zo2_codec_representable(k, w, COLS));
                k->split(w, 1, COLS, 0, 1, wire, rest);
                assert_int_equal(zo2_update_chunk(k, wire, rest, 1, COLS, 0, 1, i * 7, &a), !over);
            }
        }
    }
}

/* A NaN or an infinity that comes out is reported too: c of any size is possible in a run that diverges. */
static void non_finite_is_reported(void **state)
{
    (void)state;
    float w[64];
    unsigned char wire[16 + 4 * 64], rest[16 + 4 * 64];
    static const float cs[] = {INFINITY, -INFINITY, NAN, 3e38f};
    FOR_EACH_ISA(isa)
    {
        for (size_t i = 0; i < TEST_WIRES * COUNT(cs) * 2; i++) {
            const zo2_codec *k = zo2_codec_get(test_wires[i % TEST_WIRES].wire);
            zo2_update u[2] = {{.key = i, .queries = 1, .c = {cs[i / TEST_WIRES % COUNT(cs)]}}};
            u[1] = u[0];
            zo2_updates a = {.dist = i % 2 ? ZO2_GAUSSIAN : ZO2_RADEMACHER, .u = u, .count = 2};
            for (int j = 0; j < 64; j++)
                w[j] = 3e4f;
            k->split(w, 1, 64, 0, 1, wire, rest);
            assert_int_equal(zo2_update_chunk(k, wire, rest, 1, 64, 0, 1, 0, &a), 0);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_as_join_update_split),
        cmocka_unit_test(rows_in_any_order),
        cmocka_unit_test(unrepresentable_is_reported),
        cmocka_unit_test(non_finite_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
