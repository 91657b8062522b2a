/* special.c: see special.h. */
#include "tools/text/special.h"
#include "tools/text/bytes.h"
#include "tools/text/ids.h"

#include <stdlib.h>
#include <string.h>

/* What Rust's regular expressions mean by \w: Alphabetic, Mark, Nd, Pc, Join_Control. Alphabetic is L, Nl, some of Mark and the
 * letters in circles and squares. */
static const char word_character[] = "[\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}\\x{200C}\\x{200D}\\x{24B6}-\\x{24E9}"
                                     "\\x{1F130}-\\x{1F149}\\x{1F150}-\\x{1F169}\\x{1F170}-\\x{1F189}]";

bool zo2t_specials_has(const zo2t_specials *sp, int32_t id)
{
    for (size_t p = 0; p < ZO2T_SPECIAL_PASSES; p++) {
        for (size_t i = 0; i < sp->pass[p].n; i++) {
            if (sp->pass[p].token[i].id == id)
                return true;
        }
    }
    return false;
}

zo2_status zo2t_specials_add(zo2t_specials *sp, const zo2t_special *token, const char *file)
{
    struct zo2t_special_set *set = &sp->pass[token->normalized];
    if (zo2t_specials_has(sp, token->id))
        return ZO2_OK;
    if (set->n >= ZO2T_SPECIALS)
        return zo2_error(ZO2_ERR_FORMAT, "%s: more than %d special tokens", file, ZO2T_SPECIALS);
    void *p = set->token;
    zo2_status s = zo2t_grow(&p, &set->capacity, set->n + 1, sizeof *set->token);
    set->token = p;
    if (s)
        return s;
    char *copy = malloc(token->bytes + 1);
    if (!copy)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory for special tokens");
    memcpy(copy, token->text, token->bytes);
    copy[token->bytes] = '\0';
    set->token[set->n] = *token;
    set->token[set->n++].text = copy;
    return ZO2_OK;
}

static int compare(const void *a, const void *b)
{
    const zo2t_special *x = a, *y = b;
    unsigned char i = (unsigned char)x->text[0], j = (unsigned char)y->text[0];
    if (i != j)
        return i < j ? -1 : 1;
    if (x->bytes != y->bytes)
        return x->bytes > y->bytes ? -1 : 1;
    const int order = strcmp(x->text, y->text); /* 0: two that are the same when normalised */
    return order ? order : (x->id > y->id) - (x->id < y->id);
}

static zo2_status normalize_texts(struct zo2t_special_set *set, zo2t_normalizer *normalizer)
{
    for (size_t i = 0; i < set->n; i++) {
        zo2t_special *t = &set->token[i];
        const char *text;
        size_t bytes;
        zo2_status s = zo2t_normalize(normalizer, t->text, t->bytes, &text, &bytes);
        char *copy = s ? NULL : malloc(bytes + 1);
        if (!copy)
            return s ? s : zo2_error(ZO2_ERR_NOMEM, "out of memory for special tokens");
        memcpy(copy, text, bytes);
        copy[bytes] = '\0';
        free(t->text);
        t->text = copy;
        t->bytes = bytes;
    }
    return ZO2_OK;
}

zo2_status zo2t_specials_ready(zo2t_specials *sp, zo2t_normalizer *normalizer)
{
    bool words = false;
    zo2_status s = normalize_texts(&sp->pass[ZO2T_SPECIAL_PASSES - 1], normalizer);
    if (s)
        return s;
    for (size_t p = 0; p < ZO2T_SPECIAL_PASSES; p++) {
        struct zo2t_special_set *set = &sp->pass[p];
        if (set->n)
            qsort(set->token, set->n, sizeof *set->token, compare);
        for (size_t i = 0; i < set->n; i++) {
            set->first[(unsigned char)set->token[i].text[0] + 1]++;
            words |= set->token[i].single_word;
        }
        for (size_t c = 0; c < 256; c++)
            set->first[c + 1] += set->first[c];
    }
    return words ? zo2t_pattern_compile(&sp->word, word_character) : ZO2_OK;
}

static const zo2t_special *at_place(const struct zo2t_special_set *set, const char *text, size_t bytes, size_t at)
{
    unsigned char c = (unsigned char)text[at];
    for (uint32_t i = set->first[c]; i < set->first[c + 1]; i++) {
        const zo2t_special *t = &set->token[i];
        if (t->bytes <= bytes - at && !memcmp(text + at, t->text, t->bytes))
            return t;
    }
    return NULL;
}

static bool is_space(uint32_t cp)
{
    return (cp >= 9 && cp <= 13) || cp == 0x20 || cp == 0x85 || cp == 0xA0 || cp == 0x1680 ||
           (cp >= 0x2000 && cp <= 0x200A) || cp == 0x2028 || cp == 0x2029 || cp == 0x202F || cp == 0x205F ||
           cp == 0x3000;
}

/* Where the character begins that ends before text[at]; at > 0. */
static size_t before(const char *text, size_t at)
{
    do
        at--;
    while (at && ((unsigned char)text[at] & 0xC0) == 0x80);
    return at;
}

static size_t strip_left(const char *text, size_t at)
{
    while (at) {
        size_t i = before(text, at), next = i;
        if (!is_space(zo2t_utf8_next(text, &next)))
            break;
        at = i;
    }
    return at;
}

static size_t strip_right(const char *text, size_t bytes, size_t at)
{
    while (at < bytes) {
        size_t next = at;
        if (!is_space(zo2t_utf8_next(text, &next)))
            break;
        at = next;
    }
    return at;
}

/* Is neither the character before text[start] nor the one at text[end] one of a word? */
static zo2_status stands_alone(const zo2t_special_scan *s, size_t start, size_t end, bool *alone)
{
    size_t to = 0, left = start ? before(s->text, start) : 0;
    *alone = true;
    zo2_status status = ZO2_OK;
    if (start) {
        status = zo2t_pattern_match(s->specials->word, s->text, start, left, &to);
        *alone = to == left;
    }
    if (!status && *alone && end < s->bytes) {
        status = zo2t_pattern_match(s->specials->word, s->text, s->bytes, end, &to);
        *alone = to == end;
    }
    return status;
}

zo2_status zo2t_specials_next(zo2t_special_scan *s, const zo2t_special **token, size_t *start)
{
    const struct zo2t_special_set *set = &s->specials->pass[s->pass];
    *token = NULL;
    while (set->n && s->at < s->bytes) {
        const zo2t_special *t = at_place(set, s->text, s->bytes, s->at);
        if (!t) {
            s->at++;
            continue;
        }
        size_t from = s->at;
        bool alone = true;
        s->at += t->bytes;
        zo2_status status = t->single_word ? stands_alone(s, from, s->at, &alone) : ZO2_OK;
        if (status)
            return status;
        if (!alone)
            continue;
        if (t->lstrip) {
            size_t stripped = strip_left(s->text, from);
            from = stripped > s->done ? stripped : s->done;
        }
        s->done = t->rstrip ? strip_right(s->text, s->bytes, s->at) : s->at;
        if (from >= s->done)
            continue; /* white space that the token before it took: nothing is left of it */
        *start = from;
        *token = t;
        return ZO2_OK;
    }
    return ZO2_OK;
}

void zo2t_specials_free(zo2t_specials *sp)
{
    for (size_t p = 0; p < ZO2T_SPECIAL_PASSES; p++) {
        for (size_t i = 0; i < sp->pass[p].n; i++)
            free(sp->pass[p].token[i].text);
        free(sp->pass[p].token);
    }
    zo2t_pattern_free(sp->word);
    *sp = (zo2t_specials){0};
}
