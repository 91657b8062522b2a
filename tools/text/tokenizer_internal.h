/* tokenizer_internal.h: what a tokenizer is. Used by tokenizer.c and encode.c only. */
#ifndef ZO2_TOOLS_TEXT_TOKENIZER_INTERNAL_H
#define ZO2_TOOLS_TEXT_TOKENIZER_INTERNAL_H

#include <assert.h>

#include "tools/text/parts.h"

/* Words seen lately: direct-mapped, a new word takes the place of the one there. A text is mostly words that were there
 * before; longer ones are not worth the memory. */
#define ZO2T_CACHE_SLOTS 32768
#define ZO2T_CACHE_BYTES 22
#define ZO2T_CACHE_IDS   10

typedef struct zo2t_cached {
    uint8_t bytes, n; /* bytes 0: free */
    char word[ZO2T_CACHE_BYTES];
    int32_t id[ZO2T_CACHE_IDS];
} zo2t_cached;

static_assert(sizeof(zo2t_cached) == 64, "one cache line a word");

struct zo2t_tokenizer {
    zo2t_parts parts;
    zo2t_pattern *words[ZO2T_WORD_STEPS];
    bool spaced;  /* is ZO2T_META in a token a space? */
    char *spaces; /* scratch: a text with ZO2T_META for its spaces */
    size_t spaces_capacity;
    zo2t_cached *cache; /* [ZO2T_CACHE_SLOTS] */
};

#endif
