/* export_values.c: see export_values.h. The pool reads, decodes, replays and encodes a group. It is a few chunks of the
 * pack, replayed from step 0; or, where a spill or a snapshot is at hand, some of its chunks or one of its units, replayed from there. */
#include "engine/export/export_values.h"
#include "codec/codec.h"
#include "engine/base/checked.h"
#include "engine/base/job_error.h"
#include "engine/base/pool.h"
#include "engine/export/export_opts.h"
#include "engine/masters/history.h"
#include "engine/masters/rebuild.h"
#include "engine/masters/snapshot_find.h"
#include "engine/model/arch.h"
#include "engine/model/layout.h"
#include "engine/pack/pack_api.h"
#include "engine/run/run_api.h"
#include "engine/run/settings.h"
#include "storage/pack/packfile.h"
#include "storage/run/journal.h"
#include "storage/run/snapshot.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define PIECE ((uint64_t)1 << 16) /* elements of a task */
/* Value updates between two progress reports, per thread: about two seconds of the slowest noise. */
#define STAGE_UPDATES ((uint64_t)1 << 31)

/* ---- opening ----------------------------------------------------------------------------------------------------- */

static zo2_status find_snapshot(zo2_export_values *v)
{
    const zo2_run_settings *set = zo2_journal_settings(v->run->journal);
    char *dir = zo2_snapshot_folder(v->o->run_dir, v->o->snapshot_dir);
    zo2_status s = dir ? zo2_layout_create(&v->layout, &v->arch, zo2_settings_wires(set), set->compute, set->tile_rule,
                                           ZO2_EXPORT_CHUNK_BYTES)
                       : zo2_error(ZO2_ERR_NOMEM, "out of memory for the name of the snapshots of %s", v->o->run_dir);
    if (!s)
        v->snapshot = zo2_snapshot_find(dir, v->run->journal, &v->layout, v->steps, v->o->log, v->o->log_ud);
    free(dir);
    return s;
}

/* What there is beside pack and journal, which are enough. */
static zo2_status find_sources(zo2_export_values *v)
{
    if (!v->steps || v->o->replay)
        return ZO2_OK;
    zo2_status s = v->o->spill_dirs && v->o->spill_count ? zo2_export_open_spill(v) : ZO2_OK;
    return s || v->spill ? s : find_snapshot(v);
}

static zo2_status open_run(zo2_export_values *v)
{
    const char *dir = v->o->run_dir;
    zo2_status s = zo2_run_open(&v->run, dir);
    if (!s)
        s = zo2_run_check_model(v->run, zo2_packfile_header(v->pack->file)->model_hash, v->pack_path);
    if (!s)
        s = zo2_export_steps(v->o->at_step, zo2_run_steps(v->run), "the run in", dir, &v->steps);
    if (s)
        return s;
    const zo2_run_settings *set = zo2_journal_settings(v->run->journal);
    v->queries = set->queries;
    s = zo2_export_arch(&v->arch, &v->pack->arch, set);
    if (s)
        return s;
    zo2_history_init(&v->history, set, &v->arch);
    s = zo2_history_load(&v->history, v->run->journal, v->steps);
    return s ? s : find_sources(v);
}

/* What the pack's own weights are not enough for. */
static zo2_status open_steps(zo2_export_values *v)
{
    const zo2_export_opts *o = v->o;
    if (o->bundle && (o->run_dir || o->snapshot_dir || o->spill_count))
        return zo2_error(ZO2_ERR_ARG, "a bundle is applied to a pack alone, without a run, its snapshots or its spill");
    if (!o->run_dir && !o->bundle && o->at_step > 0)
        return zo2_error(ZO2_ERR_ARG, "an export at step %" PRId64 " needs a run directory or a bundle", o->at_step);
    if (!o->run_dir && !o->bundle && !o->snapshot_dir)
        return ZO2_OK;
    zo2_status s = zo2_export_check_layers(v->pack->file, v->pack_path);
    if (s)
        return s;
    return o->run_dir ? open_run(v) : o->bundle ? zo2_export_open_bundle(v) : zo2_export_open_snapshot(v);
}

/* Whole chunks of the pack, so that each is read and hashed once; or a unit of the snapshot, for the same reason. */
uint64_t zo2_export_values_rows(const zo2_export_values *v, const zo2_tensor *t, uint64_t row)
{
    uint64_t rows, chunk = t->stored == ZO2_NO_TENSOR ? 1 : zo2_packfile_chunk_rows(v->pack->file, t->stored);
    if (zo2_is_vector(t))
        rows = t->rows;
    else if (v->spill)
        rows = zo2_export_spill_rows(v, t, row);
    else if (v->snapshot)
        rows = v->layout.units[zo2_layout_unit(&v->layout, t->id, row)].rows;
    else
        rows = chunk * zo2_max_u64(ZO2_EXPORT_GROUP / (chunk * t->cols), 1);
    return zo2_min_u64(rows, t->rows - row);
}

/* Elements of the largest group; of a snapshot, vectors come with all of their block. */
static uint64_t largest_group(const zo2_export_values *v)
{
    const zo2_arch *a = &v->arch;
    uint64_t largest = v->spill ? zo2_export_spill_most(v) : 1;
    for (uint32_t i = 0; i < a->n_tensors && !v->spill; i++)
        largest = zo2_max_u64(largest, zo2_export_values_rows(v, &a->tensors[i], 0) * a->tensors[i].cols);
    for (uint32_t i = 0; v->snapshot && i < v->layout.n_units; i++)
        largest = zo2_max_u64(largest, v->layout.units[i].elements);
    return largest;
}

static zo2_status make_buffers(zo2_export_values *v)
{
    const uint64_t largest = largest_group(v);
    v->source = malloc(largest * sizeof(float));
    v->result = malloc(largest * sizeof(float));
    v->values = malloc(largest * sizeof *v->values);
    v->bad = malloc((largest / PIECE + 1) * sizeof *v->bad);
    if (!v->source || !v->result || !v->values || !v->bad)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory for the buffers of an export (%" PRIu64 " bytes)", 12 * largest);
    return zo2_pool_create(&v->pool, v->o->threads);
}

zo2_status zo2_export_values_open(zo2_export_values *v)
{
    zo2_status s;
    v->told = 1;
    if ((s = zo2_pack_open(&v->pack, v->pack_path)) || (s = zo2_export_arch(&v->arch, &v->pack->arch, NULL)) ||
        (s = open_steps(v)))
        return s;
    return make_buffers(v);
}

void zo2_export_values_close(zo2_export_values *v)
{
    zo2_pool_destroy(v->pool);
    zo2_history_free(&v->history);
    zo2_snapfile_close(v->snapshot);
    zo2_spill_close(v->spill);
    zo2_layout_free(&v->layout);
    zo2_run_close(v->run);
    zo2_arch_free(&v->arch);
    zo2_pack_close(v->pack);
    free(v->source);
    free(v->result);
    free(v->values);
    free(v->bad);
}

/* ---- where values come from -------------------------------------------------------------------------------------- */

/* Has the snapshot values of the group in work? Of what never moved it has none. */
static int is_in_snapshot(const zo2_export_values *v, uint64_t row)
{
    return v->snapshot && !v->t->frozen &&
           zo2_snapfile_unit_elements(v->snapshot, zo2_layout_unit(&v->layout, v->t->id, row)) != 0;
}

/* Values of the group in work from the snapshot, which are those of step *from then. 0: they have to come from the pack. */
static int take_from_snapshot(zo2_export_values *v, uint64_t row, uint64_t *from)
{
    if (!is_in_snapshot(v, row))
        return 0;
    const zo2_span *span;
    uint32_t unit = v->layout.chunks[zo2_layout_chunk(&v->layout, v->t->id, row, &span)].unit;
    zo2_log_fn log =
        v->run ? v->o->log : NULL; /* without a run there is no other way to the values, so it's an error */
    if (!zo2_snapshot_unit(v->snapshot, unit, v->steps, v->values, from, log, v->o->log_ud))
        return 0;
    if (zo2_is_vector(v->t)) /* one of the block's vectors, all of which were read */
        memmove(v->values, v->values + span->element_at, (size_t)v->n * sizeof *v->values);
    return 1;
}

/* Rows of one chunk of the pack that lie in the group. */
static void read_piece(void *arg, uint64_t i)
{
    zo2_export_values *v = arg;
    uint64_t chunk = zo2_packfile_chunk_rows(v->pack->file, v->t->stored);
    uint64_t begin = v->first / v->t->cols, end = begin + v->n / v->t->cols;
    uint64_t from = (begin / chunk + i) * chunk, to = from + chunk;
    from = from > begin ? from : begin;
    to = to < end ? to : end;
    unsigned char *at = v->source + (from - begin) * v->t->cols * zo2_dtype_bytes(v->from);
    zo2_status s = zo2_packfile_read_rows(v->pack->file, v->t->stored, from, to - from, at);
    if (s)
        zo2_job_error_set(&v->error, s);
}

/* Bits of the pack, or, of a tensor that the run added, the values that it begins with. */
static zo2_status read_source(zo2_export_values *v, uint64_t row, uint64_t rows)
{
    if (v->t->stored == ZO2_NO_TENSOR) {
        const zo2_layout list = {.arch = &v->arch};
        const zo2_rebuild own = {.layout = &list, .pack = v->pack->file};
        return zo2_rebuild_rows(&own, v->t->id, row, rows, v->values);
    }
    v->decode = 1;
    uint64_t chunk = zo2_packfile_chunk_rows(v->pack->file, v->t->stored);
    zo2_pool_run(v->pool, (row + rows - 1) / chunk - row / chunk + 1, read_piece, v);
    return zo2_job_error_raise(&v->error);
}

zo2_dtype zo2_export_values_source(const zo2_export_values *v, const zo2_tensor *t)
{
    return t->stored == ZO2_NO_TENSOR ? ZO2_F32 : zo2_packfile_tensor(v->pack->file, t->stored)->dtype;
}

/* ---- to result bits ---------------------------------------------------------------------------------------------- */

/* One piece of one pass: the first pass decodes, every pass replays its steps, the last one encodes and looks for what
 * got lost. */
static void do_piece(void *arg, uint64_t i)
{
    const zo2_export_values *v = arg;
    uint64_t at = i * PIECE, n = v->n - at < PIECE ? v->n - at : PIECE;
    float *values = v->values + at;
    unsigned char *result = v->result + at * zo2_dtype_bytes(v->to);
    if (v->decode)
        zo2_source_decode(v->from, v->source + at * zo2_dtype_bytes(v->from), n, values);
    zo2_history_apply(&v->history, v->t->id, v->t->decays, v->first + at, n, v->step_from, v->step_to, values);
    if (v->step_to < v->steps)
        return;
    zo2_source_encode(v->to, values, n, result);
    uint64_t bad = zo2_first_nonfinite(v->to, result, n);
    v->bad[i] = bad < n ? at + bad : UINT64_MAX;
}

static zo2_status refuse_value(const zo2_export_values *v, uint64_t i)
{
    uint64_t element = v->first + i;
    if (!isfinite(v->values[i]))
        return zo2_error(ZO2_ERR_NONFINITE,
                         "element %" PRIu64 " of %s is infinite or not a number after %" PRIu64
                         " steps; export an earlier step",
                         element, v->t->name, v->steps);
    return zo2_error(ZO2_ERR_NONFINITE, "element %" PRIu64 " of %s is %g, too large for %s; export as %s", element,
                     v->t->name, (double)v->values[i], zo2_dtype_name(v->to),
                     v->to == ZO2_F16 ? "bf16 or fp32" : "fp32");
}

/* Source bits (decode), or values that are those of step `from`, of a group to result bits. */
static zo2_status convert_group(zo2_export_values *v, uint64_t from)
{
    uint64_t pieces = (v->n + PIECE - 1) / PIECE;
    uint64_t stage = STAGE_UPDATES * zo2_pool_threads(v->pool) / (v->n * (v->queries ? v->queries : 1));
    double bytes = (double)(v->n * zo2_dtype_bytes(v->to)) * v->told;
    if (stage == 0)
        stage = 1;
    v->step_from = from;
    do {
        v->step_to = v->steps - v->step_from < stage ? v->steps : v->step_from + stage;
        zo2_pool_run(v->pool, pieces, do_piece, v);
        v->decode = 0;
        v->step_from = v->step_to;
        if (v->step_from < v->steps) {
            zo2_status s = v->report(v->arg, (uint64_t)(bytes * (double)v->step_from / (double)v->steps));
            if (s)
                return s;
        }
    } while (v->step_from < v->steps);
    for (uint64_t i = 0; i < pieces; i++)
        if (v->bad[i] != UINT64_MAX)
            return refuse_value(v, v->bad[i]);
    return ZO2_OK;
}

zo2_status zo2_export_values_group(zo2_export_values *v, const zo2_tensor *t, zo2_dtype to, uint64_t row, uint64_t rows,
                                   const void **bits)
{
    uint64_t from = 0;
    int taken = 0;
    zo2_status s = ZO2_OK;
    v->t = t;
    v->from = zo2_export_values_source(v, t);
    v->to = to;
    v->first = row * t->cols;
    v->n = rows * t->cols;
    v->decode = 0;
    if (v->spill)
        s = zo2_export_take_from_spill(v, &taken, &from);
    else
        taken = take_from_snapshot(v, row, &from);
    if (!taken && !v->run && is_in_snapshot(v, row))
        return ZO2_ERR_FORMAT; /* with the text of who read it */
    if (!s && !taken) {
        s = read_source(v, row, rows);
        from = 0;
    }
    const int moves = v->steps != 0 && !t->frozen && (!v->snapshot || v->run || is_in_snapshot(v, row));
    const int verbatim = v->decode && !moves && v->from == v->to; /* the source's own bits */
    if (!s && !verbatim)
        s = convert_group(v, moves ? from : v->steps);
    *bits = verbatim ? v->source : v->result;
    return s;
}

zo2_status zo2_export_progress(const zo2_export_values *v, uint64_t done, uint64_t total)
{
    if (v->o->progress && v->o->progress(v->o->progress_ud, "export", done, total))
        return zo2_error(ZO2_ERR_CANCELLED, "the export of %s was cancelled", v->pack_path);
    return ZO2_OK;
}
