/* torch_state.c: the tensors of a pickled state dictionary: which dictionary it is, what they are called, which storages they share.
 *
 * The pickle's graph may have circles and share nodes: a dictionary is walked once, to a bounded depth; names, tensors and their
 * texts have limits of their own, as a reference to a thing costs two bytes of a pickle however much it says. */
#include "storage/checkpoint/torch_state.h"
#include "storage/checkpoint/pickle.h"
#include "storage/checkpoint/torch_tensor.h"

#include <stdlib.h>
#include <string.h>

#define MAX_NESTING    32          /* dictionaries in dictionaries */
#define MAX_NAME       1000        /* bytes, joined */
#define MAX_TENSORS    (1u << 18)  /* and as many that are none */
#define MAX_TEXT_BYTES (64u << 20) /* of all names */

#define NO_TENSOR UINT32_MAX

enum { SEARCHED = 1, WALKED = 2 }; /* marks of dictionaries */

/* A tensor's storage while all are looked for: keys in the pickle's bytes. */
typedef struct place {
    zo2_torch_storage storage;
    const char *key;
    uint32_t key_bytes, tensor; /* NO_TENSOR: of nothing that is read */
} place;

typedef struct walk {
    zo2_pickle *p;
    zo2_torch_state *out;
    const char *where;
    place *places; /* [n_tensors], then n_others */
    uint32_t n_others;
    uint32_t cap_tensors, cap_places, cap_opaques;
    uint64_t text_bytes;
    char name[MAX_NAME + 1];
} walk;

#define BAD(...) zo2_error(ZO2_ERR_FORMAT, __VA_ARGS__)

/* ---- where the tensors are ----------------------------------------------------------------------------------------- */

/* 1 if there is a tensor in the dictionary, however deep. Each is searched once: in one that is marked there is none. */
static int has_tensors(const zo2_pickle *p, uint32_t dict, int depth)
{
    zo2_pickle_items at = zo2_pickle_items_of(p, dict);
    uint32_t key, value;
    int found = 0;
    if ((zo2_pickle_at(p, dict)->mark & SEARCHED) || depth > MAX_NESTING)
        return 0;
    zo2_pickle_at(p, dict)->mark |= SEARCHED;
    while (!found && zo2_pickle_next(p, &at, &key) && zo2_pickle_next(p, &at, &value))
        found = zo2_torch_makes_tensor(p, value) ||
                (zo2_pickle_is(p, value, ZO2_PICKLE_DICT) && has_tensors(p, value, depth + 1));
    if (found)
        zo2_pickle_at(p, dict)->mark &= (uint8_t)~SEARCHED;
    return found;
}

static const char *const wrappers[] = {"model", "state_dict", "module"};

/* The value of a text key; nothing if there is none. Twice the same key is an error. */
static zo2_status value_of(const walk *w, uint32_t dict, const char *text, uint32_t *out)
{
    zo2_pickle_items at = zo2_pickle_items_of(w->p, dict);
    uint32_t key, value;
    *out = ZO2_PICKLE_NOTHING;
    while (zo2_pickle_next(w->p, &at, &key) && zo2_pickle_next(w->p, &at, &value)) {
        if (!zo2_pickle_is_text(w->p, key, text))
            continue;
        if (*out != ZO2_PICKLE_NOTHING)
            return BAD("%s: its dictionary has the key \"%s\" twice: damaged or malicious", w->where, text);
        *out = value;
    }
    return ZO2_OK;
}

/* The state dictionary: the root, or one in it. */
static zo2_status find_state(const walk *w, uint32_t *dict)
{
    char what[ZO2_TORCH_WHAT_BYTES];
    const uint32_t root = w->p->root;
    *dict = root;
    if (zo2_torch_makes_tensor(w->p, root))
        return BAD("%s: it is one tensor, not a state dictionary", w->where);
    if (!zo2_pickle_is(w->p, root, ZO2_PICKLE_DICT))
        return zo2_error(ZO2_ERR_UNSUPPORTED,
                         "%s: it is %s, not a state dictionary: if it is a whole model, save its state_dict()",
                         w->where, zo2_pickle_what(w->p, root, what, sizeof what));
    for (size_t i = 0; i < sizeof wrappers / sizeof *wrappers; i++) {
        uint32_t value;
        zo2_status s = value_of(w, root, wrappers[i], &value);
        if (s != ZO2_OK)
            return s;
        if (value == ZO2_PICKLE_NOTHING || !zo2_pickle_is(w->p, value, ZO2_PICKLE_DICT) || !has_tensors(w->p, value, 1))
            continue;
        *dict = value;
        return ZO2_OK;
    }
    return ZO2_OK;
}

/* ---- what is under a name ------------------------------------------------------------------------------------------ */

static zo2_status copy_text(walk *w, const char *text, size_t n, char **out)
{
    w->text_bytes += n + 1;
    if (w->text_bytes > MAX_TEXT_BYTES)
        return BAD("%s: the names of its tensors have more than %u MB: damaged or malicious", w->where,
                   MAX_TEXT_BYTES >> 20);
    if (!(*out = strndup(text, n)))
        return zo2_error(ZO2_ERR_NOMEM, "%s: out of memory for the names of its tensors", w->where);
    return ZO2_OK;
}

/* Room for number n of something; the limits' errors are told with the file. */
static zo2_status room(const walk *w, void *array, uint32_t *cap, size_t size, uint64_t n, const char *what)
{
    zo2_status s = zo2_pickle_grow(array, cap, size, (uint32_t)n + 1, MAX_TENSORS, what);
    return s == ZO2_OK ? s : zo2_error(s, "%s: %s", w->where, zo2_last_error());
}

/* w->name is what; not a tensor that can be read. */
static zo2_status add_opaque(walk *w, const char *what)
{
    zo2_torch_state *o = w->out;
    zo2_torch_opaque opaque = {NULL, NULL};
    zo2_status s = room(w, &o->opaques, &w->cap_opaques, sizeof *o->opaques, o->n_opaques, "things besides tensors");
    if (s == ZO2_OK)
        s = copy_text(w, w->name, strlen(w->name), &opaque.name);
    if (s == ZO2_OK)
        s = copy_text(w, what, strlen(what), &opaque.what);
    if (s == ZO2_OK)
        o->opaques[o->n_opaques++] = opaque;
    else
        free(opaque.name);
    return s;
}

static zo2_status add_tensor(walk *w, uint32_t node)
{
    zo2_torch_state *o = w->out;
    zo2_torch_view v;
    char what[ZO2_TORCH_WHAT_BYTES];
    zo2_status s = zo2_torch_view_of(w->p, node, &v, what);
    if (s != ZO2_OK)
        return zo2_error(s, "%s: tensor %.300s: %s: damaged or malicious", w->where, w->name, zo2_last_error());
    if (what[0])
        return add_opaque(w, what);
    if ((s = room(w, &o->tensors, &w->cap_tensors, sizeof *o->tensors, o->n_tensors, "tensors")) != ZO2_OK ||
        (s = room(w, &w->places, &w->cap_places, sizeof *w->places, o->n_tensors, "tensors")) != ZO2_OK ||
        (s = copy_text(w, w->name, strlen(w->name), &v.tensor.name)) != ZO2_OK)
        return s;
    w->places[o->n_tensors] = (place){v.storage, v.key, v.key_bytes, (uint32_t)o->n_tensors};
    o->tensors[o->n_tensors++] = v.tensor;
    return ZO2_OK;
}

/* ---- names --------------------------------------------------------------------------------------------------------- */

/* w->name becomes that of a key below the first n bytes of it; *end: its length. 0 if it can't be one. */
static int name_below(walk *w, size_t n, uint32_t key, size_t *end)
{
    const zo2_pickle_node *k = zo2_pickle_at(w->p, key);
    const char *text = w->p->bytes + k->b;
    if (k->kind != ZO2_PICKLE_TEXT || !zo2_torch_is_name(text, k->c, MAX_NAME))
        return 0;
    if (n + (n > 0) + k->c > MAX_NAME)
        return 0;
    if (n > 0)
        w->name[n++] = '.';
    memcpy(w->name + n, text, k->c);
    *end = n + k->c;
    w->name[*end] = '\0';
    return 1;
}

static int leads_to_tensors(const walk *w, uint32_t node)
{
    return zo2_torch_makes_tensor(w->p, node) ||
           (zo2_pickle_is(w->p, node, ZO2_PICKLE_DICT) && has_tensors(w->p, node, 1));
}

static zo2_status walk_value(walk *w, uint32_t value, size_t n, int depth);

/* All of a dictionary whose name has n bytes. */
static zo2_status walk_dict(walk *w, uint32_t dict, size_t n, int depth)
{
    zo2_pickle_items at = zo2_pickle_items_of(w->p, dict);
    uint32_t key, value;
    size_t end;
    zo2_status s = ZO2_OK;
    zo2_pickle_at(w->p, dict)->mark |= WALKED;
    while (s == ZO2_OK && zo2_pickle_next(w->p, &at, &key) && zo2_pickle_next(w->p, &at, &value)) {
        w->name[n] = '\0';
        if (name_below(w, n, key, &end))
            s = walk_value(w, value, end, depth);
        else if (leads_to_tensors(w, value)) {
            char what[ZO2_TORCH_WHAT_BYTES];
            w->name[n] = '\0';
            s = BAD("%s: the dictionary \"%.300s\" has tensors under a key that is no name (%s) of at most %d bytes in "
                    "all: save the model's state_dict() alone",
                    w->where, w->name, zo2_pickle_what(w->p, key, what, sizeof what), MAX_NAME);
        }
    }
    return s;
}

static zo2_status walk_value(walk *w, uint32_t value, size_t n, int depth)
{
    char what[ZO2_TORCH_WHAT_BYTES];
    if (zo2_torch_makes_tensor(w->p, value))
        return add_tensor(w, value);
    if (!zo2_pickle_is(w->p, value, ZO2_PICKLE_DICT))
        return add_opaque(w, zo2_pickle_what(w->p, value, what, sizeof what));
    if (zo2_pickle_at(w->p, value)->mark & WALKED)
        return has_tensors(w->p, value, 1)
                   ? BAD("%s: the dictionary \"%.300s\" is one that is somewhere else in it, too: damaged or malicious",
                         w->where, w->name)
                   : ZO2_OK;
    if (depth == MAX_NESTING)
        return BAD("%s: dictionaries are nested deeper than %d: \"%.300s\"", w->where, MAX_NESTING, w->name);
    return walk_dict(w, value, n, depth + 1);
}

/* ---- after the walk ------------------------------------------------------------------------------------------------ */

static int by_key(const void *a, const void *b)
{
    const place *x = a, *y = b;
    const uint32_t n = x->key_bytes < y->key_bytes ? x->key_bytes : y->key_bytes;
    const int d = memcmp(x->key, y->key, n);
    if (d)
        return d;
    if (x->key_bytes != y->key_bytes)
        return x->key_bytes < y->key_bytes ? -1 : 1;
    return x->tensor < y->tensor ? -1 : x->tensor > y->tensor;
}

static int same_key(const place *x, const place *y)
{
    return x->key_bytes == y->key_bytes && memcmp(x->key, y->key, x->key_bytes) == 0;
}

/* Storages that something else is in: in a file of torch before 1.6 their sizes tell where others lie. What says nothing sound is
 * left out. */
static zo2_status find_others(walk *w)
{
    zo2_torch_view v;
    zo2_status s = ZO2_OK;
    for (uint32_t i = 0; i < w->p->n_nodes && w->out->n_tensors + w->n_others < MAX_TENSORS && s == ZO2_OK; i++) {
        if (!zo2_torch_names_storage(w->p, i, &v))
            continue;
        const uint64_t n = w->out->n_tensors + w->n_others;
        if ((s = room(w, &w->places, &w->cap_places, sizeof *w->places, n, "storages")) == ZO2_OK) {
            w->places[n] = (place){v.storage, v.key, v.key_bytes, NO_TENSOR};
            w->n_others++;
        }
    }
    return s;
}

/* One storage per key; all tensors that are in it say the same of it. */
static zo2_status join_storages(walk *w)
{
    zo2_torch_state *o = w->out;
    place *x = w->places;
    const uint64_t n = o->n_tensors + w->n_others;
    if (n == 0)
        return ZO2_OK;
    qsort(x, (size_t)n, sizeof *x, by_key);
    if (!(o->storages = calloc((size_t)n, sizeof *o->storages)))
        return zo2_error(ZO2_ERR_NOMEM, "%s: out of memory for its storages", w->where);
    for (uint64_t i = 0; i < n; i++) {
        const int first = i == 0 || !same_key(&x[i - 1], &x[i]);
        if (!first && x[i].tensor == NO_TENSOR)
            continue;
        if (first) {
            zo2_torch_storage *s = &o->storages[o->n_storages++];
            *s = x[i].storage;
            if (!(s->key = strndup(x[i].key, x[i].key_bytes)))
                return zo2_error(ZO2_ERR_NOMEM, "%s: out of memory for its storages", w->where);
        } else if (x[i].storage.elements != x[i - 1].storage.elements ||
                   strcmp(x[i].storage.type_name, x[i - 1].storage.type_name) != 0) {
            return BAD("%s: tensors %.200s and %.200s differ in what storage %s is: damaged or malicious", w->where,
                       o->tensors[x[i - 1].tensor].name, o->tensors[x[i].tensor].name,
                       o->storages[o->n_storages - 1].key);
        }
        if (x[i].tensor != NO_TENSOR)
            o->tensors[x[i].tensor].storage = o->n_storages - 1;
    }
    return ZO2_OK;
}

/* A model that was saved whole is an object where its tensors would be. */
static zo2_status check_wrapped(const walk *w)
{
    char what[ZO2_TORCH_WHAT_BYTES];
    for (size_t i = 0; w->out->n_tensors == 0 && i < sizeof wrappers / sizeof *wrappers; i++) {
        uint32_t value;
        zo2_status s = value_of(w, w->p->root, wrappers[i], &value);
        if (s != ZO2_OK)
            return s;
        if (value != ZO2_PICKLE_NOTHING && zo2_pickle_is(w->p, value, ZO2_PICKLE_CALL))
            return zo2_error(ZO2_ERR_UNSUPPORTED,
                             "%s: what it has under \"%s\" is %s, not a state dictionary: if it is a whole model, save "
                             "its state_dict()",
                             w->where, wrappers[i], zo2_pickle_what(w->p, value, what, sizeof what));
    }
    return ZO2_OK;
}

/* ---- interface ----------------------------------------------------------------------------------------------------- */

zo2_status zo2_torch_state_load(zo2_torch_state *out, const void *bytes, size_t n, size_t *used, const char *where)
{
    zo2_pickle p;
    memset(out, 0, sizeof *out);
    zo2_status s = zo2_pickle_load(&p, bytes, n, used, where, zo2_torch_known);
    if (s != ZO2_OK)
        return s;
    walk w = {.p = &p, .out = out, .where = where};
    uint32_t dict;
    if ((s = find_state(&w, &dict)) == ZO2_OK)
        s = walk_dict(&w, dict, 0, 1);
    if (s == ZO2_OK)
        s = check_wrapped(&w);
    if (s == ZO2_OK)
        s = find_others(&w);
    if (s == ZO2_OK)
        s = join_storages(&w);
    if (s == ZO2_OK)
        s = zo2_torch_state_sort(out, where);
    free(w.places);
    zo2_pickle_free(&p);
    if (s != ZO2_OK)
        zo2_torch_state_free(out);
    return s;
}
