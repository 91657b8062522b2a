/* test_backend_util.h: what the tests of the backends share: a thread pool as simple as can be, a bump allocator over
 * the arena, fixed random numbers. Failures of set-up end the test through cmocka. */
#ifndef ZO2_TESTS_UNIT_KERNELS_TEST_BACKEND_UTIL_H
#define ZO2_TESTS_UNIT_KERNELS_TEST_BACKEND_UTIL_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <pthread.h>
#include <stdatomic.h>

#include <cmocka.h>

#include "codec/codec.h"
#include "kernels/backend.h"
#include "tests/unit/kernels/backend_shim.h"
#include "tests/unit/kernels/product_type.h"

/* These tests are built for each backend that computes; on a device that isn't this host's memory through the shim. */
#ifndef TEST_BACKEND
#define TEST_BACKEND ZO2_BACKEND_CPU
#endif
#ifdef ZO2_TEST_CUDASIM
#include "cudasim.h"
#endif

#define TEST_ULP 5.9604645e-8 /* 2^-24: largest relative error of one fp32 rounding */

static inline void test_ok_at(zo2_status s, const char *file, int line)
{
    if (s)
        print_error("%s\n", zo2_last_error());
    _assert_int_equal((LargestIntegralType)s, ZO2_OK, file, line);
}
#define TEST_OK(s) test_ok_at(s, __FILE__, __LINE__)

/* The status is `want` and the text has `part`. */
#define TEST_REFUSED(s, want, part)                                             \
    do {                                                                        \
        assert_int_equal(s, want);                                              \
        if (!strstr(zo2_last_error(), part))                                    \
            fail_msg("\"%s\" does not mention \"%s\"", zo2_last_error(), part); \
    } while (0)

/* ---- threads -------------------------------------------------------------------------------------------------------
 */

typedef struct test_pool {
    uint32_t threads;
    _Atomic uint64_t next;
    uint64_t n;
    void (*fn)(void *arg, uint64_t i);
    void *arg;
} test_pool;

static inline void *test_pool_work(void *ud)
{
    test_pool *p = (test_pool *)ud;
    for (uint64_t i; (i = atomic_fetch_add(&p->next, 1)) < p->n;)
        p->fn(p->arg, i);
    return NULL;
}

/* Starts its threads anew for each call: slow, and nothing can go wrong. */
static inline void test_pool_run(void *ud, uint64_t n, void (*fn)(void *arg, uint64_t i), void *arg)
{
    test_pool p = {.threads = ((test_pool *)ud)->threads, .n = n, .fn = fn, .arg = arg};
    pthread_t thread[16];
    for (uint32_t i = 1; i < p.threads; i++)
        if (pthread_create(&thread[i], NULL, test_pool_work, &p))
            abort();
    test_pool_work(&p);
    for (uint32_t i = 1; i < p.threads; i++)
        pthread_join(thread[i], NULL);
}

/* ---- a backend with an arena to allocate from ----------------------------------------------------------------------
 */

#define TEST_POISON 0x7FC0DEADu /* a NaN: what nobody wrote shows */

typedef struct test_device {
    test_pool pool;
    zo2_backend *b;
    const zo2_backend_ops *ops;
    unsigned char *arena;
    uint64_t bytes, used;
    zo2_backend *shim; /* NULL: the arena is the device's */
} test_device;

/* A program's tests open hundreds of backends, on a real GPU all on one device: making it takes longer than most of them. A test that
 * failed keeps the one that it had. */
typedef struct test_lent {
    zo2_device *device;
    int taken;
} test_lent;

static inline test_lent *test_lent_device(void)
{
    static test_lent lent;
    return &lent;
}

static inline zo2_device *test_borrow(const zo2_backend_ops *ops)
{
#ifdef ZO2_TEST_CUDASIM
    (void)ops;
    return NULL; /* each has a simulated one of its own */
#else
    test_lent *lent = test_lent_device();
    zo2_device_info info;
    if (TEST_BACKEND != ZO2_BACKEND_CUDA)
        return NULL;
    if (lent->taken || !lent->device)
        TEST_OK(ops->device_open(&lent->device, &info));
    lent->taken = 1;
    return lent->device;
#endif
}

static inline void test_open(test_device *t, zo2_backend_kind kind, uint64_t bytes, uint32_t threads)
{
    memset(t, 0, sizeof *t);
    t->pool.threads = threads;
    t->bytes = bytes;
    t->ops = zo2_backend_get(kind);
    assert_non_null(t->ops);
#ifdef ZO2_TEST_CUDASIM
    /* There the number of threads stands for an order in which operations, blocks and threads run. */
    cudasim_config sim = {.order = threads == 1   ? CUDASIM_FIFO
                                   : threads == 2 ? CUDASIM_LIFO
                                                  : CUDASIM_SEEDED,
                          .threads = threads == 1   ? CUDASIM_FORWARD
                                     : threads == 2 ? CUDASIM_REVERSE
                                                    : CUDASIM_SHUFFLED,
                          .seed = threads};
#ifdef CUDASIM_ARCH /* kernels are compiled for an older device: they run on it */
    sim.major = CUDASIM_ARCH / 100;
    sim.minor = CUDASIM_ARCH / 10 % 10;
#endif
    cudasim_reset(&sim);
#endif
    zo2_backend_config config = {.arena_bytes = bytes};
    config.parallel.ud = &t->pool;
    config.parallel.threads = threads;
    config.parallel.run = threads > 1 ? test_pool_run : NULL;
    if (kind == ZO2_BACKEND_CUDA) {
        if (t->ops->usable())
            exit(77); /* no device here */
        TEST_OK(backend_shim_open(&t->b, t->ops, test_borrow(t->ops), bytes));
        t->ops = t->b->ops;
        t->shim = t->b;
    } else {
        TEST_OK(t->ops->open(&t->b, &config));
    }
    assert_ptr_equal(t->b->ops, t->ops);
    t->arena = (unsigned char *)t->ops->arena(t->b);
    if (kind == ZO2_BACKEND_NULL)
        return;
    uint32_t poison[64];
    for (int i = 0; i < 64; i++)
        poison[i] = TEST_POISON;
    for (uint64_t i = 0; i < bytes; i += sizeof poison)
        memcpy(t->arena + i, poison, bytes - i < sizeof poison ? bytes - i : sizeof poison);
    if (t->ops->enter)
        t->ops->enter(t->b);
}

static inline void test_close(test_device *t)
{
    if (t->ops->leave && t->ops->kind != ZO2_BACKEND_NULL)
        t->ops->leave(t->b);
    t->ops->close(t->b);
    test_lent_device()->taken = 0;
#ifdef ZO2_TEST_CUDASIM
    if (cudasim_report()[0])
        fail_msg("the simulator reports: %s", cudasim_report());
#endif
}

/* Bytes of the arena, 64-aligned, with 64 bytes of poison behind. */
static inline void *test_take(test_device *t, uint64_t bytes)
{
    void *p = t->arena + t->used;
    t->used += (bytes + 127) / 64 * 64;
    if (t->used > t->bytes)
        fail_msg("the test's arena is too small");
    if (t->shim)
        backend_shim_part(t->shim, p, bytes);
    return p;
}

static inline float *test_floats(test_device *t, uint64_t n)
{
    return (float *)test_take(t, n * sizeof(float));
}

static inline int test_is_poison(const float *p)
{
    uint32_t u;
    memcpy(&u, p, sizeof u);
    return u == TEST_POISON;
}

/* ---- numbers -------------------------------------------------------------------------------------------------------
 */

/* About uniform in (-1, 1), from a linear congruential generator. */
static inline float test_random(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (float)((double)(*seed >> 40) / (double)(1 << 23) - 1.0);
}

static inline void test_fill(float *x, uint64_t n, uint64_t seed, float scale, zo2_dtype type)
{
    for (uint64_t i = 0; i < n; i++)
        x[i] = scale * test_random(&seed);
    zo2_round_to(type, x, n);
}

/* Half a unit in the last place of a stored value of about x. */
static inline double test_rounding(zo2_dtype type, double x)
{
    return type == ZO2_F16 ? fabs(x) / 2048 + 3e-8 : type == ZO2_BF16 ? fabs(x) / 256 : fabs(x) * TEST_ULP;
}

/* x holds nothing that the type can't. */
static inline void test_is_rounded(zo2_dtype type, const float *x, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++) {
        float r = x[i];
        zo2_round_to(type, &r, 1);
        assert_memory_equal(&r, &x[i], sizeof r);
    }
}

static inline void test_near_at(double got, double want, double tolerance, const char *file, int line, const char *what,
                                uint64_t i)
{
    if (!(fabs(got - want) <= tolerance)) {
        print_error("%s[%llu]: got %.9g, want %.9g +- %.3g\n", what, (unsigned long long)i, got, want, tolerance);
        _fail(file, line);
    }
}
#define TEST_NEAR(got, want, tolerance, what, i) test_near_at(got, want, tolerance, __FILE__, __LINE__, what, i)

#if defined(ZO2_TEST_CUDASIM) && (defined(__SANITIZE_THREAD__) || defined(CUDASIM_ARCH))
/* Orders, see test_open(). One is enough for TSan, which sees a race whatever the order, and for older devices' conversions. */
static const uint32_t test_thread_counts[] = {3};
#else
static const uint32_t test_thread_counts[] = {1, 2, 3, 7};
#endif
#define TEST_THREAD_COUNTS (sizeof test_thread_counts / sizeof test_thread_counts[0])

static const zo2_dtype test_types[] = {ZO2_F32, ZO2_F16, ZO2_BF16};

/* ---- the same bits ---------------------------------------------------------------------------------------------------- */

/* check() does problem i with its operands laid out in way v of four, and gives the dense result of rows * cols values. */
typedef struct test_problems {
    unsigned n;
    uint64_t (*values)(unsigned i); /* of the result */
    void (*check)(test_device *t, unsigned i, unsigned v, float *result);
} test_problems;

/* Each problem has the same bits in all four ways, each on another number of threads. */
static inline void test_same_bits(const test_problems *p)
{
    float **first = calloc(p->n, sizeof *first);
    assert_non_null(first);
    for (unsigned v = 0; v < 4; v++) {
        test_device t;
        test_open(&t, TEST_BACKEND, 4 << 20, test_thread_counts[v % TEST_THREAD_COUNTS]);
        for (unsigned i = 0; i < p->n; i++) {
            const uint64_t bytes = p->values(i) * sizeof(float);
            float *result = malloc(bytes);
            assert_non_null(result);
            p->check(&t, i, v, result);
            if (first[i]) {
                assert_memory_equal(first[i], result, bytes);
                free(result);
            } else {
                first[i] = result;
            }
        }
        test_close(&t);
    }
    for (unsigned i = 0; i < p->n; i++)
        free(first[i]);
    free(first);
}

#endif
