/* gguf_write.h: GGUF, out: metadata, then a file that appears complete or not at all. Who exports knows nothing of the format but
 * this, gguf_names.h and gguf_blocks.h. */
#ifndef ZO2_STORAGE_CHECKPOINT_GGUF_WRITE_H
#define ZO2_STORAGE_CHECKPOINT_GGUF_WRITE_H

#include "storage/io/io.h"

#include <stddef.h>

struct json_t;

/* ---- metadata --------------------------------------------------------------------------------------------------------- */

/* Grows by the functions below; zeroed is empty. Out of memory is remembered, and told by the writer. */
typedef struct zo2_gguf_keys {
    unsigned char *bytes;
    size_t n, cap;
    uint64_t count;
    int failed;
} zo2_gguf_keys;

void zo2_gguf_put_u32(zo2_gguf_keys *k, const char *key, uint32_t value);
void zo2_gguf_put_f32(zo2_gguf_keys *k, const char *key, float value);
void zo2_gguf_put_bool(zo2_gguf_keys *k, const char *key, int value);
void zo2_gguf_put_text(zo2_gguf_keys *k, const char *key, const char *text);
void zo2_gguf_put_u32s(zo2_gguf_keys *k, const char *key, const uint32_t *values, uint64_t n); /* as i32 */
void zo2_gguf_put_f32s(zo2_gguf_keys *k, const char *key, const float *values, uint64_t n);
void zo2_gguf_put_texts(zo2_gguf_keys *k, const char *key, const char *const *texts, uint64_t n);
void zo2_gguf_keys_free(zo2_gguf_keys *k);

/* Sizes and switches from a config.json as Hugging Face would write it, all keys there. ZO2_ERR_UNSUPPORTED: llama.cpp has no such
 * model, by name. what: for messages. */
zo2_status zo2_gguf_put_config(zo2_gguf_keys *k, const struct json_t *config, const char *what);

/* Of a config.json with llama3's scaled positions, what each of `pairs` frequencies is divided by; 0 of others. */
int zo2_gguf_rope_table(const struct json_t *config, float *factors, uint32_t pairs);

/* The tokenizer of tokenizer.json and tokenizer_config.json (NULL: none), for a vocabulary of n tokens; bos, eos: ids of the model, -1:
 * none; chat: a template of its own, or NULL. tokenizer NULL: there is none, as llama.cpp writes it. ZO2_ERR_UNSUPPORTED: llama.cpp has no name
 * for what it does, that is known here. */
typedef struct zo2_gguf_texts {
    const struct json_t *tokenizer, *config;
    const char *chat;
    uint32_t n;
    int bos, eos;
} zo2_gguf_texts;
/* What llama.cpp does otherwise than the tokenizer, and no key can say. */
enum {
    ZO2_GGUF_NO_END = 1, /* no token is named that ends a text: of byte-level vocabularies it takes token 11 */
    ZO2_GGUF_MORE_SPACES =
        2, /* it puts a space in front of what follows a special token, which conversations are full of */
};
/* *otherwise: bits of these. */
zo2_status zo2_gguf_put_tokenizer(zo2_gguf_keys *k, const zo2_gguf_texts *t, unsigned *otherwise, const char *what);

/* ---- tensors ----------------------------------------------------------------------------------------------------------- */

typedef struct zo2_gguf_out {
    char name[80];
    uint32_t type, rank;
    uint64_t shape[2];      /* the fastest last */
    uint64_t offset, bytes; /* set by zo2_gguf_writer_open(); bytes also by zo2_gguf_out_bytes() */
} zo2_gguf_out;

/* Bytes of a tensor; its rows are whole blocks. */
uint64_t zo2_gguf_out_bytes(const zo2_gguf_out *t);

typedef struct zo2_gguf_writer zo2_gguf_writer;

/* The header. tensors[n] and their data must outlive the writer; the keys needn't. Errors: as of zo2_outfile_open(). */
zo2_status zo2_gguf_writer_open(zo2_gguf_writer **out, const zo2_io *io, const char *path, int force,
                                const zo2_gguf_keys *keys, zo2_gguf_out *tensors, uint64_t n);
/* Bytes [first, first + bytes) of a tensor, in any order, each once. */
zo2_status zo2_gguf_writer_put(zo2_gguf_writer *w, uint64_t tensor, uint64_t first, const void *data, uint64_t bytes);
/* Checks that everything came, syncs and renames. */
zo2_status zo2_gguf_writer_commit(zo2_gguf_writer *w);
void zo2_gguf_writer_close(zo2_gguf_writer *w); /* without the commit nothing is left; NULL is fine */

#endif
