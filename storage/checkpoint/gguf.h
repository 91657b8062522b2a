/* gguf.h: GGUF, the format of llama.cpp's models, in: one file, or the files of a model that was split (NAME-00001-of-00003.gguf). A
 * file holds everything: weights, sizes and switches, the tokenizer. Out: gguf_write.h. Private to this folder. */
#ifndef ZO2_STORAGE_CHECKPOINT_GGUF_H
#define ZO2_STORAGE_CHECKPOINT_GGUF_H

#include "storage/checkpoint/gguf_blocks.h"
#include "storage/checkpoint/gguf_meta.h"
#include "storage/io/listing.h"

typedef struct zo2_gguf_file {
    char *path;
    int fd;
    uint64_t size;
    unsigned char *bytes; /* of the header */
    zo2_gguf_header header;
} zo2_gguf_file;

typedef struct zo2_gguf_tensor {
    char *name;
    const zo2_gguf_block *type;
    uint32_t file, rank;
    uint64_t shape[ZO2_GGUF_MAX_DIMS]; /* the fastest last */
    uint64_t elements, offset, bytes;  /* as stored: offset in the file */
    zo2_dtype dtype;                   /* as given: type->dtype, or what a vector was before llama.cpp made it F32 */
} zo2_gguf_tensor;

typedef struct zo2_gguf {
    zo2_gguf_file *files; /* [n_files]; the first has the metadata */
    uint32_t n_files;
    zo2_gguf_tensor *tensors; /* [n], by file and offset */
    uint64_t n;
    const zo2_gguf_tensor **by_name; /* [n] */
} zo2_gguf;

/* The files of the model at path, a file of it or a folder that has one model. Of a split one all of them: ZO2_ERR_NOTFOUND names
 * the first that is missing. paths: [n], malloc'ed, each and all. */
zo2_status zo2_gguf_find_files(const char *path, char ***paths, uint32_t *n);
void zo2_gguf_free_paths(char **paths, uint32_t n);
/* 1 if any of a folder's names is a model's, or the file begins as one. */
int zo2_gguf_is_there(const zo2_listing *place);

/* Opens all files and checks everything that can be known without reading weights, but reads vectors. */
zo2_status zo2_gguf_open(zo2_gguf **out, const char *path);
void zo2_gguf_close(zo2_gguf *m); /* NULL is fine */

const zo2_gguf_tensor *zo2_gguf_find(const zo2_gguf *m, const char *name); /* NULL if absent */

/* Elements [first, first + n) as the tensor's dtype. Thread-safe. */
zo2_status zo2_gguf_read(const zo2_gguf *m, const zo2_gguf_tensor *t, uint64_t first, uint64_t n, void *dst);

#endif
