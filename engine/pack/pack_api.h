/* pack_api.h: what a zo2_pack is made of, and what the functions that read and write packs and exports share. Private
 * to engine/. */
#ifndef ZO2_ENGINE_PACK_PACK_API_H
#define ZO2_ENGINE_PACK_PACK_API_H

#include "engine/base/opts.h"
#include "engine/base/pool.h"
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

/* Bytes of a tensor's source bits. */
uint64_t zo2_pack_tensor_bytes(const zo2_packtensor *t);

/* The pool as storage sees it. */
zo2_workers zo2_pool_workers(zo2_pool *pool);

/* ZO2_ERR_ARG, begun with the public function's name, unless it is 0 or a level that packs are written with. */
zo2_status zo2_zstd_level_check(const char *function, int level);

/* The pack's record of a tensor of the architecture, not stored yet. */
zo2_packtensor zo2_pack_record(const zo2_tensor *t, zo2_dtype dtype);

/* ZO2_ERR_NOSPACE if the file system that will hold `path` (which needn't exist, its folder must) can't take that many
 * bytes more. */
zo2_status zo2_require_space(const char *path, uint64_t bytes);

/* ZO2_ERR_EXISTS if something is at path, unless force. */
zo2_status zo2_require_absent(const char *path, int force);

/* Index of the first of n little-endian values that isn't finite, n if all are. */
uint64_t zo2_first_nonfinite(zo2_dtype dtype, const void *bits, uint64_t n);

#endif
