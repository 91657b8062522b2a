/* tokenizer.c: see tokenizer.h. */
#include "tools/text/tokenizer.h"
#include "tools/text/bytes.h"
#include "tools/text/json_file.h"
#include "tools/text/tokenizer_internal.h"

#include <stdlib.h>
#include <string.h>

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
    for (size_t i = 0; i < t->parts.pretokenizer.n && !s; i++)
        s = zo2t_pattern_compile(&t->words[i], t->parts.pretokenizer.step[i]->pattern);
    if (!s && !(t->cache = calloc(ZO2T_CACHE_SLOTS, sizeof *t->cache)))
        s = zo2_error(ZO2_ERR_NOMEM, "out of memory for the tokenizer");
    t->spaced = t->parts.pretokenizer.metaspace || zo2t_normalizer_makes(&t->parts.normalizer, ZO2T_META);
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
    zo2t_parts_free(&t->parts);
    for (size_t i = 0; i < ZO2T_WORD_STEPS; i++)
        zo2t_pattern_free(t->words[i]);
    free(t->spaces);
    free(t->cache);
    free(t);
}

/* ---- back to text ------------------------------------------------------------------------------------------------ */

static size_t decode_as_it_is(const char *from, size_t bytes, char *to)
{
    memcpy(to, from, bytes);
    return bytes;
}

/* GPT-2's alphabet. A token that no merge can make, with other characters, is its own text. */
static size_t decode_bytes(const char *from, size_t bytes, char *to)
{
    size_t n = 0;
    for (size_t at = 0; at < bytes;) {
        const int b = zo2t_char_byte(zo2t_utf8_next(from, &at));
        if (b < 0)
            return decode_as_it_is(from, bytes, to);
        to[n++] = (char)b;
    }
    return n;
}

/* "<0x0A>" and ZO2T_META. */
static size_t decode_spaces(const zo2t_tokenizer *t, const char *from, size_t bytes, char *to)
{
    static const char meta[] = ZO2T_META;
    enum { META = sizeof meta - 1, BYTE_TOKEN = sizeof "<0x0A>" - 1 };
    if (t->parts.bpe.form.byte_fallback && bytes == BYTE_TOKEN && !memcmp(from, "<0x", 3) && from[5] == '>') {
        const char digits[3] = {from[3], from[4]};
        to[0] = (char)strtol(digits, NULL, 16);
        return 1;
    }
    size_t n = 0;
    for (size_t at = 0; at < bytes;) {
        const bool space = t->spaced && bytes - at >= META && !memcmp(from + at, meta, META);
        to[n++] = space ? ' ' : from[at];
        at += space ? META : 1;
    }
    return n;
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
        total += length; /* or fewer: characters become bytes and spaces */
    }
    char *to = malloc(total + 1);
    if (!to)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory for a text of %zu bytes", total);
    size_t w = 0;
    for (size_t i = 0; i < n; i++) {
        const char *from = zo2t_vocab_text(&t->parts.vocab, ids[i], &length);
        if (zo2t_specials_has(&t->parts.specials, ids[i]))
            w += decode_as_it_is(from, length, to + w);
        else
            w += t->parts.bpe.form.bytes ? decode_bytes(from, length, to + w) : decode_spaces(t, from, length, to + w);
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

void zo2t_tokenizer_get_info(const zo2t_tokenizer *t, zo2t_tokenizer_info *out)
{
    const zo2t_parts *p = &t->parts;
    const zo2t_bpe_form *form = &p->bpe.form;
    *out = (zo2t_tokenizer_info){
        .kind = form->bytes ? "byte-level BPE" : "BPE of characters",
        .file = strcmp(p->bpe.file, "merges.txt") ? "tokenizer.json" : "vocab.json",
        .tokens = p->vocab.n,
        .added = p->vocab.n - p->model_tokens,
        .others = form->bytes || form->byte_fallback ? "bytes" : "unknown token",
    };
    zo2t_normalizer_name(&p->normalizer, out->normalizer, sizeof out->normalizer);
    zo2t_pretokenizer_name(&p->pretokenizer, out->pretokenizer, sizeof out->pretokenizer);
}

const char *zo2t_tokenizer_note(const zo2t_tokenizer *t, size_t i)
{
    return i < t->parts.notes.n ? t->parts.notes.text[i] : NULL;
}
