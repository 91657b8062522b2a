/* vocab.h: a tokenizer's vocabulary: token texts (as the files write them) and their ids, both ways. */
#ifndef ZO2_TOOLS_TEXT_VOCAB_H
#define ZO2_TOOLS_TEXT_VOCAB_H

#include <jansson.h>

#include "engine/zo2.h"

typedef struct zo2t_token {
    int32_t id;
    uint32_t at, bytes; /* text in the pool */
} zo2t_token;

typedef struct zo2t_vocab {
    zo2t_token *token; /* [n] in the order they were added */
    size_t n, capacity;
    uint32_t *by_id; /* [n] indices into token, rising ids: ids may have gaps and needn't be small */
    size_t by_id_capacity;
    uint32_t *slot; /* [slots] open addressing by XXH3 of the text: index + 1, 0 = free. At most half full. */
    size_t slots;
    char *pool;
    size_t pool_bytes, pool_capacity;
} zo2t_vocab;

/* Reads an object {"token": id, ...} of `file`, which messages begin with, into *v. ZO2_ERR_FORMAT: no object, an id twice, ids
 * outside [0, 2^31). zo2t_vocab_free() in any case. */
zo2_status zo2t_vocab_from(zo2t_vocab *v, const json_t *object, const char *file);

/* The same from the text of vocab.json. ZO2_ERR_FORMAT, too: not JSON, a token twice, larger than ZO2T_TEXT_FILE_BYTES. */
zo2_status zo2t_vocab_load(zo2t_vocab *v, const char *json, size_t bytes);

/* Adds one token; fine if it is there with the same id. ZO2_ERR_FORMAT with `file` in front if it has another id or
 * the id another token, or the id isn't in [0, 2^31). */
zo2_status zo2t_vocab_add(zo2t_vocab *v, const char *text, size_t bytes, int64_t id, const char *file);

/* Id of a token text, -1 if there is none. */
int32_t zo2t_vocab_find(const zo2t_vocab *v, const char *text, size_t bytes);

/* The same among the n tokens that were added first. */
int32_t zo2t_vocab_find_first(const zo2t_vocab *v, size_t n, const char *text, size_t bytes);

/* Text of an id (not NUL-terminated, valid until the next add), NULL if there is none. */
const char *zo2t_vocab_text(const zo2t_vocab *v, int64_t id, size_t *bytes);

void zo2t_vocab_free(zo2t_vocab *v);

#endif
