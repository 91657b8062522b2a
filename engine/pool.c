/* pool.c: see pool.h. A job lives on its caller's stack; workers find it in a list under the pool's mutex and then take
 * indices with one atomic add each. */
#include "engine/pool.h"
#include "codec/fpenv.h"
#include "engine/thread.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

typedef struct job {
    struct job *next;
    uint64_t n;
    void (*fn)(void *arg, uint64_t i);
    void *arg;
    atomic_uint_fast64_t taken;
    uint32_t helpers; /* workers inside, guarded by the pool's mutex */
} job;

struct zo2_pool {
    pthread_mutex_t mutex;
    pthread_cond_t work; /* a job was added, or the pool ends */
    pthread_cond_t left; /* a worker left a job */
    job *jobs;           /* oldest first; only jobs with indices left */
    int ending;
    uint32_t threads;
    uint32_t started;
    pthread_t *workers;
};

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
            return;
        }
    }
}

static void *worker(void *arg)
{
    zo2_pool *pool = arg;
    fenv_t unused;
    zo2_fpenv_pin(&unused);
    pthread_mutex_lock(&pool->mutex);
    for (;;) {
        while (!pool->jobs && !pool->ending)
            pthread_cond_wait(&pool->work, &pool->mutex);
        if (pool->ending)
            break;
        job *j = pool->jobs;
        j->helpers++;
        pthread_mutex_unlock(&pool->mutex);
        work_on(j);
        pthread_mutex_lock(&pool->mutex);
        unlist(pool, j); /* its indices are all taken now */
        if (--j->helpers == 0)
            pthread_cond_broadcast(&pool->left);
    }
    pthread_mutex_unlock(&pool->mutex);
    return NULL;
}

void zo2_pool_run(zo2_pool *pool, uint64_t n, void (*fn)(void *arg, uint64_t i), void *arg)
{
    if (n <= 1 || pool->threads == 1) {
        for (uint64_t i = 0; i < n; i++)
            fn(arg, i);
        return;
    }
    job j = {.n = n, .fn = fn, .arg = arg};
    pthread_mutex_lock(&pool->mutex);
    job **at = &pool->jobs;
    while (*at)
        at = &(*at)->next;
    *at = &j;
    if (n > 2)
        pthread_cond_broadcast(&pool->work);
    else
        pthread_cond_signal(&pool->work);
    pthread_mutex_unlock(&pool->mutex);
    work_on(&j);
    pthread_mutex_lock(&pool->mutex);
    unlist(pool, &j);
    while (j.helpers)
        pthread_cond_wait(&pool->left, &pool->mutex);
    pthread_mutex_unlock(&pool->mutex);
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

/* CPUs a cgroup v2 quota leaves ("max 100000" or "200000 100000"); 0 if there is none. */
static uint32_t cgroup_cpus(void)
{
    FILE *f = fopen("/sys/fs/cgroup/cpu.max", "re");
    unsigned long long quota = 0, period = 0;
    uint32_t n = 0;
    if (!f)
        return 0;
    if (fscanf(f, "%llu %llu", &quota, &period) == 2 && period)
        n = (uint32_t)((quota + period - 1) / period);
    fclose(f);
    return n;
}

uint32_t zo2_usable_cpus(void)
{
    cpu_set_t set;
    uint32_t n = 1;
    if (!sched_getaffinity(0, sizeof set, &set))
        n = (uint32_t)CPU_COUNT(&set);
    else if (sysconf(_SC_NPROCESSORS_ONLN) > 0)
        n = (uint32_t)sysconf(_SC_NPROCESSORS_ONLN);
    uint32_t quota = cgroup_cpus();
    if (quota && quota < n)
        n = quota;
    return n ? n : 1;
}

zo2_status zo2_pool_create(zo2_pool **out, uint32_t threads)
{
    *out = NULL;
    zo2_pool *pool = calloc(1, sizeof *pool);
    if (!pool)
        return zo2_error(ZO2_ERR_NOMEM, "no memory for the thread pool");
    pool->threads = threads ? threads : zo2_usable_cpus();
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

void zo2_pool_destroy(zo2_pool *pool)
{
    if (!pool)
        return;
    pthread_mutex_lock(&pool->mutex);
    pool->ending = 1;
    pthread_cond_broadcast(&pool->work);
    pthread_mutex_unlock(&pool->mutex);
    for (uint32_t i = 0; i < pool->started; i++)
        pthread_join(pool->workers[i], NULL);
    pthread_cond_destroy(&pool->left);
    pthread_cond_destroy(&pool->work);
    pthread_mutex_destroy(&pool->mutex);
    free(pool->workers);
    free(pool);
}
