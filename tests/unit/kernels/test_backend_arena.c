/* test_backend_arena.c: names, life, transfers, events and refusals of the cpu backend: everything but arithmetic. */
#include "tests/unit/kernels/test_backend_util.h"

static void test_names(void **state)
{
    (void)state;
    static const char *const names[] = {"auto", "cpu", "cuda", "null"};
    for (int k = 0; k < 4; k++) {
        assert_string_equal(zo2_backend_name((zo2_backend_kind)k), names[k]);
        assert_int_equal(zo2_backend_parse(names[k]), k);
    }
    assert_null(zo2_backend_name((zo2_backend_kind)4));
    assert_int_equal(zo2_backend_parse("CPU"), -1);
    assert_int_equal(zo2_backend_parse(""), -1);
    assert_int_equal(zo2_backend_parse(NULL), -1);
    assert_ptr_equal(zo2_backend_get(ZO2_BACKEND_CPU), &zo2_backend_cpu);
    assert_ptr_equal(zo2_backend_get(ZO2_BACKEND_NULL), &zo2_backend_null);
    char why[256] = "?";
    const zo2_backend_ops *cuda = zo2_backend_get(ZO2_BACKEND_CUDA), *best = zo2_backend_auto(why, sizeof why);
    assert_ptr_equal(zo2_backend_get(ZO2_BACKEND_AUTO), best);
    if (cuda) {
        assert_int_equal(cuda->kind, ZO2_BACKEND_CUDA);
        assert_ptr_equal(best, cuda->usable() ? &zo2_backend_cpu : cuda);
        assert_int_equal(why[0] != 0, best == &zo2_backend_cpu); /* says why it isn't the GPU */
    } else {
        assert_ptr_equal(best, &zo2_backend_cpu);
        assert_string_equal(why, "");
    }
    assert_null(zo2_backend_get((zo2_backend_kind)17));
}

static void test_life(void **state)
{
    (void)state;
    const zo2_backend_ops *ops = zo2_backend_get(ZO2_BACKEND_CPU);
    zo2_backend *b = (zo2_backend *)&ops; /* failures must clear it */
    zo2_backend_config config = {.arena_bytes = 0};
    TEST_REFUSED(ops->open(&b, &config), ZO2_ERR_ARG, "arena");
    assert_null(b);
    config.arena_bytes = (uint64_t)1 << 60;
    TEST_REFUSED(ops->open(&b, &config), ZO2_ERR_NOMEM, "arena");
    assert_null(b);
    ops->close(NULL);
    config.arena_bytes = 5000; /* no threads, no pool: serial */
    TEST_OK(ops->open(&b, &config));
    assert_int_equal((uintptr_t)ops->arena(b) % 4096, 0);
    assert_int_equal(ops->peak_bytes(b), 0);
    ops->event_destroy(b, NULL);
    ops->close(b);
    assert_int_equal(ops->context_bytes, 0);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(ops->element_bytes(test_types[i]), 4);
}

static void test_transfers(void **state)
{
    (void)state;
    test_device t;
    test_open(&t, ZO2_BACKEND_CPU, 4096, 1);
    unsigned char host[100], back[100];
    for (int i = 0; i < 100; i++)
        host[i] = (unsigned char)(i * 3);
    TEST_OK(t.ops->upload(t.b, ZO2_LANE_UPLOAD, t.arena + 3996, host, 100));
    assert_int_equal(t.ops->peak_bytes(t.b), 4096);
    memset(back, 0, sizeof back);
    TEST_OK(t.ops->download(t.b, ZO2_LANE_COMPUTE, back, t.arena + 3996, 100));
    assert_memory_equal(host, back, 100);
    TEST_REFUSED(t.ops->upload(t.b, ZO2_LANE_UPLOAD, t.arena + 3997, host, 100), ZO2_ERR_DEVICE, "upload: dst");
    TEST_REFUSED(t.ops->upload(t.b, ZO2_LANE_COMPUTE, t.arena - 1, host, 1), ZO2_ERR_DEVICE, "upload: dst");
    TEST_REFUSED(t.ops->download(t.b, ZO2_LANE_COMPUTE, back, host, 100), ZO2_ERR_DEVICE, "download: src");
    TEST_REFUSED(t.ops->download(t.b, ZO2_LANE_COMPUTE, back, NULL, 100), ZO2_ERR_DEVICE, "download: src");
    TEST_OK(t.ops->upload(t.b, ZO2_LANE_UPLOAD, NULL, NULL, 0));
    test_close(&t);
}

static void test_peak(void **state)
{
    (void)state;
    test_device t;
    test_open(&t, ZO2_BACKEND_CPU, 8192, 1);
    float x = 0;
    TEST_OK(t.ops->upload(t.b, ZO2_LANE_UPLOAD, t.arena + 400, &x, 4));
    assert_int_equal(t.ops->peak_bytes(t.b), 404);
    TEST_OK(t.ops->upload(t.b, ZO2_LANE_UPLOAD, t.arena, &x, 4));
    assert_int_equal(t.ops->peak_bytes(t.b), 404);
    TEST_OK(t.ops->lse_init(t.b, &(zo2_lse_init_op){(zo2_lse *)(t.arena + 1024), 3}));
    assert_int_equal(t.ops->peak_bytes(t.b), 1024 + 48);
    TEST_REFUSED(t.ops->lse_init(t.b, &(zo2_lse_init_op){(zo2_lse *)(t.arena + 8176), 2}), ZO2_ERR_DEVICE,
                 "lse_init: state");
    assert_int_equal(t.ops->peak_bytes(t.b), 1024 + 48);
    test_close(&t);
}

static void test_events(void **state)
{
    (void)state;
    test_device t;
    test_open(&t, ZO2_BACKEND_CPU, 4096, 1);
    zo2_event *e = NULL;
    TEST_OK(t.ops->event_create(t.b, &e));
    TEST_REFUSED(t.ops->wait(t.b, ZO2_LANE_COMPUTE, e), ZO2_ERR_INTERNAL, "not recorded");
    TEST_REFUSED(t.ops->sync(t.b, e), ZO2_ERR_INTERNAL, "not recorded");
    TEST_OK(t.ops->record(t.b, ZO2_LANE_UPLOAD, e));
    TEST_OK(t.ops->wait(t.b, ZO2_LANE_COMPUTE, e));
    TEST_OK(t.ops->sync(t.b, e));
    TEST_OK(t.ops->record(t.b, ZO2_LANE_COMPUTE, e));
    TEST_OK(t.ops->drain(t.b));
    t.ops->event_destroy(t.b, e);
    test_close(&t);
}

/* Every operation names itself and the operand that is wrong. Shapes: 2 streams, 4 rows, 8 columns. */
static void test_refusals(void **state)
{
    (void)state;
    test_device t;
    test_open(&t, ZO2_BACKEND_CPU, 16384, 1);
    float *a = test_floats(&t, 64), *b = test_floats(&t, 64), *c = test_floats(&t, 64),
          *end = (float *)(t.arena + t.bytes);
    test_fill(a, 64, 1, 1.0f, ZO2_F32);
    test_fill(b, 64, 2, 1.0f, ZO2_F32);

    zo2_gemm_op gemm = {.batch = 2,
                        .m = 4,
                        .n = 4,
                        .k = 8,
                        .x = a,
                        .ldx = 8,
                        .stride_x = 32,
                        .panel = b,
                        .ld_panel = 8,
                        .stride_panel = 32,
                        .y = c,
                        .ldy = 8,
                        .stride_y = 4, /* streams in columns */
                        .type = ZO2_F32,
                        .y_type = ZO2_F32};
    TEST_OK(t.ops->gemm(t.b, &gemm));
    zo2_gemm_op g = gemm;
#define TRY(change, part)                                         \
    do {                                                          \
        g = gemm;                                                 \
        change;                                                   \
        TEST_REFUSED(t.ops->gemm(t.b, &g), ZO2_ERR_DEVICE, part); \
    } while (0)
    TRY(g.stride_y = 3, "gemm: streams of y overlap");
    TRY(g.y = b, "gemm: y overlaps panel");
    TRY(g.y = a + 8, "gemm: y overlaps x");
    TRY(g.y = end - 31, "gemm: y (128 bytes) is not inside"); /* one element too far */
    TRY(g.panel = b + 1, "gemm: panel is not aligned");
    TRY(g.x = (char *)a + 2, "gemm: x is not aligned");
    TRY(g.ldx = 7, "gemm: a row stride");
    TRY(g.k = 0, "gemm");
    TRY(g.batch = 0, "gemm");
    TRY(g.x = NULL, "gemm: x is NULL");
    TRY(g.stride_x = UINT64_MAX / 2, "gemm: size of x overflows");
    TRY(g.y_type = ZO2_F16, "gemm: types");
    TRY((g.type = g.y_type = ZO2_BF16, g.bias = c + 60), "gemm: adds a bias in fp32 only");
    TRY(g.bias = c + 8, "gemm: y overlaps bias");
    TRY((g.bias = end - 7, g.stride_bias = 4), "gemm: bias (32 bytes) is not inside"); /* one element too far */
    TRY(g.m = (uint64_t)1 << 32, "gemm: a size");
#undef TRY
    g = gemm;
    g.m = 0;
    g.x = g.y = NULL;
    TEST_OK(t.ops->gemm(t.b, &g));

    zo2_bias_act_op bias = {.streams = 2,
                            .m = 4,
                            .n = 8,
                            .y = c,
                            .ldy = 8,
                            .stride_y = 32,
                            .bias = c + 60,
                            .stride_bias = 8,
                            .scale = 1,
                            .type = ZO2_F32};
    TEST_REFUSED(t.ops->bias_act(t.b, &bias), ZO2_ERR_DEVICE, "bias_act: y overlaps bias");
    bias.bias = end - 15;
    TEST_REFUSED(t.ops->bias_act(t.b, &bias), ZO2_ERR_DEVICE, "bias_act: bias");

    zo2_layernorm_op norm = {
        .streams = 2, .m = 4, .n = 8, .x = a, .stride_x = 32, .y = a, .stride_y = 32, .type = ZO2_F32, .eps = 1};
    TEST_OK(t.ops->layernorm(t.b, &norm));
    norm.type = ZO2_F16; /* in place only without conversion */
    TEST_REFUSED(t.ops->layernorm(t.b, &norm), ZO2_ERR_DEVICE, "layernorm: y overlaps x");
    norm.type = ZO2_F32;
    norm.y = a + 8;
    TEST_REFUSED(t.ops->layernorm(t.b, &norm), ZO2_ERR_DEVICE, "layernorm: y overlaps x");

    zo2_convert_rows_op convert = {.streams = 1, .m = 8, .n = 8, .x = a, .y = a + 63, .type = ZO2_F32};
    TEST_REFUSED(t.ops->convert_rows(t.b, &convert), ZO2_ERR_DEVICE, "convert_rows: y overlaps x");

    zo2_decode_op decode = {.wire = ZO2_WIRE_FP32,
                            .src = a,
                            .src_bytes = 4 * 32,
                            .rows = 4,
                            .cols = 8,
                            .dist = ZO2_GAUSSIAN,
                            .panels = 2,
                            .panel = {b, c},
                            .ld = 8,
                            .type = ZO2_F32};
    TEST_OK(t.ops->decode(t.b, &decode));
    decode.panel[1] = b + 28;
    TEST_REFUSED(t.ops->decode(t.b, &decode), ZO2_ERR_DEVICE, "decode: panel 0 overlaps panel 1");
    decode.panels = 3;
    TEST_REFUSED(t.ops->decode(t.b, &decode), ZO2_ERR_DEVICE, "decode: 3 panels");
    decode.panels = 1;
    decode.src = a + 1;
    TEST_REFUSED(t.ops->decode(t.b, &decode), ZO2_ERR_DEVICE, "decode: src is not aligned to 16");
    decode.src = end - 28;
    TEST_REFUSED(t.ops->decode(t.b, &decode), ZO2_ERR_DEVICE, "decode: src");
    decode.src = a;
    decode.wire = (zo2_wire)77;
    TEST_REFUSED(t.ops->decode(t.b, &decode), ZO2_ERR_DEVICE, "decode: unknown wire 77");
    decode.wire = ZO2_WIRE_FP32;
    decode.folds = 1;
    TEST_REFUSED(t.ops->decode(t.b, &decode), ZO2_ERR_DEVICE, "decode: 1 folds");

    zo2_lse_op lse = {
        .streams = 1, .m = 1, .n = 8, .logits = a, .ld = 8, .target = (uint32_t *)(a + 4), .state = (zo2_lse *)a};
    TEST_REFUSED(t.ops->lse_tile(t.b, &lse), ZO2_ERR_DEVICE, "lse_tile: state overlaps logits");
    TEST_REFUSED(t.ops->lse_finish(t.b, &(zo2_lse_finish_op){(zo2_lse *)a, 2, a + 7}), ZO2_ERR_DEVICE,
                 "lse_finish: logprob overlaps state");
    test_close(&t);
}

/* Two threads, one per lane, as the engine runs it: for ThreadSanitizer. */
typedef struct lanes {
    test_device *t;
    zo2_event *uploaded[50];
    atomic_int count; /* of events recorded */
    float host[64];
} lanes;

static void *upload_lane(void *arg)
{
    lanes *l = arg;
    for (int i = 0; i < 50; i++) {
        TEST_OK(l->t->ops->upload(l->t->b, ZO2_LANE_UPLOAD, l->t->arena + i * 256, l->host, sizeof l->host));
        TEST_OK(l->t->ops->record(l->t->b, ZO2_LANE_UPLOAD, l->uploaded[i]));
        atomic_fetch_add(&l->count, 1);
    }
    return NULL;
}

static void test_two_lanes(void **state)
{
    (void)state;
    test_device t;
    test_open(&t, ZO2_BACKEND_CPU, 65536, 2);
    lanes l = {.t = &t};
    test_fill(l.host, 64, 1, 1.0f, ZO2_F32);
    for (int i = 0; i < 50; i++)
        TEST_OK(t.ops->event_create(t.b, &l.uploaded[i]));
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, upload_lane, &l), 0);
    for (int i = 0; i < 50; i++) {
        while (atomic_load_explicit(&l.count, memory_order_relaxed) <= i)
            ;
        TEST_OK(t.ops->wait(t.b, ZO2_LANE_COMPUTE, l.uploaded[i])); /* the event alone orders what follows */
        float *x = (float *)(t.arena + i * 256);
        zo2_layernorm_op op = {.streams = 1, .m = 4, .n = 16, .x = x, .y = x, .eps = 1e-5f, .type = ZO2_F32};
        TEST_OK(t.ops->layernorm(t.b, &op));
    }
    pthread_join(thread, NULL);
    for (int i = 1; i < 50; i++)
        assert_memory_equal(t.arena, t.arena + i * 256, 256);
    assert_int_equal(t.ops->peak_bytes(t.b), 50 * 256);
    for (int i = 0; i < 50; i++)
        t.ops->event_destroy(t.b, l.uploaded[i]);
    test_close(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),     cmocka_unit_test(test_life),   cmocka_unit_test(test_transfers),
        cmocka_unit_test(test_peak),      cmocka_unit_test(test_events), cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_two_lanes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
