/* safetensors.h: Hugging Face safetensors, in and out: single files and sharded directories. */
#ifndef ZO2_STORAGE_CHECKPOINT_SAFETENSORS_H
#define ZO2_STORAGE_CHECKPOINT_SAFETENSORS_H

#include "storage/io/io.h"

#define ZO2_ST_MAX_RANK 8 /* weights have 2; others' buffers may have more */

typedef struct zo2_st_tensor {
    const char *name;
    char dtype_name[16]; /* as in the file, cut to fit: "F32", "F16", "BF16", "I64", ... */
    zo2_dtype dtype;     /* 0 for types that aren't weights, and for those that nobody knows yet */
    uint32_t rank;
    uint64_t shape[ZO2_ST_MAX_RANK];
    uint64_t elements, bytes;
    uint32_t file;   /* internal: which shard */
    uint64_t offset; /* internal: from the start of that file */
} zo2_st_tensor;

typedef struct zo2_safetensors zo2_safetensors;

/* Opens DIR/model.safetensors, or the shards that DIR/model.safetensors.index.json names, or every *.safetensors of DIR; or
 * path itself if it is a file. Every rule of the format is checked here with a message naming file and tensor.
 *
 * Of an index only the files' names count, as for Hugging Face: tensors are where they are, whatever the map says, and a
 * tensor that is nowhere, or a file that is missing, matters to nobody who needs nothing of it (zo2_safetensors_absent()).
 * ZO2_ERR_NOTFOUND if all of them are missing. A name may be in two files: both tensors are listed. */
zo2_status zo2_safetensors_open(zo2_safetensors **out, const char *path);
void zo2_safetensors_close(zo2_safetensors *s);
uint64_t zo2_safetensors_count(const zo2_safetensors *s);
const zo2_st_tensor *zo2_safetensors_at(const zo2_safetensors *s, uint64_t i); /* i < count */
const zo2_st_tensor *zo2_safetensors_find(const zo2_safetensors *s,
                                          const char *name); /* the first of that name; NULL if absent */
const char *zo2_safetensors_file(const zo2_safetensors *s, const zo2_st_tensor *t); /* path of its file, for messages */
/* bytes [first, first + n) of a tensor's data. Thread-safe. */
zo2_status zo2_safetensors_read(const zo2_safetensors *s, const zo2_st_tensor *t, uint64_t first, uint64_t n,
                                void *dst);

/* Why a tensor that was looked for isn't there, and what to do, as far as index and names of files tell; "" if they don't. The
 * last error may change. */
const char *zo2_safetensors_absent(const zo2_safetensors *s, const char *name, char *text, size_t n);

/* What is odd about the files of an opened model and does no harm, one text each. */
void zo2_safetensors_oddities(const zo2_safetensors *s, void (*say)(void *ud, const char *text), void *ud);

/* ---- writer: a directory of one or more shards ---- */
typedef struct zo2_st_writer zo2_st_writer;

/* tensors[n]: names, dtype, rank, shape of everything in the order in which data will come. Files go to dir (which
 * exists): one "model.safetensors", or, when the bytes exceed split_bytes, "model-0000i-of-0000n.safetensors" and
 * "model.safetensors.index.json" (total_size, weight_map). __metadata__ {"format":"pt"}; data offsets are contiguous,
 * headers padded to 8 bytes. */
zo2_status zo2_st_writer_open(zo2_st_writer **out, const zo2_io *io, const char *dir, const zo2_st_tensor *tensors,
                              uint64_t n, uint64_t split_bytes);
/* The same as one file with a name of its own (a constant of at most 47 characters), however large. */
zo2_status zo2_st_writer_open_file(zo2_st_writer **out, const zo2_io *io, const char *dir, const char *name,
                                   const zo2_st_tensor *tensors, uint64_t n);
/* Appends bytes of the tensor data in order; may cross tensors. */
zo2_status zo2_st_writer_append(zo2_st_writer *w, const void *data, uint64_t bytes);
/* Checks that everything came, fsyncs and renames the shards into place, writes the index. */
zo2_status zo2_st_writer_commit(zo2_st_writer *w);
void zo2_st_writer_close(zo2_st_writer *w);

#endif
