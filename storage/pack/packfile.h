/* packfile.h: reader and writer of the pack format, PACK.md. Knows tensors, blocks and bytes, no architecture. */
#ifndef ZO2_STORAGE_PACK_PACKFILE_H
#define ZO2_STORAGE_PACK_PACKFILE_H

#include "engine/base/parallel.h"
#include "storage/io/io.h"

typedef struct zo2_packtensor {
    const char *name; /* NUL-terminated, valid as long as the packfile */
    zo2_dtype dtype;
    uint32_t rank;       /* 1 or 2 */
    uint64_t rows, cols; /* rank 1: rows = 1. rows, cols >= 1, rows * cols < 2^40 */
    uint32_t block;      /* non-decreasing over the tensors */
    int decays;
    uint32_t stored_as; /* tensor whose bytes are used: its own index, or an earlier one (aliased) */
    uint64_t hash;      /* XXH3-64 of its source bits */
    /* 0: they are there. Else they were dropped (PACK.md, "Wires without source"), and this is the first of the wires that there are of it */
    zo2_wire dropped_to;
} zo2_packtensor;

typedef struct zo2_packheader {
    uint32_t version;
    uint64_t file_bytes;
    uint64_t model_hash; /* XXH3-64 over {hash, rows, cols, dtype} of every tensor, little-endian, in order: PACK.md */
    uint32_t tensors, blocks, files;
    uint64_t parameters;
    uint64_t source_bytes, stored_bytes; /* of all chunks, decoded and in the file */
    int compressed;                      /* some chunk is */
    int aliased;                         /* some tensor is stored as another */
    uint64_t largest_chunk;              /* decoded bytes of the largest one, known wires' among them */
    uint32_t wires;                      /* stored wires, of a tensor each */
    uint64_t wire_bytes;                 /* of them all */
    uint32_t dropped;                    /* tensors without source bits, aliases not counted */
    char arch[32];
} zo2_packheader;

typedef struct zo2_packfile zo2_packfile;

/* Opens, checks superblock, length, tables and their checksums. Every size is checked before use. */
zo2_status zo2_packfile_open(zo2_packfile **out, const char *path);
void zo2_packfile_close(zo2_packfile *p); /* NULL is fine */
const zo2_packheader *zo2_packfile_header(const zo2_packfile *p);
const zo2_packtensor *zo2_packfile_tensor(const zo2_packfile *p, uint32_t i); /* i < tensors */
const char *zo2_packfile_path(const zo2_packfile *p);

/* Carried files. */
const char *zo2_packfile_file_name(const zo2_packfile *p, size_t i); /* NULL past the end */
zo2_status zo2_packfile_file(const zo2_packfile *p, const char *name, const char **data, size_t *bytes);

/* Rows per pack chunk of a tensor: reads in multiples of it, starting at a multiple, touch every byte once. */
uint64_t zo2_packfile_chunk_rows(const zo2_packfile *p, uint32_t tensor);

/* Source bits of rows [row, row + n) into dst (n * cols * dtype bytes). Whole chunks are read and their hashes checked.
 * Thread-safe. ZO2_ERR_FORMAT names tensor and offset of a damaged chunk; ZO2_ERR_UNSUPPORTED: as zo2_packfile_check_source(). */
zo2_status zo2_packfile_read_rows(const zo2_packfile *p, uint32_t tensor, uint64_t row, uint64_t n, void *dst);

/* ZO2_ERR_UNSUPPORTED if the source bits of a tensor of the pack were dropped: names both, and says what to do. */
zo2_status zo2_packfile_check_source(const zo2_packfile *p, uint32_t tensor);

/* ---- chunk by chunk, for those who read the file themselves: by zo2_packfile_path(), many chunks at once ---- */
/* A chunk's place. The offset is a multiple of 4096, and the file reaches to the next one behind the stored bytes: O_DIRECT
 * reads them rounded up. */
typedef struct zo2_packplace {
    uint64_t chunk; /* its number, for restore */
    uint64_t offset, stored_bytes;
    uint64_t row, rows; /* of the tensor, that it holds */
    uint64_t
        bytes; /* of their source bits, or of a wire: more than stored_bytes if it is compressed or ends in zeros */
    int compressed;
} zo2_packplace;
/* The chunk that holds a row of a tensor; the next one begins at row + rows. ZO2_ERR_ARG; ZO2_ERR_UNSUPPORTED: as
 * zo2_packfile_check_source(). */
zo2_status zo2_packfile_place(const zo2_packfile *p, uint32_t tensor, uint64_t row, zo2_packplace *out);
/* data holds the stored bytes of a chunk and has room for `bytes`: checked and decompressed in place, hashes of both checked.
 * scratch: room for `bytes` if it is compressed, else it may be NULL. Thread-safe. ZO2_ERR_FORMAT names tensor and offset of
 * a damaged chunk; what data then holds is undefined. ZO2_ERR_NOMEM. */
zo2_status zo2_packfile_restore(const zo2_packfile *p, uint32_t tensor, uint64_t chunk, void *data, void *scratch);

/* ---- stored wires: what a run encodes of a matrix, there already (PACK.md, "Wires") ---- */
/* Number i of them, i < wires of the header, by wire and then by tensor; all of its chunks. */
typedef struct zo2_packwire {
    zo2_wire wire; /* perhaps one that this program doesn't know */
    uint32_t tensor;
    uint64_t bytes;   /* in the file */
    uint64_t largest; /* of the largest chunk, with what the file leaves off */
} zo2_packwire;
zo2_packwire zo2_packfile_wire(const zo2_packfile *p, uint32_t i);
/* Is there this wire of a tensor, or of the one that it is stored as? */
int zo2_packfile_has_wire(const zo2_packfile *p, uint32_t tensor, zo2_wire wire);
/* Does it fit into its codec's narrow room (codec.h)? */
int zo2_packfile_is_narrow(const zo2_packfile *p, uint32_t tensor, zo2_wire wire);
/* The chunk of it that holds a row: `bytes` bytes, the wire of a codec's chunk of out->rows rows. ZO2_ERR_NOTFOUND: there is no such wire.
 * zo2_packfile_restore() is for those who read it themselves. */
zo2_status zo2_packfile_wire_place(const zo2_packfile *p, uint32_t tensor, zo2_wire wire, uint64_t row,
                                   zo2_packplace *out);
/* Reads a chunk's `bytes` into dst and checks them. Thread-safe. ZO2_ERR_FORMAT names tensor, wire and offset of a damaged one. */
zo2_status zo2_packfile_read_place(const zo2_packfile *p, uint32_t tensor, const zo2_packplace *place, void *dst);

/* Which tensor each is stored as: [tensors], the caller's to free(); NULL if none is stored as another. ZO2_ERR_NOMEM. */
zo2_status zo2_packfile_aliases(const zo2_packfile *p, uint32_t **out);

/* Reads everything, checks every chunk's, tensor's and the model's hash. workers NULL: on the caller's thread alone. */
zo2_status zo2_packfile_verify(const zo2_packfile *p, const zo2_parallel *workers, zo2_progress_fn progress, void *ud);

/* ---- writer: streams, memory of the tables ---- */
typedef struct zo2_packwriter zo2_packwriter;

zo2_status zo2_packwriter_open(zo2_packwriter **out, const zo2_io *io, const char *path, const char *arch, int force);
/* Begins the next tensor in canonical order (t->stored_as and hash are ignored), then chunk() appends its chunks in order;
 * the next tensor() or commit() checks that exactly rows * cols values came. */
zo2_status zo2_packwriter_tensor(zo2_packwriter *w, const zo2_packtensor *t);

/* A chunk in its stored form. Making it is the work (hashes, compression), needs no writer and may be done by any
 * thread. Chunks are zo2_pack_chunk_rows() rows (packfile_format.h), the tensor's last one the rest. */
typedef struct zo2_packchunk {
    const void *source; /* bytes */
    const void *stored; /* stored_bytes: source itself, or in scratch */
    uint64_t bytes, stored_bytes;
    uint32_t encoding;
    uint64_t stored_hash, source_hash;
    uint64_t kept_at; /* of zo2_packwriter_restore(): its offset in the file. Else 0 */
} zo2_packchunk;
/* level 0: not compressed, and scratch may be NULL; else it has room for 2 * bytes. source and scratch must outlive the
 * chunk. ZO2_ERR_NOMEM. */
zo2_status zo2_packchunk_make(zo2_packchunk *c, zo2_dtype dtype, const void *source, uint64_t bytes, int level,
                              void *scratch);
zo2_status zo2_packwriter_chunk(zo2_packwriter *w, const zo2_packchunk *c);

/* A writer that goes on where an interrupted one of the same path and key stopped: PACK.md, "Interrupted". key: whatever the
 * chunks depend on. The caller gives all tensors and chunks again, in order. */
zo2_status zo2_packwriter_resume(zo2_packwriter **out, const zo2_io *io, const char *path, const char *arch, int force,
                                 uint64_t key);
/* How many of the first chunks may be there already. */
uint64_t zo2_packwriter_kept(const zo2_packwriter *w);
/* Chunk i of all if it is there whole: 1. Buffers as of zo2_packchunk_make(), which is to be called else. Any thread. */
int zo2_packwriter_restore(const zo2_packwriter *w, uint64_t i, zo2_dtype dtype, uint64_t bytes, void *source,
                           void *scratch, zo2_packchunk *out);
/* Closes it and leaves what there is to the next one; nothing, if there are no chunks. */
void zo2_packwriter_leave(zo2_packwriter *w);
/* Bytes on the disk that an interrupted writer of path left. */
uint64_t zo2_pack_partial_bytes(const char *path);

/* The next tensor in canonical order shares the bytes of an earlier one of equal shape and type. */
zo2_status zo2_packwriter_alias(zo2_packwriter *w, const zo2_packtensor *t, uint32_t stored_as);
/* The next tensor in canonical order is a matrix of which there will be wires alone: at least one that this program knows, or commit()
 * refuses. t->hash is that of the source bits. */
zo2_status zo2_packwriter_dropped(zo2_packwriter *w, const zo2_packtensor *t);
zo2_status zo2_packwriter_file(zo2_packwriter *w, const char *name, const void *data, size_t bytes);
/* All tensors of another pack, as they are stored there, into a writer that has none yet; with the file's mode; and its stored wires,
 * if `wires`. Shares the other file's blocks where the file system can, else copies chunk by chunk (progress: "copy", in stored
 * bytes) and checks each one's hash. ZO2_ERR_FORMAT names a damaged chunk; ZO2_ERR_NOSPACE before anything is copied, if there is
 * no room for it and the `more` bytes that the caller is going to write. In packfile_copy.c. */
zo2_status zo2_packwriter_copy(zo2_packwriter *w, const zo2_packfile *from, int wires, uint64_t more,
                               zo2_progress_fn progress, void *ud);
/* The same without the source bits of some matrices, those with drop[tensor] (aliases as their original), and without all stored wires:
 * at least one of each of these matrices is to follow. Always copies. In packfile_copy.c. */
zo2_status zo2_packwriter_copy_without(zo2_packwriter *w, const zo2_packfile *from, const uint8_t *drop, uint64_t more,
                                       zo2_progress_fn progress, void *ud);
/* Behind all tensors: begins the wire of a matrix that has bytes of its own. In the order of zo2_packfile_wire(). Then its chunks in order, cut
 * at the rows of the tensor's: `bytes` bytes, of which the first `stored` go into the file (hash: XXH3-64 of these) and the others are zero. In
 * packfile_wires.c. */
zo2_status zo2_packwriter_wire(zo2_packwriter *w, zo2_wire wire, uint32_t tensor);
zo2_status zo2_packwriter_wire_chunk(zo2_packwriter *w, const void *data, uint64_t bytes, uint64_t stored,
                                     uint64_t hash);
zo2_status zo2_packwriter_commit(zo2_packwriter *w,
                                 uint64_t *model_hash); /* fsync, rename, fsync of the folder; model_hash may be NULL */
/* Frees; without a commit before it the temporary file is removed. NULL is fine. */
void zo2_packwriter_close(zo2_packwriter *w);

#endif
