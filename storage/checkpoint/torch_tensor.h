/* torch_tensor.h: what one object of a pickle says, if it is a tensor. For torch_state.c. */
#ifndef ZO2_STORAGE_CHECKPOINT_TORCH_TENSOR_H
#define ZO2_STORAGE_CHECKPOINT_TORCH_TENSOR_H

#include "storage/checkpoint/pickle.h"
#include "storage/checkpoint/torch_state.h"

/* A tensor without its name, and the storage that it is in: the key is in the pickle's bytes. */
typedef struct zo2_torch_view {
    zo2_torch_tensor tensor; /* no name, no number of a storage */
    zo2_torch_storage storage;
    const char *key; /* [key_bytes] UTF-8 */
    uint32_t key_bytes;
} zo2_torch_view;

#define ZO2_TORCH_WHAT_BYTES (2 * ZO2_PICKLE_MAX_GLOBAL + 80)

/* For zo2_pickle_load(): the globals that tensors are made of. */
uint32_t zo2_torch_known(const char *text, size_t n);

/* 1 if the node is a call of one of the functions that make tensors (or a parameter of one). */
int zo2_torch_makes_tensor(const zo2_pickle *p, uint32_t node);

/* 1 if bytes can be a name: not empty, UTF-8 without zeros, at most so many. */
int zo2_torch_is_name(const char *text, size_t n, size_t most);

/* 1 if the node is the persistent id of a storage whose type is known: fills storage and key of *out. */
int zo2_torch_names_storage(const zo2_pickle *p, uint32_t node, zo2_torch_view *out);

/* Reads such a node. Where it makes something that isn't read (a subclass, a type of data that we don't know, a tensor without
 * data) *what says what, else it is "". An error's message is for the caller to complete. */
zo2_status zo2_torch_view_of(const zo2_pickle *p, uint32_t node, zo2_torch_view *out, char what[ZO2_TORCH_WHAT_BYTES]);

#endif
