/* snapshot_find.c: see snapshot_find.h. */
#include "engine/masters/snapshot_find.h"

#include <stdio.h>

#define MAX_LISTED 64 /* two are kept; more can only come from hands */

static void warn(zo2_log_fn log, void *log_ud, const char *before, const char *after)
{
    char text[1200];
    if (!log)
        return;
    snprintf(text, sizeof text, "%s%s%s", before, zo2_last_error(), after);
    log(log_ud, ZO2_LOG_WARNING, text);
}

int zo2_snapshot_fits(const zo2_layout *l, const zo2_snapfile *s)
{
    if (zo2_snapfile_get_header(s)->units != l->n_units)
        return 0;
    for (uint32_t i = 0; i < l->n_units; i++) {
        uint64_t elements = zo2_snapfile_unit_elements(s, i);
        if (elements && elements != l->units[i].elements)
            return 0;
    }
    return 1;
}

zo2_snapfile *zo2_snapshot_find(const char *dir, const zo2_journal *j, const zo2_layout *l, uint64_t steps,
                                zo2_log_fn log, void *log_ud)
{
    uint64_t found[MAX_LISTED], model = zo2_journal_settings(j)->model_hash;
    uint32_t n = zo2_snapshot_list(dir, found, MAX_LISTED);
    for (uint32_t i = 0; i < n; i++) {
        zo2_snapfile *s = NULL;
        if (found[i] > steps)
            continue;
        if (zo2_snapfile_open(&s, dir, found[i])) {
            warn(log, log_ud, "a snapshot cannot be used: ", "");
            continue;
        }
        const zo2_snapshot_header *h = zo2_snapfile_get_header(s);
        if (h->model_hash == model && h->step <= steps && h->chain == zo2_journal_chain(j, h->step) &&
            zo2_snapshot_fits(l, s))
            return s;
        zo2_snapfile_close(s);
    }
    return NULL;
}

int zo2_snapshot_unit(const zo2_snapfile *s, uint32_t unit, uint64_t to, float *values, uint64_t *step, zo2_log_fn log,
                      void *log_ud)
{
    *step = zo2_snapfile_unit_step(s, unit);
    if (*step > to || !zo2_snapfile_unit_elements(s, unit))
        return 0;
    if (!zo2_snapfile_read_unit(s, unit, values))
        return 1;
    warn(log, log_ud, "", "; this part is rebuilt from the pack and the journal");
    return 0;
}
