/* pickle_ops.c: the opcodes: stack, memo and values; what isn't read; the table, at the end. */
#include "storage/checkpoint/pickle.h"
#include "storage/checkpoint/pickle_machine.h"

#include <string.h>

typedef zo2_pickle_machine machine;

#define BAD(...)         zo2_pickle_bad(m, ZO2_ERR_FORMAT, __VA_ARGS__)
#define HIGHEST_PROTOCOL 5

/* ---- stack and memo ------------------------------------------------------------------------------------------------ */

static zo2_status mark(machine *m)
{
    zo2_status s =
        zo2_pickle_grow(&m->marks, &m->cap_marks, sizeof *m->marks, m->n_marks + 1, ZO2_PICKLE_MAX_MARKS, "marks");
    if (s == ZO2_OK)
        m->marks[m->n_marks++] = m->n_stack;
    return zo2_pickle_complete(m, s);
}

/* POP and POP_MARK take back what a pickler began of a tuple that contains itself. */
static zo2_status pop_one(machine *m)
{
    const uint32_t *x;
    if (m->n_marks && m->marks[m->n_marks - 1] == m->n_stack) {
        m->n_marks--;
        return ZO2_OK;
    }
    return zo2_pickle_pop(m, 1, &x);
}

static zo2_status pop_marked(machine *m)
{
    const uint32_t *x;
    uint32_t n;
    return zo2_pickle_pop_mark(m, &x, &n);
}

static zo2_status remember(machine *m, uint64_t index)
{
    uint32_t node, cap = m->cap_memo;
    zo2_status s = zo2_pickle_top(m, &node);
    if (s != ZO2_OK)
        return s;
    if (index >= ZO2_PICKLE_MAX_MEMO)
        return BAD("memo number %llu is beyond %d", (unsigned long long)index, ZO2_PICKLE_MAX_MEMO);
    s = zo2_pickle_grow(&m->memo, &m->cap_memo, sizeof *m->memo, (uint32_t)index + 1, ZO2_PICKLE_MAX_MEMO, "memos");
    if (s != ZO2_OK)
        return zo2_pickle_complete(m, s);
    for (; cap < m->cap_memo; cap++)
        m->memo[cap] = ZO2_PICKLE_NOTHING;
    m->memorised += m->memo[index] == ZO2_PICKLE_NOTHING;
    m->memo[index] = node;
    return ZO2_OK;
}

static zo2_status put(machine *m)
{
    uint64_t index;
    zo2_status s = zo2_pickle_take_number(m, m->op->n, &index);
    return s == ZO2_OK ? remember(m, index) : s;
}

static zo2_status memoize(machine *m)
{
    return remember(m, m->memorised);
}

static zo2_status get(machine *m)
{
    uint64_t index;
    zo2_status s = zo2_pickle_take_number(m, m->op->n, &index);
    if (s != ZO2_OK)
        return s;
    if (index >= m->cap_memo || m->memo[index] == ZO2_PICKLE_NOTHING)
        return BAD("nothing was put under memo number %llu: it is damaged", (unsigned long long)index);
    return zo2_pickle_push(m, m->memo[index]);
}

/* ---- the frame of it all ------------------------------------------------------------------------------------------- */

static zo2_status proto(machine *m)
{
    uint64_t version;
    zo2_status s = zo2_pickle_take_number(m, 1, &version);
    if (s != ZO2_OK)
        return s;
    if (m->op_at != 0)
        return BAD("it is the first of a pickle, and only there: it is damaged");
    if (version < 2 || version > HIGHEST_PROTOCOL)
        return BAD("protocol %llu is none of 2 to %d", (unsigned long long)version, HIGHEST_PROTOCOL);
    return ZO2_OK;
}

/* Only says that so many bytes are wanted soon. */
static zo2_status frame(machine *m)
{
    uint64_t n;
    zo2_status s = zo2_pickle_take_number(m, 8, &n);
    if (s == ZO2_OK && n > m->n - m->at)
        return BAD("its frame of %llu bytes doesn't fit into the %zu that are left: it is truncated; get it again",
                   (unsigned long long)n, m->n - m->at);
    if (s == ZO2_OK)
        m->frame_end = m->at + (size_t)n;
    return s;
}

static zo2_status stop(machine *m)
{
    const uint32_t *x;
    if (m->n_marks || m->n_stack != 1)
        return BAD("%u things and %u marks are on the stack, not one thing: it is damaged", m->n_stack, m->n_marks);
    if (m->frame_end > m->at)
        return BAD("the last frame ends behind it, at offset %zu: it is damaged", m->frame_end);
    zo2_status s = zo2_pickle_pop(m, 1, &x);
    if (s != ZO2_OK)
        return s;
    m->p->root = *x;
    m->stopped = 1;
    return ZO2_OK;
}

/* ---- values -------------------------------------------------------------------------------------------------------- */

static zo2_status push_value(machine *m, zo2_pickle_kind kind, int64_t value)
{
    return zo2_pickle_push_new(m, (zo2_pickle_node){.kind = (uint8_t)kind, .value = value});
}

/* Something of which the bytes say all. */
static zo2_status push_bytes(machine *m, zo2_pickle_kind kind, uint64_t n)
{
    const unsigned char *b;
    zo2_status s = zo2_pickle_take(m, n, &b);
    if (s != ZO2_OK)
        return s;
    return zo2_pickle_push_new(m,
                               (zo2_pickle_node){.kind = (uint8_t)kind, .b = (uint32_t)(b - m->in), .c = (uint32_t)n});
}

static zo2_status constant(machine *m)
{
    return push_value(m, (zo2_pickle_kind)m->op->kind, m->op->n);
}

/* Unsigned, but for the one of four bytes. */
static zo2_status integer(machine *m)
{
    uint64_t v;
    zo2_status s = zo2_pickle_take_number(m, m->op->n, &v);
    if (s != ZO2_OK)
        return s;
    return push_value(m, ZO2_PICKLE_INT, (int64_t)v - (m->op->n == 4 && v >> 31 ? INT64_C(1) << 32 : 0));
}

/* Two's complement of n bytes; of none it is 0. */
static zo2_status push_long(machine *m, uint64_t n)
{
    if (n > 8)
        return push_bytes(m, ZO2_PICKLE_LONG, n);
    uint64_t v;
    int64_t value;
    zo2_status s = zo2_pickle_take_number(m, (unsigned)n, &v);
    if (s != ZO2_OK)
        return s;
    if (n > 0 && n < 8 && v >> (8 * n - 1))
        v |= UINT64_MAX << (8 * n);
    memcpy(&value, &v, sizeof value);
    return push_value(m, ZO2_PICKLE_INT, value);
}

static zo2_status long_integer(machine *m)
{
    uint64_t n;
    zo2_status s = zo2_pickle_take_number(m, m->op->n, &n);
    if (s == ZO2_OK && n >> 31)
        return BAD("its length is negative: it is damaged");
    return s == ZO2_OK ? push_long(m, n) : s;
}

static zo2_status binfloat(machine *m)
{
    return push_bytes(m, ZO2_PICKLE_FLOAT, 8);
}

/* Text and bytes: the length in front. */
static zo2_status counted(machine *m)
{
    uint64_t n;
    zo2_status s = zo2_pickle_take_number(m, m->op->n, &n);
    return s == ZO2_OK ? push_bytes(m, (zo2_pickle_kind)m->op->kind, n) : s;
}

/* ---- what isn't read ----------------------------------------------------------------------------------------------- */

#define REFUSE(text) zo2_pickle_bad(m, ZO2_ERR_UNSUPPORTED, text)
#define SAVE_AGAIN   "save again with the default protocol: torch.save(x, file)"

static zo2_status old_protocol(machine *m)
{
    return REFUSE("it is one of pickle protocols 0 and 1; " SAVE_AGAIN);
}

/* The name would be whatever the pickle computes. torch's own safe loading refuses it, too. */
static zo2_status stack_global(machine *m)
{
    return REFUSE("names from the stack, as pickle_protocol=4 has them, are not read; " SAVE_AGAIN);
}

static zo2_status other_call(machine *m)
{
    return REFUSE("torch.save writes no such calls: they are not read");
}

static zo2_status buffer(machine *m)
{
    return REFUSE("it is for data outside of the pickle: there are none");
}

static zo2_status dup_top(machine *m)
{
    return REFUSE("no pickler writes it: it is not read");
}

/* ---- the table ----------------------------------------------------------------------------------------------------- */

#define KIND(k) ZO2_PICKLE_##k

// clang-format off
const zo2_pickle_op zo2_pickle_ops[256] = {
    [0x80] = {"PROTO", proto, 0, 0},
    [0x95] = {"FRAME", frame, 0, 0},
    ['.'] = {"STOP", stop, 0, 0},

    ['('] = {"MARK", mark, 0, 0},
    ['0'] = {"POP", pop_one, 0, 0},
    ['1'] = {"POP_MARK", pop_marked, 0, 0},
    ['q'] = {"BINPUT", put, 1, 0},
    ['r'] = {"LONG_BINPUT", put, 4, 0},
    [0x94] = {"MEMOIZE", memoize, 0, 0},
    ['h'] = {"BINGET", get, 1, 0},
    ['j'] = {"LONG_BINGET", get, 4, 0},

    ['N'] = {"NONE", constant, 0, KIND(NONE)},
    [0x88] = {"NEWTRUE", constant, 1, KIND(BOOL)},
    [0x89] = {"NEWFALSE", constant, 0, KIND(BOOL)},
    ['K'] = {"BININT1", integer, 1, 0},
    ['M'] = {"BININT2", integer, 2, 0},
    ['J'] = {"BININT", integer, 4, 0},
    [0x8A] = {"LONG1", long_integer, 1, 0},
    [0x8B] = {"LONG4", long_integer, 4, 0},
    ['G'] = {"BINFLOAT", binfloat, 0, 0},
    [0x8C] = {"SHORT_BINUNICODE", counted, 1, KIND(TEXT)},
    ['X'] = {"BINUNICODE", counted, 4, KIND(TEXT)},
    [0x8D] = {"BINUNICODE8", counted, 8, KIND(TEXT)},
    ['U'] = {"SHORT_BINSTRING", counted, 1, KIND(TEXT)},
    ['T'] = {"BINSTRING", counted, 4, KIND(TEXT)},
    ['C'] = {"SHORT_BINBYTES", counted, 1, KIND(BYTES)},
    ['B'] = {"BINBYTES", counted, 4, KIND(BYTES)},
    [0x8E] = {"BINBYTES8", counted, 8, KIND(BYTES)},
    [0x96] = {"BYTEARRAY8", counted, 8, KIND(BYTES)},

    [']'] = {"EMPTY_LIST", zo2_pickle_empty, 0, KIND(LIST)},
    ['a'] = {"APPEND", zo2_pickle_put_n, 1, KIND(LIST)},
    ['e'] = {"APPENDS", zo2_pickle_put_marked, 0, KIND(LIST)},
    [')'] = {"EMPTY_TUPLE", zo2_pickle_empty, 0, KIND(TUPLE)},
    [0x85] = {"TUPLE1", zo2_pickle_tuple_of, 1, KIND(TUPLE)},
    [0x86] = {"TUPLE2", zo2_pickle_tuple_of, 2, KIND(TUPLE)},
    [0x87] = {"TUPLE3", zo2_pickle_tuple_of, 3, KIND(TUPLE)},
    ['t'] = {"TUPLE", zo2_pickle_of_mark, 0, KIND(TUPLE)},
    ['}'] = {"EMPTY_DICT", zo2_pickle_empty, 0, KIND(DICT)},
    ['s'] = {"SETITEM", zo2_pickle_put_n, 2, KIND(DICT)},
    ['u'] = {"SETITEMS", zo2_pickle_put_marked, 0, KIND(DICT)},
    [0x8F] = {"EMPTY_SET", zo2_pickle_empty, 0, KIND(SET)},
    [0x90] = {"ADDITEMS", zo2_pickle_put_marked, 0, KIND(SET)},
    [0x91] = {"FROZENSET", zo2_pickle_of_mark, 0, KIND(SET)},

    ['c'] = {"GLOBAL", zo2_pickle_global, 0, KIND(GLOBAL)},
    ['R'] = {"REDUCE", zo2_pickle_reduce, 2, KIND(CALL)},
    [0x81] = {"NEWOBJ", zo2_pickle_newobj, 2, KIND(CALL)},
    [0x92] = {"NEWOBJ_EX", zo2_pickle_newobj, 3, KIND(CALL)},
    ['b'] = {"BUILD", zo2_pickle_build, 0, 0},
    ['Q'] = {"BINPERSID", zo2_pickle_binpersid, 0, KIND(PERSISTENT)},

    [0x93] = {"STACK_GLOBAL", stack_global, 0, 0},
    ['i'] = {"INST", other_call, 0, 0},
    ['o'] = {"OBJ", other_call, 0, 0},
    [0x82] = {"EXT1", other_call, 0, 0},
    [0x83] = {"EXT2", other_call, 0, 0},
    [0x84] = {"EXT4", other_call, 0, 0},
    [0x97] = {"NEXT_BUFFER", buffer, 0, 0},
    [0x98] = {"READONLY_BUFFER", buffer, 0, 0},
    ['2'] = {"DUP", dup_top, 0, 0},
    ['I'] = {"INT", old_protocol, 0, 0},
    ['L'] = {"LONG", old_protocol, 0, 0},
    ['F'] = {"FLOAT", old_protocol, 0, 0},
    ['S'] = {"STRING", old_protocol, 0, 0},
    ['V'] = {"UNICODE", old_protocol, 0, 0},
    ['P'] = {"PERSID", old_protocol, 0, 0},
    ['p'] = {"PUT", old_protocol, 0, 0},
    ['g'] = {"GET", old_protocol, 0, 0},
    ['l'] = {"LIST", old_protocol, 0, 0},
    ['d'] = {"DICT", old_protocol, 0, 0},
};
// clang-format on
