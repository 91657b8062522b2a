/* bpe.h: byte-pair encoding of one pre-token (word) with ranked merges. */
#ifndef ZO2_TOOLS_TEXT_BPE_H
#define ZO2_TOOLS_TEXT_BPE_H

#include <jansson.h>

#include "tools/text/ids.h"
#include "tools/text/vocab.h"

typedef struct zo2t_merge {
    uint64_t pair; /* left id << 32 | right id */
    uint32_t rank; /* 0 = free slot, else 1 + place in the file */
    int32_t result;
} zo2t_merge;

typedef struct zo2t_symbol {
    int32_t id; /* -1: swallowed by the one before it */
    uint32_t previous, next;
} zo2t_symbol;

typedef struct zo2t_candidate {
    uint32_t rank, at;   /* at: index of the left symbol */
    int32_t left, right; /* ids when it was found: it is stale if they changed */
    int32_t result;
} zo2t_candidate;

typedef struct zo2t_bpe {
    const char *file, *unit; /* of the merges, for messages: "merges.txt", "line" */
    const char *vocab_file;
    int32_t byte_id[256];
    zo2t_merge *slot; /* [slots] open addressing, at most half full */
    size_t slots;
    uint64_t merges;
    /* scratch of zo2t_bpe_word(): why it isn't thread-safe */
    zo2t_symbol *symbol;
    size_t symbols;
    zo2t_candidate *heap; /* min-heap by (rank, at) */
    size_t heap_n, heap_capacity;
    zo2t_candidate *fresh; /* pairs that appeared while a rank's merges were done */
    size_t fresh_n, fresh_capacity;
} zo2t_bpe;

/* Finds the 256 byte tokens in the vocabulary and reads merges.txt (line 1 "#version...", then "left right" a line,
 * best first). Errors begin with the file and line: a byte without a token; no version line; a line that isn't two
 * tokens; a token or a merged token that isn't in the vocabulary; a pair twice; too large. zo2t_bpe_free() in any
 * case. */
zo2_status zo2t_bpe_load(zo2t_bpe *b, const zo2t_vocab *v, const char *merges, size_t bytes);

/* The same from "merges" of tokenizer.json, ["left right" or ["left", "right"], ...], with the vocabulary there. */
zo2_status zo2t_bpe_from(zo2t_bpe *b, const zo2t_vocab *v, const json_t *merges);

/* Appends the ids of a word (any bytes, fewer than 2^31). The pair with the best rank is merged everywhere in the word,
 * left to right, until no pair has a rank: exactly GPT-2's reference procedure, in O(n log n). ZO2_ERR_NOMEM. */
zo2_status zo2t_bpe_word(zo2t_bpe *b, const char *word, size_t bytes, zo2t_ids *out);

void zo2t_bpe_free(zo2t_bpe *b);

#endif
