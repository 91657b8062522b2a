/* gguf_meta.h: the header of a GGUF file (versions 2 and 3, little-endian), as the specification in the ggml repository lays it out:
 * magic, version, two counts; metadata, a key and a typed value each; a name, shape, type and offset for each tensor. All of it
 * is checked here; where tensors may lie is gguf_files.c's business. Private to this folder. */
#ifndef ZO2_STORAGE_CHECKPOINT_GGUF_META_H
#define ZO2_STORAGE_CHECKPOINT_GGUF_META_H

#include "engine/zo2.h"

#include <stddef.h>
#include <stdint.h>

#define ZO2_GGUF_MAX_DIMS   4                     /* as in ggml */
#define ZO2_GGUF_MAX_HEADER ((uint64_t)512 << 20) /* bytes; vocabularies make some 20 MB */

typedef enum zo2_gguf_type {
    ZO2_GGUF_U8,
    ZO2_GGUF_I8,
    ZO2_GGUF_U16,
    ZO2_GGUF_I16,
    ZO2_GGUF_U32,
    ZO2_GGUF_I32,
    ZO2_GGUF_F32,
    ZO2_GGUF_BOOL,
    ZO2_GGUF_STRING,
    ZO2_GGUF_ARRAY,
    ZO2_GGUF_U64,
    ZO2_GGUF_I64,
    ZO2_GGUF_F64,
    ZO2_GGUF_TYPES
} zo2_gguf_type;

/* Bytes of the file; not ended by a NUL, not known to be UTF-8. */
typedef struct zo2_gguf_text {
    const char *at;
    size_t n;
} zo2_gguf_text;

typedef struct zo2_gguf_value {
    zo2_gguf_text key;
    uint32_t type;
    uint32_t of;             /* what an array has, which may be arrays */
    uint64_t n;              /* elements of an array; 1 */
    const unsigned char *at; /* the value, an array's first element, a string's length */
} zo2_gguf_value;

typedef struct zo2_gguf_info {
    zo2_gguf_text name;
    uint32_t dims, type;
    uint64_t shape[ZO2_GGUF_MAX_DIMS]; /* as in the file: the fastest first */
    uint64_t offset;                   /* in the data */
} zo2_gguf_info;

typedef struct zo2_gguf_header {
    const char *path; /* the caller's, for messages */
    uint32_t version, alignment;
    uint64_t bytes;         /* of the header, padding behind it included: where the data begins */
    zo2_gguf_value *values; /* [n_values], by key */
    zo2_gguf_info *tensors; /* [n_tensors], in the file's order */
    uint64_t n_values, n_tensors;
} zo2_gguf_header;

/* From the first n bytes of a file of file_bytes, which must outlive it. *more: they are too few, and nothing else is known to be
 * wrong. On failure, and with *more, there is nothing to free. */
zo2_status zo2_gguf_parse(zo2_gguf_header *out, const unsigned char *bytes, uint64_t n, uint64_t file_bytes,
                          const char *path, int *more);
void zo2_gguf_header_free(zo2_gguf_header *h); /* zeroed is fine */

/* ---- values -------------------------------------------------------------------------------------------------------- */

const zo2_gguf_value *zo2_gguf_get(const zo2_gguf_header *h, const char *key); /* NULL */

/* 1 and *out if the value, or element i of an array, is a number of that kind: a whole one that isn't negative; any. */
int zo2_gguf_uint(const zo2_gguf_value *v, uint64_t i, uint64_t *out);
int zo2_gguf_number(const zo2_gguf_value *v, uint64_t i, double *out);

/* 1 and *out of a string. */
int zo2_gguf_string(const zo2_gguf_value *v, zo2_gguf_text *out);
int zo2_gguf_is(zo2_gguf_text t, const char *text);     /* 1 if they are the same */
int zo2_gguf_compare(zo2_gguf_text a, zo2_gguf_text b); /* less than, equal to or greater than 0: byte by byte */

/* Walks over an array of strings: *at is v->at at first, then what this set it to. */
zo2_gguf_text zo2_gguf_next(const unsigned char **at);

/* The name of a type for messages: "an array", "a string", "u32". */
const char *zo2_gguf_type_name(uint32_t type);
uint32_t zo2_gguf_type_bytes(uint32_t type); /* 0: it depends, or there is no such type */

/* At most 100 bytes of a text, those that can't be printed as '?', for messages. */
const char *zo2_gguf_quote(char out[104], zo2_gguf_text t);

#endif
