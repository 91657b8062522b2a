/* thread.h: starting the library's own threads. They block every signal, so that signals reach the caller's threads and no
 * handler ever runs on a worker's stack; and they compute in the pinned floating-point environment. */
#ifndef ZO2_ENGINE_BASE_THREAD_H
#define ZO2_ENGINE_BASE_THREAD_H

#include <pthread.h>
#include <signal.h>

/* As pthread_create() with default attributes. 0, or an errno value. */
static inline int zo2_thread_start(pthread_t *out, void *(*run)(void *), void *arg)
{
    sigset_t all, before;
    sigfillset(&all);
    int failed = pthread_sigmask(SIG_SETMASK, &all, &before); /* a thread inherits its maker's mask */
    if (failed)
        return failed;
    failed = pthread_create(out, NULL, run, arg);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return failed;
}

#endif
