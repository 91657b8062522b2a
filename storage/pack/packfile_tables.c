/* packfile_tables.c: loads a pack's superblock and tables and checks every rule of PACK.md that needs no weights. The
 * layout is canonical: each part starts at the first aligned offset behind the one before, so a walk with one cursor
 * excludes overlaps, holes and lengths that lie. Sizes are compared with the file's before anything is allocated. */
#include "engine/base/checked.h"
#include "storage/instead/instead.h"
#include "storage/io/io.h"
#include "storage/pack/packfile.h"
#include "storage/pack/packfile_format.h"
#include "storage/pack/packfile_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <xxhash.h>

#define AGAIN "the file is damaged: copy or convert it again"

static zo2_status check_superblock(zo2_packfile *p)
{
    const zo2_pack_superblock *b = &p->super;
    struct stat st;
    if (fstat(p->fd, &st) != 0)
        return zo2_io_error("cannot examine", p->path);
    if (!S_ISREG(st.st_mode))
        return zo2_explain_file(zo2_error(ZO2_ERR_FORMAT, "%s is not a regular file", p->path), p->path, ZO2_WANT_PACK);
    uint64_t length = (uint64_t)st.st_size;
    uint64_t have = length < sizeof *b ? length : sizeof *b;
    zo2_status s = zo2_io_read(&zo2_io_posix, p->fd, &p->super, have, 0, p->path);
    if (s != ZO2_OK)
        return s;
    if (have < ZO2_PACK_MAGIC_BYTES || memcmp(b->magic, ZO2_PACK_MAGIC, ZO2_PACK_MAGIC_BYTES) != 0)
        return zo2_explain_file(
            zo2_error(
                ZO2_ERR_FORMAT,
                "%s is not a pack: it doesn't begin with the magic bytes of *.zo2 files; make one with zo2-pack convert",
                p->path),
            p->path, ZO2_WANT_PACK);
    if (have < sizeof *b)
        return zo2_error(ZO2_ERR_FORMAT, "%s has only %" PRIu64 " bytes, less than a pack's superblock; " AGAIN,
                         p->path, have);
    /* Its place is the same in all versions: damage is told from news. */
    uint64_t hash = XXH3_64bits(b, offsetof(zo2_pack_superblock, hash));
    if (hash != b->hash)
        return zo2_error(ZO2_ERR_FORMAT,
                         "%s: the checksum of the superblock (offset 0, 4096 bytes) is %016" PRIx64
                         ", stored is %016" PRIx64 "; " AGAIN,
                         p->path, hash, b->hash);
    if (b->version != ZO2_PACK_VERSION)
        return zo2_error(ZO2_ERR_FORMAT,
                         "%s has pack version %" PRIu32 ", this program reads version %d: update it or convert again",
                         p->path, b->version, ZO2_PACK_VERSION);
    uint64_t unknown = b->features & ~ZO2_PACK_KNOWN_FEATURES;
    if (unknown)
        return zo2_error(ZO2_ERR_FORMAT, "%s needs pack feature %d, which this program doesn't know: update it",
                         p->path, __builtin_ctzll(unknown));
    if (length != b->file_bytes)
        return zo2_error(
            ZO2_ERR_FORMAT,
            "%s has %" PRIu64 " bytes, its superblock says %" PRIu64 ": it is %s; copy or convert it again", p->path,
            length, b->file_bytes, length < b->file_bytes ? "truncated" : "followed by foreign bytes");
    return ZO2_OK;
}

/* Counts and lengths of the superblock, against the limits and against each other. */
static zo2_status check_counts(const zo2_packfile *p)
{
    static const char *const label[ZO2_PACK_TABLES] = {"tensor", "chunk", "file", "name"};
    const zo2_pack_superblock *b = &p->super;
    if (b->superblock_bytes != sizeof *b || b->reserved != 0)
        return zo2_error(ZO2_ERR_FORMAT, "%s: a reserved field of the superblock (offset 12 or 68) is wrong; " AGAIN,
                         p->path);
    for (size_t i = 0; i < sizeof b->zero; i++)
        if (b->zero[i])
            return zo2_error(ZO2_ERR_FORMAT, "%s: the superblock's reserved byte at offset %zu is not 0; " AGAIN,
                             p->path, offsetof(zo2_pack_superblock, zero) + i);
    const char *fault = zo2_pack_arch_fault(b->arch);
    if (fault)
        return zo2_error(ZO2_ERR_FORMAT, "%s: %s (offset 168); " AGAIN, p->path, fault);
    if (b->tensors > ZO2_PACK_MAX_TENSORS || b->files > ZO2_PACK_MAX_FILES || b->chunks > ZO2_PACK_MAX_CHUNKS ||
        b->blocks > ZO2_PACK_MAX_BLOCK + 1)
        return zo2_error(ZO2_ERR_FORMAT,
                         "%s claims %" PRIu32 " tensors in %" PRIu32 " blocks, %" PRIu64 " chunks and %" PRIu32
                         " files: more than a pack may have; " AGAIN,
                         p->path, b->tensors, b->blocks, b->chunks, b->files);
    const uint64_t expected[ZO2_PACK_TABLES] = {
        b->tensors * sizeof(zo2_pack_tensor_record), b->chunks * sizeof(zo2_pack_chunk_record),
        b->files * sizeof(zo2_pack_file_record), ((uint64_t)b->tensors + b->files) * (ZO2_PACK_MAX_NAME + 1)};
    for (int i = 0; i < ZO2_PACK_TABLES; i++) {
        const zo2_pack_section *t = &b->table[i];
        uint64_t end;
        int wrong = i == ZO2_PACK_NAMES ? t->bytes > expected[i] : t->bytes != expected[i];
        if (wrong || t->offset % ZO2_PACK_ALIGN || !zo2_add_u64(t->offset, t->bytes, &end) || end > b->file_bytes)
            return zo2_error(ZO2_ERR_FORMAT,
                             "%s: the %s table (offset %" PRIu64 ", %" PRIu64
                             " bytes) doesn't fit its counts or the file; " AGAIN,
                             p->path, label[i], t->offset, t->bytes);
    }
    const zo2_pack_section *w = &b->wires;
    uint64_t end;
    const int has = (b->features & ZO2_PACK_FEATURE_WIRES) != 0;
    if (has ? !w->bytes || w->bytes % sizeof(zo2_pack_wire_record) ||
                  w->bytes / sizeof(zo2_pack_wire_record) > b->chunks || w->offset % ZO2_PACK_ALIGN ||
                  !zo2_add_u64(w->offset, w->bytes, &end) || end > b->file_bytes
            : w->offset || w->bytes || w->hash)
        return zo2_error(ZO2_ERR_FORMAT,
                         "%s: the wire table (offset %" PRIu64 ", %" PRIu64
                         " bytes) doesn't fit the features, its counts or the file; " AGAIN,
                         p->path, w->offset, w->bytes);
    return ZO2_OK;
}

/* n bytes at off into a new buffer with a NUL behind it, checksum checked. The caller has compared the range with the
 * length. */
static zo2_status load(const zo2_packfile *p, uint64_t off, uint64_t n, uint64_t hash, const char *label, void *out)
{
    char *buf = malloc((size_t)n + 1);
    if (!buf)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory for %s of %s (%" PRIu64 " bytes)", label, p->path, n);
    memcpy(out, &buf, sizeof buf); /* the owner is p whatever comes: zo2_packfile_close() frees it */
    zo2_status s = zo2_io_read(&zo2_io_posix, p->fd, buf, n, off, p->path);
    if (s != ZO2_OK)
        return s;
    buf[n] = '\0';
    if (XXH3_64bits(buf, (size_t)n) != hash)
        return zo2_error(ZO2_ERR_FORMAT,
                         "%s: the checksum of %s (offset %" PRIu64 ", %" PRIu64 " bytes) is wrong; " AGAIN, p->path,
                         label, off, n);
    return ZO2_OK;
}

/* The next name of the names table: at *cursor, n bytes and a NUL. */
static zo2_status take_name(const zo2_packfile *p, uint32_t offset, uint32_t n, uint64_t *cursor, const char *kind,
                            uint32_t index, const char *(*fault_of)(const char *, size_t))
{
    uint64_t bytes = p->super.table[ZO2_PACK_NAMES].bytes;
    const char *fault = NULL;
    if (offset != *cursor || n >= bytes || *cursor > bytes - n - 1 || p->names[*cursor + n] != '\0')
        fault = "its name doesn't follow the one before in the names table";
    else
        fault = fault_of(p->names + offset, n);
    if (fault)
        return zo2_error(ZO2_ERR_FORMAT, "%s: %s %" PRIu32 ": %s; " AGAIN, p->path, kind, index, fault);
    *cursor += (uint64_t)n + 1;
    return ZO2_OK;
}

static zo2_status tensor_error(const zo2_packfile *p, uint32_t i, const char *fault)
{
    return zo2_error(ZO2_ERR_FORMAT, "%s: tensor %" PRIu32 " (%s) in the tensor table: %s; " AGAIN, p->path, i,
                     p->names + p->tensors[i].name_offset, fault);
}

/* Chunks of tensor i, which is not an alias: they start at *chunk in the table and *cursor in the file. */
static zo2_status check_chunks(zo2_packfile *p, uint32_t i, uint64_t *chunk, uint64_t *cursor)
{
    const zo2_pack_tensor_record *t = &p->tensors[i];
    uint64_t row_bytes = t->cols * zo2_pack_dtype_bytes(t->dtype), chunk_bytes; /* the shape was checked: no overflow */
    if (t->first_chunk != *chunk)
        return tensor_error(p, i, "its first chunk is not the next one");
    if (t->chunk_rows == 0 || t->chunk_rows > t->rows || !zo2_mul_u64(t->chunk_rows, row_bytes, &chunk_bytes) ||
        chunk_bytes > ZO2_PACK_MAX_CHUNK_BYTES)
        return tensor_error(p, i, "its rows per chunk are out of range");
    uint64_t n = zo2_pack_source_chunks(t);
    if (n > p->super.chunks - *chunk)
        return tensor_error(p, i, "it needs more chunks than there are");
    for (uint64_t k = 0; k < n; k++, ++*chunk) {
        const zo2_pack_chunk_record *c = &p->chunks[*chunk];
        uint64_t rows = k + 1 < n ? t->chunk_rows : t->rows - k * t->chunk_rows;
        const char *fault = NULL;
        int raw = c->encoding == ZO2_PACK_ENCODING_RAW;
        if (!raw && c->encoding != ZO2_PACK_ENCODING_ZSTD)
            return zo2_error(ZO2_ERR_FORMAT,
                             "%s: chunk %" PRIu64 " of tensor %s has encoding %" PRIu32
                             ", which this program doesn't know: update it",
                             p->path, k, p->names + t->name_offset, c->encoding);
        if (c->reserved != 0)
            fault = "its reserved field is not 0";
        else if (c->decoded_bytes != rows * row_bytes)
            fault = "its decoded length doesn't fit the rows";
        else if (raw && (c->stored_bytes != c->decoded_bytes || c->stored_hash != c->decoded_hash))
            fault = "stored and decoded bytes differ though it is stored as is";
        else if (!raw && !(p->super.features & ZO2_PACK_FEATURE_ZSTD))
            fault = "it is compressed, which the superblock's features don't say";
        else if (!raw && (c->stored_bytes == 0 || c->stored_bytes >= c->decoded_bytes))
            fault = "it is compressed and not smaller for it";
        else if (c->offset != *cursor)
            fault = "it doesn't follow the chunk before";
        else if (*cursor > p->super.file_bytes || c->stored_bytes > p->super.file_bytes - *cursor)
            fault = "it reaches past the end of the file";
        if (fault)
            return zo2_error(ZO2_ERR_FORMAT,
                             "%s: chunk %" PRIu64 " of tensor %s (offset %" PRIu64 ", %" PRIu64 " bytes): %s; " AGAIN,
                             p->path, k, p->names + t->name_offset, c->offset, c->stored_bytes, fault);
        *cursor = zo2_round_up(*cursor + c->stored_bytes, ZO2_PACK_ALIGN);
        p->header.source_bytes += c->decoded_bytes; /* of at most 2^24 chunks of 2^30 bytes */
        p->header.stored_bytes += c->stored_bytes;
        p->header.compressed |= !raw;
        p->header.largest_chunk = zo2_max_u64(p->header.largest_chunk, c->decoded_bytes);
    }
    return ZO2_OK;
}

static zo2_status check_alias(const zo2_packfile *p, uint32_t i)
{
    const zo2_pack_tensor_record *t = &p->tensors[i];
    if (t->stored_as > i || p->tensors[t->stored_as].stored_as != t->stored_as)
        return tensor_error(p, i, "it is stored as a tensor that has no bytes of its own");
    const zo2_pack_tensor_record *o = &p->tensors[t->stored_as];
    if (t->rows != o->rows || t->cols != o->cols || t->dtype != o->dtype || t->hash != o->hash ||
        t->first_chunk != o->first_chunk || t->chunk_rows != o->chunk_rows || (t->flags ^ o->flags) & ZO2_PACK_DROPPED)
        return tensor_error(p, i, "it is stored as a tensor that differs in shape, type or hash");
    return ZO2_OK;
}

static const char *dropped_fault(const zo2_packfile *p, const zo2_pack_tensor_record *t)
{
    if (!(t->flags & ZO2_PACK_DROPPED))
        return NULL;
    if (!(p->super.features & ZO2_PACK_FEATURE_DROPPED))
        return "it has no source bits, which the superblock's features don't say";
    return t->rank == 2 ? NULL : "it is a vector without source bits";
}

static zo2_status check_tensors(zo2_packfile *p, uint64_t *cursor, uint64_t *name)
{
    const zo2_pack_superblock *b = &p->super;
    uint64_t chunk = 0, parameters = 0, model_hash = 0;
    uint32_t blocks = 0;
    for (uint32_t i = 0; i < b->tensors; i++) {
        const zo2_pack_tensor_record *t = &p->tensors[i];
        zo2_status s = take_name(p, t->name_offset, t->name_bytes, name, "tensor", i, zo2_pack_name_fault);
        if (s != ZO2_OK)
            return s;
        const char *fault = zo2_pack_shape_fault(t->dtype, t->rank, t->rows, t->cols);
        if (!fault && (t->reserved != 0 || (t->flags & ~(ZO2_PACK_DECAYS | ZO2_PACK_DROPPED))))
            fault = "a reserved field is not 0";
        if (!fault)
            fault = dropped_fault(p, t);
        if (!fault && (t->block >= b->blocks || t->block + 1 < blocks))
            fault = "its block number is out of order";
        if (fault)
            return tensor_error(p, i, fault);
        s = t->stored_as == i ? check_chunks(p, i, &chunk, cursor) : check_alias(p, i);
        if (s != ZO2_OK)
            return s;
        blocks = t->block + 1;
        parameters += t->rows * t->cols; /* at most 2^20 * 2^40 */
        p->header.aliased |= t->stored_as != i;
        p->header.dropped += t->stored_as == i && (t->flags & ZO2_PACK_DROPPED);
        p->views[i] = (zo2_packtensor){
            .name = p->names + t->name_offset,
            .dtype = (zo2_dtype)t->dtype,
            .rank = t->rank,
            .rows = t->rows,
            .cols = t->cols,
            .block = t->block,
            .decays = t->flags & ZO2_PACK_DECAYS,
            .stored_as = t->stored_as,
            .hash = t->hash,
        };
    }
    p->source_chunks = chunk;
    zo2_status s = zo2_packfile_check_wires(p, &chunk, cursor);
    if (s != ZO2_OK)
        return s;
    if (chunk != b->chunks || blocks != b->blocks || parameters != b->parameters)
        return zo2_error(ZO2_ERR_FORMAT,
                         "%s: the tensor table doesn't have the superblock's chunks, blocks and parameters; " AGAIN,
                         p->path);
    if ((b->features & ZO2_PACK_FEATURE_ZSTD) && !p->header.compressed)
        return zo2_error(ZO2_ERR_FORMAT, "%s needs zstd by its superblock, but no chunk is compressed; " AGAIN,
                         p->path);
    if ((b->features & ZO2_PACK_FEATURE_DROPPED) && !p->header.dropped)
        return zo2_error(ZO2_ERR_FORMAT,
                         "%s lacks source bits by its superblock, but every tensor says that it has them; " AGAIN,
                         p->path);
    if (!zo2_pack_model_hash(p->tensors, b->tensors, &model_hash))
        return zo2_error(ZO2_ERR_NOMEM, "out of memory to open %s", p->path);
    if (model_hash != b->model_hash)
        return zo2_error(ZO2_ERR_FORMAT, "%s: the model hash is not that of the tensor table; " AGAIN, p->path);
    return ZO2_OK;
}

static zo2_status load_files(zo2_packfile *p, uint64_t *cursor, uint64_t *name)
{
    uint64_t total = 0;
    for (uint32_t i = 0; i < p->super.files; i++) {
        const zo2_pack_file_record *f = &p->files[i];
        zo2_status s = take_name(p, f->name_offset, f->name_bytes, name, "carried file", i, zo2_pack_file_name_fault);
        if (s != ZO2_OK)
            return s;
        if (f->bytes > ZO2_PACK_MAX_FILE_BYTES - total || f->offset != *cursor || *cursor > p->super.file_bytes ||
            f->bytes > p->super.file_bytes - *cursor)
            return zo2_error(ZO2_ERR_FORMAT,
                             "%s: carried file %s (offset %" PRIu64 ", %" PRIu64
                             " bytes) is out of place or too long; " AGAIN,
                             p->path, p->names + f->name_offset, f->offset, f->bytes);
        total += f->bytes;
        s = load(p, f->offset, f->bytes, f->hash, p->names + f->name_offset, &p->file_data[i]);
        if (s != ZO2_OK)
            return s;
        *cursor = zo2_round_up(*cursor + f->bytes, ZO2_PACK_ALIGN);
    }
    return ZO2_OK;
}

static zo2_status check_unique(const zo2_packfile *p)
{
    const zo2_pack_superblock *b = &p->super;
    const char *twice;
    size_t n = b->tensors > b->files ? b->tensors : b->files;
    const char **names = malloc((n + 1) * sizeof *names);
    zo2_status s = ZO2_OK;
    if (!names)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory for the names of %s", p->path);
    for (uint32_t i = 0; i < b->tensors; i++)
        names[i] = p->views[i].name;
    if (zo2_pack_sorted_duplicate(names, b->tensors, &twice))
        s = zo2_error(ZO2_ERR_FORMAT, "%s: two tensors are named %s; " AGAIN, p->path, twice);
    for (uint32_t i = 0; i < b->files; i++)
        names[i] = p->names + p->files[i].name_offset;
    if (s == ZO2_OK && zo2_pack_sorted_duplicate(names, b->files, &twice))
        s = zo2_error(ZO2_ERR_FORMAT, "%s: two carried files are named %s; " AGAIN, p->path, twice);
    free(names);
    return s;
}

zo2_status zo2_packfile_load(zo2_packfile *p)
{
    static const char *const label[ZO2_PACK_TABLES] = {"the tensor table", "the chunk table", "the file table",
                                                       "the names table"};
    void *const into[ZO2_PACK_TABLES] = {&p->tensors, &p->chunks, &p->files, &p->names};
    const zo2_pack_superblock *b = &p->super;
    zo2_status s = check_superblock(p);
    if (s == ZO2_OK)
        s = check_counts(p);
    for (int i = 0; s == ZO2_OK && i < ZO2_PACK_TABLES; i++)
        s = load(p, b->table[i].offset, b->table[i].bytes, b->table[i].hash, label[i], into[i]);
    if (s == ZO2_OK && b->wires.bytes)
        s = load(p, b->wires.offset, b->wires.bytes, b->wires.hash, "the wire table", &p->wires);
    if (s != ZO2_OK)
        return s;
    p->views = calloc((size_t)b->tensors + 1, sizeof *p->views);
    p->file_data = calloc((size_t)b->files + 1, sizeof *p->file_data);
    if (!p->views || !p->file_data)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory for the tables of %s", p->path);

    uint64_t cursor = sizeof *b, name = 0;
    if ((s = check_tensors(p, &cursor, &name)) != ZO2_OK || (s = load_files(p, &cursor, &name)) != ZO2_OK)
        return s;
    for (int i = 0; i < ZO2_PACK_TABLES; i++) {
        if (b->table[i].offset != cursor)
            return zo2_error(ZO2_ERR_FORMAT, "%s: %s is at offset %" PRIu64 ", not at %" PRIu64 "; " AGAIN, p->path,
                             label[i], b->table[i].offset, cursor);
        cursor = zo2_round_up(cursor + b->table[i].bytes, ZO2_PACK_ALIGN);
    }
    if (b->wires.bytes && b->wires.offset != cursor)
        return zo2_error(ZO2_ERR_FORMAT, "%s: the wire table is at offset %" PRIu64 ", not at %" PRIu64 "; " AGAIN,
                         p->path, b->wires.offset, cursor);
    cursor = zo2_round_up(cursor + b->wires.bytes, ZO2_PACK_ALIGN);
    if (cursor != b->file_bytes || name != b->table[ZO2_PACK_NAMES].bytes)
        return zo2_error(ZO2_ERR_FORMAT, "%s: there are bytes behind the tables or the last name; " AGAIN, p->path);
    p->header = (zo2_packheader){
        .version = b->version,
        .file_bytes = b->file_bytes,
        .model_hash = b->model_hash,
        .tensors = b->tensors,
        .blocks = b->blocks,
        .files = b->files,
        .parameters = b->parameters,
        .source_bytes = p->header.source_bytes,
        .stored_bytes = p->header.stored_bytes,
        .compressed = p->header.compressed,
        .aliased = p->header.aliased,
        .largest_chunk = p->header.largest_chunk,
        .wires = p->header.wires,
        .wire_bytes = p->header.wire_bytes,
        .dropped = p->header.dropped,
    };
    memcpy(p->header.arch, b->arch, sizeof p->header.arch);
    return check_unique(p);
}
