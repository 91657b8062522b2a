/* bpe.h: byte-pair encoding of one pre-token (word) with ranked merges. Its first symbols are bytes, written in GPT-2's alphabet, or
 * characters; characters that the vocabulary lacks are the tokens of their bytes ("<0x0A>") or the unknown token. */
#ifndef ZO2_TOOLS_TEXT_BPE_H
#define ZO2_TOOLS_TEXT_BPE_H

#include <jansson.h>
#include <stdbool.h>

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
    uint32_t bytes; /* of the word that it stands for */
} zo2t_symbol;

typedef struct zo2t_candidate {
    uint32_t rank, at; /* at: index of the left symbol */
    int32_t result;
} zo2t_candidate;

/* What "model" of tokenizer.json says besides its vocabulary and merges. */
typedef struct zo2t_bpe_form {
    bool bytes;    /* symbols are bytes in GPT-2's alphabet; else characters */
    bool may_lack; /* bytes: the vocabulary may lack rare ones, which texts then lose, as in Hugging Face's library */
    bool ignore_merges;  /* a word that is a token needs no merges */
    bool byte_fallback;  /* characters: those that the vocabulary lacks become "<0x00>" ... "<0xFF>" */
    bool fuse_unknown;   /* else: consecutive ones become one unknown token */
    const char *unknown; /* without byte_fallback; NULL: none */
} zo2t_bpe_form;

typedef struct zo2t_bpe {
    const char *file, *unit; /* of the merges, for messages: "merges.txt", "line" */
    const char *vocab_file;
    const zo2t_vocab *vocab; /* the first `tokens` of it: added tokens come later */
    size_t tokens;
    zo2t_bpe_form form;
    int32_t byte_id[256]; /* of a byte, or of the token that stands for it; -1: it is left out */
    int lacking;          /* bytes that are */
    int32_t unknown_id;
    size_t longest;   /* bytes of the longest token; ignore_merges only */
    zo2t_merge *slot; /* [slots] open addressing, at most half full */
    size_t slots;
    uint64_t merges;
    /* scratch of zo2t_bpe_word(): why it isn't thread-safe */
    zo2t_symbol *symbol;
    uint32_t first; /* symbol of the last word; UINT32_MAX: it has none */
    size_t symbols;
    zo2t_candidate *heap; /* min-heap by (rank, at) */
    size_t heap_n, heap_capacity;
    char *text; /* a word in the byte alphabet */
    size_t text_capacity;
} zo2t_bpe;

/* Finds the 256 byte tokens in the vocabulary, which must outlive *b, and reads merges.txt (line 1 "#version...", then "left right"
 * a line, best first). Errors begin with the file and line: a byte without a token; no version line; a line that isn't two
 * tokens; a token or a merged token that isn't in the vocabulary; a pair twice; too large. zo2t_bpe_free() in any
 * case. */
zo2_status zo2t_bpe_load(zo2t_bpe *b, const zo2t_vocab *v, const char *merges, size_t bytes);

/* The same from "merges" of tokenizer.json, ["left right" or ["left", "right"], ...], with the vocabulary there. `form` is read
 * during the call only. ZO2_ERR_FORMAT, too: no token for a byte, or for what is unknown. */
zo2_status zo2t_bpe_from(zo2t_bpe *b, const zo2t_vocab *v, const json_t *merges, const zo2t_bpe_form *form);

/* The merge of two tokens, NULL if there is none. */
const zo2t_merge *zo2t_bpe_merge(const zo2t_bpe *b, int32_t left, int32_t right);

/* Appends the ids of a word (valid UTF-8 if its symbols are characters; fewer than 2^31 bytes). The pair with the best rank is
 * merged, of several such the leftmost one, until no pair has a rank, as Hugging Face's tokenizers library does. O(n log n).
 * ZO2_ERR_NOMEM. */
zo2_status zo2t_bpe_word(zo2t_bpe *b, const char *word, size_t bytes, zo2t_ids *out);

/* How many tokens of the word that was encoded last end at or before its byte `at`. */
size_t zo2t_bpe_tokens_before(const zo2t_bpe *b, size_t at);

void zo2t_bpe_free(zo2t_bpe *b);

#endif
