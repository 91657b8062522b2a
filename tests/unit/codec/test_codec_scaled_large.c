/* Chunks of wires with scales so large that split() writes past the caches: the bytes of the same rows stored as chunks of their own, which
 * are small, and no byte beside them. At addresses that allow it and at others. For every instruction set. */
#include "tests/unit/codec/codec_test.h"

#include <math.h>

#include "codec/plane_layout.h"

static const uint64_t all_cols[] = {64, 128, 192, 1000, 1024, 1088, 1152};   /* whole groups, whole lines, neither */
static const uint64_t offsets[][2] = {{0, 0}, {64, 1344}, {16, 0}, {0, 32}}; /* of the planes from multiples of 4,096 */
#define COUNT(a) (sizeof(a) / sizeof(a)[0])
enum { SLACK = 4096 };

typedef struct chunk {
    const zo2_codec *k;
    uint64_t rows, cols;
    unsigned char *memory[2], *wire, *rest; /* on poison */
} chunk;

static void chunk_open(chunk *c, const zo2_codec *k, uint64_t cols, const uint64_t offset[2])
{
    c->k = k;
    c->cols = cols;
    c->rows = ((1 << 20) + cols - 1) / cols;
    uint64_t bytes[2] = {k->wire_bytes(c->rows, cols), k->rest_bytes(c->rows, cols)};
    for (int i = 0; i < 2; i++) {
        c->memory[i] = aligned_alloc(4096, (bytes[i] + 2 * SLACK + 4095) / 4096 * 4096);
        assert_non_null(c->memory[i]);
        memset(c->memory[i], POISON, bytes[i] + 2 * SLACK);
    }
    c->wire = c->memory[0] + offset[0];
    c->rest = c->memory[1] + offset[1];
}

static void chunk_close(chunk *c)
{
    free(c->memory[0]);
    free(c->memory[1]);
}

/* Row `row` holds w[cols]; its bytes become poison again. */
static void assert_row(chunk *c, uint64_t row, const float *w)
{
    uint64_t cols = c->cols;
    zo2_wire_shape s = zo2_wire_shape_of(c->k->id);
    unsigned char *wire = test_alloc(c->k->wire_bytes(1, cols)), *rest = test_alloc(c->k->rest_bytes(1, cols));
    c->k->split(w, 1, cols, 0, 1, wire, rest);
    uint64_t bytes[4] = {zo2_code_stride(cols, s.bits), zo2_row_stride(cols, 4), zo2_shared_stride(s, cols),
                         zo2_code_stride(cols, s.more)};
    unsigned char *got[4] = {c->wire + row * bytes[0], c->rest + row * bytes[1],
                             c->wire + zo2_scales_at(s, c->rows, cols, row),
                             c->wire + zo2_more_at(s, c->rows, cols) + row * bytes[3]};
    const unsigned char *want[4] = {wire, rest, wire + bytes[0] + bytes[3], wire + bytes[0]};
    for (int i = 0; i < 4; i++) {
        assert_memory_equal(got[i], want[i], bytes[i]);
        memset(got[i], POISON, bytes[i]);
    }
    free(wire);
    free(rest);
}

static void store_and_compare(chunk *c, uint64_t row, uint64_t n, uint64_t *rng)
{
    float *w = test_alloc(n * c->cols * sizeof *w);
    for (uint64_t i = 0; i < n * c->cols; i++)
        w[i] = test_weight_for(c->k, rng);
    w[n * c->cols / 2] = INFINITY; /* undefined as a weight, but the same everywhere */
    w[n * c->cols / 3] = -NAN;
    c->k->split(w, c->rows, c->cols, row, n, c->wire, c->rest);
    for (uint64_t r = 0; r < n; r++)
        assert_row(c, row + r, w + r * c->cols);
    uint64_t end = zo2_scales_at(zo2_wire_shape_of(c->k->id), c->rows, c->cols, c->rows),
             all = c->k->wire_bytes(c->rows, c->cols);
    if (row + n == c->rows) { /* the padding behind the last scale is the last row's */
        for (uint64_t i = end; i < all; i++)
            assert_int_equal(c->wire[i], 0);
        memset(c->wire + end, POISON, all - end);
    }
    free(w);
}

/* As assert_poison, fast enough for megabytes. */
static void assert_all_poison(const unsigned char *p, uint64_t bytes)
{
    assert_int_equal(p[0], POISON);
    assert_int_equal(memcmp(p, p + 1, bytes - 1), 0);
}

static void same_bytes_as_small_chunks(void **state)
{
    (void)state;
    uint64_t rng = 11;
    for (int i = 0; i < TEST_WIRES; i++) {
        if (test_wires[i].shape.shared != ZO2_SHARED_SCALE)
            continue;
        const zo2_codec *k = zo2_codec_get(test_wires[i].wire);
        for (size_t s = 0; s < COUNT(all_cols) * COUNT(offsets); s++) {
            chunk c;
            chunk_open(&c, k, all_cols[s / COUNT(offsets)], offsets[s % COUNT(offsets)]);
            FOR_EACH_ISA(isa)
            {
                store_and_compare(&c, 0, 1, &rng);
                store_and_compare(&c, 3, 11, &rng);
                store_and_compare(&c, c.rows - 9, 9, &rng);
            }
            assert_all_poison(c.memory[0], k->wire_bytes(c.rows, c.cols) + 2 * SLACK);
            assert_all_poison(c.memory[1], k->rest_bytes(c.rows, c.cols) + 2 * SLACK);
            chunk_close(&c);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(same_bytes_as_small_chunks)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
