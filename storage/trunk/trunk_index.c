/* trunk_index.c: see trunk_index.h. */
#include "storage/trunk/trunk_index.h"

#include <stdlib.h>

#include <xxhash.h>

#define FIRST_PLACES 256u

static uint64_t home_of(const zo2_trunk_index *x, const zo2_trunk_key *key)
{
    return XXH3_64bits(key, sizeof *key) & (x->places - 1);
}

static int same_key(const zo2_trunk_key *a, const zo2_trunk_key *b)
{
    return a->low == b->low && a->high == b->high;
}

/* The place that has the key, or the empty one where it would go; NULL: neither within the bound. */
static zo2_trunk_entry *look(const zo2_trunk_index *x, const zo2_trunk_key *key)
{
    if (!x->places)
        return NULL;
    uint64_t i = home_of(x, key);
    for (uint32_t probe = 0; probe < ZO2_TRUNK_MAX_PROBES; probe++, i = (i + 1) & (x->places - 1))
        if (!x->place[i].used || same_key(&x->place[i].key, key))
            return &x->place[i];
    return NULL;
}

void zo2_trunk_index_free(zo2_trunk_index *x)
{
    free(x->place);
    *x = (zo2_trunk_index){0};
}

const zo2_trunk_entry *zo2_trunk_index_find(const zo2_trunk_index *x, const zo2_trunk_key *key)
{
    const zo2_trunk_entry *e = look(x, key);
    return e && e->used ? e : NULL;
}

/* Entries that find no place within the bound are left out. */
static int grow(zo2_trunk_index *x)
{
    zo2_trunk_index larger = {.places = x->places ? 2 * x->places : FIRST_PLACES};
    larger.place = calloc((size_t)larger.places, sizeof *larger.place);
    if (!larger.place)
        return 0;
    for (uint64_t i = 0; i < x->places; i++)
        if (x->place[i].used)
            zo2_trunk_index_set(&larger, &x->place[i]);
    free(x->place);
    *x = larger;
    return 1;
}

int zo2_trunk_index_reserve(zo2_trunk_index *x)
{
    if (x->n < x->places / 2)
        return 1;
    return x->n < ZO2_TRUNK_MAX_ENTRIES && grow(x);
}

int zo2_trunk_index_set(zo2_trunk_index *x, const zo2_trunk_entry *e)
{
    zo2_trunk_entry *place = look(x, &e->key);
    if (!place || !place->used) {
        if (!zo2_trunk_index_reserve(x) || !(place = look(x, &e->key)))
            return 0;
        x->n++;
    }
    *place = *e;
    place->used = 1;
    return 1;
}

/* Without marks for removed ones: what stands behind the gap and could stand in it moves there. */
void zo2_trunk_index_remove(zo2_trunk_index *x, const zo2_trunk_key *key)
{
    const uint64_t mask = x->places - 1;
    zo2_trunk_entry *found = look(x, key);
    if (!found || !found->used)
        return;
    uint64_t gap = (uint64_t)(found - x->place);
    for (uint64_t i = (gap + 1) & mask; x->place[i].used; i = (i + 1) & mask) {
        const uint64_t from_home = (i - home_of(x, &x->place[i].key)) & mask;
        if (from_home >= ((i - gap) & mask)) {
            x->place[gap] = x->place[i];
            gap = i;
        }
    }
    x->place[gap].used = 0;
    x->n--;
}
