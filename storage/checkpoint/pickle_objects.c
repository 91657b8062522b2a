/* pickle_objects.c: the opcodes of containers, names and objects.
 *
 * What is refused although Python would do it: changes of what can't be changed in place (items set on what is no dictionary, appended
 * to what is no list: CVE-2026-24747 corrupted memory so), and of what known globals make. Items and state given to
 * objects of unknown kinds are dropped: nobody can see them. */
#include "storage/checkpoint/pickle.h"
#include "storage/checkpoint/pickle_machine.h"
#include "storage/io/io_utf8.h"

#include <string.h>

typedef zo2_pickle_machine machine;

#define BAD(...)           zo2_pickle_bad(m, ZO2_ERR_FORMAT, __VA_ARGS__)
#define ORDERED_DICTIONARY "collections\nOrderedDict"
#define WHAT_BYTES         (2 * ZO2_PICKLE_MAX_GLOBAL + 8)

/* ---- containers ---------------------------------------------------------------------------------------------------- */

static zo2_status push_container(machine *m, zo2_pickle_kind kind, const uint32_t *items, uint32_t n)
{
    uint32_t c;
    zo2_status s = zo2_pickle_add(m->p, (zo2_pickle_node){.kind = (uint8_t)kind, .depth = 1}, &c);
    if (s == ZO2_OK)
        s = zo2_pickle_put(m->p, c, items, n);
    return s == ZO2_OK ? zo2_pickle_push(m, c) : zo2_pickle_complete(m, s);
}

zo2_status zo2_pickle_empty(machine *m)
{
    return push_container(m, (zo2_pickle_kind)m->op->kind, NULL, 0);
}

zo2_status zo2_pickle_tuple_of(machine *m)
{
    const uint32_t *items;
    zo2_status s = zo2_pickle_pop(m, m->op->n, &items);
    return s == ZO2_OK ? push_container(m, ZO2_PICKLE_TUPLE, items, m->op->n) : s;
}

zo2_status zo2_pickle_of_mark(machine *m)
{
    const uint32_t *items;
    uint32_t n;
    zo2_status s = zo2_pickle_pop_mark(m, &items, &n);
    return s == ZO2_OK ? push_container(m, (zo2_pickle_kind)m->op->kind, items, n) : s;
}

/* An object of somebody's class: what it holds stays unknown, whatever is done to it. */
static int is_unknown_object(const machine *m, uint32_t node)
{
    return zo2_pickle_is(m->p, node, ZO2_PICKLE_CALL) && zo2_pickle_at(m->p, node)->c == 0;
}

/* Items for the thing below them. */
static zo2_status put_on_top(machine *m, const uint32_t *items, uint32_t n)
{
    uint32_t on;
    char what[WHAT_BYTES];
    const zo2_pickle_kind kind = (zo2_pickle_kind)m->op->kind;
    zo2_status s = zo2_pickle_top(m, &on);
    if (s != ZO2_OK)
        return s;
    if (kind == ZO2_PICKLE_DICT && n % 2)
        return BAD("there is a key without a value: it is damaged");
    if (zo2_pickle_is(m->p, on, kind))
        return zo2_pickle_complete(m, zo2_pickle_put(m->p, on, items, n));
    if (is_unknown_object(m, on))
        return ZO2_OK;
    return BAD("it is for a %s, not for %s: damaged or malicious",
               kind == ZO2_PICKLE_DICT   ? "dictionary"
               : kind == ZO2_PICKLE_LIST ? "list"
                                         : "set",
               zo2_pickle_what(m->p, on, what, sizeof what));
}

zo2_status zo2_pickle_put_n(machine *m)
{
    const uint32_t *items;
    zo2_status s = zo2_pickle_pop(m, m->op->n, &items);
    return s == ZO2_OK ? put_on_top(m, items, m->op->n) : s;
}

zo2_status zo2_pickle_put_marked(machine *m)
{
    const uint32_t *items;
    uint32_t n;
    zo2_status s = zo2_pickle_pop_mark(m, &items, &n);
    return s == ZO2_OK ? put_on_top(m, items, n) : s;
}

/* ---- names --------------------------------------------------------------------------------------------------------- */

/* A line, *n without its end. */
static zo2_status take_line(machine *m, const char *what, size_t *n)
{
    const char *line = m->p->bytes + m->at, *end;
    const size_t left = m->n - m->at, most = left < ZO2_PICKLE_MAX_GLOBAL ? left : ZO2_PICKLE_MAX_GLOBAL;
    end = most ? memchr(line, '\n', most) : NULL;
    *n = end ? (size_t)(end - line) : most;
    if (!end && left == most)
        return BAD("its %s has no end: it is truncated; get it again", what);
    if (!end)
        return BAD("its %s has more than %d bytes: it is damaged", what, ZO2_PICKLE_MAX_GLOBAL);
    if (*n == 0 || zo2_utf8_valid_bytes(line, *n) != *n || memchr(line, '\0', *n))
        return BAD("its %s is no name: it is damaged", what);
    m->at += *n + 1;
    return ZO2_OK;
}

zo2_status zo2_pickle_global(machine *m)
{
    const size_t begin = m->at;
    size_t module, name = 0;
    zo2_status s = take_line(m, "module", &module);
    if (s == ZO2_OK)
        s = take_line(m, "name", &name);
    if (s != ZO2_OK)
        return s;
    const char *text = m->p->bytes + begin;
    const size_t n = module + 1 + name;
    return zo2_pickle_push_new(m, (zo2_pickle_node){.kind = ZO2_PICKLE_GLOBAL,
                                                    .a = m->known ? m->known(text, n) : 0,
                                                    .b = (uint32_t)begin,
                                                    .c = (uint32_t)n});
}

/* ---- objects ------------------------------------------------------------------------------------------------------- */

static int is_ordered_dictionary(const machine *m, uint32_t node)
{
    const zo2_pickle_node *x = zo2_pickle_at(m->p, node);
    return x->kind == ZO2_PICKLE_GLOBAL && x->c == sizeof ORDERED_DICTIONARY - 1 &&
           memcmp(m->p->bytes + x->b, ORDERED_DICTIONARY, x->c) == 0;
}

/* What the callee would make of the arguments. */
static zo2_status call(machine *m, uint32_t callee, uint32_t arguments)
{
    char what[WHAT_BYTES];
    const zo2_pickle_node *f = zo2_pickle_at(m->p, callee), *a = zo2_pickle_at(m->p, arguments);
    /* torch before 1.6 pickles modules' classes as persistent ids */
    if (f->kind != ZO2_PICKLE_GLOBAL && f->kind != ZO2_PICKLE_CALL && f->kind != ZO2_PICKLE_PERSISTENT)
        return BAD("it calls %s: damaged or malicious", zo2_pickle_what(m->p, callee, what, sizeof what));
    if (a->kind != ZO2_PICKLE_TUPLE)
        return BAD("its arguments are %s, not a tuple: it is damaged",
                   zo2_pickle_what(m->p, arguments, what, sizeof what));
    if (is_ordered_dictionary(m, callee) && a->c == 0)
        return push_container(m, ZO2_PICKLE_DICT, NULL, 0);
    return zo2_pickle_push_new(m,
                               (zo2_pickle_node){.kind = ZO2_PICKLE_CALL,
                                                 .depth = (uint16_t)((f->depth > a->depth ? f->depth : a->depth) + 1),
                                                 .a = callee,
                                                 .b = arguments,
                                                 .c = f->kind == ZO2_PICKLE_GLOBAL ? f->a
                                                      : f->kind == ZO2_PICKLE_CALL ? f->c
                                                                                   : 0});
}

zo2_status zo2_pickle_reduce(machine *m)
{
    const uint32_t *x;
    zo2_status s = zo2_pickle_pop(m, 2, &x);
    return s == ZO2_OK ? call(m, x[0], x[1]) : s;
}

/* cls.__new__(cls, *arguments): nothing known is made so. Named arguments are looked at by nobody. */
zo2_status zo2_pickle_newobj(machine *m)
{
    const uint32_t *x;
    char what[WHAT_BYTES];
    zo2_status s = zo2_pickle_pop(m, m->op->n, &x);
    if (s != ZO2_OK)
        return s;
    const zo2_pickle_node *c = zo2_pickle_at(m->p, x[0]);
    if (c->kind == ZO2_PICKLE_GLOBAL && c->a != 0)
        return BAD("%s is not made like this: damaged or malicious", zo2_pickle_what(m->p, x[0], what, sizeof what));
    if (m->op->n == 3 && !zo2_pickle_is(m->p, x[2], ZO2_PICKLE_DICT))
        return BAD("its named arguments are %s, not a dictionary: it is damaged",
                   zo2_pickle_what(m->p, x[2], what, sizeof what));
    return call(m, x[0], x[1]);
}

/* A state is its object's own affair. An OrderedDict's are its attributes (_metadata of a state dictionary). */
zo2_status zo2_pickle_build(machine *m)
{
    const uint32_t *state;
    uint32_t on;
    char what[WHAT_BYTES];
    zo2_status s = zo2_pickle_pop(m, 1, &state);
    if (s == ZO2_OK)
        s = zo2_pickle_top(m, &on);
    if (s != ZO2_OK || zo2_pickle_is(m->p, on, ZO2_PICKLE_DICT) || is_unknown_object(m, on))
        return s;
    return BAD("%s has no state that could be set: damaged or malicious", zo2_pickle_what(m->p, on, what, sizeof what));
}

zo2_status zo2_pickle_binpersid(machine *m)
{
    const uint32_t *id;
    zo2_status s = zo2_pickle_pop(m, 1, &id);
    if (s != ZO2_OK)
        return s;
    return zo2_pickle_push_new(m, (zo2_pickle_node){.kind = ZO2_PICKLE_PERSISTENT,
                                                    .depth = (uint16_t)(zo2_pickle_at(m->p, *id)->depth + 1),
                                                    .a = *id});
}
