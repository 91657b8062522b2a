/* wire_chunk.c: see wire_chunk.h. */
#include "engine/pack/wire_chunk.h"
#include "codec/codec.h"
#include "engine/base/checked.h"
#include "engine/base/parallel.h"
#include "engine/masters/rebuild.h"
#include "storage/io/ordered.h"
#include "storage/pack/packfile.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

zo2_status zo2_wire_chunk_encode(const zo2_pack *p, const zo2_codec *codec, uint32_t tensor, const void *bits,
                                 uint64_t rows, unsigned char *wire)
{
    const zo2_packtensor *t = zo2_packfile_tensor(p->file, tensor);
    const uint64_t row_bytes = t->cols * zo2_dtype_bytes(t->dtype), most = zo2_max_u64(ZO2_MASTERS_PIECE / t->cols, 1);
    float *values = malloc(zo2_min_u64(most, rows) * t->cols * sizeof *values);
    zo2_status s = values ? ZO2_OK : zo2_error(ZO2_ERR_NOMEM, "no memory to encode tensor %s", t->name);
    memset(wire, 0, codec->wire_bytes(rows, t->cols)); /* whatever a codec leaves between rows */
    for (uint64_t r = 0, n; r < rows && !s; r += n) {
        n = zo2_min_u64(most, rows - r);
        zo2_source_decode(t->dtype, (const unsigned char *)bits + r * row_bytes, n * t->cols, values);
        s = zo2_rebuild_check(&p->arch.tensors[tensor], codec, values, n * t->cols, 0);
        if (!s)
            codec->split(values, rows, t->cols, r, n, wire, NULL);
    }
    free(values);
    return s;
}

zo2_status zo2_wire_chunk_make(const zo2_pack *p, const zo2_codec *codec, uint32_t tensor, uint64_t row, uint64_t rows,
                               unsigned char *wire)
{
    const zo2_packtensor *t = zo2_packfile_tensor(p->file, tensor);
    void *bits = malloc(rows * t->cols * zo2_dtype_bytes(t->dtype));
    zo2_status s = bits ? zo2_packfile_read_rows(p->file, tensor, row, rows, bits)
                        : zo2_error(ZO2_ERR_NOMEM, "no memory to encode tensor %s", t->name);
    if (!s)
        s = zo2_wire_chunk_encode(p, codec, tensor, bits, rows, wire);
    free(bits);
    return s;
}

/* ---- verifying --------------------------------------------------------------------------------------------------- */

typedef struct check_job {
    const zo2_pack *pack;
    zo2_packwire what;
    uint64_t done, total; /* bytes of wires */
    uint64_t step;        /* rows of a chunk */
    zo2_progress_fn progress;
    void *ud;
} check_job;

/* buffer: twice the largest chunk. */
static zo2_status check_chunk(void *arg, uint64_t i, void *buffer)
{
    const check_job *j = arg;
    const zo2_packfile *file = j->pack->file;
    const zo2_packtensor *t = zo2_packfile_tensor(file, j->what.tensor);
    unsigned char *stored = buffer, *made = stored + zo2_round_up(j->what.largest, 64);
    zo2_packplace place;
    zo2_status s = zo2_packfile_wire_place(file, j->what.tensor, j->what.wire, i * j->step, &place);
    if (!s)
        s = zo2_packfile_read_place(file, j->what.tensor, &place, stored);
    if (!s)
        s = zo2_wire_chunk_make(j->pack, zo2_codec_get(j->what.wire), j->what.tensor, place.row, place.rows, made);
    if (s || !memcmp(stored, made, place.bytes))
        return s;
    return zo2_error(ZO2_ERR_FORMAT,
                     "%s: the stored %s wire of tensor %s, rows %" PRIu64 " to %" PRIu64
                     ", isn't what its own bits encode to; zo2-pack freeze --remove takes it out of the pack",
                     zo2_packfile_path(file), zo2_wire_name(j->what.wire), t->name, place.row,
                     place.row + place.rows - 1);
}

static zo2_status pass(void *arg, uint64_t i, void *buffer)
{
    (void)arg, (void)i, (void)buffer;
    return ZO2_OK;
}

static zo2_status report(void *arg, uint64_t done)
{
    const check_job *j = arg;
    const zo2_packtensor *t = zo2_packfile_tensor(j->pack->file, j->what.tensor);
    const uint64_t chunks = (t->rows + j->step - 1) / j->step;
    if (j->progress && j->progress(j->ud, "verify wires", j->done + j->what.bytes / chunks * done, j->total))
        return zo2_error(ZO2_ERR_CANCELLED, "verification of %s was cancelled", zo2_packfile_path(j->pack->file));
    return ZO2_OK;
}

zo2_status zo2_wire_chunks_verify(const zo2_pack *p, const zo2_parallel *workers, zo2_progress_fn progress, void *ud)
{
    const zo2_packheader *h = zo2_packfile_header(p->file);
    check_job j = {.pack = p, .total = h->wire_bytes, .progress = progress, .ud = ud};
    zo2_status s = ZO2_OK;
    for (uint32_t i = 0; i < h->wires && !s; i++) {
        j.what = zo2_packfile_wire(p->file, i);
        j.step = zo2_packfile_chunk_rows(p->file, j.what.tensor);
        const uint64_t rows = zo2_packfile_tensor(p->file, j.what.tensor)->rows;
        /* nobody knows what another one should be, and there may be nothing to compare with */
        if (zo2_codec_get(j.what.wire) && !zo2_packfile_tensor(p->file, j.what.tensor)->dropped_to) {
            zo2_ordered o = {.workers = *workers,
                             .n = (rows + j.step - 1) / j.step,
                             .buffer_bytes = 2 * zo2_round_up(j.what.largest, 64),
                             .work = check_chunk,
                             .finish = pass,
                             .report = report,
                             .arg = &j};
            s = zo2_ordered_run(&o);
        }
        j.done += j.what.bytes;
    }
    return s;
}
