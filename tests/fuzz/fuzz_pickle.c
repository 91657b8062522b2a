/* fuzz_pickle.c: PyTorch's pickles: state dictionaries, and the pickles around them in older files.
 *
 * Input: mode; with OLD three pickles, a state and keys one behind the other; without, one state. With MADE there is a PROTO in
 * front of the input and a STOP behind it.
 *
 * Properties: what is read doesn't depend on what follows its STOP, and no shorter input is read; memory is bounded by the input
 * (libFuzzer's limit) and so is the tree; every element of a tensor is inside of its storage; names are unique UTF-8, found again, and not
 * both tensors and something else; every storage has a key of its own; a refusal leaves nothing. */
#include "engine/base/checked.h"
#include "storage/checkpoint/pickle.h"
#include "storage/checkpoint/torch_state.h"
#include "storage/checkpoint/torch_tensor.h"
#include "tests/fuzz/fuzzing.h"

enum { OLD = 1, MADE = 2 };

__extension__ typedef unsigned __int128 wide; /* no product of two sizes overflows it */

/* ---- the tree ------------------------------------------------------------------------------------------------------ */

/* Of nodes, items and spans each costs the input a byte or more; numbers lead to what is there. */
static void check_tree(const zo2_pickle *p, size_t used)
{
    FUZZ_CHECK(p->n_nodes <= used && p->n_items <= used && p->n_spans <= used && p->root < p->n_nodes);
    uint64_t items = 0;
    for (uint32_t i = 0; i < p->n_nodes; i++) {
        const zo2_pickle_node *x = zo2_pickle_at(p, i);
        uint32_t item, n = 0;
        char what[ZO2_TORCH_WHAT_BYTES];
        FUZZ_CHECK(zo2_pickle_what(p, i, what, sizeof what) == what && what[0] && x->depth <= ZO2_PICKLE_MAX_DEPTH);
        switch (x->kind) {
        case ZO2_PICKLE_TEXT:
        case ZO2_PICKLE_BYTES:
        case ZO2_PICKLE_LONG:
        case ZO2_PICKLE_GLOBAL: FUZZ_CHECK(x->b <= used && x->c <= used - x->b); break;
        case ZO2_PICKLE_CALL: FUZZ_CHECK(x->a < i && x->b < i && zo2_pickle_is(p, x->b, ZO2_PICKLE_TUPLE)); break;
        case ZO2_PICKLE_PERSISTENT: FUZZ_CHECK(x->a < i); break;
        case ZO2_PICKLE_LIST:
        case ZO2_PICKLE_TUPLE:
        case ZO2_PICKLE_DICT:
        case ZO2_PICKLE_SET:
            for (zo2_pickle_items at = zo2_pickle_items_of(p, i); zo2_pickle_next(p, &at, &item); n++)
                FUZZ_CHECK(item < p->n_nodes && (x->kind != ZO2_PICKLE_TUPLE || item == zo2_pickle_item(p, i, n)));
            FUZZ_CHECK(n == x->c && (x->kind != ZO2_PICKLE_DICT || n % 2 == 0));
            items += n;
            break;
        default: FUZZ_CHECK(x->kind < ZO2_PICKLE_LIST);
        }
    }
    FUZZ_CHECK(items == p->n_items);
}

/* In a copy of its own, so that ASan sees what is read behind it. */
static unsigned char *exact(const unsigned char *b, size_t n)
{
    unsigned char *copy = fuzz_alloc(n);
    if (n)
        memcpy(copy, b, n);
    return copy;
}

static void check_pickle(const unsigned char *b, size_t n)
{
    zo2_pickle p;
    size_t used, again;
    if (!FUZZ_OK(zo2_pickle_load(&p, b, n, &used, "FILE", zo2_torch_known))) {
        FUZZ_CHECK(used == 0 && !p.nodes && !p.items && !p.spans);
        return;
    }
    check_tree(&p, used);
    zo2_pickle_free(&p);
    unsigned char *alone = exact(b, used);
    FUZZ_CHECK(FUZZ_OK(zo2_pickle_load(&p, alone, used, &again, "FILE", zo2_torch_known)) && again == used);
    zo2_pickle_free(&p);
    FUZZ_CHECK(!FUZZ_OK(zo2_pickle_load(&p, alone, used - 1, &again, "FILE", zo2_torch_known)));
    free(alone);
}

/* ---- the state ----------------------------------------------------------------------------------------------------- */

static void check_tensor(const zo2_torch_state *s, uint64_t i)
{
    const zo2_torch_tensor *t = &s->tensors[i];
    FUZZ_CHECK(t->storage < s->n_storages && t->rank <= ZO2_STORED_MAX_RANK && t->dtype_name && t->dtype_name[0]);
    FUZZ_CHECK(zo2_torch_is_name(t->name, strlen(t->name), 1000));
    FUZZ_CHECK(zo2_torch_state_find(s, t->name) == i && !zo2_torch_state_opaque(s, t->name));
    const zo2_torch_storage *in = &s->storages[t->storage];
    wide elements = 1, last = t->offset;
    for (uint32_t k = 0; k < t->rank; k++)
        elements *= elements ? t->shape[k] : 0; /* at most 2^128 - 1: it is in 64 bits after each */
    for (uint32_t k = 0; elements && k < t->rank; k++)
        last += (wide)(t->shape[k] - 1) * t->stride[k];
    FUZZ_CHECK(elements == t->elements);
    FUZZ_CHECK((last + (elements != 0)) * t->element_bytes <= (wide)in->elements * in->element_bytes);
    FUZZ_CHECK(strcmp(in->type_name, "UntypedStorage") == 0 || t->element_bytes == in->element_bytes);
}

static void check_state(const zo2_torch_state *s, size_t used)
{
    FUZZ_CHECK(s->n_tensors <= used && s->n_opaques <= used && s->n_storages <= used);
    for (uint64_t i = 0; i < s->n_tensors; i++)
        check_tensor(s, i);
    for (uint32_t i = 0; i < s->n_storages; i++) {
        const zo2_torch_storage *x = &s->storages[i];
        uint64_t bytes;
        FUZZ_CHECK(zo2_torch_is_name(x->key, strlen(x->key), 255) &&
                   zo2_mul_u64(x->elements, x->element_bytes, &bytes));
        FUZZ_CHECK(i == 0 || strcmp(x->key, s->storages[i - 1].key) > 0);
    }
    for (uint64_t i = 0; i < s->n_opaques; i++)
        FUZZ_CHECK(zo2_torch_state_opaque(s, s->opaques[i].name) && s->opaques[i].what[0] &&
                   zo2_torch_state_find(s, s->opaques[i].name) == s->n_tensors);
    FUZZ_CHECK(zo2_torch_state_find(s, "\n no such tensor") == s->n_tensors);
}

/* Returns the bytes that it has; 0 if it is refused. */
static size_t one_state(const unsigned char *b, size_t n)
{
    zo2_torch_state s;
    size_t used;
    check_pickle(b, n);
    if (!FUZZ_OK(zo2_torch_state_load(&s, b, n, &used, "FILE"))) {
        FUZZ_CHECK(!s.tensors && !s.storages && !s.opaques && !s.by_name && s.n_tensors == 0);
        return 0;
    }
    FUZZ_CHECK(used > 2 && used <= n && b[used - 1] == '.');
    check_state(&s, used);
    zo2_torch_state_free(&s);
    return used;
}

static void old_file(const unsigned char *b, size_t n)
{
    size_t at, used;
    char **keys;
    uint64_t n_keys;
    const int is = zo2_torch_is_legacy(b, n);
    if (!FUZZ_OK(zo2_torch_legacy_header(b, n, &at, "FILE"))) {
        FUZZ_CHECK(at == 0);
        return;
    }
    FUZZ_CHECK(is && at <= n);
    if (!(used = one_state(b + at, n - at)))
        return;
    at += used;
    if (!FUZZ_OK(zo2_torch_legacy_keys(&keys, &n_keys, b + at, n - at, &used, "FILE"))) {
        FUZZ_CHECK(!keys && n_keys == 0 && used == 0);
        return;
    }
    FUZZ_CHECK(used <= n - at && n_keys <= used);
    for (uint64_t i = 0; i < n_keys; i++)
        FUZZ_CHECK(zo2_torch_is_name(keys[i], strlen(keys[i]), 255));
    zo2_torch_legacy_keys_free(keys, n_keys);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input in = {data, size};
    const int mode = fuzz_u8(&in);
    unsigned char *b = fuzz_alloc(in.left + 3);
    size_t n = 0;
    if (mode & MADE) {
        b[n++] = 0x80;
        b[n++] = 2;
    }
    if (in.left)
        memcpy(b + n, in.at, in.left);
    n += in.left;
    if (mode & MADE)
        b[n++] = '.';
    unsigned char *whole = exact(b, n);
    free(b);
    if (mode & OLD)
        old_file(whole, n);
    else
        one_state(whole, n);
    free(whole);
    return 0;
}
