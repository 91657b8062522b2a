/* special.h: special tokens: which there are, and finding them in a text before anything else is done with it. */
#ifndef ZO2_TOOLS_TEXT_SPECIAL_H
#define ZO2_TOOLS_TEXT_SPECIAL_H

#include "tools/text/tokenizer.h"
#include "tools/text/vocab.h"

#define ZO2T_SPECIALS 4096 /* most special tokens */

typedef struct zo2t_special {
    char *text;
    size_t bytes;
    int32_t id;
} zo2t_special;

typedef struct zo2t_specials {
    zo2t_special *token; /* [n] by first byte, then longest first */
    size_t n, capacity;
    uint32_t first[257]; /* tokens that begin with byte c: [first[c], first[c + 1]) */
} zo2t_specials;

/* Reads which special tokens the files name (see zo2t_tokenizer_files) and adds ids of added tokens to *v. Errors begin
 * with the file: not JSON, a token without id, an id that is taken, settings that this tokenizer doesn't have (lstrip,
 * rstrip, single_word, add_prefix_space). zo2t_specials_free() in any case. */
zo2_status zo2t_specials_load(zo2t_specials *sp, zo2t_vocab *v, const zo2t_tokenizer_files *files);

/* The first special token in text[at..bytes), of those that begin there the longest: *start is where, `bytes` and NULL
 * returned if there is none. */
const zo2t_special *zo2t_specials_find(const zo2t_specials *sp, const char *text, size_t bytes, size_t at,
                                       size_t *start);

void zo2t_specials_free(zo2t_specials *sp);

#endif
