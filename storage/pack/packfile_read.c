/* packfile_read.c: opens a pack and hands out rows. Reads whole chunks, so that their hashes can be checked. */
#include "storage/instead/instead.h"
#include "storage/io/io.h"
#include "storage/pack/packfile.h"
#include "storage/pack/packfile_format.h"
#include "storage/pack/packfile_internal.h"
#include "storage/pack/packfile_zstd.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

zo2_status zo2_packfile_open(zo2_packfile **out, const char *path)
{
    *out = NULL;
    zo2_packfile *p = calloc(1, sizeof *p);
    if (p) {
        p->fd = -1;
        p->path = strdup(path);
    }
    if (!p || !p->path) {
        zo2_packfile_close(p);
        return zo2_error(ZO2_ERR_NOMEM, "out of memory to open %s", path);
    }
    zo2_status s;
    /* Non-blocking so that opening a FIFO doesn't hang; it means nothing for the regular file that is required below.
     * */
    p->fd = zo2_io_posix.open(zo2_io_posix.ud, path, O_RDONLY | O_NONBLOCK, 0);
    if (p->fd < 0)
        s = zo2_explain_file(zo2_io_error("cannot open pack", path), path, ZO2_WANT_PACK);
    else
        s = zo2_packfile_load(p);
    if (s != ZO2_OK) {
        zo2_packfile_close(p);
        return s;
    }
    *out = p;
    return ZO2_OK;
}

void zo2_packfile_close(zo2_packfile *p)
{
    if (!p)
        return;
    if (p->fd >= 0)
        zo2_io_posix.close(zo2_io_posix.ud, p->fd);
    for (uint32_t i = 0; p->file_data && i < p->super.files; i++)
        free(p->file_data[i]);
    free(p->file_data);
    free(p->views);
    free(p->names);
    free(p->files);
    free(p->wires);
    free(p->chunks);
    free(p->tensors);
    free(p->path);
    free(p);
}

const zo2_packheader *zo2_packfile_header(const zo2_packfile *p)
{
    return &p->header;
}

const zo2_packtensor *zo2_packfile_tensor(const zo2_packfile *p, uint32_t i)
{
    return i < p->header.tensors ? &p->views[i] : NULL;
}

const char *zo2_packfile_path(const zo2_packfile *p)
{
    return p->path;
}

const char *zo2_packfile_file_name(const zo2_packfile *p, size_t i)
{
    return i < p->header.files ? p->names + p->files[i].name_offset : NULL;
}

zo2_status zo2_packfile_file(const zo2_packfile *p, const char *name, const char **data, size_t *bytes)
{
    *data = NULL;
    *bytes = 0;
    for (uint32_t i = 0; i < p->header.files; i++)
        if (strcmp(p->names + p->files[i].name_offset, name) == 0) {
            *data = p->file_data[i];
            *bytes = (size_t)p->files[i].bytes;
            return ZO2_OK;
        }
    return zo2_error(ZO2_ERR_NOTFOUND, "%s carries no file named %s", p->path, name);
}

uint64_t zo2_packfile_chunk_rows(const zo2_packfile *p, uint32_t tensor)
{
    return tensor < p->header.tensors ? p->tensors[tensor].chunk_rows : 0;
}

static zo2_status chunk_error(const zo2_packfile *p, uint32_t tensor, uint64_t c, const char *fault)
{
    const zo2_pack_chunk_record *r = &p->chunks[c];
    const zo2_pack_tensor_record *t = &p->tensors[tensor];
    const zo2_pack_wire_record *wire = c < p->source_chunks ? NULL : zo2_packfile_wire_of(p, c);
    uint64_t k = c - (wire ? wire->first_chunk : t->first_chunk), row = k * t->chunk_rows;
    char what[80] = "";
    if (wire)
        snprintf(what, sizeof what, "stored wire %" PRIu32 " (%s), ", wire->wire,
                 zo2_wire_name((zo2_wire)wire->wire) ? zo2_wire_name((zo2_wire)wire->wire) : "unknown");
    return zo2_error(ZO2_ERR_FORMAT,
                     "%s: tensor %s, %srows %" PRIu64 " to %" PRIu64 " (offset %" PRIu64 ", %" PRIu64
                     " bytes): %s; the file is damaged: copy or convert it again",
                     p->path, p->views[tensor].name, what, row, row + zo2_pack_rows_of(t, k) - 1, r->offset,
                     r->stored_bytes, fault);
}

static zo2_status fetch(const zo2_packfile *p, uint32_t tensor, uint64_t c, void *dst)
{
    const zo2_pack_chunk_record *r = &p->chunks[c];
    zo2_status s = zo2_io_read(&zo2_io_posix, p->fd, dst, r->stored_bytes, r->offset, p->path);
    return s == ZO2_OK ? s : zo2_error(s, "%s (tensor %s)", zo2_last_error(), p->views[tensor].name);
}

static zo2_status check_stored(const zo2_packfile *p, uint32_t tensor, uint64_t c, const void *stored)
{
    const zo2_pack_chunk_record *r = &p->chunks[c];
    return XXH3_64bits(stored, (size_t)r->stored_bytes) == r->stored_hash ? ZO2_OK
                                                                          : chunk_error(p, tensor, c, "wrong checksum");
}

zo2_status zo2_packfile_read_stored(const zo2_packfile *p, uint32_t tensor, uint64_t c, void *dst)
{
    zo2_status s = fetch(p, tensor, c, dst);
    return s == ZO2_OK ? check_stored(p, tensor, c, dst) : s;
}

zo2_status zo2_packfile_restore(const zo2_packfile *p, uint32_t tensor, uint64_t chunk, void *data, void *scratch)
{
    const zo2_pack_chunk_record *r = &p->chunks[chunk];
    zo2_status s = check_stored(p, tensor, chunk, data);
    if (s == ZO2_OK && r->encoding == ZO2_PACK_ENCODING_RAW) /* a wire leaves off zeros at its end */
        memset((unsigned char *)data + r->stored_bytes, 0, (size_t)(r->decoded_bytes - r->stored_bytes));
    if (s != ZO2_OK || r->encoding == ZO2_PACK_ENCODING_RAW)
        return s;
    uint32_t size = (uint32_t)zo2_pack_dtype_bytes(p->tensors[tensor].dtype);
    const char *fault;
    s = zo2_pack_zstd_decode(data, r->stored_bytes, size, scratch, data, r->decoded_bytes, &fault);
    if (s != ZO2_OK)
        return s;
    if (!fault && XXH3_64bits(data, (size_t)r->decoded_bytes) != r->decoded_hash)
        fault = "wrong checksum of what it decompresses to";
    return fault ? chunk_error(p, tensor, chunk, fault) : ZO2_OK;
}

zo2_status zo2_packfile_read_chunk(const zo2_packfile *p, uint32_t tensor, uint64_t c, void *dst)
{
    const zo2_pack_chunk_record *r = &p->chunks[c];
    void *scratch = NULL;
    if (r->encoding != ZO2_PACK_ENCODING_RAW && !(scratch = malloc((size_t)r->decoded_bytes)))
        return zo2_error(ZO2_ERR_NOMEM, "out of memory to decompress a chunk of tensor %s (%" PRIu64 " bytes)",
                         p->views[tensor].name, r->decoded_bytes);
    zo2_status s = fetch(p, tensor, c, dst);
    if (s == ZO2_OK)
        s = zo2_packfile_restore(p, tensor, c, dst, scratch);
    free(scratch);
    return s;
}

static zo2_status check_rows(const zo2_packfile *p, uint32_t tensor, uint64_t row, uint64_t n)
{
    if (tensor >= p->header.tensors)
        return zo2_error(ZO2_ERR_ARG, "%s has %" PRIu32 " tensors, there is no number %" PRIu32, p->path,
                         p->header.tensors, tensor);
    const zo2_pack_tensor_record *t = &p->tensors[tensor];
    if (row > t->rows || n > t->rows - row)
        return zo2_error(ZO2_ERR_ARG,
                         "%s: tensor %s has %" PRIu64 " rows; %" PRIu64 " from row %" PRIu64 " were asked for", p->path,
                         p->views[tensor].name, t->rows, n, row);
    return ZO2_OK;
}

zo2_status zo2_packfile_check_source(const zo2_packfile *p, uint32_t tensor)
{
    const zo2_packtensor *t = zo2_packfile_tensor(p, tensor);
    if (!t || !t->dropped_to)
        return ZO2_OK;
    return zo2_error(
        ZO2_ERR_UNSUPPORTED,
        "%s has no source bits of tensor %s, only its %s wire: zo2-pack freeze --drop-source dropped them; "
        "use the pack that it was made from",
        p->path, t->name, zo2_wire_name(t->dropped_to));
}

static zo2_packplace place_of(const zo2_packfile *p, const zo2_pack_tensor_record *t, uint64_t row)
{
    const uint64_t k = row / t->chunk_rows, first = k * t->chunk_rows;
    const zo2_pack_chunk_record *c = &p->chunks[t->first_chunk + k];
    return (zo2_packplace){
        .chunk = t->first_chunk + k,
        .offset = c->offset,
        .stored_bytes = c->stored_bytes,
        .row = first,
        .rows = t->rows - first < t->chunk_rows ? t->rows - first : t->chunk_rows,
        .bytes = c->decoded_bytes,
        .compressed = c->encoding != ZO2_PACK_ENCODING_RAW,
    };
}

zo2_status zo2_packfile_place(const zo2_packfile *p, uint32_t tensor, uint64_t row, zo2_packplace *out)
{
    zo2_status s = check_rows(p, tensor, row, 1);
    if (s == ZO2_OK)
        s = zo2_packfile_check_source(p, tensor);
    if (s == ZO2_OK)
        *out = place_of(p, &p->tensors[tensor], row);
    return s;
}

zo2_status zo2_packfile_read_rows(const zo2_packfile *p, uint32_t tensor, uint64_t row, uint64_t n, void *dst)
{
    zo2_status s = check_rows(p, tensor, row, n);
    if (s == ZO2_OK)
        s = zo2_packfile_check_source(p, tensor);
    if (s != ZO2_OK)
        return s;
    const zo2_pack_tensor_record *t = &p->tensors[tensor];
    uint64_t row_bytes = t->cols * zo2_pack_dtype_bytes(t->dtype);
    unsigned char *to = dst;
    unsigned char *whole = NULL; /* a chunk of which only some rows are wanted */
    while (n > 0 && s == ZO2_OK) {
        const zo2_packplace c = place_of(p, t, row);
        uint64_t skip = row - c.row;
        uint64_t take = n < c.rows - skip ? n : c.rows - skip;
        if (take == c.rows) {
            s = zo2_packfile_read_chunk(p, tensor, c.chunk, to);
        } else {
            /* The first chunk is never shorter than the others, so one buffer does for both ends. */
            if (!whole && !(whole = malloc((size_t)(t->chunk_rows * row_bytes))))
                return zo2_error(ZO2_ERR_NOMEM, "out of memory for a chunk of tensor %s (%" PRIu64 " bytes)",
                                 p->views[tensor].name, t->chunk_rows * row_bytes);
            s = zo2_packfile_read_chunk(p, tensor, c.chunk, whole);
            if (s == ZO2_OK)
                memcpy(to, whole + skip * row_bytes, (size_t)(take * row_bytes));
        }
        to += take * row_bytes;
        row += take;
        n -= take;
    }
    free(whole);
    return s;
}

zo2_status zo2_packfile_wire_place(const zo2_packfile *p, uint32_t tensor, zo2_wire wire, uint64_t row,
                                   zo2_packplace *out)
{
    const zo2_pack_wire_record *r = zo2_packfile_find_wire(p, tensor, wire);
    zo2_status s = check_rows(p, tensor, row, 1);
    if (s != ZO2_OK)
        return s;
    if (!r)
        return zo2_error(ZO2_ERR_NOTFOUND, "%s has no stored %s wire of tensor %s", p->path, zo2_wire_name(wire),
                         p->views[tensor].name);
    const zo2_pack_tensor_record *t = &p->tensors[tensor];
    const uint64_t k = row / t->chunk_rows;
    const zo2_pack_chunk_record *c = &p->chunks[r->first_chunk + k];
    *out = (zo2_packplace){
        .chunk = r->first_chunk + k,
        .offset = c->offset,
        .stored_bytes = c->stored_bytes,
        .row = k * t->chunk_rows,
        .rows = zo2_pack_rows_of(t, k),
        .bytes = c->decoded_bytes,
    };
    return ZO2_OK;
}

zo2_status zo2_packfile_read_place(const zo2_packfile *p, uint32_t tensor, const zo2_packplace *place, void *dst)
{
    return zo2_packfile_read_chunk(p, tensor, place->chunk, dst);
}

zo2_status zo2_packfile_aliases(const zo2_packfile *p, uint32_t **out)
{
    const zo2_packheader *h = zo2_packfile_header(p);
    *out = NULL;
    if (!h->aliased)
        return ZO2_OK;
    *out = malloc(h->tensors * sizeof **out);
    if (!*out)
        return zo2_error(ZO2_ERR_NOMEM, "%s: no memory for the table of aliased tensors", p->path);
    for (uint32_t i = 0; i < h->tensors; i++)
        (*out)[i] = zo2_packfile_tensor(p, i)->stored_as;
    return ZO2_OK;
}
