/* special.h: special and other added tokens: finding them in a text before anything else is done with it, as Hugging Face's
 * tokenizers library does. */
#ifndef ZO2_TOOLS_TEXT_SPECIAL_H
#define ZO2_TOOLS_TEXT_SPECIAL_H

#include <stdbool.h>

#include "tools/text/normalizer.h"
#include "tools/text/pattern.h"

#define ZO2T_SPECIALS 4096 /* most tokens */

typedef struct zo2t_special {
    char *text;
    size_t bytes;
    int32_t id;
    bool lstrip, rstrip; /* takes the white space on that side with it */
    bool single_word;    /* not within a word */
    bool normalized;     /* looked for after the others, in what they leave, normalised; so is `text` then */
} zo2t_special;

#define ZO2T_SPECIAL_PASSES 2

typedef struct zo2t_specials {
    struct zo2t_special_set {
        zo2t_special *token; /* [n] by first byte, then longest first */
        size_t n, capacity;
        uint32_t first[257]; /* tokens that begin with byte c: [first[c], first[c + 1]) */
    } pass[ZO2T_SPECIAL_PASSES];
    zo2t_pattern *word; /* a character of a word; NULL: no token asks */
} zo2t_specials;

/* Adds a copy of *token; of two with the same id the first one counts. ZO2_ERR_FORMAT with `file` in front: too many. */
zo2_status zo2t_specials_add(zo2t_specials *sp, const zo2t_special *token, const char *file);

/* To be called after the last add, before the first scan. */
zo2_status zo2t_specials_ready(zo2t_specials *sp, zo2t_normalizer *normalizer);

bool zo2t_specials_has(const zo2t_specials *sp, int32_t id);

/* A walk through the tokens that a pass finds in a text: {specials, pass, text, bytes, 0, 0}. */
typedef struct zo2t_special_scan {
    const zo2t_specials *specials;
    size_t pass;
    const char *text;
    size_t bytes;
    size_t at, done; /* where to look next; where the token returned last ended, with the white space behind it */
} zo2t_special_scan;

/* The next token, NULL behind the last. Of those that begin at a place the longest. [*start, scan->done) is what it covers; *start may
 * lie before the last `done` where that token took white space which this one begins with. */
zo2_status zo2t_specials_next(zo2t_special_scan *scan, const zo2t_special **token, size_t *start);

void zo2t_specials_free(zo2t_specials *sp);

#endif
