/* test_backend_null_times.c: a model of the lanes on a GPU, as discrete events. The engine's own schedule of a step runs on the null
 * backend; each operation takes the time that published or counted rates give it, each lane is a queue, events order them. So the
 * order of uploads, slots of the ring and releases is the real one; only the durations are assumed. What it answers: does the link
 * stand idle, within a step and between two? Times from step to step are printed beside the busiest lane's, with the uploads that run
 * ahead of the next step and as if there were none. */
#include "engine/families/families.h"
#include "engine/method/method.h"
#include "engine/plan/plan.h"
#include "tests/unit/engine/engine_testing.h"

#include <math.h>
#include <pthread.h>

/* ---- rates: an H100-class GPU on PCIe 5.0 x16 ---- */

#define LINK       55e9    /* bytes/s */
#define LINK_CALL  4e-6    /* s a transfer */
#define CALL       3e-6    /* s an operation */
#define PRODUCTS   750e12  /* flop/s, dense fp16 */
#define PROCESSORS 132     /* multiprocessors; a wave is one tile of 128 x 256 on each */
#define DECODE     0.28e12 /* weights/s, Gaussian noise, nothing folded; instructions bound it */
#define FOLD       0.6     /* of that time again, for each folded update */
/* s a stream, head, query and key: about 3 ms a layer of 175B at 2,047 tokens, by products and a softmax between them; one
 * kernel for all takes less, and less is waited for */
#define ATTENTION 3.9e-12
#define MEMORY    2e12 /* bytes/s of passes over activations */
#define BETWEEN   2e-3 /* s from a step's losses to the next step: journal on a drive, packing of the batch */

typedef struct timed_event {
    zo2_event *event;
    double at;
} timed_event;

static zo2_backend_ops ops;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards what follows, and events */
static double now[ZO2_LANE_COUNT], busy[ZO2_LANE_COUNT];
static double host;  /* the caller's clock: when the pass began that is going on */
static double folds; /* of a decoding, on average: without masters there are none */
static zo2_core core;
static int ahead; /* 0: uploads ahead of their pass cost nothing, and come again in it */

static void take(zo2_lane lane, double seconds)
{
    pthread_mutex_lock(&lock);
    now[lane] = fmax(now[lane], host) + seconds;
    busy[lane] += seconds;
    pthread_mutex_unlock(&lock);
}

static zo2_status open_timed(zo2_backend **out, const zo2_backend_config *config)
{
    zo2_status s = zo2_backend_null.open(out, config);
    if (!s)
        (*out)->ops = &ops;
    return s;
}

static zo2_status event_create(zo2_backend *b, zo2_event **out)
{
    timed_event *e = calloc(1, sizeof *e);
    assert_non_null(e);
    *out = (zo2_event *)(void *)e;
    return zo2_backend_null.event_create(b, &e->event);
}

static void event_destroy(zo2_backend *b, zo2_event *event)
{
    timed_event *e = (timed_event *)(void *)event;
    if (e)
        zo2_backend_null.event_destroy(b, e->event);
    free(e);
}

static zo2_status record(zo2_backend *b, zo2_lane lane, zo2_event *event)
{
    timed_event *e = (timed_event *)(void *)event;
    pthread_mutex_lock(&lock);
    e->at = now[lane];
    pthread_mutex_unlock(&lock);
    return zo2_backend_null.record(b, lane, e->event);
}

static zo2_status wait(zo2_backend *b, zo2_lane lane, zo2_event *event)
{
    timed_event *e = (timed_event *)(void *)event;
    pthread_mutex_lock(&lock);
    now[lane] = fmax(now[lane], e->at);
    pthread_mutex_unlock(&lock);
    return zo2_backend_null.wait(b, lane, e->event);
}

static zo2_status sync_event(zo2_backend *b, zo2_event *event)
{
    return zo2_backend_null.sync(b, ((timed_event *)(void *)event)->event);
}

/* The caller has waited for its lanes. */
static zo2_status finish(zo2_backend *b)
{
    pthread_mutex_lock(&lock);
    host = fmax(host, fmax(now[ZO2_LANE_COMPUTE], now[ZO2_LANE_STAGE]));
    pthread_mutex_unlock(&lock);
    return zo2_backend_null.finish(b);
}

/* Of the upload lane's thread: it is through with its pass. */
static int is_ahead(zo2_lane lane)
{
    return lane == ZO2_LANE_UPLOAD && core.pipe->lane[ZO2_TRACK_UPLOAD].through == core.train.n;
}

static zo2_status upload(zo2_backend *b, zo2_lane lane, void *dst, const void *src, uint64_t bytes)
{
    if (ahead || !is_ahead(lane))
        take(lane, LINK_CALL + (double)bytes / LINK);
    return zo2_backend_null.upload(b, lane, dst, src, bytes);
}

static zo2_status decode(zo2_backend *b, const zo2_decode_op *op)
{
    take(ZO2_LANE_COMPUTE, CALL + (double)op->rows * (double)op->cols / DECODE * (1 + FOLD * folds));
    return zo2_backend_null.decode(b, op);
}

static double waves(double m, double n, double batch)
{
    return ceil(ceil(m / 128) * ceil(n / 256) * batch / PROCESSORS);
}

static zo2_status gemm(zo2_backend *b, const zo2_gemm_op *op)
{
    double m = (double)op->m, n = (double)op->n, w = fmin(waves(m, n, op->batch), waves(n, m, op->batch));
    take(ZO2_LANE_COMPUTE, CALL + w * PROCESSORS * 128 * 256 * 2 * (double)op->k / PRODUCTS);
    return zo2_backend_null.gemm(b, op);
}

static zo2_status attention(zo2_backend *b, const zo2_attention_op *op)
{
    double pairs = 0;
    for (uint32_t i = 0; i < op->n_seqs; i++)
        pairs += (double)op->seqs[i].n * (double)(op->seqs[i].n + op->seqs[i].n_prefix);
    take(ZO2_LANE_COMPUTE, CALL + ATTENTION * op->streams * op->heads * pairs);
    return zo2_backend_null.attention(b, op);
}

static zo2_status bias_act(zo2_backend *b, const zo2_bias_act_op *op)
{
    take(ZO2_LANE_COMPUTE, CALL + 4.0 * op->streams * (double)op->m * (double)op->n / MEMORY);
    return zo2_backend_null.bias_act(b, op);
}

static zo2_status layernorm(zo2_backend *b, const zo2_layernorm_op *op)
{
    take(ZO2_LANE_COMPUTE, CALL + 14.0 * op->streams * (double)op->m * (double)op->n / MEMORY);
    return zo2_backend_null.layernorm(b, op);
}

static int set_up(void **state)
{
    (void)state;
    ops = zo2_backend_null;
    ops.open = open_timed;
    ops.event_create = event_create;
    ops.event_destroy = event_destroy;
    ops.record = record;
    ops.wait = wait;
    ops.sync = sync_event;
    ops.finish = finish;
    ops.upload = upload;
    ops.decode = decode;
    ops.gemm = gemm;
    ops.attention = attention;
    ops.bias_act = bias_act;
    ops.layernorm = layernorm;
    return 0;
}

/* ---- a step ---- */

typedef struct model {
    const char *name;
    zo2_wire wire;
    uint32_t pending;
    uint64_t device_bytes, chunk_bytes; /* as options: 0 leaves the choice to the planner */
} model;

typedef struct timing {
    double step, link, compute; /* seconds: from step to step, and for which the two lanes had work */
    zo2_plan plan;
} timing;

/* A pass ends, and what can come ahead of the next does: in truth that takes microseconds, here at least as long as the ring needs. */
static void train_pass(void)
{
    zo2_probe_plan probes;
    zo2_pipeline *p = core.pipe;
    uint32_t n = core.train.n, last = 2 * n < n + ZO2_PIPELINE_EVENTS ? 2 * n : n + ZO2_PIPELINE_EVENTS;
    zo2_method_get()->probes(core.shape.queries, 0, &probes);
    MUST(zo2_core_train_pass(&core, &probes));
    for (int full = !core.pending; !full;) {
        usleep(100);
        pthread_mutex_lock(&p->mutex);
        full = p->placed >= last || p->ring.used + 2 * core.plan.chunk_bytes > p->ring.bytes;
        pthread_mutex_unlock(&p->mutex);
    }
    if (!ahead)
        MUST(zo2_pipeline_rest(p));
    pthread_mutex_lock(&lock);
    host += BETWEEN;
    pthread_mutex_unlock(&lock);
}

/* On average of K + 1 steps, in which every tile is due once, or of four, after the second pass behind a history that has all K
 * updates pending: then what stays on the device is there. */
static timing time_step(const model *m, int runs_ahead)
{
    enum { SEQ = 2048 };
    const uint32_t steps = m->pending < 3 ? m->pending + 1 : 4;
    zo2_arch arch;
    zo2_engine_opts o;
    MUST(zo2_arch_from_name(&arch, m->name));
    zo2_engine_opts_init(&o);
    o.chunk_bytes = m->chunk_bytes;
    o.max_rows = o.max_rows_micro = 1;
    o.max_seq = SEQ;
    o.wire = m->wire;
    o.compute = ZO2_F16;
    o.pending = (int32_t)m->pending;
    o.device_bytes = m->device_bytes;
    o.threads = 1;
    o.host_bytes = UINT64_MAX; /* no masters here */
    zo2_run_settings settings = {
        .dist = ZO2_GAUSSIAN, .eps = 1e-3, .queries = 1, .wire = m->wire, .compute = ZO2_F16, .micro_batch = 1};
    settings.pending = m->pending;
    zo2_core_config config = {.arch = &arch, .ops = &ops, .settings = &settings};
    MUST(zo2_shape_from_opts(&config.shape, &arch, config.ops, &o));
    MUST(zo2_core_create(&core, &config));
    static int32_t tokens[SEQ];
    static uint8_t loss[SEQ];
    memset(loss + 1, 1, SEQ - 1);
    zo2_batch b = {.struct_size = sizeof b, .rows = 1, .seq = SEQ, .tokens = tokens, .loss = loss};
    MUST(zo2_core_pack(&core, &b));
    timing t = {.plan = core.plan.pub};
    folds = m->pending / 2.0;
    ahead = runs_ahead;
    host = 0;
    memset(now, 0, sizeof now);
    for (uint64_t step = 0; step < m->pending + 2 + steps; step++) {
        zo2_journal_record r = {.step = step, .queries = 1};
        if (step >= m->pending)
            train_pass();
        if (step == m->pending + 1) {
            pthread_mutex_lock(&lock);
            memset(busy, 0, sizeof busy);
            t.step = -host;
            pthread_mutex_unlock(&lock);
        }
        MUST(zo2_history_push(&core.history, &r));
    }
    pthread_mutex_lock(&lock);
    t.step = (t.step + host) / steps;
    t.link = busy[ZO2_LANE_UPLOAD] / steps;
    t.compute = busy[ZO2_LANE_COMPUTE] / steps;
    pthread_mutex_unlock(&lock);
    zo2_core_destroy(&core);
    zo2_arch_free(&arch);
    return t;
}

/* Returns step / busiest lane. */
static double report(const model *m, const timing *t)
{
    double ratio = t->step / fmax(t->link, t->compute);
    print_message(
        "%-8s %-4s K %2u, ring %6.1f MB of %4.1f MiB chunks, resident %6.2f GB: step %7.4f s, link busy %.2f, compute busy "
        "%.2f, step / busiest lane %.3f, idle %.1f ms\n",
        m->name, zo2_wire_name(m->wire), m->pending, (double)t->plan.ring_bytes / 1e6,
        (double)t->plan.chunk_bytes / 1048576, (double)t->plan.resident_bytes / 1e9, t->step, t->link / t->step,
        t->compute / t->step, ratio, 1e3 * (t->step - fmax(t->link, t->compute)));
    return ratio;
}

/* ---- tests ---- */

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__) /* the larger one takes its time */
#define MODELS 1
#else
#define MODELS 2
#endif

/* Three chunks of 4 MiB, a ring for the smallest budget: while a layer's attention or a product computes, nothing arrives. */
static void a_small_ring_leaves_the_link_idle(void **state)
{
    (void)state;
    model m = {.name = "opt-175b", .wire = ZO2_WIRE_E4M3, .chunk_bytes = 4u << 20};
    timing least = time_step(&m, 1);
    m.device_bytes = least.plan.device_peak_bytes + 2 * (4u << 20);
    timing t = time_step(&m, 1);
    double ratio = report(&m, &t);
    assert_true(t.plan.ring_bytes < 13u << 20);
    assert_true(ratio > 1.38 && ratio < 1.55);
}

static void the_planner_s_ring_keeps_it_busy(void **state)
{
    (void)state;
    static const char *const names[] = {"opt-13b", "opt-175b"};
    static const zo2_wire wires[] = {ZO2_WIRE_E4M3, ZO2_WIRE_BF16};
    static const uint32_t pendings[] = {0, 63};
    for (int n = 0; n < MODELS; n++)
        for (int w = 0; w < 2; w++)
            for (int k = 0; k < 2; k++) {
                model m = {.name = names[n], .wire = wires[w], .pending = pendings[k], .device_bytes = 16ull << 30};
                timing t = time_step(&m, 1);
                assert_true(report(&m, &t) <= 1.03);
                assert_true(t.plan.ring_bytes > 260000000);
            }
}

static double idle(const timing *t)
{
    return t->step - fmax(t->link, t->compute);
}

/* Where the link is what takes longest, it has the next step's wires to go on with. Where it isn't, the first vectors may wait for
 * some copies. */
static void the_link_goes_on_between_steps(void **state)
{
    (void)state;
    static const char *const names[] = {"opt-13b", "opt-175b"};
    static const uint32_t pendings[] = {3, 63};
    for (int n = 0; n < MODELS; n++)
        for (int k = 0; k < 2; k++) {
            model m = {.name = names[n], .wire = ZO2_WIRE_BF16, .pending = pendings[k]};
            m.device_bytes = n ? 16ull << 30 : 6ull << 30; /* not all of it stays there */
            timing before = time_step(&m, 0), t = time_step(&m, 1);
            report(&m, &before);
            report(&m, &t);
            if (t.link > t.compute)
                assert_true(idle(&t) < idle(&before) - 5e-4);
            else
                assert_true(idle(&t) < idle(&before) + 1.5e-3);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_small_ring_leaves_the_link_idle),
        cmocka_unit_test(the_planner_s_ring_keeps_it_busy),
        cmocka_unit_test(the_link_goes_on_between_steps),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
