/* reference_choice.h: which tensors a run moves, from the text that zo2_engine_opts.tune has (zo2.h, there). Nothing is stored but marks
 * on the tensors: whoever asks reads the text again, which has at most some dozens of terms. */
#ifndef ZO2_EXAMPLES_REFERENCE_CHOICE_H
#define ZO2_EXAMPLES_REFERENCE_CHOICE_H

#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zo2.h>

/* ---- the text: terms joined by '+' ---- */

static int begins(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

/* The term behind this one, NULL: it was the last. A '+' that no keyword follows is one between the targets of adapters. */
static const char *next_term(const char *term)
{
    static const char *const keywords[] = {"all", "vectors", "layers=", "matrices=", "rows=", "match=", "lora:"};
    while ((term = strchr(term, '+')) != NULL) {
        term++;
        for (size_t i = 0; i < sizeof keywords / sizeof *keywords; i++)
            if (begins(term, keywords[i]))
                return term;
    }
    return NULL;
}

/* What follows a keyword, NULL: no term begins with it. */
static const char *term_of(const char *choice, const char *keyword)
{
    for (; choice; choice = next_term(choice))
        if (begins(choice, keyword))
            return choice + strlen(keyword);
    return NULL;
}

/* Whether "4-5,7" has n. The list ends where no number follows. */
static int lists(const char *list, size_t n)
{
    for (;;) {
        char *end;
        const size_t from = strtoul(list, &end, 10), to = *end == '-' ? strtoul(end + 1, &end, 10) : from;
        if (n >= from && n <= to)
            return 1;
        if (*end != ',' || end[1] < '0' || end[1] > '9')
            return 0;
        list = end + 1;
    }
}

/* Layer of a tensor, -1: it is in none. */
static long layer_of(const char *name)
{
    const char *at = strstr(name, "layers.");
    return at ? strtol(at + strlen("layers."), NULL, 10) : -1;
}

/* Whether a term chooses a tensor that the model has. */
static int chooses(const char *term, const zo2_tensor_info *t)
{
    const long layer = layer_of(t->name);
    char pattern[256];
    if (begins(term, "all"))
        return 1;
    if (begins(term, "vectors"))
        return t->rank == 1;
    if (begins(term, "layers="))
        return layer >= 0 && lists(term + strlen("layers="), (size_t)layer);
    if (begins(term, "matrices="))
        return layer >= 0 && t->rank == 2 && lists(term + strlen("matrices="), (size_t)layer);
    return sscanf(term, "match=%255[^+]", pattern) == 1 && fnmatch(pattern, t->name, 0) == 0;
}

/* ---- adapters ---- */

/* Behind "key=" in "r=8,alpha=16,targets=q_proj+v_proj", NULL: it isn't there. */
static const char *lora_value(const char *lora, const char *key)
{
    const char *end = next_term(lora);
    for (const char *at = lora; at && (!end || at < end); at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL)
        if (begins(at, key))
            return at + strlen(key);
    return NULL;
}

static size_t lora_rank(const char *lora)
{
    const char *r = lora_value(lora, "r=");
    return r ? strtoul(r, NULL, 10) : 8;
}

/* alpha / r */
static float lora_scale(const char *lora)
{
    const char *alpha = lora_value(lora, "alpha=");
    return alpha ? (float)(strtod(alpha, NULL) / (double)lora_rank(lora)) : 2;
}

/* A matrix and the name that another family has for it. */
static int same_target(const char *a, size_t n, const char *b)
{
    static const char *const alike[][2] = {{"o_proj", "out_proj"}, {"fc1", "up_proj"}, {"fc2", "down_proj"}};
    if (strlen(b) == n && strncmp(a, b, n) == 0)
        return 1;
    for (size_t i = 0; i < sizeof alike / sizeof *alike; i++)
        for (int k = 0; k < 2; k++)
            if (strcmp(b, alike[i][k]) == 0 && strlen(alike[i][!k]) == n && strncmp(a, alike[i][!k], n) == 0)
                return 1;
    return 0;
}

/* Whether a tensor gets adapters. */
static int adapts(const char *lora, const zo2_tensor_info *t)
{
    const char *targets = lora_value(lora, "targets="), *layers = lora_value(lora, "layers=");
    char module[128];
    if (t->rank != 2 || layer_of(t->name) < 0 || (layers && !lists(layers, (size_t)layer_of(t->name))))
        return 0;
    snprintf(module, sizeof module, "%.*s", (int)(strlen(t->name) - strlen(".weight")), t->name);
    const char *last = strrchr(module, '.') + 1;
    for (const char *at = targets ? targets : "q_proj+v_proj";; at++) {
        const size_t n = strcspn(at, "+,");
        if (same_target(at, n, last))
            return 1;
        at += n;
        if (*at != '+' || at + 1 == next_term(at))
            return 0;
    }
}

/* ---- turns ---- */

/* A bijection of 64-bit numbers: the end of splitmix64 (Steele, Lea and Flood 2014). */
static uint64_t scramble(uint64_t v)
{
    v = (v ^ (v >> 30)) * 0xBF58476D1CE4E5B9u;
    v = (v ^ (v >> 27)) * 0x94D049BB133111EBu;
    return v ^ (v >> 31);
}

/* Which of the groups moves in a step, the lowest having number 0. A random order is one of each round: in round n group i draws
 * scramble(scramble(run + (n + 1) * the golden ratio) ^ (i + 1)), run being the run's seed, and the lowest number goes first. */
static size_t whose_turn(size_t groups, uint64_t step, uint32_t every, zo2_tune_order order, uint64_t run)
{
    const uint64_t turns = step / every, last = turns % groups;
    if (order != ZO2_ORDER_RANDOM)
        return (size_t)(order == ZO2_ORDER_BOTTOM ? last : groups - 1 - last);
    const uint64_t key = scramble(run + (turns / groups + 1) * 0x9E3779B97F4A7C15u);
    size_t best = 0;
    for (uint64_t place = 0, before = 0; place <= last; place++) { /* the least number above that of the place before */
        uint64_t least = UINT64_MAX;
        for (size_t i = 0; i < groups; i++) {
            const uint64_t drew = scramble(key ^ (i + 1));
            if (drew <= least && (place == 0 || drew > before)) {
                least = drew;
                best = i;
            }
        }
        before = least;
    }
    return best;
}

#endif
