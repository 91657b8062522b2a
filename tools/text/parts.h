/* parts.h: what a tokenizer is made of, and the functions that read it from files. Used by tokenizer.c only, and by the files that
 * implement it. Messages begin with a file's name. */
#ifndef ZO2_TOOLS_TEXT_PARTS_H
#define ZO2_TOOLS_TEXT_PARTS_H

#include <jansson.h>

#include "tools/text/bpe.h"
#include "tools/text/notes.h"
#include "tools/text/pretokenizer.h"
#include "tools/text/special.h"
#include "tools/text/tokenizer.h"
#include "tools/text/vocab.h"

typedef struct zo2t_parts {
    zo2t_vocab vocab;
    size_t model_tokens; /* of vocab: those of the vocabulary itself; added tokens follow */
    zo2t_bpe bpe;
    zo2t_normalizer normalizer;
    zo2t_pretokenizer pretokenizer;
    zo2t_specials specials;
    int32_t bos; /* see zo2t_tokenizer_bos() */
    zo2t_notes notes;
} zo2t_parts;

void zo2t_parts_free(zo2t_parts *t);

/* The files as JSON, NULL where there is none. */
typedef struct zo2t_roots {
    json_t *tokenizer, *config, *map, *added;
} zo2t_roots;

/* tokenizer.json: vocabulary, merges, normaliser, pre-tokeniser, added tokens, BOS. ZO2_ERR_UNSUPPORTED names what this version lacks. */
zo2_status zo2t_parts_from_json(zo2t_parts *t, const json_t *tokenizer);

/* vocab.json and merges.txt. */
zo2_status zo2t_parts_from_pair(zo2t_parts *t, const zo2t_file *vocab, const zo2t_file *merges, const json_t *config);

/* Notes where vocab.json or merges.txt differ from tokenizer.json, whose they both are. Absent ones are fine. */
zo2_status zo2t_parts_compare(zo2t_parts *t, const json_t *tokenizer, const zo2t_file *vocab, const zo2t_file *merges);

/* Added and special tokens that the other three files name, as Hugging Face reads them, and the BOS where tokenizer.json doesn't
 * decide it. Last of all. */
zo2_status zo2t_parts_special_files(zo2t_parts *t, const zo2t_roots *roots);

/* Adds a token {"content": text, "id": ..., flags} or text to the vocabulary, if `id` is not negative, and to the special tokens.
 * `what` names it in messages. */
zo2_status zo2t_parts_add_token(zo2t_parts *t, const json_t *value, int64_t id, const char *what, const char *file);

/* The text of a token written as a string or {"content": "..."}: *text is NULL for null. */
zo2_status zo2t_token_text(const json_t *value, const char *what, const char *file, const char **text);

#endif
