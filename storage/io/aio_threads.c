/* aio_threads.c: the kind of queue for systems that refuse io_uring: threads of its own make the calls. */
#include "engine/base/checked.h"
#include "engine/base/thread.h"
#include "storage/io/aio.h"
#include "storage/io/aio_internal.h"
#include "storage/io/transfer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Enough of them to keep a drive busy with calls of a few MiB each; they sleep in the kernel most of the time. */
#define MAX_THREADS 8

typedef struct threads {
    pthread_mutex_t mutex; /* of all that follows */
    pthread_cond_t issued, returned;
    zo2_aio_piece *first, **last; /* issued and not begun, in order */
    zo2_aio_piece *done;
    int stop;
    uint32_t n;
    pthread_t thread[MAX_THREADS];
} threads;

static void make_call(zo2_aio_piece *piece)
{
    const zo2_transfer *x = &piece->x.t;
    int fd = zo2_aio_transfer_fd(&piece->x);
    ssize_t moved = x->write ? pwrite(fd, x->at, (size_t)x->bytes, (off_t)x->offset)
                             : pread(fd, x->at, (size_t)x->bytes, (off_t)x->offset);
    piece->result = moved < 0 ? -errno : moved;
}

static void *work(void *arg)
{
    threads *t = arg;
    pthread_mutex_lock(&t->mutex);
    for (;;) {
        while (!t->first && !t->stop)
            pthread_cond_wait(&t->issued, &t->mutex);
        zo2_aio_piece *piece = t->first;
        if (!piece)
            break;
        t->first = piece->next;
        if (!t->first)
            t->last = &t->first;
        pthread_mutex_unlock(&t->mutex);
        make_call(piece);
        pthread_mutex_lock(&t->mutex);
        piece->next = t->done;
        t->done = piece;
        pthread_cond_signal(&t->returned);
    }
    pthread_mutex_unlock(&t->mutex);
    return NULL;
}

static void end_threads(threads *t)
{
    pthread_mutex_lock(&t->mutex);
    t->stop = 1;
    pthread_cond_broadcast(&t->issued);
    pthread_mutex_unlock(&t->mutex);
    for (uint32_t i = 0; i < t->n; i++)
        pthread_join(t->thread[i], NULL);
    pthread_cond_destroy(&t->returned);
    pthread_cond_destroy(&t->issued);
    pthread_mutex_destroy(&t->mutex);
}

static void threads_close(void *impl, int forked)
{
    if (!forked)
        end_threads(impl);
    free(impl);
}

static zo2_status threads_open(void **impl, const zo2_aio_config *c, char *describe, size_t describe_bytes)
{
    threads *t = calloc(1, sizeof *t);
    if (!t)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory for an I/O queue");
    pthread_mutex_init(&t->mutex, NULL);
    pthread_cond_init(&t->issued, NULL);
    pthread_cond_init(&t->returned, NULL);
    t->last = &t->first;
    for (uint64_t n = zo2_min_u64(c->depth, MAX_THREADS); t->n < n; t->n++) {
        int failed = zo2_thread_start(&t->thread[t->n], work, t);
        if (failed) {
            threads_close(t, 0);
            return zo2_error(ZO2_ERR_NOMEM, "cannot start a thread for I/O: %s", strerror(failed));
        }
    }
    snprintf(describe, describe_bytes, "pread threads");
    *impl = t;
    return ZO2_OK;
}

static void threads_issue(void *impl, zo2_aio_piece *piece)
{
    threads *t = impl;
    pthread_mutex_lock(&t->mutex);
    piece->next = NULL;
    *t->last = piece;
    t->last = &piece->next;
    pthread_cond_signal(&t->issued);
    pthread_mutex_unlock(&t->mutex);
}

static zo2_aio_piece *threads_collect(void *impl, int wait)
{
    threads *t = impl;
    pthread_mutex_lock(&t->mutex);
    while (wait && !t->done)
        pthread_cond_wait(&t->returned, &t->mutex);
    zo2_aio_piece *done = t->done;
    t->done = NULL;
    pthread_mutex_unlock(&t->mutex);
    return done;
}

const zo2_aio_kind zo2_aio_threads = {
    .open = threads_open, .close = threads_close, .issue = threads_issue, .collect = threads_collect};
