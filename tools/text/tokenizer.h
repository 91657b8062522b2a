/* tokenizer.h: BPE tokenizers, from tokenizer.json or, as OPT and GPT-2 have them, from vocab.json and merges.txt: of bytes (OPT, GPT-2,
 * Llama-3, Qwen) or of characters with U+2581 for spaces and tokens for the bytes of other characters (Llama-2, Mistral).
 *
 * A text is cut at special and other added tokens, the pieces in between are normalised (normalizer.h) and cut into words by patterns
 * (pretokenizer.h), words into ids by ranked merges (bpe.h). Added tokens are recognised anywhere in a text. Every text has one encoding. It
 * decodes to the same bytes but for what a normaliser changed, a space that the tokenizer put in front, and white space that an
 * added token takes with it ("lstrip", "rstrip"). Ids are those of Hugging Face's tokenizers; what they would cut or change in
 * another way is refused by name.
 *
 * A tokenizer is one caller's at a time (it keeps a cache of words and scratch memory); different ones are independent.
 * All functions set zo2_last_error() when they fail; messages about a file begin with its name. */
#ifndef ZO2_TOOLS_TEXT_TOKENIZER_H
#define ZO2_TOOLS_TEXT_TOKENIZER_H

#include "tools/text/ids.h"

typedef struct zo2t_tokenizer zo2t_tokenizer;

typedef struct zo2t_file {
    const char *data; /* NULL: there is no such file */
    size_t bytes;
} zo2t_file;

/* The files by content; read during zo2t_tokenizer_open() only. Either tokenizer.json or both vocab.json and merges.txt are needed; where all
 * are there tokenizer.json counts, as in Hugging Face's tokenizers, and a note says where the others differ. Added tokens are
 * those of tokenizer.json and those that the other three name: `tokenizer_config.json` in "added_tokens_decoder"; without that
 * `added_tokens.json` {"text": id}; and, in both and in `special_tokens_map.json` (which goes before, and counts without that
 * decoder only), bos_token, eos_token, unk_token, pad_token, sep_token, cls_token, mask_token, additional_special_tokens,
 * extra_special_tokens. Where vocab.json and merges.txt are used and no token is named: those of <s>, <pad>, </s>, <unk> that
 * are in the vocabulary. */
typedef struct zo2t_tokenizer_files {
    zo2t_file vocab, merges, special_tokens_map, tokenizer_config, added_tokens, tokenizer;
} zo2t_tokenizer_files;

/* On success *out is the caller's until zo2t_tokenizer_close(); on failure it is NULL. ZO2_ERR_NOTFOUND: neither
 * tokenizer.json nor the two others are there. ZO2_ERR_FORMAT: a malformed file. ZO2_ERR_UNSUPPORTED: what another tokenizer has, by name. */
zo2_status zo2t_tokenizer_open(zo2t_tokenizer **out, const zo2t_tokenizer_files *files);

/* The same with the files that a pack carries; ZO2_ERR_NOTFOUND if it carries no tokenizer (synthetic models). */
zo2_status zo2t_tokenizer_open_pack(zo2t_tokenizer **out, const zo2_pack *pack);

/* The same with those in a folder, which may have none either. ZO2_ERR_IO, too. */
zo2_status zo2t_tokenizer_open_folder(zo2t_tokenizer **out, const char *folder);

void zo2t_tokenizer_close(zo2t_tokenizer *t); /* NULL is fine */

/* Appends bos (if >= 0; not checked) and the ids of text to *out. ZO2_ERR_FORMAT: not UTF-8, with the offset of the
 * first bad byte. ZO2_ERR_ARG: 2 GiB or more. On failure *out is as it was. */
zo2_status zo2t_encode(zo2t_tokenizer *t, const char *text, size_t bytes, int32_t bos, zo2t_ids *out);

/* The same without bos, and where places of the text are in the ids: mark[n] are byte offsets in it, rising; before[i] becomes the number
 * of ids in *out, those that were there included, whose tokens end at or before mark[i]. A token that takes white space with it
 * begins or ends there. A mark is where nothing composes: not between a letter and an accent. */
zo2_status zo2t_encode_marks(zo2t_tokenizer *t, const char *text, size_t bytes, zo2t_ids *out, const size_t *mark,
                             size_t *before, size_t n);

/* The bytes that n ids stand for, special tokens by their text, with a space that the tokenizer put in front. Cut within a character they are not UTF-8. *text is
 * NUL-terminated, the caller's to free(); bytes may be NULL. ZO2_ERR_ARG: an id that is not in the vocabulary. */
zo2_status zo2t_decode(const zo2t_tokenizer *t, const int32_t *ids, size_t n, char **text, size_t *bytes);

/* Id of a token as vocab.json writes it ("\xC4\xA0great", "</s>"), -1 if there is none. */
int32_t zo2t_token_id(const zo2t_tokenizer *t, const char *token);

/* How many tokens there are, and the largest id. */
size_t zo2t_tokenizer_size(const zo2t_tokenizer *t);
int32_t zo2t_tokenizer_max_id(const zo2t_tokenizer *t);

/* The token that the tokenizer puts in front of a text when Hugging Face's calls it: an id, -1 for none, ZO2T_BOS_UNSAID where no
 * file says (vocab.json and merges.txt alone). */
#define ZO2T_BOS_UNSAID (-2)
int32_t zo2t_tokenizer_bos(const zo2t_tokenizer *t);

/* What kind it is. */
typedef struct zo2t_tokenizer_info {
    const char *kind;                      /* static: "byte-level BPE" or "BPE of characters" */
    const char *file;                      /* static: "tokenizer.json" or "vocab.json" */
    size_t tokens, added;                  /* added: of them, those beside the vocabulary itself */
    char normalizer[80], pretokenizer[80]; /* names, "" for none */
    const char *others; /* static: what becomes of characters that the vocabulary lacks: "bytes" or "unknown token" */
} zo2t_tokenizer_info;

void zo2t_tokenizer_get_info(const zo2t_tokenizer *t, zo2t_tokenizer_info *out);

/* What is odd about the files: note i, a sentence for a warning; NULL past the last. */
const char *zo2t_tokenizer_note(const zo2t_tokenizer *t, size_t i);

#endif
