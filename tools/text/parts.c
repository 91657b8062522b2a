/* parts.c: see parts.h: vocab.json and merges.txt, and one added token, whichever file it comes from. */
#include "tools/text/parts.h"
#include "tools/text/bytes.h"

#include <string.h>

/* Tokenizer classes whose vocab.json and merges.txt are all that there is to know: others cut texts in other ways. */
static zo2_status check_class(const json_t *config)
{
    static const char *const same[] = {"GPT2Tokenizer", "GPT2TokenizerFast", "PreTrainedTokenizerFast",
                                       "TokenizersBackend"};
    char q[ZO2T_QUOTE_BYTES];
    const char *class = json_string_value(json_object_get(config, "tokenizer_class"));
    for (size_t i = 0; class && i < sizeof same / sizeof *same; i++) {
        if (!strcmp(class, same[i]))
            return ZO2_OK;
    }
    return class ? zo2_error(ZO2_ERR_UNSUPPORTED,
                             "tokenizer_config.json: tokenizers of class %s are not supported by this version",
                             zo2t_quote(q, class, strlen(class)))
                 : ZO2_OK;
}

void zo2t_parts_free(zo2t_parts *t)
{
    zo2t_vocab_free(&t->vocab);
    zo2t_bpe_free(&t->bpe);
    zo2t_normalizer_free(&t->normalizer);
    zo2t_specials_free(&t->specials);
    zo2t_notes_free(&t->notes);
}

zo2_status zo2t_parts_from_pair(zo2t_parts *t, const zo2t_file *vocab, const zo2t_file *merges, const json_t *config)
{
    zo2_status s = check_class(config);
    if (!s)
        s = zo2t_vocab_load(&t->vocab, vocab->data, vocab->bytes);
    if (!s)
        s = zo2t_bpe_load(&t->bpe, &t->vocab, merges->data, merges->bytes);
    t->model_tokens = t->vocab.n;
    t->pretokenizer = zo2t_pretokenizer_gpt2();
    t->bos = ZO2T_BOS_UNSAID;
    return s;
}

zo2_status zo2t_token_text(const json_t *value, const char *what, const char *file, const char **text)
{
    *text = NULL;
    if (json_is_null(value))
        return ZO2_OK;
    const json_t *string = json_is_object(value) ? json_object_get(value, "content") : value;
    if (!json_is_string(string))
        return zo2_error(ZO2_ERR_FORMAT, "%s: \"%s\" is neither a string nor an object with a string \"content\"", file,
                         what);
    *text = json_string_value(string);
    return ZO2_OK;
}

zo2_status zo2t_parts_add_token(zo2t_parts *t, const json_t *value, int64_t id, const char *what, const char *file)
{
    const char *text;
    zo2_status s = zo2t_token_text(value, what, file, &text);
    if (!s && !text)
        s = zo2_error(ZO2_ERR_FORMAT, "%s: added token %lld is null", file, (long long)id);
    if (!s && id >= 0)
        s = zo2t_vocab_add(&t->vocab, text, strlen(text), id, file);
    if (s)
        return s;
    const json_t *normalized = json_object_get(value, "normalized"), *special = json_object_get(value, "special");
    const zo2t_special token = {
        .text = (char *)(uintptr_t)text, /* copied */
        .bytes = strlen(text),
        .id = zo2t_vocab_find(&t->vocab, text, strlen(text)),
        .lstrip = json_is_true(json_object_get(value, "lstrip")),
        .rstrip = json_is_true(json_object_get(value, "rstrip")),
        .single_word = json_is_true(json_object_get(value, "single_word")),
        .normalized = json_is_boolean(normalized) ? json_is_true(normalized) : special && !json_is_true(special),
    };
    return zo2t_specials_add(&t->specials, &token, file);
}
