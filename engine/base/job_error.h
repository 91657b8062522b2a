/* job_error.h: carries the first error of a set of worker tasks, with its text, to the caller's thread. */
#ifndef ZO2_ENGINE_BASE_JOB_ERROR_H
#define ZO2_ENGINE_BASE_JOB_ERROR_H

#include "engine/zo2.h"

#include <pthread.h>
#include <string.h>

typedef struct zo2_job_error {
    pthread_mutex_t mutex;
    zo2_status status;
    char text[1024];
} zo2_job_error;

#define ZO2_JOB_ERROR_INIT                 \
    {                                      \
        .mutex = PTHREAD_MUTEX_INITIALIZER \
    }

/* Called by a task that failed, on its own thread, right after the failure. */
static inline void zo2_job_error_set(zo2_job_error *e, zo2_status s)
{
    pthread_mutex_lock(&e->mutex);
    if (!e->status) {
        e->status = s;
        strncpy(e->text, zo2_last_error(), sizeof e->text - 1);
    }
    pthread_mutex_unlock(&e->mutex);
}

static inline zo2_status zo2_job_error_get(zo2_job_error *e)
{
    pthread_mutex_lock(&e->mutex);
    zo2_status s = e->status;
    pthread_mutex_unlock(&e->mutex);
    return s;
}

/* The first error, raised again on this thread, which others may do as well; ZO2_OK if there was none. */
static inline zo2_status zo2_job_error_again(zo2_job_error *e)
{
    pthread_mutex_lock(&e->mutex);
    zo2_status s = e->status;
    if (s)
        zo2_error(s, "%s", e->text);
    pthread_mutex_unlock(&e->mutex);
    return s;
}

/* The same, and clears it. */
static inline zo2_status zo2_job_error_raise(zo2_job_error *e)
{
    pthread_mutex_lock(&e->mutex);
    zo2_status s = e->status;
    if (s)
        zo2_error(s, "%s", e->text);
    e->status = ZO2_OK;
    memset(e->text, 0, sizeof e->text);
    pthread_mutex_unlock(&e->mutex);
    return s;
}

#endif
