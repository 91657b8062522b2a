/* test_backend_rmsnorm.c: normalisation by the root of the mean square against double, for whole rows and for groups side by
 * side, from fp32 and from the compute type. */
#include "tests/unit/kernels/test_backend_util.h"

#define STREAMS 2
#define EPS     1e-6f

typedef struct problem {
    uint64_t m, n;
    uint32_t groups;
} problem;

/* Around a warp and 16 bytes; norms of which 4, 2, 1 and none fit into 48 KiB; heads of LLaMA and Qwen, more of them than a block
 * has warps. */
static const problem problems[] = {
    {1, 1, 1},     {2, 31, 1},    {3, 32, 1},  {2, 33, 3},  {5, 127, 1}, {150, 104, 1}, {9, 1032, 1}, {3, 5000, 1},
    {2, 12288, 1}, {2, 12296, 1}, {40, 72, 5}, {6, 128, 8}, {33, 64, 3}, {3, 8, 7},     {2, 40, 2},   {3, 256, 4},
};
#define PROBLEMS (sizeof problems / sizeof problems[0])

static const zo2_dtype types[][2] = {
    {ZO2_F32, ZO2_F32}, {ZO2_F32, ZO2_F16}, {ZO2_F32, ZO2_BF16}, {ZO2_F16, ZO2_F16}, {ZO2_BF16, ZO2_BF16}};

/* Places of a problem's operands: `even`, then all begin at multiples of 8 elements if n is one. */
typedef struct layout {
    uint64_t row, ldx, stride_x, ldy, stride_y, stride_vec;
    int in_place;
} layout;

static layout layout_of(const problem *p, int even, int in_place)
{
    layout l = {.row = p->groups * p->n, .in_place = in_place};
    l.ldx = l.row + (even ? 8 : 3);
    l.stride_x = p->m * l.ldx + (even ? 16 : 5);
    l.ldy = in_place ? l.ldx : l.row + (even ? 16 : 1);
    l.stride_y = in_place ? l.stride_x : p->m * l.ldy + (even ? 8 : 2);
    l.stride_vec = p->n + (even ? 8 : 1);
    return l;
}

/* One norm. A lane adds n / 32 squares, lanes are folded five times: relative errors, of which the root takes half. Division, root,
 * eps and two products add a rounding each. */
static void verify_norm(const problem *p, zo2_dtype type, const float *x, const float *gamma, const float *y)
{
    double mean = 0, tolerance = (((double)p->n / 32 + 8) / 2 + 5) * TEST_ULP;
    for (uint64_t j = 0; j < p->n; j++)
        mean += (double)x[j] * (double)x[j] / (double)p->n;
    for (uint64_t j = 0; j < p->n; j++) {
        double want = (double)x[j] / sqrt(mean + (double)EPS) * (gamma ? (double)gamma[j] : 1);
        TEST_NEAR((double)y[j], want, tolerance * fabs(want) + test_rounding(type, want), "y", j);
    }
    test_is_rounded(type, y, p->n);
}

/* The operation on operands of its own; its result, dense, to `result`. */
static void check(test_device *t, unsigned i, unsigned v, float *result)
{
    const int even = v % 2, in_place = v / 2;
    const problem *p = &problems[i];
    const zo2_dtype x_type = types[i % 5][0], type = types[i % 5][1];
    const layout l = layout_of(p, even, in_place && x_type == type);
    const int affine = i % 3 != 0;
    float *x = test_floats(t, STREAMS * l.stride_x), *gamma = test_floats(t, STREAMS * l.stride_vec);
    float *y = l.in_place ? x : test_floats(t, STREAMS * l.stride_y), *dense = malloc(p->m * l.row * sizeof *dense);
    float *x0 = malloc(STREAMS * l.stride_x * sizeof *x0);
    for (uint64_t s = 0; s < STREAMS; s++) {
        /* Every other problem is so small that eps counts. */
        test_fill(dense, p->m * l.row, 1 + s, i % 2 ? 3.0f : 1e-3f, x_type);
        for (uint64_t r = 0; r < p->m; r++)
            memcpy(x + s * l.stride_x + r * l.ldx, dense + r * l.row, l.row * sizeof *x);
        test_fill(gamma + s * l.stride_vec, p->n, 7 + s, 1.5f, ZO2_F32);
    }
    for (uint64_t j = 0; j < p->n && p->m > 1; j++)
        x[j] = 0.0f; /* of nothing but zeros there is no NaN */
    memcpy(x0, x, STREAMS * l.stride_x * sizeof *x0);
    zo2_rmsnorm_op op = {.streams = STREAMS,
                         .m = p->m,
                         .n = p->n,
                         .groups = p->groups,
                         .x = x,
                         .x_type = x_type,
                         .ldx = l.ldx,
                         .stride_x = l.stride_x,
                         .gamma = affine ? gamma : NULL,
                         .stride_vec = l.stride_vec,
                         .eps = EPS,
                         .y = y,
                         .ldy = l.ldy,
                         .stride_y = l.stride_y,
                         .type = type};
    TEST_OK(t->ops->rmsnorm(t->b, &op));
    for (uint64_t s = 0; s < STREAMS; s++)
        for (uint64_t r = 0; r < p->m; r++)
            for (uint64_t g = 0; g < p->groups; g++) {
                const float *of = y + s * l.stride_y + r * l.ldy + g * p->n;
                verify_norm(p, type, x0 + s * l.stride_x + r * l.ldx + g * p->n,
                            affine ? gamma + s * l.stride_vec : NULL, of);
                memcpy(result + ((s * p->m + r) * p->groups + g) * p->n, of, p->n * sizeof *result);
            }
    for (uint64_t j = 0; j < STREAMS * l.stride_y; j++) /* nothing beside the rows */
        if (j % l.stride_y >= p->m * l.ldy || j % l.stride_y % l.ldy >= l.row)
            assert_true(test_is_poison(&y[j]));
    if (!l.in_place)
        assert_memory_equal(x, x0, STREAMS * l.stride_x * sizeof *x);
    free(x0);
    free(dense);
}

static uint64_t values(unsigned i)
{
    return STREAMS * problems[i].m * problems[i].groups * problems[i].n;
}

/* The same bits wherever operands lie, in place or not, and for all numbers of threads. */
static void test_values(void **state)
{
    (void)state;
    test_same_bits(&(test_problems){.n = PROBLEMS, .values = values, .check = check});
}

/* What isn't finite spoils its own norm: NaN the whole of it. */
static void test_nonfinite(void **state)
{
    (void)state;
    enum { N = 40 };
    test_device t;
    test_open(&t, TEST_BACKEND, 1 << 20, 1);
    float *x = test_floats(&t, 3 * N), *y = test_floats(&t, 3 * N);
    test_fill(x, 3 * N, 1, 1.0f, ZO2_F32);
    x[N + 3] = NAN;
    x[2 * N + 5] = INFINITY;
    zo2_rmsnorm_op op = {
        .streams = 1, .m = 1, .n = N, .groups = 3, .x = x, .x_type = ZO2_F32, .eps = EPS, .y = y, .type = ZO2_F32};
    TEST_OK(t.ops->rmsnorm(t.b, &op));
    for (int j = 0; j < N; j++)
        assert_true(isfinite(y[j]) && isnan(y[N + j]));
    assert_true(isnan(y[2 * N + 5]) && y[2 * N] == 0.0f);
    test_close(&t);
}

static void test_refusals(void **state)
{
    (void)state;
    test_device t;
    test_open(&t, TEST_BACKEND, 1 << 20, 1);
    float *x = test_floats(&t, 64), *y = test_floats(&t, 64), *gamma = test_floats(&t, 16);
    test_fill(x, 64, 1, 1.0f, ZO2_F32);
    test_fill(gamma, 16, 2, 1.0f, ZO2_F32);
    const zo2_rmsnorm_op good = {.streams = 2,
                                 .m = 4,
                                 .n = 4,
                                 .groups = 2,
                                 .x = x,
                                 .x_type = ZO2_F32,
                                 .ldx = 8,
                                 .stride_x = 32,
                                 .gamma = gamma,
                                 .stride_vec = 8,
                                 .eps = EPS,
                                 .y = y,
                                 .ldy = 8,
                                 .stride_y = 32,
                                 .type = ZO2_F32};
    zo2_rmsnorm_op bad;
    TEST_OK(t.ops->rmsnorm(t.b, &good));
#define TRY(change, part) \
    bad = good;           \
    change;               \
    TEST_REFUSED(t.ops->rmsnorm(t.b, &bad), ZO2_ERR_DEVICE, part)
    TRY(bad.groups = 0, "rmsnorm: streams 2, groups 0");
    TRY(bad.n = 0, "rmsnorm: streams");
    TRY(bad.n = UINT64_MAX / 2 + 1, "rmsnorm: streams");
    TRY(bad.streams = 0, "rmsnorm: streams 0");
    TRY(bad.type = (zo2_dtype)99, "rmsnorm: streams");
    TRY((bad.x_type = ZO2_BF16, bad.type = ZO2_F16), "rmsnorm: types");
    TRY(bad.x_type = ZO2_F16, "rmsnorm: types");
    TRY(bad.ldx = 7, "rmsnorm: row stride of x");
    TRY(bad.ldy = 7, "rmsnorm: row stride of y");
    TRY(bad.x = NULL, "rmsnorm: x is NULL");
    TRY(bad.stride_y = 16, "rmsnorm: streams of y overlap");
    TRY((bad.y = x, bad.type = ZO2_F16), "rmsnorm: y overlaps x"); /* in place only without conversion */
    TRY((bad.x = y + 8), "rmsnorm: y overlaps x");
    TRY((bad.y = x, bad.ldx = 4, bad.n = 2, bad.gamma = NULL), "rmsnorm: y overlaps x");
    TRY(bad.gamma = y + 8, "rmsnorm: y overlaps gamma");
    TRY(bad.gamma = (const float *)(const void *)(t.arena + t.bytes - 16), "rmsnorm: gamma (48 bytes) is not inside");
#undef TRY
    bad = good;
    bad.m = 0;
    bad.x = bad.y = NULL;
    TEST_OK(t.ops->rmsnorm(t.b, &bad));
    test_close(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_nonfinite),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
