/* normalizer.h: what is done to a text before it is cut into words: Unicode's normalisation forms (utf8proc), a text put in front,
 * one text in place of another. */
#ifndef ZO2_TOOLS_TEXT_NORMALIZER_H
#define ZO2_TOOLS_TEXT_NORMALIZER_H

#include <jansson.h>
#include <stdbool.h>

#include "engine/zo2.h"

#define ZO2T_NORMALIZER_STEPS 8
#define ZO2T_NORMALIZER_BYTES 32 /* longest text of a step */

typedef struct zo2t_normalizer_step {
    const struct zo2t_normalizer_kind *kind;
    char text[ZO2T_NORMALIZER_BYTES], by[ZO2T_NORMALIZER_BYTES]; /* by: what takes the place of text */
} zo2t_normalizer_step;

/* {0} does nothing. */
typedef struct zo2t_normalizer {
    zo2t_normalizer_step step[ZO2T_NORMALIZER_STEPS];
    size_t n;
    char *room[2]; /* scratch: why it isn't thread-safe */
    size_t capacity[2];
} zo2t_normalizer;

/* "normalizer" of tokenizer.json; NULL is an absent one. ZO2_ERR_UNSUPPORTED names what isn't known, ZO2_ERR_FORMAT. Messages begin with
 * "tokenizer.json: ". zo2t_normalizer_free() in any case. */
zo2_status zo2t_normalizer_read(zo2t_normalizer *n, const json_t *value);

/* Normalises text[bytes], valid UTF-8. *out is in the scratch memory, valid until the next call, or the text itself where nothing changes.
 * ZO2_ERR_NOMEM; ZO2_ERR_ARG: 64 times as much, or 2 GiB or more, come of it. */
zo2_status zo2t_normalize(zo2t_normalizer *n, const char *text, size_t bytes, const char **out, size_t *out_bytes);

/* Is a text put in front of every other? */
bool zo2t_normalizer_prepends(const zo2t_normalizer *n);

/* Does a text take the place of others? */
bool zo2t_normalizer_makes(const zo2t_normalizer *n, const char *text);

/* The steps' types, "NFC" or "Prepend, Replace"; "" for none. Cut to fit. */
void zo2t_normalizer_name(const zo2t_normalizer *n, char *out, size_t bytes);

void zo2t_normalizer_free(zo2t_normalizer *n);

#endif
