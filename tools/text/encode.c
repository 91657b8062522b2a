/* encode.c: a text becomes ids. The text is taken apart in steps: added tokens, what lies between them normalised, added tokens in that,
 * spaces, words. Each step sees only its own piece, with the marks in it counted from its beginning. */
#include "tools/text/bytes.h"
#include "tools/text/tokenizer_internal.h"

#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

typedef struct walk {
    zo2t_tokenizer *t;
    zo2t_ids *out;
    /* zo2t_encode_marks(): those of the piece that aren't settled yet are [done, n) */
    size_t *mark, *before;
    size_t done, n;
} walk;

/* ---- marks ------------------------------------------------------------------------------------------------------- */

/* The ids so far are those before every mark up to `at`. */
static void settle(walk *w, size_t at)
{
    while (w->done < w->n && w->mark[w->done] <= at)
        w->before[w->done++] = w->out->n;
}

/* Leaves only the marks before `end`, counted from `start`, and returns how many there were. */
static size_t enter(walk *w, size_t start, size_t end)
{
    const size_t all = w->n;
    size_t i = w->done;
    settle(w, start);
    for (i = w->done; i < all && w->mark[i] < end; i++)
        w->mark[i] -= start;
    w->n = i;
    return all;
}

static void leave(walk *w, size_t all)
{
    settle(w, SIZE_MAX);
    w->n = all;
}

/* ---- words ------------------------------------------------------------------------------------------------------- */

static zo2_status encode_cached(zo2t_tokenizer *t, const char *word, size_t bytes, zo2t_ids *out)
{
    if (bytes > ZO2T_CACHE_BYTES)
        return zo2t_bpe_word(&t->parts.bpe, word, bytes, out);
    zo2t_cached *c = &t->cache[XXH3_64bits(word, bytes) & (ZO2T_CACHE_SLOTS - 1)];
    if (c->bytes == bytes && !memcmp(c->word, word, bytes))
        return zo2t_ids_append(out, c->id, c->n);
    size_t first = out->n;
    zo2_status s = zo2t_bpe_word(&t->parts.bpe, word, bytes, out);
    if (s || out->n - first > ZO2T_CACHE_IDS)
        return s;
    c->bytes = (uint8_t)bytes;
    c->n = (uint8_t)(out->n - first);
    memcpy(c->word, word, bytes);
    memcpy(c->id, out->id + first, c->n * sizeof *c->id);
    return ZO2_OK;
}

/* The word is [start, start + bytes) of the piece. */
static zo2_status encode_word(walk *w, const char *word, size_t start, size_t bytes)
{
    settle(w, start);
    if (w->done == w->n || w->mark[w->done] >= start + bytes)
        return encode_cached(w->t, word, bytes, w->out);
    const size_t first = w->out->n; /* the cache doesn't know where tokens end */
    zo2_status s = zo2t_bpe_word(&w->t->parts.bpe, word, bytes, w->out);
    for (; !s && w->done < w->n && w->mark[w->done] < start + bytes; w->done++)
        w->before[w->done] = first + zo2t_bpe_tokens_before(&w->t->parts.bpe, w->mark[w->done] - start);
    return s;
}

/* A piece between special tokens is a subject of its own, as is a word for the next step: the patterns' lookahead sees its end. */
static zo2_status encode_words(walk *w, size_t step, const char *text, size_t start, size_t bytes)
{
    if (step >= ZO2T_WORD_STEPS || step == w->t->parts.pretokenizer.n)
        return encode_word(w, text, start, bytes);
    for (size_t at = 0, end; at < bytes; at = end) {
        zo2_status s = zo2t_pattern_match(w->t->words[step], text, bytes, at, &end);
        if (!s && end <= at)
            s = zo2_error(ZO2_ERR_INTERNAL, "tokenizer pattern at byte %zu: no match", at);
        if (!s)
            s = encode_words(w, step + 1, text + at, start + at, end - at);
        if (s)
            return s;
    }
    return ZO2_OK;
}

/* ---- spaces ------------------------------------------------------------------------------------------------------ */

static const char meta[] = ZO2T_META;
enum { META = sizeof meta - 1 };

static size_t spaces_in(const char *text, size_t bytes)
{
    size_t n = 0;
    for (const char *at = text, *end = text + bytes; (at = memchr(at, ' ', (size_t)(end - at))); at++)
        n++;
    return n;
}

/* Puts ZO2T_META in the place of spaces, and in front where it belongs. */
static zo2_status replace_spaces(walk *w, const char **text, size_t *bytes, bool first)
{
    zo2t_tokenizer *t = w->t;
    const zo2t_prepend prepend = t->parts.pretokenizer.prepend;
    const char *from = *text, *end = from + *bytes;
    const bool begins = *from == ' ' || (*bytes >= META && !memcmp(from, meta, META));
    const bool in_front = !begins && (prepend == ZO2T_PREPEND_ALWAYS || (prepend == ZO2T_PREPEND_FIRST && first));
    for (size_t i = w->done; i < w->n; i++)
        w->mark[i] += spaces_in(from, w->mark[i]) * (META - 1) + (in_front ? META : 0);
    void *p = t->spaces;
    zo2_status s = zo2t_grow(&p, &t->spaces_capacity, *bytes + spaces_in(from, *bytes) * (META - 1) + META, 1);
    t->spaces = p;
    if (s)
        return s;
    char *to = t->spaces;
    if (in_front)
        to = mempcpy(to, meta, META);
    while (from < end) {
        const char *space = memchr(from, ' ', (size_t)(end - from));
        to = mempcpy(to, from, (size_t)((space ? space : end) - from));
        if (space)
            to = mempcpy(to, meta, META);
        from = space ? space + 1 : end;
    }
    *text = t->spaces;
    *bytes = (size_t)(to - t->spaces);
    return ZO2_OK;
}

/* ---- added tokens ------------------------------------------------------------------------------------------------ */

/* Where the marks are in the normalised text: behind what is before them, normalised. */
static zo2_status move_marks(walk *w, const char *text)
{
    zo2_status s = ZO2_OK;
    for (size_t i = w->done; i < w->n && !s; i++) {
        const char *out;
        s = zo2t_normalize(&w->t->parts.normalizer, text, w->mark[i], &out, &w->mark[i]);
    }
    return s;
}

static zo2_status encode_piece(walk *w, size_t pass, const char *text, size_t bytes, bool first);

/* Text without added tokens of the pass before; `first`: nothing lies before it. */
static zo2_status encode_between(walk *w, size_t pass, const char *text, size_t start, size_t end, bool first)
{
    const size_t all = enter(w, start, end);
    size_t bytes = end - start;
    text += start;
    zo2_status s = ZO2_OK;
    if (pass < ZO2T_SPECIAL_PASSES) {
        if (w->t->parts.normalizer.n && !(s = move_marks(w, text)))
            s = zo2t_normalize(&w->t->parts.normalizer, text, bytes, &text, &bytes);
        if (!s)
            s = encode_piece(w, pass, text, bytes, first);
    } else {
        s = w->t->parts.pretokenizer.metaspace ? replace_spaces(w, &text, &bytes, first) : ZO2_OK;
        if (!s)
            s = encode_words(w, 0, text, 0, bytes);
    }
    leave(w, all);
    return s;
}

/* The tokens that a pass finds, and what lies between them by the next pass; after the last one it is words. */
static zo2_status encode_piece(walk *w, size_t pass, const char *text, size_t bytes, bool first)
{
    zo2t_special_scan scan = {.specials = &w->t->parts.specials, .pass = pass, .text = text, .bytes = bytes};
    zo2_status s = ZO2_OK;
    while (!s) {
        const size_t done = scan.done;
        size_t start = bytes;
        const zo2t_special *special;
        s = zo2t_specials_next(&scan, &special, &start);
        if (!s && start > done)
            s = encode_between(w, pass + 1, text, done, start, first && !done);
        if (s || !special)
            return s;
        settle(w, scan.done - 1);
        s = zo2t_ids_append(w->out, &special->id, 1);
    }
    return s;
}

static zo2_status encode(walk *w, const char *text, size_t bytes, int32_t bos)
{
    if (bytes > INT32_MAX)
        return zo2_error(ZO2_ERR_ARG, "a text of %zu bytes is too long", bytes);
    size_t valid = zo2t_utf8_check(text, bytes);
    if (valid != bytes)
        return zo2_error(ZO2_ERR_FORMAT, "not UTF-8 at byte %zu of the text", valid);
    size_t first = w->out->n;
    zo2_status s = bos >= 0 ? zo2t_ids_append(w->out, &bos, 1) : ZO2_OK;
    if (!s)
        s = encode_piece(w, 0, text, bytes, true);
    if (s)
        w->out->n = first;
    settle(w, SIZE_MAX);
    return s;
}

zo2_status zo2t_encode(zo2t_tokenizer *t, const char *text, size_t bytes, int32_t bos, zo2t_ids *out)
{
    return encode(&(walk){.t = t, .out = out}, text, bytes, bos);
}

zo2_status zo2t_encode_marks(zo2t_tokenizer *t, const char *text, size_t bytes, zo2t_ids *out, const size_t *mark,
                             size_t *before, size_t n)
{
    size_t *copy = malloc((n ? n : 1) * sizeof *copy); /* it changes on the way */
    if (!copy)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory for %zu places of a text", n);
    if (n)
        memcpy(copy, mark, n * sizeof *copy);
    zo2_status s = encode(&(walk){t, out, copy, before, 0, n}, text, bytes, -1);
    free(copy);
    return s;
}
