/* split.c: see split.h. */
#include "tools/dist/split.h"

/* Shares of ranks [from, to). */
static uint64_t shares(const dist_split *s, uint32_t from, uint32_t to)
{
    uint64_t sum = 0;
    for (uint32_t r = from; r < to; r++)
        sum += s->share ? s->share[r] : 1;
    return sum;
}

/* Of n things, those before a rank whose predecessors have `before` of `all` shares. */
static uint32_t first_of(uint32_t n, uint64_t before, uint64_t all)
{
    return (uint32_t)((2 * (uint64_t)n * before + all) / (2 * all)); /* rounded; n counts rows, so it is below 2^31 */
}

static uint32_t ceil_div(uint32_t a, uint32_t b)
{
    return a / b + (a % b != 0);
}

/* Groups of ranks that share queries: the number whose largest part is smallest; of equals the most, because each rank decodes all weights
 * for each of its queries. */
static uint32_t query_groups(const dist_split *s, const zo2_pass_work *w)
{
    if (s->mode != DIST_BOTH)
        return s->mode == DIST_QUERIES ? s->ranks : 1;
    uint32_t best = 1;
    uint64_t least = UINT64_MAX;
    for (uint32_t groups = 1; groups <= s->ranks; groups++) {
        if (s->ranks % groups)
            continue;
        uint64_t part = (uint64_t)ceil_div(w->queries, groups) * ceil_div(w->micros, s->ranks / groups);
        if (part <= least) {
            least = part;
            best = groups;
        }
    }
    return best;
}

/* The same place in each group. */
static uint64_t column_shares(const dist_split *s, uint32_t groups, uint32_t from, uint32_t to)
{
    const uint32_t width = s->ranks / groups;
    uint64_t sum = 0;
    for (uint32_t g = 0; g < groups; g++)
        sum += shares(s, g * width + from, g * width + to);
    return sum;
}

void dist_split_part(const dist_split *s, uint32_t rank, zo2_pass_work *w)
{
    const uint32_t groups = query_groups(s, w), width = s->ranks / groups;
    const uint32_t row = rank / width, column = rank % width;
    const uint64_t all = shares(s, 0, s->ranks);
    w->query = first_of(w->queries, shares(s, 0, row * width), all);
    w->own_queries = first_of(w->queries, shares(s, 0, (row + 1) * width), all) - w->query;
    w->micro = first_of(w->micros, column_shares(s, groups, 0, column), all);
    w->own_micros = first_of(w->micros, column_shares(s, groups, 0, column + 1), all) - w->micro;
}

uint64_t dist_part_values(const zo2_pass_work *w)
{
    return (uint64_t)w->own_queries * w->streams * (w->first[w->micro + w->own_micros] - w->first[w->micro]);
}
