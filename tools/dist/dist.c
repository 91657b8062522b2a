/* dist.c: joining, and comparing what all must have in common (dist.h). */
#include "tools/dist/dist.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/dist/facts.h"
#include "tools/dist/state.h"

enum { TEXT_BYTES = 256, PIECE = 64 << 20 };

/* ---- life ---- */

static zo2_status read_shares(dist *d, const char *text)
{
    uint64_t sum = 0;
    uint32_t n = 0;
    d->share = calloc(d->ranks, sizeof *d->share);
    if (!d->share)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory");
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
