/* export_bundle.c: bundles: the steps of a run written into one small file, and taken from there for an export. */
#include "engine/base/finish.h"
#include "engine/export/export_opts.h"
#include "engine/export/export_values.h"
#include "engine/masters/history.h"
#include "engine/pack/pack_api.h"
#include "engine/run/run_api.h"
#include "engine/run/settings.h"
#include "storage/io/io.h"
#include "storage/pack/packfile.h"
#include "storage/run/bundle.h"
#include "storage/run/journal.h"

#define BUNDLE "the bundle"

/* ---- writing ----------------------------------------------------------------------------------------------------- */

static zo2_status check_pack(const zo2_run *run, const char *path)
{
    zo2_pack *pack = NULL;
    zo2_status s = zo2_pack_open(&pack, path);
    if (!s)
        s = zo2_export_check_layers(pack->file, path);
    if (!s)
        s = zo2_run_check_model(run, zo2_packfile_header(pack->file)->model_hash, path);
    zo2_pack_close(pack);
    return s;
}

static zo2_status write_bundle(const char *pack, const char *out, const zo2_export_opts *o)
{
    zo2_run *run = NULL;
    uint64_t steps = 0;
    zo2_status s = zo2_run_open(&run, o->run_dir);
    if (!s)
        s = check_pack(run, pack);
    if (!s)
        s = zo2_export_steps(o->at_step, zo2_run_steps(run), "the run in", o->run_dir, &steps);
    if (!s)
        s = zo2_bundlefile_write(&zo2_io_posix, out, run->journal, steps, o->force, o->progress, o->progress_ud);
    zo2_run_close(run);
    return s;
}

zo2_status zo2_pack_bundle(const char *pack, const char *out, const zo2_export_opts *o)
{
    zo2_export_opts own;
    if (!pack || !out || !*out)
        return zo2_error(ZO2_ERR_ARG, "zo2_pack_bundle: pack and out are needed");
    zo2_status s = zo2_export_opts_own(&own, o, "zo2_pack_bundle");
    if (!s && !own.run_dir)
        s = zo2_error(ZO2_ERR_ARG, "zo2_pack_bundle: run_dir is needed: a bundle is made of a run");
    return zo2_finish(s ? s : write_bundle(pack, out, &own));
}

/* ---- applying ---------------------------------------------------------------------------------------------------- */

static zo2_status take_steps(zo2_export_values *v, const zo2_bundlefile *b)
{
    const zo2_run_settings *set = zo2_bundlefile_settings(b);
    const char *path = v->o->bundle;
    zo2_status s = zo2_settings_check_replay(set, BUNDLE, path);
    if (!s)
        s = zo2_settings_check_model(set, BUNDLE, path, zo2_packfile_header(v->pack->file)->model_hash, v->pack_path);
    if (!s)
        s = zo2_export_steps(v->o->at_step, zo2_bundlefile_steps(b), BUNDLE, path, &v->steps);
    if (s)
        return s;
    v->queries = set->queries;
    s = zo2_export_arch(&v->arch, &v->pack->arch, set);
    if (s)
        return s;
    zo2_history_init(&v->history, set, &v->arch);
    s = zo2_history_reserve(&v->history, v->steps);
    for (uint64_t step = 0; step < v->steps && !s; step++) {
        zo2_journal_record r;
        zo2_bundlefile_at(b, step, &r);
        s = zo2_history_push(&v->history, &r);
    }
    return s;
}

zo2_status zo2_export_open_bundle(zo2_export_values *v)
{
    zo2_bundlefile *b = NULL;
    zo2_status s = zo2_bundlefile_open(&b, &zo2_io_posix, v->o->bundle);
    if (!s)
        s = take_steps(v, b);
    zo2_bundlefile_close(b);
    return s;
}
