/* test_backend_gate.c: act(gate + bias) * (up + bias) against double, for every activation; and the activations that bias_act()
 * shares. */
#include "tests/unit/kernels/test_backend_util.h"

#define STREAMS 2

/* As many as there are pairs of an activation and a type; odd widths and whole runs of 8 for each activation. */
static const uint64_t shapes[][2] = {{1, 1},    {3, 7},  {2, 31},   {5, 33},  {2, 9},   {70, 40}, {2, 1032}, {3, 4104},
                                     {300, 16}, {9, 72}, {130, 24}, {2, 129}, {40, 17}, {3, 8},   {2, 264}};
#define PROBLEMS (sizeof shapes / sizeof shapes[0])

/* Where exponentials end, and where squares and cubes overflow. */
static const float special[] = {0.0f,    -0.0f, 86.5f, -86.5f, 88.0f, -88.0f, 500.0f,
                                -500.0f, 1e-6f, 3e13f, -3e13f, 1e20f, -1e20f};
#define SPECIAL 13

/* act(v), and how far off fp32 may be. The exponential is good to 4 roundings; it is in numerator and denominator, and three
 * operations follow. GELU's argument of it errs by five roundings of itself. */
static double activation(zo2_activation act, double v, double *error)
{
    double z = v, e;
    switch (act) {
    case ZO2_ACT_NONE: *error = 0; return v;
    case ZO2_ACT_RELU: *error = 0; return v < 0 ? 0 : v;
    case ZO2_ACT_GELU:
        e = 0.5 * v * (1 + erf(v * sqrt(0.5)));
        *error = 6 * TEST_ULP * (fabs(v) + fabs(e));
        return e;
    case ZO2_ACT_GELU_TANH: z = 2 * sqrt(2 / 3.14159265358979323846) * (v + 0.044715 * v * v * v); break;
    case ZO2_ACT_SILU: break;
    }
    e = v / (1 + exp(-z));
    *error = (9 + (act == ZO2_ACT_SILU ? 0 : 5 * fabs(fmax(z, -87)))) * TEST_ULP * fabs(e) + 2e-38 * fabs(v);
    return e;
}

typedef struct layout {
    uint64_t ld, stride, stride_bias;
} layout;

static void verify_row(const zo2_gate_op *op, uint64_t s, const float *gate, const float *up, const float *y)
{
    for (uint64_t j = 0; j < op->n; j++) {
        /* The sums in fp32 are part of the contract. */
        float v = op->bias_gate ? gate[j] + op->bias_gate[s * op->stride_bias + j] : gate[j];
        float u = op->bias_up ? up[j] + op->bias_up[s * op->stride_bias + j] : up[j];
        double error, a = activation(op->act, (double)v, &error), want = a * (double)u;
        TEST_NEAR((double)y[j], want, error * fabs((double)u) + TEST_ULP * fabs(want) + test_rounding(op->type, want),
                  "gate", j);
    }
    test_is_rounded(op->type, y, op->n);
}

static void check(test_device *t, unsigned i, unsigned v, float *result)
{
    const int even = v % 2, fused = v / 2;
    const uint64_t m = shapes[i][0], n = shapes[i][1];
    const zo2_dtype type = test_types[i % 3];
    layout l = {.ld = (fused ? 2 : 1) * n + (even ? 8 : 3), .stride_bias = n + (even ? 8 : 1)};
    l.stride = m * l.ld + (even ? 16 : 5);
    float *y = test_floats(t, STREAMS * l.stride), *up = fused ? y + n : test_floats(t, STREAMS * l.stride);
    float *bias = test_floats(t, STREAMS * l.stride_bias), *bias_up = test_floats(t, STREAMS * l.stride_bias);
    float *dense = malloc(m * n * sizeof *dense), *gate0 = malloc(STREAMS * m * n * sizeof *gate0),
          *up0 = malloc(STREAMS * m * n * sizeof *up0);
    for (uint64_t s = 0; s < STREAMS; s++) {
        float *gates = gate0 + s * m * n, *ups = up0 + s * m * n;
        test_fill(gates, m * n, 1 + s, 8.0f, type);
        test_fill(ups, m * n, 11 + s, 2.0f, type);
        for (unsigned j = 0; j < SPECIAL && j < m * n && type == ZO2_F32; j++)
            gates[m * n - 1 - j] = special[j];
        for (uint64_t r = 0; r < m; r++) {
            memcpy(y + s * l.stride + r * l.ld, gates + r * n, n * sizeof *y);
            memcpy(up + s * l.stride + r * l.ld, ups + r * n, n * sizeof *up);
        }
        test_fill(bias + s * l.stride_bias, n, 21 + s, 1.0f, ZO2_F32);
        test_fill(bias_up + s * l.stride_bias, n, 31 + s, 1.0f, ZO2_F32);
    }
    zo2_gate_op op = {.streams = STREAMS,
                      .m = m,
                      .n = n,
                      .y = y,
                      .up = up,
                      .ld = l.ld,
                      .stride = l.stride,
                      .bias_gate = i & 1 ? bias : NULL,
                      .bias_up = i & 2 ? bias_up : NULL,
                      .stride_bias = l.stride_bias,
                      .act = (zo2_activation)(i % 5),
                      .type = type};
    TEST_OK(t->ops->gate(t->b, &op));
    for (uint64_t s = 0; s < STREAMS; s++)
        for (uint64_t r = 0; r < m; r++) {
            const float *row = y + s * l.stride + r * l.ld, *same = up + s * l.stride + r * l.ld;
            verify_row(&op, s, gate0 + (s * m + r) * n, up0 + (s * m + r) * n, row);
            assert_memory_equal(same, up0 + (s * m + r) * n, n * sizeof *same);
            memcpy(result + (s * m + r) * n, row, n * sizeof *result);
        }
    uint64_t width = (fused ? 2 : 1) * n;
    for (uint64_t j = 0; j < STREAMS * l.stride; j++) /* nothing beside the rows */
        if (j % l.stride >= m * l.ld || j % l.stride % l.ld >= width)
            assert_true(test_is_poison(&y[j]));
    free(dense);
    free(gate0);
    free(up0);
}

static uint64_t values(unsigned i)
{
    return STREAMS * shapes[i][0] * shapes[i][1];
}

/* The same bits wherever operands lie, side by side or apart, and for all numbers of threads. */
static void test_values(void **state)
{
    (void)state;
    test_same_bits(&(test_problems){.n = PROBLEMS, .values = values, .check = check});
}

/* A gate whose `up` is 1 is the activation: bias_act() has the same bits. And NaN stays. */
static void test_activations(void **state)
{
    (void)state;
    enum { N = 4096 };
    test_device t;
    test_open(&t, TEST_BACKEND, 1 << 20, 1);
    float *y = test_floats(&t, N), *up = test_floats(&t, N), *z = test_floats(&t, N);
    for (int act = ZO2_ACT_NONE; act <= ZO2_ACT_GELU_TANH; act++) {
        test_fill(y, N, 1, 12.0f, ZO2_F32);
        memcpy(y, special, sizeof special);
        y[20] = NAN;
        y[21] = INFINITY;
        memcpy(z, y, N * sizeof *z);
        for (int j = 0; j < N; j++)
            up[j] = 1.0f;
        zo2_gate_op gate = {
            .streams = 1, .m = 1, .n = N, .y = y, .up = up, .act = (zo2_activation)act, .type = ZO2_F32};
        zo2_bias_act_op bias = {
            .streams = 1, .m = 1, .n = N, .y = z, .scale = 1.0f, .act = (zo2_activation)act, .type = ZO2_F32};
        TEST_OK(t.ops->gate(t.b, &gate));
        TEST_OK(t.ops->bias_act(t.b, &bias));
        assert_true(isnan(y[20]) && isinf(y[21]) && isnan(z[20]));
        y[20] = z[20] = 0;
        assert_memory_equal(y, z, N * sizeof *y);
    }
    test_close(&t);
}

static void test_refusals(void **state)
{
    (void)state;
    test_device t;
    test_open(&t, TEST_BACKEND, 1 << 20, 1);
    float *y = test_floats(&t, 128), *bias = test_floats(&t, 32);
    test_fill(y, 128, 1, 1.0f, ZO2_F32);
    test_fill(bias, 32, 1, 1.0f, ZO2_F32);
    const zo2_gate_op good = {.streams = 2,
                              .m = 4,
                              .n = 8,
                              .y = y,
                              .up = y + 8,
                              .ld = 16,
                              .stride = 64,
                              .bias_gate = bias,
                              .bias_up = bias + 8,
                              .stride_bias = 16,
                              .act = ZO2_ACT_SILU,
                              .type = ZO2_F32};
    zo2_gate_op bad;
    TEST_OK(t.ops->gate(t.b, &good));
#define TRY(change, part) \
    bad = good;           \
    change;               \
    TEST_REFUSED(t.ops->gate(t.b, &bad), ZO2_ERR_DEVICE, part)
    TRY(bad.streams = 0, "gate: streams 0");
    TRY(bad.n = 0, "gate: streams 2, n 0");
    TRY(bad.type = (zo2_dtype)99, "gate: streams");
    TRY(bad.act = (zo2_activation)5, "activation 5");
    TRY(bad.act = (zo2_activation)-1, "activation -1");
    TRY(bad.ld = 7, "gate: row stride of y");
    TRY(bad.stride = 48, "gate: streams of y overlap");
    TRY(bad.y = NULL, "gate: y is NULL");
    TRY(bad.up = NULL, "gate: up is NULL");
    TRY(bad.up = y + 7, "gate: y overlaps up");
    TRY(bad.up = y, "gate: y overlaps up");
    TRY(bad.bias_gate = y + 16, "gate: y overlaps bias_gate");
    TRY(bad.bias_up = y + 16, "gate: y overlaps bias_up");
#undef TRY
    bad = good;
    bad.m = 0;
    bad.y = NULL;
    TEST_OK(t.ops->gate(t.b, &bad));
    zo2_bias_act_op act = {
        .streams = 1, .m = 1, .n = 8, .y = y, .scale = 1.0f, .act = (zo2_activation)5, .type = ZO2_F32};
    TEST_REFUSED(t.ops->bias_act(t.b, &act), ZO2_ERR_DEVICE, "activation 5");
    test_close(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_activations),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
