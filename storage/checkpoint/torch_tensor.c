/* torch_tensor.c: one tensor of a pickle. In Python's words:
 *
 *     torch._utils._rebuild_tensor_v2(storage, offset, size, stride, requires_grad, backward_hooks[, metadata])
 *     torch._utils._rebuild_tensor_v3(storage, offset, size, stride, requires_grad, backward_hooks, dtype[, metadata])
 *     torch._utils._rebuild_parameter(tensor, requires_grad, backward_hooks), ..._with_state(..., state)
 *     torch._tensor._rebuild_from_type_v2(function, type, arguments, state)
 *
 * storage is the persistent id ('storage', type, key, location, elements[, view]), view (before torch 0.4 only) None or (key, offset,
 * elements): a part of that storage under a key of its own. Everything has its type and range checked. */
#include "storage/checkpoint/torch_tensor.h"
#include "engine/base/checked.h"
#include "storage/checkpoint/checkpoint.h"
#include "storage/io/io_utf8.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define BAD(...)      zo2_error(ZO2_ERR_FORMAT, __VA_ARGS__)
#define MAX_KEY_BYTES 255
#define MAX_WRAPPERS  8 /* parameters of parameters */

/* ---- what is known ------------------------------------------------------------------------------------------------- */

typedef enum role {
    TENSOR_V2 = 1,
    TENSOR_V3,
    PARAMETER, /* the tensor is the first argument */
    FROM_TYPE,
    TENSOR_CLASS, /* torch.Tensor and what is read just the same */
    STORAGE,
    DTYPE,
} role;

typedef struct known {
    const char *text;
    role role;
    /* Of storages and types of data: */
    uint32_t bytes;
    zo2_dtype dtype;
    const char *dtype_name; /* NULL: bytes of any type */
} known;

static const known globals[] = {
    {"torch._utils\n_rebuild_tensor_v2", TENSOR_V2, 0, 0, NULL},
    {"torch._utils\n_rebuild_tensor_v3", TENSOR_V3, 0, 0, NULL},
    {"torch._utils\n_rebuild_parameter", PARAMETER, 0, 0, NULL},
    {"torch._utils\n_rebuild_parameter_with_state", PARAMETER, 0, 0, NULL},
    {"torch._tensor\n_rebuild_from_type_v2", FROM_TYPE, 0, 0, NULL},
    {"torch\nTensor", TENSOR_CLASS, 0, 0, NULL},
    {"torch.nn.parameter\nParameter", TENSOR_CLASS, 0, 0, NULL},
    {"torch\nFloatStorage", STORAGE, 4, ZO2_F32, "F32"},
    {"torch\nHalfStorage", STORAGE, 2, ZO2_F16, "F16"},
    {"torch\nBFloat16Storage", STORAGE, 2, ZO2_BF16, "BF16"},
    {"torch\nDoubleStorage", STORAGE, 8, 0, "F64"},
    {"torch\nLongStorage", STORAGE, 8, 0, "I64"},
    {"torch\nIntStorage", STORAGE, 4, 0, "I32"},
    {"torch\nShortStorage", STORAGE, 2, 0, "I16"},
    {"torch\nCharStorage", STORAGE, 1, 0, "I8"},
    {"torch\nByteStorage", STORAGE, 1, 0, "U8"},
    {"torch\nBoolStorage", STORAGE, 1, 0, "BOOL"},
    {"torch.storage\nUntypedStorage", STORAGE, 1, 0, NULL},
    {"torch\nUntypedStorage", STORAGE, 1, 0, NULL},
    {"torch\nfloat32", DTYPE, 4, ZO2_F32, "F32"},
    {"torch\nfloat16", DTYPE, 2, ZO2_F16, "F16"},
    {"torch\nbfloat16", DTYPE, 2, ZO2_BF16, "BF16"},
    {"torch\nfloat64", DTYPE, 8, 0, "F64"},
    {"torch\nint64", DTYPE, 8, 0, "I64"},
    {"torch\nint32", DTYPE, 4, 0, "I32"},
    {"torch\nint16", DTYPE, 2, 0, "I16"},
    {"torch\nint8", DTYPE, 1, 0, "I8"},
    {"torch\nuint8", DTYPE, 1, 0, "U8"},
    {"torch\nuint16", DTYPE, 2, 0, "U16"},
    {"torch\nuint32", DTYPE, 4, 0, "U32"},
    {"torch\nuint64", DTYPE, 8, 0, "U64"},
    {"torch\nbool", DTYPE, 1, 0, "BOOL"},
    {"torch\nfloat8_e4m3fn", DTYPE, 1, 0, "F8_E4M3"},
    {"torch\nfloat8_e5m2", DTYPE, 1, 0, "F8_E5M2"},
};

uint32_t zo2_torch_known(const char *text, size_t n)
{
    for (uint32_t i = 0; i < sizeof globals / sizeof *globals; i++)
        if (strlen(globals[i].text) == n && memcmp(globals[i].text, text, n) == 0)
            return i + 1;
    return 0;
}

/* What a node names; NULL if it names nothing that is known. */
static const known *named(const zo2_pickle *p, uint32_t node)
{
    const zo2_pickle_node *x = zo2_pickle_at(p, node);
    return x->kind == ZO2_PICKLE_GLOBAL && x->a ? &globals[x->a - 1] : NULL;
}

static const known *named_as(const zo2_pickle *p, uint32_t node, role r)
{
    const known *k = named(p, node);
    return k && k->role == r ? k : NULL;
}

static int is_function(const known *k)
{
    return k && k->role >= TENSOR_V2 && k->role <= FROM_TYPE;
}

int zo2_torch_makes_tensor(const zo2_pickle *p, uint32_t node)
{
    const zo2_pickle_node *x = zo2_pickle_at(p, node);
    return x->kind == ZO2_PICKLE_CALL && is_function(named(p, x->a));
}

int zo2_torch_is_name(const char *text, size_t n, size_t most)
{
    return n > 0 && n <= most && zo2_utf8_valid_bytes(text, n) == n && !memchr(text, '\0', n);
}

/* ---- pieces of arguments ------------------------------------------------------------------------------------------- */

/* Arguments of a call, of which some are said to be there. */
typedef struct arguments {
    const zo2_pickle *p;
    uint32_t tuple, n;
} arguments;

static uint32_t at(const arguments *a, uint32_t i)
{
    return zo2_pickle_item(a->p, a->tuple, i);
}

/* 1 if it is a tuple of least to most things. */
static int tuple_of(const zo2_pickle *p, uint32_t node, uint32_t least, uint32_t most, arguments *out)
{
    const zo2_pickle_node *x = zo2_pickle_at(p, node);
    *out = (arguments){p, node, x->c};
    return x->kind == ZO2_PICKLE_TUPLE && x->c >= least && x->c <= most;
}

static int count_of(const zo2_pickle *p, uint32_t node, uint64_t *out)
{
    const zo2_pickle_node *x = zo2_pickle_at(p, node);
    if (x->kind != ZO2_PICKLE_INT || x->value < 0)
        return 0;
    *out = (uint64_t)x->value;
    return 1;
}

/* ---- storage ------------------------------------------------------------------------------------------------------- */

/* The part of a storage that a tensor may be in, in bytes from the storage's start. */
typedef struct range {
    uint64_t begin, end;
} range;

static zo2_status part_of(const zo2_pickle *p, uint32_t node, const zo2_torch_view *v, range *r)
{
    arguments a;
    uint64_t offset, n, end;
    if (zo2_pickle_is(p, node, ZO2_PICKLE_NONE))
        return ZO2_OK;
    if (!tuple_of(p, node, 3, 3, &a) || !count_of(p, at(&a, 1), &offset) || !count_of(p, at(&a, 2), &n))
        return BAD("the part of its storage is no key, offset and size");
    if (!zo2_add_u64(offset, n, &end) || end > v->storage.elements)
        return BAD("its part of storage %.*s (%" PRIu64 " elements from %" PRIu64 ") ends beyond its %" PRIu64,
                   (int)v->key_bytes, v->key, n, offset, v->storage.elements);
    *r = (range){offset * v->storage.element_bytes, end * v->storage.element_bytes};
    return ZO2_OK;
}

/* A persistent id. */
static zo2_status storage_of(const zo2_pickle *p, uint32_t node, zo2_torch_view *v, const known **type, range *r,
                             char *what)
{
    arguments a;
    uint64_t bytes;
    *type = NULL;
    if (!zo2_pickle_is(p, node, ZO2_PICKLE_PERSISTENT) || !tuple_of(p, zo2_pickle_at(p, node)->a, 5, 6, &a) ||
        !zo2_pickle_is_text(p, at(&a, 0), "storage"))
        return BAD("its storage isn't one ('storage', type, key, location, elements)");
    if (!zo2_pickle_is(p, at(&a, 1), ZO2_PICKLE_GLOBAL))
        return BAD("its storage's type is %s, not a name", zo2_pickle_what(p, at(&a, 1), what, ZO2_TORCH_WHAT_BYTES));
    if (!(*type = named_as(p, at(&a, 1), STORAGE))) {
        zo2_pickle_what(p, at(&a, 1), what, ZO2_TORCH_WHAT_BYTES);
        return ZO2_OK;
    }
    const zo2_pickle_node *key = zo2_pickle_at(p, at(&a, 2));
    v->key = p->bytes + key->b;
    v->key_bytes = key->c;
    if (key->kind != ZO2_PICKLE_TEXT || !zo2_torch_is_name(v->key, v->key_bytes, MAX_KEY_BYTES))
        return BAD("its storage's key is no text of 1 to %d bytes", MAX_KEY_BYTES);
    v->storage.type_name = strchr((*type)->text, '\n') + 1;
    v->storage.element_bytes = (*type)->bytes;
    if (!count_of(p, at(&a, 4), &v->storage.elements) ||
        !zo2_mul_u64(v->storage.elements, v->storage.element_bytes, &bytes))
        return BAD("its storage's number of elements isn't one");
    *r = (range){0, bytes};
    return a.n == 6 ? part_of(p, at(&a, 5), v, r) : ZO2_OK;
}

int zo2_torch_names_storage(const zo2_pickle *p, uint32_t node, zo2_torch_view *out)
{
    char what[ZO2_TORCH_WHAT_BYTES];
    const known *type;
    range r;
    memset(out, 0, sizeof *out);
    return zo2_pickle_is(p, node, ZO2_PICKLE_PERSISTENT) && storage_of(p, node, out, &type, &r, what) == ZO2_OK && type;
}

/* ---- tensor -------------------------------------------------------------------------------------------------------- */

static zo2_status read_shape(const arguments *a, zo2_torch_tensor *t, char *what)
{
    arguments size, stride;
    if (!count_of(a->p, at(a, 1), &t->offset))
        return BAD("its offset isn't a number of elements");
    if (!tuple_of(a->p, at(a, 2), 0, UINT32_MAX, &size) || !tuple_of(a->p, at(a, 3), size.n, size.n, &stride))
        return BAD("its shape and strides aren't tuples of one length");
    if (size.n > ZO2_STORED_MAX_RANK) {
        snprintf(what, ZO2_TORCH_WHAT_BYTES, "a tensor of %u dimensions", size.n);
        return ZO2_OK;
    }
    t->rank = size.n;
    t->elements = 1;
    for (uint32_t i = 0; i < t->rank; i++) {
        if (!count_of(a->p, at(&size, i), &t->shape[i]) || !count_of(a->p, at(&stride, i), &t->stride[i]))
            return BAD("its shape or its strides have something that is no number of elements");
        if (!zo2_mul_u64(t->elements, t->shape[i], &t->elements))
            return BAD("its size overflows 64 bits");
    }
    return ZO2_OK;
}

/* Every element is inside of r; the tensor's offset becomes that from the storage's start. */
static zo2_status check_place(zo2_torch_tensor *t, const zo2_torch_view *v, const range *r)
{
    uint64_t bytes, last = t->offset, step, end, begin;
    if (!zo2_mul_u64(t->elements, t->element_bytes, &bytes) || !zo2_mul_u64(last, t->element_bytes, &begin))
        return BAD("its size overflows 64 bits");
    for (uint32_t i = 0; t->elements && i < t->rank; i++)
        if (!zo2_mul_u64(t->shape[i] - 1, t->stride[i], &step) || !zo2_add_u64(last, step, &last))
            return BAD("its last element's place overflows 64 bits");
    if (!zo2_add_u64(last, t->elements ? 1 : 0, &end) || !zo2_mul_u64(end, t->element_bytes, &end) ||
        end > r->end - r->begin)
        return BAD("its last element is number %" PRIu64 ", its storage %.*s ends after %" PRIu64, last,
                   (int)v->key_bytes, v->key, (r->end - r->begin) / t->element_bytes);
    if (r->begin % t->element_bytes)
        return BAD("its part of storage %.*s begins inside of an element", (int)v->key_bytes, v->key);
    t->offset += r->begin / t->element_bytes;
    return ZO2_OK;
}

/* Bits that turn the values' signs around, or say that they are conjugated. */
static int has_metadata(const zo2_pickle *p, uint32_t node)
{
    const zo2_pickle_node *x = zo2_pickle_at(p, node);
    return x->kind != ZO2_PICKLE_NONE && !(x->kind == ZO2_PICKLE_DICT && x->c == 0);
}

static zo2_status read_tensor(const zo2_pickle *p, role r, uint32_t tuple, zo2_torch_view *v, char *what)
{
    arguments a;
    const uint32_t own = r == TENSOR_V3 ? 7 : 6; /* then metadata */
    const known *type, *dtype;
    range in = {0, 0};
    if (!tuple_of(p, tuple, own, own + 1, &a))
        return BAD("it is made of %s, not of the %u arguments that a tensor has",
                   zo2_pickle_what(p, tuple, what, ZO2_TORCH_WHAT_BYTES), own);
    zo2_status s = storage_of(p, at(&a, 0), v, &type, &in, what);
    if (s != ZO2_OK || !type)
        return s;
    s = read_shape(&a, &v->tensor, what);
    if (s != ZO2_OK || what[0])
        return s;
    if (a.n > own && has_metadata(p, at(&a, own))) {
        snprintf(what, ZO2_TORCH_WHAT_BYTES, "a tensor with metadata (negated or conjugated)");
        return ZO2_OK;
    }
    if (!zo2_pickle_is(p, at(&a, own - 1), ZO2_PICKLE_GLOBAL) && r == TENSOR_V3)
        return BAD("its type of data isn't a name");
    dtype = r == TENSOR_V3 ? named_as(p, at(&a, 6), DTYPE) : type;
    if (!dtype) {
        zo2_pickle_what(p, at(&a, 6), what, ZO2_TORCH_WHAT_BYTES);
        return ZO2_OK;
    }
    if (!dtype->dtype_name)
        return BAD("its storage has no type of data");
    v->tensor.dtype = dtype->dtype;
    v->tensor.dtype_name = dtype->dtype_name;
    v->tensor.element_bytes = dtype->bytes;
    return check_place(&v->tensor, v, &in);
}

/* A tensor of a class: only torch's own are read as they are. *function and *tuple become what makes it. */
static zo2_status from_type(const zo2_pickle *p, const known **function, uint32_t *tuple, char *what)
{
    arguments a;
    if (!tuple_of(p, *tuple, 4, 4, &a))
        return BAD("_rebuild_from_type_v2 has other arguments than function, type, arguments, state");
    *function = named(p, at(&a, 0));
    *tuple = at(&a, 2);
    if (!named_as(p, at(&a, 1), TENSOR_CLASS))
        zo2_pickle_what(p, at(&a, 1), what, ZO2_TORCH_WHAT_BYTES);
    else if (!is_function(*function))
        zo2_pickle_what(p, at(&a, 0), what, ZO2_TORCH_WHAT_BYTES);
    return ZO2_OK;
}

zo2_status zo2_torch_view_of(const zo2_pickle *p, uint32_t node, zo2_torch_view *out, char what[ZO2_TORCH_WHAT_BYTES])
{
    const known *f = named(p, zo2_pickle_at(p, node)->a);
    uint32_t tuple = zo2_pickle_at(p, node)->b;
    arguments a;
    memset(out, 0, sizeof *out);
    what[0] = '\0';
    for (int i = 0; i < MAX_WRAPPERS; i++) {
        if (f->role == TENSOR_V2 || f->role == TENSOR_V3)
            return read_tensor(p, f->role, tuple, out, what);
        if (f->role == FROM_TYPE) {
            zo2_status s = from_type(p, &f, &tuple, what);
            if (s != ZO2_OK || what[0])
                return s;
            continue;
        }
        if (!tuple_of(p, tuple, 1, 4, &a))
            return BAD("a parameter isn't made of a tensor");
        node = at(&a, 0);
        if (!zo2_torch_makes_tensor(p, node)) {
            zo2_pickle_what(p, node, what, ZO2_TORCH_WHAT_BYTES);
            return ZO2_OK;
        }
        f = named(p, zo2_pickle_at(p, node)->a);
        tuple = zo2_pickle_at(p, node)->b;
    }
    return BAD("it is a parameter of a parameter, and so on");
}
