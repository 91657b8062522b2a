/* test_measure.c: zo2_measure_* but for storage: every kind runs and counts its work as documented, the work is the real one, process
 * state is left alone, nonsense is refused. No speed is asserted. */
#include "engine/measure/measure.h"

#include <fenv.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define ROWS      37u
#define COLS      200u
#define MANY_ROWS 4200u /* more than a tile ever has */

static zo2_measure_spec small(zo2_measure_kind kind)
{
    zo2_measure_spec spec;
    zo2_measure_spec_init(&spec);
    spec.kind = kind;
    spec.threads = 2;
    spec.bytes = 100000;
    spec.rows = ROWS;
    spec.cols = COLS;
    spec.tokens = 5;
    return spec;
}

static zo2_measure *opened(const zo2_measure_spec *spec, zo2_measure_info *info)
{
    zo2_measure *m = NULL;
    if (zo2_measure_open(&m, spec, info))
        fail_msg("kind %d, wire %d: %s", (int)spec->kind, (int)spec->wire, zo2_last_error());
    assert_non_null(m);
    return m;
}

static void run_passes(zo2_measure *m, uint64_t passes)
{
    double seconds = -1;
    assert_int_equal(zo2_measure_run(m, passes, &seconds), ZO2_OK);
    assert_true(isfinite(seconds) && seconds >= 0);
}

static void every_kind_runs(void **state)
{
    (void)state;
    for (int kind = ZO2_MEASURE_FILL; kind <= ZO2_MEASURE_ATTENTION; kind++) {
        for (int wire = 1; zo2_wire_name((zo2_wire)wire); wire++) {
            for (int dist = 1; zo2_dist_name((zo2_dist)dist); dist++) {
                zo2_measure_spec spec = small((zo2_measure_kind)kind);
                spec.wire = (zo2_wire)wire;
                spec.dist = (zo2_dist)dist;
                zo2_measure_info info = {0};
                zo2_measure *m = opened(&spec, &info);
                assert_int_equal(info.threads, 2);
                assert_string_equal(info.simd, zo2_simd_current());
                assert_true(info.items > 0);
                run_passes(m, 2);
                run_passes(m, 0);
                zo2_measure_close(m);
            }
        }
    }
    zo2_measure_close(NULL);
}

static zo2_measure_info info_of(const zo2_measure_spec *spec)
{
    zo2_measure_info info;
    zo2_measure_close(opened(spec, &info));
    return info;
}

static void check_counts(zo2_measure_kind kind, zo2_wire wire, double items, uint64_t read, uint64_t written)
{
    zo2_measure_spec spec = small(kind);
    spec.wire = wire;
    zo2_measure_info info = info_of(&spec);
    if (info.items != items || info.bytes_read != read || info.bytes_written != written)
        fail_msg("kind %d, wire %d: %.0f items, %llu bytes read, %llu written", (int)kind, (int)wire, info.items,
                 (unsigned long long)info.bytes_read, (unsigned long long)info.bytes_written);
}

static void work_is_counted(void **state)
{
    (void)state;
    const uint64_t n = (uint64_t)ROWS * COLS, part = 50176, bytes = 2 * part; /* 50,000 rounded up to 256 */
    check_counts(ZO2_MEASURE_FILL, 0, bytes, 0, bytes);
    check_counts(ZO2_MEASURE_SCAN, 0, bytes, bytes, 0);
    check_counts(ZO2_MEASURE_COPY, 0, 2 * bytes, bytes, bytes);
    check_counts(ZO2_MEASURE_REWRITE, 0, 2 * bytes, bytes, bytes);
    check_counts(ZO2_MEASURE_NOISE, 0, n, 0, 0);
    check_counts(ZO2_MEASURE_SPLIT, ZO2_WIRE_BF16, n, 4 * n, 4 * n); /* rows are multiples of 16 bytes here */
    check_counts(ZO2_MEASURE_JOIN, ZO2_WIRE_BF16, n, 4 * n, 4 * n);
    check_counts(ZO2_MEASURE_DECODE, ZO2_WIRE_BF16, n, 2 * n, 4 * n);
    check_counts(ZO2_MEASURE_UPDATE, ZO2_WIRE_BF16, n, 4 * n, 4 * n);
    const zo2_codec *fp8 = zo2_codec_get(ZO2_WIRE_E4M3);
    uint64_t wire = fp8->wire_bytes(ROWS, COLS), rest = fp8->rest_bytes(ROWS, COLS);
    check_counts(ZO2_MEASURE_JOIN, ZO2_WIRE_E4M3, n, rest, 4 * n); /* the rest plane has every bit */
    check_counts(ZO2_MEASURE_DECODE, ZO2_WIRE_E4M3, n, wire, 4 * n);
    check_counts(ZO2_MEASURE_UPDATE, ZO2_WIRE_E4M3, n, rest, wire + rest);
    check_counts(ZO2_MEASURE_UPLOAD, ZO2_WIRE_BF16, 2 * n, 2 * n, 0);
    check_counts(ZO2_MEASURE_BOUNCED, ZO2_WIRE_BF16, 2 * n, 2 * n, 2 * n);
    check_counts(ZO2_MEASURE_WHOLE, ZO2_WIRE_BF16, 2 * n, 2 * n, 0);
    check_counts(ZO2_MEASURE_DOWNLOAD, 0, 2 * 5 * COLS * 4, 0, 2 * 5 * COLS * 4);
    check_counts(ZO2_MEASURE_LATENCY, 0, 1, 4096, 0);
    check_counts(ZO2_MEASURE_PANELS, ZO2_WIRE_BF16, n, 2 * n, 0);
    check_counts(ZO2_MEASURE_GEMM, ZO2_WIRE_BF16, 4 * 5 * n, 0, 0);
    check_counts(ZO2_MEASURE_GEMM_WHOLE, ZO2_WIRE_BF16, 4 * 5 * n, 0, 0);
    check_counts(ZO2_MEASURE_ATTENTION, ZO2_WIRE_BF16, 2 * (2 * 2 * (1 + 2 + 3 + 4 + 5)) * COLS, 0, 0);
    check_counts(ZO2_MEASURE_DEVICE_COPY, 0, 2 * 100000, 0, 0);
}

/* ---- the work is the one that a run does ---- */

static float *all_weights(void)
{
    float *w = malloc(ROWS * COLS * sizeof *w);
    assert_non_null(w);
    zo2_measure_weights(w, 0, ROWS * COLS);
    return w;
}

static void update_updates(void **state)
{
    (void)state;
    for (int wire = 1; zo2_wire_name((zo2_wire)wire); wire++) {
        zo2_measure_spec spec = small(ZO2_MEASURE_UPDATE);
        spec.wire = (zo2_wire)wire;
        spec.queries = 2;
        zo2_measure *m = opened(&spec, NULL);
        float *want = all_weights(), *got = malloc(ROWS * COLS * sizeof *got);
        assert_non_null(got);
        for (uint64_t step = 1; step <= 3; step++) {
            zo2_update u = m->update;
            u.key = step;
            zo2_update_apply(want, ROWS * COLS, 0, 0, ZO2_GAUSSIAN, 1, &u, 1);
        }
        run_passes(m, 3);
        m->codec->join(m->planes, m->planes + m->rest_at, ROWS, COLS, 0, ROWS, got);
        assert_memory_equal(got, want, ROWS * COLS * sizeof *got);
        free(want);
        free(got);
        zo2_measure_close(m);
    }
}

static void codecs_round_trip(void **state)
{
    (void)state;
    float *want = all_weights();
    zo2_measure_spec spec = small(ZO2_MEASURE_JOIN);
    spec.wire = ZO2_WIRE_E4M3;
    zo2_measure *m = opened(&spec, NULL);
    memset(m->w, 0xEE, ROWS * COLS * sizeof *m->w);
    run_passes(m, 1);
    assert_memory_equal(m->w, want, ROWS * COLS * sizeof *want);
    zo2_measure_close(m);

    spec.kind = ZO2_MEASURE_DECODE;
    m = opened(&spec, NULL);
    run_passes(m, 1);
    float *seen = malloc(ROWS * COLS * sizeof *seen);
    assert_non_null(seen);
    m->codec->decode(m->planes, ROWS, COLS, 0, ROWS, seen);
    assert_memory_equal(m->w, seen, ROWS * COLS * sizeof *seen);
    zo2_measure_close(m);

    spec.kind = ZO2_MEASURE_SPLIT;
    m = opened(&spec, NULL);
    memset(m->planes, 0xEE, m->codec->wire_bytes(ROWS, COLS));
    run_passes(m, 1);
    float *again = malloc(ROWS * COLS * sizeof *again);
    assert_non_null(again);
    m->codec->decode(m->planes, ROWS, COLS, 0, ROWS, again);
    assert_memory_equal(again, seen, ROWS * COLS * sizeof *seen);
    zo2_measure_close(m);
    free(want);
    free(seen);
    free(again);
}

/* y = x panel^T for both streams and the `rows` rows of the panels, within the rounding of sums of `cols` products. */
static void check_products(const zo2_measure *m, uint64_t rows)
{
    uint64_t cols = m->spec.cols, tokens = m->spec.tokens;
    for (uint64_t s = 0; s < 2; s++) {
        const float *x = (const float *)(const void *)(m->arena + m->x_at) + s * tokens * cols;
        const float *w = (const float *)(const void *)(m->arena + m->panel_at + s * m->panel_stride);
        const float *y = (const float *)(const void *)(m->arena + m->y_at) + s * tokens * rows;
        for (uint64_t t = 0; t < tokens; t++) {
            for (uint64_t r = 0; r < rows; r++) {
                double sum = 0, size = 0;
                for (uint64_t k = 0; k < cols; k++) {
                    sum += (double)x[t * cols + k] * w[r * cols + k];
                    size += fabs((double)x[t * cols + k] * w[r * cols + k]);
                }
                assert_true(size > 0);
                assert_true(fabs(sum - y[t * rows + r]) <= size * (double)cols * 0x1p-24);
            }
        }
    }
}

static void gemm_multiplies(void **state)
{
    (void)state;
    static const zo2_measure_kind kinds[] = {ZO2_MEASURE_GEMM, ZO2_MEASURE_GEMM_WHOLE};
    for (unsigned i = 0; i < 2; i++) {
        zo2_measure_spec spec = small(kinds[i]);
        spec.wire = ZO2_WIRE_FP32;
        zo2_measure *m = opened(&spec, NULL);
        run_passes(m, 1);
        check_products(m, ROWS);
        zo2_measure_close(m);
    }
}

/* Of each stream its own, zero as it comes. */
static void gemm_adds_a_bias(void **state)
{
    (void)state;
    zo2_measure_spec spec = small(ZO2_MEASURE_GEMM);
    spec.wire = ZO2_WIRE_FP32;
    spec.bias = 1;
    zo2_measure *m = opened(&spec, NULL);
    run_passes(m, 1);
    check_products(m, ROWS);
    float *bias = (float *)(void *)(m->arena + m->bias_at), *y = (float *)(void *)(m->arena + m->y_at);
    for (unsigned i = 0; i < 2 * ROWS; i++)
        bias[i] = i < ROWS ? 1000.0f : -1000.0f;
    run_passes(m, 1);
    for (uint64_t i = 0; i < 2 * spec.tokens * ROWS; i++)
        assert_true(i < spec.tokens * ROWS ? y[i] > 900 : y[i] < -900);
    zo2_measure_close(m);
}

/* A matrix of several tiles: its panels are whole, and so are the products, by one call. */
static void whole_products_have_no_tiles(void **state)
{
    (void)state;
    zo2_measure_spec spec = small(ZO2_MEASURE_GEMM_WHOLE);
    spec.wire = ZO2_WIRE_FP32;
    spec.rows = MANY_ROWS;
    spec.cols = 8;
    spec.tokens = 2;
    zo2_measure *m = opened(&spec, NULL);
    assert_true(zo2_measure_chunks(m) > 1);
    uint64_t n = spec.rows * spec.cols;
    float *w = malloc(n * sizeof *w), *plus = malloc(n * sizeof *plus), *minus = malloc(n * sizeof *minus);
    assert_true(w && plus && minus);
    zo2_measure_weights(w, 0, n);
    zo2_perturb(w, n, 0, 0, ZO2_GAUSSIAN, 1, 0, 1e-3f, plus, minus);
    assert_memory_equal(m->arena + m->panel_at, plus, n * sizeof *plus);
    assert_memory_equal(m->arena + m->panel_at + m->panel_stride, minus, n * sizeof *minus);
    memset(m->arena + m->y_at, 0xEE, 2 * spec.tokens * spec.rows * sizeof(float));
    run_passes(m, 1);
    check_products(m, spec.rows);
    zo2_measure_close(m);
    free(w);
    free(plus);
    free(minus);
}

/* One head's output for one token and stream: softmax(q k^T) v over the tokens up to it, in double. */
static void reference_attention(const float *qkv, uint64_t cols, uint64_t dim, uint64_t head, uint64_t token,
                                double *out)
{
    const float *q = qkv + token * 3 * cols + head * dim;
    double sum = 0;
    memset(out, 0, dim * sizeof *out);
    for (uint64_t t = 0; t <= token; t++) {
        const float *k = qkv + t * 3 * cols + cols + head * dim, *v = k + cols;
        double score = 0;
        for (uint64_t i = 0; i < dim; i++)
            score += (double)q[i] * k[i];
        sum += exp(score);
        for (uint64_t i = 0; i < dim; i++)
            out[i] += exp(score) * v[i];
    }
    for (uint64_t i = 0; i < dim; i++)
        out[i] /= sum;
}

static void attention_attends(void **state)
{
    (void)state;
    zo2_measure_spec spec = small(ZO2_MEASURE_ATTENTION);
    spec.wire = ZO2_WIRE_FP32;
    spec.heads = 10;
    uint64_t dim = COLS / spec.heads, tokens = spec.tokens;
    zo2_measure *m = opened(&spec, NULL);
    memset(m->arena + m->y_at, 0xEE, 2 * tokens * COLS * sizeof(float));
    run_passes(m, 1);
    for (uint64_t s = 0; s < 2; s++) {
        const float *qkv = (const float *)(const void *)(m->arena + m->x_at + s * m->panel_stride);
        const float *out = (const float *)(const void *)(m->arena + m->y_at) + s * tokens * COLS;
        for (uint64_t head = 0; head < spec.heads; head++) {
            for (uint64_t t = 0; t < tokens; t++) {
                double want[COLS];
                reference_attention(qkv, COLS, dim, head, t, want);
                for (uint64_t i = 0; i < dim; i++)
                    assert_true(fabs(out[t * COLS + head * dim + i] - want[i]) <= 1e-6 * 0.1); /* values below 0.1 */
            }
        }
    }
    zo2_measure_close(m);
    spec.heads = 7; /* of 200 columns */
    assert_int_equal(zo2_measure_open(&m, &spec, NULL), ZO2_ERR_ARG);
}

static void copies_stay_on_the_device(void **state)
{
    (void)state;
    zo2_measure_spec spec = small(ZO2_MEASURE_DEVICE_COPY);
    zo2_measure *m = opened(&spec, NULL);
    for (uint64_t at = 0; at < spec.bytes; at++)
        m->arena[m->x_at + at] = (uint8_t)(at * 31 + at / 251);
    run_passes(m, 1);
    assert_memory_equal(m->arena + m->y_at, m->arena + m->x_at, spec.bytes);
    zo2_measure_close(m);
}

static void panels_are_perturbed(void **state)
{
    (void)state;
    zo2_measure_spec spec = small(ZO2_MEASURE_PANELS);
    spec.wire = ZO2_WIRE_FP32;
    zo2_measure *m = opened(&spec, NULL);
    run_passes(m, 1);
    float *w = all_weights(), *plus = malloc(ROWS * COLS * sizeof *plus), *minus = malloc(ROWS * COLS * sizeof *minus);
    assert_non_null(plus);
    assert_non_null(minus);
    zo2_perturb(w, ROWS * COLS, 0, 0, ZO2_GAUSSIAN, 1, 0, 1e-3f, plus, minus);
    assert_memory_equal(m->arena + m->panel_at, plus, ROWS * COLS * sizeof *plus);
    assert_memory_equal(m->arena + m->panel_at + m->panel_stride, minus, ROWS * COLS * sizeof *minus);
    zo2_measure_close(m);
    free(w);
    free(plus);
    free(minus);
}

/* The updates that the wire lacks are folded in first, oldest first, each with all queries of its step. */
static void panels_fold_what_is_pending(void **state)
{
    (void)state;
    zo2_measure_spec spec = small(ZO2_MEASURE_PANELS);
    spec.wire = ZO2_WIRE_FP32;
    spec.pending = 3;
    spec.queries = 2;
    zo2_measure *m = opened(&spec, NULL);
    run_passes(m, 1);
    float *w = all_weights(), *plus = malloc(ROWS * COLS * sizeof *plus), *minus = malloc(ROWS * COLS * sizeof *minus);
    assert_non_null(plus);
    assert_non_null(minus);
    for (uint32_t i = 0; i < spec.pending; i++) {
        assert_int_equal(m->fold[i].queries, 2);
        assert_true(m->fold[i].c[0] > 0 && m->fold[i].c[1] > 0 && m->fold[i].key != 1);
    }
    zo2_update_apply(w, ROWS * COLS, 0, 0, ZO2_GAUSSIAN, 0, m->fold, spec.pending);
    zo2_perturb(w, ROWS * COLS, 0, 0, ZO2_GAUSSIAN, 1, 0, 1e-3f, plus, minus);
    assert_memory_equal(m->arena + m->panel_at, plus, ROWS * COLS * sizeof *plus);
    assert_memory_equal(m->arena + m->panel_at + m->panel_stride, minus, ROWS * COLS * sizeof *minus);
    zo2_measure_close(m);
    free(w);
    free(plus);
    free(minus);
}

/* Chunks of five rows: all wires are uploaded, by turns through the slots, so that the last three are there at the end. */
static void check_ring(zo2_measure_kind kind)
{
    zo2_measure_spec spec = small(kind);
    spec.chunk_bytes = (uint64_t)5 * COLS * 2;
    zo2_measure *m = opened(&spec, NULL);
    uint64_t chunks = zo2_measure_chunks(m), wire = m->codec->wire_bytes(5, COLS);
    assert_int_equal(chunks, 8);
    memset(m->arena + m->wire_at, 0xEE, ZO2_MEASURE_SLOTS * m->slot_stride);
    run_passes(m, 2);
    assert_int_equal(m->sent, 2 * chunks);
    for (uint64_t c = chunks - ZO2_MEASURE_SLOTS; c < chunks; c++) {
        uint64_t bytes = m->codec->wire_bytes(zo2_measure_rows_of(m, c), COLS);
        assert_true(bytes == (c + 1 < chunks ? wire : m->codec->wire_bytes(2, COLS)));
        assert_memory_equal(m->arena + m->wire_at + (chunks + c) % ZO2_MEASURE_SLOTS * m->slot_stride,
                            m->planes + c * m->chunk_stride, bytes);
    }
    zo2_measure_close(m);
}

static void uploads_go_through_a_ring(void **state)
{
    (void)state;
    check_ring(ZO2_MEASURE_UPLOAD);
    check_ring(ZO2_MEASURE_BOUNCED);
}

static void transfers_move_their_bytes(void **state)
{
    (void)state;
    static const zo2_measure_kind kinds[] = {ZO2_MEASURE_WHOLE, ZO2_MEASURE_DOWNLOAD, ZO2_MEASURE_LATENCY};
    for (unsigned i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        zo2_measure_spec spec = small(kinds[i]);
        zo2_measure_info info;
        zo2_measure *m = opened(&spec, &info);
        uint64_t bytes = info.bytes_read + info.bytes_written;
        int down = kinds[i] == ZO2_MEASURE_DOWNLOAD;
        uint8_t *from = down ? m->arena + m->wire_at : m->memory, *to = down ? m->memory : m->arena + m->wire_at;
        for (uint64_t at = 0; at < bytes; at++)
            from[at] = (uint8_t)(at * 31 + at / 251);
        memset(to, 0xEE, bytes);
        run_passes(m, 1);
        assert_memory_equal(to, from, bytes);
        zo2_measure_close(m);
    }
}

static void memory_is_read_and_written(void **state)
{
    (void)state;
    static const char *const sets[] = {"scalar", "avx2", "avx512"};
    for (unsigned i = 0; i < sizeof sets / sizeof *sets; i++) {
        zo2_measure_spec spec = small(ZO2_MEASURE_SCAN);
        spec.simd = sets[i];
        zo2_measure *m;
        zo2_status s = zo2_measure_open(&m, &spec, NULL);
        if (i && s == ZO2_ERR_UNSUPPORTED)
            continue; /* not on this CPU */
        assert_int_equal(s, ZO2_OK);
        uint64_t odd = 0x123456789ABCDEFull;
        memcpy(m->from + 2 * m->part - 8, &odd, 8);
        run_passes(m, 1);
        assert_int_equal(m->sink, odd ^ 0x3C3C3C3C3C3C3C3Cull); /* an even number of equal words, but for that one */
        zo2_measure_close(m);

        spec.kind = ZO2_MEASURE_REWRITE;
        m = opened(&spec, NULL);
        run_passes(m, 1);
        for (uint64_t at = 0; at < 2 * m->part; at++)
            assert_int_equal(m->from[at], at % 8 ? 0x3C : 0x3D);
        zo2_measure_close(m);
    }
}

/* ---- process state, refusals ---- */

static void process_state_is_left_alone(void **state)
{
    (void)state;
    const char *best = zo2_simd_current();
    int rounding = fegetround();
    assert_int_equal(fesetround(FE_UPWARD), 0);
    zo2_measure_spec spec = small(ZO2_MEASURE_UPDATE);
    spec.simd = "scalar";
    zo2_measure_info info;
    zo2_measure *m = opened(&spec, &info);
    assert_string_equal(info.simd, "scalar");
    assert_string_equal(zo2_simd_current(), best);
    run_passes(m, 1);
    assert_string_equal(zo2_simd_current(), best);
    zo2_measure_close(m);
    assert_int_equal(fegetround(), FE_UPWARD);
    fesetround(rounding);
}

static void refuses(zo2_measure_spec spec, zo2_status status, const char *says)
{
    zo2_measure *m = (void *)&spec;
    assert_int_equal(zo2_measure_open(&m, &spec, NULL), status);
    assert_null(m);
    if (!strstr(zo2_last_error(), says))
        fail_msg("\"%s\" doesn't say \"%s\"", zo2_last_error(), says);
}

static void nonsense_is_refused(void **state)
{
    (void)state;
    zo2_measure_spec spec = small(ZO2_MEASURE_UPDATE), bad = spec;
    zo2_measure *m;
    double seconds;
    assert_int_equal(zo2_measure_open(NULL, &spec, NULL), ZO2_ERR_ARG);
    assert_int_equal(zo2_measure_open(&m, NULL, NULL), ZO2_ERR_ARG);
    assert_int_equal(zo2_measure_run(NULL, 1, &seconds), ZO2_ERR_ARG);
    bad.struct_size = 0;
    refuses(bad, ZO2_ERR_ARG, "struct_size");
    bad = small((zo2_measure_kind)0);
    refuses(bad, ZO2_ERR_ARG, "no kind 0");
    bad = small((zo2_measure_kind)22);
    refuses(bad, ZO2_ERR_ARG, "no kind 22");
    bad = spec;
    bad.wire = (zo2_wire)99;
    refuses(bad, ZO2_ERR_ARG, "wire 99");
    bad = spec;
    bad.dist = (zo2_dist)9;
    refuses(bad, ZO2_ERR_ARG, "distribution 9");
    bad = spec;
    bad.compute = (zo2_dtype)7;
    refuses(bad, ZO2_ERR_ARG, "type 7");
    bad = spec;
    bad.queries = ZO2_MAX_QUERIES + 1;
    refuses(bad, ZO2_ERR_ARG, "17 queries");
    bad = spec;
    bad.pending = ZO2_MAX_PENDING + 1;
    refuses(bad, ZO2_ERR_ARG, "65 pending");
    bad = spec;
    bad.chunk_bytes = UINT64_MAX;
    refuses(bad, ZO2_ERR_ARG, "2^40");
    bad = spec;
    bad.rows = bad.cols = 1ull << 30;
    refuses(bad, ZO2_ERR_ARG, "2^40");
    bad = spec;
    bad.bytes = UINT64_MAX;
    refuses(bad, ZO2_ERR_ARG, "2^40");
    bad = spec;
    bad.simd = "sse9";
    refuses(bad, ZO2_ERR_UNSUPPORTED, "sse9");
    bad = small(ZO2_MEASURE_GEMM);
    bad.backend = ZO2_BACKEND_NULL;
    refuses(bad, ZO2_ERR_UNSUPPORTED, "null");
}

/* ---- architectures without packs ---- */

static void architectures_open_without_a_pack(void **state)
{
    (void)state;
    zo2_pack *p;
    zo2_pack_info info;
    zo2_tensor_info t;
    const char *data;
    size_t bytes;
    assert_int_equal(zo2_pack_open_arch(&p, "opt-175b"), ZO2_OK);
    assert_int_equal(zo2_pack_get_info(p, &info), ZO2_OK);
    assert_int_equal(info.layers, 96);
    assert_int_equal(info.hidden, 12288);
    assert_int_equal(info.dtype, ZO2_F16);
    assert_int_equal(info.file_bytes, 0);
    uint64_t parameters = 0;
    for (uint64_t i = 0; i < info.tensors; i++) {
        assert_int_equal(zo2_pack_tensor(p, i, &t), ZO2_OK);
        parameters += t.rows * t.cols;
    }
    assert_int_equal(parameters, info.parameters);
    assert_int_equal(zo2_pack_tensor(p, info.tensors, &t), ZO2_ERR_NOTFOUND);
    assert_int_equal(zo2_pack_file(p, "config.json", &data, &bytes), ZO2_ERR_NOTFOUND);
    assert_null(zo2_pack_file_name(p, 0));
    assert_int_equal(zo2_pack_verify(p, NULL, NULL), ZO2_ERR_UNSUPPORTED);
    zo2_pack_close(p);
    assert_int_equal(zo2_pack_open_arch(&p, "opt-1x"), ZO2_ERR_NOTFOUND);
    assert_null(p);
    assert_int_equal(zo2_pack_open_arch(&p, NULL), ZO2_ERR_ARG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_runs),
        cmocka_unit_test(work_is_counted),
        cmocka_unit_test(update_updates),
        cmocka_unit_test(codecs_round_trip),
        cmocka_unit_test(gemm_multiplies),
        cmocka_unit_test(gemm_adds_a_bias),
        cmocka_unit_test(whole_products_have_no_tiles),
        cmocka_unit_test(attention_attends),
        cmocka_unit_test(copies_stay_on_the_device),
        cmocka_unit_test(panels_are_perturbed),
        cmocka_unit_test(panels_fold_what_is_pending),
        cmocka_unit_test(uploads_go_through_a_ring),
        cmocka_unit_test(transfers_move_their_bytes),
        cmocka_unit_test(memory_is_read_and_written),
        cmocka_unit_test(process_state_is_left_alone),
        cmocka_unit_test(nonsense_is_refused),
        cmocka_unit_test(architectures_open_without_a_pack),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
