/* pickle.h: Python's pickles as a tree of values. A pickle is a program for a stack machine that makes objects by calling whatever
 * it names; here a name is a name and a call is a node that says what would have been called. Nothing is executed, imported or
 * looked up. Meant for what others wrote, hostile until checked: time and memory are linear in the bytes, and bounded.
 *
 * Read are the opcodes of protocols 2 to 5 that data need. Refused by name and offset are those of the text protocols (0, 1), those
 * that find a callable on the stack (STACK_GLOBAL, INST, OBJ) or in a registry (EXT1, EXT2, EXT4), and buffers outside.
 * Opcodes: the documentation of Python's module pickletools. */
#ifndef ZO2_STORAGE_CHECKPOINT_PICKLE_H
#define ZO2_STORAGE_CHECKPOINT_PICKLE_H

#include "engine/zo2.h"

#include <stddef.h>
#include <stdint.h>

/* A pickle beyond one of these is refused. Bytes: an offset fits into 32 bits. */
enum {
    ZO2_PICKLE_MAX_BYTES = 64 << 20,
    ZO2_PICKLE_MAX_NODES = 4 << 20,
    ZO2_PICKLE_MAX_ITEMS = 8 << 20, /* of all containers together */
    ZO2_PICKLE_MAX_MEMO = 4 << 20,
    ZO2_PICKLE_MAX_STACK = 1 << 20,
    ZO2_PICKLE_MAX_MARKS = 1000,
    ZO2_PICKLE_MAX_DEPTH = 1000, /* of things in things, when they are put there */
    ZO2_PICKLE_MAX_GLOBAL = 500, /* bytes of a module's and a name's text */
};

typedef enum zo2_pickle_kind {
    ZO2_PICKLE_NONE,
    ZO2_PICKLE_BOOL,
    ZO2_PICKLE_INT,  /* of 64 bits */
    ZO2_PICKLE_LONG, /* any other integer */
    ZO2_PICKLE_FLOAT,
    ZO2_PICKLE_TEXT, /* not known to be UTF-8; Python 2's byte strings too */
    ZO2_PICKLE_BYTES,
    ZO2_PICKLE_LIST,
    ZO2_PICKLE_TUPLE,
    ZO2_PICKLE_DICT, /* collections.OrderedDict too. Items: key, value, key, value, ... as they were set */
    ZO2_PICKLE_SET,
    ZO2_PICKLE_GLOBAL,
    ZO2_PICKLE_CALL, /* an object: what a global (or an object) makes of arguments. What was done to it later is dropped */
    ZO2_PICKLE_PERSISTENT, /* something outside of the pickle */
} zo2_pickle_kind;

typedef struct zo2_pickle_node {
    uint8_t kind;
    uint8_t mark; /* the user's, 0 at first */
    uint16_t depth;
    uint32_t a; /* global: what known() said of it; call: the callee; persistent: its id; containers: first span */
    union {
        int64_t value; /* bool, int */
        struct {
            uint32_t
                b; /* text, bytes, long, global: where it is in the bytes; call: the arguments; containers: last span */
            uint32_t
                c; /* ...: length; call: what known() said of the global that begins it; containers: number of items */
        };
    };
} zo2_pickle_node;

/* Consecutive items of a container. */
typedef struct zo2_pickle_span {
    uint32_t first, n, next;
} zo2_pickle_span;

#define ZO2_PICKLE_NOTHING UINT32_MAX /* no node, no span */

typedef struct zo2_pickle {
    const char *bytes; /* the caller's, needed as long as the tree is */
    zo2_pickle_node *nodes;
    zo2_pickle_span *spans;
    uint32_t *items; /* node numbers */
    uint32_t n_nodes, n_spans, n_items, cap_nodes, cap_spans, cap_items;
    uint32_t root;
} zo2_pickle;

/* Not 0 for a global that the caller knows: "module\nname" of n bytes. Of what a known global makes nothing may be changed afterwards. */
typedef uint32_t (*zo2_pickle_known)(const char *text, size_t n);

/* Reads the pickle at the front of bytes[n]; *used: its bytes, STOP included. The graph may have circles, and share nodes. where: for
 * messages. On failure *out is empty. ZO2_ERR_FORMAT: no pickle, or a damaged one; ZO2_ERR_UNSUPPORTED: opcodes that are
 * refused; ZO2_ERR_NOMEM. */
zo2_status zo2_pickle_load(zo2_pickle *out, const void *bytes, size_t n, size_t *used, const char *where,
                           zo2_pickle_known known);
void zo2_pickle_free(zo2_pickle *p); /* leaves it empty */

/* ---- looking at the tree ------------------------------------------------------------------------------------------- */

static inline zo2_pickle_node *zo2_pickle_at(const zo2_pickle *p, uint32_t node)
{
    return &p->nodes[node];
}

static inline int zo2_pickle_is(const zo2_pickle *p, uint32_t node, zo2_pickle_kind kind)
{
    return p->nodes[node].kind == kind;
}

/* The items of a container, one after the other: 1 and *item, 0 behind the last. */
typedef struct zo2_pickle_items {
    uint32_t span, i;
} zo2_pickle_items;
zo2_pickle_items zo2_pickle_items_of(const zo2_pickle *p, uint32_t container);
int zo2_pickle_next(const zo2_pickle *p, zo2_pickle_items *at, uint32_t *item);

/* Item i of a tuple; the number of a tuple's items is its c. */
uint32_t zo2_pickle_item(const zo2_pickle *p, uint32_t tuple, uint32_t i);

/* 1 if the node is this text. */
int zo2_pickle_is_text(const zo2_pickle *p, uint32_t node, const char *text);

/* What a node is, for messages: "a list", "collections.deque" for what that makes. text[n]; returns it. */
const char *zo2_pickle_what(const zo2_pickle *p, uint32_t node, char *text, size_t n);

/* ---- how it is made: the machine's --------------------------------------------------------------------------------- */

/* All: ZO2_ERR_NOMEM without memory, ZO2_ERR_FORMAT beyond a limit; the message is for the caller to complete. */
zo2_status zo2_pickle_add(zo2_pickle *p, zo2_pickle_node node, uint32_t *out);
zo2_status zo2_pickle_put(zo2_pickle *p, uint32_t container, const uint32_t *items, uint32_t n);
/* Makes room for `need` things of size bytes, at most max; array: the address of a pointer. */
zo2_status zo2_pickle_grow(void *array, uint32_t *cap, size_t size, uint32_t need, uint32_t max, const char *what);

#endif
