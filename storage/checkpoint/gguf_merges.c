/* gguf_merges.c: merges from the scores of a SentencePiece vocabulary. SentencePiece joins the two neighbours whose joined piece has
 * the best score; a list of merges in the order of these scores does the same. */
#include "storage/checkpoint/gguf_meta.h"
#include "storage/checkpoint/gguf_tokenizer.h"

#include <stdlib.h>
#include <string.h>

#define MAX_PIECE 512u /* bytes; SentencePiece's have 16 characters at most */

/* "left right" makes piece `whole`. */
typedef struct merge {
    uint64_t whole, left, right; /* tokens */
    uint32_t left_chars, right_chars;
    float score;
} merge;

typedef struct merges {
    merge *at;
    uint64_t n, cap;
} merges;

typedef struct sorted_piece {
    zo2_gguf_text text;
    uint64_t id;
} sorted_piece;

static int by_text(const void *a, const void *b)
{
    const zo2_gguf_text x = ((const sorted_piece *)a)->text, y = ((const sorted_piece *)b)->text;
    int order = memcmp(x.at, y.at, x.n < y.n ? x.n : y.n);
    return order ? order : (x.n > y.n) - (x.n < y.n);
}

/* Best score first; of equal ones longer left parts, then longer right ones, then by the ids of whole, left and right. */
static int best_first(const void *a, const void *b)
{
    const merge *x = a, *y = b;
    if (x->score != y->score)
        return (x->score < y->score) - (x->score > y->score);
    if (x->left_chars != y->left_chars)
        return (x->left_chars < y->left_chars) - (x->left_chars > y->left_chars);
    if (x->right_chars != y->right_chars)
        return (x->right_chars < y->right_chars) - (x->right_chars > y->right_chars);
    if (x->whole != y->whole)
        return (x->whole > y->whole) - (x->whole < y->whole);
    return x->left != y->left ? (x->left > y->left) - (x->left < y->left)
                              : (x->right > y->right) - (x->right < y->right);
}

static uint32_t count_chars(const char *at, size_t n)
{
    uint32_t chars = 0;
    for (size_t i = 0; i < n; i++)
        chars += ((unsigned char)at[i] & 0xC0) != 0x80;
    return chars;
}

static int add(merges *m, const merge *one)
{
    if (m->n == m->cap) {
        const uint64_t cap = m->cap ? 2 * m->cap : 1024;
        merge *grown = realloc(m->at, (size_t)cap * sizeof *grown);
        if (!grown)
            return 0;
        m->at = grown;
        m->cap = cap;
    }
    m->at[m->n++] = *one;
    return 1;
}

static const sorted_piece *find(const sorted_piece *all, uint64_t n, const char *at, size_t bytes)
{
    const sorted_piece wanted = {.text = {at, bytes}};
    return n ? bsearch(&wanted, all, (size_t)n, sizeof *all, by_text) : NULL;
}

/* All ways to make a piece of two others. */
static int split_piece(merges *m, const sorted_piece *all, uint64_t n, const sorted_piece *p, float score)
{
    const char *at = p->text.at;
    if (p->text.n > MAX_PIECE)
        return 1;
    for (size_t i = 1; i < p->text.n; i++) {
        if (((unsigned char)at[i] & 0xC0) == 0x80)
            continue;
        const sorted_piece *left = find(all, n, at, i), *right = left ? find(all, n, at + i, p->text.n - i) : NULL;
        if (!right)
            continue;
        const merge one = {p->id, left->id, right->id, count_chars(at, i), count_chars(at + i, p->text.n - i), score};
        if (!add(m, &one))
            return 0;
    }
    return 1;
}

static json_t *as_json(const merges *m, const zo2_gguf_text *tokens)
{
    json_t *out = json_array();
    int bad = !out;
    for (uint64_t i = 0; i < m->n && !bad; i++) {
        const zo2_gguf_text left = tokens[m->at[i].left], right = tokens[m->at[i].right];
        bad = json_array_append_new(
            out, json_pack("[o, o]", json_stringn(left.at, left.n), json_stringn(right.at, right.n)));
    }
    if (!bad)
        return out;
    json_decref(out);
    return NULL;
}

json_t *zo2_gguf_merges(const zo2_gguf_text *tokens, const float *scores, const int *types, uint64_t n)
{
    merges m = {0};
    uint64_t pieces = 0;
    sorted_piece *all = calloc((size_t)n + 1, sizeof *all);
    int fine = all != NULL;
    for (uint64_t i = 0; i < n && fine; i++)
        if (types[i] == ZO2_GGUF_NORMAL)
            all[pieces++] = (sorted_piece){tokens[i], i};
    if (fine)
        qsort(all, (size_t)pieces, sizeof *all, by_text);
    for (uint64_t i = 0; i < pieces && fine; i++)
        fine = split_piece(&m, all, pieces, &all[i], scores[all[i].id]);
    if (fine && m.n)
        qsort(m.at, (size_t)m.n, sizeof *m.at, best_first);
    json_t *out = fine ? as_json(&m, tokens) : NULL;
    free(all);
    free(m.at);
    return out;
}
