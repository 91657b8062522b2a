/* families.h: architectures by name, from a configuration or from a file. */
#ifndef ZO2_ENGINE_FAMILIES_FAMILIES_H
#define ZO2_ENGINE_FAMILIES_FAMILIES_H

#include "engine/model/arch.h"

struct zo2_packfile;

/* Parses the text of a config.json (path: for messages). Refuses by name what isn't supported: other families, activation
 * functions, heads that don't divide hidden, absurd sizes. Then builds the tensor list. */
zo2_status zo2_arch_from_config(zo2_arch *out, const char *json, size_t bytes, const char *path);
/* A published model ("opt-125m", "llama-3.1-8b", ...); ZO2_ERR_NOTFOUND otherwise, listing the names. */
zo2_status zo2_arch_from_name(zo2_arch *out, const char *name);
/* The name of published model i, of whatever family; NULL past the last. */
const char *zo2_arch_published(uint32_t i);
/* A name, the path of a config.json or of a pack (told by its magic), or a directory with a config.json. pack_bytes:
 * size of the pack, 0 if it isn't one; may be NULL. */
zo2_status zo2_arch_load(zo2_arch *out, const char *arch_or_path, uint64_t *pack_bytes);

/* Which wires of its tensors the pack has (zo2_tensor.stored_wires, narrow_wires). The tensors of the two are the same. */
void zo2_arch_find_wires(zo2_arch *a, const struct zo2_packfile *pack);

/* config.json text as a Hugging Face directory would have it (for synth); malloc'ed. */
char *zo2_arch_config_json(const zo2_arch *a, zo2_dtype dtype);

#endif
