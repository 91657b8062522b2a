/* tune_parse.c: the text of a choice, term by term. */
#include "engine/model/arch.h"
#include "engine/model/tune.h"

#include <locale.h>
#include <stdlib.h>
#include <string.h>

#define NAMES "all, vectors, layers=, matrices=, rows=, match= or lora:"

typedef struct word {
    const char *name;
    zo2_term_kind kind;
} word;

static const word words[] = {
    {"all", ZO2_TERM_ALL},        {"vectors", ZO2_TERM_VECTORS},
    {"layers=", ZO2_TERM_LAYERS}, {"matrices=", ZO2_TERM_MATRICES},
    {"rows=", ZO2_TERM_ROWS},     {"match=", ZO2_TERM_MATCH},
    {"lora:", ZO2_TERM_LORA},
};

static const char *const targets[ZO2_LORA_TARGETS] = {"q_proj",    "k_proj", "v_proj", "o_proj",
                                                      "gate_proj", "fc1",    "fc2"};
/* The same matrices by the names that families of LLaMA's kind have for them. */
static const struct {
    const char *name;
    uint32_t target;
} aliases[] = {{"out_proj", 3}, {"up_proj", 5}, {"down_proj", 6}};

/* The term that begins at `at`, NULL: none does. A name that isn't followed by a value is a term if it ends there. */
static const word *word_at(const char *at)
{
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        const size_t n = strlen(words[i].name);
        if (strncmp(at, words[i].name, n) == 0 && (strchr("=:", words[i].name[n - 1]) || !at[n] || at[n] == '+'))
            return &words[i];
    }
    return NULL;
}

/* ---- numbers ---- */

static int take_number(const char **at, uint32_t *out)
{
    uint64_t n = 0;
    const char *p = *at;
    for (; *p >= '0' && *p <= '9'; p++)
        if ((n = 10 * n + (uint64_t)(*p - '0')) > INT32_MAX)
            return 0;
    if (p == *at)
        return 0;
    *at = p;
    *out = (uint32_t)n;
    return 1;
}

static int by_from(const void *a, const void *b)
{
    const zo2_range *x = a, *y = b;
    return x->from < y->from ? -1 : x->from > y->from;
}

/* Ascending, and those that touch are one. */
static void tidy(zo2_term *t)
{
    uint32_t n = 0;
    qsort(t->range, t->n_ranges, sizeof *t->range, by_from);
    for (uint32_t i = 0; i < t->n_ranges; i++) {
        zo2_range *last = n ? &t->range[n - 1] : NULL;
        if (last && t->range[i].from <= last->to + 1)
            last->to = t->range[i].to > last->to ? t->range[i].to : last->to;
        else
            t->range[n++] = t->range[i];
    }
    t->n_ranges = n;
}

/* "4-5,7": ranges until something else comes, which *at is then at. */
static zo2_status take_ranges(zo2_term *t, const char **at, const char *what)
{
    uint32_t room = t->n_ranges; /* at least: those of a list before this one are there */
    for (;;) {
        zo2_range r;
        if (!take_number(at, &r.from))
            return zo2_error(ZO2_ERR_ARG, "tune: %s is followed by numbers, as in %s4-5 or %s3,8-11", what, what, what);
        r.to = r.from;
        if (**at == '-') {
            ++*at;
            if (!take_number(at, &r.to) || r.to < r.from)
                return zo2_error(ZO2_ERR_ARG, "tune: %s%u- goes on with a number that isn't smaller", what, r.from);
        }
        if (t->n_ranges == room) {
            room = room ? 2 * room : 8;
            zo2_range *grown = realloc(t->range, room * sizeof *grown);
            if (!grown)
                return zo2_error(ZO2_ERR_NOMEM, "no memory for the choice of tensors");
            t->range = grown;
        }
        t->range[t->n_ranges++] = r;
        if (**at != ',' || (*at)[1] < '0' || (*at)[1] > '9')
            break;
        ++*at;
    }
    tidy(t);
    return ZO2_OK;
}

/* ---- adapters ---- */

static int is_name(const char *at, size_t n, const char *name)
{
    return strlen(name) == n && strncmp(at, name, n) == 0;
}

static zo2_status take_targets(zo2_term *t, const char **at)
{
    for (;;) {
        const size_t n = strcspn(*at, "+,");
        uint32_t found = ZO2_LORA_TARGETS;
        for (uint32_t i = 0; i < ZO2_LORA_TARGETS; i++)
            if (is_name(*at, n, targets[i]))
                found = i;
        for (size_t i = 0; i < sizeof aliases / sizeof *aliases; i++)
            if (is_name(*at, n, aliases[i].name))
                found = aliases[i].target;
        if (found == ZO2_LORA_TARGETS)
            return zo2_error(
                ZO2_ERR_ARG,
                "tune: lora: no target is named '%.*s': they are q_proj, k_proj, v_proj, o_proj (out_proj), "
                "gate_proj, fc1 (up_proj) and fc2 (down_proj), joined by +",
                (int)n, *at);
        t->targets |= 1u << found;
        *at += n;
        if (**at != '+' || word_at(*at + 1))
            return ZO2_OK;
        ++*at;
    }
}

/* In the C locale, whatever the program's is: a run's text means the same everywhere. */
static double take_real(const char *at, char **end)
{
    locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    double v = c ? strtod_l(at, end, c) : strtod(at, end);
    if (c)
        freelocale(c);
    return v;
}

static zo2_status take_alpha(zo2_term *t, const char **at)
{
    char *end;
    t->alpha = take_real(*at, &end);
    if (end == *at || !(t->alpha >= 1e-6 && t->alpha <= 1e6)) /* divided by a rank it has to be an fp32 number */
        return zo2_error(ZO2_ERR_ARG, "tune: lora: alpha is a number above 0, from 1e-6 to 1e6");
    *at = end;
    return ZO2_OK;
}

static zo2_status take_lora(zo2_term *t, const char **at)
{
    zo2_status s = ZO2_OK;
    while (!s) {
        if (strncmp(*at, "r=", 2) == 0) {
            *at += 2;
            if (!take_number(at, &t->rank) || t->rank < 1 || t->rank > 1024)
                s = zo2_error(ZO2_ERR_ARG, "tune: lora: r, the rank, is a number from 1 to 1024");
        } else if (strncmp(*at, "alpha=", 6) == 0) {
            *at += 6;
            s = take_alpha(t, at);
        } else if (strncmp(*at, "targets=", 8) == 0) {
            *at += 8;
            s = take_targets(t, at);
        } else if (strncmp(*at, "layers=", 7) == 0) {
            *at += 7;
            s = take_ranges(t, at, "lora: layers=");
        } else {
            s = zo2_error(ZO2_ERR_ARG, "tune: lora: '%.40s': it has r=, alpha=, targets= and layers=, joined by commas",
                          *at);
        }
        if (**at != ',')
            break;
        ++*at;
    }
    t->rank = t->rank ? t->rank : 8;
    t->alpha = t->alpha > 0 ? t->alpha : 2.0 * t->rank;
    t->targets = t->targets ? t->targets : 1u << 0 | 1u << 2;
    return s;
}

/* ---- terms ---- */

static zo2_status take_pattern(zo2_term *t, const char **at)
{
    const size_t n = strcspn(*at, "+");
    if (!n)
        return zo2_error(ZO2_ERR_ARG, "tune: match= is followed by a pattern of names, as in match=*.fc1.*");
    t->text = strndup(*at, n);
    *at += n;
    return t->text ? ZO2_OK : zo2_error(ZO2_ERR_NOMEM, "no memory for the choice of tensors");
}

static zo2_status take_term(zo2_term *t, const char **at)
{
    const word *w = word_at(*at);
    if (!w)
        return zo2_error(ZO2_ERR_ARG, "tune: '%.40s': a term is one of " NAMES "; terms are joined by +", *at);
    *at += strlen(w->name);
    t->kind = w->kind;
    switch (w->kind) {
    case ZO2_TERM_ALL:
    case ZO2_TERM_VECTORS: return ZO2_OK;
    case ZO2_TERM_LAYERS:
    case ZO2_TERM_MATRICES: return take_ranges(t, at, w->name);
    case ZO2_TERM_ROWS:
        if (strncmp(*at, "answers", 7) == 0)
            return zo2_error(ZO2_ERR_ARG,
                             "tune: rows=answers depends on a data file: the library takes the numbers of the "
                             "tokens, as in rows=12,15,98-103");
        return take_ranges(t, at, w->name);
    case ZO2_TERM_MATCH: return take_pattern(t, at);
    case ZO2_TERM_LORA: return take_lora(t, at);
    }
    return ZO2_ERR_INTERNAL;
}

static zo2_status add_term(zo2_choice *c, const char **at)
{
    if (c->n == ZO2_TUNE_TERMS)
        return zo2_error(ZO2_ERR_ARG, "tune: more than %u terms", ZO2_TUNE_TERMS);
    zo2_term *grown = realloc(c->term, (c->n + 1) * sizeof *grown);
    if (!grown)
        return zo2_error(ZO2_ERR_NOMEM, "no memory for the choice of tensors");
    c->term = grown;
    zo2_term *t = &c->term[c->n++];
    *t = (zo2_term){.kind = ZO2_TERM_ALL};
    zo2_status s = take_term(t, at);
    if (!s && **at && **at != '+')
        s = zo2_error(ZO2_ERR_ARG, "tune: '%.40s' doesn't belong there", *at);
    for (uint32_t i = 0; i + 1 < c->n && !s; i++)
        if (c->term[i].kind == c->term[c->n - 1].kind && c->term[i].kind >= ZO2_TERM_ROWS &&
            c->term[i].kind != ZO2_TERM_MATCH)
            s = zo2_error(ZO2_ERR_ARG, "tune: rows= and lora: can each be there once");
    return s;
}

zo2_status zo2_choice_parse(zo2_choice *out, const char *text)
{
    memset(out, 0, sizeof *out);
    const char *at = text ? text : "all";
    zo2_status s = strnlen(at, ZO2_TUNE_MOST + 1) <= ZO2_TUNE_MOST
                       ? add_term(out, &at)
                       : zo2_error(ZO2_ERR_ARG, "tune: a text of more than %u bytes", ZO2_TUNE_MOST);
    while (!s && *at == '+') {
        at++;
        s = add_term(out, &at);
    }
    if (s)
        zo2_choice_free(out);
    return s;
}

void zo2_choice_free(zo2_choice *c)
{
    for (uint32_t i = 0; i < c->n; i++) {
        free(c->term[i].range);
        free(c->term[i].text);
    }
    free(c->term);
    memset(c, 0, sizeof *c);
}
