/* special_files.c: added and special tokens as tokenizer_config.json, special_tokens_map.json and added_tokens.json name them.
 *
 * Which file counts is Hugging Face's rule: with an "added_tokens_decoder" in tokenizer_config.json that file alone; else
 * added_tokens.json has the ids, and what special_tokens_map.json says goes before tokenizer_config.json's. A token that is named and has no
 * id anywhere gets the next free one. */
#include "tools/text/bytes.h"
#include "tools/text/parts.h"

#include <stdlib.h>
#include <string.h>

static const char *const added_name = "added_tokens.json", *const config_name = "tokenizer_config.json",
                         *const map_name = "special_tokens_map.json";

/* In the order in which missing ids are given. */
static const char *const keys[] = {"bos_token", "eos_token", "unk_token", "sep_token",
                                   "pad_token", "cls_token", "mask_token"};
#define GPT2_KEYS  3 /* those that GPT-2's tokenizer class has a default for */
#define GPT2_TOKEN "<|endoftext|>"

static const char *const additional = "additional_special_tokens", *const extra = "extra_special_tokens";

/* Where a key's value is: in special_tokens_map.json, unless that doesn't count, or in tokenizer_config.json. */
static const json_t *value_of(const zo2t_roots *roots, bool map_counts, const char *key, const char **file)
{
    const json_t *value = map_counts ? json_object_get(roots->map, key) : NULL;
    *file = value ? map_name : config_name;
    return value ? value : json_object_get(roots->config, key);
}

/* The lists of more tokens that count, i < 3, NULL where one doesn't: tokenizer_config.json's, of the two the newer one if it has any;
 * the newer of special_tokens_map.json; its older one if there is no other. */
static json_t *list_of(const zo2t_roots *roots, bool map_counts, size_t i, const char **key, const char **file)
{
    json_t *old = json_object_get(roots->config, additional), *new = json_object_get(roots->config, extra);
    json_t *map = map_counts ? json_object_get(roots->map, extra) : NULL;
    *file = i ? map_name : config_name;
    *key = i == 1 || (i == 0 && json_array_size(new) + json_object_size(new)) ? extra : additional;
    if (i == 0)
        return *key == extra ? new : old;
    if (i == 1)
        return map;
    return map_counts && !old && !new && !map ? json_object_get(roots->map, additional) : NULL;
}

/* ---- tokens with ids --------------------------------------------------------------------------------------------- */

static bool is_text(const json_t *value, const char *text)
{
    const char *its = json_string_value(json_is_object(value) ? json_object_get(value, "content") : value);
    return its && !strcmp(its, text);
}

/* Is a text one of the special tokens that the files name, both counting? (The oldest list doesn't make one special.) */
static bool is_named(const zo2t_roots *roots, const char *text)
{
    const char *key, *file;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        if (is_text(value_of(roots, true, keys[i], &file), text))
            return true;
    }
    for (size_t i = 0; i < 2; i++) {
        const json_t *list = list_of(roots, true, i, &key, &file);
        for (size_t k = 0; k < json_array_size(list); k++) {
            if (is_text(json_array_get(list, k), text))
                return true;
        }
    }
    return false;
}

/* {"text": id} */
static zo2_status add_added(zo2t_parts *t, const zo2t_roots *roots)
{
    const char *key;
    json_t *value;
    json_object_foreach(roots->added, key, value)
    {
        char q[ZO2T_QUOTE_BYTES];
        if (!json_is_integer(value))
            return zo2_error(ZO2_ERR_FORMAT, "%s: the id of token %s is not an integer", added_name,
                             zo2t_quote(q, key, strlen(key)));
        /* The vocabulary says what is wrong with a negative one. */
        zo2_status s = zo2t_vocab_add(&t->vocab, key, strlen(key), json_integer_value(value), added_name);
        json_t *token = s ? NULL : json_pack("{s:s, s:b}", "content", key, "special", is_named(roots, key));
        if (!s)
            s = token ? zo2t_parts_add_token(t, token, -1, key, added_name)
                      : zo2_error(ZO2_ERR_NOMEM, "out of memory for %s", added_name);
        json_decref(token);
        if (s)
            return s;
    }
    return ZO2_OK;
}

/* {"id": {"content": "text", ...}} */
static zo2_status add_decoder(zo2t_parts *t, json_t *decoder)
{
    static const char what[] = "added_tokens_decoder";
    const char *key;
    json_t *value;
    if (!json_is_object(decoder))
        return zo2_error(ZO2_ERR_FORMAT, "%s: \"%s\" is not an object", config_name, what);
    json_object_foreach(decoder, key, value)
    {
        char q[ZO2T_QUOTE_BYTES];
        size_t digits = strspn(key, "0123456789");
        if (!digits || digits > 10 || key[digits])
            return zo2_error(ZO2_ERR_FORMAT, "%s: \"%s\" has the key %s, which is no id", config_name, what,
                             zo2t_quote(q, key, strlen(key)));
        zo2_status s = zo2t_parts_add_token(t, value, strtoll(key, NULL, 10), what, config_name);
        if (s)
            return s;
    }
    return ZO2_OK;
}

/* Hugging Face numbers added tokens from the end of the vocabulary on, whatever the files say. */
static zo2_status note_gap(zo2t_parts *t)
{
    const zo2t_vocab *v = &t->vocab;
    char q[ZO2T_QUOTE_BYTES];
    const zo2t_token *odd = NULL;
    for (size_t i = t->model_tokens; i < v->n; i++) {
        const zo2t_token *token = &v->token[i];
        if ((size_t)token->id < t->model_tokens || (size_t)token->id >= v->n) {
            if (!odd || token->id < odd->id)
                odd = token;
        }
    }
    return odd ? zo2t_notes_add(&t->notes,
                                "the added token %s has id %d, as the files say; Hugging Face's fast tokenizers number "
                                "added tokens from %zu on",
                                zo2t_quote(q, v->pool + odd->at, odd->bytes), odd->id, t->model_tokens)
               : ZO2_OK;
}

/* ---- tokens that are named ------------------------------------------------------------------------------------------------- */

typedef struct named {
    zo2t_parts *t;
    int64_t next;   /* the id that a token without one gets */
    size_t missing; /* tokens without one */
    char first[ZO2T_QUOTE_BYTES];
    int64_t first_id;
} named;

static int64_t next_id(const zo2t_parts *t)
{
    int64_t id = (int64_t)t->model_tokens;
    for (size_t p = 0; p < ZO2T_SPECIAL_PASSES; p++) {
        for (size_t i = 0; i < t->specials.pass[p].n; i++) {
            int64_t known = t->specials.pass[p].token[i].id;
            if (known >= id)
                id = known + 1;
        }
    }
    return id;
}

static zo2_status add_named(named *n, const json_t *value, const char *what, const char *file)
{
    const char *text;
    size_t bytes;
    zo2_status s = zo2t_token_text(value, what, file, &text);
    if (s || !text || !text[0])
        return s;
    int64_t id = -1;
    const int32_t known = zo2t_vocab_find(&n->t->vocab, text, strlen(text));
    if (known >= n->next)
        n->next = (int64_t)known + 1;
    if (known < 0) {
        while (zo2t_vocab_text(&n->t->vocab, n->next, &bytes))
            n->next++; /* taken: ids with gaps */
        id = n->next++;
        if (!n->missing++) {
            zo2t_quote(n->first, text, strlen(text));
            n->first_id = id;
        }
    }
    return zo2t_parts_add_token(n->t, value, id, what, file);
}

/* A list of tokens, or an object of them. */
static zo2_status add_list(named *n, json_t *list, const char *key, const char *file)
{
    json_t *value;
    const char *name;
    zo2_status s = ZO2_OK;
    if (!list || json_is_null(list))
        return ZO2_OK;
    if (!json_is_array(list) && !json_is_object(list))
        return zo2_error(ZO2_ERR_FORMAT, "%s: \"%s\" is not a list", file, key);
    for (size_t i = 0; i < json_array_size(list) && !s; i++)
        s = add_named(n, json_array_get(list, i), key, file);
    json_object_foreach(list, name, value)
    {
        if (!s)
            s = add_named(n, value, key, file);
    }
    return s;
}

static bool is_key(const char *key)
{
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        if (!strcmp(key, keys[i]))
            return true;
    }
    return false;
}

/* A model's own: other keys that end so and have a string. */
static zo2_status add_others(named *n, json_t *root, const char *file)
{
    static const char end[] = "_token";
    const char *key;
    json_t *value;
    zo2_status s = ZO2_OK;
    json_object_foreach(root, key, value)
    {
        size_t bytes = strlen(key);
        if (!s && bytes >= sizeof end && !strcmp(key + bytes - (sizeof end - 1), end) && !is_key(key) &&
            json_is_string(value))
            s = add_named(n, value, key, file);
    }
    return s;
}

static bool is_gpt2(const json_t *config)
{
    const char *class = json_string_value(json_object_get(config, "tokenizer_class"));
    return !class || !strncmp(class, "GPT2Tokenizer", 13);
}

static zo2_status add_all_named(zo2t_parts *t, const zo2t_roots *roots, bool map_counts)
{
    named n = {.t = t, .next = next_id(t)};
    bool has_default = !is_gpt2(roots->config) || zo2t_vocab_find(&t->vocab, GPT2_TOKEN, strlen(GPT2_TOKEN)) >= 0;
    zo2_status s = ZO2_OK;
    const char *key, *file;
    for (size_t i = 0; i < sizeof keys / sizeof *keys && !s; i++) {
        const json_t *value = value_of(roots, map_counts, keys[i], &file);
        if (value)
            s = add_named(&n, value, keys[i], file);
        if (!value && i < GPT2_KEYS && !has_default) { /* Hugging Face gives its default an id here; no text means it */
            n.next++;
            has_default = true;
        }
    }
    for (size_t i = 0; i < 3 && !s; i++) {
        json_t *list = list_of(roots, map_counts, i, &key, &file);
        s = add_list(&n, list, key, file);
    }
    if (!s)
        s = add_others(&n, roots->config, config_name);
    if (!s && n.missing)
        s = zo2t_notes_add(
            &t->notes,
            "the special token %s%s is named, but no file has its id: it gets the next free one, %lld, as in "
            "Hugging Face's tokenizers",
            n.first, n.missing > 1 ? " (the first of several)" : "", (long long)n.first_id);
    return s;
}

/* ---- files that don't count ------------------------------------------------------------------------------------------------ */

static zo2_status note_unused(zo2t_parts *t, const char *text, const char *file, bool *noted)
{
    char q[ZO2T_QUOTE_BYTES];
    int32_t id = zo2t_vocab_find(&t->vocab, text, strlen(text));
    if (*noted || (id >= 0 && zo2t_specials_has(&t->specials, id)))
        return ZO2_OK;
    *noted = true;
    return zo2t_notes_add(
        &t->notes,
        "%s names %s, which \"added_tokens_decoder\" of tokenizer_config.json lacks: it is ordinary text, as in "
        "Hugging Face's tokenizers",
        file, zo2t_quote(q, text, strlen(text)));
}

static zo2_status note_unused_files(zo2t_parts *t, const zo2t_roots *roots)
{
    const char *key, *text;
    json_t *value;
    bool map_noted = false, added_noted = false;
    zo2_status s = ZO2_OK;
    for (size_t i = 0; i < sizeof keys / sizeof *keys && !s; i++) {
        value = json_object_get(roots->map, keys[i]);
        if (value && !zo2t_token_text(value, keys[i], map_name, &text) && text)
            s = note_unused(t, text, map_name, &map_noted);
    }
    json_object_foreach(roots->added, key, value)
    {
        if (!s)
            s = note_unused(t, key, added_name, &added_noted);
    }
    return s;
}

/* ---- BOS and settings -------------------------------------------------------------------------------------------- */

/* Does the tokenizer put a space in front of a text? */
static bool prepends(const zo2t_parts *t)
{
    return t->pretokenizer.prepend != ZO2T_PREPEND_NEVER || zo2t_normalizer_prepends(&t->normalizer);
}

static zo2_status check_settings(const zo2t_parts *t, const json_t *config)
{
    const json_t *space = json_object_get(config, "add_prefix_space");
    if (json_is_true(json_object_get(config, "split_special_tokens")))
        return zo2_error(ZO2_ERR_UNSUPPORTED, "%s: \"split_special_tokens\": true is not supported by this version",
                         config_name);
    if (json_is_boolean(space) && json_is_true(space) != prepends(t))
        return zo2_error(
            ZO2_ERR_UNSUPPORTED,
            "%s: \"add_prefix_space\": %s, which the other files don't say, is not supported by this version",
            config_name, json_is_true(space) ? "true" : "false");
    return ZO2_OK;
}

/* What vocab.json and merges.txt leave open, "add_bos_token" and "add_eos_token" say. */
static zo2_status read_bos(zo2t_parts *t, const zo2t_roots *roots, bool map_counts)
{
    const char *file, *text = NULL;
    if (!roots->config)
        return ZO2_OK;
    t->bos = -1;
    if (json_is_true(json_object_get(roots->config, "add_eos_token"))) {
        zo2_status s =
            zo2t_notes_add(&t->notes,
                           "%s: \"add_eos_token\" puts a token behind every text; zo2 doesn't: write it into the "
                           "texts where it is wanted",
                           config_name);
        if (s)
            return s;
    }
    if (!json_is_true(json_object_get(roots->config, "add_bos_token")))
        return ZO2_OK;
    const json_t *value = value_of(roots, map_counts, keys[0], &file);
    zo2_status s = value ? zo2t_token_text(value, keys[0], file, &text) : ZO2_OK;
    if (s)
        return s;
    if (!value && is_gpt2(roots->config))
        text = GPT2_TOKEN;
    t->bos = text ? zo2t_vocab_find(&t->vocab, text, strlen(text)) : -1;
    if (t->bos < 0 && !value)
        return zo2t_notes_add(&t->notes, "%s: \"add_bos_token\" is true, but no file names a bos_token: none is added",
                              config_name);
    return ZO2_OK;
}

zo2_status zo2t_parts_special_files(zo2t_parts *t, const zo2t_roots *roots)
{
    static const char *const opt[] = {"<s>", "<pad>", "</s>", "<unk>"};
    json_t *decoder = json_object_get(roots->config, "added_tokens_decoder");
    if (json_is_null(decoder))
        decoder = NULL;
    zo2_status s = check_settings(t, roots->config);
    if (!s && decoder)
        s = add_decoder(t, decoder);
    else if (!s && roots->added)
        s = add_added(t, roots);
    if (!s)
        s = note_gap(t);
    if (!s)
        s = add_all_named(t, roots, !decoder);
    if (!s && decoder)
        s = note_unused_files(t, roots);
    if (!s && !roots->tokenizer)
        s = read_bos(t, roots, !decoder);
    const bool none = !t->specials.pass[0].n && !t->specials.pass[1].n;
    for (size_t i = 0; i < sizeof opt / sizeof *opt && none && !roots->tokenizer && !s; i++) {
        json_t *text = json_string(opt[i]);
        if (!text)
            s = zo2_error(ZO2_ERR_NOMEM, "out of memory for special tokens");
        else if (zo2t_vocab_find(&t->vocab, opt[i], strlen(opt[i])) >= 0)
            s = zo2t_parts_add_token(t, text, -1, opt[i], "vocab.json");
        json_decref(text);
    }
    return s ? s : zo2t_specials_ready(&t->specials, &t->normalizer);
}
