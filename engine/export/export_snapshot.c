/* export_snapshot.c: weights from a snapshot alone, for a run that lost its journal. The updates that units lack can't be
 * made without it, so all of them must stand at one step: what is exported are the weights of that step. */
#include "engine/export/export_values.h"
#include "engine/masters/snapshot_find.h"
#include "engine/model/layout.h"
#include "engine/pack/pack_api.h"
#include "storage/pack/packfile.h"
#include "storage/run/snapshot.h"

#include <inttypes.h>
#include <stdio.h>

#define MAX_LISTED 64 /* two are kept; more can only come from hands */

/* v->layout: that of the snapshot. Its units come from the run's compute type and tile rule, which only the journal had. One
 * without values was left as it was by the run and comes from the pack. (Packs that store one layer for all are refused before.) */
static zo2_status find_layout(zo2_export_values *v, const zo2_snapfile *f)
{
    static const zo2_dtype computes[] = {ZO2_F32, ZO2_F16, ZO2_BF16};
    for (uint32_t rule = ZO2_TILE_RULE; rule; rule--)
        for (size_t i = 0; i < sizeof computes / sizeof *computes; i++) {
            zo2_status s = zo2_layout_create(&v->layout, &v->arch, zo2_one_wire(ZO2_WIRE_BF16), computes[i], rule,
                                             ZO2_EXPORT_CHUNK_BYTES);
            if (s || zo2_snapshot_fits(&v->layout, f))
                return s;
            zo2_layout_free(&v->layout);
        }
    return zo2_error(
        ZO2_ERR_MISMATCH,
        "its parts are not those of %s: it is damaged, or of a run with tensors of its own (rows=, lora:), which "
        "only its journal tells of",
        v->pack_path);
}

/* *step: the one that all parts with values stand at. */
static zo2_status find_step(const zo2_snapfile *f, uint64_t *step)
{
    uint32_t found = 0;
    for (uint32_t u = 0; u < zo2_snapfile_get_header(f)->units; u++) {
        if (!zo2_snapfile_unit_elements(f, u))
            continue;
        if (found++ && zo2_snapfile_unit_step(f, u) != *step)
            return zo2_error(ZO2_ERR_UNSUPPORTED, "parts of it lack updates that only the journal has");
        *step = zo2_snapfile_unit_step(f, u);
    }
    return found ? ZO2_OK : zo2_error(ZO2_ERR_UNSUPPORTED, "it has no values");
}

static zo2_status check(zo2_export_values *v, const zo2_snapfile *f)
{
    const zo2_snapshot_header *h = zo2_snapfile_get_header(f);
    if (h->model_hash != zo2_packfile_header(v->pack->file)->model_hash)
        return zo2_error(ZO2_ERR_MISMATCH, "it is of another model than %s", v->pack_path);
    zo2_status s = find_step(f, &v->steps);
    return s ? s : find_layout(v, f);
}

/* Says why snapshot `step` won't do. */
static void pass_over(const zo2_export_values *v, uint64_t step)
{
    char text[1200];
    snprintf(text, sizeof text, "the snapshot after %" PRIu64 " steps cannot be used alone: %s", step,
             zo2_last_error());
    if (v->o->log)
        v->o->log(v->o->log_ud, ZO2_LOG_WARNING, text);
}

static void say(const zo2_export_values *v, uint64_t step)
{
    char text[160];
    snprintf(text, sizeof text, "the weights after %" PRIu64 " steps, as the snapshot of step %" PRIu64 " has them",
             v->steps, step);
    if (v->o->log)
        v->o->log(v->o->log_ud, ZO2_LOG_INFO, text);
}

zo2_status zo2_export_open_snapshot(zo2_export_values *v)
{
    uint64_t found[MAX_LISTED];
    const char *dir = v->o->snapshot_dir;
    uint32_t n = zo2_snapshot_list(dir, found, MAX_LISTED);
    for (uint32_t i = 0; i < n; i++) {
        zo2_snapfile *f = NULL;
        zo2_status s = zo2_snapfile_open(&f, dir, found[i]);
        if (!s)
            s = check(v, f);
        if (!s) {
            v->snapshot = f;
            say(v, found[i]);
            return ZO2_OK;
        }
        zo2_snapfile_close(f);
        if (s == ZO2_ERR_NOMEM)
            return s;
        pass_over(v, found[i]);
    }
    return zo2_error(ZO2_ERR_NOTFOUND, "%s has no snapshot%s", dir, n ? " that can be used without its journal" : "");
}
