/* exchange.c: what goes round after a step or an evaluation: values, and what became of each rank's part (dist.h). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tools/dist/state.h"

enum { TEXT_BYTES = 256 };

/* In front of a rank's values: what became of its pass, and how long that took. */
enum { HEAD_STATUS, HEAD_SECONDS, HEAD };

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- statuses that go round ---- */

/* The first rank that failed tells all why. */
static zo2_status failure_of(dist *d, uint32_t rank, zo2_status s)
{
    char text[TEXT_BYTES] = "";
    if (d->rank == rank)
        snprintf(text, sizeof text, "%s", zo2_last_error());
    dist_comm_send(text, sizeof text, rank);
    text[sizeof text - 1] = '\0';
    if (d->rank == rank)
        return zo2_error(s, "%s", text);
    return zo2_error(s, "rank %u on %s: %s", rank, d->host[rank], text[0] ? text : zo2_strerror(s));
}

/* Heads of all ranks are in d->all. Values of d->at are those of the heads. */
static zo2_status first_failure(dist *d)
{
    for (uint32_t r = 0; r < d->ranks; r++)
        if (d->all[d->at[r]] != ZO2_OK) {
            d->told = 1;
            return failure_of(d, r, (zo2_status)(int)d->all[d->at[r]]);
        }
    return ZO2_OK;
}

/* Room for so many doubles; a process that has none can only end all. */
static void reserve(dist *d, size_t n)
{
    if (n <= d->capacity)
        return;
    free(d->own);
    free(d->all);
    d->own = calloc(n, sizeof *d->own);
    d->all = calloc(n, sizeof *d->all);
    if (!d->own || !d->all || n > INT32_MAX)
        dist_comm_abort();
    d->capacity = n;
}

/* ---- a step ---- */

/* Where each rank's values are in what is gathered. */
static void layout_step(dist *d, const zo2_pass_work *w)
{
    size_t sum = 0;
    for (uint32_t r = 0; r < d->ranks; r++) {
        zo2_pass_work part = *w;
        dist_split_part(&d->split, r, &part);
        d->count[r] = (int)(HEAD + dist_part_values(&part));
        d->at[r] = (int)sum;
        sum += (size_t)d->count[r];
    }
    reserve(d, sum);
}

/* Values of a part between the whole and what is sent. */
static void move_part(const zo2_pass_work *w, double *values, double *packed, int pack)
{
    const uint64_t n = w->first[w->micros], from = w->first[w->micro], to = w->first[w->micro + w->own_micros];
    for (uint32_t i = w->query * w->streams; i < (w->query + w->own_queries) * w->streams; i++) {
        double *place = values + i * n + from;
        memcpy(pack ? packed : place, pack ? place : packed, (to - from) * sizeof *values);
        packed += to - from;
    }
}

static zo2_status exchange(dist *d, zo2_status own, const zo2_pass_work *work, double *values)
{
    zo2_pass_work part = *work;
    layout_step(d, work);
    d->own[HEAD_STATUS] = own;
    d->own[HEAD_SECONDS] = now() - d->began;
    dist_split_part(&d->split, d->rank, &part);
    if (values)
        move_part(&part, values, d->own + HEAD, 1);
    dist_comm_gather_f64(d->own, d->all, d->count, d->at);
    d->open = 0;
    zo2_status s = first_failure(d);
    for (uint32_t r = 0; r < d->ranks && s == ZO2_OK; r++) {
        part = *work;
        dist_split_part(&d->split, r, &part);
        d->seconds[r] = d->all[d->at[r] + HEAD_SECONDS];
        if (values)
            move_part(&part, values, d->all + d->at[r] + HEAD, 0);
    }
    return s;
}

/* A copy that lasts until the exchange: what a rank that fails in between sends has to have the size that the others expect. */
static zo2_status keep_work(dist *d, const zo2_pass_work *work)
{
    if (work->micros + 1u > d->first_capacity) {
        free(d->first);
        d->first_capacity = 0;
        d->first = calloc(work->micros + 1u, sizeof *d->first);
        if (!d->first)
            return zo2_error(ZO2_ERR_NOMEM, "out of memory");
        d->first_capacity = work->micros + 1u;
    }
    memcpy(d->first, work->first, (work->micros + 1u) * sizeof *d->first);
    d->work = *work;
    d->work.first = d->first;
    return ZO2_OK;
}

zo2_status dist_split_work(void *ud, zo2_pass_work *work)
{
    dist *d = ud;
    if (work->evaluation) { /* whole batches are shared out (dist_gather_rows()) */
        work->alone = 1;
        return ZO2_OK;
    }
    d->told = 0;
    zo2_status s = keep_work(d, work);
    if (s != ZO2_OK)
        return s;
    d->open = 1;
    d->began = now();
    dist_split_part(&d->split, d->rank, work);
    return ZO2_OK;
}

zo2_status dist_exchange(void *ud, const zo2_pass_work *work, double *values)
{
    return exchange(ud, ZO2_OK, work, values);
}

void dist_failed(dist *d, zo2_status s)
{
    if (d->told)
        return;
    if (d->open) {
        exchange(d, s, &d->work, NULL);
        return;
    }
    fprintf(stderr, "zo2-tune: rank %u on %s: %s; this ends all ranks, and each can resume\n", d->rank,
            d->host[d->rank], zo2_last_error()[0] ? zo2_last_error() : zo2_strerror(s));
    dist_comm_abort();
}

const double *dist_work_seconds(const dist *d)
{
    return d->seconds;
}

uint64_t dist_work_pairs(const dist *d, uint32_t rank)
{
    zo2_pass_work part = d->work;
    dist_split_part(&d->split, rank, &part);
    return (uint64_t)part.own_queries * part.own_micros;
}

/* ---- an evaluation ---- */

zo2_status dist_gather_rows(dist *d, zo2_status own, double *rows, size_t n, size_t width)
{
    size_t sum = 0;
    for (uint32_t r = 0; r < d->ranks; r++) {
        d->at[r] = (int)sum;
        sum += 1 + (n > r ? (n - r - 1) / d->ranks + 1 : 0) * width;
        if (sum > INT32_MAX)
            dist_comm_abort();
        d->count[r] = (int)(sum - (size_t)d->at[r]);
    }
    reserve(d, sum);
    d->own[HEAD_STATUS] = own;
    double *at = d->own + 1;
    for (size_t i = d->rank; i < n; i += d->ranks, at += width)
        memcpy(at, rows + i * width, width * sizeof *rows);
    dist_comm_gather_f64(d->own, d->all, d->count, d->at);
    zo2_status s = first_failure(d);
    for (uint32_t r = 0; r < d->ranks && s == ZO2_OK; r++) {
        at = d->all + d->at[r] + 1;
        for (size_t i = r; i < n; i += d->ranks, at += width)
            memcpy(rows + i * width, at, width * sizeof *rows);
    }
    return s;
}
