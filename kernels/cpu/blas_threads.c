/* blas_threads.c: the one piece of process state of the library, because OpenBLAS's thread count is one. */
#include "kernels/cpu/blas_threads.h"

#include <cblas.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>

/* 128 MiB on 64-bit machines and what it adds to align it; and 64 MiB for the C library, which reserves as much for each
 * thread that allocates. */
#define BUFFER_BYTES ((size_t)193 << 20)

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

int zo2_blas_has_room(unsigned threads)
{
    void **buffer = calloc(threads, sizeof *buffer);
    unsigned n = 0;
    if (!buffer)
        return 0;
    while (n < threads && (buffer[n] = mmap(NULL, BUFFER_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                                            0)) != MAP_FAILED)
        n++;
    for (unsigned i = 0; i < n; i++)
        munmap(buffer[i], BUFFER_BYTES);
    free(buffer);
    return n == threads;
}
