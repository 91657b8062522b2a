/* history.c: see history.h. */
#include "engine/masters/history.h"
#include "engine/method/rotation.h"
#include "engine/model/arch.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Elements brought forward at a time: w stays in the first-level cache while all updates pass over it. */
#define PIECE 4096u

void zo2_history_init(zo2_history *h, const zo2_run_settings *s, const zo2_arch *arch)
{
    memset(h, 0, sizeof *h);
    h->arch = arch;
    h->settings = *s;
    h->settings.tune = NULL; /* another's, and not needed here */
}

void zo2_history_free(zo2_history *h)
{
    for (uint32_t i = 0; i < h->n_lists; i++) {
        free(h->list[i].step);
        free(h->list[i].updates);
    }
    free(h->list);
    memset(h, 0, sizeof *h);
}

static uint32_t groups_of(const zo2_history *h)
{
    return h->arch ? h->arch->groups : 1;
}

static zo2_status out_of_memory(uint64_t steps)
{
    return zo2_error(ZO2_ERR_NOMEM, "no memory for the updates of %llu steps", (unsigned long long)steps);
}

static zo2_status make_lists(zo2_history *h)
{
    if (h->list)
        return ZO2_OK;
    h->list = calloc(groups_of(h), sizeof *h->list);
    if (!h->list)
        return out_of_memory(1);
    h->n_lists = groups_of(h);
    return ZO2_OK;
}

static zo2_status reserve(zo2_history_list *l, uint64_t capacity)
{
    if (capacity <= l->capacity)
        return ZO2_OK;
    uint64_t *step = realloc(l->step, capacity * sizeof *step);
    if (step)
        l->step = step;
    zo2_update *updates = realloc(l->updates, capacity * sizeof *updates);
    if (updates)
        l->updates = updates;
    if (!step || !updates)
        return out_of_memory(capacity);
    l->capacity = capacity;
    return ZO2_OK;
}

zo2_status zo2_history_reserve(zo2_history *h, uint64_t steps)
{
    zo2_status s = make_lists(h);
    return s || h->n_lists > 1 ? s : reserve(&h->list[0], steps);
}

zo2_status zo2_history_push(zo2_history *h, const zo2_journal_record *r)
{
    zo2_status s = make_lists(h);
    if (s)
        return s;
    if (!r->skipped) {
        zo2_history_list *l = &h->list[zo2_rotation_group(&h->settings, h->n_lists, h->steps)];
        if (l->n == l->capacity && (s = reserve(l, l->capacity ? 2 * l->capacity : h->n_lists > 1 ? 16 : 1024)))
            return s;
        zo2_update *u = &l->updates[l->n];
        memset(u, 0, sizeof *u);
        u->key = zo2_noise_key(h->settings.seed, r->step);
        u->d = r->d;
        u->queries = r->queries;
        for (uint32_t q = 0; q < r->queries; q++)
            u->c[q] = r->query[q].c;
        l->step[l->n++] = h->steps;
    }
    h->steps++;
    return ZO2_OK;
}

zo2_status zo2_history_load(zo2_history *h, const zo2_journal *j, uint64_t steps)
{
    zo2_status s = ZO2_OK;
    for (uint64_t i = h->steps; i < steps && !s; i++)
        s = zo2_history_push(h, zo2_journal_at(j, i));
    return s;
}

/* Updates of a list that were made before a step. */
static uint64_t before(const zo2_history_list *l, uint64_t step)
{
    uint64_t low = 0, high = l->n;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        if (l->step[middle] < step)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

const zo2_update *zo2_history_group(const zo2_history *h, uint32_t group, uint64_t from, uint64_t to, uint32_t *count)
{
    *count = 0;
    if (from >= to || group >= h->n_lists)
        return NULL;
    const zo2_history_list *l = &h->list[group];
    uint64_t first = before(l, from);
    *count = (uint32_t)(before(l, to) - first);
    return *count ? l->updates + first : NULL;
}

const zo2_update *zo2_history_range(const zo2_history *h, uint32_t tensor, uint64_t from, uint64_t to, uint32_t *count)
{
    const zo2_tensor *t = h->arch ? &h->arch->tensors[tensor] : NULL;
    *count = 0;
    return t && t->frozen ? NULL : zo2_history_group(h, t ? t->group : 0, from, to, count);
}

uint64_t zo2_history_moved(const zo2_history *h, uint32_t group, uint64_t to)
{
    if (groups_of(h) < 2)
        return to;
    uint64_t n = group < h->n_lists ? before(&h->list[group], to) : 0;
    return n ? h->list[group].step[n - 1] + 1 : 0;
}

void zo2_history_apply(const zo2_history *h, uint32_t tensor_id, int decays, uint64_t first, uint64_t n, uint64_t from,
                       uint64_t to, float *w)
{
    uint32_t count;
    const zo2_update *u = zo2_history_range(h, tensor_id, from, to, &count);
    if (!count)
        return;
    for (uint64_t i = 0; i < n; i += PIECE)
        zo2_update_apply(w + i, n - i < PIECE ? n - i : PIECE, first + i, tensor_id, h->settings.dist, decays, u,
                         count);
}
