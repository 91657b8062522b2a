/* blas.c: see blas.h. The one piece of process state of the library, because a loaded OpenBLAS and its thread count are.
 *
 * ZO2_OPENBLAS_SONAME is the name under which the loader knows the library that the build found, ZO2_OPENBLAS_FILE its path
 * where the loader doesn't look by itself, else the same name. */
#include "kernels/cpu/blas.h"

#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>

/* 128 MiB on 64-bit machines and what it adds to align it; and 64 MiB for the C library, which reserves as much for each
 * thread that allocates. */
#define BUFFER_BYTES ((size_t)193 << 20)

/* The library itself, the Fortran library that it needs, what both allocate at first. */
#define LIBRARY_BYTES ((size_t)64 << 20)

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static zo2_blas loaded; /* sgemm NULL: not yet */
static int watching;    /* forks */
static unsigned inside;
static int saved_threads;

/* ---- room -------------------------------------------------------------------------------------------------------- */

static zo2_status reserve(zo2_blas_room *room, size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    *room = (zo2_blas_room){.memory = memory == MAP_FAILED ? NULL : memory, .bytes = bytes};
    if (room->memory)
        return ZO2_OK;
    return zo2_error(ZO2_ERR_NOMEM,
                     "the address space has no room for OpenBLAS, which maps 128 MiB for each thread (%zu MiB more are "
                     "needed): raise the limit (ulimit -v), or use fewer threads",
                     bytes >> 20);
}

zo2_status zo2_blas_reserve(zo2_blas_room *room, unsigned threads)
{
    return reserve(room, threads * BUFFER_BYTES);
}

void zo2_blas_release(zo2_blas_room *room)
{
    if (room->memory)
        munmap(room->memory, room->bytes);
    room->memory = NULL;
}

/* ---- loading ----------------------------------------------------------------------------------------------------- */

static void *open_library(void)
{
    static const struct {
        const char *name;
        int flags;
    } tries[] = {
        {ZO2_OPENBLAS_SONAME, RTLD_NOLOAD}, /* the program's */
        {ZO2_OPENBLAS_FILE, 0},
        {ZO2_OPENBLAS_SONAME, 0}, /* installed elsewhere than where it was built */
    };
    void *library = NULL;
    for (size_t i = 0; i < sizeof tries / sizeof tries[0] && !library; i++)
        library = dlopen(tries[i].name, RTLD_NOW | RTLD_LOCAL | tries[i].flags);
    return library;
}

/* At loading OpenBLAS starts a thread for each CPU that the loading thread may use but one: it is shown one. */
static void *open_without_threads(void)
{
    cpu_set_t mine, one;
    int cpu = 0, known = !sched_getaffinity(0, sizeof mine, &mine);
    CPU_ZERO(&one);
    while (known && cpu < CPU_SETSIZE - 1 && !CPU_ISSET(cpu, &mine))
        cpu++;
    CPU_SET(cpu, &one);
    known = known && !sched_setaffinity(0, sizeof one, &one);
    void *library = open_library();
    if (known)
        sched_setaffinity(0, sizeof mine, &mine);
    return library;
}

static zo2_status load(zo2_blas *blas)
{
    zo2_blas_room room;
    zo2_status s = reserve(&room, LIBRARY_BYTES);
    zo2_blas_release(&room);
    if (s)
        return s;
    void *library = open_without_threads();
    if (!library) {
        const char *why = dlerror();
        return zo2_error(ZO2_ERR_NOTFOUND,
                         "the cpu backend needs OpenBLAS, which cannot be loaded: %s (Debian package libopenblas0)",
                         why ? why : ZO2_OPENBLAS_SONAME);
    }
    const struct {
        const char *name;
        void *function;
    } symbols[] = {
        {"openblas_get_num_threads", &blas->get_num_threads},
        {"openblas_set_num_threads", &blas->set_num_threads},
        {"cblas_sgemm", &blas->sgemm}, /* last: the mark of success */
    };
    for (size_t i = 0; i < sizeof symbols / sizeof symbols[0]; i++) {
        void *found = dlsym(library, symbols[i].name);
        if (!found)
            return zo2_error(ZO2_ERR_NOTFOUND, "%s has no function %s: it is no OpenBLAS with the interface for C",
                             ZO2_OPENBLAS_SONAME, symbols[i].name);
        memcpy(symbols[i].function, &found, sizeof found); /* POSIX: a function's address fits into a void pointer */
    }
    return ZO2_OK;
}

/* ---- forks: a child gets the lock free, and without the steps of threads that it doesn't have ---- */

static void before_fork(void)
{
    pthread_mutex_lock(&lock);
}

static void after_fork(void)
{
    pthread_mutex_unlock(&lock);
}

static void in_child(void)
{
    inside = 0;
    pthread_mutex_unlock(&lock);
}

zo2_status zo2_blas_load(const zo2_blas **out)
{
    *out = NULL;
    pthread_mutex_lock(&lock);
    zo2_status s = loaded.sgemm ? ZO2_OK : load(&loaded);
    if (!s && !watching)
        watching = !pthread_atfork(before_fork, after_fork, in_child);
    pthread_mutex_unlock(&lock);
    if (!s)
        *out = &loaded;
    return s;
}

/* ---- threads ----------------------------------------------------------------------------------------------------- */

void zo2_blas_enter(const zo2_blas *blas)
{
    pthread_mutex_lock(&lock);
    if (inside++ == 0) {
        saved_threads = blas->get_num_threads();
        blas->set_num_threads(1);
    }
    pthread_mutex_unlock(&lock);
}

void zo2_blas_leave(const zo2_blas *blas)
{
    pthread_mutex_lock(&lock);
    if (inside && --inside == 0)
        blas->set_num_threads(saved_threads);
    pthread_mutex_unlock(&lock);
}
