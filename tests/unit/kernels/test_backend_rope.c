/* test_backend_rope.c: rotary positions against double. */
#include "tests/unit/kernels/test_backend_util.h"

#define STREAMS   2
#define POSITIONS 50

typedef struct problem {
    uint64_t m;
    uint32_t heads, head_dim;
} problem;

/* The smallest heads, halves that are and aren't whole runs of 8, more pairs in a row than a block has threads, many rows. */
static const problem problems[] = {
    {1, 1, 2},  {3, 2, 6},   {5, 3, 16},  {2, 1, 64},   {7, 4, 128}, {3, 40, 16}, {4, 3, 80},
    {2, 2, 24}, {300, 1, 8}, {2, 2, 256}, {2, 33, 128}, {3, 5, 64},  {2, 150, 4},
};
#define PROBLEMS (sizeof problems / sizeof problems[0])

/* [POSITIONS][head_dim]: cosines, then sines. */
static void fill_table(float *table, uint32_t head_dim)
{
    uint32_t h = head_dim / 2;
    for (uint32_t p = 0; p < POSITIONS; p++)
        for (uint32_t j = 0; j < h; j++) {
            double angle = p * pow(1e4, -(double)j / h);
            table[p * head_dim + j] = (float)cos(angle);
            table[p * head_dim + h + j] = (float)sin(angle);
        }
}

static void verify_head(const zo2_rope_op *op, const float *table, const float *x, const float *y)
{
    uint32_t h = op->head_dim / 2;
    for (uint32_t j = 0; j < h; j++) {
        double a = (double)x[j], b = (double)x[j + h], cosine = (double)table[j], sine = (double)table[h + j];
        double scale = (double)op->scale, first = (a * cosine - b * sine) * scale,
               second = (b * cosine + a * sine) * scale;
        /* Two products, their sum, and the scale: three roundings deep. */
        TEST_NEAR((double)y[j], first,
                  3 * TEST_ULP * (fabs(a * cosine) + fabs(b * sine)) * scale + test_rounding(op->type, first), "first",
                  j);
        TEST_NEAR((double)y[j + h], second,
                  3 * TEST_ULP * (fabs(b * cosine) + fabs(a * sine)) * scale + test_rounding(op->type, second),
                  "second", j);
    }
    test_is_rounded(op->type, y, op->head_dim);
}

static void check(test_device *t, unsigned i, unsigned v, float *result)
{
    const int even = v % 2;
    const problem *p = &problems[i];
    const zo2_dtype type = test_types[i % 3];
    uint64_t row = (uint64_t)p->heads * p->head_dim, ld = row + (even ? 8 : 3), stride = p->m * ld + (even ? 16 : 1);
    float *x = test_floats(t, STREAMS * stride), *table = test_floats(t, POSITIONS * p->head_dim);
    float *x0 = malloc(STREAMS * stride * sizeof *x0), *dense = malloc(p->m * row * sizeof *dense);
    uint32_t *position = test_take(t, p->m * sizeof *position);
    for (uint64_t r = 0; r < p->m; r++)
        position[r] = (uint32_t)((r + i) * 7919 % POSITIONS);
    for (uint64_t s = 0; s < STREAMS; s++) {
        test_fill(dense, p->m * row, 1 + s, 4.0f, type);
        for (uint64_t r = 0; r < p->m; r++)
            memcpy(x + s * stride + r * ld, dense + r * row, row * sizeof *x);
    }
    fill_table(table, p->head_dim);
    memcpy(x0, x, STREAMS * stride * sizeof *x0);
    zo2_rope_op op = {.streams = STREAMS,
                      .m = p->m,
                      .heads = p->heads,
                      .head_dim = p->head_dim,
                      .x = x,
                      .ld = ld,
                      .stride = stride,
                      .table = table,
                      .positions = POSITIONS,
                      .position = position,
                      .scale = i % 2 ? 1.0f / sqrtf((float)p->head_dim) : 1.0f,
                      .type = type};
    TEST_OK(t->ops->rope(t->b, &op));
    for (uint64_t s = 0; s < STREAMS; s++)
        for (uint64_t r = 0; r < p->m; r++) {
            const float *from = x0 + s * stride + r * ld, *to = x + s * stride + r * ld;
            for (uint64_t h = 0; h < row; h += p->head_dim)
                verify_head(&op, table + position[r] * p->head_dim, from + h, to + h);
            memcpy(result + (s * p->m + r) * row, to, row * sizeof *result);
        }
    for (uint64_t j = 0; j < STREAMS * stride; j++) /* nothing beside the rows */
        if (j % stride >= p->m * ld || j % stride % ld >= row)
            assert_true(test_is_poison(&x[j]));
    free(dense);
    free(x0);
}

static uint64_t values(unsigned i)
{
    return STREAMS * problems[i].m * problems[i].heads * problems[i].head_dim;
}

/* The same bits wherever operands lie and for all numbers of threads. */
static void test_values(void **state)
{
    (void)state;
    test_same_bits(&(test_problems){.n = PROBLEMS, .values = values, .check = check});
}

/* Position 0 changes nothing; a score depends on the distance of its two positions alone. */
static void test_meaning(void **state)
{
    (void)state;
    enum { D = 32 };
    test_device t;
    test_open(&t, TEST_BACKEND, 1 << 20, 1);
    float *x = test_floats(&t, 4 * D), *table = test_floats(&t, POSITIONS * D);
    uint32_t *position = test_take(&t, 4 * sizeof *position);
    static const uint32_t at[4] = {0, 17, 20, 37}; /* a at 0 and 20, b at 17 and 37 */
    memcpy(position, at, sizeof at);
    test_fill(x, 2 * D, 1, 1.0f, ZO2_F32);
    memcpy(x + 2 * D, x, 2 * D * sizeof *x);
    fill_table(table, D);
    zo2_rope_op op = {.streams = 1,
                      .m = 4,
                      .heads = 1,
                      .head_dim = D,
                      .x = x,
                      .ld = D,
                      .table = table,
                      .positions = POSITIONS,
                      .position = position,
                      .scale = 1,
                      .type = ZO2_F32};
    float before[D];
    memcpy(before, x, sizeof before);
    TEST_OK(t.ops->rope(t.b, &op));
    assert_memory_equal(before, x, sizeof before);
    double near = 0, far = 0;
    for (int j = 0; j < D; j++) {
        near += (double)x[j] * (double)x[D + j];
        far += (double)x[2 * D + j] * (double)x[3 * D + j];
    }
    /* Each of D products below 2, of elements and angles with a few roundings. */
    TEST_NEAR(far, near, D * 2 * 10 * TEST_ULP, "score", 0);
    test_close(&t);
}

static void test_refusals(void **state)
{
    (void)state;
    test_device t;
    test_open(&t, TEST_BACKEND, 1 << 20, 1);
    float *x = test_floats(&t, 64), *table = test_floats(&t, 16);
    uint32_t *position = test_take(&t, 4 * sizeof *position);
    test_fill(x, 64, 1, 1.0f, ZO2_F32);
    test_fill(table, 16, 1, 1.0f, ZO2_F32);
    memset(position, 0, 4 * sizeof *position);
    const zo2_rope_op good = {.streams = 2,
                              .m = 4,
                              .heads = 2,
                              .head_dim = 4,
                              .x = x,
                              .ld = 8,
                              .stride = 32,
                              .table = table,
                              .positions = 4,
                              .position = position,
                              .scale = 1,
                              .type = ZO2_F32};
    zo2_rope_op bad;
    TEST_OK(t.ops->rope(t.b, &good));
#define TRY(change, part) \
    bad = good;           \
    change;               \
    TEST_REFUSED(t.ops->rope(t.b, &bad), ZO2_ERR_DEVICE, part)
    TRY(bad.heads = 0, "rope: streams 2, heads 0");
    TRY(bad.head_dim = 0, "rope: streams");
    TRY(bad.streams = 0, "rope: streams 0");
    TRY(bad.type = (zo2_dtype)99, "rope: streams");
    TRY(bad.head_dim = 3, "rope: head_dim 3 is odd");
    TRY(bad.positions = 0, "rope: a table of 0 positions");
    TRY(bad.positions = UINT64_MAX / 8, "rope: size of table overflows");
    TRY(bad.ld = 7, "rope: row stride of x");
    TRY(bad.stride = 31, "rope: streams of x overlap");
    TRY(bad.x = NULL, "rope: x is NULL");
    TRY(bad.table = NULL, "rope: table is NULL");
    TRY(bad.position = NULL, "rope: position is NULL");
    TRY(bad.table = x + 40, "rope: x overlaps table");
    TRY(bad.position = (const uint32_t *)(const void *)x, "rope: x overlaps position");
    TRY(bad.positions = 1 << 20, "rope: table (16777216 bytes) is not inside");
    position[2] = 4;
    if (TEST_BACKEND == ZO2_BACKEND_CPU) /* which can read it */
        TEST_REFUSED(t.ops->rope(t.b, &good), ZO2_ERR_DEVICE, "rope: position 4 of token 2, the table has 4");
#undef TRY
    bad = good;
    bad.m = 0;
    bad.x = NULL;
    TEST_OK(t.ops->rope(t.b, &bad));
    test_close(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_meaning),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
