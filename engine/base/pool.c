/* pool.c: see pool.h. A job lives on its caller's stack; workers find it in a list under the pool's mutex and then take
 * indices with one atomic add each.
 *
 * A step runs thousands of short jobs, and waking a thread costs about as much as a small one takes. So who has nothing
 * to do looks around for some microseconds before it sleeps, and only as many sleepers are woken as a job has use for.
 * Looking is short because there may be more threads than cores: the lanes' own threads work on their jobs too. */
#include "engine/base/pool.h"
#include "engine/base/fpenv.h"
#include "engine/base/machine.h"
#include "engine/base/thread.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#define LOOKS 256u /* pauses before sleeping: 5 to 15 us, what a wake-up costs */

typedef struct job {
    struct job *next;
    uint64_t n;
    void (*fn)(void *arg, uint64_t i);
    void *arg;
    atomic_uint_fast64_t taken;
    atomic_uint_fast32_t helpers; /* workers inside; written under the pool's mutex */
} job;

struct zo2_pool {
    pthread_mutex_t mutex;
    pthread_cond_t work;        /* a job was added, or the pool ends */
    pthread_cond_t left;        /* a job's last worker left it */
    job *jobs;                  /* oldest first; only jobs with indices left */
    atomic_uint_fast32_t wakes; /* number of jobs in the list, 1 more when the pool ends: what lookers look at */
    uint32_t sleeping;          /* workers waiting for `work` */
    uint32_t waiting;           /* callers waiting for `left` */
    int ending;
    uint32_t threads;
    uint32_t started;
    pthread_t *workers;
    pid_t process; /* that has them */
};

static void pause_briefly(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("isb");
#endif
}

static void work_on(job *j)
{
    for (;;) {
        uint64_t i = atomic_fetch_add_explicit(&j->taken, 1, memory_order_relaxed);
        if (i >= j->n)
            return;
        j->fn(j->arg, i);
    }
}

static void unlist(zo2_pool *pool, job *j)
{
    for (job **at = &pool->jobs; *at; at = &(*at)->next) {
        if (*at == j) {
            *at = j->next;
            atomic_fetch_sub_explicit(&pool->wakes, 1, memory_order_relaxed);
            return;
        }
    }
}

/* A worker without a job; the mutex is held before and after. */
static void wait_for_work(zo2_pool *pool)
{
    pthread_mutex_unlock(&pool->mutex);
    for (uint32_t i = 0; i < LOOKS && !atomic_load_explicit(&pool->wakes, memory_order_relaxed); i++)
        pause_briefly();
    pthread_mutex_lock(&pool->mutex);
    pool->sleeping++;
    while (!pool->jobs && !pool->ending)
        pthread_cond_wait(&pool->work, &pool->mutex);
    pool->sleeping--;
}

static void *worker(void *arg)
{
    zo2_pool *pool = arg;
    fenv_t unused;
    zo2_fpenv_pin(&unused);
    pthread_mutex_lock(&pool->mutex);
    while (!pool->ending) {
        job *j = pool->jobs;
        if (!j) {
            wait_for_work(pool);
            continue;
        }
        atomic_fetch_add_explicit(&j->helpers, 1, memory_order_relaxed);
        pthread_mutex_unlock(&pool->mutex);
        work_on(j);
        pthread_mutex_lock(&pool->mutex);
        unlist(pool, j); /* its indices are all taken now */
        /* Release: a caller that only looks at the number sees what was done. It may then leave, and *j is no more. */
        if (atomic_fetch_sub_explicit(&j->helpers, 1, memory_order_release) == 1 && pool->waiting)
            pthread_cond_broadcast(&pool->left);
    }
    pthread_mutex_unlock(&pool->mutex);
    return NULL;
}

/* Lists a job and wakes as many sleepers as it can use. */
static void publish(zo2_pool *pool, job *j)
{
    pthread_mutex_lock(&pool->mutex);
    job **at = &pool->jobs;
    while (*at)
        at = &(*at)->next;
    *at = j;
    atomic_fetch_add_explicit(&pool->wakes, 1, memory_order_relaxed);
    uint64_t wake = pool->sleeping < j->n - 1 ? pool->sleeping : j->n - 1;
    if (wake == pool->sleeping && wake > 1)
        pthread_cond_broadcast(&pool->work);
    else
        for (uint64_t i = 0; i < wake; i++)
            pthread_cond_signal(&pool->work);
    pthread_mutex_unlock(&pool->mutex);
}

/* Waits until no worker is inside a job whose indices are all taken. */
static void wait_for_helpers(zo2_pool *pool, job *j)
{
    pthread_mutex_lock(&pool->mutex);
    unlist(pool, j); /* nobody enters from here on */
    if (!atomic_load_explicit(&j->helpers, memory_order_acquire)) {
        pthread_mutex_unlock(&pool->mutex);
        return;
    }
    pthread_mutex_unlock(&pool->mutex);
    for (uint32_t i = 0; i < LOOKS; i++) {
        if (!atomic_load_explicit(&j->helpers, memory_order_acquire))
            return;
        pause_briefly();
    }
    pthread_mutex_lock(&pool->mutex);
    pool->waiting++;
    while (atomic_load_explicit(&j->helpers, memory_order_acquire))
        pthread_cond_wait(&pool->left, &pool->mutex);
    pool->waiting--;
    pthread_mutex_unlock(&pool->mutex);
}

void zo2_pool_run(zo2_pool *pool, uint64_t n, void (*fn)(void *arg, uint64_t i), void *arg)
{
    if (n <= 1 || pool->threads == 1) {
        for (uint64_t i = 0; i < n; i++)
            fn(arg, i);
        return;
    }
    job j = {.n = n, .fn = fn, .arg = arg};
    atomic_init(&j.taken, 0);
    atomic_init(&j.helpers, 0);
    publish(pool, &j);
    work_on(&j);
    wait_for_helpers(pool, &j);
}

static void parallel_run(void *ud, uint64_t n, void (*fn)(void *arg, uint64_t i), void *arg)
{
    zo2_pool_run(ud, n, fn, arg);
}

zo2_parallel zo2_pool_parallel(zo2_pool *pool)
{
    return (zo2_parallel){.ud = pool, .threads = pool->threads, .run = parallel_run};
}

uint32_t zo2_pool_threads(const zo2_pool *pool)
{
    return pool->threads;
}

zo2_status zo2_pool_create(zo2_pool **out, uint32_t threads)
{
    *out = NULL;
    zo2_pool *pool = calloc(1, sizeof *pool);
    if (!pool)
        return zo2_error(ZO2_ERR_NOMEM, "no memory for the thread pool");
    atomic_init(&pool->wakes, 0);
    pool->threads = threads ? threads : zo2_usable_cpus();
    pool->process = getpid();
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->work, NULL);
    pthread_cond_init(&pool->left, NULL);
    pool->workers = calloc(pool->threads, sizeof *pool->workers);
    zo2_status s = pool->workers ? ZO2_OK : zo2_error(ZO2_ERR_NOMEM, "no memory for %u threads", pool->threads);
    while (!s && pool->started + 1 < pool->threads) {
        if (zo2_thread_start(&pool->workers[pool->started], worker, pool))
            s = zo2_error(ZO2_ERR_NOMEM, "cannot start thread %u of %u", pool->started + 1, pool->threads);
        else
            pool->started++;
    }
    if (s) {
        zo2_pool_destroy(pool);
        return s;
    }
    *out = pool;
    return ZO2_OK;
}

static void end_workers(zo2_pool *pool)
{
    pthread_mutex_lock(&pool->mutex);
    pool->ending = 1;
    atomic_fetch_add_explicit(&pool->wakes, 1, memory_order_relaxed);
    pthread_cond_broadcast(&pool->work);
    pthread_mutex_unlock(&pool->mutex);
    for (uint32_t i = 0; i < pool->started; i++)
        pthread_join(pool->workers[i], NULL);
    pthread_cond_destroy(&pool->left);
    pthread_cond_destroy(&pool->work);
    pthread_mutex_destroy(&pool->mutex);
}

void zo2_pool_destroy(zo2_pool *pool)
{
    if (!pool)
        return;
    if (pool->process == getpid())
        end_workers(pool);
    free(pool->workers);
    free(pool);
}
