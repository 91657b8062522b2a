/* one_log.h: a caller's log function for several threads, which call it one at a time. */
#ifndef ZO2_ENGINE_BASE_ONE_LOG_H
#define ZO2_ENGINE_BASE_ONE_LOG_H

#include "engine/zo2.h"

#include <pthread.h>

typedef struct zo2_one_log {
    zo2_log_fn log;
    void *ud;
    pthread_mutex_t mutex;
} zo2_one_log;

/* A zo2_log_fn; one: a zo2_one_log. */
static inline void zo2_one_log_say(void *one, zo2_log_level level, const char *message)
{
    zo2_one_log *l = (zo2_one_log *)one;
    pthread_mutex_lock(&l->mutex);
    l->log(l->ud, level, message);
    pthread_mutex_unlock(&l->mutex);
}

#endif
