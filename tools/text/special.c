/* special.c: see special.h. */
#include "tools/text/special.h"
#include "engine/base/json.h"
#include "tools/text/bytes.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static zo2_status parse(const char *name, const zo2t_file *file, json_t **out)
{
    json_error_t e;
    *out = NULL;
    if (!file->data)
        return ZO2_OK;
    if (file->bytes > ZO2T_TEXT_FILE_BYTES)
        return zo2_error(ZO2_ERR_FORMAT, "%s: %zu bytes, at most %zu are supported", name, file->bytes,
                         ZO2T_TEXT_FILE_BYTES);
    json_t *root = zo2_json_parse(file->data, file->bytes, JSON_REJECT_DUPLICATES, &e);
    if (!root)
        return zo2_error(ZO2_ERR_FORMAT, "%s line %d: not JSON: %s", name, e.line, e.text);
    if (!json_is_object(root)) {
        json_decref(root);
        return zo2_error(ZO2_ERR_FORMAT, "%s: not an object", name);
    }
    *out = root;
    return ZO2_OK;
}

/* Makes a token of the vocabulary special; fine if it is. */
static zo2_status add(zo2t_specials *sp, const zo2t_vocab *v, const char *text, const char *file)
{
    char q[ZO2T_QUOTE_BYTES];
    size_t bytes = strlen(text);
    int32_t id = zo2t_vocab_find(v, text, bytes);
    if (id < 0)
        return zo2_error(ZO2_ERR_FORMAT, "%s: token %s has no id in vocab.json or among the added tokens", file,
                         zo2t_quote(q, text, bytes));
    for (size_t i = 0; i < sp->n; i++) {
        if (sp->token[i].id == id)
            return ZO2_OK;
    }
    if (sp->n >= ZO2T_SPECIALS)
        return zo2_error(ZO2_ERR_FORMAT, "%s: more than %d special tokens", file, ZO2T_SPECIALS);
    void *p = sp->token;
    zo2_status s = zo2t_grow(&p, &sp->capacity, sp->n + 1, sizeof *sp->token);
    sp->token = p;
    if (s)
        return s;
    char *copy = strdup(text);
    if (!copy)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory for special tokens");
    sp->token[sp->n++] = (zo2t_special){copy, bytes, id};
    return ZO2_OK;
}

/* A token is a string or {"content": "...", flags}. *text is the content (NULL for null). */
static zo2_status content(const json_t *value, const char *key, const char *file, const char **text)
{
    static const char *const flags[] = {"lstrip", "rstrip", "single_word"};
    *text = NULL;
    if (json_is_null(value))
        return ZO2_OK;
    const json_t *string = json_is_object(value) ? json_object_get(value, "content") : value;
    if (!json_is_string(string))
        return zo2_error(ZO2_ERR_FORMAT, "%s: \"%s\" is neither a string nor an object with a string \"content\"", file,
                         key);
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
        if (json_is_true(json_object_get(value, flags[i])))
            return zo2_error(ZO2_ERR_UNSUPPORTED, "%s: \"%s\" has \"%s\": true, which is not supported", file, key,
                             flags[i]);
    }
    *text = json_string_value(string);
    return ZO2_OK;
}

static zo2_status add_value(zo2t_specials *sp, const zo2t_vocab *v, const json_t *value, const char *key,
                            const char *file)
{
    const char *text;
    zo2_status s = content(value, key, file, &text);
    return s || !text ? s : add(sp, v, text, file);
}

static zo2_status add_named(zo2t_specials *sp, const zo2t_vocab *v, const json_t *root, const char *file)
{
    static const char *const keys[] = {"bos_token", "eos_token", "unk_token", "pad_token",
                                       "sep_token", "cls_token", "mask_token"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const json_t *value = json_object_get(root, keys[i]);
        zo2_status s = value ? add_value(sp, v, value, keys[i], file) : ZO2_OK;
        if (s)
            return s;
    }
    static const char more[] = "additional_special_tokens";
    const json_t *list = json_object_get(root, more);
    if (!list || json_is_null(list))
        return ZO2_OK;
    if (!json_is_array(list))
        return zo2_error(ZO2_ERR_FORMAT, "%s: \"%s\" is not a list", file, more);
    for (size_t i = 0; i < json_array_size(list); i++) {
        zo2_status s = add_value(sp, v, json_array_get(list, i), more, file);
        if (s)
            return s;
    }
    return ZO2_OK;
}

/* added_tokens.json: {"text": id} */
static zo2_status add_added(zo2t_specials *sp, zo2t_vocab *v, json_t *root, const char *file)
{
    const char *key;
    json_t *value;
    json_object_foreach(root, key, value)
    {
        char q[ZO2T_QUOTE_BYTES];
        if (!json_is_integer(value))
            return zo2_error(ZO2_ERR_FORMAT, "%s: the id of token %s is not an integer", file,
                             zo2t_quote(q, key, strlen(key)));
        zo2_status s = zo2t_vocab_add(v, key, strlen(key), json_integer_value(value), file);
        if (!s)
            s = add(sp, v, key, file);
        if (s)
            return s;
    }
    return ZO2_OK;
}

/* tokenizer_config.json, "added_tokens_decoder": {"id": {"content": "text", ...}} */
static zo2_status add_decoder(zo2t_specials *sp, zo2t_vocab *v, json_t *decoder, const char *file)
{
    const char *key;
    json_t *value;
    if (!decoder || json_is_null(decoder))
        return ZO2_OK;
    if (!json_is_object(decoder))
        return zo2_error(ZO2_ERR_FORMAT, "%s: \"added_tokens_decoder\" is not an object", file);
    json_object_foreach(decoder, key, value)
    {
        char q[ZO2T_QUOTE_BYTES];
        size_t digits = strspn(key, "0123456789");
        if (!digits || digits > 10 || key[digits])
            return zo2_error(ZO2_ERR_FORMAT, "%s: \"added_tokens_decoder\" has the key %s, which is no id", file,
                             zo2t_quote(q, key, strlen(key)));
        const char *text;
        zo2_status s = content(value, "added_tokens_decoder", file, &text);
        if (!s && !text)
            s = zo2_error(ZO2_ERR_FORMAT, "%s: added token %s is null", file, key);
        if (!s)
            s = zo2t_vocab_add(v, text, strlen(text), strtoll(key, NULL, 10), file);
        if (!s)
            s = add(sp, v, text, file);
        if (s)
            return s;
    }
    return ZO2_OK;
}

static int compare(const void *a, const void *b)
{
    const zo2t_special *x = a, *y = b;
    unsigned char i = (unsigned char)x->text[0], j = (unsigned char)y->text[0];
    if (i != j)
        return i < j ? -1 : 1;
    if (x->bytes != y->bytes)
        return x->bytes > y->bytes ? -1 : 1;
    return strcmp(x->text, y->text);
}

zo2_status zo2t_specials_load(zo2t_specials *sp, zo2t_vocab *v, const zo2t_tokenizer_files *files)
{
    static const char *const added_name = "added_tokens.json", *const config_name = "tokenizer_config.json",
                             *const map_name = "special_tokens_map.json";
    static const char *const opt[] = {"<s>", "<pad>", "</s>", "<unk>"};
    json_t *added = NULL, *config = NULL, *map = NULL;
    *sp = (zo2t_specials){0};

    zo2_status s = parse(added_name, &files->added_tokens, &added);
    if (!s)
        s = parse(config_name, &files->tokenizer_config, &config);
    if (!s)
        s = parse(map_name, &files->special_tokens_map, &map);
    if (!s && config && json_is_true(json_object_get(config, "add_prefix_space")))
        s = zo2_error(ZO2_ERR_UNSUPPORTED, "%s: \"add_prefix_space\": true is not supported", config_name);
    /* Ids first, then names that refer to them. */
    if (!s && added)
        s = add_added(sp, v, added, added_name);
    if (!s && config)
        s = add_decoder(sp, v, json_object_get(config, "added_tokens_decoder"), config_name);
    if (!s && config)
        s = add_named(sp, v, config, config_name);
    if (!s && map)
        s = add_named(sp, v, map, map_name);
    if (!s && !sp->n) {
        for (size_t i = 0; i < sizeof opt / sizeof *opt && !s; i++) {
            if (zo2t_vocab_find(v, opt[i], strlen(opt[i])) >= 0)
                s = add(sp, v, opt[i], "vocab.json");
        }
    }
    json_decref(added);
    json_decref(config);
    json_decref(map);
    if (s)
        return s;

    if (sp->n)
        qsort(sp->token, sp->n, sizeof *sp->token, compare);
    for (size_t i = 0; i < sp->n; i++)
        sp->first[(unsigned char)sp->token[i].text[0] + 1]++;
    for (size_t c = 0; c < 256; c++)
        sp->first[c + 1] += sp->first[c];
    return ZO2_OK;
}

const zo2t_special *zo2t_specials_find(const zo2t_specials *sp, const char *text, size_t bytes, size_t at,
                                       size_t *start)
{
    for (; at < bytes && sp->n; at++) {
        unsigned char c = (unsigned char)text[at];
        for (uint32_t i = sp->first[c]; i < sp->first[c + 1]; i++) {
            const zo2t_special *t = &sp->token[i];
            if (t->bytes > bytes - at || memcmp(text + at, t->text, t->bytes))
                continue;
            *start = at;
            return t;
        }
    }
    *start = bytes;
    return NULL;
}

void zo2t_specials_free(zo2t_specials *sp)
{
    for (size_t i = 0; i < sp->n; i++)
        free(sp->token[i].text);
    free(sp->token);
    *sp = (zo2t_specials){0};
}
