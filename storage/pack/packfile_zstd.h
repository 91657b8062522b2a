/* packfile_zstd.h: encoding 1 of a pack's chunks (PACK.md, "zstd"): the bytes of the values sorted by significance,
 * each such plane a zstd frame. A weight's sign and exponent repeat, its low bits don't: apart, the first shrink and the
 * others are soon given up. */
#ifndef ZO2_STORAGE_PACK_PACKFILE_ZSTD_H
#define ZO2_STORAGE_PACK_PACKFILE_ZSTD_H

#include "engine/zo2.h"

#define ZO2_PACK_ZSTD_MAX_LEVEL 19 /* higher ones take hundreds of MB a thread and gain nothing on weights */

/* Byte planes of n bytes of little-endian values of `size` bytes each (2 or 4, divides n), the most significant plane
 * first; and back. dst and src don't overlap. */
void zo2_pack_split_planes(const void *src, uint64_t n, uint32_t size, void *dst);
void zo2_pack_merge_planes(const void *src, uint64_t n, uint32_t size, void *dst);

/* Compresses a chunk of n source bytes at a level from 1 on. dst and planes have room for n bytes each. *bytes is what
 * dst then holds, 0 if nothing would be saved: at least 4,096 bytes, the grain of the file. ZO2_ERR_NOMEM. */
zo2_status zo2_pack_zstd_encode(const void *src, uint64_t n, uint32_t size, int level, void *planes, void *dst,
                                uint64_t *bytes);

/* Restores n source bytes into dst from a stored chunk of `bytes`; planes has room for n bytes. What the frames
 * say of their sizes is only compared: nothing is allocated or written by it. *fault is NULL, or what is wrong with the chunk (dst
 * is then as it was). dst may be where the stored chunk is: it is written last. ZO2_ERR_NOMEM. */
zo2_status zo2_pack_zstd_decode(const void *stored, uint64_t bytes, uint32_t size, void *planes, void *dst, uint64_t n,
                                const char **fault);

/* ZO2_ERR_ARG, begun with the public function's name, unless it is 0 or a level that packs are written with. */
zo2_status zo2_zstd_level_check(const char *function, int level);

#endif
