/* freeze.c: a pack with wires of some of its matrices beside their own bits: a new file takes its place, with the same weights as they
 * are stored. A task is a chunk of a wire, which is cut where the pack cuts the tensor: any thread reads the source's chunk and encodes
 * it; then it is written in its turn. Wires that were there before come again, in the table's order. */
#include "codec/codec.h"
#include "engine/base/checked.h"
#include "engine/base/finish.h"
#include "engine/base/opts.h"
#include "engine/base/pool.h"
#include "engine/masters/rebuild.h"
#include "engine/model/arch.h"
#include "engine/model/layout.h"
#include "engine/model/tune.h"
#include "engine/pack/pack_api.h"
#include "storage/io/io.h"
#include "storage/io/ordered.h"
#include "storage/pack/packfile.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

/* A wire of the new pack. */
typedef struct item {
    zo2_wire wire;
    uint32_t tensor; /* of the pack */
    int kept;        /* the old pack has it */
    uint64_t first;  /* chunks of all before it */
    uint64_t begin;  /* bytes of their weights */
} item;

typedef struct job {
    zo2_freeze_opts o;
    const zo2_codec *codec; /* of the new ones */
    char *path;             /* of the pack itself, whatever links lead to it */
    zo2_pack *pack;
    zo2_packwriter *w;
    item *items; /* [n + 1]: the last one is what there is behind them */
    uint32_t n, added;
    uint64_t wire_bytes;             /* of them all, with their padding */
    uint64_t most_wire, most_source; /* bytes of the largest chunks */
    uint64_t most_piece;             /* values that are encoded at a time */
} job;

/* At the start of a task's buffer; the wire, then source bits and values follow. */
typedef struct made {
    uint64_t bytes, hash;
} made;

#define MADE_BYTES ((uint64_t)64)

static void *source_of(const job *j, void *buffer)
{
    return (unsigned char *)buffer + MADE_BYTES + zo2_round_up(j->most_wire, 64);
}

static float *values_of(const job *j, void *buffer)
{
    return (float *)(void *)((unsigned char *)source_of(j, buffer) + zo2_round_up(j->most_source, 64));
}

/* ---- what to write ---- */

static int by_place(const void *a, const void *b)
{
    const item *x = a, *y = b;
    if (x->wire != y->wire)
        return x->wire < y->wire ? -1 : 1;
    return x->tensor < y->tensor ? -1 : x->tensor > y->tensor;
}

/* A matrix of the choice that stays as it is, by its place in the pack, where it has bytes of its own. */
static int is_wanted(const job *j, const zo2_tensor *t, int all)
{
    const zo2_packfile *file = j->pack->file;
    return (all || t->frozen) && !t->exempt && t->stored != ZO2_NO_TENSOR &&
           zo2_packfile_tensor(file, t->stored)->rank == 2 &&
           zo2_packfile_tensor(file, t->stored)->stored_as == t->stored;
}

static zo2_status list_new(job *j, const zo2_arch *a)
{
    uint32_t wanted = 0, own = 0;
    const zo2_packfile *file = j->pack->file;
    for (uint32_t i = 0; i < a->n_tensors; i++) {
        const zo2_tensor *t = &a->tensors[i];
        if (!is_wanted(j, t, !j->o.tune))
            continue;
        wanted++;
        if (zo2_wire_is_type(j->o.wire, zo2_packfile_tensor(file, t->stored)->dtype))
            own++;
        else if (!zo2_packfile_has_wire(file, t->stored, j->o.wire))
            j->items[j->n++] = (item){.wire = j->o.wire, .tensor = t->stored};
    }
    j->added = j->n - zo2_packfile_header(file)->wires;
    if (!wanted)
        return zo2_error(ZO2_ERR_ARG, "tune %s: no matrix of the model stays as it is, so there is nothing to write",
                         j->o.tune);
    if (wanted == own)
        return zo2_error(ZO2_ERR_ARG,
                         "the %s wire of %s is its matrices' own bits, which runs take from there: nothing to write",
                         zo2_wire_name(j->o.wire), j->path);
    return ZO2_OK;
}

static void measure(job *j)
{
    uint64_t chunks = 0, bytes = 0;
    for (uint32_t i = 0; i <= j->n; i++) {
        item *it = &j->items[i];
        it->first = chunks;
        it->begin = bytes;
        if (i == j->n)
            break;
        const zo2_packtensor *t = zo2_packfile_tensor(j->pack->file, it->tensor);
        const uint64_t rows = zo2_packfile_chunk_rows(j->pack->file, it->tensor),
                       row = t->cols * zo2_dtype_bytes(t->dtype);
        chunks += (t->rows + rows - 1) / rows;
        bytes += t->rows * row;
        if (it->kept)
            continue;
        const uint64_t wire = j->codec->wire_bytes(rows, t->cols);
        j->wire_bytes += (t->rows + rows - 1) / rows * zo2_round_up(wire, 4096);
        j->most_wire = zo2_max_u64(j->most_wire, wire);
        j->most_source = zo2_max_u64(j->most_source, rows * row);
        j->most_piece = zo2_max_u64(j->most_piece, zo2_max_u64(ZO2_MASTERS_PIECE, t->cols));
    }
}

/* Old and new ones in the table's order. */
static zo2_status list_all(job *j)
{
    const zo2_packheader *h = zo2_packfile_header(j->pack->file);
    zo2_arch a;
    zo2_status s = zo2_arch_tune(&a, &j->pack->arch, j->o.tune, 0);
    if (s)
        return s;
    j->items = calloc((size_t)h->wires + a.n_tensors + 1, sizeof *j->items);
    if (!j->items)
        s = zo2_error(ZO2_ERR_NOMEM, "out of memory for the tables of %s", j->path);
    for (uint32_t i = 0; i < h->wires && !s; i++) {
        const zo2_packwire w = zo2_packfile_wire(j->pack->file, i);
        j->items[j->n++] = (item){.wire = w.wire, .tensor = w.tensor, .kept = 1};
        j->wire_bytes += w.bytes;
        j->most_wire = zo2_max_u64(j->most_wire, w.largest);
    }
    if (!s)
        s = list_new(j, &a);
    zo2_arch_free(&a);
    if (s)
        return s;
    qsort(j->items, j->n, sizeof *j->items, by_place);
    measure(j);
    return ZO2_OK;
}

/* ---- tasks ---- */

static const item *item_of(const job *j, uint64_t chunk)
{
    uint32_t low = 0, high = j->n;
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        if (j->items[middle].first <= chunk)
            low = middle;
        else
            high = middle;
    }
    return &j->items[low];
}

static zo2_status encode(const job *j, const item *it, uint64_t row, uint64_t rows, void *buffer, unsigned char *wire)
{
    const zo2_packtensor *t = zo2_packfile_tensor(j->pack->file, it->tensor);
    const zo2_tensor *model = &j->pack->arch.tensors[it->tensor];
    const uint64_t row_bytes = t->cols * zo2_dtype_bytes(t->dtype), most = zo2_max_u64(ZO2_MASTERS_PIECE / t->cols, 1);
    const unsigned char *bits = source_of(j, buffer);
    float *values = values_of(j, buffer);
    zo2_status s = zo2_packfile_read_rows(j->pack->file, it->tensor, row, rows, source_of(j, buffer));
    for (uint64_t r = 0, n; r < rows && !s; r += n) {
        n = zo2_min_u64(most, rows - r);
        zo2_source_decode(t->dtype, bits + r * row_bytes, n * t->cols, values);
        s = zo2_rebuild_check(model, j->codec, values, n * t->cols, 0);
        if (!s)
            j->codec->split(values, rows, t->cols, r, n, wire, NULL);
    }
    return s;
}

static zo2_status make_chunk(void *arg, uint64_t i, void *buffer)
{
    const job *j = arg;
    const item *it = item_of(j, i);
    const zo2_packtensor *t = zo2_packfile_tensor(j->pack->file, it->tensor);
    const uint64_t step = zo2_packfile_chunk_rows(j->pack->file, it->tensor), row = (i - it->first) * step,
                   rows = zo2_min_u64(step, t->rows - row);
    unsigned char *wire = (unsigned char *)buffer + MADE_BYTES;
    made *m = buffer;
    zo2_packplace place;
    zo2_status s;
    if (it->kept) {
        s = zo2_packfile_wire_place(j->pack->file, it->tensor, it->wire, row, &place);
        if (!s)
            s = zo2_packfile_read_place(j->pack->file, it->tensor, &place, wire);
        m->bytes = s ? 0 : place.bytes;
    } else {
        m->bytes = j->codec->wire_bytes(rows, t->cols);
        memset(wire, 0, m->bytes); /* a pack is a function of its contents, whatever a codec leaves between rows */
        s = encode(j, it, row, rows, buffer, wire);
    }
    m->hash = s ? 0 : XXH3_64bits(wire, m->bytes);
    return s;
}

static zo2_status write_chunk(void *arg, uint64_t i, void *buffer)
{
    const job *j = arg;
    const item *it = item_of(j, i);
    const made *m = buffer;
    zo2_status s = i == it->first ? zo2_packwriter_wire(j->w, it->wire, it->tensor) : ZO2_OK;
    return s ? s : zo2_packwriter_wire_chunk(j->w, (unsigned char *)buffer + MADE_BYTES, m->bytes, m->hash);
}

static zo2_status report(void *arg, uint64_t done)
{
    const job *j = arg;
    const item *it = done ? item_of(j, done - 1) : j->items;
    const uint64_t chunks = it[1].first - it->first, bytes = it[1].begin - it->begin;
    const uint64_t at = chunks ? it->begin + bytes / chunks * (done - it->first) : 0;
    if (j->o.progress && j->o.progress(j->o.progress_ud, "freeze", at, j->items[j->n].begin))
        return zo2_error(ZO2_ERR_CANCELLED, "writing wires into %s was cancelled", j->path);
    return ZO2_OK;
}

/* ---- the pack ---- */

static zo2_status write_wires(job *j)
{
    zo2_pool *pool = NULL;
    zo2_status s = zo2_pool_create(&pool, j->o.threads);
    if (s)
        return s;
    zo2_ordered o = {.workers = zo2_pool_parallel(pool),
                     .n = j->items[j->n].first,
                     .buffer_bytes = MADE_BYTES + zo2_round_up(j->most_wire, 64) + zo2_round_up(j->most_source, 64) +
                                     j->most_piece * sizeof(float),
                     .work = make_chunk,
                     .finish = write_chunk,
                     .report = report,
                     .arg = j};
    s = zo2_ordered_run(&o);
    zo2_pool_destroy(pool);
    return s;
}

static zo2_status write_pack(job *j)
{
    const zo2_packfile *from = j->pack->file;
    const char *name, *data;
    size_t bytes;
    zo2_status s = zo2_packwriter_open(&j->w, &zo2_io_posix, j->path, j->pack->arch.name, 1);
    for (size_t i = 0; !s && (name = zo2_packfile_file_name(from, i)); i++) {
        s = zo2_packfile_file(from, name, &data, &bytes);
        if (!s)
            s = zo2_packwriter_file(j->w, name, data, bytes);
    }
    if (!s)
        s = zo2_packwriter_copy(j->w, from, 0, j->wire_bytes, j->o.progress, j->o.progress_ud);
    if (!s)
        s = write_wires(j);
    if (!s)
        s = zo2_packwriter_commit(j->w, NULL);
    zo2_packwriter_close(j->w);
    return s;
}

static zo2_status freeze(job *j, const char *pack)
{
    j->codec = zo2_codec_get(j->o.wire);
    if (!j->codec)
        return zo2_error(ZO2_ERR_ARG, "zo2_pack_freeze: there is no wire %d", (int)j->o.wire);
    j->path = realpath(pack, NULL);
    if (!j->path)
        return zo2_io_error("cannot open pack", pack);
    zo2_status s = zo2_pack_open(&j->pack, j->path);
    if (!s)
        s = list_all(j);
    if (s)
        return s;
    if (j->added)
        return write_pack(j);
    if (j->o.log)
        j->o.log(j->o.log_ud, ZO2_LOG_INFO, "the pack has these wires already");
    return ZO2_OK;
}

void zo2_freeze_opts_init_sized(zo2_freeze_opts *o, size_t size)
{
    zo2_freeze_opts own = {.struct_size = sizeof own};
    zo2_opts_give(o, size, &own, sizeof own);
}

zo2_status zo2_pack_freeze(const char *pack, const zo2_freeze_opts *o)
{
    job j = {0};
    if (!pack || !o)
        return zo2_error(ZO2_ERR_ARG, "zo2_pack_freeze: pack and options are needed");
    zo2_freeze_opts_init(&j.o);
    if (!zo2_opts_take(&j.o, sizeof j.o, o))
        return zo2_error(ZO2_ERR_ARG, "zo2_pack_freeze: struct_size is not set: use zo2_freeze_opts_init()");
    zo2_status s = freeze(&j, pack);
    free(j.items);
    zo2_pack_close(j.pack);
    free(j.path);
    return zo2_finish(s);
}
