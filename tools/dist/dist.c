/* dist.c: see dist.h. */
#include "tools/dist/dist.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tools/dist/comm.h"
#include "tools/dist/facts.h"

enum { TEXT_BYTES = 256, PIECE = 64 << 20 };

/* In front of a rank's values: what became of its pass, and how long that took. */
enum { HEAD_STATUS, HEAD_SECONDS, HEAD };

struct dist {
    uint32_t rank, ranks;
    dist_split split;
    uint64_t *share;               /* [ranks], NULL: equal */
    char (*host)[DIST_HOST_BYTES]; /* [ranks] */
    int *count, *at;               /* [ranks]: scratch of a gathering */
    double *own, *all;             /* the same */
    size_t capacity;               /* of each */
    double *seconds;               /* [ranks] */
    int open;                      /* a step has been split and not exchanged yet: the others wait for it */
    int told;                      /* the last failure is known to all */
    zo2_pass_work work;            /* then: the step's */
    uint64_t *first;               /* work.first */
    size_t first_capacity;
    double began;
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static zo2_status no_memory(void)
{
    return zo2_error(ZO2_ERR_NOMEM, "out of memory");
}

/* ---- life ---- */

static zo2_status read_shares(dist *d, const char *text)
{
    uint64_t sum = 0;
    uint32_t n = 0;
    d->share = calloc(d->ranks, sizeof *d->share);
    if (!d->share)
        return no_memory();
    for (const char *at = text; n < d->ranks; n++) {
        char *end;
        if (*at < '1' || *at > '9')
            break;
        d->share[n] = strtoull(at, &end, 10);
        sum += d->share[n] <= UINT32_MAX ? d->share[n] : UINT32_MAX;
        if (sum >= UINT32_MAX / 2 || (*end && *end != ','))
            break;
        at = *end ? end + 1 : end;
        if (!*end && n + 1 == d->ranks && *at == '\0') {
            d->split.share = d->share;
            return ZO2_OK;
        }
    }
    return zo2_error(ZO2_ERR_ARG,
                     "--share %s: numbers above 0 with commas between them are needed, one for each of the %u ranks",
                     text, d->ranks);
}

static void layout_equal(dist *d, int each)
{
    for (uint32_t r = 0; r < d->ranks; r++) {
        d->count[r] = each;
        d->at[r] = (int)r * each;
    }
}

zo2_status dist_open(dist **out, dist_mode mode, const char *share)
{
    uint32_t rank, ranks;
    *out = NULL;
    zo2_status s = dist_comm_open(&rank, &ranks);
    if (s != ZO2_OK)
        return s;
    dist *d = calloc(1, sizeof *d);
    if (!d)
        dist_comm_abort();
    *d = (dist){.rank = rank, .ranks = ranks, .split = {.mode = mode, .ranks = ranks}};
    d->host = calloc(ranks, sizeof *d->host);
    d->count = calloc(ranks, sizeof *d->count);
    d->at = calloc(ranks, sizeof *d->at);
    d->seconds = calloc(ranks, sizeof *d->seconds);
    if (!d->host || !d->count || !d->at || !d->seconds)
        dist_comm_abort();
    char host[DIST_HOST_BYTES] = "";
    dist_comm_host(host);
    layout_equal(d, sizeof host);
    dist_comm_gather(host, d->host, d->count, d->at);
    if (share)
        s = read_shares(d, share);
    if (s != ZO2_OK) {
        dist_close(d);
        return s;
    }
    *out = d;
    return ZO2_OK;
}

void dist_close(dist *d)
{
    if (!d)
        return;
    dist_comm_close();
    free(d->share);
    free(d->host);
    free(d->count);
    free(d->at);
    free(d->own);
    free(d->all);
    free(d->seconds);
    free(d->first);
    free(d);
}

uint32_t dist_rank(const dist *d)
{
    return d->rank;
}

uint32_t dist_ranks(const dist *d)
{
    return d->ranks;
}

const char *dist_host(const dist *d, uint32_t rank)
{
    return d->host[rank];
}

/* ---- beginning together ---- */

void dist_gather(dist *d, const void *own, void *all, size_t bytes)
{
    layout_equal(d, (int)bytes);
    dist_comm_gather(own, all, d->count, d->at);
}

void dist_send(dist *d, void *data, size_t bytes, uint32_t from)
{
    (void)d;
    for (size_t at = 0; at < bytes; at += PIECE)
        dist_comm_send((char *)data + at, (int)(bytes - at < PIECE ? bytes - at : PIECE), from);
}

/* The number that most ranks have; of equals that of the first. */
static uint64_t majority(const uint64_t *all, uint32_t n)
{
    uint32_t best = 0, most = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t have = 0;
        for (uint32_t k = 0; k < n; k++)
            have += all[k] == all[i];
        if (have > most) {
            most = have;
            best = i;
        }
    }
    return all[best];
}

zo2_status dist_same(dist *d, const char *what, uint64_t own)
{
    uint64_t *all = calloc(d->ranks, sizeof *all);
    if (!all)
        dist_comm_abort();
    dist_gather(d, &own, all, sizeof own);
    const uint64_t right = majority(all, d->ranks);
    char who[TEXT_BYTES] = "";
    size_t n = 0, differ = 0;
    for (uint32_t r = 0; r < d->ranks; r++)
        if (all[r] != right) {
            differ++;
            if (n < sizeof who)
                n += (size_t)snprintf(who + n, sizeof who - n, "%srank %u on %s", n ? ", " : "", r, d->host[r]);
        }
    free(all);
    if (!differ)
        return ZO2_OK;
    d->told = 1;
    return zo2_error(ZO2_ERR_MISMATCH, "%s differ on %s%s", what, who,
                     2 * differ == d->ranks ? ", or on the others: half of the ranks have the other one" : "");
}

int dist_agree(dist *d, int own, uint32_t *who)
{
    int *all = calloc(d->ranks, sizeof *all), result = 0;
    if (!all)
        dist_comm_abort();
    dist_gather(d, &own, all, sizeof own);
    for (uint32_t r = d->ranks; r-- > 0;)
        if (all[r]) {
            result = all[r];
            *who = r;
        }
    free(all);
    d->told = d->told || result;
    return result;
}

zo2_status dist_compare(dist *d, const char *facts)
{
    int bytes = (int)strlen(facts) + 1;
    int *all_bytes = calloc(d->ranks, sizeof *all_bytes);
    if (!all_bytes)
        dist_comm_abort();
    dist_gather(d, &bytes, all_bytes, sizeof bytes);
    size_t sum = 0;
    for (uint32_t r = 0; r < d->ranks; r++) {
        d->count[r] = all_bytes[r];
        d->at[r] = (int)sum;
        sum += (size_t)all_bytes[r];
    }
    free(all_bytes);
    char *all = malloc(sum);
    if (!all)
        dist_comm_abort();
    dist_comm_gather(facts, all, d->count, d->at);
    zo2_status s = ZO2_OK;
    for (uint32_t r = 1; r < d->ranks && s == ZO2_OK; r++) {
        dist_difference differs;
        if (dist_facts_differ(&differs, all, all + d->at[r]))
            s = zo2_error(ZO2_ERR_MISMATCH, "%s differs: rank %u on %s has %s, rank 0 on %s has %s", differs.name, r,
                          d->host[r], differs.b, d->host[0], differs.a);
    }
    free(all);
    return s;
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
            return no_memory();
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
