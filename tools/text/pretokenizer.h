/* pretokenizer.h: how a text is cut into words before their bytes are merged: one table of all that are known. Another one is a
 * row of it (pretokenizer.c). */
#ifndef ZO2_TOOLS_TEXT_PRETOKENIZER_H
#define ZO2_TOOLS_TEXT_PRETOKENIZER_H

#include <jansson.h>

#include "engine/zo2.h"

typedef struct zo2t_pretokenizer {
    const char *name;
    const char *regex;   /* as tokenizer.json writes it in a "Split" */
    const char *pattern; /* the same for zo2t_pattern_compile(): matches at every place of a text, never empty */
} zo2t_pretokenizer;

/* GPT-2's and OPT's. */
const zo2t_pretokenizer *zo2t_pretokenizer_gpt2(void);

/* The one that "pre_tokenizer" of tokenizer.json asks for; NULL is an absent one. ZO2_ERR_UNSUPPORTED names what isn't in the
 * table, ZO2_ERR_FORMAT. Messages begin with "tokenizer.json: ". */
zo2_status zo2t_pretokenizer_read(const zo2t_pretokenizer **out, const json_t *value);

#endif
