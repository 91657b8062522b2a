/* rotation.c: see rotation.h. */
#include "engine/method/rotation.h"

#include <string.h>

const char *zo2_tune_order_name(zo2_tune_order v)
{
    static const char *const names[] = {
        [ZO2_ORDER_TOP] = "top", [ZO2_ORDER_BOTTOM] = "bottom", [ZO2_ORDER_RANDOM] = "random"};
    return (int)v >= ZO2_ORDER_TOP && v <= ZO2_ORDER_RANDOM ? names[v] : NULL;
}

zo2_tune_order zo2_tune_order_parse(const char *name)
{
    for (zo2_tune_order v = ZO2_ORDER_TOP; name && v <= ZO2_ORDER_RANDOM; v++)
        if (strcmp(name, zo2_tune_order_name(v)) == 0)
            return v;
    return (zo2_tune_order)0;
}

/* A bijection of 64-bit numbers that spreads what is close (splitmix64's finaliser, Steele and others 2014). */
static uint64_t mix(uint64_t v)
{
    v = (v ^ v >> 30) * 0xBF58476D1CE4E5B9u;
    v = (v ^ v >> 27) * 0x94D049BB133111EBu;
    return v ^ v >> 31;
}

/* Place `turn` of a permutation of the groups that is drawn anew for every round: groups sorted by a number that each draws. */
static uint32_t drawn(uint64_t seed, uint64_t round, uint32_t groups, uint32_t turn)
{
    uint64_t key = mix(seed + 0x9E3779B97F4A7C15u * (round + 1));
    for (uint32_t g = 0; g < groups; g++) {
        uint64_t own = mix(key ^ (g + 1));
        uint32_t before = 0;
        for (uint32_t other = 0; other < groups; other++)
            before += mix(key ^ (other + 1)) < own; /* mix() is a bijection: no two are equal */
        if (before == turn)
            return g;
    }
    return 0;
}

uint32_t zo2_rotation_group(const zo2_run_settings *s, uint32_t groups, uint64_t step)
{
    if (groups < 2 || !s->tune_rotate)
        return 0;
    uint64_t turns = step / s->tune_rotate;
    uint32_t turn = (uint32_t)(turns % groups);
    switch (s->tune_order) {
    case ZO2_ORDER_TOP: return groups - 1 - turn;
    case ZO2_ORDER_BOTTOM: return turn;
    case ZO2_ORDER_RANDOM: return drawn(s->seed, turns / groups, groups, turn);
    }
    return 0;
}
