/* blas_threads.c: the one piece of process state of the library, because OpenBLAS's thread count is one. */
#include "kernels/cpu/blas_threads.h"

#include <cblas.h>
#include <pthread.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned inside;
static int saved_threads;

void zo2_blas_enter(void)
{
    pthread_mutex_lock(&lock);
    if (inside++ == 0) {
        saved_threads = openblas_get_num_threads();
        openblas_set_num_threads(1);
    }
    pthread_mutex_unlock(&lock);
}

void zo2_blas_leave(void)
{
    pthread_mutex_lock(&lock);
    if (inside && --inside == 0)
        openblas_set_num_threads(saved_threads);
    pthread_mutex_unlock(&lock);
}
