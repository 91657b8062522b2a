/* trunk_scan.c: see trunk_scan.h. */
#include "storage/trunk/trunk_scan.h"
#include "engine/base/checked.h"
#include "storage/io/io.h"
#include "storage/trunk/trunk.h"
#include "storage/trunk/trunk_format.h"
#include "storage/trunk/trunk_index.h"

#include <string.h>

/* In this order, so that damage is told from news. */
const char *zo2_trunk_head_fault(const zo2_trunk_head *h, const zo2_trunk_config *c)
{
    if (memcmp(h->magic, ZO2_TRUNK_MAGIC, sizeof h->magic) != 0)
        return "it doesn't begin as a trunk cache does";
    if (h->hash != zo2_trunk_head_hash(h))
        return "its header is damaged (checksum)";
    if (h->version != ZO2_TRUNK_VERSION || h->required)
        return "it is of another version of this program";
    if (h->head_bytes != ZO2_TRUNK_HEAD_BYTES)
        return "its header contradicts the format";
    for (size_t i = 0; i < sizeof h->reserved; i++)
        if (h->reserved[i])
            return "its header contradicts the format";
    if (h->run != c->run)
        return "it is of another run than its name says";
    if (h->identity.low != c->identity.low || h->identity.high != c->identity.high)
        return "its rows are of another model, place in it, or type";
    return NULL;
}

typedef struct window { /* many headers at once where entries are small */
    unsigned char bytes[4096];
    uint64_t at, n;
} window;

static zo2_status header_at(const zo2_trunk_file *f, window *w, uint64_t at, uint64_t size, zo2_trunk_record *r)
{
    if (at < w->at || at - w->at > w->n || w->n - (at - w->at) < sizeof *r) {
        w->at = at;
        w->n = zo2_min_u64(sizeof w->bytes, size - at);
        zo2_status s = zo2_io_read(f->io, f->fd, w->bytes, w->n, at, f->path);
        if (s)
            return s;
    }
    memcpy(r, w->bytes + (at - w->at), sizeof *r);
    return ZO2_OK;
}

zo2_status zo2_trunk_scan(zo2_trunk_file *f, uint64_t size, uint32_t part, zo2_trunk_index *index)
{
    window w = {.n = 0};
    zo2_trunk_record r;
    f->end = ZO2_TRUNK_HEAD_BYTES;
    f->bytes = 0;
    while (f->end <= size && size - f->end >= sizeof r) {
        zo2_status s = header_at(f, &w, f->end, size, &r);
        if (s)
            return s;
        if (r.magic != ZO2_TRUNK_RECORD_MAGIC || r.reserved || r.hash != zo2_trunk_record_hash(&r, f->seed) ||
            r.bytes > size - f->end - sizeof r)
            break;
        const zo2_trunk_entry e = {
            .key = r.key, .at = f->end + sizeof r, .bytes = r.bytes, .hash = r.payload_hash, .part = part};
        (void)zo2_trunk_index_set(index, &e);     /* one that finds no place is computed again */
        f->end += zo2_trunk_entry_bytes(r.bytes); /* up to 7 bytes behind the end of the file */
        f->bytes += zo2_trunk_entry_bytes(r.bytes);
    }
    return ZO2_OK;
}
