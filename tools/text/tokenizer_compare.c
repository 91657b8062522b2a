/* tokenizer_compare.c: does a folder's tokenizer.json say the same as its vocab.json and merges.txt? Programs differ in which they
 * read, so where they disagree the same text has different ids. */
#include "tools/text/bytes.h"
#include "tools/text/json_file.h"
#include "tools/text/parts.h"

#include <stdio.h>
#include <string.h>

#define USED "; tokenizer.json is used, as in Hugging Face's tokenizers"

/* Tokens of `a`, special ones apart, that `b` lacks or has with another id; *first is the first of them. vocab.json may or may not have
 * added tokens. */
static size_t differing(const zo2t_parts *parts, const zo2t_vocab *a, size_t n, const zo2t_vocab *b,
                        const zo2t_token **first)
{
    size_t count = 0;
    for (size_t i = 0; i < n; i++) {
        const zo2t_token *t = &a->token[i];
        int32_t there = zo2t_vocab_find(b, a->pool + t->at, t->bytes);
        if (there == t->id || (there < 0 && zo2t_specials_has(&parts->specials, t->id)))
            continue;
        if (!count++)
            *first = t;
    }
    return count;
}

static zo2_status compare_tokens(zo2t_parts *t, const zo2t_file *file)
{
    char q[ZO2T_QUOTE_BYTES], there[32];
    const zo2t_token *first = NULL;
    zo2t_vocab pair;
    zo2_status s = zo2t_vocab_load(&pair, file->data, file->bytes);
    if (s) {
        zo2t_vocab_free(&pair);
        return s == ZO2_ERR_NOMEM ? s : zo2t_notes_add(&t->notes, "%s" USED, zo2_last_error());
    }
    const zo2t_vocab *of = &pair, *other = &t->vocab;
    size_t here = differing(t, &pair, pair.n, &t->vocab, &first);
    const zo2t_token *only = NULL;
    size_t lacking = differing(t, &t->vocab, t->model_tokens, &pair, &only);
    if (!here && lacking) {
        first = only;
        of = &t->vocab;
        other = &pair;
    }
    if (first) {
        const char *text = of->pool + first->at;
        int32_t id = zo2t_vocab_find(other, text, first->bytes);
        snprintf(there, sizeof there, id < 0 ? "none" : "%d", id);
        s = zo2t_notes_add(
            &t->notes,
            "vocab.json and tokenizer.json disagree about %zu token%s, the first of them %s: id %d in %s, %s in "
            "the other file" USED,
            here > lacking ? here : lacking, (here > lacking ? here : lacking) == 1 ? "" : "s",
            zo2t_quote(q, text, first->bytes), first->id, of == &pair ? "vocab.json" : "tokenizer.json", there);
    }
    zo2t_vocab_free(&pair);
    return s;
}

/* The next line of merges.txt that holds a merge; its end is left out. NULL: none is left. */
static const char *next_line(const zo2t_file *file, size_t *at, size_t *bytes)
{
    while (*at < file->bytes) {
        const char *line = file->data + *at, *end = memchr(line, '\n', file->bytes - *at);
        const bool version = *at == 0;
        size_t n = end ? (size_t)(end - line) : file->bytes - *at;
        *at += n + 1;
        n -= n && line[n - 1] == '\r';
        if (n && !version) {
            *bytes = n;
            return line;
        }
    }
    return NULL;
}

static bool same_merge(const json_t *item, const char *line, size_t bytes)
{
    if (json_is_string(item))
        return json_string_length(item) == bytes && !memcmp(json_string_value(item), line, bytes);
    const json_t *left = json_array_get(item, 0), *right = json_array_get(item, 1);
    const size_t n = json_string_length(left), m = json_string_length(right);
    return n + 1 + m == bytes && !memcmp(json_string_value(left), line, n) && line[n] == ' ' &&
           !memcmp(json_string_value(right), line + n + 1, m);
}

static zo2_status compare_merges(zo2t_parts *t, const json_t *merges, const zo2t_file *file)
{
    size_t at = 0, bytes, i = 0;
    const char *line;
    while ((line = next_line(file, &at, &bytes)) && i < json_array_size(merges) &&
           same_merge(json_array_get(merges, i), line, bytes))
        i++;
    if (!line && i == json_array_size(merges))
        return ZO2_OK;
    return zo2t_notes_add(&t->notes, "merges.txt and tokenizer.json disagree from merge %zu on%s" USED, i + 1,
                          !line                          ? ", where merges.txt ends"
                          : i == json_array_size(merges) ? ", where the list in tokenizer.json ends"
                                                         : "");
}

zo2_status zo2t_parts_compare(zo2t_parts *t, const json_t *tokenizer, const zo2t_file *vocab, const zo2t_file *merges)
{
    zo2_status s = vocab->data ? compare_tokens(t, vocab) : ZO2_OK;
    if (!s && merges->data)
        s = compare_merges(t, json_object_get(json_object_get(tokenizer, "model"), "merges"), merges);
    return s;
}
