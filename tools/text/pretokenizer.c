/* pretokenizer.c: see pretokenizer.h. */
#include "tools/text/pretokenizer.h"
#include "tools/text/bytes.h"
#include "tools/text/json_file.h"
#include "tools/text/pattern.h"

#include <stdbool.h>
#include <string.h>

#define S ZO2T_WHITE_SPACE

static const zo2t_pretokenizer known[] = {
    {"GPT-2", "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+",
     "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^" S "\\p{L}\\p{N}]+|[" S "]+(?![^" S "])|[" S "]+"},
};

#undef S

const zo2t_pretokenizer *zo2t_pretokenizer_gpt2(void)
{
    return &known[0];
}

static zo2_status by_regex(const zo2t_pretokenizer **out, const json_t *split)
{
    char q[ZO2T_QUOTE_BYTES];
    const json_t *pattern = json_object_get(split, "pattern");
    const char *regex = json_string_value(json_object_get(pattern, "Regex"));
    const char *behavior = json_string_value(json_object_get(split, "behavior"));
    if (!regex || !behavior || strcmp(behavior, "Isolated") || json_is_true(json_object_get(split, "invert")))
        return zo2_error(
            ZO2_ERR_UNSUPPORTED,
            "tokenizer.json: a \"Split\" that does not keep all matches of a regular expression is not supported "
            "by this version");
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (!strcmp(regex, known[i].regex)) {
            *out = &known[i];
            return ZO2_OK;
        }
    }
    return zo2_error(ZO2_ERR_UNSUPPORTED,
                     "tokenizer.json: the pre-tokenizer's \"Split\" pattern %s is not supported by this version",
                     zo2t_quote(q, regex, strlen(regex)));
}

/* ByteLevel: GPT-2's pattern unless "use_regex" is false, and bytes become characters. */
static zo2_status byte_level(bool *uses_regex, const json_t *value)
{
    if (json_is_true(json_object_get(value, "add_prefix_space")))
        return zo2_error(ZO2_ERR_UNSUPPORTED,
                         "tokenizer.json: \"add_prefix_space\": true is not supported by this version");
    *uses_regex = !json_is_false(json_object_get(value, "use_regex"));
    return ZO2_OK;
}

/* The list of steps, a single one or a Sequence: a Split and ByteLevel without a pattern, or ByteLevel alone. */
zo2_status zo2t_pretokenizer_read(const zo2t_pretokenizer **out, const json_t *value)
{
    char q[ZO2T_QUOTE_BYTES];
    const char *type;
    bool bytes = false;
    *out = NULL;
    const json_t *list = zo2t_json_steps(value, "pretokenizers");
    const size_t n = list ? json_array_size(list) : value != NULL;
    for (size_t i = 0; i < n; i++) {
        const json_t *step = list ? json_array_get(list, i) : value;
        zo2_status s = zo2t_json_type(&type, "pre_tokenizer", step);
        if (s)
            return s;
        bool split = !strcmp(type, "Split"), uses_regex = false;
        if (bytes || (split ? *out != NULL : strcmp(type, "ByteLevel") != 0))
            return zo2_error(ZO2_ERR_UNSUPPORTED,
                             "tokenizer.json: \"pre_tokenizer\" %s%s is not supported by this version",
                             zo2t_quote(q, type, strlen(type)), i ? " behind another one" : "");
        s = split ? by_regex(out, step) : byte_level(&uses_regex, step);
        if (s)
            return s;
        bytes = !split;
        if (uses_regex && *out)
            return zo2_error(
                ZO2_ERR_UNSUPPORTED,
                "tokenizer.json: two patterns one after another, \"Split\" and \"ByteLevel\" with its \"use_regex\", "
                "are not supported by this version");
        if (uses_regex)
            *out = zo2t_pretokenizer_gpt2();
    }
    if (!bytes || !*out)
        return zo2_error(ZO2_ERR_UNSUPPORTED,
                         "tokenizer.json: a \"pre_tokenizer\" without %s is not supported by this version",
                         bytes ? "a pattern" : "\"ByteLevel\"");
    return ZO2_OK;
}
