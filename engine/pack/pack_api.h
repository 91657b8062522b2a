/* pack_api.h: what a zo2_pack is made of, and what the functions that read and write packs and exports share. Private
 * to engine/. */
#ifndef ZO2_ENGINE_PACK_PACK_API_H
#define ZO2_ENGINE_PACK_PACK_API_H

#include "engine/model/arch.h"
#include "storage/pack/packfile.h"

/* An open pack whose tensors are exactly those of arch, in canonical order: tensor i of the file is tensor_id i.
 * Immutable. */
struct zo2_pack {
    zo2_packfile *file;
    zo2_arch arch;
};

/* Files that a pack carries and an export writes beside the weights, ended by NULL; the first is config.json. */
extern const char *const zo2_carried_files[];

/* Such a file from a model's folder; the caller's to free(). *data NULL: there is none, or it is a template or licence
 * of more than 1 MiB, of which a warning tells. vocab.json and merges.txt may have metaseq's names (gpt2-vocab.json). A vocabulary or settings of more than 128 MiB are refused. In
 * carried.c. */
zo2_status zo2_carried_read(const char *dir, const char *name, zo2_log_fn log, void *log_ud, char **data,
                            size_t *bytes);

/* "[2048, 768]", "[768]" or "[]", in buf of n bytes. */
const char *zo2_shape_text(char *buf, size_t n, uint32_t rank, const uint64_t *shape);

/* Bytes of a tensor's source bits. */
uint64_t zo2_pack_tensor_bytes(const zo2_packtensor *t);

/* The pack's record of a tensor of the architecture, not stored yet. */
zo2_packtensor zo2_pack_record(const zo2_tensor *t, zo2_dtype dtype);

#endif
