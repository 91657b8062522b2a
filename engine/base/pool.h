/* pool.h: the engine's worker threads. Several lanes may run jobs at once; workers help the oldest job first. */
#ifndef ZO2_ENGINE_BASE_POOL_H
#define ZO2_ENGINE_BASE_POOL_H

#include "engine/base/parallel.h"
#include "engine/zo2.h"

typedef struct zo2_pool zo2_pool;

/* `threads` counts the caller of zo2_pool_run(): threads - 1 workers are started; 0 = usable CPUs. */
zo2_status zo2_pool_create(zo2_pool **out, uint32_t threads);
void zo2_pool_destroy(zo2_pool *pool); /* NULL is fine; no job may be running. In a forked child it frees only */
uint32_t zo2_pool_threads(const zo2_pool *pool);

/* Runs fn(arg, i) for every i in [0, n), on the workers and the caller, and returns when all are done. Tasks must not
 * call zo2_pool_run() themselves. May be called from several threads at once. */
void zo2_pool_run(zo2_pool *pool, uint64_t n, void (*fn)(void *arg, uint64_t i), void *arg);

/* The pool as everyone below the engine sees it. */
zo2_parallel zo2_pool_parallel(zo2_pool *pool);

#endif
