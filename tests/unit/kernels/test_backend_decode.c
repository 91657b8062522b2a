/* test_backend_decode.c: decode and decode_rows of a backend, bit for bit against the definitions in update.h. */
#include "tests/unit/kernels/test_backend_util.h"

#include "codec/wires.h"

#define MAX_FOLDS 3

static const zo2_update folds[MAX_FOLDS] = {
    {.key = 11, .d = 1e-3f, .queries = 1, .c = {0.25f}},
    {.key = 12, .d = 2e-3f, .queries = 2, .c = {-0.5f, 0.125f}},
    {.key = 13, .d = 0.0f, .queries = 1, .c = {0.75f}},
};

static float noise(uint64_t key, uint32_t query, uint32_t tensor, uint64_t i, zo2_dist dist)
{
    float z;
    zo2_noise_values(&z, key, query, tensor, i, 1, dist);
    return z;
}

/* One element as update.h has it. */
static float folded(float w, uint64_t i, uint32_t tensor, int decays, zo2_dist dist, uint32_t first, uint32_t count)
{
    for (uint32_t f = first; f < count; f++) {
        float v = (decays ? folds[f].d : 0.0f) * w;
        for (uint32_t q = 0; q < folds[f].queries; q++)
            v = fmaf(folds[f].c[q], noise(folds[f].key, q, tensor, i, dist), v);
        w = w - v;
    }
    return w;
}

static float rounded(zo2_dtype type, float x)
{
    zo2_round_to(type, &x, 1);
    return x;
}

/* Weights of a wire some of whose codes are elsewhere: rows without those, with few of them, with more than have room. */
static void scatter_exponents(float *w, uint64_t rows, uint64_t cols)
{
    for (uint64_t r = 0; r < rows; r++)
        for (uint64_t j = 0; j < cols; j++) {
            int by = r % 3 == 1 ? (j % 97 == 5 ? -60 : 0) : r % 3 == 2 ? (int)(j * 37 % 200) - 150 : 0;
            w[r * cols + j] = ldexpf(w[r * cols + j], by);
        }
}

static void make_wire(zo2_wire wire, uint64_t rows, uint64_t cols, unsigned char *src, float *seen)
{
    const zo2_codec *codec = zo2_codec_get(wire);
    float *w = malloc(rows * cols * sizeof *w);
    void *rest = malloc(codec->rest_bytes(rows, cols) + 1);
    test_fill(w, rows * cols, 5, 2.0f, ZO2_F32);
    if (zo2_wire_shape_of(wire).shared == ZO2_SHARED_WINDOW)
        scatter_exponents(w, rows, cols);
    memset(src, 0, codec->wire_bytes(rows, cols));
    codec->split(w, rows, cols, 0, rows, src, rest);
    codec->decode(src, rows, cols, 0, rows, seen);
    free(w);
    free(rest);
}

/* What panels a decoding is asked for. */
typedef struct panel_set {
    uint32_t n;
    float eps[ZO2_MAX_PANELS];
} panel_set;

static const panel_set pair = {2, {1e-2f, -1e-2f}}, unperturbed = {1, {0}};
static const panel_set panel_sets[] = {
    {2, {1e-2f, -1e-2f}}, {1, {0}}, {1, {-1e-2f}}, {2, {0, 1e-2f}}, {2, {1e-2f, 0}}, {2, {1e-2f, 3e-2f}}, {2, {0, 0}},
};
#define PANEL_SETS (sizeof panel_sets / sizeof *panel_sets)

static float perturbed_by(float eps, float z, float w)
{
    return eps == 0 ? w : fmaf(eps, z, w);
}

/* Rows of a panel `gap` elements apart. */
static void check_decode(uint64_t rows, uint64_t cols, uint64_t gap, zo2_wire wire, zo2_dtype type, zo2_dist dist,
                         uint32_t n_folds, const panel_set *set, uint32_t threads)
{
    test_device t;
    test_open(&t, TEST_BACKEND, 1 << 20, threads);
    uint64_t ld = cols + gap, first_row = 7;
    uint64_t bytes = zo2_codec_get(wire)->wire_bytes(rows, cols);
    void *src = test_take(&t, bytes);
    float *panel[ZO2_MAX_PANELS] = {test_floats(&t, rows * ld), test_floats(&t, rows * ld)},
          *seen = malloc(rows * cols * sizeof *seen);
    make_wire(wire, rows, cols, src, seen);
    const zo2_codec *codec = zo2_codec_get(wire);
    zo2_decode_op op = {.wire = wire,
                        .src = src,
                        .src_bytes = codec->sent_bytes ? codec->sent_bytes(src, rows, cols) : bytes,
                        .rows = rows,
                        .cols = cols,
                        .first_row = first_row,
                        .tensor_id = 3,
                        .decays = 1,
                        .dist = dist,
                        .fold = folds,
                        .folds = n_folds,
                        .key = 99,
                        .query = 1,
                        .panels = set->n,
                        .eps = {set->eps[0], set->eps[1]},
                        .panel = {panel[0], set->n > 1 ? panel[1] : NULL},
                        .ld = ld,
                        .type = type};
    TEST_OK(t.ops->decode(t.b, &op));
    op.src_bytes = codec->sent_bytes ? 0 : bytes - 1; /* less than its shape needs, more than its room */
    TEST_REFUSED(t.ops->decode(t.b, &op), ZO2_ERR_DEVICE, "bytes were sent of a wire");
    op.src_bytes = bytes + 1;
    TEST_REFUSED(t.ops->decode(t.b, &op), ZO2_ERR_DEVICE, "bytes were sent of a wire");
    for (uint32_t p = 0; p < ZO2_MAX_PANELS; p++)
        for (uint64_t r = 0; r < rows; r++) {
            for (uint64_t j = 0; j < cols; j++) {
                uint64_t i = (first_row + r) * cols + j;
                float w = folded(seen[r * cols + j], i, 3, 1, dist, 0, n_folds), z = noise(99, 1, 3, i, dist);
                float want = rounded(type, perturbed_by(set->eps[p], z, w));
                if (p < set->n)
                    assert_memory_equal(&panel[p][r * ld + j], &want, sizeof want);
                else
                    assert_true(test_is_poison(&panel[p][r * ld + j]));
            }
            for (uint64_t j = cols; j < ld; j++)
                assert_true(test_is_poison(&panel[p][r * ld + j]));
        }
    free(seen);
    test_close(&t);
}

#define WIRE(wire, ...) wire,
static const zo2_wire wires[] = {ZO2_WIRE_MAP(WIRE)};
#define WIRES (sizeof wires / sizeof *wires)

static void test_decode(void **state)
{
    (void)state;
    static const uint64_t shapes[][2] = {{1, 1}, {3, 17}, {2, 128}, {5, 129}, {200, 96}};
    for (unsigned s = 0; s < 5; s++)
        for (unsigned w = 0; w < WIRES; w++) {
            zo2_dtype type = test_types[(s + w) % 3];
            uint32_t threads = test_thread_counts[(s + w) % TEST_THREAD_COUNTS];
            check_decode(shapes[s][0], shapes[s][1], 5, wires[w], type, ZO2_GAUSSIAN, (s + w) % 4, &pair, threads);
            check_decode(shapes[s][0], shapes[s][1], 5, wires[w], type, ZO2_RADEMACHER, s % 3, &pair, threads);
            check_decode(shapes[s][0], shapes[s][1], 5, wires[w], type, ZO2_GAUSSIAN, w % 4, &unperturbed, threads);
            check_decode(shapes[s][0], shapes[s][1], 5, wires[w], type, ZO2_RADEMACHER, w % 2,
                         &panel_sets[(3 * s + w) % PANEL_SETS], threads);
        }
}

/* Rows whose every 8 elements lie together at a multiple of 16 bytes, as those of matrices do: less than a warp's columns, a
 * warp's and some more, several warps'. */
static void test_decode_aligned(void **state)
{
    (void)state;
    static const uint64_t shapes[][2] = {{3, 8}, {5, 264}, {2, 512}, {3, 776}, {1, 1200}};
    unsigned n = 0;
    for (unsigned s = 0; s < 5; s++)
        for (unsigned w = 0; w < WIRES; w++)
            for (unsigned k = 0; k < 3; k++, n++) {
                uint64_t rows = shapes[s][0], cols = shapes[s][1], gap = 8 * (n % 2);
                zo2_dist dist = k % 2 ? ZO2_RADEMACHER : ZO2_GAUSSIAN;
                const panel_set *set = k == 2 ? &panel_sets[n % PANEL_SETS] : &pair;
                uint32_t threads = test_thread_counts[n % TEST_THREAD_COUNTS];
                check_decode(rows, cols, gap, wires[w], test_types[(s + k) % 3], dist, k == 2 ? s % 3 : 0, set,
                             threads);
            }
}

/* Weights from subnormal to infinite in the compute type, and one that is not a number: it stays none, with whatever sign and
 * payload. */
static void check_extremes(zo2_wire wire, zo2_dtype type)
{
    enum { ROWS = 40, COLS = 128 };
    test_device t;
    test_open(&t, TEST_BACKEND, 1 << 20, 1);
    const zo2_codec *codec = zo2_codec_get(wire);
    uint64_t bytes = codec->wire_bytes(ROWS, COLS);
    void *src = test_take(&t, bytes), *rest = malloc(codec->rest_bytes(ROWS, COLS) + 1);
    float *panel = test_floats(&t, ROWS * COLS), *w = malloc(ROWS * COLS * sizeof *w);
    test_fill(w, ROWS * COLS, 9, 1.0f, ZO2_F32);
    for (int i = 0; i < ROWS * COLS; i++)
        w[i] = ldexpf(w[i], i / COLS - 24); /* rows: 2^-24 to 2^15 */
    w[0] = 3.0e38f;
    w[COLS] = -65519.99f;
    w[COLS + 1] = 65520.0f;
    w[2 * COLS] = NAN;
    memset(src, 0, bytes);
    codec->split(w, ROWS, COLS, 0, ROWS, src, rest);
    codec->decode(src, ROWS, COLS, 0, ROWS, w);
    zo2_decode_op op = {.wire = wire,
                        .src = src,
                        .src_bytes = bytes,
                        .rows = ROWS,
                        .cols = COLS,
                        .dist = ZO2_GAUSSIAN,
                        .panels = 1,
                        .panel = {panel},
                        .ld = COLS,
                        .type = type};
    TEST_OK(t.ops->decode(t.b, &op));
    for (int i = 0; i < ROWS * COLS; i++) {
        float want = rounded(type, w[i]);
        if (isnan(want))
            assert_true(isnan(panel[i]));
        else
            assert_memory_equal(&panel[i], &want, sizeof want);
    }
    /* the e2mM wires refuse 3e38: its group is NaN */
    assert_true(isnan(panel[2 * COLS]) && (wire == ZO2_WIRE_FP16 || type != ZO2_F16 || !isfinite(panel[0])));
    free(w);
    free(rest);
    test_close(&t);
}

static void test_extremes(void **state)
{
    (void)state;
    for (unsigned w = 0; w < WIRES; w++)
        for (unsigned k = 0; k < 3; k++)
            check_extremes(wires[w], test_types[k]);
}

static void check_rows(zo2_dtype type, int accumulate, const panel_set *set, uint32_t threads)
{
    enum { ROWS = 300, COLS = 65, LD = 65 };
    test_device t;
    test_open(&t, TEST_BACKEND, 1 << 20, threads);
    uint64_t bytes = zo2_codec_get(ZO2_WIRE_BF16)->wire_bytes(ROWS, COLS);
    void *src = test_take(&t, bytes);
    zo2_row_ref *refs = test_take(&t, ROWS * sizeof *refs);
    float *panel[ZO2_MAX_PANELS] = {test_floats(&t, ROWS * LD), test_floats(&t, ROWS * LD)}, *before[ZO2_MAX_PANELS],
          *seen = malloc(ROWS * COLS * sizeof *seen);
    make_wire(ZO2_WIRE_BF16, ROWS, COLS, src, seen);
    for (uint32_t r = 0; r < ROWS; r++)
        refs[r] = (zo2_row_ref){.row = r * 7919ull % 1000, .folds_done = r % (MAX_FOLDS + 2)};
    for (uint32_t p = 0; p < ZO2_MAX_PANELS; p++) {
        if (accumulate)
            test_fill(panel[p], ROWS * LD, 1 + p, 1.0f, ZO2_F32);
        before[p] = malloc(ROWS * LD * sizeof *before[p]);
        memcpy(before[p], panel[p], ROWS * LD * sizeof *before[p]);
    }
    zo2_decode_rows_op op = {.wire = ZO2_WIRE_BF16,
                             .src = src,
                             .src_bytes = bytes,
                             .refs = refs,
                             .rows = ROWS,
                             .cols = COLS,
                             .tensor_id = 4,
                             .decays = 0,
                             .dist = ZO2_GAUSSIAN,
                             .fold = folds,
                             .folds = MAX_FOLDS,
                             .key = 5,
                             .query = 2,
                             .panels = set->n,
                             .eps = {set->eps[0], set->eps[1]},
                             .panel = {panel[0], set->n > 1 ? panel[1] : NULL},
                             .ld = LD,
                             .type = type,
                             .accumulate = accumulate};
    TEST_OK(t.ops->decode_rows(t.b, &op));
    op.src_bytes = 0;
    TEST_REFUSED(t.ops->decode_rows(t.b, &op), ZO2_ERR_DEVICE, "decode_rows: 0 bytes were sent of a wire");
    for (uint32_t p = 0; p < ZO2_MAX_PANELS; p++)
        for (uint64_t r = 0; r < ROWS; r++)
            for (uint64_t j = 0; j < COLS; j++) {
                uint64_t i = refs[r].row * COLS + j, at = r * LD + j;
                float w = folded(seen[r * COLS + j], i, 4, 0, ZO2_GAUSSIAN, refs[r].folds_done, MAX_FOLDS);
                float z = noise(5, 2, 4, i, ZO2_GAUSSIAN), want = rounded(type, perturbed_by(set->eps[p], z, w));
                if (accumulate)
                    want = before[p][at] + want;
                assert_memory_equal(&panel[p][at], p < set->n ? &want : &before[p][at], sizeof want);
            }
    if (type == ZO2_F16) {
        op.accumulate = 1;
        TEST_REFUSED(t.ops->decode_rows(t.b, &op), ZO2_ERR_DEVICE, "decode_rows");
    }
    free(seen);
    for (uint32_t p = 0; p < ZO2_MAX_PANELS; p++)
        free(before[p]);
    test_close(&t);
}

static void test_decode_rows(void **state)
{
    (void)state;
    for (unsigned i = 0; i < TEST_THREAD_COUNTS; i++) {
        check_rows(test_types[i % 3], 0, &pair, test_thread_counts[i]);
        check_rows(ZO2_F32, 1, &pair, test_thread_counts[i]);
        check_rows(ZO2_F32, (int)i % 2, &unperturbed, test_thread_counts[i]);
        check_rows(ZO2_F32, (int)i % 2, &panel_sets[(i + 2) % PANEL_SETS], test_thread_counts[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_decode),
        cmocka_unit_test(test_decode_aligned),
        cmocka_unit_test(test_extremes),
        cmocka_unit_test(test_decode_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
