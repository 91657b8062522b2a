/* gguf_names.h: what llama.cpp calls the tensors that Hugging Face's LLaMA-like models have. */
#ifndef ZO2_STORAGE_CHECKPOINT_GGUF_NAMES_H
#define ZO2_STORAGE_CHECKPOINT_GGUF_NAMES_H

#include <stddef.h>

/* Naming of a checkpoint (zo2_checkpoint_naming()). */
#define ZO2_NAMING_GGUF "gguf"

/* A table that files of models with llama3's scaled positions have; no weights. */
#define ZO2_GGUF_ROPE_FREQS "rope_freqs.weight"

/* "blk.3.attn_q.weight" to "model.layers.3.self_attn.q_proj.weight", and back; text[n], or NULL for a name that has no other. */
const char *zo2_gguf_to_huggingface(const char *name, char *text, size_t n);
const char *zo2_gguf_from_huggingface(const char *name, char *text, size_t n);

#endif
