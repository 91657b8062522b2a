/* share_testing.h: ranks that share a run's work: an engine each on a thread of its own, values through sockets by way of rank 0. */
#ifndef ZO2_TESTS_UNIT_ENGINE_SHARE_TESTING_H
#define ZO2_TESTS_UNIT_ENGINE_SHARE_TESTING_H

#include "tests/unit/engine/engine_testing.h"

#include <pthread.h>
#include <sys/socket.h>

enum { MAX_RANKS = 5, NEVER = 1000 };

/* Who computes what: query parts times batch parts. Evaluations are split by micro-batch. */
typedef struct grid {
    uint32_t by_query, by_batch;
} grid;

typedef struct rank {
    grid g;
    uint32_t me;
    int to[MAX_RANKS];    /* rank 0: the others' sockets; else to[0] is that of rank 0 */
    uint64_t fails_at;    /* a step whose exchange fails, once, before anything is sent; NEVER */
    uint64_t hangs_up_at; /* a step whose exchange shuts the sockets */
    uint64_t computed[2]; /* pairs of query and micro-batch: in steps, in evaluations */
    uint64_t calls, alone_calls;
    int alone; /* in evaluations */
} rank;

static inline void part_of(const grid *g, uint32_t r, zo2_pass_work *w)
{
    const uint32_t ranks = g->by_query * g->by_batch, q = w->evaluation ? 1 : g->by_query,
                   b = w->evaluation ? ranks : g->by_batch;
    const uint32_t qi = r / b, bi = r % b;
    w->query = qi * w->queries / q;
    w->own_queries = (qi + 1) * w->queries / q - w->query;
    w->micro = bi * w->micros / b;
    w->own_micros = (bi + 1) * w->micros / b - w->micro;
}

static inline zo2_status split(void *ud, zo2_pass_work *w)
{
    rank *r = ud;
    if (w->evaluation && r->alone) {
        w->alone = 1;
        r->alone_calls++;
    } else {
        part_of(&r->g, r->me, w);
    }
    r->computed[w->evaluation] += (uint64_t)w->own_queries * w->own_micros;
    return ZO2_OK;
}

static inline int move_all(int fd, void *data, size_t bytes, int out)
{
    for (char *at = data; bytes;) {
        ssize_t n = out ? send(fd, at, bytes, MSG_NOSIGNAL) : recv(fd, at, bytes, 0);
        if (n <= 0)
            return 0;
        at += n;
        bytes -= (size_t)n;
    }
    return 1;
}

/* A part's values between `values` and a socket. */
static inline int move_part(const rank *r, uint32_t whose, const zo2_pass_work *work, double *values, int fd, int out)
{
    zo2_pass_work w = *work;
    part_of(&r->g, whose, &w);
    const uint64_t n = w.first[w.micros], from = w.first[w.micro], to = w.first[w.micro + w.own_micros];
    for (uint32_t i = w.query * w.streams; i < (w.query + w.own_queries) * w.streams; i++)
        if (!move_all(fd, values + i * n + from, (to - from) * sizeof *values, out))
            return 0;
    return 1;
}

static inline zo2_status exchange(void *ud, const zo2_pass_work *w, double *values)
{
    rank *r = ud;
    const uint32_t ranks = r->g.by_query * r->g.by_batch;
    const uint64_t bytes = (uint64_t)w->queries * w->streams * w->first[w->micros] * sizeof *values;
    int good = 1;
    r->calls++;
    if (w->step == r->fails_at && !w->evaluation) {
        r->fails_at = NEVER;
        return zo2_error(ZO2_ERR_IO, "the cable of rank %u is out", r->me);
    }
    for (uint32_t i = 0; i < ranks && w->step == r->hangs_up_at && !w->evaluation; i++)
        shutdown(r->to[i], SHUT_RDWR);
    if (r->me)
        good = move_part(r, r->me, w, values, r->to[0], 1) && move_all(r->to[0], values, bytes, 0);
    for (uint32_t i = 1; i < ranks && !r->me && good; i++)
        good = move_part(r, i, w, values, r->to[i], 0);
    for (uint32_t i = 1; i < ranks && !r->me && good; i++)
        good = move_all(r->to[i], values, bytes, 1);
    return good ? ZO2_OK : zo2_error(ZO2_ERR_IO, "rank %u lost another", r->me);
}

static inline void connect_ranks(rank *ranks, grid g)
{
    const uint32_t n = g.by_query * g.by_batch;
    memset(ranks, 0, n * sizeof *ranks);
    for (uint32_t i = 0; i < n; i++) {
        int fd[2];
        ranks[i].g = g;
        ranks[i].me = i;
        ranks[i].fails_at = ranks[i].hangs_up_at = NEVER;
        if (!i)
            continue;
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
        ranks[0].to[i] = fd[0];
        ranks[i].to[0] = fd[1];
    }
    ranks[0].to[0] = n > 1 ? ranks[0].to[1] : 0; /* nothing is sent there */
}

static inline void disconnect_ranks(rank *ranks)
{
    for (uint32_t i = 1; i < ranks->g.by_query * ranks->g.by_batch; i++) {
        close(ranks[0].to[i]);
        close(ranks[i].to[0]);
    }
}

#endif
