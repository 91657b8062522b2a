/* tokenizer.c: see tokenizer.h. */
#include "tools/text/tokenizer.h"
#include "tools/text/bytes.h"
#include "tools/text/json_file.h"
#include "tools/text/parts.h"

#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

/* Words seen lately: direct-mapped, a new word takes the place of the one there. A text is mostly words that were there
 * before; longer ones are not worth the memory. */
#define CACHE_SLOTS 32768
#define CACHE_BYTES 22
#define CACHE_IDS   10

typedef struct cached {
    uint8_t bytes, n; /* bytes 0: free */
    char word[CACHE_BYTES];
    int32_t id[CACHE_IDS];
} cached;

_Static_assert(sizeof(cached) == 64, "one cache line a word");

struct zo2t_tokenizer {
    zo2t_parts parts;
    zo2t_pattern *words;
    cached *cache; /* [CACHE_SLOTS] */
};

static zo2_status read_files(zo2t_parts *t, const zo2t_tokenizer_files *files, const zo2t_roots *roots)
{
    zo2_status s = roots->tokenizer ? zo2t_parts_from_json(t, roots->tokenizer)
                                    : zo2t_parts_from_pair(t, &files->vocab, &files->merges, roots->config);
    if (!s)
        s = zo2t_parts_special_files(t, roots);
    if (!s && roots->tokenizer)
        s = zo2t_parts_compare(t, roots->tokenizer, &files->vocab, &files->merges);
    return s;
}

static zo2_status read_parts(zo2t_parts *t, const zo2t_tokenizer_files *files)
{
    zo2t_roots roots = {0};
    zo2_status s;
    if (!(s = zo2t_json_object(&roots.tokenizer, "tokenizer.json", &files->tokenizer)) &&
        !(s = zo2t_json_object(&roots.added, "added_tokens.json", &files->added_tokens)) &&
        !(s = zo2t_json_object(&roots.config, "tokenizer_config.json", &files->tokenizer_config)) &&
        !(s = zo2t_json_object(&roots.map, "special_tokens_map.json", &files->special_tokens_map)))
        s = read_files(t, files, &roots);
    json_decref(roots.tokenizer);
    json_decref(roots.added);
    json_decref(roots.config);
    json_decref(roots.map);
    return s;
}

zo2_status zo2t_tokenizer_open(zo2t_tokenizer **out, const zo2t_tokenizer_files *files)
{
    *out = NULL;
    if (!files->tokenizer.data && (!files->vocab.data || !files->merges.data))
        return zo2_error(ZO2_ERR_NOTFOUND, "no tokenizer: neither tokenizer.json nor %s",
                         !files->vocab.data ? "vocab.json" : "merges.txt beside vocab.json");
    zo2t_tokenizer *t = calloc(1, sizeof *t);
    if (!t)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory for the tokenizer");
    zo2_status s = read_parts(&t->parts, files);
    if (!s)
        s = zo2t_pattern_compile(&t->words, t->parts.pretokenizer->pattern);
    if (!s && !(t->cache = calloc(CACHE_SLOTS, sizeof *t->cache)))
        s = zo2_error(ZO2_ERR_NOMEM, "out of memory for the tokenizer");
    if (s)
        zo2t_tokenizer_close(t);
    else
        *out = t;
    return s;
}

void zo2t_tokenizer_close(zo2t_tokenizer *t)
{
    if (!t)
        return;
    zo2t_vocab_free(&t->parts.vocab);
    zo2t_bpe_free(&t->parts.bpe);
    zo2t_specials_free(&t->parts.specials);
    zo2t_notes_free(&t->parts.notes);
    zo2t_pattern_free(t->words);
    free(t->cache);
    free(t);
}

static zo2_status encode_word(zo2t_tokenizer *t, const char *word, size_t bytes, zo2t_ids *out)
{
    if (bytes > CACHE_BYTES)
        return zo2t_bpe_word(&t->parts.bpe, word, bytes, out);
    cached *c = &t->cache[XXH3_64bits(word, bytes) & (CACHE_SLOTS - 1)];
    if (c->bytes == bytes && !memcmp(c->word, word, bytes))
        return zo2t_ids_append(out, c->id, c->n);
    size_t first = out->n;
    zo2_status s = zo2t_bpe_word(&t->parts.bpe, word, bytes, out);
    if (s || out->n - first > CACHE_IDS)
        return s;
    c->bytes = (uint8_t)bytes;
    c->n = (uint8_t)(out->n - first);
    memcpy(c->word, word, bytes);
    memcpy(c->id, out->id + first, c->n * sizeof *c->id);
    return ZO2_OK;
}

/* A piece between special tokens is a subject of its own: the pattern's lookahead sees its end. */
static zo2_status encode_words(zo2t_tokenizer *t, const char *text, size_t bytes, zo2t_ids *out)
{
    for (size_t at = 0, end; at < bytes; at = end) {
        zo2_status s = zo2t_pattern_match(t->words, text, bytes, at, &end);
        if (!s && end <= at)
            s = zo2_error(ZO2_ERR_INTERNAL, "tokenizer pattern at byte %zu: no match", at);
        if (!s)
            s = encode_word(t, text + at, end - at, out);
        if (s)
            return s;
    }
    return ZO2_OK;
}

/* The tokens that a pass finds, and what lies between them by the next pass; after the last one it is words. */
static zo2_status encode_piece(zo2t_tokenizer *t, size_t pass, const char *text, size_t bytes, zo2t_ids *out)
{
    if (pass == ZO2T_SPECIAL_PASSES)
        return encode_words(t, text, bytes, out);
    zo2t_special_scan scan = {.specials = &t->parts.specials, .pass = pass, .text = text, .bytes = bytes};
    for (;;) {
        const size_t done = scan.done;
        size_t start = bytes;
        const zo2t_special *special;
        zo2_status s = zo2t_specials_next(&scan, &special, &start);
        if (!s && start > done)
            s = encode_piece(t, pass + 1, text + done, start - done, out);
        if (s || !special)
            return s;
        s = zo2t_ids_append(out, &special->id, 1);
        if (s)
            return s;
    }
}

zo2_status zo2t_encode(zo2t_tokenizer *t, const char *text, size_t bytes, int32_t bos, zo2t_ids *out)
{
    if (bytes > INT32_MAX)
        return zo2_error(ZO2_ERR_ARG, "a text of %zu bytes is too long", bytes);
    size_t valid = zo2t_utf8_check(text, bytes);
    if (valid != bytes)
        return zo2_error(ZO2_ERR_FORMAT, "not UTF-8 at byte %zu of the text", valid);
    size_t first = out->n;
    zo2_status s = bos >= 0 ? zo2t_ids_append(out, &bos, 1) : ZO2_OK;
    if (!s)
        s = encode_piece(t, 0, text, bytes, out);
    if (s)
        out->n = first;
    return s;
}

zo2_status zo2t_decode(const zo2t_tokenizer *t, const int32_t *ids, size_t n, char **text, size_t *bytes)
{
    *text = NULL;
    if (bytes)
        *bytes = 0;
    size_t total = 0, length;
    for (size_t i = 0; i < n; i++) {
        if (!zo2t_vocab_text(&t->parts.vocab, ids[i], &length))
            return zo2_error(ZO2_ERR_ARG, "token id %d is not in the vocabulary", ids[i]);
        if (length > SIZE_MAX - 1 - total)
            return zo2_error(ZO2_ERR_NOMEM, "too many tokens");
        total += length; /* a character of two bytes may become one */
    }
    char *to = malloc(total + 1);
    if (!to)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory for a text of %zu bytes", total);
    size_t w = 0;
    for (size_t i = 0; i < n; i++) {
        const char *from = zo2t_vocab_text(&t->parts.vocab, ids[i], &length);
        size_t start = w;
        int mapped = !zo2t_specials_has(&t->parts.specials, ids[i]);
        for (size_t at = 0; at < length && mapped;) {
            int b = zo2t_char_byte(zo2t_utf8_next(from, &at));
            mapped = b >= 0;
            if (mapped)
                to[w++] = (char)b;
        }
        if (!mapped) { /* a special or added token, or one that no merge can make: its own text */
            memcpy(to + start, from, length);
            w = start + length;
        }
    }
    to[w] = '\0';
    *text = to;
    if (bytes)
        *bytes = w;
    return ZO2_OK;
}

int32_t zo2t_token_id(const zo2t_tokenizer *t, const char *token)
{
    return zo2t_vocab_find(&t->parts.vocab, token, strlen(token));
}

size_t zo2t_tokenizer_size(const zo2t_tokenizer *t)
{
    return t->parts.vocab.n;
}

int32_t zo2t_tokenizer_max_id(const zo2t_tokenizer *t)
{
    return t->parts.vocab.token[t->parts.vocab.by_id[t->parts.vocab.n - 1]].id;
}

int32_t zo2t_tokenizer_bos(const zo2t_tokenizer *t)
{
    return t->parts.bos;
}

const char *zo2t_tokenizer_note(const zo2t_tokenizer *t, size_t i)
{
    return i < t->parts.notes.n ? t->parts.notes.text[i] : NULL;
}
