/* fuzz_pack.c: pack files: superblock, tables, carried files, chunks.
 *
 * Input: mode; then, with PARTS, the parts of the file (fuzz_image_make()), else the file itself. SEALED makes lengths,
 * table hashes and the model hash right, PLACED the places of the tables and the hashes of what they list too. WIRES: the last part is
 * the wire table.
 *
 * Properties: an opened pack keeps its own rules and hands out what its file holds; verify and the reads agree; written
 * again it is the same file; after one changed byte opening or verifying refuses it. */
#include "storage/pack/packfile.h"
#include "storage/pack/packfile_format.h"
#include "storage/pack/packfile_zstd.h"
#include "tests/fuzz/fuzzing.h"
#include "tests/pack_tensor.h"

#include <unistd.h>
#include <xxhash.h>

enum { SEALED = 1, PARTS = 2, PLACED = 4, WIRES = 8 };

#define MAX_BYTES (UINT64_C(1) << 20) /* of all tensors together, for reading them */

/* ---- making checksums right -------------------------------------------------------------------------------------- */

static int inside(const fuzz_image *m, uint64_t offset, uint64_t bytes)
{
    return offset % 8 == 0 && offset <= m->size && bytes <= m->size - offset;
}

/* Records of table i, NULL if they aren't in the file; *n how many there are of `size` bytes. */
static void *records(const fuzz_image *m, int i, size_t size, uint64_t *n)
{
    const zo2_pack_section *t = &((zo2_pack_superblock *)(void *)m->data)->table[i];
    *n = t->bytes / size;
    return inside(m, t->offset, t->bytes) ? m->data + t->offset : NULL;
}

/* The last four or five parts are the tables: says so in the superblock. */
static void place_tables(const fuzz_image *m, zo2_pack_superblock *b, int mode)
{
    const int wires = (mode & WIRES) != 0, first = (int)m->parts - ZO2_PACK_TABLES - wires;
    for (int i = 0; i < ZO2_PACK_TABLES && first > 0; i++) {
        b->table[i].offset = m->part[first + i];
        b->table[i].bytes = m->length[first + i];
    }
    if (wires && first > 0) {
        b->wires.offset = m->part[m->parts - 1];
        b->wires.bytes = m->length[m->parts - 1];
    }
}

/* Decoded bytes of a chunk (malloc'ed, *n of them), NULL if it can't be decoded. */
static unsigned char *decode(const fuzz_image *m, const zo2_pack_chunk_record *c, uint32_t element, size_t *n)
{
    if (!inside(m, c->offset, c->stored_bytes) || c->decoded_bytes > MAX_BYTES || !element)
        return NULL;
    const unsigned char *stored = m->data + c->offset;
    const int raw = c->encoding != ZO2_PACK_ENCODING_ZSTD;
    *n = (size_t)(raw ? c->stored_bytes : c->decoded_bytes);
    unsigned char *bits = fuzz_alloc(*n), *planes = fuzz_alloc(*n);
    const char *fault = NULL;
    if (raw && *n)
        memcpy(bits, stored, *n);
    else if (!raw)
        FUZZ_CHECK(FUZZ_OK(zo2_pack_zstd_decode(stored, c->stored_bytes, element, planes, bits, *n, &fault)));
    free(planes);
    if (!fault)
        return bits;
    free(bits);
    return NULL;
}

/* Of its source bits. */
static uint64_t chunks_of(const zo2_pack_tensor_record *t)
{
    return t->flags & ZO2_PACK_DROPPED || !t->chunk_rows ? 0 : (t->rows + t->chunk_rows - 1) / t->chunk_rows;
}

/* Hashes of tensor i's chunks, and its own. */
static void seal_tensor(const fuzz_image *m, zo2_pack_tensor_record *t, zo2_pack_chunk_record *c, uint64_t chunks)
{
    XXH3_state_t *hash = XXH3_createState();
    XXH3_64bits_reset(hash);
    const uint64_t n = chunks_of(t);
    for (uint64_t k = t->first_chunk; k < chunks && k - t->first_chunk < n; k++) {
        size_t bytes;
        unsigned char *bits = decode(m, &c[k], (uint32_t)zo2_pack_dtype_bytes(t->dtype), &bytes);
        if (inside(m, c[k].offset, c[k].stored_bytes))
            c[k].stored_hash = XXH3_64bits(m->data + c[k].offset, (size_t)c[k].stored_bytes);
        if (bits) {
            c[k].decoded_hash = XXH3_64bits(bits, bytes);
            XXH3_64bits_update(hash, bits, bytes);
        }
        free(bits);
    }
    t->hash = XXH3_64bits_digest(hash);
    XXH3_freeState(hash);
}

static void seal_contents(const fuzz_image *m)
{
    uint64_t tensors, chunks, files;
    zo2_pack_tensor_record *t = records(m, ZO2_PACK_TENSORS, sizeof *t, &tensors);
    zo2_pack_chunk_record *c = records(m, ZO2_PACK_CHUNKS, sizeof *c, &chunks);
    zo2_pack_file_record *f = records(m, ZO2_PACK_FILES, sizeof *f, &files);
    for (uint64_t i = 0; f && i < files; i++)
        if (inside(m, f[i].offset, f[i].bytes))
            f[i].hash = XXH3_64bits(m->data + f[i].offset, (size_t)f[i].bytes);
    for (uint64_t i = 0; t && c && i < tensors; i++)
        if (t[i].stored_as < i)
            t[i].hash = t[t[i].stored_as].hash;
        else
            seal_tensor(m, &t[i], c, chunks);
    /* What no tensor has is a wire's. */
    uint64_t first = 0;
    for (uint64_t i = 0; t && i < tensors; i++)
        if (t[i].stored_as == i && t[i].first_chunk == first)
            first += chunks_of(&t[i]);
    for (uint64_t k = first; c && k < chunks; k++)
        if (inside(m, c[k].offset, c[k].stored_bytes))
            c[k].stored_hash = c[k].decoded_hash = XXH3_64bits(m->data + c[k].offset, (size_t)c[k].stored_bytes);
}

static void seal(const fuzz_image *m, int mode)
{
    zo2_pack_superblock *b = (zo2_pack_superblock *)(void *)m->data;
    uint64_t n;
    if (mode & PLACED) {
        place_tables(m, b, mode);
        seal_contents(m);
    }
    b->file_bytes = m->size;
    const zo2_pack_tensor_record *t = records(m, ZO2_PACK_TENSORS, sizeof *t, &n);
    if (t)
        zo2_pack_model_hash(t, (uint32_t)n, &b->model_hash);
    for (int i = 0; i < ZO2_PACK_TABLES; i++)
        if (inside(m, b->table[i].offset, b->table[i].bytes))
            b->table[i].hash = XXH3_64bits(m->data + b->table[i].offset, (size_t)b->table[i].bytes);
    if (mode & WIRES && inside(m, b->wires.offset, b->wires.bytes))
        b->wires.hash = XXH3_64bits(m->data + b->wires.offset, (size_t)b->wires.bytes);
    b->hash = XXH3_64bits(b, offsetof(zo2_pack_superblock, hash));
}

/* ---- properties -------------------------------------------------------------------------------------------------- */

static uint64_t row_bytes(const zo2_packtensor *t)
{
    return t->cols * zo2_pack_dtype_bytes(t->dtype);
}

/* Reads a tensor whole and by rows in odd pieces; 1 and equal bits, or 0 both ways. *bits is malloc'ed. */
static int read_tensor(const zo2_packfile *p, uint32_t i, unsigned char **bits)
{
    const zo2_packtensor *t = zo2_packfile_tensor(p, i);
    size_t bytes = (size_t)(t->rows * row_bytes(t));
    unsigned char *again = fuzz_alloc(bytes);
    *bits = fuzz_alloc(bytes);
    int whole = FUZZ_OK(zo2_packfile_read_rows(p, i, 0, t->rows, *bits)), pieces = 1;
    for (uint64_t row = 0, n = 1; row < t->rows; row += n, n = n * 3 + 1) {
        n = n < t->rows - row ? n : t->rows - row;
        pieces &= FUZZ_OK(zo2_packfile_read_rows(p, i, row, n, again + row * row_bytes(t)));
    }
    FUZZ_CHECK(whole == pieces);
    FUZZ_CHECK(!whole || memcmp(*bits, again, bytes) == 0);
    FUZZ_CHECK(zo2_packfile_read_rows(p, i, t->rows, 1, again) == ZO2_ERR_ARG);
    FUZZ_CHECK(zo2_packfile_read_rows(p, i, 1, UINT64_MAX, again) == ZO2_ERR_ARG);
    free(again);
    return whole;
}

static void check_header(const zo2_packfile *p, const fuzz_image *m)
{
    const zo2_packheader *h = zo2_packfile_header(p);
    uint64_t parameters = 0;
    FUZZ_CHECK(h->stored_bytes <= h->source_bytes && (h->compressed || h->stored_bytes == h->source_bytes));
    FUZZ_CHECK(h->file_bytes == m->size && h->version == ZO2_PACK_VERSION && *h->arch);
    for (uint32_t i = 0; i < h->tensors; i++) {
        const zo2_packtensor *t = zo2_packfile_tensor(p, i);
        FUZZ_CHECK(*t->name && t->rows && t->cols && t->block < h->blocks && t->stored_as <= i);
        FUZZ_CHECK(i == 0 || t->block >= zo2_packfile_tensor(p, i - 1)->block);
        FUZZ_CHECK(zo2_packfile_chunk_rows(p, i) >= 1 && zo2_packfile_chunk_rows(p, i) <= t->rows);
        parameters += t->rows * t->cols;
    }
    FUZZ_CHECK(parameters == h->parameters);
    FUZZ_CHECK(!zo2_packfile_tensor(p, h->tensors) && !zo2_packfile_file_name(p, h->files));
    for (uint32_t i = 0; i < h->files; i++) {
        const char *data, *name = zo2_packfile_file_name(p, i);
        size_t bytes;
        FUZZ_CHECK(*name && !strchr(name, '/'));
        FUZZ_CHECK(zo2_packfile_file(p, name, &data, &bytes) == ZO2_OK && data[bytes] == '\0');
    }
}

/* Stored wire i, chunk by chunk. */
static void rewrite_wire(const zo2_packfile *p, zo2_packwriter *w, uint32_t i)
{
    const zo2_packwire wire = zo2_packfile_wire(p, i);
    const zo2_packtensor *t = zo2_packfile_tensor(p, wire.tensor);
    uint64_t total = 0;
    FUZZ_CHECK(zo2_packfile_has_wire(p, wire.tensor, wire.wire));
    FUZZ_CHECK(FUZZ_OK(zo2_packwriter_wire(w, wire.wire, wire.tensor)));
    for (uint64_t row = 0; row < t->rows;) {
        zo2_packplace place;
        FUZZ_CHECK(zo2_packfile_wire_place(p, wire.tensor, wire.wire, row, &place) == ZO2_OK && place.row == row);
        unsigned char *bytes = fuzz_alloc((size_t)place.bytes);
        FUZZ_CHECK(FUZZ_OK(zo2_packfile_read_place(p, wire.tensor, &place, bytes)));
        const size_t stored = (size_t)place.stored_bytes;
        FUZZ_CHECK(FUZZ_OK(zo2_packwriter_wire_chunk(w, bytes, place.bytes, stored, XXH3_64bits(bytes, stored))));
        free(bytes);
        total += stored;
        row += place.rows;
    }
    FUZZ_CHECK(total == wire.bytes);
}

/* Would this version's writer choose its chunks, and leave them as they are? */
static int is_canonical(const zo2_packfile *p)
{
    const zo2_packheader *h = zo2_packfile_header(p);
    int same = !h->compressed;
    for (uint32_t i = 0; i < h->tensors; i++) {
        const zo2_packtensor *t = zo2_packfile_tensor(p, i);
        same &= zo2_packfile_chunk_rows(p, i) == zo2_pack_chunk_rows(t->dtype, t->rows, t->cols);
    }
    return same;
}

/* The pack written again from what it says, compressed if it is; with its wires if it is canonical. Returns the path. */
static char *rewrite(const zo2_packfile *p, unsigned char *const *bits, int same, uint64_t *model_hash)
{
    const zo2_packheader *h = zo2_packfile_header(p);
    char *path = zo2_path_join(fuzz_dir(), "again.zo2");
    zo2_packwriter *w;
    FUZZ_CHECK(path && FUZZ_OK(zo2_packwriter_open(&w, &fuzz_io, path, h->arch, 1)));
    for (uint32_t i = 0; i < h->tensors; i++) {
        const zo2_packtensor *t = zo2_packfile_tensor(p, i);
        if (t->stored_as == i && t->dropped_to) {
            FUZZ_CHECK(FUZZ_OK(zo2_packwriter_dropped(w, t)));
            continue;
        }
        if (t->stored_as != i) {
            FUZZ_CHECK(FUZZ_OK(zo2_packwriter_alias(w, t, t->stored_as)));
            continue;
        }
        FUZZ_CHECK(FUZZ_OK(pack_tensor(w, t, bits[i], h->compressed)));
    }
    for (uint32_t i = 0; i < h->wires && same; i++) /* cut as the tensors are */
        rewrite_wire(p, w, i);
    for (uint32_t i = 0; i < h->files; i++) {
        const char *data, *name = zo2_packfile_file_name(p, i);
        size_t bytes;
        FUZZ_CHECK(zo2_packfile_file(p, name, &data, &bytes) == ZO2_OK);
        FUZZ_CHECK(FUZZ_OK(zo2_packwriter_file(w, name, data, bytes)));
    }
    FUZZ_CHECK(FUZZ_OK(zo2_packwriter_commit(w, model_hash)));
    zo2_packwriter_close(w);
    return path;
}

static void check_rewritten(const zo2_packfile *p, const fuzz_image *m, unsigned char *const *bits)
{
    const int same = is_canonical(p);
    if (!same && zo2_packfile_header(p)->dropped) /* these need their wires */
        return;
    uint64_t model_hash;
    char *path = rewrite(p, bits, same, &model_hash), *data;
    size_t bytes;
    FUZZ_CHECK(model_hash == zo2_packfile_header(p)->model_hash);
    if (same) {
        FUZZ_CHECK(zo2_io_slurp(path, UINT64_C(1) << 30, &data, &bytes) == ZO2_OK);
        FUZZ_CHECK(bytes == m->size && memcmp(data, m->data, bytes) == 0);
        free(data);
    }
    zo2_packfile *again;
    FUZZ_CHECK(FUZZ_OK(zo2_packfile_open(&again, path)) && FUZZ_OK(zo2_packfile_verify(again, NULL, NULL, NULL)));
    zo2_packfile_close(again);
    unlink(path);
    free(path);
}

/* One byte of a pack that verified, changed: it must not open and verify, and no read may give other bits than before. */
static void check_damage(const fuzz_image *m, unsigned char *const *bits, uint64_t digest)
{
    if (!m->size)
        return;
    zo2_packfile *p;
    size_t at = (size_t)(digest % m->size); /* mostly padding; or a byte of a part that isn't empty */
    const int part = (int)(digest % (uint64_t)m->parts);
    if (digest >> 63 && m->length[part])
        at = m->part[part] + (size_t)((digest >> 8) % m->length[part]);
    m->data[at] ^= (unsigned char)(1 + (digest >> 32) % 255);
    int found = !FUZZ_OK(zo2_packfile_open(&p, fuzz_file(0, m->data, m->size)));
    for (uint32_t i = 0; !found && i < zo2_packfile_header(p)->tensors; i++) {
        const zo2_packtensor *t = zo2_packfile_tensor(p, i);
        unsigned char *now;
        FUZZ_CHECK(!read_tensor(p, i, &now) || memcmp(now, bits[i], (size_t)(t->rows * row_bytes(t))) == 0);
        free(now);
    }
    if (!found)
        found = !FUZZ_OK(zo2_packfile_verify(p, NULL, NULL, NULL));
    FUZZ_CHECK(found);
    zo2_packfile_close(p);
}

static void check_open(const zo2_packfile *p, const fuzz_image *m, uint64_t digest)
{
    const zo2_packheader *h = zo2_packfile_header(p);
    check_header(p, m);
    int readable = 1;
    uint64_t total = 0;
    unsigned char **bits = fuzz_alloc(h->tensors * sizeof *bits);
    for (uint32_t i = 0; i < h->tensors && total <= MAX_BYTES; i++) {
        total += zo2_packfile_tensor(p, i)->rows * row_bytes(zo2_packfile_tensor(p, i));
        const int read = total <= MAX_BYTES && read_tensor(p, i, &bits[i]),
                  there = !zo2_packfile_tensor(p, i)->dropped_to;
        FUZZ_CHECK(!read || there);
        readable &= read || !there;
    }
    if (total <= MAX_BYTES) { /* aliases can make it more than the file has */
        int verified = FUZZ_OK(zo2_packfile_verify(p, NULL, NULL, NULL));
        FUZZ_CHECK(readable || !verified);
        if (verified) {
            check_rewritten(p, m, bits);
            check_damage(m, bits, digest);
        }
    }
    for (uint32_t i = 0; i < h->tensors; i++)
        free(bits[i]);
    free(bits);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input in = {data, size};
    fuzz_image m;
    int mode = fuzz_u8(&in);
    fuzz_image_make(&m, &in, mode & PARTS);
    if (mode & SEALED && m.size >= sizeof(zo2_pack_superblock))
        seal(&m, mode);
    zo2_packfile *p;
    if (FUZZ_OK(zo2_packfile_open(&p, fuzz_file(0, m.data, m.size))))
        check_open(p, &m, fuzz_digest(data, size));
    else
        FUZZ_CHECK(!p);
    zo2_packfile_close(p);
    free(m.data);
    return 0;
}
