/* test_backend_contract.c: backend_contract.h catches every break of the contract on threads, each time, and nothing else:
 * in a pass of the engine, and where two threads use a backend by hand. (That the engine keeps the contract is what all
 * its tests show, for they run watched.) */
#include "tests/unit/engine/backend_contract.h"
#include "tests/unit/engine/engine_testing.h"

#include <sys/wait.h>

enum { BYTES = 4096 };

static char words[256];
static unsigned breaks;

static void note(const char *text)
{
    snprintf(words, sizeof words, "%s", text);
    breaks++;
}

/* Exactly one break more, with these words. */
static void assert_broken(const char *want)
{
    assert_int_equal(breaks, 1);
    assert_string_equal(words, want);
    breaks = 0;
}

/* ---- in a pass ---- */

static zo2_engine *engine;
static int passes;

static void *record_on_compute(void *event)
{
    zo2_backend *b = engine->core.be;
    assert_int_equal(b->ops->record(b, ZO2_LANE_COMPUTE, event), ZO2_ERR_INTERNAL);
    return NULL;
}

/* Called in the middle of a pass, on the compute lane's thread, while the upload lane does what it does. */
static int break_the_contract(void *ud, const char *what, uint64_t done, uint64_t total)
{
    (void)ud;
    (void)total;
    if (strcmp(what, "chunks") || done != 3)
        return 0;
    passes++;
    zo2_core *c = &engine->core;
    zo2_backend *b = c->be;
    const zo2_backend_ops *ops = b->ops;
    pthread_t other;
    assert_int_equal(ops->drain(b), ZO2_ERR_INTERNAL);
    assert_broken("drain() while the upload lane is another thread's");
    assert_int_equal(ops->upload(b, ZO2_LANE_UPLOAD, ops->arena(b), c->staging, 16), ZO2_ERR_INTERNAL);
    assert_broken("upload() while the upload lane is another thread's");
    assert_int_equal(ops->record(b, ZO2_LANE_UPLOAD, c->computed[0]), ZO2_ERR_INTERNAL);
    assert_broken("record() while the upload lane is another thread's");
    assert_int_equal(pthread_create(&other, NULL, record_on_compute, c->computed[0]), 0);
    assert_int_equal(pthread_join(other, NULL), 0);
    assert_broken("record() while the compute lane is another thread's");
    ops->enter(b); /* these may come beside uploads */
    ops->leave(b);
    if (ops->host_register) {
        assert_int_equal(ops->host_register(b, c->staging, BYTES), ZO2_ERR_INTERNAL);
        assert_broken("host_register() while the upload lane is another thread's");
        ops->host_unregister(b, c->staging);
        assert_broken("host_unregister() while the upload lane is another thread's");
    }
    if (ops->observe) {
        ops->observe(b, NULL, NULL);
        assert_broken("observe() while the upload lane is another thread's");
    }
    return 0;
}

static void in_a_pass(void **state)
{
    (void)state;
    zo2_engine_opts o;
    zo2_scores scores;
    test_batch t;
    char path[300];
    zo2_engine_opts_init(&o);
    o.backend = TEST_BACKEND;
    o.max_rows = 4;
    o.max_seq = 12;
    o.threads = 2;
    o.progress = break_the_contract;
    random_batch(&t, 5, 90, 4, 12, 0);
    MUST(zo2_engine_open(&engine, pack_of("opt-fixtures/prenorm-f32"), scratch_path(path, sizeof path, "pass"), &o));
    MUST(zo2_step(engine, &t.b, NULL));
    zo2_scores_init(&scores);
    MUST(zo2_forward(engine, &t.b, ZO2_WEIGHTS_WIRE, &scores));
    MUST(zo2_forward(engine, &t.b, ZO2_WEIGHTS_MASTER, &scores));
    assert_int_equal(passes, 3);
    MUST(zo2_step(engine, &t.b, NULL));
    zo2_engine_close(engine);
    assert_int_equal(breaks, 0);
}

/* ---- by hand ---- */

typedef struct device {
    zo2_backend *b;
    const zo2_backend_ops *ops;
    unsigned char *arena, *host;
    zo2_event *event;
    int drains; /* what use_on_thread() does at last */
} device;

static device open_device(zo2_backend_kind kind)
{
    device d = {.ops = zo2_backend_get(kind)};
    zo2_backend_config config = {.arena_bytes = d.ops->reserved_bytes + BYTES};
    MUST(d.ops->open(&d.b, &config));
    assert_true(d.b->ops->drain == d.ops->drain);
    d.ops = d.b->ops;
    d.arena = (unsigned char *)d.ops->arena(d.b) + d.ops->reserved_bytes;
    d.host = aligned_alloc(BYTES, BYTES);
    assert_non_null(d.host);
    memset(d.host, 0, BYTES);
    MUST(d.ops->event_create(d.b, &d.event));
    if (d.ops->host_register)
        MUST(d.ops->host_register(d.b, d.host, BYTES));
    return d;
}

static void close_device(device *d)
{
    if (d->ops->host_unregister)
        d->ops->host_unregister(d->b, d->host);
    d->ops->event_destroy(d->b, d->event);
    d->ops->close(d->b);
    free(d->host);
    assert_int_equal(breaks, 0);
}

static zo2_status send(device *d)
{
    return d->ops->upload(d->b, ZO2_LANE_UPLOAD, d->arena, d->host, BYTES);
}

static void *use(void *arg)
{
    device *d = arg;
    MUST(send(d));
    MUST(d->ops->record(d->b, ZO2_LANE_UPLOAD, d->event));
    if (d->drains)
        MUST(d->ops->drain(d->b));
    return NULL;
}

static void use_on_thread(device *d)
{
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, use, d), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
}

/* The other thread is gone, but what it enqueued isn't known to be done: nobody drained. */
static void beside_another_thread(zo2_backend_kind kind)
{
    device d = open_device(kind);
    use_on_thread(&d);
    assert_int_equal(breaks, 0);
    assert_int_equal(d.ops->drain(d.b), ZO2_ERR_INTERNAL);
    assert_broken("drain() while the upload lane is another thread's");
    assert_int_equal(send(&d), ZO2_ERR_INTERNAL);
    assert_broken("upload() while the upload lane is another thread's");
    assert_int_equal(d.ops->wait(d.b, ZO2_LANE_UPLOAD, d.event), ZO2_ERR_INTERNAL);
    assert_broken("wait() while the upload lane is another thread's");
    if (d.ops->host_unregister) {
        d.ops->host_unregister(d.b, d.host);
        assert_broken("host_unregister() while the upload lane is another thread's");
    }
    d.ops->close(d.b);
    assert_broken("close() while the upload lane is another thread's");
    MUST(d.ops->wait(d.b, ZO2_LANE_COMPUTE, d.event)); /* other lanes, and waiting here, are free */
    MUST(d.ops->lse_init(d.b, &(zo2_lse_init_op){(zo2_lse *)(void *)d.arena, 1}));
    MUST(d.ops->sync(d.b, d.event));
    backend_contract_joined(d.b);
    MUST(d.ops->record(d.b, ZO2_LANE_UPLOAD, d.event));
    MUST(d.ops->drain(d.b));
    close_device(&d);
}

static void not_drained(zo2_backend_kind kind)
{
    device d = open_device(kind);
    MUST(send(&d));
    if (d.ops->host_unregister) {
        d.ops->host_unregister(d.b, d.host);
        assert_broken("host_unregister() while the upload lane is not drained");
    }
    if (d.ops->observe) {
        d.ops->observe(d.b, NULL, NULL);
        assert_broken("observe() while the upload lane is not drained");
    }
    MUST(d.ops->drain(d.b));
    close_device(&d);
}

/* After a drain the lanes are anybody's. */
static void in_turn(zo2_backend_kind kind)
{
    device d = open_device(kind);
    d.drains = 1;
    for (int i = 0; i < 3; i++) {
        use_on_thread(&d);
        use(&d);
        if (d.ops->observe)
            d.ops->observe(d.b, NULL, NULL);
    }
    close_device(&d);
}

static void by_hand(void **state)
{
    (void)state;
    static const zo2_backend_kind kinds[] = {TEST_BACKEND, ZO2_BACKEND_NULL};
    for (int i = 0; i < 2; i++) {
        beside_another_thread(kinds[i]);
        not_drained(kinds[i]);
        in_turn(kinds[i]);
    }
}

/* Where nobody asked to be told, the program ends there and then. */
static void ends_the_program(void **state)
{
    (void)state;
    char text[200] = "";
    int ends[2], status;
    device d = open_device(ZO2_BACKEND_NULL);
    MUST(send(&d));
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (!child) {
        dup2(ends[1], STDERR_FILENO);
        backend_contract_on_break(NULL);
        d.ops->host_unregister(d.b, d.host);
        _exit(0);
    }
    close(ends[1]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    assert_true(read(ends[0], text, sizeof text - 1) > 0);
    close(ends[0]);
    assert_string_equal(text, "the backend's contract on threads is broken: host_unregister() while the upload lane is "
                              "not drained\n");
    MUST(d.ops->drain(d.b));
    close_device(&d);
}

int main(void)
{
    test_device_begin(0);
    backend_contract_on_break(note);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(in_a_pass),
        cmocka_unit_test(by_hand),
        cmocka_unit_test(ends_the_program),
    };
    return cmocka_run_group_tests(tests, NULL, test_clean);
}
