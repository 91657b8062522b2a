/* dataset_line.c: see dataset_line.h. */
#include "tools/text/dataset_line.h"
#include "engine/base/json.h"
#include "tools/text/bytes.h"
#include "tools/text/dataset_line_internal.h"
#include "tools/text/foreign.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef zo2t_line_context context;

zo2_status zo2t_line_bad(const context *c, const char *fmt, ...)
{
    char text[1024];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    return zo2_error(ZO2_ERR_FORMAT, "%s line %llu: %s", c->file, (unsigned long long)c->number, text);
}

/* Appends the ids of a string, which messages call `what`. */
static zo2_status encode(const context *c, const json_t *value, const char *what, int32_t bos)
{
    if (!json_is_string(value))
        return zo2t_line_bad(c, "%s is not a string", what);
    if (!c->tokenizer)
        return zo2t_line_bad(
            c, "%s is text, but the model file carries no tokenizer: only \"tokens\" lines work with it", what);
    zo2_status s = zo2t_encode(c->tokenizer, json_string_value(value), json_string_length(value), bos, &c->out->ids);
    return s == ZO2_ERR_FORMAT ? zo2t_line_bad(c, "%s: %s", what, zo2_last_error()) : s;
}

/* What is there in place of a JSON object. */
ZO2_PRINTF(4, 5)
static zo2_status not_an_object(const context *c, const char *line, size_t bytes, const char *fmt, ...)
{
    char text[256];
    const char *found = zo2t_foreign(line, bytes, c->number == 1);
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    return zo2t_line_bad(c, "%s, and data are one JSON object a line%s%s", text, found ? "; " : "", found ? found : "");
}

zo2_status zo2t_line_add_suffix(const context *c, size_t tokens, const char *what)
{
    zo2t_line *l = c->out;
    if (!tokens)
        return zo2t_line_bad(c, "%s is empty: there is no loss token", what);
    if (tokens > INT32_MAX)
        return zo2t_line_bad(c, "%s has too many tokens", what);
    void *p = l->suffix;
    zo2_status s = zo2t_grow(&p, &l->suffix_capacity, l->rows + 1, sizeof *l->suffix);
    l->suffix = p;
    if (!s)
        l->suffix[l->rows++] = (uint32_t)tokens;
    return s;
}

/* Drops the oldest tokens behind `head` ones until a row of `tokens` fits into the sequence. The caller has seen to it
 * that there are enough to drop. */
static void truncate_to_fit(const context *c, size_t head, size_t tokens)
{
    zo2t_ids *ids = &c->out->ids;
    if (tokens <= c->opts->seq)
        return;
    size_t drop = tokens - c->opts->seq;
    memmove(ids->id + head, ids->id + head + drop, (ids->n - head - drop) * sizeof *ids->id);
    ids->n -= drop;
    c->out->truncated = 1;
}

zo2_status zo2t_line_check_ids(const context *c)
{
    const zo2t_ids *ids = &c->out->ids;
    for (size_t i = 0; i < ids->n; i++) {
        if (ids->id[i] < 0 || (uint32_t)ids->id[i] >= c->opts->vocab)
            return zo2t_line_bad(c, "token %d is outside the model's vocabulary of %u", ids->id[i], c->opts->vocab);
    }
    return ZO2_OK;
}

/* ids hold a text: its first token (BOS or not) starts the row, all others are loss tokens. */
static zo2_status finish_text(const context *c, size_t head, const char *what)
{
    zo2t_line *l = c->out;
    zo2_status s = zo2t_line_check_ids(c);
    if (s)
        return s;
    if (l->ids.n < 2)
        return zo2t_line_bad(c, "%s has %zu token%s: a loss token needs one before it", what, l->ids.n,
                             l->ids.n == 1 ? "" : "s");
    truncate_to_fit(c, head, l->ids.n);
    l->prompt = 1;
    return zo2t_line_add_suffix(c, l->ids.n - 1, what);
}

zo2_status zo2t_line_does_not_fit(const context *c, const char *what, size_t tokens)
{
    char advice[80] = "";
    if (tokens < c->opts->most_seq)
        snprintf(advice, sizeof advice, "; use --seq %zu or more", tokens + 1);
    else if (c->opts->most_seq)
        snprintf(advice, sizeof advice, "; shorten it, or leave the line out");
    return zo2t_line_bad(c, "%s has %zu tokens, which with one before them don't fit in a sequence of %u%s", what,
                         tokens, c->opts->seq, advice);
}

/* ids hold prompt tokens, then the suffixes. */
static zo2_status finish_prompt(const context *c, size_t head, size_t prompt, const char *what)
{
    zo2t_line *l = c->out;
    zo2_status s = zo2t_line_check_ids(c);
    if (s)
        return s;
    size_t longest = 0;
    for (size_t i = 0; i < l->rows; i++)
        longest = l->suffix[i] > longest ? l->suffix[i] : longest;
    if (!prompt)
        return zo2t_line_bad(
            c, "\"prompt\" is empty and there is no BOS: nothing predicts the first token; say what it follows");
    if (longest + 1 > c->opts->seq)
        return zo2t_line_does_not_fit(c, what, longest);
    size_t before = l->ids.n;
    truncate_to_fit(c, head, prompt + longest);
    l->prompt = (uint32_t)(prompt - (before - l->ids.n));
    return ZO2_OK;
}

/* ---- what is in order, but rarely meant ---- */

static int is_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/* How a prompt and what follows it meet. Both are strings. */
static unsigned joint(const json_t *prompt, const json_t *next)
{
    size_t n = json_string_length(prompt);
    if (!n)
        return 1u << ZO2T_EMPTY_PROMPT;
    char last = json_string_value(prompt)[n - 1];
    if (last == ' ')
        return 1u << ZO2T_SPACE_AT_END;
    return is_word(last) && is_word(json_string_value(next)[0]) ? 1u << ZO2T_NO_SPACE : 0;
}

/* Whether two of a line's options have the same tokens; the first few hundred are looked at. */
static int has_equal_suffixes(const zo2t_line *l, size_t prompt)
{
    enum { MOST = 256 };
    size_t rows = l->rows < MOST ? l->rows : MOST;
    const int32_t *a = l->ids.id + prompt;
    for (size_t i = 0; i < rows; a += l->suffix[i++]) {
        const int32_t *b = a + l->suffix[i];
        for (size_t k = i + 1; k < rows; b += l->suffix[k++])
            if (l->suffix[i] == l->suffix[k] && !memcmp(a, b, l->suffix[i] * sizeof *a))
                return 1;
    }
    return 0;
}

/* ---- the kinds ---- */

static zo2_status parse_completion(const context *c, size_t head)
{
    zo2t_line *l = c->out;
    l->kind = ZO2T_LM;
    zo2_status s = encode(c, json_object_get(c->root, "prompt"), "\"prompt\"", c->opts->bos);
    size_t prompt = l->ids.n;
    if (!s)
        s = encode(c, json_object_get(c->root, "completion"), "\"completion\"", -1);
    if (!s)
        s = zo2t_line_add_suffix(c, l->ids.n - prompt, "\"completion\"");
    if (!s)
        l->odd = joint(json_object_get(c->root, "prompt"), json_object_get(c->root, "completion"));
    return s ? s : finish_prompt(c, head, prompt, "\"completion\"");
}

static zo2_status parse_options(const context *c, size_t head)
{
    zo2t_line *l = c->out;
    const json_t *options = json_object_get(c->root, "options"), *label = json_object_get(c->root, "label");
    l->kind = ZO2T_OPTIONS;
    if (!json_is_array(options))
        return zo2t_line_bad(c, "\"options\" is not a list");
    size_t n = json_array_size(options);
    if (n < 2)
        return zo2t_line_bad(c, "\"options\" has %zu entries: a choice needs at least two", n);
    if (!label)
        return zo2t_line_bad(c, "\"options\" needs a \"label\"");
    if (!json_is_integer(label))
        return zo2t_line_bad(c, "\"label\" is not an integer");
    json_int_t right = json_integer_value(label);
    if (right < 0 || (uint64_t)right >= n || right > UINT32_MAX)
        return zo2t_line_bad(c, "\"label\" is %lld, the options are 0 to %zu", (long long)right, n - 1);
    l->label = (uint32_t)right;

    zo2_status s = encode(c, json_object_get(c->root, "prompt"), "\"prompt\"", c->opts->bos);
    size_t prompt = l->ids.n;
    for (size_t i = 0; i < n && !s; i++) {
        char what[40];
        snprintf(what, sizeof what, "option %zu", i);
        size_t first = l->ids.n;
        s = encode(c, json_array_get(options, i), what, -1);
        if (!s)
            s = zo2t_line_add_suffix(c, l->ids.n - first, what);
        if (!s)
            l->odd |= joint(json_object_get(c->root, "prompt"), json_array_get(options, i));
    }
    if (!s && has_equal_suffixes(l, prompt))
        l->odd |= 1u << ZO2T_SAME_OPTIONS;
    return s ? s : finish_prompt(c, head, prompt, "the longest option");
}

static zo2_status parse_tokens(const context *c)
{
    zo2t_line *l = c->out;
    const json_t *tokens = json_object_get(c->root, "tokens"), *from = json_object_get(c->root, "loss_from");
    l->kind = ZO2T_LM;
    if (!json_is_array(tokens))
        return zo2t_line_bad(c, "\"tokens\" is not a list");
    size_t n = json_array_size(tokens);
    zo2_status s = zo2t_ids_reserve(&l->ids, n);
    if (s)
        return s;
    for (size_t i = 0; i < n; i++) {
        const json_t *value = json_array_get(tokens, i);
        if (!json_is_integer(value))
            return zo2t_line_bad(c, "entry %zu of \"tokens\" is not an integer", i);
        json_int_t id = json_integer_value(value);
        if (id < 0 || id >= (json_int_t)c->opts->vocab)
            return zo2t_line_bad(c, "token %lld is outside the model's vocabulary of %u", (long long)id,
                                 c->opts->vocab);
        l->ids.id[l->ids.n++] = (int32_t)id;
    }
    json_int_t first = 1;
    if (from) {
        if (!json_is_integer(from))
            return zo2t_line_bad(c, "\"loss_from\" is not an integer");
        first = json_integer_value(from);
        if (first < 1)
            return zo2t_line_bad(c, "\"loss_from\" is %lld: nothing predicts token 0, it is at least 1",
                                 (long long)first);
    }
    size_t head = n && c->opts->bos >= 0 && l->ids.id[0] == c->opts->bos;
    if (first == 1)
        return finish_text(c, head, "\"tokens\"");
    if ((uint64_t)first >= n)
        return zo2t_line_bad(c, "\"loss_from\" is %lld and there are %zu tokens: there is no loss token",
                             (long long)first, n);
    s = zo2t_line_add_suffix(c, n - (size_t)first, "\"tokens\"");
    return s ? s : finish_prompt(c, head, (size_t)first, "\"tokens\" from \"loss_from\" on");
}

/* An object of something else: which keys it has, and, where one of them holds the examples, how they become lines. */
static zo2_status no_key(const context *c)
{
    enum { SHOWN = 4 };
    char keys[SHOWN * ZO2T_QUOTE_BYTES] = "", quoted[ZO2T_QUOTE_BYTES], advice[128] = "";
    size_t n = 0, at = 0;
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)c->root, key, value)
    {
        if (n++ < SHOWN)
            at += (size_t)snprintf(keys + at, sizeof keys - at, "%s%s", n > 1 ? ", " : "; it has ",
                                   zo2t_quote(quoted, key, strlen(key)));
        bool plain = *key && strlen(key) < 32 &&
                     key[strspn(key, "abcdefghijklmnopqrstuvwxyz_ABCDEFGHIJKLMNOPQRSTUVWXYZ")] == '\0';
        if (!*advice && plain && json_is_object(json_array_get(value, 0)))
            snprintf(advice, sizeof advice, "; for a line of each entry: jq -c '.%s[]' FILE >DATA.jsonl", key);
    }
    return zo2t_line_bad(c, "has none of the keys \"text\", \"prompt\", \"tokens\" and \"messages\"%s%s%s", keys,
                         n > SHOWN ? " and more" : "", advice);
}

/* Which of the five kinds of lines it is. Other keys are nobody's business. */
static zo2_status parse_object(const context *c)
{
    const json_t *root = c->root;
    int text = json_object_get(root, "text") != NULL, tokens = json_object_get(root, "tokens") != NULL;
    int prompt = json_object_get(root, "prompt") != NULL, messages = json_object_get(root, "messages") != NULL;
    int completion = json_object_get(root, "completion") != NULL, options = json_object_get(root, "options") != NULL;
    size_t head = c->opts->bos >= 0;
    if (text + tokens + prompt + messages > 1)
        return zo2t_line_bad(c, "has more than one of \"text\", \"prompt\", \"tokens\" and \"messages\"");
    if (messages)
        return zo2t_line_messages(c);
    if (text) {
        zo2_status s = encode(c, json_object_get(root, "text"), "\"text\"", c->opts->bos);
        c->out->kind = ZO2T_LM;
        return s ? s : finish_text(c, head, "\"text\"");
    }
    if (tokens)
        return parse_tokens(c);
    if (!prompt) {
        if (completion || options)
            return zo2t_line_bad(c, "has \"%s\" without a \"prompt\"", completion ? "completion" : "options");
        return no_key(c);
    }
    if (completion && options)
        return zo2t_line_bad(c, "has both \"completion\" and \"options\"");
    if (completion)
        return parse_completion(c, head);
    if (options)
        return parse_options(c, head);
    return zo2t_line_bad(c, "has a \"prompt\" without \"completion\" or \"options\"");
}

zo2_status zo2t_line_parse(zo2t_tokenizer *t, const zo2t_dataset_opts *o, const char *file, uint64_t number,
                           const char *line, size_t bytes, zo2t_line *out)
{
    context c = {t, o, file, number, NULL, out};
    out->ids.n = 0;
    out->rows = out->gaps = 0;
    out->prompt = out->label = 0;
    out->truncated = 0;
    out->odd = 0;
    size_t valid = zo2t_utf8_check(line, bytes);
    if (valid != bytes)
        return not_an_object(&c, line, bytes, "not UTF-8 at byte %zu of the line", valid);
    json_error_t e;
    json_t *root = zo2_json_parse(line, bytes, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &e);
    if (!root)
        return not_an_object(&c, line, bytes, "not JSON: %s (byte %d)", e.text, e.position);
    c.root = root;
    zo2_status s = json_is_object(root) ? parse_object(&c) : not_an_object(&c, line, bytes, "not a JSON object");
    json_decref(root);
    return s;
}

void zo2t_line_free(zo2t_line *l)
{
    zo2t_ids_free(&l->ids);
    free(l->suffix);
    free(l->gap);
    free(l->loss);
    zo2t_chat_text_free(&l->chat);
    *l = (zo2t_line){0};
}
