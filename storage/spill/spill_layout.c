/* spill_layout.c: see spill_layout.h. */
#include "storage/spill/spill_layout.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A smaller slot joins the class of a larger one if it wastes an eighth of it at most. */
#define FITS(bytes, class_bytes) ((bytes)*8 >= (class_bytes)*7)
#define LEAST_SPARE              2

zo2_status zo2_spill_weights(uint32_t *weight, const double *share, uint32_t n_files)
{
    if (n_files == 0 || n_files > ZO2_SPILL_MAX_FILES)
        return zo2_error(ZO2_ERR_ARG, "a spill has 1 to %u folders, not %" PRIu32, ZO2_SPILL_MAX_FILES, n_files);
    double most = 0;
    for (uint32_t f = 0; share && f < n_files; f++) {
        if (!(share[f] > 0) || !isfinite(share[f]))
            return zo2_error(ZO2_ERR_ARG, "folder %" PRIu32 " of a spill has the share %g: shares are above 0", f + 1,
                             share[f]);
        most = share[f] > most ? share[f] : most;
    }
    for (uint32_t f = 0; f < n_files; f++) {
        const double w = share ? share[f] / most * ZO2_SPILL_WEIGHT : ZO2_SPILL_WEIGHT;
        weight[f] = w < 1 ? 1 : (uint32_t)(w + 0.5);
    }
    return ZO2_OK;
}

static uint64_t slot_bytes(const zo2_spill_chunk *c)
{
    return zo2_spill_pages(c->wire_bytes) + zo2_spill_pages(c->rest_bytes);
}

/* The file whose share is used up least with this chunk, the first one of equals. In pages: the products fit. */
static uint32_t choose(const uint64_t *load, const uint32_t *weight, uint32_t n_files, uint64_t pages)
{
    uint32_t best = 0;
    for (uint32_t f = 1; f < n_files; f++)
        if ((load[f] + pages) * weight[best] < (load[best] + pages) * weight[f])
            best = f;
    return best;
}

static int descending(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? 1 : x > y ? -1 : 0;
}

/* need: the sizes of a file's chunks, sorted here. */
static void find_classes(zo2_spill_sizes *s, uint64_t *need, uint32_t n)
{
    if (n)
        qsort(need, n, sizeof *need, descending);
    for (uint32_t i = 0; i < n; i++) {
        if (!s->classes || !FITS(need[i], s->slot_bytes[s->classes - 1])) {
            assert(s->classes < ZO2_SPILL_MAX_CLASSES);
            s->slot_bytes[s->classes++] = need[i];
        }
        s->chunks[s->classes - 1]++;
    }
}

static uint8_t class_of(const zo2_spill_sizes *s, uint64_t bytes)
{
    uint32_t k = 0;
    while (k + 1 < s->classes && s->slot_bytes[k + 1] >= bytes)
        k++;
    return (uint8_t)k;
}

static zo2_status check_chunks(const zo2_spill_chunk *chunks, uint32_t n)
{
    if (n > ZO2_SPILL_MAX_CHUNKS)
        return zo2_error(ZO2_ERR_ARG, "%" PRIu32 " chunks are more than a spill can keep", n);
    for (uint32_t i = 0; i < n; i++)
        if (chunks[i].wire_bytes > ZO2_SPILL_MAX_PLANE || chunks[i].rest_bytes > ZO2_SPILL_MAX_PLANE)
            return zo2_error(ZO2_ERR_ARG,
                             "chunk %" PRIu32 " has a plane of more than 2 GiB: a spill needs smaller chunks", i);
    return ZO2_OK;
}

zo2_status zo2_spill_layout_make(zo2_spill_layout *l, const zo2_spill_chunk *chunks, uint32_t n_chunks,
                                 const uint32_t *weight, uint32_t n_files)
{
    memset(l, 0, sizeof *l);
    l->n_files = n_files;
    zo2_status s = check_chunks(chunks, n_chunks);
    if (s)
        return s;
    uint64_t load[ZO2_SPILL_MAX_FILES] = {0};
    uint64_t *need = malloc(((size_t)n_chunks + 1) * sizeof *need);
    l->file = calloc((size_t)n_chunks + 1, 1);
    l->class_of = calloc((size_t)n_chunks + 1, 1);
    if (!need || !l->file || !l->class_of) {
        free(need);
        return zo2_error(ZO2_ERR_NOMEM, "out of memory for the layout of %" PRIu32 " chunks", n_chunks);
    }
    for (uint32_t i = 0; i < n_chunks; i++) {
        const uint64_t pages = slot_bytes(&chunks[i]) / ZO2_SPILL_ALIGN;
        if (pages) {
            l->file[i] = (uint8_t)choose(load, weight, n_files, pages);
            load[l->file[i]] += pages;
        }
    }
    for (uint32_t f = 0; f < n_files; f++) {
        uint32_t n = 0;
        for (uint32_t i = 0; i < n_chunks; i++)
            if (l->file[i] == f && slot_bytes(&chunks[i]))
                need[n++] = slot_bytes(&chunks[i]);
        find_classes(&l->sizes[f], need, n);
    }
    for (uint32_t i = 0; i < n_chunks; i++)
        l->class_of[i] = class_of(&l->sizes[l->file[i]], slot_bytes(&chunks[i]));
    free(need);
    return ZO2_OK;
}

void zo2_spill_layout_free(zo2_spill_layout *l)
{
    free(l->file);
    free(l->class_of);
    memset(l, 0, sizeof *l);
}

int zo2_spill_place(zo2_spill_front *f)
{
    uint64_t slots = 0;
    for (uint32_t k = 0; k < f->head.classes; k++)
        slots += f->classes[k].slots;
    if (slots > ZO2_SPILL_MAX_SLOTS)
        return 0;
    uint64_t end = ZO2_SPILL_ALIGN + zo2_spill_table_bytes((uint32_t)slots);
    uint32_t first = 0;
    for (uint32_t k = 0; k < f->head.classes; k++) {
        zo2_spill_class *c = &f->classes[k];
        if (c->slot_bytes == 0 || c->slot_bytes % ZO2_SPILL_ALIGN || c->slot_bytes > 2 * ZO2_SPILL_MAX_PLANE)
            return 0;
        c->first = first;
        c->offset = end;
        first += c->slots;
        end += c->slot_bytes * c->slots; /* below 2^32 * 2^25 all together */
    }
    f->head.slots = (uint32_t)slots;
    f->head.file_bytes = end;
    return 1;
}

zo2_status zo2_spill_plan(zo2_spill_front *f, const zo2_spill_sizes *s, double spare)
{
    memset(f->classes, 0, sizeof f->classes);
    f->head.classes = s->classes;
    for (uint32_t k = 0; k < s->classes; k++) {
        const double more = ceil(s->chunks[k] * spare);
        if (!(more >= 0) || more > ZO2_SPILL_MAX_SLOTS)
            return zo2_error(ZO2_ERR_ARG, "a spill's share of spare slots is %g", spare);
        const uint32_t n = (uint32_t)more < LEAST_SPARE ? LEAST_SPARE : (uint32_t)more;
        f->classes[k] = (zo2_spill_class){.slot_bytes = s->slot_bytes[k], .slots = s->chunks[k] + n};
    }
    return zo2_spill_place(f) ? ZO2_OK : zo2_error(ZO2_ERR_ARG, "a spill's file would have too many slots");
}
