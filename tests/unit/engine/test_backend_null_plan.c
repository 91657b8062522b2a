/* test_backend_null_plan.c: the whole schedule of a step (lanes, ring, arena, events) without arithmetic, for every
 * published size up to 405B at 2,048 tokens: what the backend saw in use is what the plan said, and no buffer is used before its
 * time. */
#include "engine/base/machine.h"
#include "engine/families/families.h"
#include "engine/method/method.h"
#include "engine/plan/plan.h"
#include "tests/unit/engine/engine_testing.h"

#define CHUNK (4u << 20) /* the planner's own; the smallest budget means smaller ones, slow for the largest models */

static zo2_status train_pass(zo2_core *core)
{
    zo2_probe_plan probes;
    zo2_method_get()->probes(core->shape.queries, 0, &probes);
    return zo2_core_train_pass(core, &probes);
}

static const char *const sizes[] = {"opt-125m", "opt-350m", "opt-1.3b", "opt-2.7b", "opt-6.7b",
                                    "opt-13b",  "opt-30b",  "opt-66b",  "opt-175b"};
static const char *const others[] = {"llama-3.2-1b", "llama-3.1-8b", "llama-3.1-70b", "llama-3.1-405b", "qwen2.5-0.5b",
                                     "qwen2.5-7b",   "qwen3-0.6b",   "qwen3-1.7b",    "qwen3-4b",       "qwen3-8b",
                                     "qwen3-14b",    "qwen3-32b",    "mistral-7b"};

/* GPU memory of ZO2 for sequences of 2,048 tokens, batch 1, fp16, in GB (arXiv 2503.12668); 0: not published. */
static const double published[] = {0, 0, 3.75, 4.14, 4.99, 6.18, 8.86, 12.07, 18.04};

typedef struct variant {
    zo2_wire wire;
    uint32_t queries, rows, micro_rows, seq;
} variant;

/* chunk_bytes 0: the smallest chunks, if device_bytes is 0 too. */
static uint64_t run(const char *name, const variant *v, uint64_t device_bytes, uint64_t chunk_bytes, zo2_plan *plan)
{
    zo2_arch arch;
    zo2_engine_opts o;
    MUST(zo2_arch_from_name(&arch, name));
    zo2_engine_opts_init(&o);
    o.chunk_bytes = chunk_bytes;
    o.max_rows = v->rows;
    o.max_rows_micro = v->micro_rows;
    o.max_seq = v->seq;
    o.queries = v->queries;
    o.wire = v->wire;
    o.compute = ZO2_F16;
    o.device_bytes = device_bytes;
    o.threads = 2;
    o.host_bytes = UINT64_MAX; /* no masters here */
    zo2_run_settings settings = {
        .dist = ZO2_GAUSSIAN, .eps = 1e-3, .queries = v->queries, .wire = v->wire, .compute = ZO2_F16};
    settings.micro_batch = v->micro_rows;
    zo2_core_config config = {.arch = &arch, .ops = zo2_backend_get(ZO2_BACKEND_NULL), .settings = &settings};
    zo2_core core;
    MUST(zo2_shape_from_opts(&config.shape, &arch, config.ops, &o));
    MUST(zo2_core_create(&core, &config));
    uint64_t places = (uint64_t)v->rows * v->seq;
    int32_t *tokens = calloc(places, sizeof *tokens);
    uint8_t *loss = malloc(places);
    for (uint64_t i = 0; i < places; i++)
        loss[i] = i % v->seq != 0;
    zo2_batch b = {.struct_size = sizeof b, .rows = v->rows, .seq = v->seq, .tokens = tokens, .loss = loss};
    MUST(zo2_core_pack(&core, &b));
    MUST(train_pass(&core));
    uint64_t peak = core.ops->peak_bytes(core.be);
    *plan = core.plan.pub;
    zo2_core_destroy(&core);
    zo2_arch_free(&arch);
    free(tokens);
    free(loss);
    return peak;
}

/* The arena ends at a multiple of 256 bytes; nothing else may lie between plan and use. */
static void assert_peak(const char *name, uint64_t peak, const zo2_plan *plan)
{
    if (peak > plan->device_peak_bytes || peak + 256 <= plan->device_peak_bytes)
        fail_msg("%s: the backend saw %llu bytes in use, the plan says %llu", name, (unsigned long long)peak,
                 (unsigned long long)plan->device_peak_bytes);
}

static void every_size(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        variant bf16 = {ZO2_WIRE_BF16, 1, 1, 1, 2048}, fp8 = {ZO2_WIRE_E4M3, 1, 1, 1, 2048};
        zo2_plan plan;
        uint64_t peak = run(sizes[i], &bf16, 0, i < 4 ? 0 : CHUNK, &plan);
        assert_peak(sizes[i], peak, &plan);
        assert_true(plan.context_bytes >= 500000000);
        double with_bf16 = (double)peak / 1e9;
        peak = run(sizes[i], &fp8, 0, CHUNK, &plan);
        assert_peak(sizes[i], peak, &plan);
        print_message("%s: bf16 %.2f GB, fp8 %.2f GB, ZO2 %.2f GB\n", sizes[i], with_bf16, (double)peak / 1e9,
                      published[i]);
        if (published[i] > 0) {
            assert_true((double)peak / 1e9 <= published[i] / 2);
            assert_true(with_bf16 <= published[i] / 2);
        }
        assert_true(peak <= 4000000000u);
    }
}

static void every_size_of_other_families(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        variant long_row = {ZO2_WIRE_BF16, 1, 1, 1, 2048}, rows = {ZO2_WIRE_E4M3, 1, 2, 1, 512};
        zo2_plan plan;
        uint64_t peak = run(others[i], &long_row, 0, 8 * CHUNK, &plan);
        assert_peak(others[i], peak, &plan);
        print_message("%s: bf16 %.2f GB\n", others[i], (double)peak / 1e9);
        if (plan.parameters > 10000000000u) /* the large ones take long */
            continue;
        peak = run(others[i], &rows, 0, 8 * CHUNK, &plan);
        assert_peak(others[i], peak, &plan);
    }
}

static void queries_and_micro_batches(void **state)
{
    (void)state;
    static const variant v[] = {
        {ZO2_WIRE_BF16, 3, 1, 1, 256}, {ZO2_WIRE_BF16, 1, 4, 1, 256}, {ZO2_WIRE_E4M3, 2, 5, 2, 128}};
    for (size_t i = 0; i < sizeof v / sizeof *v; i++) {
        for (size_t m = 0; m < 3; m++) {
            zo2_plan plan;
            uint64_t peak = run(sizes[m], &v[i], 0, 0, &plan); /* the smallest without staged streams */
            assert_peak(sizes[m], peak, &plan);
            assert_int_equal(plan.staged_bytes, 0);
            assert_int_equal(plan.resident_bytes, 0);
            uint64_t least = plan.device_min_bytes;
            assert_true(v[i].rows > 2 * v[i].micro_rows ? least < peak : least == plan.device_peak_bytes);
            peak = run(sizes[m], &v[i], least, 0, &plan); /* with them, where there are more than two micro-batches */
            assert_peak(sizes[m], peak, &plan);
            assert_int_equal(plan.staged_bytes != 0, v[i].rows > 2 * v[i].micro_rows);
            peak = run(sizes[m], &v[i], least + (300u << 20), 0, &plan); /* room for some wires */
            assert_peak(sizes[m], peak, &plan);
            assert_true(plan.resident_bytes > 0 && plan.resident_bytes < 300u << 20);
            peak = run(sizes[m], &v[i], 1ull << 40, 0, &plan); /* for all of them */
            assert_peak(sizes[m], peak, &plan);
            assert_in_range(plan.resident_bytes, plan.wire_bytes_per_step, plan.wire_bytes_per_step * 101 / 100);
        }
    }
}

/* A wire that stays is uploaded when it is new. Steps are pushed into the history without a journal or masters. */
typedef struct sent {
    uint64_t bytes, chunks, kept;
} sent;

/* ud: one for each step. What comes ahead of its step counts there. */
static void count(void *ud, const zo2_trace_event *e)
{
    sent *u = (sent *)ud + e->step;
    if (e->kind != ZO2_TRACE_SPAN || strcmp(e->lane, "upload") != 0)
        return;
    u->bytes += e->bytes;
    u->chunks += !strcmp(e->name, "upload");
    u->kept += !strcmp(e->name, "resident");
}

static void wires_stay(void **state)
{
    (void)state;
    enum { K = 3, SEQ = 64, STEPS = 2 * (K + 1) };
    zo2_arch arch;
    zo2_engine_opts o;
    MUST(zo2_arch_from_name(&arch, "opt-125m"));
    zo2_engine_opts_init(&o);
    o.max_rows = o.max_rows_micro = 1;
    o.max_seq = SEQ;
    o.compute = ZO2_F16;
    o.threads = 1;
    o.host_bytes = UINT64_MAX;
    o.pending = K;
    zo2_run_settings settings = {.dist = ZO2_GAUSSIAN, .eps = 1e-3, .queries = 1, .wire = ZO2_WIRE_BF16};
    settings.compute = ZO2_F16;
    settings.micro_batch = 1;
    settings.pending = K;
    int32_t tokens[SEQ] = {0};
    uint8_t loss[SEQ] = {0};
    loss[SEQ - 1] = 1;
    zo2_batch b = {.struct_size = sizeof b, .rows = 1, .seq = SEQ, .tokens = tokens, .loss = loss};
    uint64_t streamed = 0;
    for (int budget = 0; budget < 3; budget++) {
        static const uint64_t device_bytes[] = {0, 900000000, 1ull << 40}; /* none, some, all stay */
        zo2_core_config config = {.arch = &arch, .ops = zo2_backend_get(ZO2_BACKEND_NULL), .settings = &settings};
        zo2_core core;
        o.device_bytes = device_bytes[budget];
        MUST(zo2_shape_from_opts(&config.shape, &arch, config.ops, &o));
        MUST(zo2_core_create(&core, &config));
        MUST(zo2_core_pack(&core, &b));
        sent all = {0}, once[STEPS + 1] = {0};
        zo2_core_trace(&core, count, once);
        for (uint64_t i = 0; i < STEPS; i++) {
            zo2_journal_record r = {.step = i, .queries = 1};
            MUST(train_pass(&core));
            MUST(zo2_history_push(&core.history, &r));
            if (!budget)
                streamed = once[i].bytes;
            if (i <= K) /* nothing was there before */
                continue;
            all.bytes += once[i].bytes;
            all.kept += once[i].kept;
        }
        const zo2_plan *plan = &core.plan.pub;
        uint64_t planned = (K + 1) * plan->wire_bytes_per_step;
        assert_true(all.bytes < planned + planned / 50 && all.bytes > planned - planned / 50);
        assert_int_equal(all.kept != 0, budget != 0);
        if (budget == 2) /* a quarter a step, and the vectors every time */
            assert_in_range(all.bytes, streamed, streamed * 103 / 100);
        assert_true(core.ops->peak_bytes(core.be) <= plan->device_peak_bytes);
        zo2_core_destroy(&core);
    }
    zo2_arch_free(&arch);
}

/* A device with a clock of its own: its spans are the lanes' seconds and appear in the trace. */
static zo2_backend_ops observed_ops;
static zo2_device_span_fn observer;
static void *observer_ud;

static zo2_status open_observed(zo2_backend **out, const zo2_backend_config *config)
{
    zo2_status s = zo2_backend_null.open(out, config);
    if (!s)
        (*out)->ops = &observed_ops;
    return s;
}

static zo2_status observe(zo2_backend *b, zo2_device_span_fn fn, void *ud)
{
    (void)b;
    observer = fn;
    observer_ud = ud;
    return ZO2_OK;
}

static uint64_t device_now; /* a clock that only work advances, so the sums are exact */

static zo2_status observed_gemm(zo2_backend *b, const zo2_gemm_op *op)
{
    observer(observer_ud, ZO2_LANE_COMPUTE, "gemm", device_now, device_now + 5);
    device_now += 5;
    return zo2_backend_null.gemm(b, op);
}

static zo2_status observed_upload(zo2_backend *b, zo2_lane lane, void *dst, const void *src, uint64_t bytes)
{
    if (lane == ZO2_LANE_COMPUTE) /* its thread is the one that reports here */
        observer(observer_ud, ZO2_LANE_UPLOAD, "upload", device_now, device_now + 7);
    return zo2_backend_null.upload(b, lane, dst, src, bytes);
}

/* Blocks are announced in order, each once a pass. */
static uint32_t next_block;

static void observed_block(zo2_backend *b, uint32_t block, uint32_t blocks)
{
    (void)b;
    assert_int_equal(block, next_block);
    assert_int_equal(blocks, 12 + 2);
    next_block = block + 1;
}

static void count_device(void *ud, const zo2_trace_event *e)
{
    sent *u = ud;
    if (e->kind != ZO2_TRACE_SPAN)
        return;
    u->kept += !strcmp(e->lane, "device compute") && !strcmp(e->name, "gemm");
    u->chunks += !strcmp(e->lane, "device upload");
}

static void device_clock(void **state)
{
    (void)state;
    zo2_arch arch;
    zo2_engine_opts o;
    sent u = {0};
    MUST(zo2_arch_from_name(&arch, "opt-125m"));
    zo2_engine_opts_init(&o);
    o.max_rows = 1;
    o.max_seq = 8;
    o.compute = ZO2_F16;
    o.threads = 1;
    o.host_bytes = UINT64_MAX;
    zo2_run_settings settings = {
        .dist = ZO2_GAUSSIAN, .eps = 1e-3, .queries = 1, .wire = ZO2_WIRE_BF16, .compute = ZO2_F16};
    settings.micro_batch = 1;
    observed_ops = zo2_backend_null;
    observed_ops.open = open_observed;
    observed_ops.observe = observe;
    observed_ops.block = observed_block;
    observed_ops.gemm = observed_gemm;
    observed_ops.upload = observed_upload;
    zo2_core_config config = {.arch = &arch, .ops = &observed_ops, .settings = &settings};
    zo2_core core;
    int32_t tokens[8] = {0};
    uint8_t loss[8] = {0, 1};
    zo2_batch b = {.struct_size = sizeof b, .rows = 1, .seq = 8, .tokens = tokens, .loss = loss};
    MUST(zo2_shape_from_opts(&config.shape, &arch, config.ops, &o));
    MUST(zo2_core_create(&core, &config));
    zo2_core_trace(&core, count_device, &u);
    MUST(zo2_core_pack(&core, &b));
    for (int i = 0; i < 2; i++) {
        sent before = u;
        next_block = 0;
        MUST(train_pass(&core));
        assert_int_equal(next_block, 12 + 2);
        assert_true(u.kept - before.kept >= 12 * 6 && u.chunks > before.chunks);
        assert_float_equal(core.compute.busy, 5e-9 * (double)(u.kept - before.kept), 1e-12);
        assert_float_equal(core.upload.busy, 7e-9 * (double)(u.chunks - before.chunks), 1e-12);
        assert_true(core.compute.waiting > 0);
    }
    zo2_core_destroy(&core);
    zo2_arch_free(&arch);
}

/* The message of a refusal says what would work, and that works. */
static void advice_is_good(void **state)
{
    (void)state;
    zo2_plan plan;
    zo2_engine_opts o;
    zo2_engine_opts_init(&o);
    o.backend = ZO2_BACKEND_NULL;
    o.compute = ZO2_F16;
    o.host_bytes = UINT64_MAX;
    o.max_rows = 32;
    o.max_loss_tokens = 32;
    MUST(zo2_plan_estimate("opt-1.3b", &o, &plan));
    o.device_bytes = 1200000000; /* too small for 32 rows at once */
    assert_int_equal(zo2_plan_estimate("opt-1.3b", &o, &plan), ZO2_ERR_NOMEM);
    const char *advice = strstr(zo2_last_error(), "micro-batches of up to ");
    assert_non_null(advice);
    uint32_t micro = (uint32_t)strtoul(advice + strlen("micro-batches of up to "), NULL, 10);
    assert_in_range(micro, 1, 31);
    o.micro_batch = o.max_rows_micro = micro;
    MUST(zo2_plan_estimate("opt-1.3b", &o, &plan));
    assert_true(plan.device_peak_bytes <= o.device_bytes && plan.staged_bytes > 0);
    o.micro_batch = o.max_rows_micro = micro + 1;
    assert_int_equal(zo2_plan_estimate("opt-1.3b", &o, &plan), ZO2_ERR_NOMEM);

    o.micro_batch = o.max_rows_micro = 1; /* every token carries loss: the head's rows are what is too much */
    o.max_rows = 100;
    o.max_loss_tokens = 0;
    assert_int_equal(zo2_plan_estimate("opt-1.3b", &o, &plan), ZO2_ERR_NOMEM);
    advice = strstr(zo2_last_error(), "; within it, batches of up to ");
    assert_non_null(advice);
    o.max_rows = (uint32_t)strtoul(advice + strlen("; within it, batches of up to "), NULL, 10);
    assert_in_range(o.max_rows, 2, 99);
    MUST(zo2_plan_estimate("opt-1.3b", &o, &plan));
    o.max_rows++;
    assert_int_equal(zo2_plan_estimate("opt-1.3b", &o, &plan), ZO2_ERR_NOMEM);
    o.device_bytes = 550000000;
    assert_int_equal(zo2_plan_estimate("opt-1.3b", &o, &plan), ZO2_ERR_NOMEM);
    assert_non_null(strstr(zo2_last_error(), "even one row of 2048 tokens is too much"));
}

static void too_small_a_budget_is_refused(void **state)
{
    (void)state;
    zo2_plan plan;
    zo2_engine_opts o;
    zo2_engine_opts_init(&o);
    o.backend = ZO2_BACKEND_NULL;
    o.max_rows = 1;
    o.compute = ZO2_F16;
    o.host_bytes = UINT64_MAX;
    MUST(zo2_plan_estimate("opt-13b", &o, &plan));
    uint64_t least = plan.device_min_bytes;
    assert_int_equal(plan.device_peak_bytes, least); /* no budget given: the smallest */
    char text[64];
    snprintf(text, sizeof text, "smallest that works with these settings is %llu", (unsigned long long)least);
    o.device_bytes = least - 1;
    assert_int_equal(zo2_plan_estimate("opt-13b", &o, &plan), ZO2_ERR_NOMEM);
    assert_non_null(strstr(zo2_last_error(), text));
    assert_int_equal(plan.device_min_bytes, least);
    o.device_bytes = least;
    MUST(zo2_plan_estimate("opt-13b", &o, &plan));
    o.host_bytes = 1 << 20;
    assert_int_equal(zo2_plan_estimate("opt-13b", &o, &plan), ZO2_ERR_NOMEM);
    assert_non_null(strstr(zo2_last_error(), "host budget"));
}

static void lanes_keep_cpus(void **state)
{
    (void)state;
    zo2_plan plan;
    zo2_engine_opts o;
    const uint32_t cpus = zo2_usable_cpus();
    zo2_engine_opts_init(&o);
    o.host_bytes = UINT64_MAX;
    o.probe_seconds = 0;
    o.backend = ZO2_BACKEND_CPU;
    MUST(zo2_plan_estimate("opt-125m", &o, &plan));
    assert_int_equal(plan.threads, cpus);
    o.backend = ZO2_BACKEND_NULL;
    MUST(zo2_plan_estimate("opt-125m", &o, &plan));
    assert_int_equal(plan.threads, cpus > 2 ? cpus - 2 : 1);
    o.threads = 5;
    MUST(zo2_plan_estimate("opt-125m", &o, &plan));
    assert_int_equal(plan.threads, 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_size),
        cmocka_unit_test(every_size_of_other_families),
        cmocka_unit_test(queries_and_micro_batches),
        cmocka_unit_test(wires_stay),
        cmocka_unit_test(device_clock),
        cmocka_unit_test(too_small_a_budget_is_refused),
        cmocka_unit_test(advice_is_good),
        cmocka_unit_test(lanes_keep_cpus),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
