/* bpe_load.c: the merges of a vocabulary and its first symbols, from merges.txt or tokenizer.json. */
#include "tools/text/bpe.h"
#include "tools/text/bytes.h"
#include "tools/text/json_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t pair_of(int32_t left, int32_t right)
{
    return (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
}

/* Where a pair is, or would be. */
static zo2t_merge *slot_of(const zo2t_bpe *b, uint64_t pair)
{
    uint64_t h = pair * 0x9E3779B97F4A7C15u;
    size_t at = (size_t)(h ^ h >> 32) & (b->slots - 1);
    while (b->slot[at].rank && b->slot[at].pair != pair)
        at = (at + 1) & (b->slots - 1);
    return &b->slot[at];
}

const zo2t_merge *zo2t_bpe_merge(const zo2t_bpe *b, int32_t left, int32_t right)
{
    const zo2t_merge *m = slot_of(b, pair_of(left, right));
    return m->rank ? m : NULL;
}

/* ---- the first symbols ------------------------------------------------------------------------------------------- */

/* Bytes that no text that people write does without. */
static int is_common(int byte)
{
    return byte == '\n' || (byte >= ' ' && byte <= '~');
}

/* Vocabularies that were trained without the whole alphabet lack bytes that the texts didn't have. */
static zo2_status find_alphabet(zo2t_bpe *b, const char *file)
{
    for (int i = 0; i < 256; i++) {
        char text[2];
        size_t n = zo2t_utf8_put2(zo2t_byte_char((uint8_t)i), text);
        b->byte_id[i] = zo2t_vocab_find(b->vocab, text, n);
        if (b->byte_id[i] < 0 && b->form.may_lack && !is_common(i))
            b->lacking++;
        else if (b->byte_id[i] < 0)
            return zo2_error(ZO2_ERR_FORMAT, "%s: no token \"%.*s\" for byte 0x%02X: not a byte-level vocabulary", file,
                             (int)n, text, i);
    }
    return ZO2_OK;
}

static zo2_status find_fallback(zo2t_bpe *b)
{
    for (int i = 0; i < 256; i++) {
        char text[8];
        const int n = snprintf(text, sizeof text, "<0x%02X>", i);
        b->byte_id[i] = zo2t_vocab_find(b->vocab, text, (size_t)n);
        if (b->byte_id[i] < 0)
            return zo2_error(ZO2_ERR_FORMAT, "%s: \"byte_fallback\", but no token \"%s\"", b->file, text);
    }
    return ZO2_OK;
}

static zo2_status find_unknown(zo2t_bpe *b)
{
    char q[ZO2T_QUOTE_BYTES];
    const char *text = b->form.unknown;
    if (!text)
        return zo2_error(
            ZO2_ERR_UNSUPPORTED,
            "%s: a model of characters with neither \"byte_fallback\" nor \"unk_token\" loses those that its "
            "vocabulary lacks, and is not supported",
            b->file);
    b->unknown_id = zo2t_vocab_find(b->vocab, text, strlen(text));
    return b->unknown_id >= 0 ? ZO2_OK
                              : zo2_error(ZO2_ERR_FORMAT, "%s: the \"unk_token\" %s is not in its vocabulary", b->file,
                                          zo2t_quote(q, text, strlen(text)));
}

/* `file` is the vocabulary's. */
static zo2_status find_symbols(zo2t_bpe *b, const char *file)
{
    b->unknown_id = -1;
    for (size_t i = 0; i < b->tokens; i++)
        b->longest = b->vocab->token[i].bytes > b->longest ? b->vocab->token[i].bytes : b->longest;
    if (b->form.bytes)
        return find_alphabet(b, file);
    return b->form.byte_fallback ? find_fallback(b) : find_unknown(b);
}

/* ---- merges ------------------------------------------------------------------------------------------------------ */

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
    *b = (zo2t_bpe){.file = "merges.txt", .unit = "line", .vocab_file = "vocab.json", .form = {.bytes = true}};
    b->vocab = v;
    b->tokens = v->n;
    zo2_status s = find_symbols(b, b->vocab_file);
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

zo2_status zo2t_bpe_from(zo2t_bpe *b, const zo2t_vocab *v, const json_t *merges, const zo2t_bpe_form *form)
{
    *b = (zo2t_bpe){.file = "tokenizer.json", .unit = "merge", .vocab_file = "its vocabulary", .form = *form};
    b->vocab = v;
    b->tokens = v->n;
    zo2_status s = find_symbols(b, b->file);
    b->form.unknown = NULL; /* the caller's */
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
