/* pickle_tree.c: the tree that pickle.c makes: three arrays, whatever the pickle. Containers that grow are chains of spans, so that
 * nothing is ever moved or counted twice, and all is freed without a walk. */
#include "storage/checkpoint/pickle.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(sizeof(zo2_pickle_node) == 16, "a hostile pickle may have millions of them");

void zo2_pickle_free(zo2_pickle *p)
{
    free(p->nodes);
    free(p->spans);
    free(p->items);
    memset(p, 0, sizeof *p);
}

/* ---- growing ------------------------------------------------------------------------------------------------------- */

zo2_status zo2_pickle_grow(void *array, uint32_t *cap, size_t size, uint32_t need, uint32_t max, const char *what)
{
    if (need > max)
        return zo2_error(ZO2_ERR_FORMAT, "more than %u %s", max, what);
    if (need <= *cap)
        return ZO2_OK;
    uint32_t more = *cap < 32 ? 64 : *cap * 2;
    more = more < need ? need : more > max ? max : more;
    void *old, *grown;
    memcpy(&old, array, sizeof old); /* a pointer to a pointer of any type */
    if (!(grown = realloc(old, more * size)))
        return zo2_error(ZO2_ERR_NOMEM, "out of memory for %u %s", more, what);
    memcpy(array, &grown, sizeof grown);
    *cap = more;
    return ZO2_OK;
}

zo2_status zo2_pickle_add(zo2_pickle *p, zo2_pickle_node node, uint32_t *out)
{
    if (node.depth > ZO2_PICKLE_MAX_DEPTH)
        return zo2_error(ZO2_ERR_FORMAT, "things are nested deeper than %d", ZO2_PICKLE_MAX_DEPTH);
    zo2_status s =
        zo2_pickle_grow(&p->nodes, &p->cap_nodes, sizeof *p->nodes, p->n_nodes + 1, ZO2_PICKLE_MAX_NODES, "values");
    if (s == ZO2_OK) {
        *out = p->n_nodes;
        p->nodes[p->n_nodes++] = node;
    }
    return s;
}

zo2_status zo2_pickle_put(zo2_pickle *p, uint32_t container, const uint32_t *items, uint32_t n)
{
    zo2_pickle_node *c = &p->nodes[container];
    unsigned depth = c->depth;
    for (uint32_t i = 0; i < n; i++)
        depth = depth > p->nodes[items[i]].depth ? depth : p->nodes[items[i]].depth + 1u;
    if (depth > ZO2_PICKLE_MAX_DEPTH)
        return zo2_error(ZO2_ERR_FORMAT, "things are nested deeper than %d", ZO2_PICKLE_MAX_DEPTH);
    if (n == 0)
        return ZO2_OK;
    zo2_status s = zo2_pickle_grow(&p->items, &p->cap_items, sizeof *p->items, p->n_items + n, ZO2_PICKLE_MAX_ITEMS,
                                   "items of containers");
    if (s == ZO2_OK) /* no span is empty */
        s = zo2_pickle_grow(&p->spans, &p->cap_spans, sizeof *p->spans, p->n_spans + 1, ZO2_PICKLE_MAX_ITEMS, "items");
    if (s != ZO2_OK)
        return s;
    memcpy(p->items + p->n_items, items, n * sizeof *items);
    p->spans[p->n_spans] = (zo2_pickle_span){p->n_items, n, ZO2_PICKLE_NOTHING};
    if (c->c)
        p->spans[c->b].next = p->n_spans;
    else
        c->a = p->n_spans;
    c->b = p->n_spans++;
    c->c += n;
    c->depth = (uint16_t)depth;
    p->n_items += n;
    return ZO2_OK;
}

/* ---- looking ------------------------------------------------------------------------------------------------------- */

zo2_pickle_items zo2_pickle_items_of(const zo2_pickle *p, uint32_t container)
{
    const zo2_pickle_node *c = &p->nodes[container];
    return (zo2_pickle_items){c->c ? c->a : ZO2_PICKLE_NOTHING, 0};
}

int zo2_pickle_next(const zo2_pickle *p, zo2_pickle_items *at, uint32_t *item)
{
    if (at->span == ZO2_PICKLE_NOTHING)
        return 0;
    const zo2_pickle_span *s = &p->spans[at->span];
    *item = p->items[s->first + at->i++];
    if (at->i == s->n)
        *at = (zo2_pickle_items){s->next, 0};
    return 1;
}

uint32_t zo2_pickle_item(const zo2_pickle *p, uint32_t tuple, uint32_t i)
{
    return p->items[p->spans[p->nodes[tuple].a].first + i];
}

int zo2_pickle_is_text(const zo2_pickle *p, uint32_t node, const char *text)
{
    const zo2_pickle_node *x = &p->nodes[node];
    return x->kind == ZO2_PICKLE_TEXT && x->c == strlen(text) && memcmp(p->bytes + x->b, text, x->c) == 0;
}

/* "module.name" */
static const char *global_text(const zo2_pickle *p, const zo2_pickle_node *x, char *text, size_t n)
{
    snprintf(text, n, "%.*s", (int)x->c, p->bytes + x->b);
    for (char *c = text; *c; c++)
        if (*c == '\n')
            *c = '.';
        else if ((unsigned char)*c < 0x20 || *c == 0x7F)
            *c = '?';
    return text;
}

const char *zo2_pickle_what(const zo2_pickle *p, uint32_t node, char *text, size_t n)
{
    static const char *const names[] = {
        [ZO2_PICKLE_NONE] = "None",      [ZO2_PICKLE_BOOL] = "a truth value",
        [ZO2_PICKLE_INT] = "an integer", [ZO2_PICKLE_LONG] = "a long integer",
        [ZO2_PICKLE_FLOAT] = "a number", [ZO2_PICKLE_TEXT] = "a text",
        [ZO2_PICKLE_BYTES] = "bytes",    [ZO2_PICKLE_LIST] = "a list",
        [ZO2_PICKLE_TUPLE] = "a tuple",  [ZO2_PICKLE_DICT] = "a dictionary",
        [ZO2_PICKLE_SET] = "a set",      [ZO2_PICKLE_GLOBAL] = "a name",
        [ZO2_PICKLE_CALL] = "an object", [ZO2_PICKLE_PERSISTENT] = "a persistent id",
    };
    const zo2_pickle_node *x = &p->nodes[node];
    while (x->kind == ZO2_PICKLE_CALL) /* a callee is older than its call */
        x = &p->nodes[x->a];
    /* ('module', class, ...), as torch before 1.6 has classes */
    if (x->kind == ZO2_PICKLE_PERSISTENT && zo2_pickle_is(p, x->a, ZO2_PICKLE_TUPLE) && p->nodes[x->a].c > 1)
        x = zo2_pickle_is(p, zo2_pickle_item(p, x->a, 1), ZO2_PICKLE_GLOBAL) ? &p->nodes[zo2_pickle_item(p, x->a, 1)]
                                                                             : x;
    if (x->kind == ZO2_PICKLE_GLOBAL)
        return global_text(p, x, text, n);
    snprintf(text, n, "%s", names[x->kind]);
    return text;
}
