/* ordered.c: see ordered.h. A task waits for its turn with its buffer. As tasks are handed out in rising order, the one
 * whose turn it is always has a thread: no deadlock. */
#include "storage/io/ordered.h"

#include "engine/base/checked.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

typedef struct state {
    const zo2_ordered *o;
    pthread_t caller;
    pthread_mutex_t mutex; /* of what follows */
    pthread_cond_t turned;
    uint64_t next; /* task whose turn it is: all before it are finished */
    zo2_status failed;
    char text[1024];
    unsigned char **idle; /* buffers without a task */
    uint32_t n_idle;
} state;

/* With the mutex held; the failure is this thread's last error. */
static void fail(state *st, zo2_status s)
{
    if (st->failed)
        return;
    st->failed = s;
    strncpy(st->text, zo2_last_error(), sizeof st->text - 1);
}

static void report(state *st)
{
    pthread_mutex_lock(&st->mutex);
    uint64_t done = st->next;
    int go_on = !st->failed;
    pthread_mutex_unlock(&st->mutex);
    zo2_status s = go_on ? st->o->report(st->o->arg, done) : ZO2_OK;
    if (!s)
        return;
    pthread_mutex_lock(&st->mutex);
    fail(st, s);
    pthread_cond_broadcast(&st->turned);
    pthread_mutex_unlock(&st->mutex);
}

static void do_task(void *arg, uint64_t i)
{
    state *st = arg;
    const zo2_ordered *o = st->o;
    pthread_mutex_lock(&st->mutex);
    if (st->failed) {
        pthread_mutex_unlock(&st->mutex);
        return;
    }
    unsigned char *buffer = st->idle[--st->n_idle];
    pthread_mutex_unlock(&st->mutex);
    zo2_status s = o->work(o->arg, i, buffer);
    pthread_mutex_lock(&st->mutex);
    while (st->next != i && !st->failed)
        pthread_cond_wait(&st->turned, &st->mutex);
    if (!st->failed && !s) {
        pthread_mutex_unlock(&st->mutex); /* it stays this task's turn */
        s = o->finish(o->arg, i, buffer);
        pthread_mutex_lock(&st->mutex);
    }
    if (s)
        fail(st, s);
    else if (!st->failed)
        st->next++;
    pthread_cond_broadcast(&st->turned);
    st->idle[st->n_idle++] = buffer;
    pthread_mutex_unlock(&st->mutex);
    if (o->report && pthread_equal(st->caller, pthread_self()))
        report(st);
}

zo2_status zo2_ordered_run(const zo2_ordered *o)
{
    uint64_t buffers = o->workers.threads > 1 ? o->workers.threads : 1;
    uint64_t bytes = zo2_round_up(o->buffer_bytes ? o->buffer_bytes : 1, 64); /* at most some 2^32 */
    state st = {.o = o, .caller = pthread_self()};
    zo2_status s = ZO2_OK;
    if (buffers > o->n)
        buffers = o->n;
    st.idle = calloc((size_t)buffers + 1, sizeof *st.idle);
    for (; st.idle && st.n_idle < buffers; st.n_idle++)
        if (!(st.idle[st.n_idle] = aligned_alloc(64, (size_t)bytes)))
            break;
    if (!st.idle || st.n_idle < buffers)
        s = zo2_error(ZO2_ERR_NOMEM, "out of memory for %" PRIu64 " buffers of %" PRIu64 " bytes, one for each thread",
                      buffers, bytes);
    if (!s) {
        pthread_mutex_init(&st.mutex, NULL);
        pthread_cond_init(&st.turned, NULL);
        if (o->workers.threads > 1)
            o->workers.run(o->workers.ud, o->n, do_task, &st);
        else
            for (uint64_t i = 0; i < o->n; i++)
                do_task(&st, i);
        pthread_cond_destroy(&st.turned);
        pthread_mutex_destroy(&st.mutex);
        if (st.failed)
            s = zo2_error(st.failed, "%s", st.text);
    }
    for (uint32_t i = 0; st.idle && i < st.n_idle; i++)
        free(st.idle[i]);
    free(st.idle);
    return s;
}
