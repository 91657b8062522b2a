/* test_sim_backend_device.c: the cuda backend's device: which one is taken and what is said if none is; memory; what is
 * forbidden inside a step; errors at any call and any operation, after which a run resumes to the same bits. */
#include "cudasim.h"
#include "tests/unit/engine/engine_testing.h"

#define MODEL "opt-fixtures/prenorm-f16-headdim20"
#define STEPS 4

static char logged[2000];

static void log_lines(void *ud, zo2_log_level level, const char *text)
{
    (void)ud;
    (void)level;
    strncat(logged, text, sizeof logged - strlen(logged) - 2);
    strcat(logged, "\n");
}

enum { ROWS = 6, SEQ = 14 };

static void batch_of(test_batch *t, uint64_t step)
{
    random_batch(t, (uint32_t)step + 1, 100, ROWS, SEQ, 0);
    t->b.data_position = step + 1;
}

static zo2_engine_opts base_opts(void)
{
    zo2_engine_opts o;
    zo2_engine_opts_init(&o);
    o.backend = ZO2_BACKEND_CUDA;
    o.log = log_lines;
    o.lr = 1e-3;
    o.seed = 3;
    o.max_rows = ROWS;
    o.max_seq = SEQ;
    o.threads = 2;
    o.resume = 1;
    o.chunk_bytes = 4000;
    return o;
}

static zo2_status open_run(zo2_engine **e, const char *run, const zo2_engine_opts *o)
{
    char path[512];
    return zo2_engine_open(e, pack_of(MODEL), scratch_path(path, sizeof path, run), o);
}

/* Up to STEPS steps; the status that ended it. */
static zo2_status train(zo2_engine *e, zo2_step_result *last)
{
    zo2_engine_state st;
    zo2_status s = ZO2_OK;
    for (zo2_engine_get_state(e, &st); st.step < STEPS && !s; zo2_engine_get_state(e, &st)) {
        test_batch t;
        batch_of(&t, st.step);
        *last = (zo2_step_result){.struct_size = sizeof *last};
        s = zo2_step(e, &t.b, last);
    }
    return s;
}

static void assert_clean(void)
{
    cudasim_stats s;
    cudasim_get_stats(&s);
    if (cudasim_report()[0])
        fail_msg("the simulator reports: %s", cudasim_report());
    assert_int_equal(s.live_allocations + s.live_streams + s.live_events + s.live_handles + s.live_registrations, 0);
}

/* ---- which device ---- */

static void refusals(void **state)
{
    (void)state;
    static const struct {
        cudasim_config config;
        const char *says;
    } v[] = {{{.start_error = cudaErrorInsufficientDriver}, "driver"},
             {{.start_error = cudaErrorNoDevice}, "no CUDA device"},
             {{.major = 7, .minor = 0}, "compute capability 7.0, needed is 7.5"}};
    for (size_t i = 0; i < sizeof v / sizeof *v; i++) {
        zo2_engine_opts o = base_opts();
        zo2_engine *e = NULL;
        cudasim_reset(&v[i].config);
        assert_int_equal(open_run(&e, "refused", &o), ZO2_ERR_DEVICE);
        if (!strstr(zo2_last_error(), v[i].says))
            fail_msg("\"%s\" does not mention \"%s\"", zo2_last_error(), v[i].says);
        assert_null(e);
        /* auto takes the CPU and says so */
        logged[0] = 0;
        o.backend = ZO2_BACKEND_AUTO;
        o.read_only = 1;
        MUST(zo2_engine_open(&e, pack_of(MODEL), NULL, &o));
        assert_int_equal(e->core.ops->kind, ZO2_BACKEND_CPU);
        assert_non_null(strstr(logged, "using the CPU"));
        assert_non_null(strstr(logged, v[i].says));
        zo2_engine_close(e);
        assert_clean();
    }
    zo2_engine_opts o = base_opts();
    zo2_engine *e;
    cudasim_config turing = {.major = 7, .minor = 5};
    cudasim_reset(&turing);
    logged[0] = 0;
    o.backend = ZO2_BACKEND_AUTO;
    o.read_only = 1;
    MUST(zo2_engine_open(&e, pack_of(MODEL), NULL, &o));
    assert_int_equal(e->core.ops->kind, ZO2_BACKEND_CUDA);
    assert_null(strstr(logged, "CPU"));
    zo2_engine_close(e);
    /* bf16, which such a device doesn't multiply, is refused before a run is made that could have no other type */
    o.compute = ZO2_BF16;
    assert_int_equal(zo2_engine_open(&e, pack_of(MODEL), NULL, &o), ZO2_ERR_UNSUPPORTED);
    assert_non_null(strstr(zo2_last_error(), "compute in fp16"));
    assert_null(e);
    assert_clean();
    o = base_opts();
    o.compute = ZO2_BF16;
    assert_int_equal(open_run(&e, "turing", &o), ZO2_ERR_UNSUPPORTED);
    o.compute = ZO2_F16;
    MUST(open_run(&e, "turing", &o));
    zo2_engine_close(e);
    assert_clean();
}

/* ---- memory ---- */

static void memory(void **state)
{
    (void)state;
    zo2_engine_opts o = base_opts();
    zo2_engine *e = NULL;
    zo2_step_result r;
    cudasim_stats before, after;
    cudasim_config small = {.device_bytes = 40 << 20, .context_bytes = 16 << 20}; /* cuBLAS alone wants 32 MiB */
    cudasim_reset(&small);
    assert_int_equal(open_run(&e, "small", &o), ZO2_ERR_NOMEM);
    assert_null(e);
    assert_clean();

    cudasim_config ample = {.device_bytes = 1ull << 30, .context_bytes = 20 << 20};
    cudasim_reset(&ample);
    MUST(open_run(&e, "memory", &o));
    cudasim_get_stats(&before);
    assert_int_equal(before.handles, 1); /* the plan's device is the one that computes */
    MUST(train(e, &r));
    cudasim_get_stats(&after);
    assert_int_equal(after.allocations, before.allocations); /* nothing is allocated in a step, */
    assert_int_equal(after.library_allocations, 0);          /* by nobody, */
    assert_int_equal(after.lazy_kernels, 0);                 /* nor loaded */
    assert_int_equal(after.pageable_copies, 0);
    assert_int_equal(r.device_peak_bytes, after.peak_device_bytes); /* measured is what the device says, */
    assert_int_equal(r.device_peak_bytes + (64 << 20),
                     e->core.plan.pub.device_peak_bytes); /* and, with slack, what was planned */
    zo2_engine_close(e);
    assert_clean();
}

/* Host memory that can't be pinned: masters stay pageable and wires go through the registered staging memory. */
static void unpinned(void **state)
{
    (void)state;
    zo2_engine_opts o = base_opts();
    zo2_engine *e;
    zo2_step_result r, limited;
    cudasim_reset(NULL);
    MUST(open_run(&e, "pinned", &o));
    MUST(train(e, &r));
    uint64_t staging = e->core.plan.host.bytes;
    zo2_engine_close(e);
    cudasim_config tight = {.pinned_bytes = (staging + 4095) / 4096 * 4096};
    cudasim_reset(&tight);
    MUST(open_run(&e, "unpinned", &o));
    MUST(train(e, &limited));
    assert_true(r.loss_plus == limited.loss_plus && r.loss_minus == limited.loss_minus);
    zo2_engine_close(e);
    assert_clean();
    tight.pinned_bytes = 4096;
    cudasim_reset(&tight);
    assert_int_equal(open_run(&e, "unpinnable", &o), ZO2_ERR_NOMEM);
    assert_non_null(strstr(zo2_last_error(), "pinned"));
    assert_clean();
}

/* A refusal that no list of errors foresees: the device is sound, so the engine goes on without pinned masters. */
static void pinning_refused(void **state)
{
    (void)state;
    zo2_engine_opts o = base_opts();
    zo2_engine *e;
    zo2_step_result r, limited;
    cudasim_reset(NULL);
    MUST(open_run(&e, "pinned-2", &o));
    MUST(train(e, &r));
    zo2_engine_close(e);
    cudasim_config c = {.fail_name = "cudaHostRegister",
                        .fail_call = 2,
                        .fail_error = cudaErrorHostMemoryAlreadyRegistered,
                        .quiet = 1};
    cudasim_reset(&c);
    MUST(open_run(&e, "refused", &o));
    MUST(train(e, &limited));
    assert_true(r.loss_plus == limited.loss_plus && r.loss_minus == limited.loss_minus);
    zo2_engine_close(e);
    assert_clean();
    c.fail_error = cudaErrorECCUncorrectable; /* this one says that the device is lost */
    cudasim_reset(&c);
    MUST(open_run(&e, "lost-early", &o));
    assert_int_equal(train(e, &limited), ZO2_ERR_DEVICE);
    assert_non_null(strstr(zo2_last_error(), "cudaHostRegister"));
    zo2_engine_close(e);
}

/* ---- failures ---- */

/* Every so many operations the device is lost; the run is resumed each time and ends with the bits of an undisturbed
 * one. */
static void device_lost(void **state)
{
    (void)state;
    zo2_engine_opts o = base_opts();
    zo2_engine *e;
    zo2_step_result r;
    uint64_t want, got;
    cudasim_stats s;
    cudasim_reset(NULL);
    MUST(open_run(&e, "undisturbed", &o));
    cudasim_get_stats(&s);
    const uint64_t opened = s.operations; /* cuBLAS' first products */
    MUST(train(e, &r));
    MUST(zo2_masters_hash(e, &want));
    zo2_engine_close(e);
    cudasim_get_stats(&s);
    uint64_t operations = s.operations - opened, losses = 0;
    for (uint64_t at = opened + 1; at < opened + operations / STEPS + 40; at += 1 + operations / STEPS / 12) {
        cudasim_config c = {.fail_operation = at, .fail_error = cudaErrorECCUncorrectable, .quiet = 1};
        cudasim_reset(&c);
        MUST(open_run(&e, "lost", &o));
        zo2_status status = train(e, &r);
        if (status) {
            assert_int_equal(status, ZO2_ERR_DEVICE);
            if (!strstr(zo2_last_error(), "ECC") || !strstr(zo2_last_error(), "last enqueued"))
                fail_msg("\"%s\" names neither the error nor the work", zo2_last_error());
            /* and stays so */
            test_batch t;
            batch_of(&t, 0);
            assert_int_equal(zo2_step(e, &t.b, NULL), ZO2_ERR_DEVICE);
            losses++;
        }
        zo2_engine_close(e);
    }
    assert_true(losses >= 6);
    cudasim_reset(NULL);
    MUST(open_run(&e, "lost", &o));
    MUST(train(e, &r));
    MUST(zo2_masters_hash(e, &got));
    assert_int_equal(want, got);
    zo2_engine_close(e);
    assert_clean();
}

/* Calls that all are made to fail: of the others, which load kernels, create events or belong to steps, one in a while. Under
 * ThreadSanitizer a dozen in all: what a failure leaves behind is AddressSanitizer's to find. */
#ifdef __SANITIZE_THREAD__
enum { OTHER_CALLS = 12, LEAST_FAILURES = OTHER_CALLS / 2 };
#else
enum { OTHER_CALLS = 30, LEAST_FAILURES = 80 };
#endif

typedef struct call_range {
    uint64_t from, to;
} call_range;

static uint64_t next_call(uint64_t n, const call_range *each, size_t ranges, uint64_t all)
{
    uint64_t next = n + all / OTHER_CALLS + 1;
    for (size_t i = 0; i < ranges; i++)
        if (n + 1 >= each[i].from && n + 1 < each[i].to)
            return n + 1;
        else if (n < each[i].from && each[i].from < next)
            next = each[i].from;
    return next;
}

static uint64_t calls_of_device_open(void)
{
    zo2_device *d;
    zo2_device_info info;
    cudasim_stats s;
    cudasim_reset(NULL);
    MUST(zo2_backend_cuda.device_open(&d, &info));
    cudasim_get_stats(&s);
    zo2_backend_cuda.device_close(d);
    return s.calls;
}

/* The n-th call of the runtime fails, for n up to where nothing fails any more: no crash, no leak, one error. */
static void any_call(void **state)
{
    (void)state;
    zo2_engine_opts o = base_opts();
    zo2_engine *e;
    zo2_step_result r;
    cudasim_stats s;
    const uint64_t device = calls_of_device_open();
    cudasim_reset(NULL);
    MUST(open_run(&e, "calls", &o));
    cudasim_get_stats(&s);
    const uint64_t opened = s.calls;
    MUST(train(e, &r));
    zo2_engine_close(e);
    cudasim_get_stats(&s);
    const uint64_t all = s.calls;
#ifdef __SANITIZE_THREAD__
    const call_range each[] = {{1, 2}, {device, device + 1}, {opened, opened + 1}};
#else
    const call_range each[] = {{1, 30}, {device - 10, device + 12}, {opened - 15, opened}}; /* first, arena, pinning */
#endif
    uint64_t failures = 0;
    for (uint64_t n = 1; n < all; n = next_call(n, each, sizeof each / sizeof *each, all)) {
        char run[64];
        cudasim_config c = {.fail_call = n, .fail_error = cudaErrorUnknown, .quiet = 1};
        cudasim_reset(&c);
        snprintf(run, sizeof run, "call-%llu", (unsigned long long)n);
        zo2_status status = open_run(&e, run, &o);
        if (!status) {
            status = train(e, &r);
            zo2_engine_close(e);
        }
        failures += status != ZO2_OK;
        if (status && !zo2_last_error()[0])
            fail_msg("call %llu: no text", (unsigned long long)n);
        cudasim_get_stats(&s);
        assert_int_equal(s.live_streams + s.live_handles + s.live_events, 0);
    }
    assert_true(failures > LEAST_FAILURES);
}

/* ---- one device, one backend after the other ---- */

static void use_lent(const zo2_backend_ops *ops, zo2_device *d)
{
    zo2_backend *b, *second;
    zo2_event *e;
    static char host[4096];
    zo2_backend_config config = {.arena_bytes = ops->reserved_bytes + 8192, .device = d};
    MUST(ops->open(&b, &config));
    assert_int_equal(ops->open(&second, &config), ZO2_ERR_INTERNAL); /* one at a time */
    assert_null(second);
    MUST(ops->event_create(b, &e));
    assert_int_equal(ops->wait(b, ZO2_LANE_COMPUTE, e), ZO2_ERR_INTERNAL);
    MUST(ops->host_register(b, host, sizeof host));
    MUST(ops->upload(b, ZO2_LANE_UPLOAD, (char *)ops->arena(b) + ops->reserved_bytes, host, sizeof host));
    ops->event_destroy(b, e);
    MUST(ops->drain(b));
    ops->host_unregister(b, host);
    cudasim_stats s;
    cudasim_get_stats(&s);
    assert_int_equal(ops->peak_bytes(b), s.device_bytes);
    ops->close(b);
    cudasim_get_stats(&s); /* the device stays, and nothing else */
    assert_int_equal(s.live_allocations + s.live_events, 0);
    assert_int_equal(s.live_handles, 1);
}

static void lent(void **state)
{
    (void)state;
    const zo2_backend_ops *ops = zo2_backend_get(ZO2_BACKEND_CUDA);
    zo2_device *d;
    zo2_device_info info;
    cudasim_stats s;
    cudasim_reset(NULL);
    MUST(ops->device_open(&d, &info));
    assert_true(info.context_bytes > 0 && info.free_bytes > info.context_bytes && info.name[0]);
    for (int i = 0; i < 3; i++)
        use_lent(ops, d);
    cudasim_get_stats(&s);
    assert_int_equal(s.handles, 1);
    ops->device_close(d);
    ops->device_close(NULL);
    assert_clean();
    /* One that was lost stays lost, and says why. */
    zo2_backend *b;
    zo2_backend_config config = {.arena_bytes = ops->reserved_bytes + 8192};
    cudasim_config lost = {
        .fail_name = "cudaMemcpyAsync", .fail_call = 1, .fail_error = cudaErrorECCUncorrectable, .quiet = 1};
    cudasim_reset(&lost);
    MUST(ops->device_open(&d, &info));
    config.device = d;
    MUST(ops->open(&b, &config));
    assert_int_equal(ops->upload(b, ZO2_LANE_UPLOAD, (char *)ops->arena(b) + ops->reserved_bytes, &s, 8),
                     ZO2_ERR_DEVICE);
    ops->close(b);
    assert_int_equal(ops->open(&b, &config), ZO2_ERR_DEVICE);
    assert_non_null(strstr(zo2_last_error(), "ECC"));
    assert_null(b);
    ops->device_close(d);
    cudasim_get_stats(&s);
    assert_int_equal(s.live_handles + s.live_streams + s.live_events, 0);
    cudasim_config none = {.start_error = cudaErrorNoDevice};
    cudasim_reset(&none);
    assert_int_equal(ops->device_open(&d, &info), ZO2_ERR_DEVICE);
    assert_null(d);
}

/* ---- lanes ---- */

static void events(void **state)
{
    (void)state;
    cudasim_reset(NULL);
    const zo2_backend_ops *ops = zo2_backend_get(ZO2_BACKEND_CUDA);
    zo2_backend *b;
    zo2_event *e;
    zo2_backend_config config = {.arena_bytes = ops->reserved_bytes};
    assert_int_equal(ops->open(&b, &config), ZO2_ERR_ARG);
    assert_null(b);
    config.arena_bytes += 4096;
    MUST(ops->open(&b, &config));
    MUST(ops->event_create(b, &e));
    assert_int_equal(ops->wait(b, ZO2_LANE_COMPUTE, e), ZO2_ERR_INTERNAL);
    assert_int_equal(ops->sync(b, e), ZO2_ERR_INTERNAL);
    MUST(ops->record(b, ZO2_LANE_STAGE, e));
    MUST(ops->wait(b, ZO2_LANE_COMPUTE, e));
    MUST(ops->sync(b, e));
    assert_int_equal(ops->upload(b, ZO2_LANE_UPLOAD, (char *)ops->arena(b) + config.arena_bytes - 4, &e, 8),
                     ZO2_ERR_DEVICE);
    MUST(ops->drain(b));
    ops->event_destroy(b, e);
    ops->event_destroy(b, NULL);
    ops->close(b);
    ops->close(NULL);
    assert_clean();
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(refusals),    cmocka_unit_test(memory),
                                       cmocka_unit_test(unpinned),    cmocka_unit_test(pinning_refused),
                                       cmocka_unit_test(device_lost), cmocka_unit_test(any_call),
                                       cmocka_unit_test(lent),        cmocka_unit_test(events)};
    return cmocka_run_group_tests(tests, NULL, test_clean);
}
