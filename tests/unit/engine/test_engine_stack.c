/* A caller's thread may have a small stack: everything that the interface offers works on one, whose end is a guard page. */
#include "tests/unit/engine/engine_testing.h"

#include <errno.h>
#include <pthread.h>

enum { ROWS = 4, SEQ = 12 };

/* Promised are 256 KiB, with the thread-local variables of the program and of what it is linked to. Asked is less, so that
 * what another processor's code paths take more has room. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define STACK_BYTES ((size_t)1 << 20)
#elif defined(__OPTIMIZE__)
#define STACK_BYTES ((size_t)128 << 10)
#else
#define STACK_BYTES ((size_t)256 << 10)
#endif

#define PROMISED_BYTES ((size_t)256 << 10)

#define MODEL ZO2_TEST_DATA "/opt-fixtures/prenorm-f32"

static char pack[512];

/* cmocka's assertions end the test's own thread only. */
typedef struct outcome {
    const char *call; /* NULL: all went well */
    char error[1024];
} outcome;

#define TRY(call_)                                                           \
    do {                                                                     \
        if (call_) {                                                         \
            out->call = #call_;                                              \
            snprintf(out->error, sizeof out->error, "%s", zo2_last_error()); \
            return NULL;                                                     \
        }                                                                    \
    } while (0)

static void on_small_stack(void *(*run)(void *))
{
    pthread_t thread;
    pthread_attr_t attr;
    outcome out = {.call = NULL};
    assert_int_equal(pthread_attr_init(&attr), 0);
    assert_int_equal(pthread_attr_setstacksize(&attr, STACK_BYTES), 0);
    int refused = pthread_create(&thread, &attr, run, &out);
    if (refused == EINVAL) { /* with the CUDA libraries their thread-local variables alone take more */
        assert_int_equal(pthread_attr_setstacksize(&attr, PROMISED_BYTES), 0);
        refused = pthread_create(&thread, &attr, run, &out);
    }
    assert_int_equal(refused, 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    pthread_attr_destroy(&attr);
    if (out.call)
        fail_msg("%s: %s", out.call, out.error);
}

static void *plan(void *arg)
{
    static const zo2_dtype types[] = {ZO2_F32, ZO2_BF16};
    outcome *out = arg;
    zo2_engine_opts o;
    zo2_plan p;
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        zo2_engine_opts_init(&o);
        o.probe_seconds = 0.05;
        o.compute = types[i];
        TRY(zo2_plan_estimate("opt-125m", &o, &p));
        TRY(p.gemm_rate <= 0);
    }
    return NULL;
}

static void *measure(void *arg)
{
    outcome *out = arg;
    for (int kind = ZO2_MEASURE_FILL; kind <= ZO2_MEASURE_DEVICE_COPY; kind++) {
        for (int few = 0; few < 2; few++) {
            zo2_measure_spec spec;
            zo2_measure *m;
            double seconds;
            zo2_measure_spec_init(&spec);
            spec.kind = (zo2_measure_kind)kind;
            spec.bytes = 1 << 20;
            spec.rows = spec.cols = 640;
            spec.tokens = few ? 5 : 300;
            spec.wire = few ? ZO2_WIRE_E4M3 : ZO2_WIRE_BF16;
            spec.queries = few ? 1 : ZO2_MAX_QUERIES;
            spec.pending = few ? 0 : ZO2_MAX_PENDING;
            spec.compute = few ? ZO2_F32 : ZO2_BF16;
            TRY(zo2_measure_open(&m, &spec, NULL));
            TRY(zo2_measure_run(m, 2, &seconds));
            zo2_measure_close(m);
        }
    }
    return NULL;
}

static void *files(void *arg)
{
    outcome *out = arg;
    char path[512], exported[512];
    zo2_pack *p;
    zo2_convert_opts convert;
    zo2_synth_opts synth;
    zo2_convert_opts_init(&convert);
    convert.zstd_level = 19;
    TRY(zo2_pack_convert(MODEL, scratch_path(path, sizeof path, "converted.zo2"), &convert));
    TRY(zo2_pack_open(&p, path));
    TRY(zo2_pack_verify(p, NULL, NULL));
    zo2_pack_close(p);
    TRY(zo2_pack_export(path, scratch_path(exported, sizeof exported, "exported"), NULL));
    zo2_synth_opts_init(&synth);
    synth.alias = 1;
    TRY(zo2_pack_synth(MODEL "/config.json", scratch_path(path, sizeof path, "synth.zo2"), &synth));
    return NULL;
}

static void *train(void *arg)
{
    outcome *out = arg;
    char run[512], exported[512];
    zo2_engine *e;
    zo2_engine_opts o;
    zo2_export_opts x;
    zo2_scores scores;
    test_batch batch;
    uint64_t hash;
    zo2_engine_opts_init(&o);
    o.max_rows = ROWS;
    o.max_seq = SEQ;
    o.queries = 4;
    o.pending = 2;
    TRY(zo2_engine_open(&e, pack, scratch_path(run, sizeof run, "run"), &o));
    random_batch(&batch, 3, 90, ROWS, SEQ, 0);
    for (int i = 0; i < 4; i++)
        TRY(zo2_step(e, &batch.b, NULL));
    zo2_scores_init(&scores);
    TRY(zo2_forward(e, &batch.b, ZO2_WEIGHTS_MASTER, &scores));
    TRY(zo2_masters_hash(e, &hash));
    TRY(zo2_snapshot(e));
    zo2_engine_close(e);
    TRY(zo2_run_verify(run, pack, NULL, NULL));
    o.resume = 1;
    TRY(zo2_engine_open(&e, pack, run, &o));
    zo2_engine_close(e);
    zo2_export_opts_init(&x);
    x.run_dir = run;
    TRY(zo2_pack_export(pack, scratch_path(exported, sizeof exported, "trained"), &x));
    return NULL;
}

static void test_plan(void **state)
{
    (void)state;
    on_small_stack(plan);
}

static void test_measure(void **state)
{
    (void)state;
    on_small_stack(measure);
}

static void test_files(void **state)
{
    (void)state;
    on_small_stack(files);
}

static void test_train(void **state)
{
    (void)state;
    on_small_stack(train);
}

static int make_pack(void **state)
{
    (void)state;
    snprintf(pack, sizeof pack, "%s", pack_of("opt-fixtures/prenorm-f32"));
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plan),
        cmocka_unit_test(test_measure),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_train),
    };
    return cmocka_run_group_tests(tests, make_pack, test_clean);
}
