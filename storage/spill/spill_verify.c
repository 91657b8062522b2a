/* spill_verify.c: the versions that a resume would find, against their hashes. Knows no chunk sizes but those in the slot headers, so it needs
 * neither model nor settings. */
#include "engine/base/checked.h"
#include "storage/io/aio.h"
#include "storage/io/io.h"
#include "storage/spill/spill.h"
#include "storage/spill/spill_file.h"
#include "storage/spill/spill_format.h"
#include "storage/spill/spill_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct walk {
    const zo2_io *io;
    const zo2_spill_config *c;
    const zo2_spill_file *f;
    uint32_t *newest; /* [chunks]: slot */
    void *plane;      /* room for the largest slot */
    zo2_spill_report *report;
    uint64_t done; /* bytes of this file */
    zo2_progress_fn progress;
    void *ud;
} walk;

/* Counts a fault; the message of the first one is kept. */
static zo2_status note(walk *w, uint32_t *count, zo2_status s)
{
    if (s != ZO2_ERR_FORMAT)
        return s;
    if (w->report->damaged + w->report->damaged_headers == 0)
        snprintf(w->report->first, sizeof w->report->first, "%s", zo2_last_error());
    ++*count;
    return ZO2_OK;
}

static void scan(walk *w)
{
    const zo2_spill_file *f = w->f;
    for (uint32_t k = 0; k < f->front->head.slots; k++) {
        int empty;
        const char *fault = zo2_spill_slot_fault(f, k, &empty);
        if (fault)
            note(w, &w->report->damaged_headers,
                 zo2_error(ZO2_ERR_FORMAT, "%s: the header of slot %" PRIu32 " is damaged: %s", f->at->path, k, fault));
        if (fault || empty || !zo2_spill_in_history(w->c, &f->table[k]))
            continue;
        uint32_t *newest = &w->newest[f->table[k].chunk];
        if (*newest == ZO2_SPILL_NONE || f->table[*newest].generation < f->table[k].generation)
            *newest = k;
    }
}

static zo2_status check_version(walk *w, const zo2_spill_slot *h)
{
    const uint64_t wire_at = zo2_spill_slot_offset(zo2_spill_slot_class(w->f, h->slot), h->slot);
    const uint64_t rest_at = wire_at + zo2_spill_pages(h->wire_bytes);
    zo2_status s = zo2_spill_read_plane(w->f->at, w->io, h->chunk, wire_at, h->wire_bytes, h->wire_hash, w->plane);
    if (!s)
        s = zo2_spill_read_plane(w->f->at, w->io, h->chunk, rest_at, h->rest_bytes, h->rest_hash, w->plane);
    s = note(w, &w->report->damaged, s);
    zo2_spill_report *r = w->report;
    r->versions++;
    r->bytes += (uint64_t)h->wire_bytes + h->rest_bytes;
    r->oldest_step = r->versions == 1 ? h->step : zo2_min_u64(r->oldest_step, h->step);
    r->newest_step = zo2_max_u64(r->newest_step, h->step);
    return s;
}

static zo2_status check_file(walk *w)
{
    const zo2_spill_head *h = &w->f->front->head;
    uint64_t largest = 0, done = 0, total = 0;
    for (uint32_t k = 0; k < h->classes; k++)
        largest = zo2_max_u64(largest, w->f->front->classes[k].slot_bytes);
    w->newest = malloc(((size_t)h->chunks + 1) * sizeof *w->newest);
    if (posix_memalign(&w->plane, ZO2_SPILL_ALIGN, (size_t)largest + ZO2_SPILL_ALIGN))
        w->plane = NULL;
    if (!w->newest || !w->plane)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory to verify %s", w->f->at->path);
    memset(w->newest, 0xFF, h->chunks * sizeof *w->newest);
    scan(w);
    zo2_status s = ZO2_OK;
    for (uint32_t i = 0; i < h->chunks; i++)
        total += w->newest[i] != ZO2_SPILL_NONE;
    /* By slot, which is the order of the file. */
    for (uint32_t k = 0; !s && k < h->slots; k++) {
        const zo2_spill_slot *slot = &w->f->table[k];
        int empty;
        if (zo2_spill_slot_fault(w->f, k, &empty) || empty || w->newest[slot->chunk] != k)
            continue;
        s = check_version(w, slot);
        if (!s && w->progress && w->progress(w->ud, "verify", ++done, total) != 0)
            s = zo2_error(ZO2_ERR_CANCELLED, "verification of %s was cancelled", w->f->at->path);
    }
    return s;
}

static zo2_status check_folder(walk *w, const char *dir)
{
    zo2_aio_file at = {0};
    zo2_spill_file f = {.at = &at};
    char *path = zo2_spill_path(dir, w->c->run);
    zo2_status s =
        path ? zo2_spill_file_open(&f, w->io, path, w->c->run, 0) : zo2_error(ZO2_ERR_NOMEM, "%s: out of memory", dir);
    w->f = &f;
    w->report->files += !s;
    if (!s)
        s = check_file(w);
    zo2_spill_file_close(&f, w->io);
    free(w->newest);
    free(w->plane);
    w->newest = NULL;
    w->plane = NULL;
    free(path);
    return s;
}

zo2_status zo2_spill_verify(const zo2_io *io, const zo2_spill_config *c, zo2_progress_fn progress, void *ud,
                            zo2_spill_report *report)
{
    memset(report, 0, sizeof *report);
    walk w = {.io = io, .c = c, .report = report, .progress = progress, .ud = ud};
    zo2_status s = ZO2_OK;
    for (uint32_t d = 0; !s && d < c->n_dirs; d++)
        s = check_folder(&w, c->dirs[d]);
    if (!s && report->damaged + report->damaged_headers)
        s = zo2_error(ZO2_ERR_FORMAT,
                      "%s; in all %" PRIu32 " of %" PRIu32 " chunks and %" PRIu32 " slot headers are damaged: "
                      "they are computed again when the run goes on",
                      report->first, report->damaged, report->versions, report->damaged_headers);
    return s;
}
