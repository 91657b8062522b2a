/* torch_file.h: one file that torch.save() wrote, zip or legacy (before PyTorch 1.6), told by its first bytes. It is read and
 * never executed: of its pickle only tensors are taken (torch_state.h). */
#ifndef ZO2_STORAGE_CHECKPOINT_TORCH_FILE_H
#define ZO2_STORAGE_CHECKPOINT_TORCH_FILE_H

#include "storage/checkpoint/checkpoint.h"

typedef struct zo2_torch_file zo2_torch_file;

/* 1 if the file at path begins as those do. */
int zo2_torch_file_looks_like(const char *path);

/* Opens path and checks everything that can be known without reading weights: container, pickle, and that every tensor's elements
 * lie in its storage. On failure *out is NULL. ZO2_ERR_UNSUPPORTED: a form that isn't read (tar, TorchScript, big-endian), with
 * a message that says how to save it again. Immutable after that: all functions below are thread-safe. */
zo2_status zo2_torch_file_open(zo2_torch_file **out, const char *path);
void zo2_torch_file_close(zo2_torch_file *f); /* NULL is fine */

/* Tensors are numbered by where their data lie: reading in this order is sequential. Names are unique. Tensors that share a
 * storage (tied weights) are all listed. */
uint64_t zo2_torch_file_count(const zo2_torch_file *f);
zo2_stored zo2_torch_file_tensor(const zo2_torch_file *f, uint64_t i);   /* i < count; .file is path */
uint64_t zo2_torch_file_find(const zo2_torch_file *f, const char *name); /* count if absent */

/* Why a tensor that was looked for isn't there, if the file has something of another kind under that name: text[n], else "". */
const char *zo2_torch_file_absent(const zo2_torch_file *f, const char *name, char *text, size_t n);

/* Bytes [first, first + n) of a tensor's data, row-major and without gaps whatever its strides; both are multiples of an element's
 * size. Memory: 1 MiB at most. */
zo2_status zo2_torch_file_read(const zo2_torch_file *f, uint64_t i, uint64_t first, uint64_t n, void *dst);

#endif
