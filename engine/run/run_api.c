/* run_api.c: reading run directories: RUN_DIR/journal.zo2j and RUN_DIR/snapshots, or what it has spilled. Never writes, takes no lock, works
 * beside a session that trains. */
#include "engine/run/run_api.h"
#include "engine/run/settings.h"
#include "storage/instead/instead.h"
#include "storage/io/io.h"

#include "engine/base/finish.h"
#include "engine/base/opts.h"
#include "storage/pack/packfile.h"
#include "storage/run/remains.h"
#include "storage/run/snapshot.h"
#include "storage/spill/spill.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_SNAPSHOTS 64 /* two are kept; more can only come from hands */

/* ---- opening ----------------------------------------------------------------------------------------------------- */

static zo2_status open_journal(zo2_run *r)
{
    zo2_status s = zo2_run_check_remains(r->dir);
    if (s)
        return s;
    char *path = zo2_journal_path(r->dir);
    if (!path)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory for the name of the journal of %s", r->dir);
    s = zo2_journal_open(&r->journal, &zo2_io_posix, path, 0);
    if (s == ZO2_ERR_NOTFOUND)
        s = zo2_explain_file(zo2_error(s, "%s is not a run directory: there is no %s", r->dir, path), r->dir,
                             ZO2_WANT_RUN);
    free(path);
    if (s)
        return s;
    return zo2_settings_check_replay(zo2_journal_settings(r->journal), "the run in", r->dir);
}

zo2_status zo2_run_open(zo2_run **out, const char *run_dir)
{
    if (!out || !run_dir)
        return zo2_error(ZO2_ERR_ARG, "zo2_run_open: out and run_dir are needed");
    *out = NULL;
    zo2_run *r = calloc(1, sizeof *r);
    if (r)
        r->dir = strdup(run_dir);
    if (!r || !r->dir) {
        zo2_run_close(r);
        return zo2_error(ZO2_ERR_NOMEM, "out of memory to open the run %s", run_dir);
    }
    zo2_status s = open_journal(r);
    if (s) {
        zo2_run_close(r);
        return s;
    }
    zo2_engine_opts_init(&r->opts);
    zo2_settings_to_opts(zo2_journal_settings(r->journal), &r->opts);
    *out = r;
    return zo2_finish(ZO2_OK);
}

void zo2_run_close(zo2_run *r)
{
    if (!r)
        return;
    zo2_journal_close(r->journal);
    free(r->dir);
    free(r);
}

zo2_status zo2_run_check_model(const zo2_run *r, uint64_t model_hash, const char *pack_path)
{
    return zo2_settings_check_model(zo2_journal_settings(r->journal), "the run in", r->dir, model_hash, pack_path);
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

uint64_t zo2_run_steps(const zo2_run *r)
{
    return r ? zo2_journal_steps(r->journal) : 0;
}

zo2_record_means zo2_record_means_of(const zo2_journal_record *r)
{
    zo2_record_means m = {0};
    for (uint32_t q = 0; q < r->queries; q++) {
        m.loss_plus += r->query[q].loss_plus;
        m.loss_minus += r->query[q].loss_minus;
        m.projected_grad += r->query[q].g_raw;
    }
    if (r->queries > 0) {
        m.loss_plus /= r->queries;
        m.loss_minus /= r->queries;
        m.projected_grad /= r->queries;
    }
    return m;
}

zo2_status zo2_run_record_get(const zo2_run *r, uint64_t step, zo2_run_record *out)
{
    if (!r || !out)
        return zo2_error(ZO2_ERR_ARG, "zo2_run_record_get: run and out are needed");
    if (step >= zo2_journal_steps(r->journal))
        return zo2_error(ZO2_ERR_NOTFOUND, "the run in %s has %" PRIu64 " steps, there is no step %" PRIu64, r->dir,
                         zo2_journal_steps(r->journal), step);
    const zo2_journal_record *j = zo2_journal_at(r->journal, step);
    memset(out, 0, sizeof *out);
    out->step = j->step;
    out->tokens = j->tokens;
    out->data_position = j->data_position;
    out->skipped = j->skipped;
    out->queries = j->queries;
    out->lr = zo2_lr_at(&r->opts, step);
    out->d = j->d;
    for (uint32_t q = 0; q < j->queries; q++) {
        const zo2_journal_query *from = &j->query[q];
        out->query[q].loss_plus = from->loss_plus;
        out->query[q].loss_minus = from->loss_minus;
        out->query[q].g_raw = from->g_raw;
        out->query[q].g_clipped = from->g_clipped;
        out->query[q].c = from->c;
    }
    const zo2_record_means means = zo2_record_means_of(j);
    out->loss_plus = means.loss_plus;
    out->loss_minus = means.loss_minus;
    out->projected_grad = means.projected_grad;
    return zo2_finish(ZO2_OK);
}

void zo2_run_get_opts_sized(const zo2_run *r, zo2_engine_opts *out, size_t size)
{
    if (r)
        zo2_opts_give(out, size, &r->opts, sizeof r->opts);
}

uint64_t zo2_run_model_hash(const zo2_run *r)
{
    return r ? zo2_journal_settings(r->journal)->model_hash : 0;
}

/* ---- verifying --------------------------------------------------------------------------------------------------- */

/* Header against the journal: a snapshot of another run or of another past of this one is as bad as a damaged one. */
static zo2_status check_header(const zo2_run *r, const zo2_snapfile *f, const char *dir, uint64_t step)
{
    const zo2_snapshot_header *h = zo2_snapfile_get_header(f);
    if (h->model_hash != zo2_run_model_hash(r))
        return zo2_error(ZO2_ERR_MISMATCH, "snapshot %" PRIu64 " in %s belongs to another model (hash %016" PRIx64 ")",
                         step, dir, h->model_hash);
    if (h->step > zo2_run_steps(r))
        return zo2_error(ZO2_ERR_MISMATCH,
                         "snapshot %" PRIu64 " in %s is ahead of the journal, which has %" PRIu64 " steps", step, dir,
                         zo2_run_steps(r));
    if (h->chain != zo2_journal_chain(r->journal, h->step))
        return zo2_error(ZO2_ERR_MISMATCH, "snapshot %" PRIu64 " in %s belongs to another history than the journal's",
                         step, dir);
    return ZO2_OK;
}

static zo2_status verify_units(const zo2_snapfile *f, const char *dir, uint64_t step)
{
    const zo2_snapshot_header *h = zo2_snapfile_get_header(f);
    uint64_t largest = 1;
    for (uint32_t u = 0; u < h->units; u++)
        if (zo2_snapfile_unit_elements(f, u) > largest)
            largest = zo2_snapfile_unit_elements(f, u);
    float *values = largest < SIZE_MAX / sizeof *values ? malloc((size_t)largest * sizeof *values) : NULL;
    if (!values)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory for a unit of %" PRIu64 " values of snapshot %" PRIu64, largest,
                         step);
    zo2_status s = ZO2_OK;
    for (uint32_t u = 0; u < h->units && !s; u++) {
        if (zo2_snapfile_unit_step(f, u) > h->step)
            s = zo2_error(ZO2_ERR_FORMAT,
                          "snapshot %" PRIu64 " in %s: unit %" PRIu32 " is at step %" PRIu64 ", ahead of the snapshot",
                          step, dir, u, zo2_snapfile_unit_step(f, u));
        else
            s = zo2_snapfile_read_unit(f, u, values);
    }
    free(values);
    return s;
}

static zo2_status verify_snapshots(const zo2_run *r, const char *dir, uint32_t *n)
{
    uint64_t steps[MAX_SNAPSHOTS];
    zo2_status s = ZO2_OK;
    *n = zo2_snapshot_list(dir, steps, MAX_SNAPSHOTS);
    for (uint32_t i = 0; i < *n && !s; i++) {
        zo2_snapfile *f = NULL;
        s = zo2_snapfile_open(&f, dir, steps[i]);
        if (!s)
            s = check_header(r, f, dir, steps[i]);
        if (!s)
            s = verify_units(f, dir, steps[i]);
        zo2_snapfile_close(f);
    }
    return s;
}

static zo2_status verify_pack(const zo2_run *r, const char *pack)
{
    zo2_packfile *file = NULL;
    zo2_status s = zo2_packfile_open(&file, pack);
    if (!s)
        s = zo2_run_check_model(r, zo2_packfile_header(file)->model_hash, pack);
    zo2_packfile_close(file);
    return s;
}

zo2_status zo2_run_verify(const char *run_dir, const char *pack, const char *snapshot_dir, uint32_t *snapshots)
{
    zo2_run *r = NULL;
    uint32_t n = 0;
    zo2_status s = zo2_run_open(&r, run_dir); /* reads and checks every record */
    if (!s && pack)
        s = verify_pack(r, pack);
    char *dir = s ? NULL : zo2_snapshot_folder(run_dir, snapshot_dir);
    if (!s)
        s = dir ? verify_snapshots(r, dir, &n)
                : zo2_error(ZO2_ERR_NOMEM, "out of memory for the name of the snapshots of %s", run_dir);
    if (snapshots)
        *snapshots = n;
    free(dir);
    zo2_run_close(r);
    return zo2_finish(s);
}

static uint64_t history(const void *journal, uint64_t step)
{
    return zo2_journal_chain(journal, step);
}

zo2_status zo2_run_verify_spill(const char *run_dir, const char *const *spill_dirs, uint32_t spill_count,
                                zo2_progress_fn progress, void *ud, uint64_t *chunks)
{
    if (!run_dir || (spill_count && !spill_dirs))
        return zo2_error(ZO2_ERR_ARG, "zo2_run_verify_spill: run_dir and spill_dirs are needed");
    zo2_run *r = NULL;
    zo2_spill_report report = {0};
    zo2_status s = zo2_run_open(&r, run_dir);
    if (!s) {
        const zo2_spill_config c = {
            .run = zo2_journal_chain(r->journal, 0),
            .dirs = spill_dirs,
            .n_dirs = spill_count,
            .most_step = zo2_journal_steps(r->journal),
            .history = history,
            .history_ud = r->journal,
        };
        s = zo2_spill_verify(&zo2_io_posix, &c, progress, ud, &report);
    }
    if (chunks)
        *chunks = report.versions;
    zo2_run_close(r);
    return zo2_finish(s);
}

uint64_t zo2_run_spill_chunk_bytes(const zo2_run *r, const char *const *spill_dirs, uint32_t spill_count)
{
    uint64_t bytes;
    if (!r || !spill_dirs ||
        zo2_spill_layout_of(&zo2_io_posix, zo2_journal_chain(r->journal, 0), spill_dirs, spill_count, &bytes))
        return 0;
    return bytes;
}
