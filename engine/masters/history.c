/* history.c: see history.h. */
#include "engine/masters/history.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Elements brought forward at a time: w stays in the first-level cache while all updates pass over it. */
#define PIECE 4096u

void zo2_history_init(zo2_history *h, const zo2_run_settings *s)
{
    memset(h, 0, sizeof *h);
    h->seed = s->seed;
    h->dist = s->dist;
}

void zo2_history_free(zo2_history *h)
{
    free(h->position);
    free(h->updates);
    memset(h, 0, sizeof *h);
}

zo2_status zo2_history_reserve(zo2_history *h, uint64_t capacity)
{
    if (capacity <= h->capacity)
        return ZO2_OK;
    uint64_t *position = realloc(h->position, (capacity + 1) * sizeof *position);
    if (position)
        h->position = position;
    zo2_update *updates = realloc(h->updates, capacity * sizeof *updates);
    if (updates)
        h->updates = updates;
    if (!position || !updates)
        return zo2_error(ZO2_ERR_NOMEM, "no memory for the updates of %llu steps", (unsigned long long)capacity);
    if (!h->capacity)
        h->position[0] = 0;
    h->capacity = capacity;
    return ZO2_OK;
}

zo2_status zo2_history_push(zo2_history *h, const zo2_journal_record *r)
{
    if (h->steps == h->capacity) {
        zo2_status s = zo2_history_reserve(h, h->capacity ? 2 * h->capacity : 1024);
        if (s)
            return s;
    }
    uint64_t at = h->position[h->steps];
    if (!r->skipped) {
        zo2_update *u = &h->updates[at++];
        memset(u, 0, sizeof *u);
        u->key = zo2_noise_key(h->seed, r->step);
        u->d = r->d;
        u->queries = r->queries;
        for (uint32_t q = 0; q < r->queries; q++)
            u->c[q] = r->query[q].c;
    }
    h->position[++h->steps] = at;
    return ZO2_OK;
}

zo2_status zo2_history_load(zo2_history *h, const zo2_journal *j, uint64_t steps)
{
    zo2_status s = ZO2_OK;
    for (uint64_t i = h->steps; i < steps && !s; i++)
        s = zo2_history_push(h, zo2_journal_at(j, i));
    return s;
}

const zo2_update *zo2_history_range(const zo2_history *h, uint64_t from, uint64_t to, uint32_t *count)
{
    *count = 0;
    if (from == to)
        return NULL;
    *count = (uint32_t)(h->position[to] - h->position[from]);
    return h->updates + h->position[from];
}

void zo2_history_apply(const zo2_history *h, uint32_t tensor_id, int decays, uint64_t first, uint64_t n, uint64_t from,
                       uint64_t to, float *w)
{
    uint32_t count;
    const zo2_update *u = zo2_history_range(h, from, to, &count);
    if (!count)
        return;
    for (uint64_t i = 0; i < n; i += PIECE)
        zo2_update_apply(w + i, n - i < PIECE ? n - i : PIECE, first + i, tensor_id, h->dist, decays, u, count);
}
