/* gguf_tokenizer_write.c: a tokenizer.json as GGUF's metadata, as llama.cpp's converter writes it. */
#include "storage/checkpoint/gguf_tokenizer.h"
#include "storage/checkpoint/gguf_write.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define META       "\xE2\x96\x81"
#define NAME_BYTES 24
#define WORST      (-1e6f) /* score of a piece that no merge makes: no text is to get it by joining others */

typedef struct job {
    zo2_gguf_keys *k;
    const zo2_gguf_texts *t;
    const char *what;
    const json_t *model;
    int sentencepiece;
    unsigned otherwise;
    const char **tokens;       /* [n] */
    uint32_t *types;           /* [n] */
    float *scores;             /* [n] */
    char (*names)[NAME_BYTES]; /* [n] of those that the tokenizer hasn't got */
} job;

static zo2_status unsupported(const job *j, const char *of)
{
    return zo2_error(
        ZO2_ERR_UNSUPPORTED,
        "%s: its tokenizer.json has %s, for which GGUF has no name that this version knows: export a directory, and "
        "have llama.cpp convert it",
        j->what, of);
}

static int is_type(const json_t *v, const char *type)
{
    const char *is = json_string_value(json_object_get(v, "type"));
    return is && strcmp(is, type) == 0;
}

/* Step i of something that is one step or a Sequence of them; NULL. */
static const json_t *step(const json_t *v, const char *list, size_t i)
{
    return is_type(v, "Sequence")        ? json_array_get(json_object_get(v, list), i)
           : i == 0 && json_is_object(v) ? v
                                         : NULL;
}

/* ---- how texts are split -------------------------------------------------------------------------------------------------- */

static zo2_status find_pre(const job *j, const zo2_gguf_pre **out)
{
    const json_t *normalizer = json_object_get(j->t->tokenizer, "normalizer"),
                 *pre = json_object_get(j->t->tokenizer, "pre_tokenizer");
    const json_t *form = step(normalizer, "normalizers", 0), *one;
    const char *regex = NULL;
    int digits = 0, bytes = 0;
    if (form && (!is_type(form, "NFC") || step(normalizer, "normalizers", 1)))
        return unsupported(j, "another normalizer than NFC");
    for (size_t i = 0; (one = step(pre, "pretokenizers", i)); i++) {
        if (is_type(one, "Split") && !regex && !digits)
            regex = json_string_value(json_object_get(json_object_get(one, "pattern"), "Regex"));
        else if (is_type(one, "Digits") && !regex && json_is_true(json_object_get(one, "individual_digits")))
            digits = 1;
        else if (is_type(one, "ByteLevel") && !regex == !json_is_false(json_object_get(one, "use_regex")))
            bytes = 1;
        else
            return unsupported(j, "a pre_tokenizer");
    }
    *out =
        bytes ? zo2_gguf_pre_find(regex, digits, json_is_true(json_object_get(j->model, "ignore_merges")), form != NULL)
              : NULL;
    return *out ? ZO2_OK : unsupported(j, "a pre_tokenizer");
}

static const char *chat_template(const job *j)
{
    return j->t->chat ? j->t->chat : json_string_value(json_object_get(j->t->config, "chat_template"));
}

/* SentencePiece: spaces are characters, and perhaps one is put in front. */
static zo2_status find_prefix(job *j, int *prefix)
{
    const json_t *normalizer = json_object_get(j->t->tokenizer, "normalizer"),
                 *pre = json_object_get(j->t->tokenizer, "pre_tokenizer");
    const json_t *one;
    int spaces = 0;
    *prefix = 0;
    for (size_t i = 0; (one = step(normalizer, "normalizers", i)); i++) {
        const char *content = json_string_value(json_object_get(one, "content"));
        if (is_type(one, "Prepend"))
            *prefix = 1;
        else if (is_type(one, "Replace") && content && strcmp(content, META) == 0)
            spaces = 1;
        else
            return unsupported(j, "a normalizer");
    }
    if (is_type(pre, "Metaspace")) {
        const char *scheme = json_string_value(json_object_get(pre, "prepend_scheme"));
        if (scheme && strcmp(scheme, "first") == 0 && chat_template(j))
            j->otherwise |= ZO2_GGUF_MORE_SPACES;
        *prefix = scheme ? strcmp(scheme, "never") != 0 : !json_is_false(json_object_get(pre, "add_prefix_space"));
        spaces = 1;
    }
    return spaces ? ZO2_OK : unsupported(j, "neither a normalizer nor a pre_tokenizer for spaces");
}

/* ---- tokens ----------------------------------------------------------------------------------------------------------------- */

/* The token with an id, of type `type`. */
static zo2_status put_token(job *j, const char *text, const json_t *id, uint32_t type)
{
    const json_int_t n = json_integer_value(id);
    if (!json_is_integer(id) || n < 0 || n >= j->t->n)
        return zo2_error(
            ZO2_ERR_UNSUPPORTED,
            "%s: its tokenizer.json has the token %.100s with an id beyond the model's vocabulary of %" PRIu32, j->what,
            text ? text : "?", j->t->n);
    j->tokens[n] = text;
    j->types[n] = type;
    return ZO2_OK;
}

static uint32_t type_of(const job *j, const char *text)
{
    const char *unknown = json_string_value(json_object_get(j->model, "unk_token"));
    unsigned byte;
    char end;
    if (!j->sentencepiece)
        return ZO2_GGUF_NORMAL;
    if (unknown && strcmp(text, unknown) == 0)
        return ZO2_GGUF_UNKNOWN;
    return strlen(text) == 6 && sscanf(text, "<0x%2X%c", &byte, &end) == 2 && end == '>' ? ZO2_GGUF_BYTE
                                                                                         : ZO2_GGUF_NORMAL;
}

/* llama.cpp's converter takes tokens of this look for control tokens, whatever the tokenizer says; so do its tables of names. */
static int looks_special(const char *text)
{
    const size_t n = strlen(text);
    return n > 4 && strncmp(text, "<|", 2) == 0 && strcmp(text + n - 2, "|>") == 0;
}

static uint32_t added_type(const job *j, const json_t *token)
{
    const char *text = json_string_value(json_object_get(token, "content"));
    if (!text || type_of(j, text) == ZO2_GGUF_UNKNOWN)
        return ZO2_GGUF_UNKNOWN;
    return json_is_true(json_object_get(token, "special")) || looks_special(text) ? ZO2_GGUF_CONTROL
                                                                                  : ZO2_GGUF_USER_DEFINED;
}

static zo2_status list_tokens(job *j)
{
    const json_t *added = json_object_get(j->t->tokenizer, "added_tokens"), *one;
    json_t *vocab = json_object_get(j->model, "vocab"), *id;
    const char *text;
    size_t i;
    zo2_status s = ZO2_OK;
    for (i = 0; i < j->t->n; i++) {
        snprintf(j->names[i], sizeof j->names[i], "[PAD%zu]", i);
        j->tokens[i] = j->names[i];
        j->types[i] = ZO2_GGUF_UNUSED;
    }
    json_object_foreach(vocab, text, id) if (!s) s = put_token(j, text, id, type_of(j, text));
    json_array_foreach(added, i, one)
    {
        text = json_string_value(json_object_get(one, "content"));
        if (!s)
            s = put_token(j, text, json_object_get(one, "id"), added_type(j, one));
        if (!s && !text)
            s = unsupported(j, "an added token without text");
    }
    return s;
}

/* The two halves of merge i; 0 if it has none. */
static int halves(const json_t *merge, const char **left, size_t *n, const char **right)
{
    const char *text = json_string_value(merge), *space = text ? strchr(text, ' ') : NULL;
    *left = text ? text : json_string_value(json_array_get(merge, 0));
    *right = text ? (space ? space + 1 : NULL) : json_string_value(json_array_get(merge, 1));
    if (!*left || !*right)
        return 0;
    *n = space ? (size_t)(space - text) : strlen(*left);
    return 1;
}

static zo2_status put_merges(job *j)
{
    const json_t *merges = json_object_get(j->model, "merges"), *one;
    const size_t n = json_array_size(merges);
    char **texts = calloc(n + 1, sizeof *texts);
    const char *left, *right;
    size_t i, bytes;
    zo2_status s = texts ? ZO2_OK : zo2_error(ZO2_ERR_NOMEM, "out of memory for the merges of %s", j->what);
    json_array_foreach(merges, i, one)
    {
        if (s)
            break;
        if (!halves(one, &left, &bytes, &right))
            s = unsupported(j, "a merge that isn't two tokens");
        else if (asprintf(&texts[i], "%.*s %s", (int)bytes, left, right) < 0) {
            texts[i] = NULL;
            s = zo2_error(ZO2_ERR_NOMEM, "out of memory for the merges of %s", j->what);
        }
    }
    if (!s)
        zo2_gguf_put_texts(j->k, "tokenizer.ggml.merges", (const char *const *)texts, n);
    for (i = 0; texts && i < n; i++)
        free(texts[i]);
    free(texts);
    return s;
}

/* SentencePiece joins by scores: tokens rank by the first merge that makes them. */
static zo2_status put_scores(job *j)
{
    const json_t *merges = json_object_get(j->model, "merges"), *vocab = json_object_get(j->model, "vocab"), *one;
    const char *left, *right;
    size_t i, bytes, rank = 0;
    for (i = 0; i < j->t->n; i++)
        j->scores[i] = j->types[i] == ZO2_GGUF_NORMAL ? WORST : 0;
    json_array_foreach(merges, i, one)
    {
        char *joined = NULL;
        if (!halves(one, &left, &bytes, &right))
            return unsupported(j, "a merge that isn't two tokens");
        if (asprintf(&joined, "%.*s%s", (int)bytes, left, right) < 0)
            return zo2_error(ZO2_ERR_NOMEM, "out of memory for the scores of %s", j->what);
        const json_t *id = json_object_get(vocab, joined);
        free(joined);
        const json_int_t n = json_integer_value(id);
        if (json_is_integer(id) && n >= 0 && n < j->t->n && j->scores[n] == WORST)
            j->scores[n] = -(float)rank++;
    }
    zo2_gguf_put_f32s(j->k, "tokenizer.ggml.scores", j->scores, j->t->n);
    return ZO2_OK;
}

/* ---- special tokens ---------------------------------------------------------------------------------------------------------- */

/* The id of the token that tokenizer_config.json names, as a text or as an object; else the model's own. 0: there is none. */
static int put_special(const job *j, const char *name, const char *key, int fallback)
{
    const json_t *v = json_object_get(j->t->config, name);
    const char *text = json_is_object(v) ? json_string_value(json_object_get(v, "content")) : json_string_value(v);
    int64_t id = fallback;
    for (uint32_t i = 0; text && i < j->t->n; i++)
        if (strcmp(j->tokens[i], text) == 0)
            id = i;
    if (id >= 0)
        zo2_gguf_put_u32(j->k, key, (uint32_t)id);
    return id >= 0;
}

/* The id of the token that is put in front of texts, -1 if none is: of a template, or as BERT and RoBERTa have it. */
static int64_t front_token(const job *j)
{
    const json_t *post = json_object_get(j->t->tokenizer, "post_processor"), *one, *id = NULL;
    for (size_t i = 0; !id && (one = step(post, "processors", i)); i++) {
        const json_t *first = json_object_get(json_array_get(json_object_get(one, "single"), 0), "SpecialToken");
        const char *name = json_string_value(json_object_get(first, "id"));
        id = name ? json_array_get(
                        json_object_get(json_object_get(json_object_get(one, "special_tokens"), name), "ids"), 0)
                  : json_array_get(json_object_get(one, "cls"), 1);
    }
    const json_int_t n = json_integer_value(id);
    return json_is_integer(id) && n >= 0 && n < j->t->n ? n : -1;
}

/* Of SentencePiece's models; -1. */
static int unknown_token(const job *j)
{
    const char *text = json_string_value(json_object_get(j->model, "unk_token"));
    const json_t *id = text ? json_object_get(json_object_get(j->model, "vocab"), text) : NULL;
    return j->sentencepiece && json_is_integer(id) ? (int)json_integer_value(id) : -1; /* list_tokens() has seen it */
}

/* llama.cpp puts its BOS in front, so what is put there is the BOS. */
static void put_around(job *j)
{
    const char *chat = chat_template(j);
    const int64_t front = front_token(j);
    if (front >= 0)
        zo2_gguf_put_u32(j->k, "tokenizer.ggml.bos_token_id", (uint32_t)front);
    else
        put_special(j, "bos_token", "tokenizer.ggml.bos_token_id", j->t->bos);
    if (!put_special(j, "eos_token", "tokenizer.ggml.eos_token_id", j->t->eos) && !j->sentencepiece)
        j->otherwise |= ZO2_GGUF_NO_END;
    put_special(j, "unk_token", "tokenizer.ggml.unknown_token_id", unknown_token(j));
    put_special(j, "pad_token", "tokenizer.ggml.padding_token_id", -1);
    zo2_gguf_put_bool(j->k, "tokenizer.ggml.add_bos_token", front >= 0);
    if (chat)
        zo2_gguf_put_text(j->k, "tokenizer.chat_template", chat);
}

/* ---- all of it ----------------------------------------------------------------------------------------------------------------- */

static zo2_status put_all(job *j)
{
    const zo2_gguf_pre *pre = NULL;
    int prefix = 0;
    zo2_status s = j->sentencepiece ? find_prefix(j, &prefix) : find_pre(j, &pre);
    if (!s)
        s = list_tokens(j);
    if (s)
        return s;
    zo2_gguf_put_text(j->k, "tokenizer.ggml.model", j->sentencepiece ? "llama" : "gpt2");
    zo2_gguf_put_text(j->k, "tokenizer.ggml.pre", pre ? pre->name : "default");
    if (j->sentencepiece)
        zo2_gguf_put_bool(j->k, "tokenizer.ggml.add_space_prefix", prefix);
    zo2_gguf_put_texts(j->k, "tokenizer.ggml.tokens", j->tokens, j->t->n);
    zo2_gguf_put_u32s(j->k, "tokenizer.ggml.token_type", j->types, j->t->n);
    s = j->sentencepiece ? put_scores(j) : put_merges(j);
    if (!s)
        put_around(j);
    return s;
}

zo2_status zo2_gguf_put_tokenizer(zo2_gguf_keys *k, const zo2_gguf_texts *t, unsigned *otherwise, const char *what)
{
    *otherwise = 0;
    job j = {.k = k, .t = t, .what = what, .model = json_object_get(t->tokenizer, "model")};
    if (!t->tokenizer) {
        zo2_gguf_put_text(k, "tokenizer.ggml.model", "none");
        if (t->bos >= 0)
            zo2_gguf_put_u32(k, "tokenizer.ggml.bos_token_id", (uint32_t)t->bos);
        if (t->eos >= 0)
            zo2_gguf_put_u32(k, "tokenizer.ggml.eos_token_id", (uint32_t)t->eos);
        return ZO2_OK;
    }
    if (!json_is_object(json_object_get(j.model, "vocab")) || !json_is_array(json_object_get(j.model, "merges")))
        return unsupported(&j, "another model than BPE");
    j.sentencepiece = json_is_true(json_object_get(j.model, "byte_fallback"));
    j.tokens = calloc((size_t)t->n + 1, sizeof *j.tokens);
    j.types = calloc((size_t)t->n + 1, sizeof *j.types);
    j.scores = calloc((size_t)t->n + 1, sizeof *j.scores);
    j.names = calloc((size_t)t->n + 1, sizeof *j.names);
    zo2_status s = j.tokens && j.types && j.scores && j.names
                       ? put_all(&j)
                       : zo2_error(ZO2_ERR_NOMEM, "out of memory for the tokenizer of %s", what);
    *otherwise = j.otherwise;
    free(j.tokens);
    free(j.types);
    free(j.scores);
    free(j.names);
    return s;
}
