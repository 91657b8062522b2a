/* gguf_config.h: sizes and switches of a model: GGUF's metadata as the config.json that Hugging Face would have of it, and back.
 * Private to storage/checkpoint and to the writers of exports. */
#ifndef ZO2_STORAGE_CHECKPOINT_GGUF_CONFIG_H
#define ZO2_STORAGE_CHECKPOINT_GGUF_CONFIG_H

#include "storage/checkpoint/gguf.h"

/* The text of a config.json, malloc'ed. ZO2_ERR_UNSUPPORTED names what isn't known of the model, ZO2_ERR_FORMAT what is missing. */
zo2_status zo2_gguf_config(const zo2_gguf *m, char **text, size_t *bytes);

#endif
