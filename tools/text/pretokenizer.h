/* pretokenizer.h: how a text is cut into words before their symbols are merged: one table of all patterns that are known. Another one
 * is a row of it (pretokenizer.c). */
#ifndef ZO2_TOOLS_TEXT_PRETOKENIZER_H
#define ZO2_TOOLS_TEXT_PRETOKENIZER_H

#include <jansson.h>
#include <stdbool.h>

#include "engine/zo2.h"

#define ZO2T_WORD_STEPS 4
#define ZO2T_META       "\xE2\x96\x81" /* U+2581, which stands for a space */

typedef struct zo2t_word_pattern {
    const char *name;
    const char *regex;   /* as tokenizer.json writes it in a "Split"; NULL: another step */
    const char *pattern; /* the same for zo2t_pattern_compile(): matches at every place of a text, never empty */
} zo2t_word_pattern;

/* Where a text gets a space in front, unless it begins with one. */
typedef enum zo2t_prepend {
    ZO2T_PREPEND_NEVER,
    ZO2T_PREPEND_FIRST, /* what begins the whole text */
    ZO2T_PREPEND_ALWAYS /* what follows an added token, too */
} zo2t_prepend;

typedef struct zo2t_pretokenizer {
    bool bytes;     /* words are bytes in GPT-2's alphabet: "ByteLevel" */
    bool metaspace; /* every space becomes ZO2T_META */
    zo2t_prepend prepend;
    const zo2t_word_pattern
        *step[ZO2T_WORD_STEPS]; /* [n] each cuts the words of the one before it; none: the text is one word */
    size_t n;
} zo2t_pretokenizer;

/* GPT-2's and OPT's. */
zo2t_pretokenizer zo2t_pretokenizer_gpt2(void);

/* The one that "pre_tokenizer" of tokenizer.json asks for; NULL is an absent one. ZO2_ERR_UNSUPPORTED names what isn't in the
 * table, ZO2_ERR_FORMAT. Messages begin with "tokenizer.json: ". */
zo2_status zo2t_pretokenizer_read(zo2t_pretokenizer *out, const json_t *value);

/* Its name for people, "Llama-3" or "Digits, GPT-2"; "" for none. Cut to fit. */
void zo2t_pretokenizer_name(const zo2t_pretokenizer *p, char *out, size_t bytes);

#endif
