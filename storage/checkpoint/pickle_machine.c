/* pickle_machine.c: the stack machine's bytes and stack. */
#include "storage/checkpoint/pickle_machine.h"
#include "engine/zo2.h"
#include "storage/checkpoint/pickle.h"

#include <stdarg.h>
#include <stdio.h>

#define BAD(...) zo2_pickle_bad(m, ZO2_ERR_FORMAT, __VA_ARGS__)

/* ---- errors -------------------------------------------------------------------------------------------------------- */

zo2_status zo2_pickle_bad(const zo2_pickle_machine *m, zo2_status s, const char *fmt, ...)
{
    char text[1200];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    return zo2_error(s, "%s: pickle opcode %s at offset %zu: %s", m->where, m->op->name, m->op_at, text);
}

zo2_status zo2_pickle_complete(const zo2_pickle_machine *m, zo2_status s)
{
    return s == ZO2_OK ? s : zo2_pickle_bad(m, s, "%s", zo2_last_error());
}

/* ---- bytes --------------------------------------------------------------------------------------------------------- */

zo2_status zo2_pickle_take(zo2_pickle_machine *m, uint64_t n, const unsigned char **out)
{
    *out = NULL;
    if (n > m->n - m->at)
        return BAD("its %llu bytes don't fit into the %zu that are left: it is truncated; get it again",
                   (unsigned long long)n, m->n - m->at);
    *out = m->in + m->at;
    m->at += (size_t)n;
    return ZO2_OK;
}

zo2_status zo2_pickle_take_number(zo2_pickle_machine *m, unsigned bytes, uint64_t *out)
{
    const unsigned char *b;
    *out = 0;
    zo2_status s = zo2_pickle_take(m, bytes, &b);
    for (unsigned i = 0; s == ZO2_OK && i < bytes; i++)
        *out |= (uint64_t)b[i] << (8 * i);
    return s;
}

/* ---- stack --------------------------------------------------------------------------------------------------------- */

zo2_status zo2_pickle_push(zo2_pickle_machine *m, uint32_t node)
{
    zo2_status s = zo2_pickle_grow(&m->stack, &m->cap_stack, sizeof *m->stack, m->n_stack + 1, ZO2_PICKLE_MAX_STACK,
                                   "things on the stack");
    if (s == ZO2_OK)
        m->stack[m->n_stack++] = node;
    return zo2_pickle_complete(m, s);
}

zo2_status zo2_pickle_push_new(zo2_pickle_machine *m, zo2_pickle_node node)
{
    uint32_t i;
    zo2_status s = zo2_pickle_complete(m, zo2_pickle_add(m->p, node, &i));
    return s == ZO2_OK ? zo2_pickle_push(m, i) : s;
}

zo2_status zo2_pickle_pop(zo2_pickle_machine *m, uint32_t n, const uint32_t **out)
{
    uint32_t base = m->n_marks ? m->marks[m->n_marks - 1] : 0;
    *out = NULL;
    if (m->n_stack - base < n)
        return BAD("it takes %u from a stack of %u: it is damaged", n, m->n_stack - base);
    m->n_stack -= n;
    *out = m->stack + m->n_stack;
    return ZO2_OK;
}

zo2_status zo2_pickle_pop_mark(zo2_pickle_machine *m, const uint32_t **out, uint32_t *n)
{
    *out = NULL;
    *n = 0;
    if (m->n_marks == 0)
        return BAD("there is no mark for it: it is damaged");
    uint32_t base = m->marks[--m->n_marks];
    *n = m->n_stack - base;
    m->n_stack = base;
    *out = *n ? m->stack + base : NULL; /* there may be no stack yet */
    return ZO2_OK;
}

zo2_status zo2_pickle_top(zo2_pickle_machine *m, uint32_t *node)
{
    const uint32_t *x;
    *node = ZO2_PICKLE_NOTHING;
    zo2_status s = zo2_pickle_pop(m, 1, &x);
    if (s == ZO2_OK)
        *node = m->stack[m->n_stack++];
    return s;
}
