/* gguf_tokenizer.c: a GGUF file's tokenizer as tokenizer.json and tokenizer_config.json. */
#include "storage/checkpoint/gguf_tokenizer.h"
#include "storage/io/io_utf8.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define META       "\xE2\x96\x81" /* stands for a space in SentencePiece's vocabularies */
#define MAX_TOKENS ((uint64_t)1 << 24)

typedef struct job {
    const zo2_gguf_header *h;
    int sentencepiece;
    const zo2_gguf_pre *pre; /* of the others */
    zo2_gguf_text *tokens;   /* [n] */
    int *types;              /* [n] */
    uint64_t n, end;         /* end: behind the last token that texts are made of */
    char *why;
    size_t why_bytes;
} job;

static const zo2_gguf_value *get(const zo2_gguf_header *h, const char *name)
{
    char key[80];
    snprintf(key, sizeof key, "tokenizer.ggml.%s", name);
    return zo2_gguf_get(h, key);
}

static int get_bool(const zo2_gguf_header *h, const char *name, int fallback)
{
    const zo2_gguf_value *v = get(h, name);
    return v && v->type == ZO2_GGUF_BOOL ? *v->at != 0 : fallback;
}

/* What JSON can say: UTF-8 without a NUL. */
static int is_json_text(zo2_gguf_text t)
{
    return !memchr(t.at, 0, t.n) && zo2_utf8_valid_bytes(t.at, t.n) == t.n;
}

/* The token that a key names; n if it names none. */
static uint64_t get_token(const job *j, const char *name)
{
    const zo2_gguf_value *v = get(j->h, name);
    uint64_t id;
    return v && zo2_gguf_uint(v, 0, &id) && id < j->n ? id : j->n;
}

/* ---- what there is ------------------------------------------------------------------------------------------------------ */

static zo2_status out_of_memory(const zo2_gguf_header *h)
{
    return zo2_error(ZO2_ERR_NOMEM, "out of memory for the tokenizer of %s", h->path);
}

/* 1 if the tokenizer is of a kind that is known here; else why[] says what it is. */
static int find_kind(job *j)
{
    char name[104];
    zo2_gguf_text model, pre = {"", 0};
    const zo2_gguf_value *v = get(j->h, "model"), *p = get(j->h, "pre");
    if (!v || !zo2_gguf_string(v, &model) || !get(j->h, "tokens")) {
        snprintf(j->why, j->why_bytes, "%.400s has no tokenizer", j->h->path);
        return 0;
    }
    if (zo2_gguf_is(model, "llama")) {
        j->sentencepiece = 1;
        return 1;
    }
    if (!zo2_gguf_is(model, "gpt2")) {
        snprintf(j->why, j->why_bytes, "%.400s: tokenizers of the kind %s aren't known to this version", j->h->path,
                 zo2_gguf_quote(name, model));
        return 0;
    }
    if (p && zo2_gguf_string(p, &pre))
        j->pre = zo2_gguf_pre_of(pre);
    if (!j->pre && p)
        snprintf(j->why, j->why_bytes,
                 "%.400s: its tokenizer splits texts as \"%s\" (tokenizer.ggml.pre), which this version doesn't know",
                 j->h->path, zo2_gguf_quote(name, pre));
    else if (!j->pre)
        snprintf(j->why, j->why_bytes,
                 "%.400s doesn't say how its tokenizer splits texts: it has no tokenizer.ggml.pre", j->h->path);
    return j->pre != NULL;
}

static zo2_status read_types(job *j)
{
    const zo2_gguf_value *v = get(j->h, "token_type");
    if (v && (v->type != ZO2_GGUF_ARRAY || v->n != j->n))
        return zo2_error(ZO2_ERR_FORMAT, "%s: tokenizer.ggml.token_type isn't a list of %" PRIu64 " numbers",
                         j->h->path, j->n);
    for (uint64_t i = 0; i < j->n; i++) {
        uint64_t type = ZO2_GGUF_NORMAL;
        if (v && (!zo2_gguf_uint(v, i, &type) || type > ZO2_GGUF_BYTE))
            return zo2_error(ZO2_ERR_FORMAT, "%s: tokenizer.ggml.token_type of token %" PRIu64 " is none", j->h->path,
                             i);
        j->types[i] = type ? (int)type : ZO2_GGUF_NORMAL;
        if (type == ZO2_GGUF_NORMAL || type == ZO2_GGUF_BYTE)
            j->end = i + 1;
    }
    return ZO2_OK;
}

static zo2_status read_tokens(job *j)
{
    const zo2_gguf_value *v = get(j->h, "tokens");
    if (v->type != ZO2_GGUF_ARRAY || v->of != ZO2_GGUF_STRING || v->n > MAX_TOKENS)
        return zo2_error(ZO2_ERR_FORMAT, "%s: tokenizer.ggml.tokens isn't a list of texts, at most %" PRIu64 " of them",
                         j->h->path, MAX_TOKENS);
    j->n = v->n;
    j->tokens = calloc((size_t)j->n + 1, sizeof *j->tokens);
    j->types = calloc((size_t)j->n + 1, sizeof *j->types);
    if (!j->tokens || !j->types)
        return out_of_memory(j->h);
    const unsigned char *at = v->at;
    for (uint64_t i = 0; i < j->n; i++) {
        j->tokens[i] = zo2_gguf_next(&at);
        if (is_json_text(j->tokens[i]))
            continue;
        snprintf(j->why, j->why_bytes, "%.400s: token %" PRIu64 " of its tokenizer isn't UTF-8", j->h->path, i);
        return ZO2_ERR_UNSUPPORTED;
    }
    return read_types(j);
}

/* ---- vocabulary and merges ----------------------------------------------------------------------------------------------- */

/* Tokens that texts are made of, and others between them: those behind are added, as Hugging Face has it. *bad: the first token that
 * can't be there. */
static json_t *vocabulary(const job *j, uint64_t *bad)
{
    json_t *out = json_object();
    *bad = j->n;
    for (uint64_t i = 0; i < j->end && out; i++) {
        char *key = j->types[i] == ZO2_GGUF_UNUSED ? NULL : strndup(j->tokens[i].at, j->tokens[i].n);
        if (j->types[i] == ZO2_GGUF_UNUSED)
            continue;
        if (!key || strlen(key) != j->tokens[i].n || json_object_get(out, key) ||
            json_object_set_new(out, key, json_integer((json_int_t)i)) != 0)
            *bad = i;
        free(key);
        if (*bad < j->n)
            break;
    }
    return out;
}

static zo2_status list_merges(const job *j, json_t **out)
{
    const zo2_gguf_value *v = get(j->h, "merges");
    if (!v || v->type != ZO2_GGUF_ARRAY || v->of != ZO2_GGUF_STRING)
        return zo2_error(ZO2_ERR_FORMAT, "%s: tokenizer.ggml.merges isn't a list of texts", j->h->path);
    const unsigned char *at = v->at;
    int bad = !(*out = json_array());
    for (uint64_t i = 0; i < v->n && !bad; i++) {
        const zo2_gguf_text t = zo2_gguf_next(&at);
        if (!is_json_text(t))
            return zo2_error(ZO2_ERR_FORMAT, "%s: merge %" PRIu64 " of tokenizer.ggml.merges isn't UTF-8", j->h->path,
                             i);
        bad = json_array_append_new(*out, json_stringn(t.at, t.n));
    }
    return bad ? out_of_memory(j->h) : ZO2_OK;
}

static zo2_status merges_of_scores(const job *j, json_t **out)
{
    const zo2_gguf_value *v = get(j->h, "scores");
    if (!v || v->type != ZO2_GGUF_ARRAY || v->of != ZO2_GGUF_F32 || v->n != j->n)
        return zo2_error(ZO2_ERR_FORMAT, "%s: tokenizer.ggml.scores isn't a list of %" PRIu64 " numbers", j->h->path,
                         j->n);
    float *scores = malloc(((size_t)j->n + 1) * sizeof *scores);
    if (!scores)
        return out_of_memory(j->h);
    memcpy(scores, v->at, (size_t)j->n * sizeof *scores);
    uint64_t i = 0;
    while (i < j->n && isfinite(scores[i]))
        i++;
    *out = i < j->n ? NULL : zo2_gguf_merges(j->tokens, scores, j->types, j->n);
    free(scores);
    if (i < j->n)
        return zo2_error(ZO2_ERR_FORMAT, "%s: the score of token %" PRIu64 " isn't a number", j->h->path, i);
    return *out ? ZO2_OK : out_of_memory(j->h);
}

static zo2_status make_model(job *j, json_t **out)
{
    uint64_t bad;
    json_t *vocab = vocabulary(j, &bad), *merges = NULL;
    zo2_status s = vocab ? ZO2_OK : out_of_memory(j->h);
    if (!s && bad < j->n) {
        snprintf(j->why, j->why_bytes, "%.400s: token %" PRIu64 " of its tokenizer is there twice", j->h->path, bad);
        s = ZO2_ERR_UNSUPPORTED;
    }
    if (!s)
        s = j->sentencepiece ? merges_of_scores(j, &merges) : list_merges(j, &merges);
    if (s) {
        json_decref(vocab);
        json_decref(merges);
        return s;
    }
    const uint64_t unknown = get_token(j, "unknown_token_id");
    json_t *unk = json_null();
    if (j->sentencepiece && unknown < j->end)
        unk = json_stringn(j->tokens[unknown].at, j->tokens[unknown].n);
    *out =
        json_pack("{s:s, s:n, s:o, s:n, s:n, s:b, s:b, s:b, s:o, s:o}", "type", "BPE", "dropout", "unk_token", unk,
                  "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", j->sentencepiece, "byte_fallback",
                  j->sentencepiece, "ignore_merges", j->pre && j->pre->ignore_merges, "vocab", vocab, "merges", merges);
    return *out ? ZO2_OK : out_of_memory(j->h);
}

/* ---- the parts around them ----------------------------------------------------------------------------------------------- */

static json_t *added_tokens(const job *j)
{
    json_t *out = json_array();
    int bad = !out;
    for (uint64_t i = 0; i < j->n && !bad; i++) {
        const int type = j->types[i];
        if (type != ZO2_GGUF_CONTROL && type != ZO2_GGUF_USER_DEFINED && type != ZO2_GGUF_UNKNOWN)
            continue;
        bad = json_array_append_new(out, json_pack("{s:I, s:o, s:b, s:b, s:b, s:b, s:b}", "id", (json_int_t)i,
                                                   "content", json_stringn(j->tokens[i].at, j->tokens[i].n),
                                                   "single_word", 0, "lstrip", 0, "rstrip", 0, "normalized", 0,
                                                   "special", type != ZO2_GGUF_USER_DEFINED));
    }
    if (!bad)
        return out;
    json_decref(out);
    return NULL;
}

static json_t *normalizer(const job *j)
{
    json_t *spaces;
    if (!j->sentencepiece)
        return j->pre->nfc ? json_pack("{s:s}", "type", "NFC") : json_null();
    spaces = json_pack("{s:s, s:{s:s}, s:s}", "type", "Replace", "pattern", "String", " ", "content", META);
    if (!get_bool(j->h, "add_space_prefix", 1))
        return spaces;
    return json_pack("{s:s, s:[{s:s, s:s}, o]}", "type", "Sequence", "normalizers", "type", "Prepend", "prepend", META,
                     spaces);
}

static json_t *byte_level(int use_regex)
{
    return json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel", "add_prefix_space", 0, "trim_offsets", 1, "use_regex",
                     use_regex);
}

static json_t *pre_tokenizer(const job *j)
{
    if (j->sentencepiece)
        return json_null();
    if (j->pre->regex)
        return json_pack("{s:s, s:[{s:s, s:{s:s}, s:s, s:b}, o]}", "type", "Sequence", "pretokenizers", "type", "Split",
                         "pattern", "Regex", j->pre->regex, "behavior", "Isolated", "invert", 0, byte_level(0));
    if (j->pre->digits)
        return json_pack("{s:s, s:[{s:s, s:b}, o]}", "type", "Sequence", "pretokenizers", "type", "Digits",
                         "individual_digits", 1, byte_level(1));
    return byte_level(1);
}

static json_t *decoder(const job *j)
{
    if (!j->sentencepiece)
        return byte_level(1);
    return json_pack("{s:s, s:[{s:s, s:{s:s}, s:s}, {s:s}, {s:s}, {s:s, s:s, s:i, s:i}]}", "type", "Sequence",
                     "decoders", "type", "Replace", "pattern", "String", META, "content", " ", "type", "ByteFallback",
                     "type", "Fuse", "type", "Strip", "content", " ", "start", 1, "stop", 0);
}

int zo2_gguf_adds_bos(const zo2_gguf_header *h)
{
    job j = {.h = h};
    return find_kind(&j) ? get_bool(h, "add_bos_token", j.sentencepiece || j.pre->bos) : 0;
}

static json_t *post_processor(const job *j)
{
    const uint64_t bos = get_token(j, "bos_token_id");
    if (bos == j->n || !zo2_gguf_adds_bos(j->h))
        return j->sentencepiece ? json_null() : byte_level(0);
    const zo2_gguf_text t = j->tokens[bos];
    char *name = strndup(t.at, t.n);
    json_t *out =
        name
            ? json_pack(
                  "{s:s, s:[{s:{s:s, s:i}}, {s:{s:s, s:i}}], s:[{s:{s:s, s:i}}, {s:{s:s, s:i}}, {s:{s:s, s:i}}, {s:{s:s, s:i}}], "
                  "s:{s:{s:s, s:[I], s:[s]}}}",
                  "type", "TemplateProcessing", "single", "SpecialToken", "id", name, "type_id", 0, "Sequence", "id",
                  "A", "type_id", 0, "pair", "SpecialToken", "id", name, "type_id", 0, "Sequence", "id", "A", "type_id",
                  0, "SpecialToken", "id", name, "type_id", 1, "Sequence", "id", "B", "type_id", 1, "special_tokens",
                  name, "id", name, "ids", (json_int_t)bos, "tokens", name)
            : NULL;
    free(name);
    return out;
}

static zo2_status as_text(const zo2_gguf_header *h, json_t *tree, size_t flags, char **text, size_t *bytes)
{
    *text = tree ? json_dumps(tree, flags) : NULL;
    json_decref(tree);
    *bytes = *text ? strlen(*text) : 0;
    return *text ? ZO2_OK : out_of_memory(h);
}

zo2_status zo2_gguf_tokenizer(const zo2_gguf_header *h, char **text, size_t *bytes, char *why, size_t n)
{
    job j = {.h = h, .why = why, .why_bytes = n};
    json_t *model = NULL;
    *text = NULL;
    *bytes = 0;
    why[0] = '\0';
    if (!find_kind(&j))
        return ZO2_OK;
    zo2_status s = read_tokens(&j);
    if (!s)
        s = make_model(&j, &model);
    if (!s)
        s = as_text(h,
                    json_pack("{s:s, s:n, s:n, s:o, s:o, s:o, s:o, s:o, s:o}", "version", "1.0", "truncation",
                              "padding", "added_tokens", added_tokens(&j), "normalizer", normalizer(&j),
                              "pre_tokenizer", pre_tokenizer(&j), "post_processor", post_processor(&j), "decoder",
                              decoder(&j), "model", model),
                    JSON_COMPACT, text, bytes);
    free(j.tokens);
    free(j.types);
    return s == ZO2_ERR_UNSUPPORTED ? ZO2_OK : s; /* why says so */
}

/* ---- tokenizer_config.json ------------------------------------------------------------------------------------------------ */

static int put_token(const job *j, json_t *out, const char *key, const char *from)
{
    const uint64_t id = get_token(j, from);
    if (id == j->n)
        return 0;
    return json_object_set_new(out, key, json_stringn(j->tokens[id].at, j->tokens[id].n));
}

zo2_status zo2_gguf_tokenizer_config(const zo2_gguf_header *h, char **text, size_t *bytes)
{
    job j = {.h = h};
    zo2_gguf_text chat;
    *text = NULL;
    *bytes = 0;
    if (!find_kind(&j))
        return ZO2_OK;
    const zo2_gguf_value *v = zo2_gguf_get(h, "tokenizer.chat_template");
    zo2_status s = read_tokens(&j);
    json_t *out = s ? NULL : json_object();
    if (out) {
        int bad = put_token(&j, out, "bos_token", "bos_token_id") | put_token(&j, out, "eos_token", "eos_token_id") |
                  put_token(&j, out, "unk_token", "unknown_token_id") |
                  put_token(&j, out, "pad_token", "padding_token_id");
        bad |= json_object_set_new(out, "add_bos_token", json_boolean(zo2_gguf_adds_bos(h)));
        bad |= json_object_set_new(out, "clean_up_tokenization_spaces", json_false());
        bad |= json_object_set_new(out, "tokenizer_class", json_string("PreTrainedTokenizerFast"));
        if (v && zo2_gguf_string(v, &chat) && is_json_text(chat))
            bad |= json_object_set_new(out, "chat_template", json_stringn(chat.at, chat.n));
        s = bad ? out_of_memory(h) : ZO2_OK;
    }
    if (!s)
        s = as_text(h, json_incref(out), JSON_INDENT(2), text, bytes);
    json_decref(out);
    free(j.tokens);
    free(j.types);
    return s == ZO2_ERR_UNSUPPORTED ? ZO2_OK : s;
}
