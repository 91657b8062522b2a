/* pretokenizer.c: see pretokenizer.h. */
#include "tools/text/pretokenizer.h"
#include "tools/text/bytes.h"
#include "tools/text/json_file.h"
#include "tools/text/pattern.h"

#include <stdio.h>
#include <string.h>

/* ---- patterns ---------------------------------------------------------------------------------------------------- */

#define S ZO2T_WHITE_SPACE

/* Ends that several have: runs of other characters with the line ends behind them, line ends, white space. */
#define END_REGEX   " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define END_PATTERN " ?[^" S "\\p{L}\\p{N}]+[\\r\\n]*|[" S "]*[\\r\\n]+|[" S "]+(?![^" S "])|[" S "]+"
#define CONTRACTED  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|"
#define UPPER       "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER       "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define CASED       "[^\\r\\n\\p{L}\\p{N}]?" UPPER "*" LOWER "+|[^\\r\\n\\p{L}\\p{N}]?" UPPER "+" LOWER "*|\\p{N}|"

static const zo2t_word_pattern known[] = {
    {"GPT-2", "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+",
     "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^" S "\\p{L}\\p{N}]+|[" S "]+(?![^" S "])|[" S "]+"},
    {"Qwen", CONTRACTED "\\p{N}|" END_REGEX, CONTRACTED "\\p{N}|" END_PATTERN},
    {"Llama-3", CONTRACTED "\\p{N}{1,3}|" END_REGEX, CONTRACTED "\\p{N}{1,3}|" END_PATTERN},
    {"Mistral-Nemo", CASED " ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
     CASED " ?[^" S "\\p{L}\\p{N}]+[\\r\\n/]*|[" S "]*[\\r\\n]+|[" S "]+(?![^" S "])|[" S "]+"},
};

#undef S

static const zo2t_word_pattern digits = {"Digits", NULL, "\\p{N}+|\\P{N}+"},
                               single_digits = {"single Digits", NULL, "\\p{N}|\\P{N}+"},
                               metaspaces = {"Metaspace", NULL, "\\x{2581}[^\\x{2581}]*|[^\\x{2581}]+"};

zo2t_pretokenizer zo2t_pretokenizer_gpt2(void)
{
    return (zo2t_pretokenizer){.bytes = true, .step = {&known[0]}, .n = 1};
}

static zo2_status add_pattern(zo2t_pretokenizer *p, const zo2t_word_pattern *pattern)
{
    if (p->n == ZO2T_WORD_STEPS)
        return zo2_error(
            ZO2_ERR_UNSUPPORTED,
            "tokenizer.json: a \"pre_tokenizer\" of more than %d patterns is not supported by this version",
            ZO2T_WORD_STEPS);
    p->step[p->n++] = pattern;
    return ZO2_OK;
}

/* ---- steps ------------------------------------------------------------------------------------------------------- */

static zo2_status read_split(zo2t_pretokenizer *p, const json_t *split)
{
    char q[ZO2T_QUOTE_BYTES];
    const char *regex = json_string_value(json_object_get(json_object_get(split, "pattern"), "Regex"));
    const char *behavior = json_string_value(json_object_get(split, "behavior"));
    if (!regex || !behavior || strcmp(behavior, "Isolated") || json_is_true(json_object_get(split, "invert")))
        return zo2_error(
            ZO2_ERR_UNSUPPORTED,
            "tokenizer.json: a \"Split\" that does not keep all matches of a regular expression is not supported "
            "by this version");
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (!strcmp(regex, known[i].regex))
            return add_pattern(p, &known[i]);
    }
    return zo2_error(ZO2_ERR_UNSUPPORTED,
                     "tokenizer.json: the pre-tokenizer's \"Split\" pattern %s is not supported by this version",
                     zo2t_quote(q, regex, strlen(regex)));
}

static zo2_status read_digits(zo2t_pretokenizer *p, const json_t *value)
{
    return add_pattern(p, json_is_true(json_object_get(value, "individual_digits")) ? &single_digits : &digits);
}

/* ByteLevel: GPT-2's pattern unless "use_regex" is false, and bytes become characters. */
static zo2_status read_bytes(zo2t_pretokenizer *p, const json_t *value)
{
    if (json_is_true(json_object_get(value, "add_prefix_space")))
        return zo2_error(ZO2_ERR_UNSUPPORTED,
                         "tokenizer.json: \"add_prefix_space\": true is not supported by this version");
    p->bytes = true;
    return json_is_false(json_object_get(value, "use_regex")) ? ZO2_OK : add_pattern(p, &known[0]);
}

/* "prepend_scheme" is newer than "add_prefix_space"; the library refuses a file where the older one forbids what the newer one asks for. */
static zo2_status read_scheme(zo2t_prepend *out, const json_t *value)
{
    static const char *const names[] = {"never", "first", "always"};
    char q[ZO2T_QUOTE_BYTES];
    const json_t *scheme = json_object_get(value, "prepend_scheme");
    const bool without = json_is_false(json_object_get(value, "add_prefix_space"));
    const char *text = scheme ? json_string_value(scheme) : without ? "never" : "always";
    for (size_t i = 0; text && i < sizeof names / sizeof *names; i++) {
        if (strcmp(text, names[i]))
            continue;
        *out = (zo2t_prepend)i;
        return without && *out != ZO2T_PREPEND_NEVER
                   ? zo2_error(
                         ZO2_ERR_FORMAT,
                         "tokenizer.json: \"Metaspace\" has \"add_prefix_space\": false and \"prepend_scheme\" %s",
                         zo2t_quote(q, text, strlen(text)))
                   : ZO2_OK;
    }
    return zo2_error(ZO2_ERR_UNSUPPORTED,
                     "tokenizer.json: \"Metaspace\" with the \"prepend_scheme\" %s is not supported by this version",
                     text ? zo2t_quote(q, text, strlen(text)) : "that isn't a text");
}

static zo2_status read_metaspace(zo2t_pretokenizer *p, const json_t *value)
{
    char q[ZO2T_QUOTE_BYTES];
    const char *replacement = json_string_value(json_object_get(value, "replacement"));
    if (!replacement || strcmp(replacement, ZO2T_META))
        return zo2_error(ZO2_ERR_UNSUPPORTED,
                         "tokenizer.json: \"Metaspace\" with the \"replacement\" %s is not supported by this version",
                         replacement ? zo2t_quote(q, replacement, strlen(replacement)) : "that isn't a text");
    zo2_status s = read_scheme(&p->prepend, value);
    p->metaspace = true;
    return s || json_is_false(json_object_get(value, "split")) ? s : add_pattern(p, &metaspaces);
}

/* What a step may follow: ByteLevel is the last one, Metaspace is alone. */
static const struct step {
    const char *type;
    zo2_status (*read)(zo2t_pretokenizer *p, const json_t *value);
    bool alone;
} steps[] = {
    {"Split", read_split, false},
    {"Digits", read_digits, false},
    {"ByteLevel", read_bytes, false},
    {"Metaspace", read_metaspace, true},
};

static zo2_status read_step(zo2t_pretokenizer *p, const json_t *value, bool first)
{
    char q[ZO2T_QUOTE_BYTES];
    const char *type;
    zo2_status s = zo2t_json_type(&type, "pre_tokenizer", value);
    for (size_t i = 0; i < sizeof steps / sizeof *steps && !s; i++) {
        if (!strcmp(type, steps[i].type) && !p->bytes && !p->metaspace && (first || !steps[i].alone))
            return steps[i].read(p, value);
    }
    return s ? s
             : zo2_error(ZO2_ERR_UNSUPPORTED, "tokenizer.json: \"pre_tokenizer\" %s%s is not supported by this version",
                         zo2t_quote(q, type, strlen(type)), first ? "" : " behind another one");
}

/* One step or a Sequence of them. */
zo2_status zo2t_pretokenizer_read(zo2t_pretokenizer *out, const json_t *value)
{
    *out = (zo2t_pretokenizer){0};
    const json_t *list = zo2t_json_steps(value, "pretokenizers");
    const size_t n = list ? json_array_size(list) : value != NULL;
    for (size_t i = 0; i < n; i++) {
        zo2_status s = read_step(out, list ? json_array_get(list, i) : value, i == 0);
        if (s)
            return s;
    }
    if ((n && !out->bytes && !out->metaspace) || (out->bytes && !out->n))
        return zo2_error(ZO2_ERR_UNSUPPORTED,
                         "tokenizer.json: a \"pre_tokenizer\" without %s is not supported by this version",
                         out->bytes ? "a pattern" : "\"ByteLevel\" or \"Metaspace\"");
    return ZO2_OK;
}

void zo2t_pretokenizer_name(const zo2t_pretokenizer *p, char *out, size_t bytes)
{
    size_t at = 0;
    snprintf(out, bytes, "%s", p->metaspace ? metaspaces.name : "");
    for (size_t i = 0; i < p->n && at < bytes && !p->metaspace; i++)
        at += (size_t)snprintf(out + at, bytes - at, "%s%s", i ? ", " : "", p->step[i]->name);
}
