/* test_pool.c: the thread pool: every index once, jobs from several threads at once, floating-point environment of
 * workers. */
#include "engine/base/job_error.h"
#include "engine/base/pool.h"

#include <fenv.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

typedef struct counts {
    atomic_uint_fast32_t *seen;
} counts;

static void count(void *arg, uint64_t i)
{
    atomic_fetch_add(&((counts *)arg)->seen[i], 1);
}

static void every_index_once(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {0, 1, 2, 3, 7, 64, 1000};
    for (uint32_t threads = 1; threads <= 4; threads++) {
        zo2_pool *pool;
        assert_int_equal(zo2_pool_create(&pool, threads), ZO2_OK);
        assert_int_equal(zo2_pool_threads(pool), threads);
        for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
            counts c = {.seen = calloc(sizes[s] + 1, sizeof *c.seen)};
            for (int again = 1; again <= 50; again++) {
                zo2_pool_run(pool, sizes[s], count, &c);
                for (uint64_t i = 0; i < sizes[s]; i++)
                    assert_int_equal(c.seen[i], again);
            }
            assert_int_equal(c.seen[sizes[s]], 0);
            free((void *)c.seen);
        }
        zo2_pool_destroy(pool);
    }
}

/* Lanes share the pool: three callers at once, each with its own job, none helped by chance only. */
typedef struct caller {
    zo2_pool *pool;
    uint64_t sum, n;
} caller;

typedef struct summing {
    atomic_uint_fast64_t sum;
} summing;

static void add(void *arg, uint64_t i)
{
    atomic_fetch_add(&((summing *)arg)->sum, i + 1);
}

static void *call(void *arg)
{
    caller *c = arg;
    for (int i = 0; i < 200; i++) {
        summing s = {0};
        zo2_pool_run(c->pool, c->n, add, &s);
        c->sum += s.sum;
    }
    return NULL;
}

static void several_callers(void **state)
{
    (void)state;
    zo2_pool *pool;
    pthread_t threads[3];
    caller c[3];
    assert_int_equal(zo2_pool_create(&pool, 3), ZO2_OK);
    for (uint64_t i = 0; i < 3; i++) {
        c[i] = (caller){.pool = pool, .n = 5 + 40 * i};
        assert_int_equal(pthread_create(&threads[i], NULL, call, &c[i]), 0);
    }
    for (int i = 0; i < 3; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(c[i].sum, 200 * (c[i].n * (c[i].n + 1) / 2));
    }
    zo2_pool_destroy(pool);
}

/* A lane whose job is long does not keep another lane's from being done: every caller works on its own job. All of the
 * pool's threads are inside the long job, which ends when the short one has. */
typedef struct held {
    zo2_pool *pool;
    atomic_int inside, released;
} held;

static void hold(void *arg, uint64_t i)
{
    held *h = arg;
    (void)i;
    atomic_fetch_add(&h->inside, 1);
    while (!atomic_load(&h->released))
        sched_yield();
}

static void *run_long(void *arg)
{
    zo2_pool_run(((held *)arg)->pool, 3, hold, arg);
    return NULL;
}

static void long_job_starves_nobody(void **state)
{
    (void)state;
    held h = {.released = 0};
    pthread_t other;
    assert_int_equal(zo2_pool_create(&h.pool, 3), ZO2_OK);
    assert_int_equal(pthread_create(&other, NULL, run_long, &h), 0);
    while (atomic_load(&h.inside) < 3)
        sched_yield();
    summing s = {0};
    for (int i = 0; i < 100; i++)
        zo2_pool_run(h.pool, 10, add, &s);
    assert_int_equal(s.sum, 100 * 55);
    atomic_store(&h.released, 1);
    pthread_join(other, NULL);
    zo2_pool_destroy(h.pool);
}

/* Sleepers are woken: the pool is left alone for longer than workers look around. All three threads must come, or the
 * tasks, which wait for each other, never end. */
static void meet(void *arg, uint64_t i)
{
    atomic_int *here = arg;
    (void)i;
    atomic_fetch_add(here, 1);
    while (atomic_load(here) < 3)
        sched_yield();
}

static void sleepers_wake(void **state)
{
    (void)state;
    zo2_pool *pool;
    assert_int_equal(zo2_pool_create(&pool, 3), ZO2_OK);
    for (int i = 0; i < 20; i++) {
        atomic_int here = 0;
        struct timespec rest = {.tv_nsec = 1000000};
        nanosleep(&rest, NULL);
        zo2_pool_run(pool, 3, meet, &here);
        assert_int_equal(here, 3);
    }
    zo2_pool_destroy(pool);
}

/* Workers round to nearest whatever the thread that made them did: they start with its rounding mode otherwise. */
typedef struct modes {
    pthread_t caller;
    atomic_int others, wrong;
} modes;

static void look_at_mode(void *arg, uint64_t i)
{
    modes *m = arg;
    (void)i;
    if (pthread_equal(pthread_self(), m->caller))
        return;
    atomic_fetch_add(&m->others, 1);
    if (fegetround() != FE_TONEAREST)
        atomic_fetch_add(&m->wrong, 1);
}

static void pinned_environment(void **state)
{
    (void)state;
    zo2_pool *pool;
    int before = fegetround();
    modes m = {.caller = pthread_self()};
    fesetround(FE_UPWARD);
    assert_int_equal(zo2_pool_create(&pool, 3), ZO2_OK);
    fesetround(before);
    while (!m.others) /* until a worker took part */
        zo2_pool_run(pool, 1000, look_at_mode, &m);
    assert_int_equal(m.wrong, 0);
    zo2_pool_destroy(pool);
}

/* The default, which is `ulimit -s`, is no measure of what workers need. */
static void look_at_stack(void *arg, uint64_t i)
{
    modes *m = arg;
    pthread_attr_t attr;
    size_t bytes = 0;
    (void)i;
    if (pthread_equal(pthread_self(), m->caller) || pthread_getattr_np(pthread_self(), &attr))
        return;
    pthread_attr_getstacksize(&attr, &bytes);
    pthread_attr_destroy(&attr);
    atomic_fetch_add(&m->others, 1);
    if (bytes < (size_t)1 << 20)
        atomic_fetch_add(&m->wrong, 1);
}

static void stacks_are_large_enough(void **state)
{
    (void)state;
    zo2_pool *pool;
    pthread_attr_t before, small;
    modes m = {.caller = pthread_self()};
    assert_int_equal(pthread_getattr_default_np(&before), 0);
    assert_int_equal(pthread_attr_init(&small), 0);
    assert_int_equal(pthread_attr_setstacksize(&small, 128 << 10), 0);
    assert_int_equal(pthread_setattr_default_np(&small), 0);
    assert_int_equal(zo2_pool_create(&pool, 3), ZO2_OK);
    assert_int_equal(pthread_setattr_default_np(&before), 0);
    while (!m.others) /* until a worker took part */
        zo2_pool_run(pool, 1000, look_at_stack, &m);
    assert_int_equal(m.wrong, 0);
    zo2_pool_destroy(pool);
    pthread_attr_destroy(&small);
    pthread_attr_destroy(&before);
}

static void *fail_in_thread(void *arg)
{
    zo2_job_error_set(arg, zo2_error(ZO2_ERR_IO, "disk %d is on fire", 7));
    return NULL;
}

/* A worker's error reaches the caller's thread with its text; the first one wins. */
static void errors_travel(void **state)
{
    (void)state;
    zo2_job_error e = ZO2_JOB_ERROR_INIT;
    pthread_t t;
    assert_int_equal(zo2_job_error_raise(&e), ZO2_OK);
    assert_int_equal(pthread_create(&t, NULL, fail_in_thread, &e), 0);
    pthread_join(t, NULL);
    zo2_job_error_set(&e, zo2_error(ZO2_ERR_NOMEM, "second"));
    zo2_error(ZO2_ERR_ARG, "something else");
    assert_int_equal(zo2_job_error_raise(&e), ZO2_ERR_IO);
    assert_string_equal(zo2_last_error(), "disk 7 is on fire");
    assert_int_equal(zo2_job_error_raise(&e), ZO2_OK);
}

static void status_texts(void **state)
{
    (void)state;
#define X(name, value, text)             \
    assert_int_equal(ZO2_##name, value); \
    assert_string_equal(zo2_strerror(ZO2_##name), text);
    ZO2_STATUS_MAP(X)
#undef X
    assert_string_equal(zo2_strerror((zo2_status)-999), "unknown status");
    char longer[3000];
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = 0;
    assert_int_equal(zo2_error(ZO2_ERR_IO, "%s", longer), ZO2_ERR_IO);
    assert_int_equal(strlen(zo2_last_error()), 1023);
    zo2_error(ZO2_ERR_IO, "inner");
    zo2_error(ZO2_ERR_IO, "outer: %s", zo2_last_error());
    assert_string_equal(zo2_last_error(), "outer: inner");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_index_once),        cmocka_unit_test(several_callers),
        cmocka_unit_test(long_job_starves_nobody), cmocka_unit_test(sleepers_wake),
        cmocka_unit_test(pinned_environment),      cmocka_unit_test(stacks_are_large_enough),
        cmocka_unit_test(errors_travel),           cmocka_unit_test(status_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
