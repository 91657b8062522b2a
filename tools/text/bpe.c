/* bpe.c: see bpe.h.
 *
 * The order of merges is that of Hugging Face's tokenizers: one queue of pairs by (rank, place), where a pair that a
 * merge makes competes at once. GPT-2's first program finished a merge everywhere in the word before it looked for the
 * next one, which is the same where every pair ranks behind the merges that make its halves, as a trainer leaves them;
 * vocabularies that come from SentencePiece have others. There a token can also have several pairs, and a queued one
 * counts as long as what is at its place makes that token. */
#include "tools/text/bpe.h"
#include "tools/text/bytes.h"

#include <stdlib.h>
#include <string.h>

#define NONE UINT32_MAX

/* ---- the queue --------------------------------------------------------------------------------------------------- */

static int before(const zo2t_candidate *a, const zo2t_candidate *b)
{
    return a->rank != b->rank ? a->rank < b->rank : a->at < b->at;
}

static zo2_status push(zo2t_bpe *b, zo2t_candidate c)
{
    void *p = b->heap;
    zo2_status s = zo2t_grow(&p, &b->heap_capacity, b->heap_n + 1, sizeof *b->heap);
    b->heap = p;
    if (s)
        return s;
    size_t i = b->heap_n++;
    while (i && before(&c, &b->heap[(i - 1) / 2])) {
        b->heap[i] = b->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    b->heap[i] = c;
    return ZO2_OK;
}

static zo2t_candidate pop(zo2t_bpe *b)
{
    zo2t_candidate top = b->heap[0], last = b->heap[--b->heap_n];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= b->heap_n)
            break;
        if (child + 1 < b->heap_n && before(&b->heap[child + 1], &b->heap[child]))
            child++;
        if (!before(&b->heap[child], &last))
            break;
        b->heap[i] = b->heap[child];
        i = child;
    }
    b->heap[i] = last;
    return top;
}

/* Queues the pair that begins with symbol `at`, if it has a rank. */
static zo2_status queue(zo2t_bpe *b, uint32_t at)
{
    const zo2t_symbol *left = &b->symbol[at];
    const zo2t_merge *m = left->next == NONE ? NULL : zo2t_bpe_merge(b, left->id, b->symbol[left->next].id);
    return m ? push(b, (zo2t_candidate){m->rank, at, m->result}) : ZO2_OK;
}

static zo2_status merge(zo2t_bpe *b, const zo2t_candidate *c)
{
    zo2t_symbol *left = &b->symbol[c->at];
    if (left->id < 0 || left->next == NONE)
        return ZO2_OK;
    zo2t_symbol *right = &b->symbol[left->next];
    const zo2t_merge *m = zo2t_bpe_merge(b, left->id, right->id);
    if (!m || m->result != c->result)
        return ZO2_OK; /* merged with others meanwhile */
    left->id = c->result;
    left->next = right->next;
    left->bytes += right->bytes;
    right->id = -1;
    if (left->next != NONE)
        b->symbol[left->next].previous = c->at;
    zo2_status s = left->previous != NONE ? queue(b, left->previous) : ZO2_OK;
    return s ? s : queue(b, c->at);
}

static zo2_status merge_all(zo2t_bpe *b, uint32_t n)
{
    zo2_status s = ZO2_OK;
    b->heap_n = 0;
    for (uint32_t i = 0; i + 1 < n && !s; i++)
        s = queue(b, i);
    while (b->heap_n && !s) {
        const zo2t_candidate c = pop(b);
        s = merge(b, &c);
    }
    return s;
}

/* ---- symbols ----------------------------------------------------------------------------------------------------- */

static void add_symbol(zo2t_bpe *b, uint32_t *n, int32_t id, size_t bytes)
{
    const uint32_t i = (*n)++;
    b->symbol[i] = (zo2t_symbol){id, i ? i - 1 : NONE, i + 1, (uint32_t)bytes};
}

/* At most as many symbols as bytes. */
static uint32_t add_characters(zo2t_bpe *b, const char *word, size_t bytes)
{
    uint32_t n = 0;
    bool unknown = false; /* is the last symbol one? */
    for (size_t at = 0, from = 0; at < bytes; from = at) {
        zo2t_utf8_next(word, &at);
        int32_t id = zo2t_vocab_find_first(b->vocab, b->tokens, word + from, at - from);
        const bool known = id >= 0;
        if (known) {
            add_symbol(b, &n, id, at - from);
        } else if (b->form.byte_fallback) {
            for (size_t i = from; i < at; i++)
                add_symbol(b, &n, b->byte_id[(uint8_t)word[i]], 1);
        } else if (!unknown || !b->form.fuse_unknown) {
            add_symbol(b, &n, b->unknown_id, at - from);
        } else {
            b->symbol[n - 1].bytes += (uint32_t)(at - from);
        }
        unknown = !known;
    }
    return n;
}

/* The byte in front of place `end`; one without a token is left out, and belongs to what is in front of it, or else behind. */
static void add_byte(zo2t_bpe *b, uint32_t *n, uint8_t byte, size_t end)
{
    if (b->byte_id[byte] >= 0)
        add_symbol(b, n, b->byte_id[byte], *n ? 1 : end);
    else if (*n)
        b->symbol[*n - 1].bytes++;
}

static uint32_t add_symbols(zo2t_bpe *b, const char *word, size_t bytes)
{
    uint32_t n = 0;
    if (b->form.bytes) {
        for (size_t i = 0; i < bytes; i++)
            add_byte(b, &n, (uint8_t)word[i], i + 1);
    } else {
        n = add_characters(b, word, bytes);
    }
    if (n > 0)
        b->symbol[n - 1].next = NONE;
    return n;
}

/* ---- words that are tokens --------------------------------------------------------------------------------------- */

/* *id is -1 if the word is none. */
static zo2_status find_whole(zo2t_bpe *b, const char *word, size_t bytes, int32_t *id)
{
    *id = -1;
    if (bytes > b->longest)
        return ZO2_OK;
    size_t n = bytes;
    if (b->form.bytes) {
        void *p = b->text;
        zo2_status s = zo2t_grow(&p, &b->text_capacity, 2 * bytes, 1);
        b->text = p;
        if (s)
            return s;
        n = 0;
        for (size_t i = 0; i < bytes; i++)
            n += zo2t_utf8_put2(zo2t_byte_char((uint8_t)word[i]), b->text + n);
        word = b->text;
    }
    *id = zo2t_vocab_find_first(b->vocab, b->tokens, word, n);
    return ZO2_OK;
}

zo2_status zo2t_bpe_word(zo2t_bpe *b, const char *word, size_t bytes, zo2t_ids *out)
{
    if (!bytes)
        return ZO2_OK;
    if (bytes > INT32_MAX)
        return zo2_error(ZO2_ERR_ARG, "a word of %zu bytes is too long", bytes);
    void *p = b->symbol;
    zo2_status s = zo2t_grow(&p, &b->symbols, bytes, sizeof *b->symbol);
    b->symbol = p;
    int32_t whole = -1;
    if (!s && b->form.ignore_merges)
        s = find_whole(b, word, bytes, &whole);
    uint32_t symbols = 1;
    if (!s && whole >= 0)
        b->symbol[0] = (zo2t_symbol){whole, NONE, NONE, (uint32_t)bytes};
    else if (!s)
        s = merge_all(b, symbols = add_symbols(b, word, bytes));
    if (s)
        return s;
    b->first = symbols > 0 ? 0 : NONE;
    size_t n = 0;
    for (uint32_t i = b->first; i != NONE; i = b->symbol[i].next)
        n++;
    s = zo2t_ids_reserve(out, n);
    if (s)
        return s;
    for (uint32_t i = b->first; i != NONE; i = b->symbol[i].next)
        out->id[out->n++] = b->symbol[i].id;
    return ZO2_OK;
}

size_t zo2t_bpe_tokens_before(const zo2t_bpe *b, size_t at)
{
    size_t n = 0, end = 0;
    for (uint32_t i = b->first; i != NONE; i = b->symbol[i].next, n++) {
        end += b->symbol[i].bytes;
        if (end > at)
            break;
    }
    return n;
}

void zo2t_bpe_free(zo2t_bpe *b)
{
    free(b->slot);
    free(b->symbol);
    free(b->heap);
    free(b->text);
    *b = (zo2t_bpe){0};
}
