/* tokenizer_json.c: tokenizer.json, the one file of Hugging Face's tokenizers library that says everything. Its "decoder" isn't
 * looked at: what a token stands for follows from the rest. */
#include "tools/text/bytes.h"
#include "tools/text/json_file.h"
#include "tools/text/parts.h"

#include <string.h>

#define FILE_NAME "tokenizer.json"

/* NULL for null as for what isn't there. */
static const json_t *get(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return json_is_null(value) ? NULL : value;
}

/* ---- model ------------------------------------------------------------------------------------------------------- */

static bool is_empty(const json_t *value)
{
    return !value || json_is_false(value) || (json_is_string(value) && !json_string_length(value)) ||
           (json_is_number(value) && json_number_value(value) == 0);
}

static zo2_status check_model(const json_t *model)
{
    static const char *const without[] = {"dropout", "continuing_subword_prefix", "end_of_word_suffix"};
    char q[ZO2T_QUOTE_BYTES];
    const char *type = json_string_value(get(model, "type"));
    if (!json_is_object(model))
        return zo2_error(ZO2_ERR_FORMAT, FILE_NAME ": no object \"model\"");
    if (type ? strcmp(type, "BPE") != 0 : !get(model, "merges")) /* old files have no type */
        return zo2_error(ZO2_ERR_UNSUPPORTED,
                         FILE_NAME ": models of type %s are not supported by this version, only BPE",
                         type ? zo2t_quote(q, type, strlen(type)) : "other than BPE");
    for (size_t i = 0; i < sizeof without / sizeof *without; i++) {
        if (!is_empty(get(model, without[i])))
            return zo2_error(ZO2_ERR_UNSUPPORTED, FILE_NAME ": \"%s\" of the model is not supported by this version",
                             without[i]);
    }
    return ZO2_OK;
}

static zo2t_bpe_form form_of(const json_t *model, const zo2t_pretokenizer *p)
{
    return (zo2t_bpe_form){
        .bytes = p->bytes,
        .may_lack = !json_string_value(get(model, "unk_token")),
        .ignore_merges = json_is_true(get(model, "ignore_merges")),
        .byte_fallback = json_is_true(get(model, "byte_fallback")),
        .fuse_unknown = json_is_true(get(model, "fuse_unk")),
        .unknown = json_string_value(get(model, "unk_token")),
    };
}

static zo2_status read_model(zo2t_parts *t, const json_t *model)
{
    const zo2t_bpe_form form = form_of(model, &t->pretokenizer);
    zo2_status s = zo2t_vocab_from(&t->vocab, get(model, "vocab"), FILE_NAME);
    if (!s)
        s = zo2t_bpe_from(&t->bpe, &t->vocab, get(model, "merges"), &form);
    if (!s && t->bpe.lacking)
        s = zo2t_notes_add(&t->notes,
                           FILE_NAME
                           ": its vocabulary has no token for %d of the 256 bytes: texts lose these, as they do in "
                           "Hugging Face's library",
                           t->bpe.lacking);
    t->model_tokens = t->vocab.n;
    return s;
}

/* ---- added tokens ------------------------------------------------------------------------------------------------ */

static zo2_status read_added(zo2t_parts *t, const json_t *list)
{
    if (list && !json_is_array(list))
        return zo2_error(ZO2_ERR_FORMAT, FILE_NAME ": \"added_tokens\" is not a list");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *token = json_array_get(list, i), *id = json_object_get(token, "id");
        const json_int_t n = json_integer_value(id);
        if (!json_is_integer(id) || n < 0)
            return zo2_error(ZO2_ERR_FORMAT, FILE_NAME ": added token %zu has no \"id\"", i + 1);
        zo2_status s = zo2t_parts_add_token(t, token, n, "added_tokens", FILE_NAME);
        if (s)
            return s;
    }
    return ZO2_OK;
}

/* ---- what is put around a text ----------------------------------------------------------------------------------- */

typedef struct around {
    int32_t front; /* the last of the tokens in front */
    size_t in_front, behind;
    bool text; /* has the text been seen? */
} around;

static zo2_status add_around(around *a, const json_t *id)
{
    if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) > INT32_MAX)
        return zo2_error(ZO2_ERR_FORMAT, FILE_NAME ": \"post_processor\" adds a token without id");
    if (a->text) {
        a->behind++;
    } else {
        a->in_front++;
        a->front = (int32_t)json_integer_value(id);
    }
    return ZO2_OK;
}

/* "single": [{"SpecialToken": {"id": "<s>"}}, {"Sequence": {"id": "A"}}, ...], "special_tokens": {"<s>": {"ids": [0]}} */
static zo2_status read_template(around *a, const json_t *value)
{
    const json_t *single = get(value, "single"), *tokens = get(value, "special_tokens");
    bool text = false;
    for (size_t i = 0; i < json_array_size(single); i++) {
        const json_t *item = json_array_get(single, i), *special = get(item, "SpecialToken");
        if (!special) {
            const char *id = json_string_value(get(get(item, "Sequence"), "id"));
            if (!id || strcmp(id, "A") || text)
                break;
            text = a->text = true;
            continue;
        }
        const char *name = json_string_value(get(special, "id"));
        const json_t *ids = name ? get(get(tokens, name), "ids") : NULL;
        zo2_status s = json_array_size(ids)
                           ? ZO2_OK
                           : zo2_error(ZO2_ERR_FORMAT, FILE_NAME ": \"post_processor\" adds a token without id");
        for (size_t k = 0; k < json_array_size(ids) && !s; k++)
            s = add_around(a, json_array_get(ids, k));
        if (s)
            return s;
    }
    return text ? ZO2_OK
                : zo2_error(ZO2_ERR_UNSUPPORTED,
                            FILE_NAME ": \"post_processor\" has a template that doesn't hold the text once");
}

/* RoBERTa's and BERT's: "cls" in front, "sep" behind, each [text, id]. */
static zo2_status read_cls(around *a, const json_t *value)
{
    zo2_status s = add_around(a, json_array_get(get(value, "cls"), 1));
    a->text = true;
    return s ? s : add_around(a, json_array_get(get(value, "sep"), 1));
}

static zo2_status read_step(around *a, const json_t *value)
{
    char q[ZO2T_QUOTE_BYTES];
    const char *type;
    zo2_status s = zo2t_json_type(&type, "post_processor", value);
    if (s || !strcmp(type, "ByteLevel")) /* that one is about offsets */
        return s;
    if (a->text)
        return zo2_error(ZO2_ERR_UNSUPPORTED,
                         FILE_NAME ": a \"post_processor\" %s behind another one is not supported by this version",
                         zo2t_quote(q, type, strlen(type)));
    if (!strcmp(type, "TemplateProcessing"))
        return read_template(a, value);
    if (!strcmp(type, "RobertaProcessing") || !strcmp(type, "BertProcessing"))
        return read_cls(a, value);
    return zo2_error(ZO2_ERR_UNSUPPORTED, FILE_NAME ": \"post_processor\" %s is not supported by this version",
                     zo2t_quote(q, type, strlen(type)));
}

static zo2_status read_around(zo2t_parts *t, const json_t *value)
{
    around a = {.front = -1};
    const json_t *list = zo2t_json_steps(value, "processors");
    zo2_status s = ZO2_OK;
    for (size_t i = 0; value && i < (list ? json_array_size(list) : 1) && !s; i++)
        s = read_step(&a, list ? json_array_get(list, i) : value);
    if (!s && a.in_front > 1)
        s = zo2_error(ZO2_ERR_UNSUPPORTED,
                      FILE_NAME ": \"post_processor\" puts %zu tokens in front of a text, which this version doesn't",
                      a.in_front);
    if (!s && a.behind)
        s = zo2t_notes_add(&t->notes,
                           FILE_NAME
                           ": the tokenizer puts %zu token%s behind every text; zo2 doesn't: write them into the "
                           "texts where they are wanted",
                           a.behind, a.behind == 1 ? "" : "s");
    t->bos = a.front;
    return s;
}

zo2_status zo2t_parts_from_json(zo2t_parts *t, const json_t *tokenizer)
{
    const json_t *model = get(tokenizer, "model");
    zo2_status s;
    if ((s = check_model(model)) || (s = zo2t_normalizer_read(&t->normalizer, get(tokenizer, "normalizer"))) ||
        (s = zo2t_pretokenizer_read(&t->pretokenizer, get(tokenizer, "pre_tokenizer"))) || (s = read_model(t, model)))
        return s;
    s = read_added(t, get(tokenizer, "added_tokens"));
    return s ? s : read_around(t, get(tokenizer, "post_processor"));
}
