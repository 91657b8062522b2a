/* convert_map.c: which stored tensor is which of ours. Names are the family's business and place_by_name()'s, where a family
 * has nothing of its own to say; all else works on the places that they give. */
#include "engine/model/arch.h"
#include "engine/model/family.h"
#include "engine/model/place.h"
#include "engine/pack/convert_job.h"
#include "engine/pack/pieces.h"
#include "storage/checkpoint/checkpoint.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAMED_EXTRA 8 /* tensors that the warning names */

/* One stored tensor is one of ours, whole, under its canonical name or without the prefix. */
static int place_by_name(const zo2_arch *a, const zo2_stored *t, uint32_t i, zo2_place *out)
{
    const zo2_tensor *is = i == 0 ? zo2_arch_by_name(a, t->name) : NULL;
    uint32_t id = is ? is->id : ZO2_TIED_HEAD;
    if (!is && i == 0 && a->tied && strcmp(t->name, a->family->head_name) == 0)
        is = &a->tensors[zo2_arch_find(a, ZO2_ROLE_EMBED_TOKENS, 0)];
    if (is)
        *out = (zo2_place){.tensor = id, .rows = is->rows, .cols = is->cols};
    return is != NULL;
}

/* ---- what has no place ------------------------------------------------------------------------------------------- */

typedef struct extras {
    uint64_t n;
    char names[512]; /* of the first few */
    size_t at;
} extras;

static void add_extra(extras *e, const char *name)
{
    if (e->n++ < NAMED_EXTRA && e->at < sizeof e->names)
        e->at += (size_t)snprintf(e->names + e->at, sizeof e->names - e->at, "%s%s", e->n == 1 ? "" : ", ", name);
}

/* One warning for all tensors that the model has no place for, naming the first few. */
static void warn_extra(const zo2_convert_job *j, extras *e)
{
    if (e->n > NAMED_EXTRA && e->at < sizeof e->names)
        snprintf(e->names + e->at, sizeof e->names - e->at, " and %" PRIu64 " more", e->n - NAMED_EXTRA);
    if (e->n)
        zo2_convert_warn(j, "%s: ignored %" PRIu64 " tensor%s that config.json has no place for: %s", j->dir, e->n,
                         e->n == 1 ? "" : "s", e->names);
}

static void warn_oddity(void *j, const char *text)
{
    zo2_convert_warn(j, "%s", text);
}

static void warn_wrapping(const zo2_convert_job *j)
{
    const zo2_wrapping *w = &j->wrapping;
    if (w->parts || w->prefix[0])
        zo2_convert_warn(j, "%s: its tensors have the names of a wrapped model: taken without %s%s%s%s", j->dir,
                         w->parts ? "the wrapper's parts (module., _orig_mod. and the like)" : "",
                         w->parts && w->prefix[0] ? " and " : "", w->prefix[0] ? "the prefix " : "", w->prefix);
}

/* One warning for all tensors whose values aren't taken as they are. */
static void warn_rounded(const zo2_convert_job *j)
{
    uint64_t n = 0, first = 0;
    for (uint64_t i = zo2_checkpoint_count(j->source); i-- > 0;) {
        if (!j->pieces.extents[i].rank || !zo2_checkpoint_tensor(j->source, i).rounded)
            continue;
        first = i;
        n++;
    }
    if (n)
        zo2_convert_warn(j, "%s: %" PRIu64 " tensor%s of type F64 (%s%s), taken as F32, rounded to nearest", j->dir, n,
                         n == 1 ? " is" : "s are", zo2_checkpoint_tensor(j->source, first).name,
                         n == 1 ? "" : " and others");
}

/* ---- the mapping ------------------------------------------------------------------------------------------------- */

static zo2_status place_all(zo2_convert_job *j, zo2_place_fn place, extras *e)
{
    zo2_status s = ZO2_OK;
    for (uint64_t i = 0; i < zo2_checkpoint_count(j->source) && !s; i++) {
        char bare[512];
        zo2_stored t = zo2_checkpoint_tensor(j->source, i);
        const char *name = t.name;
        zo2_place at;
        uint32_t n = 0;
        t.name = zo2_unwrap(&j->wrapping, name, bare, sizeof bare);
        while (!s && place(&j->arch, &t, n, &at)) {
            s = zo2_pieces_add(&j->pieces, i, &at);
            n++;
        }
        if (n == 0 && !j->arch.family->ignores(t.name))
            add_extra(e, name);
    }
    return s;
}

/* Tied and stored as the head only: the same tensor. */
static void take_head(zo2_convert_job *j)
{
    uint32_t id = zo2_arch_find(&j->arch, ZO2_ROLE_EMBED_TOKENS, 0);
    zo2_piece_list *head = zo2_pieces_of(&j->pieces, ZO2_TIED_HEAD), *embedding = zo2_pieces_of(&j->pieces, id);
    if (!head->n || embedding->n)
        return;
    *embedding = *head;
    *head = (zo2_piece_list){0};
}

static zo2_status map_names(zo2_convert_job *j, zo2_place_fn place, const zo2_wrapping *w, extras *e)
{
    *e = (extras){0};
    j->wrapping = *w;
    zo2_pieces_free(&j->pieces);
    zo2_status s = zo2_pieces_create(&j->pieces, j->dir, &j->arch, j->source);
    if (!s)
        s = place_all(j, place, e);
    if (!s)
        take_head(j);
    return s;
}

/* How many of the model's tensors have no piece, and the first of them. */
static uint32_t count_missing(const zo2_convert_job *j, uint32_t *first)
{
    uint32_t n = 0;
    for (uint32_t i = j->arch.n_tensors; i-- > 0;)
        if (!zo2_pieces_of(&j->pieces, i)->n) {
            *first = i;
            n++;
        }
    return n;
}

#define WRAPPINGS 8 /* that are tried */

/* Under the names as they are tensors are missing: maps without the wrapping that leaves the fewest missing. Two that leave none
 * are two models. */
static zo2_status unwrap(zo2_convert_job *j, zo2_place_fn place, uint32_t missing, extras *e)
{
    zo2_wrapping all[WRAPPINGS], best = {0};
    uint32_t n = zo2_find_wrappings(j, place, all, WRAPPINGS), least = missing, whole = 0, first;
    zo2_status s;
    for (uint32_t i = 0; i < n; i++) {
        if ((s = map_names(j, place, &all[i], e)) == ZO2_ERR_NOMEM)
            return s;
        uint32_t left = s ? missing : count_missing(j, &first);
        if (left == 0 && whole++)
            return zo2_error(
                ZO2_ERR_FORMAT,
                "%s has two models, one under the prefix \"%s\", one under \"%s\": keep the one to convert", j->dir,
                best.prefix, all[i].prefix);
        if (left < least)
            best = all[i];
        least = left < least ? left : least;
    }
    return map_names(j, place, &best, e);
}

static zo2_status check_complete(const zo2_convert_job *j, uint32_t tensor)
{
    const zo2_piece_list *list = zo2_pieces_of(&j->pieces, tensor);
    const zo2_tensor *t = zo2_pieces_tensor(&j->pieces, tensor);
    if (list->elements == t->rows * t->cols) /* pieces don't overlap: as many elements are all of them */
        return ZO2_OK;
    zo2_status s = zo2_convert_check_tensor(j, tensor); /* shards of another size than config.json's say it better */
    return s ? s
             : zo2_error(ZO2_ERR_NOTFOUND,
                         "%s has %" PRIu64 " of the %" PRIu64 " elements of %s (%s and %" PRIu32
                         " more pieces); get the rest of it",
                         j->dir, list->elements, t->rows * t->cols, t->name,
                         zo2_checkpoint_tensor(j->source, list->piece[0].stored).name, list->n - 1);
}

static zo2_status check_all(const zo2_convert_job *j)
{
    uint32_t first, missing = count_missing(j, &first);
    zo2_status s = missing ? zo2_convert_missing(j, &j->arch.tensors[first], missing - 1) : ZO2_OK;
    for (uint32_t i = 0; i < j->arch.n_tensors && !s; i++)
        s = check_complete(j, i);
    if (!s && zo2_pieces_of(&j->pieces, ZO2_TIED_HEAD)->n)
        s = check_complete(j, ZO2_TIED_HEAD);
    return s ? s : zo2_convert_leftovers(j);
}

/* The places of the checkpoint's naming, NULL if the family comes with no such names. */
static zo2_place_fn place_of(const zo2_convert_job *j)
{
    const char *naming = zo2_checkpoint_naming(j->reader);
    for (const zo2_naming *n = j->arch.family->namings; n && n->name; n++)
        if (strcmp(n->name, naming) == 0)
            return n->place;
    return strcmp(naming, ZO2_NAMING_HUGGINGFACE) == 0 ? place_by_name : NULL;
}

int zo2_convert_fits(zo2_convert_job *j)
{
    extras e;
    uint32_t first;
    zo2_place_fn place = place_of(j);
    zo2_status s = place ? map_names(j, place, &(zo2_wrapping){0}, &e) : ZO2_ERR_UNSUPPORTED;
    if (!s && (e.n || count_missing(j, &first)))
        s = ZO2_ERR_NOTFOUND;
    for (uint32_t i = 0; i < j->arch.n_tensors && !s; i++)
        if (!(s = check_complete(j, i)))
            s = zo2_convert_check_tensor(j, i);
    zo2_pieces_free(&j->pieces);
    return s == ZO2_OK;
}

zo2_status zo2_convert_map(zo2_convert_job *j, zo2_place_fn place)
{
    extras e;
    uint32_t first, missing;
    if (!place && !(place = place_of(j)))
        return zo2_error(ZO2_ERR_UNSUPPORTED,
                         "%s: config.json says %s, which this version doesn't know with the names of %s", j->dir,
                         j->arch.family->model_type, zo2_checkpoint_naming(j->reader));
    zo2_status s = map_names(j, place, &(zo2_wrapping){0}, &e);
    if (!s && (missing = count_missing(j, &first)) > 0)
        s = unwrap(j, place, missing, &e);
    if (!s)
        s = check_all(j);
    if (s)
        return s;
    warn_wrapping(j);
    zo2_checkpoint_oddities(j->source, warn_oddity, j);
    warn_rounded(j);
    warn_extra(j, &e);
    return ZO2_OK;
}
