/* ledger.c: a sorted array of segments, split where accesses end and merged where a write covers several; see ledger.h.
 * Arenas hold a few dozen buffers, so the array stays short. */
#include "kernels/null/ledger.h"

#include <stdlib.h>
#include <string.h>

zo2_status zo2_ledger_open(zo2_ledger *g, uint64_t bytes)
{
    memset(g, 0, sizeof *g);
    g->room = 64;
    g->segment = calloc(g->room, sizeof *g->segment);
    if (!g->segment)
        return zo2_error(ZO2_ERR_NOMEM, "null backend: no memory for its ledger");
    g->n = 1;
    g->segment[0].end = bytes;
    return ZO2_OK;
}

void zo2_ledger_close(zo2_ledger *g)
{
    free(g->segment);
    g->segment = NULL;
    g->n = g->room = 0;
}

void zo2_ledger_tick(zo2_ledger *g, zo2_lane lane)
{
    g->lane[lane].done[lane]++;
}

zo2_ledger_clock zo2_ledger_record(const zo2_ledger *g, zo2_lane lane)
{
    return g->lane[lane];
}

void zo2_ledger_wait(zo2_ledger *g, zo2_lane lane, const zo2_ledger_clock *event)
{
    for (int l = 0; l < ZO2_LANE_COUNT; l++) {
        uint64_t *seen = &g->lane[lane].done[l];
        if (*seen < event->done[l])
            *seen = event->done[l]; /* of its own lane no event knows more than the lane itself */
    }
}

void zo2_ledger_drain(zo2_ledger *g)
{
    for (int of = 0; of < ZO2_LANE_COUNT; of++)
        for (int l = 0; l < ZO2_LANE_COUNT; l++)
            g->lane[l].done[of] = g->lane[of].done[of];
}

/* Index of the segment with byte `at`. */
static uint64_t find(const zo2_ledger *g, uint64_t at)
{
    uint64_t low = 0, high = g->n - 1;
    while (low < high) {
        uint64_t middle = low + (high - low + 1) / 2;
        if (g->segment[middle].begin <= at)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

/* Operation `stamp` of lane `of` is done for sure when the next one of `lane` begins. */
static int before(const zo2_ledger *g, int lane, int of, uint64_t stamp)
{
    return lane == of || stamp <= g->lane[lane].done[of];
}

const char *zo2_ledger_may_read(const zo2_ledger *g, zo2_lane lane, uint64_t begin, uint64_t end, int uploaded)
{
    for (uint64_t i = find(g, begin); i < g->n && g->segment[i].begin < end; i++) {
        const zo2_ledger_segment *s = &g->segment[i];
        if (!s->write)
            return "is read but was never written";
        if (uploaded && !s->uploaded)
            return "is not completely uploaded (or was overwritten since)";
        if (!before(g, (int)lane, s->write_lane, s->write))
            return s->uploaded ? "is read without waiting for its upload"
                               : "is read without waiting for what writes it";
    }
    return NULL;
}

const char *zo2_ledger_may_write(const zo2_ledger *g, zo2_lane lane, uint64_t begin, uint64_t end)
{
    for (uint64_t i = find(g, begin); i < g->n && g->segment[i].begin < end; i++) {
        const zo2_ledger_segment *s = &g->segment[i];
        if (!before(g, (int)lane, s->write_lane, s->write))
            return "is overwritten without waiting for what wrote it";
        for (int l = 0; l < ZO2_LANE_COUNT; l++)
            if (!before(g, (int)lane, l, s->read[l]))
                return "is overwritten without waiting for what reads it";
    }
    return NULL;
}

/* Makes segment borders at begin and end. Indices stay valid up to the returned one, the segment that starts at begin.
 */
static zo2_status cut(zo2_ledger *g, uint64_t begin, uint64_t end, uint64_t *first, uint64_t *count)
{
    if (g->n + 2 > g->room) {
        zo2_ledger_segment *grown = realloc(g->segment, 2 * g->room * sizeof *grown);
        if (!grown)
            return zo2_error(ZO2_ERR_NOMEM, "null backend: no memory for its ledger");
        g->segment = grown;
        g->room *= 2;
    }
    uint64_t border[2] = {begin, end};
    for (int b = 0; b < 2; b++) {
        if (border[b] == g->segment[g->n - 1].end)
            continue; /* the arena's end */
        uint64_t i = find(g, border[b]);
        if (g->segment[i].begin == border[b])
            continue;
        memmove(&g->segment[i + 1], &g->segment[i], (g->n - i) * sizeof *g->segment);
        g->segment[i].end = border[b];
        g->segment[i + 1].begin = border[b];
        g->n++;
    }
    *first = find(g, begin);
    *count = 1;
    while (g->segment[*first + *count - 1].end < end)
        (*count)++;
    return ZO2_OK;
}

zo2_status zo2_ledger_read(zo2_ledger *g, zo2_lane lane, uint64_t begin, uint64_t end)
{
    uint64_t first, count;
    zo2_status s = cut(g, begin, end, &first, &count);
    for (uint64_t i = 0; !s && i < count; i++)
        g->segment[first + i].read[lane] = g->lane[lane].done[lane];
    return s;
}

zo2_status zo2_ledger_write(zo2_ledger *g, zo2_lane lane, uint64_t begin, uint64_t end, int uploaded)
{
    uint64_t first, count;
    zo2_status s = cut(g, begin, end, &first, &count);
    if (s)
        return s;
    memmove(&g->segment[first + 1], &g->segment[first + count], (g->n - first - count) * sizeof *g->segment);
    g->n -= count - 1;
    g->segment[first] = (zo2_ledger_segment){.begin = begin,
                                             .end = end,
                                             .write = g->lane[lane].done[lane],
                                             .write_lane = (uint8_t)lane,
                                             .uploaded = (uint8_t)(uploaded != 0)};
    return ZO2_OK;
}
