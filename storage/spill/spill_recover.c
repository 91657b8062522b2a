/* spill_recover.c: which versions there are, from the slot headers as a crash left them. A header is in one sector, so it is
 * the old one or the new one; the newest of a chunk was committed with its data. */
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

static void say(const zo2_spill_config *c, zo2_log_level level, const char *path, uint32_t n, const char *of,
                const char *what)
{
    char text[1024];
    if (!c->log || n == 0)
        return;
    snprintf(text, sizeof text, "%s: %" PRIu32 " of %s %s", path, n, of, what);
    c->log(c->log_ud, level, text);
}

/* The header is of a chunk that lives there, in a slot and with planes of its size. */
static int belongs(const zo2_spill *s, uint32_t f, const zo2_spill_slot *h)
{
    const zo2_spill_chunk *size = &s->sizes[h->chunk];
    return zo2_spill_keeps(s, h->chunk) && s->layout.file[h->chunk] == f && h->wire_bytes == size->wire_bytes &&
           h->rest_bytes == size->rest_bytes &&
           zo2_spill_slot_class(&s->file[f], h->slot) == &s->file[f].front->classes[s->layout.class_of[h->chunk]];
}

int zo2_spill_in_history(const zo2_spill_config *c, const zo2_spill_slot *h)
{
    return h->step <= c->most_step && (!c->history || c->history(c->history_ud, h->step) == h->history);
}

static void offer(zo2_spill *s, uint32_t f, const zo2_spill_slot *h)
{
    zo2_spill_state_of_chunk *c = &s->chunk[h->chunk];
    if (c->committed != ZO2_SPILL_NONE && s->file[f].table[c->committed].generation >= h->generation)
        return;
    c->committed = h->slot;
    zo2_spill_adopt(s, h->chunk, h->slot);
}

/* Of a run that has no steps yet. */
static zo2_status check_unused(const char *path, uint32_t foreign)
{
    if (!foreign)
        return ZO2_OK;
    return zo2_error(ZO2_ERR_EXISTS,
                     "%s has master weights of another run with the same settings: name another folder, or remove "
                     "the file if that run is gone",
                     path);
}

static zo2_status scan(zo2_spill *s, uint32_t f, const zo2_spill_config *c)
{
    uint32_t bad = 0, foreign = 0;
    for (uint32_t k = 0; k < s->file[f].front->head.slots; k++) {
        const zo2_spill_slot *h = &s->file[f].table[k];
        int empty;
        if (zo2_spill_slot_fault(&s->file[f], k, &empty)) {
            bad++;
            continue;
        }
        if (empty)
            continue;
        if (h->generation > s->generation)
            s->generation = h->generation;
        if (!belongs(s, f, h))
            bad++;
        else if (!zo2_spill_in_history(c, h))
            foreign++;
        else
            offer(s, f, h);
    }
    say(c, ZO2_LOG_WARNING, s->at[f].path, bad, "its slot headers",
        "are damaged; the chunks that were there are computed again");
    if (c->begins)
        return check_unused(s->at[f].path, foreign);
    say(c, ZO2_LOG_INFO, s->at[f].path, foreign, "its chunks' versions",
        "are of steps that the journal doesn't have; they are left out");
    return ZO2_OK;
}

static zo2_status free_the_others(zo2_spill *s, uint32_t f)
{
    const zo2_spill_head *h = &s->file[f].front->head;
    zo2_spill_slots *slots = &s->slots[f];
    slots->state = malloc((size_t)h->slots + 1);
    slots->next = malloc(((size_t)h->slots + 1) * sizeof *slots->next);
    if (!slots->state || !slots->next)
        return zo2_error(ZO2_ERR_NOMEM, "%s: out of memory for its %" PRIu32 " slots", s->at[f].path, h->slots);
    memset(slots->state, ZO2_SPILL_TAKEN, h->slots);
    for (uint32_t k = 0; k < h->classes; k++)
        slots->first[k] = slots->last[k] = ZO2_SPILL_NONE;
    for (uint32_t i = 0; i < s->n_chunks; i++)
        if (s->layout.file[i] == f && s->chunk[i].committed != ZO2_SPILL_NONE)
            slots->state[s->chunk[i].committed] = ZO2_SPILL_COMMITTED;
    for (uint32_t k = 0; k < h->slots; k++)
        if (slots->state[k] != ZO2_SPILL_COMMITTED)
            zo2_spill_free_slot(s, f, k);
    return ZO2_OK;
}

/* What was read may be in the page cache only: of a process that was killed before its sync, or whose sync failed. Slots that
 * these headers set free are written soon, so the headers go first. */
static zo2_status settle(zo2_spill *s, uint32_t f)
{
    const zo2_aio_file *at = &s->at[f];
    zo2_spill_table_touch(&s->file[f]);
    zo2_status status = zo2_spill_table_write(&s->file[f], s->io);
    if (!status && s->io->fdatasync(s->io->ud, at->buffered))
        status = zo2_io_error("cannot sync", at->path);
    return status;
}

zo2_status zo2_spill_recover(zo2_spill *s, const zo2_spill_config *c)
{
    for (uint32_t i = 0; i < s->n_chunks; i++)
        s->chunk[i] = (zo2_spill_state_of_chunk){.newest = ZO2_SPILL_NONE, .committed = ZO2_SPILL_NONE};
    zo2_status status = ZO2_OK;
    for (uint32_t f = 0; !status && f < s->n_files; f++)
        if (zo2_spill_file_is_open(s, f))
            status = scan(s, f, c);
    if (!status && s->writable && s->generation == ZO2_SPILL_MAX_COUNTER) /* nobody's disk lives that long */
        status = zo2_error(ZO2_ERR_FORMAT, "%s or another file of this spill has used up its generations; remove it",
                           s->at[0].path);
    for (uint32_t f = 0; !status && f < s->n_files; f++) {
        if (!zo2_spill_file_is_open(s, f))
            continue;
        status = free_the_others(s, f);
        if (!status && s->writable)
            status = settle(s, f);
    }
    return status;
}
