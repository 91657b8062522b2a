/* freeze.c: a pack with wires of some of its matrices beside their own bits: a new file takes its place, with the same weights as they
 * are stored. Or, under another name, one with these wires instead of their own bits (drop_choice.h). A task is a chunk of a wire, which is cut where the pack cuts the tensor: any thread reads the source's chunk and encodes
 * it; then it is written in its turn. Wires that were there before come again, in the table's order. */
#include "codec/codec.h"
#include "engine/base/checked.h"
#include "engine/base/finish.h"
#include "engine/base/fpenv.h"
#include "engine/base/opts.h"
#include "engine/base/pool.h"
#include "engine/model/arch.h"
#include "engine/model/layout.h"
#include "engine/model/tune.h"
#include "engine/model/wire_size.h"
#include "engine/pack/drop_choice.h"
#include "engine/pack/pack_api.h"
#include "engine/pack/wire_chunk.h"
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
    uint8_t *drop;          /* [tensors of the pack] 1: nothing but the new wire is to be there of it */
    zo2_pack *pack;
    zo2_packwriter *w;
    item *items;         /* [n + 1]: the last one is what there is behind them */
    uint32_t n, changed; /* the latter: wires that come or go */
    uint64_t wire_bytes; /* of them all at most, with their padding */
    uint64_t most_wire;  /* bytes of the largest chunk */
} job;

/* At the start of a task's buffer; the wire follows, of which the file gets the first `stored` bytes. */
typedef struct made {
    uint64_t bytes, stored, hash;
} made;

#define MADE_BYTES ((uint64_t)64)

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

/* wanted: [tensors of the pack]. */
static zo2_status mark_wanted(const job *j, uint8_t *wanted)
{
    zo2_arch a;
    uint32_t n = 0;
    zo2_status s = zo2_arch_tune(&a, &j->pack->arch, j->o.tune, 0);
    for (uint32_t i = 0; i < a.n_tensors && !s; i++)
        if (is_wanted(j, &a.tensors[i], !j->o.tune)) {
            wanted[a.tensors[i].stored] = 1;
            n++;
        }
    if (!s && n && j->o.drop_to)
        s = zo2_drop_choose(j->drop, j->pack, j->o.tune ? &a : NULL, wanted, j->o.wire);
    zo2_arch_free(&a);
    if (s || n)
        return s;
    return zo2_error(ZO2_ERR_ARG, "tune %s: no matrix of the model stays as it is, so there is nothing to do",
                     j->o.tune);
}

/* Those that the pack has and keeps. */
static zo2_status list_kept(job *j, const uint8_t *wanted)
{
    for (uint32_t i = 0; i < zo2_packfile_header(j->pack->file)->wires; i++) {
        const zo2_packwire w = zo2_packfile_wire(j->pack->file, i);
        if (j->o.remove && w.wire == j->o.wire && wanted[w.tensor]) {
            zo2_status s = zo2_drop_check_remove(j->pack, w.tensor, w.wire);
            if (s)
                return s;
            j->changed++;
            continue;
        }
        if (j->drop[w.tensor] && w.wire != j->o.wire)
            continue;
        j->items[j->n++] = (item){.wire = w.wire, .tensor = w.tensor, .kept = 1};
        j->wire_bytes += w.bytes;
        j->most_wire = zo2_max_u64(j->most_wire, w.largest);
    }
    return ZO2_OK;
}

static zo2_status list_new(job *j, const uint8_t *wanted)
{
    const zo2_packfile *file = j->pack->file;
    int useful = 0;
    for (uint32_t i = 0; i < zo2_packfile_header(file)->tensors; i++) {
        if (!wanted[i] || zo2_wire_is_type(j->o.wire, zo2_packfile_tensor(file, i)->dtype))
            continue;
        useful = 1;
        if (zo2_packfile_has_wire(file, i, j->o.wire))
            continue;
        zo2_status s = zo2_packfile_check_source(file, i);
        if (s)
            return s;
        j->items[j->n++] = (item){.wire = j->o.wire, .tensor = i};
        j->changed++;
    }
    if (useful)
        return ZO2_OK;
    return zo2_error(ZO2_ERR_ARG,
                     "the %s wire of %s is its matrices' own bits, which runs take from there: nothing to write",
                     zo2_wire_name(j->o.wire), j->path);
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
    }
}

/* Old and new ones in the table's order. */
static zo2_status list_all(job *j)
{
    const zo2_packheader *h = zo2_packfile_header(j->pack->file);
    uint8_t *wanted = calloc(h->tensors, 1);
    j->items = calloc((size_t)h->wires + h->tensors + 2, sizeof *j->items);
    j->drop = calloc(h->tensors, 1);
    zo2_status s = wanted && j->items && j->drop
                       ? mark_wanted(j, wanted)
                       : zo2_error(ZO2_ERR_NOMEM, "out of memory for the tables of %s", j->path);
    if (!s)
        s = list_kept(j, wanted);
    if (!s && !j->o.remove)
        s = list_new(j, wanted);
    free(wanted);
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
        m->stored = s ? 0 : place.stored_bytes;
    } else {
        m->bytes = j->codec->wire_bytes(rows, t->cols);
        s = zo2_wire_chunk_make(j->pack, j->codec, it->tensor, row, rows, wire);
        m->stored = s ? 0 : zo2_wire_sent(j->codec, wire, rows, t->cols);
    }
    m->hash = s ? 0 : XXH3_64bits(wire, m->stored);
    return s;
}

static zo2_status write_chunk(void *arg, uint64_t i, void *buffer)
{
    const job *j = arg;
    const item *it = item_of(j, i);
    const made *m = buffer;
    zo2_status s = i == it->first ? zo2_packwriter_wire(j->w, it->wire, it->tensor) : ZO2_OK;
    return s ? s : zo2_packwriter_wire_chunk(j->w, (unsigned char *)buffer + MADE_BYTES, m->bytes, m->stored, m->hash);
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
                     .buffer_bytes = MADE_BYTES + j->most_wire,
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
    const char *to = j->o.drop_to ? j->o.drop_to : j->path;
    zo2_status s = zo2_packwriter_open(&j->w, &zo2_io_posix, to, j->pack->arch.name, !j->o.drop_to);
    for (size_t i = 0; !s && (name = zo2_packfile_file_name(from, i)); i++) {
        s = zo2_packfile_file(from, name, &data, &bytes);
        if (!s)
            s = zo2_packwriter_file(j->w, name, data, bytes);
    }
    if (!s && j->o.drop_to)
        s = zo2_packwriter_copy_without(j->w, from, j->drop, j->wire_bytes, j->o.progress, j->o.progress_ud);
    else if (!s)
        s = zo2_packwriter_copy(j->w, from, 0, j->wire_bytes, j->o.progress, j->o.progress_ud);
    if (!s && j->n)
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
    if (j->o.remove && j->o.drop_to)
        return zo2_error(ZO2_ERR_ARG, "zo2_pack_freeze: a wire is taken out, or stays alone, but not both");
    j->path = realpath(pack, NULL);
    if (!j->path)
        return zo2_io_error("cannot open pack", pack);
    zo2_status s = zo2_pack_open(&j->pack, j->path);
    if (!s)
        s = list_all(j);
    if (s)
        return s;
    if (j->changed || j->o.drop_to)
        return write_pack(j);
    if (j->o.log)
        j->o.log(j->o.log_ud, ZO2_LOG_INFO,
                 j->o.remove ? "the pack has no such wires" : "the pack has these wires already");
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
    fenv_t fenv;
    zo2_fpenv_pin(&fenv); /* as a run's: the bits have to be its */
    zo2_status s = freeze(&j, pack);
    zo2_fpenv_restore(&fenv);
    free(j.items);
    free(j.drop);
    zo2_pack_close(j.pack);
    free(j.path);
    return zo2_finish(s);
}
