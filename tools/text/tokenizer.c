/* tokenizer.c: see tokenizer.h. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "tools/text/tokenizer.h"
#include "tools/text/bpe.h"
#include "tools/text/bytes.h"
#include "tools/text/special.h"

#include <pcre2.h>
#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

/* GPT-2's pattern. It says \s for Unicode's White_Space; PCRE2's \s has U+180E too, so the property is spelled out. */
#define SPACE "\\t-\\r\\x{85}\\p{Z}"
static const char pattern[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^" SPACE "\\p{L}\\p{N}]+|[" SPACE "]+(?![^" SPACE "])|[" SPACE "]+";

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
    zo2t_vocab vocab;
    zo2t_bpe bpe;
    zo2t_specials specials;
    pcre2_code *code;
    pcre2_match_data *match;
    cached *cache; /* [CACHE_SLOTS] */
};

static zo2_status compile(zo2t_tokenizer *t)
{
    int error;
    PCRE2_SIZE offset;
    t->code = pcre2_compile((PCRE2_SPTR)pattern, sizeof pattern - 1, PCRE2_UTF | PCRE2_UCP | PCRE2_ANCHORED, &error,
                            &offset, NULL);
    if (!t->code) {
        PCRE2_UCHAR text[128];
        pcre2_get_error_message(error, text, sizeof text);
        return zo2_error(ZO2_ERR_INTERNAL, "tokenizer pattern, place %zu: %s", (size_t)offset, (const char *)text);
    }
    pcre2_jit_compile(t->code, PCRE2_JIT_COMPLETE); /* where there is no JIT, pcre2_match() interprets */
    t->match = pcre2_match_data_create(1, NULL);
    return t->match ? ZO2_OK : zo2_error(ZO2_ERR_NOMEM, "out of memory for the tokenizer");
}

zo2_status zo2t_tokenizer_open(zo2t_tokenizer **out, const zo2t_tokenizer_files *files)
{
    *out = NULL;
    if (!files->vocab.data || !files->merges.data)
        return zo2_error(ZO2_ERR_NOTFOUND, "no tokenizer: %s is missing",
                         files->vocab.data ? "merges.txt" : "vocab.json");
    zo2t_tokenizer *t = calloc(1, sizeof *t);
    if (!t)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory for the tokenizer");
    zo2_status s = zo2t_vocab_load(&t->vocab, files->vocab.data, files->vocab.bytes);
    if (!s)
        s = zo2t_bpe_load(&t->bpe, &t->vocab, files->merges.data, files->merges.bytes);
    if (!s)
        s = zo2t_specials_load(&t->specials, &t->vocab, files);
    if (!s)
        s = compile(t);
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
    zo2t_vocab_free(&t->vocab);
    zo2t_bpe_free(&t->bpe);
    zo2t_specials_free(&t->specials);
    pcre2_match_data_free(t->match);
    pcre2_code_free(t->code);
    free(t->cache);
    free(t);
}

static zo2_status encode_word(zo2t_tokenizer *t, const char *word, size_t bytes, zo2t_ids *out)
{
    if (bytes > CACHE_BYTES)
        return zo2t_bpe_word(&t->bpe, word, bytes, out);
    cached *c = &t->cache[XXH3_64bits(word, bytes) & (CACHE_SLOTS - 1)];
    if (c->bytes == bytes && !memcmp(c->word, word, bytes))
        return zo2t_ids_append(out, c->id, c->n);
    size_t first = out->n;
    zo2_status s = zo2t_bpe_word(&t->bpe, word, bytes, out);
    if (s || out->n - first > CACHE_IDS)
        return s;
    c->bytes = (uint8_t)bytes;
    c->n = (uint8_t)(out->n - first);
    memcpy(c->word, word, bytes);
    memcpy(c->id, out->id + first, c->n * sizeof *c->id);
    return ZO2_OK;
}

/* A piece between special tokens is a subject of its own: the pattern's lookahead sees its end. */
static zo2_status encode_piece(zo2t_tokenizer *t, const char *text, size_t bytes, zo2t_ids *out)
{
    const PCRE2_SIZE *place = pcre2_get_ovector_pointer(t->match);
    for (size_t at = 0; at < bytes;) {
        int n = pcre2_match(t->code, (PCRE2_SPTR)text, bytes, at, PCRE2_NO_UTF_CHECK, t->match, NULL);
        if (n < 0 || place[1] <= at) {
            PCRE2_UCHAR why[128] = "empty match";
            if (n < 0)
                pcre2_get_error_message(n, why, sizeof why);
            return zo2_error(ZO2_ERR_INTERNAL, "tokenizer pattern at byte %zu: %s", at, (const char *)why);
        }
        zo2_status s = encode_word(t, text + at, place[1] - at, out);
        if (s)
            return s;
        at = place[1];
    }
    return ZO2_OK;
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
    for (size_t at = 0; at < bytes && !s;) {
        size_t start;
        const zo2t_special *special = zo2t_specials_find(&t->specials, text, bytes, at, &start);
        s = encode_piece(t, text + at, start - at, out);
        if (s || !special)
            break;
        s = zo2t_ids_append(out, &special->id, 1);
        at = start + special->bytes;
    }
    if (s)
        out->n = first;
    return s;
}

static int is_special(const zo2t_tokenizer *t, int32_t id)
{
    for (size_t i = 0; i < t->specials.n; i++) {
        if (t->specials.token[i].id == id)
            return 1;
    }
    return 0;
}

zo2_status zo2t_decode(const zo2t_tokenizer *t, const int32_t *ids, size_t n, char **text, size_t *bytes)
{
    *text = NULL;
    if (bytes)
        *bytes = 0;
    size_t total = 0, length;
    for (size_t i = 0; i < n; i++) {
        if (!zo2t_vocab_text(&t->vocab, ids[i], &length))
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
        const char *from = zo2t_vocab_text(&t->vocab, ids[i], &length);
        size_t start = w;
        int mapped = !is_special(t, ids[i]);
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
    return zo2t_vocab_find(&t->vocab, token, strlen(token));
}

size_t zo2t_tokenizer_size(const zo2t_tokenizer *t)
{
    return t->vocab.n;
}

int32_t zo2t_tokenizer_max_id(const zo2t_tokenizer *t)
{
    return t->vocab.token[t->vocab.by_id[t->vocab.n - 1]].id;
}
