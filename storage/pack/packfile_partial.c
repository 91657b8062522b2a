/* packfile_partial.c: see packfile_partial.h. */
#include "storage/pack/packfile_partial.h"
#include "engine/base/checked.h"
#include "storage/io/io.h"
#include "storage/pack/packfile.h"
#include "storage/pack/packfile_format.h"
#include "storage/pack/packfile_writer.h"
#include "storage/pack/packfile_zstd.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <xxhash.h>
#include <zstd.h>

#define MAGIC  "ZO2PART\n"
#define SUFFIX ZO2_PARTIAL "-chunks"

typedef struct partial_record {
    uint64_t number;
    zo2_pack_chunk_record chunk;
    uint64_t hash; /* XXH3-64 of the bytes before, seeded with the key */
} partial_record;

static_assert(sizeof(partial_record) == 64, "PACK.md");

/* The first record: of no chunk, with the magic where the others have a number. */
static partial_record first_record(uint64_t key)
{
    partial_record r = {0};
    memcpy(&r.number, MAGIC, sizeof r.number);
    r.hash = XXH3_64bits_withSeed(&r, offsetof(partial_record, hash), key);
    return r;
}

static int is_right(const partial_record *r, uint64_t number, uint64_t key)
{
    const zo2_pack_chunk_record *c = &r->chunk;
    return r->hash == XXH3_64bits_withSeed(r, offsetof(partial_record, hash), key) && r->number == number &&
           c->stored_bytes > 0 && c->stored_bytes <= c->decoded_bytes && c->decoded_bytes <= ZO2_PACK_MAX_CHUNK_BYTES;
}

/* Records are taken from the front while they are right and each chunk begins where the one before lets it. */
static zo2_status load(zo2_packpartial *p)
{
    struct stat st;
    if (fstat(p->fd, &st))
        return zo2_io_error("cannot examine", p->path);
    const uint64_t n = (uint64_t)st.st_size / sizeof(partial_record);
    const partial_record first = first_record(p->key);
    if (!S_ISREG(st.st_mode) || n > ZO2_PACK_MAX_CHUNKS + 1)
        return zo2_error(ZO2_ERR_EXISTS, "%s is in the way; remove it", p->path);
    partial_record *all = malloc(((size_t)n + 1) * sizeof *all);
    p->kept = malloc(((size_t)n + 1) * sizeof *p->kept);
    zo2_status s = all && p->kept ? zo2_io_read(p->io, p->fd, all, n * sizeof *all, 0, p->path)
                                  : zo2_error(ZO2_ERR_NOMEM, "out of memory for %s", p->path);
    if (!s && n > 0 && memcmp(&all[0], &first, sizeof first) == 0)
        for (const partial_record *r = all + 1; r < all + n && is_right(r, p->n_kept, p->key); r++) {
            if (r->chunk.offset != (p->n_kept ? zo2_round_up(p->end, ZO2_PACK_ALIGN) : sizeof(zo2_pack_superblock)))
                break;
            p->kept[p->n_kept++] = r->chunk;
            p->end = r->chunk.offset + r->chunk.stored_bytes;
        }
    free(all);
    if (!s && p->n_kept == 0 && p->io->ftruncate(p->io->ud, p->fd, 0))
        s = zo2_io_error("cannot empty", p->path);
    return s ? s : zo2_io_write(p->io, p->fd, &first, sizeof first, 0, p->path);
}

zo2_status zo2_packpartial_open(zo2_packpartial *p, const zo2_io *io, const char *path, uint64_t key)
{
    /* Another zstd may compress to other bytes. */
    const uint32_t versions[] = {ZO2_PACK_VERSION, ZO2_PACK_CHUNK_BYTES, ZSTD_versionNumber()};
    *p = (zo2_packpartial){.io = io, .fd = -1, .key = XXH3_64bits_withSeed(versions, sizeof versions, key)};
    if (!(p->path = malloc(strlen(path) + sizeof SUFFIX)))
        return zo2_error(ZO2_ERR_NOMEM, "out of memory for the name of %s" SUFFIX, path);
    strcpy(p->path, path);
    strcat(p->path, SUFFIX);
    p->fd = io->open(io->ud, p->path, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK, 0666);
    return p->fd < 0 ? zo2_io_error("cannot create", p->path) : load(p);
}

zo2_status zo2_packpartial_note(const zo2_packpartial *p, uint64_t i, const zo2_pack_chunk_record *chunk)
{
    partial_record r = {.number = i, .chunk = *chunk};
    r.hash = XXH3_64bits_withSeed(&r, offsetof(partial_record, hash), p->key);
    return zo2_io_write(p->io, p->fd, &r, sizeof r, (i + 1) * sizeof r, p->path);
}

void zo2_packpartial_close(zo2_packpartial *p, int remove)
{
    if (!p->path)
        return;
    if (p->fd >= 0) {
        if (remove)
            p->io->unlink(p->io->ud, p->path);
        p->io->close(p->io->ud, p->fd);
    }
    free(p->kept);
    free(p->path);
    *p = (zo2_packpartial){0};
}

/* ---- the writer's side ------------------------------------------------------------------------------------------- */

uint64_t zo2_packwriter_kept(const zo2_packwriter *w)
{
    return w->partial.n_kept;
}

int zo2_packwriter_restore(const zo2_packwriter *w, uint64_t i, zo2_dtype dtype, uint64_t bytes, void *source,
                           void *scratch, zo2_packchunk *out)
{
    if (i >= w->partial.n_kept)
        return 0;
    const zo2_pack_chunk_record *r = &w->partial.kept[i];
    const int raw = r->encoding == ZO2_PACK_ENCODING_RAW;
    if (r->decoded_bytes != bytes ||
        (raw ? r->stored_bytes != bytes : r->encoding != ZO2_PACK_ENCODING_ZSTD || !scratch))
        return 0;
    unsigned char *planes = scratch, *stored = raw ? source : planes + bytes;
    const char *fault = NULL;
    if (zo2_io_read(w->file.io, w->file.fd, stored, r->stored_bytes, r->offset, w->file.tmp) != ZO2_OK ||
        XXH3_64bits(stored, (size_t)r->stored_bytes) != r->stored_hash)
        return 0;
    if (!raw && (zo2_pack_zstd_decode(stored, r->stored_bytes, (uint32_t)zo2_pack_dtype_bytes((uint32_t)dtype), planes,
                                      source, bytes, &fault) != ZO2_OK ||
                 fault))
        return 0;
    if (XXH3_64bits(source, (size_t)bytes) != r->decoded_hash)
        return 0;
    *out = (zo2_packchunk){.source = source,
                           .stored = stored,
                           .bytes = bytes,
                           .stored_bytes = r->stored_bytes,
                           .encoding = r->encoding,
                           .stored_hash = r->stored_hash,
                           .source_hash = r->decoded_hash,
                           .kept_at = r->offset};
    return 1;
}

uint64_t zo2_pack_partial_bytes(const char *path)
{
    struct stat st;
    char *partial = malloc(strlen(path) + sizeof ZO2_PARTIAL);
    uint64_t bytes = 0;
    if (partial) {
        strcpy(partial, path);
        strcat(partial, ZO2_PARTIAL);
        if (lstat(partial, &st) == 0 && S_ISREG(st.st_mode))
            bytes = (uint64_t)st.st_blocks * 512;
    }
    free(partial);
    return bytes;
}
