/* gguf_tokenizer.h: the tokenizer that a GGUF file holds, as Hugging Face's tokenizer.json, and back. Byte-level vocabularies ("gpt2")
 * have merges and a name for how a text is split first; SentencePiece's ("llama") have scores instead of merges. Private to this
 * folder. */
#ifndef ZO2_STORAGE_CHECKPOINT_GGUF_TOKENIZER_H
#define ZO2_STORAGE_CHECKPOINT_GGUF_TOKENIZER_H

#include "storage/checkpoint/gguf_meta.h"

#include <jansson.h>

/* tokenizer.ggml.token_type */
typedef enum zo2_gguf_token {
    ZO2_GGUF_NORMAL = 1,
    ZO2_GGUF_UNKNOWN,
    ZO2_GGUF_CONTROL,      /* special: never comes from a text */
    ZO2_GGUF_USER_DEFINED, /* added, and part of texts */
    ZO2_GGUF_UNUSED,       /* fills up a vocabulary */
    ZO2_GGUF_BYTE,         /* "<0x0A>", where nothing else is left */
} zo2_gguf_token;

/* A way of splitting texts before the merges of a byte-level vocabulary, as tokenizer.ggml.pre names it. */
typedef struct zo2_gguf_pre {
    const char *name;
    const char *regex; /* NULL: GPT-2's, which Hugging Face's ByteLevel has itself */
    int digits;        /* each digit by itself, before that */
    int ignore_merges; /* words of the vocabulary are taken whole */
    int nfc;           /* texts are normalised first */
    int bos;           /* llama.cpp puts a BOS in front unless add_bos_token says otherwise */
} zo2_gguf_pre;

const zo2_gguf_pre *zo2_gguf_pre_of(zo2_gguf_text name); /* NULL if it isn't known */

/* The names of llama.cpp for what a tokenizer.json does; NULL: it has none that is known here. */
const zo2_gguf_pre *zo2_gguf_pre_find(const char *regex, int digits, int ignore_merges, int nfc);

/* tokenizer.json, malloc'ed; NULL if the file has no tokenizer that is known here: why[n] says so. ZO2_ERR_FORMAT: its arrays don't
 * fit together. */
zo2_status zo2_gguf_tokenizer(const zo2_gguf_header *h, char **text, size_t *bytes, char *why, size_t n);

/* tokenizer_config.json: special tokens and the chat template; NULL of a kind that isn't known. */
zo2_status zo2_gguf_tokenizer_config(const zo2_gguf_header *h, char **text, size_t *bytes);

/* Whether a BOS goes in front of texts. */
int zo2_gguf_adds_bos(const zo2_gguf_header *h);

/* Merges that do what the scores of a SentencePiece vocabulary do, best first, as Hugging Face's converter makes them: every way to
 * make a token of two others, by the token's score. tokens[n]: those that texts are made of have types NORMAL. NULL: out of memory. */
json_t *zo2_gguf_merges(const zo2_gguf_text *tokens, const float *scores, const int *types, uint64_t n);

#endif
