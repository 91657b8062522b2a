/* packfile_format.h: the pack's bytes as C structs, and the rules that writer and reader share. PACK.md is the
 * specification. */
#ifndef ZO2_STORAGE_PACK_PACKFILE_FORMAT_H
#define ZO2_STORAGE_PACK_PACKFILE_FORMAT_H

#include "engine/zo2.h"

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#if !defined(__BYTE_ORDER__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "packs are little-endian and read in place: big-endian machines are not supported"
#endif

#define ZO2_PACK_MAGIC           "\x89ZO2\r\n\x1a\n" /* as PNG's: a transfer in text mode breaks it */
#define ZO2_PACK_MAGIC_BYTES     8
#define ZO2_PACK_VERSION         1
#define ZO2_PACK_ALIGN           4096       /* of every chunk, carried file and table, and of the file's length */
#define ZO2_PACK_CHUNK_BYTES     (4u << 20) /* target; a chunk holds at least one row */
#define ZO2_PACK_ENCODING_RAW    0
#define ZO2_PACK_ENCODING_ZSTD   1
#define ZO2_PACK_FEATURE_ZSTD    (UINT64_C(1) << 0) /* set if and only if a chunk has encoding 1 */
#define ZO2_PACK_FEATURE_WIRES   (UINT64_C(1) << 1) /* set if and only if there is a wire table */
#define ZO2_PACK_FEATURE_DROPPED (UINT64_C(1) << 2) /* set if and only if a matrix has no source bits */
#define ZO2_PACK_KNOWN_FEATURES  (ZO2_PACK_FEATURE_ZSTD | ZO2_PACK_FEATURE_WIRES | ZO2_PACK_FEATURE_DROPPED)

/* Limits, all inclusive. They bound what a reader allocates for a hostile file. */
#define ZO2_PACK_MAX_TENSORS     (UINT32_C(1) << 20)
#define ZO2_PACK_MAX_BLOCK       ((UINT32_C(1) << 20) - 1)
#define ZO2_PACK_MAX_CHUNKS      (UINT64_C(1) << 24)
#define ZO2_PACK_MAX_ELEMENTS    ((UINT64_C(1) << 40) - 1) /* of a tensor */
#define ZO2_PACK_MAX_CHUNK_BYTES (UINT64_C(1) << 30)       /* so a row has at most 1 GiB */
#define ZO2_PACK_MAX_WIRE        255
#define ZO2_PACK_MAX_WIRE_BYTES  (UINT64_C(1) << 32) /* of a chunk of a wire */
#define ZO2_PACK_MAX_NAME        512
#define ZO2_PACK_MAX_FILE_NAME   200 /* exports write under a longer, temporary name, which must fit the 255 of Linux */
#define ZO2_PACK_MAX_FILES       1024
#define ZO2_PACK_MAX_FILE_BYTES  (UINT64_C(256) << 20) /* of all carried files together */

enum { ZO2_PACK_TENSORS, ZO2_PACK_CHUNKS, ZO2_PACK_FILES, ZO2_PACK_NAMES, ZO2_PACK_TABLES };

typedef struct zo2_pack_section {
    uint64_t offset;
    uint64_t bytes;
    uint64_t hash; /* XXH3-64 of the bytes */
} zo2_pack_section;

typedef struct zo2_pack_superblock {
    char magic[ZO2_PACK_MAGIC_BYTES];
    uint32_t version;
    uint32_t superblock_bytes; /* 4096 */
    uint64_t features;         /* what a reader must understand */
    uint64_t file_bytes;
    uint64_t model_hash;
    uint64_t parameters;
    uint64_t chunks;
    uint32_t tensors;
    uint32_t blocks;
    uint32_t files;
    uint32_t reserved;
    zo2_pack_section table[ZO2_PACK_TABLES];
    char arch[32];
    zo2_pack_section wires; /* the wire table; zeros where there is none */
    uint8_t zero[3864];
    uint64_t hash; /* XXH3-64 of the 4,088 bytes before it */
} zo2_pack_superblock;

typedef struct zo2_pack_tensor_record {
    uint64_t rows;
    uint64_t cols;
    uint64_t hash; /* XXH3-64 of the source bits */
    uint64_t first_chunk;
    uint64_t chunk_rows;
    uint32_t name_offset; /* in the names table */
    uint32_t name_bytes;  /* without the NUL behind it */
    uint32_t block;
    uint32_t stored_as;
    uint8_t dtype;
    uint8_t rank;
    uint16_t flags; /* ZO2_PACK_DECAYS, ZO2_PACK_DROPPED */
    uint32_t reserved;
} zo2_pack_tensor_record;

typedef struct zo2_pack_chunk_record {
    uint64_t offset;
    uint64_t stored_bytes;
    uint64_t decoded_bytes;
    uint32_t encoding;
    uint32_t reserved;
    uint64_t stored_hash;  /* XXH3-64 of the stored bytes */
    uint64_t decoded_hash; /* XXH3-64 of the decoded bytes */
} zo2_pack_chunk_record;

typedef struct zo2_pack_wire_record {
    uint32_t wire; /* zo2_wire */
    uint32_t tensor;
    uint64_t first_chunk; /* of as many as the tensor has, cut at the same rows */
} zo2_pack_wire_record;

typedef struct zo2_pack_file_record {
    uint64_t offset;
    uint64_t bytes;
    uint64_t hash;
    uint32_t name_offset;
    uint32_t name_bytes;
} zo2_pack_file_record;

static_assert(sizeof(zo2_pack_section) == 24, "PACK.md");
static_assert(sizeof(zo2_pack_superblock) == 4096, "PACK.md");
static_assert(offsetof(zo2_pack_superblock, features) == 16, "PACK.md");
static_assert(offsetof(zo2_pack_superblock, tensors) == 56, "PACK.md");
static_assert(offsetof(zo2_pack_superblock, table) == 72, "PACK.md");
static_assert(offsetof(zo2_pack_superblock, arch) == 168, "PACK.md");
static_assert(offsetof(zo2_pack_superblock, wires) == 200, "PACK.md");
static_assert(offsetof(zo2_pack_superblock, zero) == 224, "PACK.md");
static_assert(offsetof(zo2_pack_superblock, hash) == 4088, "PACK.md");
static_assert(sizeof(zo2_pack_tensor_record) == 64, "PACK.md");
static_assert(offsetof(zo2_pack_tensor_record, name_offset) == 40, "PACK.md");
static_assert(offsetof(zo2_pack_tensor_record, dtype) == 56, "PACK.md");
static_assert(sizeof(zo2_pack_chunk_record) == 48, "PACK.md");
static_assert(offsetof(zo2_pack_chunk_record, encoding) == 24, "PACK.md");
static_assert(sizeof(zo2_pack_wire_record) == 16, "PACK.md");
static_assert(sizeof(zo2_pack_file_record) == 32, "PACK.md");

/* tensor flags */
#define ZO2_PACK_DECAYS  1u
#define ZO2_PACK_DROPPED 2u /* no source bits, hence no chunks of its own: only stored wires */

/* Bytes of an element, 0 for types that a pack doesn't hold. */
static inline uint64_t zo2_pack_dtype_bytes(uint32_t dtype)
{
    return dtype == ZO2_F32 ? 4 : dtype == ZO2_F16 || dtype == ZO2_BF16 ? 2 : 0;
}

/* The model hash: XXH3-64 over {hash, rows, cols, dtype} of every tensor. 0 when out of memory. */
int zo2_pack_model_hash(const zo2_pack_tensor_record *t, uint32_t n, uint64_t *hash);

/* NULL if the shape is allowed, else what is wrong with it. */
const char *zo2_pack_shape_fault(uint32_t dtype, uint32_t rank, uint64_t rows, uint64_t cols);

/* NULL if the name (n bytes, NUL behind) is allowed, else what is wrong with it. Carried files become files of an
 * export: their names must not lead out of a folder, nor be those of weights. */
const char *zo2_pack_name_fault(const char *name, size_t n);
const char *zo2_pack_file_name_fault(const char *name, size_t n);
const char *zo2_pack_arch_fault(const char arch[32]);

/* 1 and *duplicate if names[n] has two equal ones, else 0. Sorts names: n log n. */
int zo2_pack_sorted_duplicate(const char **names, size_t n, const char **duplicate);

/* Rows of a chunk as this version writes them. The shape is an allowed one. */
uint64_t zo2_pack_chunk_rows(uint32_t dtype, uint64_t rows, uint64_t cols);

/* Rows of chunk k of a tensor, and the order of the wire table: by wire, then by tensor. */
static inline uint64_t zo2_pack_rows_of(const zo2_pack_tensor_record *t, uint64_t k)
{
    uint64_t left = t->rows - k * t->chunk_rows;
    return left < t->chunk_rows ? left : t->chunk_rows;
}

static inline int zo2_pack_wire_before(const zo2_pack_wire_record *a, uint32_t wire, uint32_t tensor)
{
    return a->wire < wire || (a->wire == wire && a->tensor < tensor);
}

/* Most bytes of a pack of that many stored tensors, source_bytes together, and up to 1 MiB of carried files: for the check
 * of the disk before it is written. */
uint64_t zo2_pack_bytes_at_most(uint64_t tensors, uint64_t source_bytes);

#endif
