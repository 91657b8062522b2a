/* test_ordered.c: tasks whose results are taken in order: same results whatever the threads, few buffers, and the first
 * failure in the order of the tasks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "engine/base/pool.h"
#include "engine/pack/pack_api.h"
#include "storage/io/ordered.h"
#include "tests/unit/files_testing.h"

#include <pthread.h>
#include <stdatomic.h>

#define TASKS 500
#define BYTES 100

typedef struct bench {
    atomic_int busy, most; /* tasks that hold a buffer */
    atomic_int worked;
    uint64_t finished;                          /* in order, so no lock */
    uint64_t trace;                             /* of everything finish() saw */
    uint64_t fail_work, fail_finish, cancel_at; /* UINT64_MAX: never */
    uint64_t reported;
    pthread_t caller;
} bench;

static zo2_status work(void *arg, uint64_t i, void *buffer)
{
    bench *b = arg;
    int now = atomic_fetch_add(&b->busy, 1) + 1, most = atomic_load(&b->most);
    while (now > most && !atomic_compare_exchange_weak(&b->most, &most, now))
        ;
    atomic_fetch_add(&b->worked, 1);
    assert_int_equal((uintptr_t)buffer % 64, 0);
    uint64_t seed = i;
    for (size_t k = 0; k < BYTES; k++)
        ((unsigned char *)buffer)[k] = (unsigned char)mix(&seed);
    if (i % 3 == 0) /* some are late */
        for (volatile int k = 0; k < 20000; k++)
            ;
    if (i >= b->fail_work) {
        atomic_fetch_sub(&b->busy, 1);
        return zo2_error(ZO2_ERR_FORMAT, "no work %llu", (unsigned long long)i);
    }
    return ZO2_OK;
}

static zo2_status finish(void *arg, uint64_t i, void *buffer)
{
    bench *b = arg;
    assert_int_equal(i, b->finished);
    uint64_t seed = i;
    for (size_t k = 0; k < BYTES; k++)
        assert_int_equal(((unsigned char *)buffer)[k], (unsigned char)mix(&seed));
    atomic_fetch_sub(&b->busy, 1);
    if (i >= b->fail_finish)
        return zo2_error(ZO2_ERR_IO, "no end %llu", (unsigned long long)i);
    b->trace = b->trace * 31 + i;
    b->finished++;
    return ZO2_OK;
}

static zo2_status report(void *arg, uint64_t done)
{
    bench *b = arg;
    assert_true(pthread_equal(b->caller, pthread_self()));
    assert_true(done >= b->reported && done <= TASKS);
    b->reported = done;
    return done >= b->cancel_at ? zo2_error(ZO2_ERR_CANCELLED, "enough") : ZO2_OK;
}

static zo2_status run(bench *b, uint32_t threads, uint64_t n)
{
    zo2_pool *pool;
    OK(zo2_pool_create(&pool, threads));
    b->caller = pthread_self();
    zo2_ordered o = {.n = n, .buffer_bytes = BYTES, .work = work, .finish = finish, .report = report, .arg = b};
    if (threads > 1)
        o.workers = zo2_pool_parallel(pool); /* else the zeroed ones */
    zo2_status s = zo2_ordered_run(&o);
    zo2_pool_destroy(pool);
    return s;
}

#define NEVER .fail_work = UINT64_MAX, .fail_finish = UINT64_MAX, .cancel_at = UINT64_MAX

static void results_come_in_order_in_few_buffers(void **state)
{
    (void)state;
    uint64_t trace = 0;
    for (uint32_t threads = 1; threads <= 7; threads += 2) {
        bench b = {NEVER};
        OK(run(&b, threads, TASKS));
        assert_int_equal(b.finished, TASKS);
        assert_true(atomic_load(&b.most) <= (int)threads);
        if (threads == 1)
            trace = b.trace;
        assert_true(b.trace == trace);
    }
    for (uint64_t n = 0; n < 3; n++) {
        bench b = {NEVER};
        OK(run(&b, 4, n));
        assert_int_equal(b.finished, n);
    }
}

static void the_first_failure_in_order_is_raised(void **state)
{
    (void)state;
    for (uint32_t threads = 1; threads <= 5; threads += 2) {
        bench b = {NEVER};
        b.fail_work = 123; /* all from there on fail: others may do so earlier */
        FAILS(FORMAT, run(&b, threads, TASKS));
        assert_string_equal(zo2_last_error(), "no work 123");
        assert_int_equal(b.finished, 123);
        assert_true(atomic_load(&b.worked) <= 123 + (int)threads);
        bench c = {NEVER};
        c.fail_finish = 77;
        c.fail_work = 78;
        FAILS(IO, run(&c, threads, TASKS));
        assert_string_equal(zo2_last_error(), "no end 77");
        assert_int_equal(c.finished, 77);
    }
}

static void a_report_can_end_it(void **state)
{
    (void)state;
    for (uint32_t threads = 1; threads <= 4; threads += 3) {
        bench b = {NEVER};
        b.cancel_at = 10;
        zo2_status s = run(&b, threads, TASKS);
        if (threads == 1) {
            assert_int_equal(s, ZO2_ERR_CANCELLED);
            assert_int_equal(b.finished, 10);
        } else if (s != ZO2_OK) { /* it may be that the caller had no task after the tenth */
            assert_int_equal(s, ZO2_ERR_CANCELLED);
            assert_string_equal(zo2_last_error(), "enough");
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(results_come_in_order_in_few_buffers),
        cmocka_unit_test(the_first_failure_in_order_is_raised),
        cmocka_unit_test(a_report_can_end_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
