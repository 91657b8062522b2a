/* tiers.c: see tiers.h. */
#include "engine/plan/tiers.h"
#include "engine/base/checked.h"
#include "engine/masters/masters.h"
#include "engine/masters/placement.h"
#include "engine/masters/ram_home.h"
#include "engine/model/arch.h"
#include "engine/plan/evenly.h"

#include <stdlib.h>
#include <string.h>

#define PAGE 4096ull /* planes in the spill, and in RAM, begin at multiples of it */
/* In the order of their claims to RAM. Vectors change in every step, gathered rows are looked up one by one; the trunk isn't needed
 * by a step that has its lines from the cache. */
typedef enum class { VECTORS, TABLES, OTHERS, TRUNK, CLASSES } class;

static class class_of(const zo2_layout *l, uint32_t chunk)
{
    uint32_t tensor = l->units[l->chunks[chunk].unit].tensor;
    if (tensor == ZO2_NO_TENSOR)
        return VECTORS;
    const zo2_tensor *t = &l->arch->tensors[tensor];
    if (t->role == ZO2_ROLE_EMBED_TOKENS || t->role == ZO2_ROLE_EMBED_POSITIONS)
        return TABLES;
    return zo2_block_of_use(l->arch, t) < l->arch->fork ? TRUNK : OTHERS;
}

static const zo2_unit *unit_of(const zo2_layout *l, uint32_t chunk)
{
    return &l->units[l->chunks[chunk].unit];
}

static int owns(const zo2_layout *l, uint32_t chunk, const uint32_t *stored_as)
{
    return zo2_masters_owner(l, chunk, stored_as) == chunk;
}

static uint64_t wire_ram(const zo2_chunk *c)
{
    return zo2_round_up(c->wire_bytes, PAGE);
}

uint64_t zo2_tiers_slot(const zo2_chunk *c)
{
    return PAGE + zo2_round_up(c->wire_bytes, PAGE) + zo2_round_up(c->rest_bytes, PAGE);
}

uint64_t zo2_tiers_ram(const zo2_layout *l, const uint32_t *stored_as)
{
    uint64_t bytes = 0;
    for (uint32_t c = 0; c < l->n_chunks; c++)
        if (owns(l, c, stored_as))
            bytes += zo2_ram_chunk_bytes(&l->chunks[c]);
    return bytes;
}

/* ---- what moves ---- */

double zo2_turns_part(const zo2_turns *t, uint32_t pending)
{
    if (t->groups < 2)
        return 1;
    double round = (double)t->groups * t->steps, met = t->steps + (double)pending;
    return met < round ? met / round : 1;
}

double zo2_tiers_read(const zo2_tiers *t, uint32_t pending)
{
    return (double)t->wires_read + (double)t->eager * zo2_turns_part(&t->turns, 0) +
           (double)(t->rests_read - t->eager) * zo2_turns_part(&t->turns, pending) / (pending + 1.0);
}

double zo2_tiers_written(const zo2_tiers *t, uint32_t pending)
{
    return (double)t->eager_written * zo2_turns_part(&t->turns, 0) +
           (double)(t->written - t->eager_written) * zo2_turns_part(&t->turns, pending) / (pending + 1.0);
}

/* For a chunk that uses the planes of `owner`. */
static void count_use(zo2_tiers *t, const zo2_layout *l, uint32_t chunk, uint32_t owner, zo2_tier tier)
{
    const zo2_chunk *c = &l->chunks[owner];
    const zo2_unit *u = unit_of(l, chunk);
    const uint64_t wire = tier == ZO2_TIER_SPILL ? zo2_round_up(c->wire_bytes, PAGE) : 0;
    if (tier == ZO2_TIER_RAM)
        return;
    t->wires_read += wire;
    if (u->frozen) {
        t->trunk_read +=
            class_of(l, chunk) == TRUNK || (u->tensor == ZO2_NO_TENSOR && u->block < l->arch->fork) ? wire : 0;
        return;
    }
    t->rests_read += zo2_round_up(c->rest_bytes, PAGE);
    t->written += zo2_tiers_slot(c);
    if (u->tensor == ZO2_NO_TENSOR) {
        t->eager += zo2_round_up(c->rest_bytes, PAGE);
        t->eager_written += zo2_tiers_slot(c);
    }
}

static void count(zo2_tiers *t, const zo2_layout *l, const uint32_t *stored_as, const uint8_t *tier)
{
    memset(t, 0, sizeof *t);
    for (uint32_t c = 0; c < l->n_chunks; c++) {
        uint32_t owner = zo2_masters_owner(l, c, stored_as);
        count_use(t, l, c, owner, tier[owner]);
        if (owner != c)
            continue;
        t->chunks[tier[c]]++;
        if (tier[c] == ZO2_TIER_RAM)
            t->ram_bytes += zo2_ram_chunk_bytes(&l->chunks[c]);
        else if (zo2_chunk_in_pack(l, c))
            t->pack_bytes += l->chunks[c].wire_bytes;
        else
            t->disk_bytes += zo2_tiers_slot(&l->chunks[c]);
        if (tier[c] == ZO2_TIER_WIRE)
            t->wire_bytes += wire_ram(&l->chunks[c]);
    }
}

/* ---- placing ---- */

/* Of chunks that move; a frozen one is its wire. A byte of RAM for whole chunks saves (2 rest + wire) / (K + 1) for each byte that a rest plane takes beside its wire; for
 * wires alone, which cost what they save, one. */
uint32_t zo2_tiers_wires_first(const zo2_layout *l)
{
    double wires = 0, rests = 0;
    for (uint32_t c = 0; c < l->n_chunks; c++)
        if (class_of(l, c) == OTHERS && !unit_of(l, c)->frozen) {
            wires += (double)l->chunks[c].wire_bytes;
            rests += (double)l->chunks[c].rest_bytes;
        }
    return rests > 0 ? (uint32_t)(1 + wires / rests) + 1 : UINT32_MAX;
}

typedef struct placing {
    const zo2_layout *l;
    const uint32_t *stored_as;
    uint64_t left; /* bytes of RAM */
    uint8_t *tier;
} placing;

/* What a chunk takes in RAM to move up a tier: to `to` from what it has; 0: it is there. */
static uint64_t price(const placing *p, uint32_t chunk, zo2_tier to)
{
    const zo2_chunk *c = &p->l->chunks[chunk];
    zo2_tier has = p->tier[chunk];
    uint64_t held = has == ZO2_TIER_RAM ? zo2_ram_chunk_bytes(c) : has == ZO2_TIER_WIRE ? wire_ram(c) : 0;
    /* A wire without a rest plane is the whole chunk. */
    uint64_t then = to == ZO2_TIER_RAM || !c->rest_bytes ? zo2_ram_chunk_bytes(c) : wire_ram(c);
    return then > held ? then - held : 0;
}

/* An even share of a class moves up to a tier. */
static void raise(placing *p, class which, zo2_tier to)
{
    zo2_evenly share = {.have = p->left / PAGE};
    for (uint32_t c = 0; c < p->l->n_chunks; c++)
        if (class_of(p->l, c) == which && owns(p->l, c, p->stored_as))
            share.total += price(p, c, to) / PAGE;
    for (uint32_t c = 0; c < p->l->n_chunks; c++)
        if (class_of(p->l, c) == which && owns(p->l, c, p->stored_as) &&
            zo2_evenly_next(&share, price(p, c, to) / PAGE))
            p->tier[c] = p->l->chunks[c].rest_bytes ? to : ZO2_TIER_RAM;
    p->left -= share.kept * PAGE;
}

void zo2_placement_choose(const zo2_layout *l, const uint32_t *stored_as, uint64_t bytes, int wires_first,
                          uint8_t *tier, zo2_tiers *sum)
{
    placing p = {.l = l, .stored_as = stored_as, .left = bytes, .tier = tier};
    for (uint32_t c = 0; c < l->n_chunks; c++)
        tier[c] = owns(l, c, stored_as) ? ZO2_TIER_SPILL : ZO2_TIER_RAM;
    raise(&p, VECTORS, ZO2_TIER_RAM);
    raise(&p, TABLES, ZO2_TIER_RAM);
    if (wires_first)
        raise(&p, OTHERS, ZO2_TIER_WIRE);
    raise(&p, OTHERS, ZO2_TIER_RAM);
    raise(&p, TRUNK, ZO2_TIER_RAM);
    if (sum)
        count(sum, l, stored_as, tier);
}
