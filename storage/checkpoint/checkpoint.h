/* checkpoint.h: models as others store them, whatever the format: named tensors whose bytes can be read. A format is one
 * file with a table of functions (checkpoint_reader.h); who converts sees nothing but this. */
#ifndef ZO2_STORAGE_CHECKPOINT_CHECKPOINT_H
#define ZO2_STORAGE_CHECKPOINT_CHECKPOINT_H

#include "engine/zo2.h"

#define ZO2_STORED_MAX_RANK 8

/* A tensor as it is stored. Texts are valid as long as the checkpoint is open. */
typedef struct zo2_stored {
    const char *name;
    const char *dtype_name; /* as safetensors calls it: "F32", "I64", ... */
    const char *file;       /* path, for messages */
    zo2_dtype dtype;        /* 0 for types that aren't weights */
    int rounded; /* its values are rounded to that type while they are read: what is too large becomes infinite */
    uint32_t rank;
    uint64_t shape[ZO2_STORED_MAX_RANK];
    uint64_t bytes; /* of its data as it is read: row-major, little-endian, without gaps */
    uint32_t part;  /* which shard of tensor parallelism it is, */
    uint32_t parts; /* of how many: 0 of 1 where nothing is sharded so */
} zo2_stored;

typedef struct zo2_checkpoint_reader zo2_checkpoint_reader;
typedef struct zo2_checkpoint zo2_checkpoint;

/* The reader that fits what is at path, without reading weights: a format that nothing reads is told before anything else
 * is. The message says what to do, by what is there instead. ZO2_ERR_ARG: not a folder and nobody's file;
 * ZO2_ERR_UNSUPPORTED: weights of a format without a reader; ZO2_ERR_NOTFOUND: no weights. */
zo2_status zo2_checkpoint_recognise(const zo2_checkpoint_reader **out, const char *path);

/* Opens path with a reader; everything that can be known of the format without reading data is checked. On failure *out
 * is NULL. Immutable after that: all functions below are thread-safe. */
zo2_status zo2_checkpoint_open(zo2_checkpoint **out, const zo2_checkpoint_reader *reader, const char *path);
void zo2_checkpoint_close(zo2_checkpoint *c);               /* NULL is fine */
const char *zo2_checkpoint_format(const zo2_checkpoint *c); /* "safetensors" */

/* Whose names the tensors have: those of Hugging Face's models, or of another program that saves models of the same
 * architectures (a family's namings, family.h). Folders with Hugging Face's names have its config.json, too; others needn't. */
#define ZO2_NAMING_HUGGINGFACE "huggingface"
const char *zo2_checkpoint_naming(const zo2_checkpoint_reader *reader);

/* Tensors are numbered in an order in which reading is sequential. A name may come twice, from two files. */
uint64_t zo2_checkpoint_count(const zo2_checkpoint *c);
zo2_stored zo2_checkpoint_tensor(const zo2_checkpoint *c, uint64_t i);   /* i < count */
uint64_t zo2_checkpoint_find(const zo2_checkpoint *c, const char *name); /* the first one's number; count if absent */

/* Why a tensor that was looked for isn't there, and what to do, as far as the checkpoint's files tell: a shard that is missing,
 * say. text[n]; "" if they don't. The last error may change. */
const char *zo2_checkpoint_absent(const zo2_checkpoint *c, const char *name, char *text, size_t n);

/* What is odd about the files and does no harm to who found all the tensors that he needs: a text each. */
void zo2_checkpoint_oddities(const zo2_checkpoint *c, void (*say)(void *ud, const char *text), void *ud);

/* Bytes [first, first + n) of a tensor's data: whole elements. */
zo2_status zo2_checkpoint_read(const zo2_checkpoint *c, uint64_t i, uint64_t first, uint64_t n, void *dst);

/* What would be in a file of that name in Hugging Face's folder of the model ("config.json", "tokenizer.json"), made of what the
 * format itself holds: *data, malloc'ed; NULL if it holds nothing of the kind. why[n]: what to say of that, or "". */
zo2_status zo2_checkpoint_file(const zo2_checkpoint *c, const char *name, char **data, size_t *bytes, char *why,
                               size_t n);

#endif
