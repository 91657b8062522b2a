/* bpe.c: see bpe.h.
 *
 * The reference scans the word for its best pair, merges all its occurrences left to right and starts again. The same
 * result comes from a heap ordered by (rank, place), if pairs that appear during a rank's merges wait until that rank
 * is done: they may rank better in files whose merges aren't ordered as a trainer leaves them. (They can't be the same
 * pair: they hold the merged token, which is longer than both of its parts.) */
#include "tools/text/bpe.h"
#include "tools/text/bytes.h"
#include "tools/text/json_file.h"

#include <stdlib.h>
#include <string.h>

#define NONE UINT32_MAX

static uint64_t pair_of(int32_t left, int32_t right)
{
    return (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
}

static zo2t_merge *slot_of(const zo2t_bpe *b, uint64_t pair)
{
    uint64_t h = pair * 0x9E3779B97F4A7C15u;
    size_t at = (size_t)(h ^ h >> 32) & (b->slots - 1);
    while (b->slot[at].rank && b->slot[at].pair != pair)
        at = (at + 1) & (b->slots - 1);
    return &b->slot[at];
}

static zo2_status load_bytes(zo2t_bpe *b, const zo2t_vocab *v, const char *vocab_file)
{
    for (int i = 0; i < 256; i++) {
        char text[2];
        size_t n = zo2t_utf8_put2(zo2t_byte_char((uint8_t)i), text);
        b->byte_id[i] = zo2t_vocab_find(v, text, n);
        if (b->byte_id[i] < 0)
            return zo2_error(ZO2_ERR_FORMAT, "%s: no token \"%.*s\" for byte 0x%02X: not a byte-level vocabulary",
                             vocab_file, (int)n, text, i);
    }
    return ZO2_OK;
}

/* The tokens of a merge: texts without end. */
typedef struct pair {
    const char *left, *right;
    size_t left_bytes, right_bytes;
} pair;

/* "left right". `number` counts lines or list items from 1. */
static zo2_status split_pair(const zo2t_bpe *b, pair *out, const char *text, size_t bytes, uint64_t number)
{
    char q[ZO2T_QUOTE_BYTES];
    const char *space = memchr(text, ' ', bytes);
    size_t left = space ? (size_t)(space - text) : 0;
    *out = (pair){text, space ? space + 1 : text, left, space ? bytes - left - 1 : 0};
    if (!out->left_bytes || !out->right_bytes || memchr(out->right, ' ', out->right_bytes))
        return zo2_error(ZO2_ERR_FORMAT, "%s %s %llu: %s is not two tokens with a space between", b->file, b->unit,
                         (unsigned long long)number, zo2t_quote(q, text, bytes));
    return ZO2_OK;
}

static zo2_status add_merge(zo2t_bpe *b, const zo2t_vocab *v, const pair *p, uint64_t number)
{
    char q[ZO2T_QUOTE_BYTES], q2[ZO2T_QUOTE_BYTES];
    const unsigned long long n = number;
    int32_t a = zo2t_vocab_find(v, p->left, p->left_bytes), c = zo2t_vocab_find(v, p->right, p->right_bytes);
    if (a < 0 || c < 0)
        return zo2_error(ZO2_ERR_FORMAT, "%s %s %llu: token %s is not in %s", b->file, b->unit, n,
                         a < 0 ? zo2t_quote(q, p->left, p->left_bytes) : zo2t_quote(q, p->right, p->right_bytes),
                         b->vocab_file);
    const size_t bytes = p->left_bytes + p->right_bytes;
    char joined_small[256], *joined = joined_small;
    if (bytes > sizeof joined_small) {
        joined = malloc(bytes);
        if (!joined)
            return zo2_error(ZO2_ERR_NOMEM, "out of memory for %s", b->file);
    }
    memcpy(joined, p->left, p->left_bytes);
    memcpy(joined + p->left_bytes, p->right, p->right_bytes);
    zo2_status s = ZO2_OK;
    int32_t result = zo2t_vocab_find(v, joined, bytes);
    zo2t_merge *m = slot_of(b, pair_of(a, c));
    if (result < 0)
        s = zo2_error(ZO2_ERR_FORMAT, "%s %s %llu: the merged token %s is not in %s", b->file, b->unit, n,
                      zo2t_quote(q, joined, bytes), b->vocab_file);
    else if (m->rank)
        s = zo2_error(ZO2_ERR_FORMAT, "%s %s %llu: the pair %s %s is there already", b->file, b->unit, n,
                      zo2t_quote(q, p->left, p->left_bytes), zo2t_quote(q2, p->right, p->right_bytes));
    else
        *m = (zo2t_merge){pair_of(a, c), (uint32_t)++b->merges, result};
    if (joined != joined_small)
        free(joined);
    return s;
}

/* Room for that many merges. */
static zo2_status begin(zo2t_bpe *b, size_t merges)
{
    b->slots = 16;
    while (b->slots / 2 < merges)
        b->slots *= 2;
    b->slot = calloc(b->slots, sizeof *b->slot);
    return b->slot ? ZO2_OK : zo2_error(ZO2_ERR_NOMEM, "out of memory for %zu merges", merges);
}

static int is_version(const char *text, size_t bytes)
{
    static const char version[] = "#version";
    return text && bytes >= sizeof version - 1 && !memcmp(text, version, sizeof version - 1);
}

zo2_status zo2t_bpe_load(zo2t_bpe *b, const zo2t_vocab *v, const char *merges, size_t bytes)
{
    *b = (zo2t_bpe){.file = "merges.txt", .unit = "line", .vocab_file = "vocab.json"};
    zo2_status s = load_bytes(b, v, b->vocab_file);
    if (s)
        return s;
    if (bytes > ZO2T_TEXT_FILE_BYTES)
        return zo2_error(ZO2_ERR_FORMAT, "merges.txt: %zu bytes, at most %zu are supported", bytes,
                         ZO2T_TEXT_FILE_BYTES);
    if (!is_version(merges, bytes))
        return zo2_error(ZO2_ERR_FORMAT, "merges.txt line 1: does not begin with \"#version\"");
    size_t lines = 1;
    for (size_t i = 0; i < bytes; i++)
        lines += merges[i] == '\n';
    s = begin(b, lines);

    uint64_t number = 0;
    for (size_t at = 0; at < bytes && !s;) {
        const char *line = merges + at, *end = memchr(line, '\n', bytes - at);
        size_t n = end ? (size_t)(end - line) : bytes - at;
        at += n + 1;
        number++;
        if (n && line[n - 1] == '\r')
            n--; /* written on Windows; a carriage return is no character of the alphabet */
        if (number == 1 || !n)
            continue;
        pair p;
        s = split_pair(b, &p, line, n, number);
        if (!s)
            s = add_merge(b, v, &p, number);
    }
    return s;
}

zo2_status zo2t_bpe_from(zo2t_bpe *b, const zo2t_vocab *v, const json_t *merges)
{
    *b = (zo2t_bpe){.file = "tokenizer.json", .unit = "merge", .vocab_file = "its vocabulary"};
    zo2_status s = load_bytes(b, v, b->file);
    if (s)
        return s;
    if (!json_is_array(merges))
        return zo2_error(ZO2_ERR_FORMAT, "tokenizer.json: \"merges\" is not a list");
    s = begin(b, json_array_size(merges));
    for (size_t i = 0; i < json_array_size(merges) && !s; i++) {
        const json_t *item = json_array_get(merges, i);
        if (is_version(json_string_value(item), json_string_length(item)))
            continue; /* the first line of merges.txt, as old files have it */
        const json_t *left = json_array_get(item, 0), *right = json_array_get(item, 1);
        pair p = {json_string_value(left), json_string_value(right), json_string_length(left),
                  json_string_length(right)};
        if (json_is_string(item))
            s = split_pair(b, &p, json_string_value(item), json_string_length(item), i + 1);
        else if (json_array_size(item) != 2 || !p.left || !p.right)
            s = zo2_error(ZO2_ERR_FORMAT, "tokenizer.json merge %zu: neither \"left right\" nor [\"left\", \"right\"]",
                          i + 1);
        if (!s)
            s = add_merge(b, v, &p, i + 1);
    }
    return s;
}

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

/* The candidate at symbol `at` and its next one; 0 if they don't merge. */
static int candidate(const zo2t_bpe *b, uint32_t at, zo2t_candidate *c)
{
    const zo2t_symbol *left = &b->symbol[at];
    if (left->next == NONE)
        return 0;
    const zo2t_symbol *right = &b->symbol[left->next];
    const zo2t_merge *m = slot_of(b, pair_of(left->id, right->id));
    if (!m->rank)
        return 0;
    *c = (zo2t_candidate){m->rank, at, left->id, right->id, m->result};
    return 1;
}

/* Merges the candidate's two symbols if they still are what they were; notes the pairs on both sides of the result. */
static zo2_status merge(zo2t_bpe *b, const zo2t_candidate *c)
{
    zo2t_symbol *left = &b->symbol[c->at];
    if (left->id != c->left || left->next == NONE)
        return ZO2_OK;
    zo2t_symbol *right = &b->symbol[left->next];
    if (right->id != c->right)
        return ZO2_OK;
    left->id = c->result;
    left->next = right->next;
    right->id = -1;
    if (left->next != NONE)
        b->symbol[left->next].previous = c->at;

    void *p = b->fresh;
    zo2_status s = zo2t_grow(&p, &b->fresh_capacity, b->fresh_n + 2, sizeof *b->fresh);
    b->fresh = p;
    if (s)
        return s;
    if (left->previous != NONE)
        b->fresh_n += (size_t)candidate(b, left->previous, &b->fresh[b->fresh_n]);
    b->fresh_n += (size_t)candidate(b, c->at, &b->fresh[b->fresh_n]);
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
    if (s)
        return s;
    for (size_t i = 0; i < bytes; i++)
        b->symbol[i] = (zo2t_symbol){b->byte_id[(uint8_t)word[i]], i ? (uint32_t)(i - 1) : NONE,
                                     i + 1 < bytes ? (uint32_t)(i + 1) : NONE};
    b->heap_n = b->fresh_n = 0;
    zo2t_candidate c;
    for (size_t i = 0; i + 1 < bytes; i++) {
        if (!candidate(b, (uint32_t)i, &c))
            continue;
        s = push(b, c);
        if (s)
            return s;
    }
    while (b->heap_n) {
        uint32_t rank = b->heap[0].rank;
        while (b->heap_n && b->heap[0].rank == rank) {
            c = pop(b);
            s = merge(b, &c);
            if (s)
                return s;
        }
        while (b->fresh_n) {
            s = push(b, b->fresh[--b->fresh_n]);
            if (s)
                return s;
        }
    }
    size_t n = 0;
    for (uint32_t i = 0; i != NONE; i = b->symbol[i].next)
        n++;
    s = zo2t_ids_reserve(out, n);
    if (s)
        return s;
    for (uint32_t i = 0; i != NONE; i = b->symbol[i].next)
        out->id[out->n++] = b->symbol[i].id;
    return ZO2_OK;
}

void zo2t_bpe_free(zo2t_bpe *b)
{
    free(b->slot);
    free(b->symbol);
    free(b->heap);
    free(b->fresh);
    *b = (zo2t_bpe){0};
}
