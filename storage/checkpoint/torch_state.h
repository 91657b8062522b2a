/* torch_state.h: what a PyTorch pickle says of its tensors. Nothing in a pickle is ever executed: it is read into a tree
 * (pickle.h) of which a short list of names is understood, and all else is an opaque thing that knows what it is called.
 *
 * Known are dictionaries, tensors (storage, offset, shape, strides) and parameters around them. A pickle of a state dictionary
 * may have anything beside its tensors (configurations, optimizers): that is skipped. */
#ifndef ZO2_STORAGE_CHECKPOINT_TORCH_STATE_H
#define ZO2_STORAGE_CHECKPOINT_TORCH_STATE_H

#include "engine/zo2.h"
#include "storage/checkpoint/checkpoint.h"

#include <stddef.h>

/* A pickle that is longer is refused: weights lie outside of it, and the largest models' have a few MB. */
#define ZO2_TORCH_MAX_PICKLE ((size_t)64 << 20)

/* A run of elements of one type that tensors are views of; its data lie where the file says for `key`. */
typedef struct zo2_torch_storage {
    char *key;             /* unique among the storages of a state; no path: whatever the file says, up to 255 bytes */
    const char *type_name; /* "HalfStorage"; "UntypedStorage" counts bytes */
    uint32_t element_bytes;
    uint64_t elements; /* element_bytes * elements doesn't overflow */
} zo2_torch_storage;

/* Every element of it lies inside its storage: (offset + sum of (shape - 1) * stride + 1) * element_bytes is at most
 * the storage's bytes. Strides are whatever they are: 0 for an expanded tensor, any order for a transposed one. */
typedef struct zo2_torch_tensor {
    char *name;        /* keys of nested dictionaries joined with '.'; unique, UTF-8 */
    uint32_t storage;  /* index. Tensors may share one (tied weights), and overlap in it */
    uint64_t offset;   /* of the first element in the storage, in elements of element_bytes */
    uint64_t elements; /* product of the shape; times element_bytes doesn't overflow */
    uint32_t rank;
    uint64_t shape[ZO2_STORED_MAX_RANK], stride[ZO2_STORED_MAX_RANK]; /* elements */
    zo2_dtype dtype;                                                  /* 0 for types that aren't weights */
    const char *dtype_name; /* "F16", "F64", "I64": as safetensors calls them */
    uint32_t element_bytes; /* its storage's, unless that is untyped */
} zo2_torch_tensor;

/* What lies under a name and is no tensor, or none that we know how to read. */
typedef struct zo2_torch_opaque {
    char *name;
    char *what; /* the "module.name" that makes it, printable; or "an integer", "a tensor of 9 dimensions", ... */
} zo2_torch_opaque;

typedef struct zo2_torch_state {
    zo2_torch_storage *storages; /* those of the tensors, and what others the pickle names */
    uint32_t n_storages;
    zo2_torch_tensor *tensors; /* in the dictionary's order */
    uint64_t n_tensors;
    zo2_torch_opaque *opaques; /* by name */
    uint64_t n_opaques;
    zo2_torch_tensor **by_name; /* internal: [n_tensors] sorted */
} zo2_torch_state;

/* bytes[n] begin with a pickle of a state dictionary; *used: the bytes that it has, its STOP included. n may be larger than
 * that: more than ZO2_TORCH_MAX_PICKLE are never looked at. bytes aren't needed afterwards.
 *
 * If the pickle is a dictionary that holds one with tensors under "model", "state_dict" or "module" (the first of them), the
 * tensors are that dictionary's, and nothing beside it is looked at; else they are its own and its nested dictionaries'. One without
 * any tensor is fine, unless it has an object where the state dictionary would be (a whole model that was saved).
 *
 * where: "FILE" or "FILE, data.pkl", for messages. On failure *out is empty. ZO2_ERR_FORMAT: damaged, malicious or nothing
 * that we know; ZO2_ERR_UNSUPPORTED: sound as far as can be told, with opcodes that we don't read. The memory that is used is at
 * most a constant times n. */
zo2_status zo2_torch_state_load(zo2_torch_state *out, const void *bytes, size_t n, size_t *used, const char *where);
void zo2_torch_state_free(zo2_torch_state *s); /* leaves it empty; an empty one is fine */

/* The number of the tensor of that name; n_tensors if absent. */
uint64_t zo2_torch_state_find(const zo2_torch_state *s, const char *name);
/* What lies under that name if it is no tensor that we can read: an opaque's what; NULL if nothing does. */
const char *zo2_torch_state_opaque(const zo2_torch_state *s, const char *name);

/* Sorts by names, for these; a name that comes twice is refused. torch_state.c's. */
zo2_status zo2_torch_state_sort(zo2_torch_state *s, const char *where);

/* ---- files of torch before 1.6 ----------------------------------------------------------------------------------------
 * Pickles one behind the other: a magic number, 1001, facts about the system, the state, a list of storages' keys; then in the order
 * of that list per storage its number of elements (8 bytes, little-endian) and their data. */

/* 1 if bytes[n] begin with that magic number's pickle (15 bytes, some more in later protocols). The last error may change. */
int zo2_torch_is_legacy(const void *bytes, size_t n);
/* Checks the three pickles in front of the state: versions, and that the data are little-endian. *used: bytes of all three. */
zo2_status zo2_torch_legacy_header(const void *bytes, size_t n, size_t *used, const char *where);
/* The pickle behind the state: keys[*n_keys], each and all malloc'ed, unique. On failure *keys is NULL. */
zo2_status zo2_torch_legacy_keys(char ***keys, uint64_t *n_keys, const void *bytes, size_t n, size_t *used,
                                 const char *where);
void zo2_torch_legacy_keys_free(char **keys, uint64_t n_keys);

#endif
