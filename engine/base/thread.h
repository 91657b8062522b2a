/* thread.h: starting the library's own threads. They block every signal, so that signals reach the caller's threads and no
 * handler ever runs on a worker's stack; they compute in the pinned floating-point environment; and their stacks are as large
 * as the work takes, whatever `ulimit -s` says. */
#ifndef ZO2_ENGINE_BASE_THREAD_H
#define ZO2_ENGINE_BASE_THREAD_H

#include <errno.h>
#include <pthread.h>
#include <signal.h>

/* Bytes of a thread's stack. The deepest task takes less than 48 KiB with AVX-512, OpenBLAS and oneDNN; sanitizers
 * multiply that, a program's thread-local variables are in it, and callbacks (log, trace) want room as well. Not 2 MiB: a stack that
 * is a huge page becomes resident at the first touch. */
#define ZO2_THREAD_STACK ((size_t)1 << 20)

/* As pthread_create() with a stack of ZO2_THREAD_STACK bytes, or of the default size if the program's thread-local variables
 * fill one. */
static inline int zo2_thread_create(pthread_t *out, void *(*run)(void *), void *arg)
{
    pthread_attr_t attr;
    int failed = pthread_attr_init(&attr);
    if (failed)
        return failed;
    failed = pthread_attr_setstacksize(&attr, ZO2_THREAD_STACK);
    if (!failed)
        failed = pthread_create(out, &attr, run, arg);
    pthread_attr_destroy(&attr);
    return failed == EINVAL ? pthread_create(out, NULL, run, arg) : failed;
}

/* Starts one of the library's threads. 0, or an errno value. */
static inline int zo2_thread_start(pthread_t *out, void *(*run)(void *), void *arg)
{
    sigset_t all, before;
    sigfillset(&all);
    int failed = pthread_sigmask(SIG_SETMASK, &all, &before); /* a thread inherits its maker's mask */
    if (failed)
        return failed;
    failed = zo2_thread_create(out, run, arg);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return failed;
}

#endif
