/* test_sim_backend_spans.c: observe() of the cuda backend: every operation is a span with its name, in order, at its time;
 * reported early where it can be, late where it must, waited for when many are under way. The device's clock is the
 * simulator's: the host's, and what each operation is told to take. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "cudasim.h"
#include "kernels/backend.h"

#define BYTES 4096
#define MAX   8000
#define MARKS 1024 /* as cuda_backend.h has it */

static const zo2_backend_ops *ops;

typedef struct device_span {
    zo2_lane lane;
    const char *name;
    uint64_t begin, end;
} device_span;

typedef struct fixture {
    zo2_backend *b;
    unsigned char *arena;
    unsigned char *host; /* a part for each lane */
    uint64_t opened_ns;
    device_span span[MAX];
    uint32_t n;
} fixture;

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

#define MUST(call) assert_int_equal(call, ZO2_OK)

static void record(void *ud, zo2_lane lane, const char *name, uint64_t begin_ns, uint64_t end_ns)
{
    fixture *f = ud;
    assert_true(f->n < MAX);
    f->span[f->n++] = (device_span){lane, name, begin_ns, end_ns};
}

static fixture *open_device(const cudasim_config *sim)
{
    static fixture f;
    memset(&f, 0, sizeof f);
    cudasim_reset(sim);
    ops = zo2_backend_get(ZO2_BACKEND_CUDA);
    zo2_backend_config config = {.arena_bytes = ops->reserved_bytes + 4 * BYTES};
    MUST(ops->open(&f.b, &config));
    f.arena = (unsigned char *)ops->arena(f.b) + ops->reserved_bytes;
    f.host = aligned_alloc(4096, ZO2_LANE_COUNT * BYTES);
    assert_non_null(f.host);
    memset(f.host, 0, ZO2_LANE_COUNT * BYTES);
    MUST(ops->host_register(f.b, f.host, ZO2_LANE_COUNT * BYTES));
    f.opened_ns = now_ns();
    MUST(ops->observe(f.b, record, &f));
    return &f;
}

static void close_device(fixture *f)
{
    cudasim_stats s;
    ops->host_unregister(f->b, f->host);
    ops->close(f->b);
    free(f->host);
    if (cudasim_report()[0])
        fail_msg("the simulator reports: %s", cudasim_report());
    cudasim_get_stats(&s);
    assert_int_equal(s.live_streams + s.live_events + s.live_handles, 0); /* memory goes with a lost context */
}

static void upload(fixture *f, zo2_lane lane)
{
    MUST(ops->upload(f->b, lane, f->arena + lane * BYTES, f->host + lane * BYTES, BYTES));
}

static void download(fixture *f, zo2_lane lane)
{
    MUST(ops->download(f->b, lane, f->host + lane * BYTES, f->arena + lane * BYTES, BYTES));
}

static void init_states(fixture *f)
{
    MUST(ops->lse_init(f->b, &(zo2_lse_init_op){(zo2_lse *)(void *)(f->arena + 3 * BYTES), 100}));
}

/* Order, no overlap, and all of it between opening and now. */
static void check_lane(const fixture *f, zo2_lane lane, uint32_t want)
{
    uint64_t end = f->opened_ns;
    uint32_t n = 0;
    for (uint32_t i = 0; i < f->n; i++) {
        const device_span *s = &f->span[i];
        if (s->lane != lane)
            continue;
        assert_true(s->begin >= end && s->end >= s->begin);
        end = s->end;
        n++;
    }
    assert_true(end <= now_ns());
    assert_int_equal(n, want);
}

static void names_and_order(void **state)
{
    (void)state;
    for (unsigned order = 0; order < 3; order++) {
        cudasim_config sim = {.order = (cudasim_order)order, .seed = 5};
        fixture *f = open_device(&sim);
        zo2_event *e;
        MUST(ops->event_create(f->b, &e));
        upload(f, ZO2_LANE_UPLOAD);
        upload(f, ZO2_LANE_UPLOAD);
        MUST(ops->record(f->b, ZO2_LANE_UPLOAD, e));
        init_states(f);
        MUST(ops->wait(f->b, ZO2_LANE_COMPUTE, e));
        download(f, ZO2_LANE_COMPUTE);
        download(f, ZO2_LANE_STAGE);
        assert_int_equal(f->n, 0); /* nothing has run: nothing is known, and nobody waits for it */
        MUST(ops->drain(f->b));
        check_lane(f, ZO2_LANE_UPLOAD, 2);
        check_lane(f, ZO2_LANE_COMPUTE, 2);
        check_lane(f, ZO2_LANE_STAGE, 1);
        const device_span *compute[2] = {0}, *last_upload = NULL;
        for (uint32_t i = 0, n = 0; i < f->n; i++) {
            if (f->span[i].lane == ZO2_LANE_COMPUTE)
                compute[n++] = &f->span[i];
            else
                assert_string_equal(f->span[i].name, f->span[i].lane == ZO2_LANE_UPLOAD ? "upload" : "download");
            if (f->span[i].lane == ZO2_LANE_UPLOAD)
                last_upload = &f->span[i];
        }
        assert_string_equal(compute[0]->name, "lse_init");
        assert_string_equal(compute[1]->name, "download");
        assert_true(compute[1]->begin >= last_upload->end); /* the time spent waiting is nobody's */
        ops->event_destroy(f->b, e);
        close_device(f);
    }
}

/* Long operations, for hours of the device's clock: a float of milliseconds alone would be milliseconds off. */
static void times_are_exact(void **state)
{
    (void)state;
    const uint64_t each = 1234567890;
    cudasim_config sim = {.operation_ns = each};
    fixture *f = open_device(&sim);
    for (int i = 0; i < 6000; i++) {
        upload(f, ZO2_LANE_COMPUTE);
        if (i % 500 == 499)
            MUST(ops->drain(f->b));
    }
    assert_int_equal(f->n, 6000);
    uint64_t worst = 0;
    for (uint32_t i = 0; i < f->n; i++) {
        uint64_t took = f->span[i].end - f->span[i].begin;
        assert_true(took >= each - 200); /* and what the simulator itself needs */
        worst = i && f->span[i].begin - f->span[i - 1].end > worst ? f->span[i].begin - f->span[i - 1].end : worst;
    }
    /* all of it: what the clock says, less what the host really took */
    uint64_t all = f->span[f->n - 1].end - f->span[0].begin, took = now_ns() - f->opened_ns;
    assert_true(all >= 6000 * each - 100000 && all <= 6000 * each + took + 100000);
    assert_true(worst <= took);
    /* enter() ties the clocks again */
    ops->enter(f->b);
    uint64_t entered = now_ns();
    upload(f, ZO2_LANE_COMPUTE);
    MUST(ops->drain(f->b));
    assert_true(f->span[6000].begin <= now_ns() && f->span[6000].begin + 1000000000 >= entered);
    ops->leave(f->b);
    close_device(f);
}

/* The upload lane, which no enter() finds idle for sure, ties the clocks by itself. */
static void uploads_tie_their_clock(void **state)
{
    (void)state;
    cudasim_config sim = {.operation_ns = 1500000000};
    fixture *f = open_device(&sim);
    for (int i = 0; i < 4; i++) {
        upload(f, ZO2_LANE_UPLOAD);
        MUST(ops->finish(f->b)); /* leaves them alone */
        assert_int_equal(f->n, 0);
    }
    MUST(ops->drain(f->b)); /* after six seconds of the device's */
    assert_int_equal(f->n, 4);
    uint64_t before = now_ns();
    upload(f, ZO2_LANE_UPLOAD);
    upload(f, ZO2_LANE_UPLOAD);
    MUST(ops->drain(f->b));
    assert_int_equal(f->n, 6);
    assert_true(f->span[4].begin >= before && f->span[4].begin <= now_ns());
    assert_true(f->span[5].begin >= f->span[4].end);
    close_device(f);
}

/* What has run is reported by the lane's next call, without a drain. */
static void early(void **state)
{
    (void)state;
    cudasim_reset(NULL);
    fixture *f = open_device(NULL);
    zo2_event *e;
    MUST(ops->event_create(f->b, &e));
    for (uint32_t i = 0; i < 3 * MARKS; i++) {
        upload(f, ZO2_LANE_UPLOAD);
        assert_int_equal(f->n, i / 200 * 200); /* up to the last sync */
        if (i % 200 < 199)
            continue;
        MUST(ops->record(f->b, ZO2_LANE_UPLOAD, e));
        MUST(ops->sync(f->b, e));
    }
    MUST(ops->drain(f->b));
    check_lane(f, ZO2_LANE_UPLOAD, 3 * MARKS);
    for (uint32_t i = 0; i < f->n; i++)
        assert_string_equal(f->span[i].name, "upload");
    ops->event_destroy(f->b, e);
    close_device(f);
}

static int is_download(uint32_t i)
{
    return i % 3 == 1;
}

/* More than a lane's marks, with two kinds of work in turn and beginnings of their own in between: every operation stays a span, a
 * lane's thread waits only when so many are under way, and then for the older half. */
static void many(void **state)
{
    (void)state;
    const uint64_t each = 1000000, work = 5 * MARKS / 2;
    for (uint32_t gap = 0; gap <= 100; gap += 100) {
        cudasim_config sim = {.operation_ns = each};
        fixture *f = open_device(&sim);
        uint64_t of[2] = {0};
        uint32_t longest = 0;
        zo2_event *e;
        MUST(ops->event_create(f->b, &e));
        MUST(ops->record(f->b, ZO2_LANE_UPLOAD, e));
        for (uint32_t i = 0; i < work; i++) {
            if (gap && i % gap == 0)
                MUST(ops->wait(f->b, ZO2_LANE_COMPUTE, e));
            if (is_download(i))
                download(f, ZO2_LANE_COMPUTE);
            else
                upload(f, ZO2_LANE_COMPUTE);
            longest = i + 1 - f->n > longest ? i + 1 - f->n : longest;
            assert_true(i < MARKS / 2 ? f->n == 0
                                      : i < MARKS || i + 1 - f->n > MARKS / 3); /* the device has work left */
        }
        assert_in_range(longest, MARKS - 50, MARKS - 1); /* the host runs that far ahead */
        MUST(ops->drain(f->b));
        assert_int_equal(f->n, work);
        for (uint32_t i = 0; i < f->n; i++) {
            assert_true(f->span[i].end >= f->span[i].begin && (!i || f->span[i].begin >= f->span[i - 1].end));
            assert_string_equal(f->span[i].name, is_download(i) ? "download" : "upload");
            of[is_download(i)] += f->span[i].end - f->span[i].begin;
        }
        /* seconds of a kind are what rates are computed from: its operations' and no others' */
        const uint64_t downloads = (work + 1) / 3, took = now_ns() - f->opened_ns;
        assert_in_range(of[1], downloads * each - 100000, downloads * each + took);
        assert_in_range(of[0], (work - downloads) * each - 100000, (work - downloads) * each + took);
        ops->event_destroy(f->b, e);
        close_device(f);
    }
}

/* Nobody observes: no timing events are recorded. Who stops, hears no more. */
static void unobserved(void **state)
{
    (void)state;
    fixture *f = open_device(NULL);
    cudasim_stats before, after;
    upload(f, ZO2_LANE_UPLOAD);
    MUST(ops->observe(f->b, NULL, NULL));
    MUST(ops->drain(f->b));
    assert_int_equal(f->n, 0);
    cudasim_get_stats(&before);
    upload(f, ZO2_LANE_UPLOAD);
    cudasim_get_stats(&after);
    assert_int_equal(after.calls - before.calls, 2); /* cudaSetDevice, cudaMemcpyAsync */
    MUST(ops->drain(f->b));
    assert_int_equal(f->n, 0);
    MUST(ops->observe(f->b, record, f));
    upload(f, ZO2_LANE_UPLOAD);
    MUST(ops->drain(f->b));
    check_lane(f, ZO2_LANE_UPLOAD, 1);
    close_device(f);
}

/* The device is lost with spans under way: the drain says so, reports nothing of them, and all closes. */
static void lost(void **state)
{
    (void)state;
    cudasim_config sim = {.fail_operation = 10, .fail_error = cudaErrorECCUncorrectable, .quiet = 1};
    fixture *f = open_device(&sim);
    for (int i = 0; i < 20; i++)
        upload(f, i % 2 ? ZO2_LANE_UPLOAD : ZO2_LANE_COMPUTE);
    assert_int_equal(ops->drain(f->b), ZO2_ERR_DEVICE);
    assert_non_null(strstr(zo2_last_error(), "ECC"));
    assert_int_equal(f->n, 0);
    assert_int_equal(ops->upload(f->b, ZO2_LANE_UPLOAD, f->arena, f->host, BYTES), ZO2_ERR_DEVICE);
    assert_non_null(strstr(zo2_last_error(), "ECC")); /* the cause, every time */
    assert_int_equal(ops->drain(f->b), ZO2_ERR_DEVICE);
    assert_int_equal(f->n, 0);
    close_device(f);
}

/* Every call that spans need fails once: an error that names it, or spans that are missing, never a crash. */
static void failing_calls(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        uint64_t call;
        int work;
    } calls[] = {{"cudaEventRecord", 5, 8},
                 {"cudaEventQuery", 5, 8},
                 {"cudaEventElapsedTime", 5, 8},
                 {"cudaEventSynchronize", 1, 2 * MARKS}};
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        cudasim_config sim = {
            .fail_call = calls[i].call, .fail_name = calls[i].name, .fail_error = cudaErrorInvalidValue, .quiet = 1};
        fixture *f = open_device(&sim);
        zo2_status s = ZO2_OK;
        for (int j = 0; j < calls[i].work && !s; j++)
            s = ops->upload(f->b, ZO2_LANE_UPLOAD, f->arena, f->host, BYTES);
        if (!s)
            s = ops->drain(f->b);
        assert_int_equal(s, ZO2_ERR_DEVICE);
        assert_non_null(strstr(zo2_last_error(), calls[i].name));
        close_device(f);
    }
}

/* Timing events are made for who observes, once; one that can't be had is an error, and all closes. */
static void made_for_observers(void **state)
{
    (void)state;
    zo2_backend *b;
    zo2_backend_config config = {.arena_bytes = zo2_backend_cuda.reserved_bytes + BYTES};
    cudasim_stats opened, observed;
    cudasim_config sim = {
        .fail_call = 500, .fail_name = "cudaEventCreateWithFlags", .fail_error = cudaErrorInvalidValue};
    sim.quiet = 1;
    for (int fails = 0; fails < 2; fails++) {
        cudasim_reset(fails ? &sim : NULL);
        MUST(zo2_backend_cuda.open(&b, &config));
        cudasim_get_stats(&opened);
        assert_int_equal(opened.live_events, 0);
        for (int again = 0; again < 2; again++) {
            assert_int_equal(zo2_backend_cuda.observe(b, record, NULL), fails ? ZO2_ERR_DEVICE : ZO2_OK);
            assert_true(!fails || strstr(zo2_last_error(), "cudaEventCreateWithFlags"));
            cudasim_get_stats(&observed);
            assert_int_equal(observed.live_events, fails ? 499 : ZO2_LANE_COUNT * (MARKS + 2));
        }
        zo2_backend_cuda.close(b);
        cudasim_get_stats(&observed);
        assert_int_equal(observed.live_events + observed.live_handles + observed.live_allocations, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(names_and_order),
                                       cmocka_unit_test(times_are_exact),
                                       cmocka_unit_test(uploads_tie_their_clock),
                                       cmocka_unit_test(early),
                                       cmocka_unit_test(many),
                                       cmocka_unit_test(unobserved),
                                       cmocka_unit_test(lost),
                                       cmocka_unit_test(failing_calls),
                                       cmocka_unit_test(made_for_observers)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
