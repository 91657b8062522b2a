/* test_sim_backend_same_bits.c: what kernels/cuda/README.md promises of passes over activations: the cpu backend's bits. Each
 * operation runs on both with the same operands, whole runs of 8 and others, in all types; GELU by erf is the math library's, and
 * not among them. */
#include "tests/unit/kernels/test_backend_util.h"

enum { M = 37, HEADS = 6, STREAMS = 2, ROOM = 40000, POSITIONS = 30 };

/* The operands of all operations, at the same place of both arenas. */
typedef struct scene {
    test_device t;
    float *x, *y, *up, *gamma, *beta, *table; /* x and y: also of the compute type */
    uint32_t *index;
} scene;

static void open_scene(scene *s, zo2_backend_kind kind)
{
    test_open(&s->t, kind, 4 << 20, 2);
    s->x = test_floats(&s->t, ROOM);
    s->y = test_floats(&s->t, ROOM);
    s->up = test_floats(&s->t, ROOM);
    s->gamma = test_floats(&s->t, ROOM);
    s->beta = test_floats(&s->t, ROOM);
    s->table = test_floats(&s->t, ROOM);
    s->index = test_take(&s->t, M * sizeof *s->index);
}

static void fill_scene(scene *s, zo2_dtype x_type, zo2_dtype type)
{
    test_fill(s->x, ROOM, 1, 9.0f, x_type);
    test_fill(s->y, ROOM, 2, 9.0f, type);
    test_fill(s->up, ROOM, 3, 3.0f, type);
    test_fill(s->gamma, ROOM, 4, 2.0f, ZO2_F32);
    test_fill(s->beta, ROOM, 5, 1.0f, ZO2_F32);
    test_fill(s->table, ROOM, 6, 1.0f, ZO2_F32);
    for (uint32_t i = 0; i < M; i++)
        s->index[i] = i * 7919 % POSITIONS;
}

/* All of them one after the other, each on what is random: n elements of a head, 6 heads of a row. */
static void run(scene *s, unsigned what, uint64_t n, zo2_dtype x_type, zo2_dtype type)
{
    const zo2_backend_ops *ops = s->t.ops;
    zo2_backend *b = s->t.b;
    const uint64_t row = HEADS * n, ld = row + n, stride = M * ld;
    fill_scene(s, what == 1 ? x_type : ZO2_F32, type);
    if (what == 0)
        TEST_OK(ops->layernorm(b, &(zo2_layernorm_op){.streams = STREAMS,
                                                      .m = M,
                                                      .n = row,
                                                      .x = s->x,
                                                      .stride_x = stride,
                                                      .gamma = s->gamma,
                                                      .beta = s->beta,
                                                      .stride_vec = row,
                                                      .eps = 1e-5f,
                                                      .y = s->y,
                                                      .stride_y = stride,
                                                      .type = type}));
    else if (what <= 2)
        TEST_OK(ops->rmsnorm(b, &(zo2_rmsnorm_op){.streams = STREAMS,
                                                  .m = M,
                                                  .n = what == 1 ? n : row,
                                                  .groups = what == 1 ? HEADS : 1,
                                                  .x = s->x,
                                                  .x_type = what == 1 ? x_type : ZO2_F32,
                                                  .ldx = ld,
                                                  .stride_x = stride,
                                                  .gamma = s->gamma,
                                                  .stride_vec = row,
                                                  .eps = 1e-5f,
                                                  .y = s->y,
                                                  .ldy = ld,
                                                  .stride_y = stride,
                                                  .type = type}));
    else if (what == 3)
        TEST_OK(ops->rope(b, &(zo2_rope_op){.streams = STREAMS,
                                            .m = M,
                                            .heads = HEADS,
                                            .head_dim = (uint32_t)n,
                                            .x = s->y,
                                            .ld = ld,
                                            .stride = stride,
                                            .table = s->table,
                                            .positions = POSITIONS,
                                            .position = s->index,
                                            .scale = 0.3f,
                                            .type = type}));
    else
        for (int act = ZO2_ACT_NONE; act <= ZO2_ACT_GELU_TANH; act++) {
            if (act == ZO2_ACT_GELU)
                continue;
            TEST_OK(ops->gate(b, &(zo2_gate_op){.streams = STREAMS,
                                                .m = M,
                                                .n = row,
                                                .y = s->y,
                                                .up = s->up,
                                                .ld = ld,
                                                .stride = stride,
                                                .bias_gate = s->gamma,
                                                .bias_up = s->beta,
                                                .stride_bias = row,
                                                .act = (zo2_activation)act,
                                                .type = type}));
            TEST_OK(ops->bias_act(b, &(zo2_bias_act_op){.streams = STREAMS,
                                                        .m = M,
                                                        .n = row,
                                                        .y = s->y,
                                                        .ldy = ld,
                                                        .stride_y = stride,
                                                        .bias = s->gamma,
                                                        .stride_bias = row,
                                                        .scale = 2.5f,
                                                        .act = (zo2_activation)act,
                                                        .type = type}));
        }
}

/* States after two tiles that skip rows, n logits each and one less: held in shared memory and read twice. */
static void log_sum_exp(scene *s, uint64_t n, zo2_lse states[M])
{
    const zo2_backend_ops *ops = s->t.ops;
    zo2_lse *state = (zo2_lse *)(void *)s->y;
    uint32_t *skip = (uint32_t *)(void *)s->up;
    fill_scene(s, ZO2_F32, ZO2_F32);
    for (uint32_t i = 0; i < (2 * n + 31) / 32; i++)
        skip[i] = i * 2654435761u & 0x81F03018u;
    for (uint32_t i = 0; i < M; i++)
        s->index[i] = i * 29 % (uint32_t)(2 * n);
    TEST_OK(ops->lse_init(s->t.b, &(zo2_lse_init_op){state, M}));
    for (uint64_t tile = 0; tile < 2; tile++)
        TEST_OK(ops->lse_tile(s->t.b, &(zo2_lse_op){.streams = 1,
                                                    .m = M,
                                                    .n = n - tile,
                                                    .logits = s->x,
                                                    .ld = n,
                                                    .target = s->index,
                                                    .first = tile * n,
                                                    .state = state,
                                                    .skip = skip,
                                                    .skip_rows = 2 * n}));
    memcpy(states, state, M * sizeof *states);
}

static void same_states(void **state)
{
    (void)state;
    static const uint64_t rows[] = {16, 264, 1072};
    scene cpu, gpu;
    open_scene(&cpu, ZO2_BACKEND_CPU);
    open_scene(&gpu, ZO2_BACKEND_CUDA);
    for (unsigned i = 0; i < 3; i++) {
        zo2_lse one[M], two[M];
        log_sum_exp(&cpu, rows[i], one);
        log_sum_exp(&gpu, rows[i], two);
        for (unsigned j = 0; j < M; j++) {
            assert_memory_equal(&one[j].max, &two[j].max, sizeof one[j].max);
            assert_memory_equal(&one[j].sum, &two[j].sum, sizeof one[j].sum);
            assert_true(one[j].target == two[j].target || (isnan(one[j].target) && isnan(two[j].target)));
            assert_true(one[j].sum >= 1);
        }
    }
    test_close(&gpu.t);
    test_close(&cpu.t);
}

static void same_bits(void **state)
{
    (void)state;
    static const uint64_t widths[] = {48, 18}; /* of a head */
    scene cpu, gpu;
    open_scene(&cpu, ZO2_BACKEND_CPU);
    open_scene(&gpu, ZO2_BACKEND_CUDA);
    for (unsigned what = 0; what <= 4; what++)
        for (unsigned i = 0; i < 10; i++) {
            uint64_t n = widths[i % 2];
            zo2_dtype type = i / 2 < 3 ? test_types[i / 2] : test_types[i / 2 - 2];
            zo2_dtype x_type = i / 2 < 3 ? ZO2_F32 : type;
            run(&cpu, what, n, x_type, type);
            run(&gpu, what, n, x_type, type);
            if (memcmp(cpu.y, gpu.y, ROOM * sizeof *cpu.y))
                fail_msg("operation %u, heads of %llu, type %d from %d: other bits", what, (unsigned long long)n,
                         (int)type, (int)x_type);
            test_fill(gpu.y, 8, 2, 9.0f, type);
            assert_memory_not_equal(cpu.y, gpu.y, 8 * sizeof *cpu.y); /* something was done */
        }
    test_close(&gpu.t);
    test_close(&cpu.t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(same_bits), cmocka_unit_test(same_states)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
