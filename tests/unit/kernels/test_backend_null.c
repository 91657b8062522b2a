/* test_backend_null.c: the null backend accepts a correct schedule and names each kind of mistake. */
#include "tests/unit/kernels/test_backend_util.h"

#include "kernels/null/ledger.h"

#define ROWS 16
#define COLS 64

/* A schedule in miniature: a wire arrives on the upload lane and is decoded on the compute lane. */
typedef struct scene {
    test_device t;
    void *wire;
    uint64_t wire_bytes;
    void *plus, *minus;
    zo2_event *uploaded, *decoded;
    zo2_decode_op decode;
} scene;

static void open_scene(scene *s)
{
    test_open(&s->t, ZO2_BACKEND_NULL, (uint64_t)1 << 36, 1); /* 64 GiB that nobody has */
    s->wire_bytes = zo2_codec_get(ZO2_WIRE_BF16)->wire_bytes(ROWS, COLS);
    s->wire = test_take(&s->t, s->wire_bytes);
    s->plus = test_take(&s->t, ROWS * COLS * 2);
    s->minus = test_take(&s->t, ROWS * COLS * 2);
    TEST_OK(s->t.ops->event_create(s->t.b, &s->uploaded));
    TEST_OK(s->t.ops->event_create(s->t.b, &s->decoded));
    s->decode = (zo2_decode_op){.wire = ZO2_WIRE_BF16,
                                .src = s->wire,
                                .src_bytes = s->wire_bytes,
                                .rows = ROWS,
                                .cols = COLS,
                                .dist = ZO2_RADEMACHER,
                                .panels = 2,
                                .panel = {s->plus, s->minus},
                                .ld = COLS,
                                .type = ZO2_F16};
}

static void close_scene(scene *s)
{
    s->t.ops->event_destroy(s->t.b, s->uploaded);
    s->t.ops->event_destroy(s->t.b, s->decoded);
    test_close(&s->t);
}

static zo2_status upload(scene *s, uint64_t at, uint64_t bytes)
{
    return s->t.ops->upload(s->t.b, ZO2_LANE_UPLOAD, (char *)s->wire + at, NULL, bytes);
}

static zo2_status decode(scene *s)
{
    return s->t.ops->decode(s->t.b, &s->decode);
}

static zo2_status upload_waits(scene *s)
{
    return s->t.ops->wait(s->t.b, ZO2_LANE_UPLOAD, s->decoded);
}

/* The wire is there and the compute lane knows. */
static void deliver(scene *s)
{
    TEST_OK(upload(s, 0, s->wire_bytes));
    TEST_OK(s->t.ops->record(s->t.b, ZO2_LANE_UPLOAD, s->uploaded));
    TEST_OK(s->t.ops->wait(s->t.b, ZO2_LANE_COMPUTE, s->uploaded));
}

static void test_correct(void **state)
{
    (void)state;
    scene s;
    open_scene(&s);
    for (int round = 0; round < 3; round++) {
        if (round)
            TEST_OK(upload_waits(&s));
        deliver(&s);
        TEST_OK(decode(&s));
        TEST_OK(s.t.ops->record(s.t.b, ZO2_LANE_COMPUTE, s.decoded));
    }
    TEST_OK(s.t.ops->sync(s.t.b, s.decoded)); /* the caller's wait orders what it enqueues later */
    deliver(&s);
    TEST_OK(decode(&s));
    TEST_OK(s.t.ops->drain(s.t.b));
    TEST_OK(upload(&s, 0, s.wire_bytes));
    close_scene(&s);
}

static void test_missing_upload(void **state)
{
    (void)state;
    scene s;
    open_scene(&s);
    TEST_REFUSED(decode(&s), ZO2_ERR_INTERNAL, "decode: src");
    TEST_REFUSED(decode(&s), ZO2_ERR_INTERNAL, "never written");
    TEST_OK(upload(&s, 0, s.wire_bytes - 16));
    TEST_OK(s.t.ops->drain(s.t.b));
    TEST_REFUSED(decode(&s), ZO2_ERR_INTERNAL, "never written");
    TEST_OK(upload(&s, s.wire_bytes - 16, 16));
    TEST_OK(s.t.ops->drain(s.t.b));
    TEST_OK(decode(&s));
    s.decode.src_bytes -= 16; /* all of it is there, but not all was sent */
    TEST_REFUSED(decode(&s), ZO2_ERR_DEVICE, "decode: 2032 bytes were sent of a wire of 2048");
    s.decode.src_bytes += 16;
    /* Overwritten by an operation: no wire any more. */
    TEST_OK(s.t.ops->lse_init(s.t.b, &(zo2_lse_init_op){(zo2_lse *)s.wire, 1}));
    TEST_REFUSED(decode(&s), ZO2_ERR_INTERNAL, "not completely uploaded");
    close_scene(&s);
}

static void test_missing_wait(void **state)
{
    (void)state;
    scene s;
    open_scene(&s);
    TEST_OK(upload(&s, 0, s.wire_bytes));
    TEST_REFUSED(decode(&s), ZO2_ERR_INTERNAL, "without waiting for its upload");
    TEST_REFUSED(s.t.ops->wait(s.t.b, ZO2_LANE_COMPUTE, s.uploaded), ZO2_ERR_INTERNAL, "not recorded");
    TEST_REFUSED(s.t.ops->sync(s.t.b, s.uploaded), ZO2_ERR_INTERNAL, "not recorded");
    TEST_OK(s.t.ops->record(s.t.b, ZO2_LANE_UPLOAD, s.uploaded));
    TEST_REFUSED(decode(&s), ZO2_ERR_INTERNAL, "without waiting for its upload"); /* recorded, not waited for */
    TEST_OK(s.t.ops->wait(s.t.b, ZO2_LANE_COMPUTE, s.uploaded));
    TEST_OK(decode(&s));
    /* The upload lane must not overwrite what may still be read; refused operations leave no trace. */
    TEST_REFUSED(upload(&s, 0, 16), ZO2_ERR_INTERNAL, "upload: dst");
    TEST_REFUSED(upload(&s, 0, 16), ZO2_ERR_INTERNAL, "without waiting for what reads it");
    TEST_REFUSED(upload(&s, s.wire_bytes, 4096), ZO2_ERR_INTERNAL, "without waiting for what wrote it"); /* plus */
    TEST_OK(s.t.ops->record(s.t.b, ZO2_LANE_COMPUTE, s.decoded));
    TEST_OK(decode(&s)); /* a second reader behind the event */
    TEST_OK(upload_waits(&s));
    TEST_REFUSED(upload(&s, 0, 16), ZO2_ERR_INTERNAL, "without waiting for what reads it");
    TEST_OK(s.t.ops->record(s.t.b, ZO2_LANE_COMPUTE, s.decoded));
    TEST_OK(upload_waits(&s));
    TEST_OK(upload(&s, 0, 16));
    /* Half new, half old: the new half isn't awaited. */
    TEST_REFUSED(decode(&s), ZO2_ERR_INTERNAL, "without waiting for its upload");
    close_scene(&s);
}

static void test_operations(void **state)
{
    (void)state;
    scene s;
    open_scene(&s);
    const zo2_backend_ops *ops = s.t.ops;
    char *out = test_take(&s.t, 65536);
    zo2_gemm_op gemm = {.batch = 2,
                        .m = 8,
                        .n = ROWS,
                        .k = COLS,
                        .x = out + 32768,
                        .ldx = COLS,
                        .stride_x = 8 * COLS,
                        .panel = s.plus,
                        .ld_panel = COLS,
                        .stride_panel = (uint64_t)((char *)s.minus - (char *)s.plus) / 2,
                        .y = out,
                        .ldy = ROWS,
                        .stride_y = 8 * ROWS,
                        .type = ZO2_F16,
                        .y_type = ZO2_F32};
    deliver(&s);
    TEST_OK(decode(&s));
    TEST_REFUSED(ops->gemm(s.t.b, &gemm), ZO2_ERR_INTERNAL, "gemm: x"); /* nobody wrote x */
    TEST_OK(ops->upload(s.t.b, ZO2_LANE_COMPUTE, out + 32768, NULL, 2 * 8 * COLS * 2));
    gemm.accumulate = 1;
    TEST_REFUSED(ops->gemm(s.t.b, &gemm), ZO2_ERR_INTERNAL, "gemm: y");
    gemm.accumulate = 0;
    TEST_OK(ops->gemm(s.t.b, &gemm));
    gemm.accumulate = 1;
    TEST_OK(ops->gemm(s.t.b, &gemm));
    gemm.panel = (char *)s.plus + 2; /* shapes are checked like on the cpu */
    TEST_REFUSED(ops->gemm(s.t.b, &gemm), ZO2_ERR_DEVICE, "gemm: panel is not aligned");
    zo2_layernorm_op norm = {.streams = 2,
                             .m = 8,
                             .n = ROWS,
                             .x = (float *)out,
                             .stride_x = 8 * ROWS,
                             .y = out,
                             .stride_y = 8 * ROWS,
                             .eps = 1,
                             .type = ZO2_F32};
    TEST_OK(ops->layernorm(s.t.b, &norm));
    norm.y = out + 4;
    TEST_REFUSED(ops->layernorm(s.t.b, &norm), ZO2_ERR_DEVICE, "overlaps");

    uint32_t *index = (uint32_t *)(out + 8192);
    zo2_convert_rows_op convert = {
        .streams = 1, .m = 4, .n = ROWS, .x = (float *)out, .index = index, .y = out + 16384, .type = ZO2_F16};
    TEST_REFUSED(ops->convert_rows(s.t.b, &convert), ZO2_ERR_INTERNAL, "convert_rows: index");
    TEST_OK(ops->upload(s.t.b, ZO2_LANE_COMPUTE, index, NULL, 16));
    TEST_OK(ops->convert_rows(s.t.b, &convert));

    zo2_lse *states = (zo2_lse *)(out + 49152);
    zo2_lse_op lse = {
        .streams = 1, .m = 4, .n = ROWS, .logits = (float *)out, .ld = ROWS, .target = index, .state = states};
    TEST_REFUSED(ops->lse_tile(s.t.b, &lse), ZO2_ERR_INTERNAL, "lse_tile: state");
    TEST_OK(ops->lse_init(s.t.b, &(zo2_lse_init_op){states, 4}));
    TEST_OK(ops->lse_tile(s.t.b, &lse));
    lse.skip = (uint32_t *)(out + 61440);
    lse.skip_rows = ROWS;
    TEST_REFUSED(ops->lse_tile(s.t.b, &lse), ZO2_ERR_INTERNAL, "lse_tile: skip");
    TEST_OK(ops->upload(s.t.b, ZO2_LANE_COMPUTE, out + 61440, NULL, (ROWS + 31) / 32 * 4));
    TEST_OK(ops->lse_tile(s.t.b, &lse));
    float *logprob = (float *)(out + 57344), host[4] = {1, 2, 3, 4};
    TEST_OK(ops->lse_finish(s.t.b, &(zo2_lse_finish_op){states, 4, logprob}));
    TEST_OK(ops->download(s.t.b, ZO2_LANE_COMPUTE, host, logprob, sizeof host));
    for (int i = 0; i < 4; i++)
        assert_true(host[i] == 0.0f);
    TEST_REFUSED(ops->download(s.t.b, ZO2_LANE_COMPUTE, host, logprob + 1, sizeof host), ZO2_ERR_INTERNAL,
                 "never written");
    close_scene(&s);
}

/* Tables and positions come from the host; what is done in place was written before. */
static void test_turns_and_gates(void **state)
{
    (void)state;
    const zo2_backend_ops *ops = zo2_backend_get(ZO2_BACKEND_NULL);
    test_device t;
    test_open(&t, ZO2_BACKEND_NULL, 1 << 20, 1);
    char *x = test_take(&t, 65536);
    zo2_rmsnorm_op norm = {.streams = 2,
                           .m = 8,
                           .n = 16,
                           .groups = 2,
                           .x = x,
                           .x_type = ZO2_F16,
                           .ldx = 32,
                           .stride_x = 256,
                           .eps = 1,
                           .y = x,
                           .ldy = 32,
                           .stride_y = 256,
                           .type = ZO2_F16};
    TEST_REFUSED(ops->rmsnorm(t.b, &norm), ZO2_ERR_INTERNAL, "rmsnorm: y"); /* nobody wrote it */
    norm.x = x + 8192;
    norm.x_type = ZO2_F32;
    TEST_OK(ops->upload(t.b, ZO2_LANE_COMPUTE, x + 8192, NULL, 2 * 256 * 4 - 4));
    TEST_REFUSED(ops->rmsnorm(t.b, &norm), ZO2_ERR_INTERNAL, "rmsnorm: x"); /* 4 bytes are missing */
    TEST_OK(ops->upload(t.b, ZO2_LANE_COMPUTE, x + 8192, NULL, 2 * 256 * 4));
    TEST_OK(ops->rmsnorm(t.b, &norm));

    const float *table = (float *)(x + 16384);
    const uint32_t *position = (uint32_t *)(x + 24576);
    zo2_rope_op rope = {.streams = 2,
                        .m = 8,
                        .heads = 2,
                        .head_dim = 16,
                        .x = x,
                        .ld = 32,
                        .stride = 256,
                        .table = table,
                        .positions = 10,
                        .position = position,
                        .scale = 1,
                        .type = ZO2_F16};
    TEST_REFUSED(ops->rope(t.b, &rope), ZO2_ERR_INTERNAL, "rope: table");
    TEST_OK(ops->upload(t.b, ZO2_LANE_COMPUTE, x + 16384, NULL, 10 * 16 * 4));
    TEST_REFUSED(ops->rope(t.b, &rope), ZO2_ERR_INTERNAL, "rope: position");
    TEST_OK(ops->upload(t.b, ZO2_LANE_COMPUTE, x + 24576, NULL, 8 * 4));
    TEST_OK(ops->rope(t.b, &rope));

    zo2_gate_op gate = {.streams = 2,
                        .m = 8,
                        .n = 16,
                        .y = x,
                        .up = x + 32,
                        .ld = 32,
                        .stride = 256,
                        .bias_up = (float *)(x + 32768),
                        .stride_bias = 16,
                        .act = ZO2_ACT_SILU,
                        .type = ZO2_F16};
    TEST_REFUSED(ops->gate(t.b, &gate), ZO2_ERR_INTERNAL, "gate: bias_up");
    TEST_OK(ops->upload(t.b, ZO2_LANE_COMPUTE, x + 32768, NULL, 2 * 16 * 4));
    TEST_OK(ops->gate(t.b, &gate));
    gate.up = x + 30;
    TEST_REFUSED(ops->gate(t.b, &gate), ZO2_ERR_DEVICE, "gate: y overlaps up");
    test_close(&t);
}

static void test_attention(void **state)
{
    (void)state;
    const zo2_backend_ops *ops = zo2_backend_get(ZO2_BACKEND_NULL);
    assert_int_equal(ops->attention_workspace(96, 128, 2048, 7), 0); /* scores are never in memory */
    test_device t;
    test_open(&t, ZO2_BACKEND_NULL, 1 << 20, 1);
    char *x = test_take(&t, 65536);
    zo2_seq seqs[] = {{0, 10, 0, 0}, {10, 6, 0, 10}};
    zo2_attention_op op = {.streams = 2,
                           .m = 16,
                           .heads = 2,
                           .head_dim = 8,
                           .q = x,
                           .k = x + 2048,
                           .v = x + 4096,
                           .ld = 16,
                           .stride = 256,
                           .out = x + 8192,
                           .ld_out = 16,
                           .stride_out = 256,
                           .seqs = seqs,
                           .n_seqs = 2,
                           .type = ZO2_F16};
    TEST_REFUSED(ops->attention(t.b, &op), ZO2_ERR_INTERNAL, "attention: q");
    TEST_OK(ops->upload(t.b, ZO2_LANE_COMPUTE, x, NULL, 8192));
    TEST_OK(ops->attention(t.b, &op));
    op.kv_heads = 1; /* keys and values elsewhere, of half the width */
    op.k = x + 16384;
    op.v = x + 20480;
    op.ld_kv = 8;
    op.stride_kv = 128;
    TEST_REFUSED(ops->attention(t.b, &op), ZO2_ERR_INTERNAL, "attention: k (arena bytes 16384 to 16640)");
    TEST_OK(ops->upload(t.b, ZO2_LANE_COMPUTE, x + 16384, NULL, 512));
    TEST_OK(ops->upload(t.b, ZO2_LANE_COMPUTE, x + 20480, NULL, 512));
    TEST_OK(ops->attention(t.b, &op));
    test_close(&t);
}

static void test_memory(void **state)
{
    (void)state;
    const zo2_backend_ops *ops = zo2_backend_get(ZO2_BACKEND_NULL);
    assert_int_equal(ops->context_bytes, 500000000);
    assert_int_equal(ops->element_bytes(ZO2_F32), 4);
    assert_int_equal(ops->element_bytes(ZO2_F16), 2);
    assert_int_equal(ops->element_bytes(ZO2_BF16), 2);
    scene s;
    open_scene(&s);
    assert_int_equal(ops->peak_bytes(s.t.b), 500000000);
    TEST_OK(upload(&s, 0, s.wire_bytes));
    assert_int_equal(ops->peak_bytes(s.t.b), 500000000 + s.wire_bytes);
    TEST_OK(ops->upload(s.t.b, ZO2_LANE_UPLOAD, s.t.arena + s.t.bytes - 10, NULL, 10));
    assert_int_equal(ops->peak_bytes(s.t.b), 500000000 + s.t.bytes);
    TEST_REFUSED(ops->upload(s.t.b, ZO2_LANE_UPLOAD, s.t.arena + s.t.bytes - 10, NULL, 11), ZO2_ERR_DEVICE, "arena");
    close_scene(&s);
    zo2_backend *b;
    zo2_backend_config config = {.arena_bytes = 0};
    TEST_REFUSED(ops->open(&b, &config), ZO2_ERR_ARG, "arena");
    assert_null(b);
    ops->close(NULL);
}

/* Once host memory is registered, transfers must use it: nothing else can be copied beside the host. */
static void test_registered(void **state)
{
    (void)state;
    scene s;
    open_scene(&s);
    static _Alignas(4096) char host[2][4096];
    void *device = s.t.arena;
    TEST_OK(s.t.ops->upload(s.t.b, ZO2_LANE_STAGE, device, NULL, 64)); /* nothing registered: anything goes */
    TEST_REFUSED(s.t.ops->host_register(s.t.b, host[0] + 1, 4096), ZO2_ERR_INTERNAL, "whole pages");
    TEST_OK(s.t.ops->host_register(s.t.b, host[0], 4096));
    TEST_OK(s.t.ops->upload(s.t.b, ZO2_LANE_STAGE, device, host[0] + 4032, 64));
    TEST_OK(s.t.ops->download(s.t.b, ZO2_LANE_STAGE, host[0] + 4032, device, 64));
    TEST_REFUSED(s.t.ops->upload(s.t.b, ZO2_LANE_STAGE, device, host[0] + 4033, 64), ZO2_ERR_INTERNAL,
                 "upload: the host memory was not registered");
    TEST_REFUSED(s.t.ops->download(s.t.b, ZO2_LANE_STAGE, host[1], device, 64), ZO2_ERR_INTERNAL, "download: the host");
    TEST_OK(s.t.ops->host_register(s.t.b, host[1], 4096));
    TEST_OK(s.t.ops->download(s.t.b, ZO2_LANE_STAGE, host[1], device, 64));
    s.t.ops->host_unregister(s.t.b, host[0]);
    TEST_REFUSED(s.t.ops->upload(s.t.b, ZO2_LANE_STAGE, device, host[0], 64), ZO2_ERR_INTERNAL, "not registered");
    close_scene(&s);
}

/* The ledger against a byte-by-byte model, under random accesses and events of all lanes. */
enum { BYTES = 64, EVENTS = 4, LANES = ZO2_LANE_COUNT };

typedef struct byte_model {
    uint64_t write, read[LANES];
    int lane, uploaded;
} byte_model;

static void test_ledger_model(void **state)
{
    (void)state;
    uint64_t seed = 42, allowed = 0, refused = 0;
    zo2_ledger g;
    TEST_OK(zo2_ledger_open(&g, BYTES));
    byte_model m[BYTES] = {0};
    uint64_t done[LANES][LANES] = {{0}}; /* as zo2_ledger.lane */
    zo2_ledger_clock event[EVENTS] = {0};
    for (int step = 0; step < 20000; step++) {
#define PICK(n) ((uint32_t)((test_random(&seed) + 1.0f) * 0.49999f * (float)(n)))
        int lane = (int)PICK(LANES), action = (int)PICK(8), e = (int)PICK(EVENTS), uploaded = (int)PICK(2);
        uint64_t begin = PICK(BYTES), end = begin + 1 + PICK(BYTES - begin);
        if (action == 0) {
            event[e] = zo2_ledger_record(&g, (zo2_lane)lane);
            assert_memory_equal(event[e].done, done[lane], sizeof done[lane]);
        } else if (action == 1) {
            zo2_ledger_wait(&g, (zo2_lane)lane, &event[e]);
            for (int l = 0; l < LANES; l++)
                if (done[lane][l] < event[e].done[l])
                    done[lane][l] = event[e].done[l];
        } else if (action == 2 && PICK(8) == 0) {
            zo2_ledger_drain(&g);
            for (int l = 0; l < LANES; l++)
                for (int of = 0; of < LANES; of++)
                    done[l][of] = done[of][of];
        } else {
            int write = action % 2, ok = 1;
            for (uint64_t i = begin; i < end; i++) {
                ok &= m[i].lane == lane || m[i].write <= done[lane][m[i].lane];
                for (int l = 0; write && l < LANES; l++)
                    ok &= l == lane || m[i].read[l] <= done[lane][l];
                if (!write)
                    ok &= m[i].write && (!uploaded || m[i].uploaded);
            }
            const char *wrong = write ? zo2_ledger_may_write(&g, (zo2_lane)lane, begin, end)
                                      : zo2_ledger_may_read(&g, (zo2_lane)lane, begin, end, uploaded);
            assert_int_equal(wrong == NULL, ok);
            if (!ok) {
                refused++;
                continue;
            }
            allowed++;
            zo2_ledger_tick(&g, (zo2_lane)lane);
            done[lane][lane]++;
            TEST_OK(write ? zo2_ledger_write(&g, (zo2_lane)lane, begin, end, uploaded)
                          : zo2_ledger_read(&g, (zo2_lane)lane, begin, end));
            for (uint64_t i = begin; i < end; i++)
                if (write)
                    m[i] = (byte_model){.write = done[lane][lane], .lane = lane, .uploaded = uploaded};
                else
                    m[i].read[lane] = done[lane][lane];
            assert_true(g.n <= BYTES && g.segment[0].begin == 0 && g.segment[g.n - 1].end == BYTES);
        }
    }
    assert_true(allowed > 2000 && refused > 2000);
    zo2_ledger_close(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_correct),    cmocka_unit_test(test_missing_upload),  cmocka_unit_test(test_missing_wait),
        cmocka_unit_test(test_operations), cmocka_unit_test(test_turns_and_gates), cmocka_unit_test(test_attention),
        cmocka_unit_test(test_memory),     cmocka_unit_test(test_registered),      cmocka_unit_test(test_ledger_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
