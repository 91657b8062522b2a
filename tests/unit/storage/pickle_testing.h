/* pickle_testing.h: pickles put together by hand. Include after cmocka.h.
 *
 *     pk p = {0};
 *     pk_begin(&p);
 *     pk_ops(&p, "}("), pk_text(&p, "key"), pk_int(&p, 3), pk_ops(&p, "u.");
 */
#ifndef ZO2_TESTS_UNIT_STORAGE_PICKLE_TESTING_H
#define ZO2_TESTS_UNIT_STORAGE_PICKLE_TESTING_H

#include "tests/unit/files_testing.h"

/* An opcode without a letter, for pk_ops(): "N" OP_TUPLE1. */
#define OP_PROTO    "\x80"
#define OP_NEWOBJ   "\x81"
#define OP_TUPLE1   "\x85"
#define OP_TUPLE2   "\x86"
#define OP_TUPLE3   "\x87"
#define OP_TRUE     "\x88"
#define OP_FALSE    "\x89"
#define OP_ADDITEMS "\x90"
#define OP_MEMOIZE  "\x94"

typedef struct pk {
    unsigned char *b;
    size_t n, cap;
} pk;

static inline void pk_bytes(pk *p, const void *bytes, size_t n)
{
    if (p->n + n > p->cap) {
        p->cap = 2 * (p->n + n);
        p->b = realloc(p->b, p->cap);
        assert_non_null(p->b);
    }
    if (n)
        memcpy(p->b + p->n, bytes, n);
    p->n += n;
}

static inline void pk_free(pk *p)
{
    free(p->b);
    *p = (pk){0};
}

/* Opcodes, and whatever is behind them; no zeros. */
static inline void pk_ops(pk *p, const char *ops)
{
    pk_bytes(p, ops, strlen(ops));
}

static inline void pk_begin(pk *p)
{
    p->n = 0;
    pk_ops(p, OP_PROTO "\x02");
}

/* A number of so many bytes, little-endian. */
static inline void pk_number(pk *p, uint64_t v, int bytes)
{
    for (int i = 0; i < bytes; i++) {
        unsigned char c = (unsigned char)(v >> (8 * i));
        pk_bytes(p, &c, 1);
    }
}

static inline void pk_text(pk *p, const char *text)
{
    pk_ops(p, "X");
    pk_number(p, strlen(text), 4);
    pk_ops(p, text);
}

/* LONG1 of 8 bytes: any. */
static inline void pk_int(pk *p, int64_t v)
{
    pk_ops(p, "\x8a\x08");
    pk_number(p, (uint64_t)v, 8);
}

static inline void pk_global(pk *p, const char *module, const char *name)
{
    pk_ops(p, "c");
    pk_ops(p, module);
    pk_ops(p, "\n");
    pk_ops(p, name);
    pk_ops(p, "\n");
}

/* A tensor's parts, changed where a test wants it. */
typedef struct pk_tensor_parts {
    const char *function; /* of torch._utils; _rebuild_tensor_v2 */
    const char *type;     /* "FloatStorage" */
    const char *key;      /* "0" */
    int64_t elements;     /* of the storage */
    int64_t offset;
    int rank;
    int64_t shape[12], stride[12];
    const char *more; /* opcodes for further arguments */
} pk_tensor_parts;

static inline void pk_tuple(pk *p, const int64_t *v, int n)
{
    pk_ops(p, "(");
    for (int i = 0; i < n; i++)
        pk_int(p, v[i]);
    pk_ops(p, "t");
}

static inline void pk_storage(pk *p, const pk_tensor_parts *t)
{
    pk_ops(p, "(");
    pk_text(p, "storage");
    pk_global(p, "torch", t->type ? t->type : "FloatStorage");
    pk_text(p, t->key ? t->key : "0");
    pk_text(p, "cpu");
    pk_int(p, t->elements);
    pk_ops(p, "tQ");
}

static inline void pk_tensor(pk *p, pk_tensor_parts t)
{
    pk_global(p, "torch._utils", t.function ? t.function : "_rebuild_tensor_v2");
    pk_ops(p, "(");
    pk_storage(p, &t);
    pk_int(p, t.offset);
    pk_tuple(p, t.shape, t.rank);
    pk_tuple(p, t.stride, t.rank);
    pk_ops(p, OP_FALSE);
    pk_global(p, "collections", "OrderedDict");
    pk_ops(p, ")R");
    if (t.more)
        pk_ops(p, t.more);
    pk_ops(p, "tR");
}

/* A small tensor under a key. */
static inline void pk_entry(pk *p, const char *name, const char *key)
{
    pk_text(p, name);
    pk_tensor(p, (pk_tensor_parts){.key = key, .elements = 6, .rank = 2, .shape = {2, 3}, .stride = {3, 1}});
}

#endif
