/* fuzz_torch_file.c: files of torch.save(): zip archives and the older form.
 *
 * Input: mode; then, with neither bit, all bytes of a file. With ARCHIVE entries of an archive: {u8 flags, u8 length, name, u16 length,
 * data} again and again; headers and directory are made here. With LEGACY what follows the three pickles that such a file begins
 * with: the state's pickle, that of the keys, storages.
 *
 * Properties: an opened file finds every tensor by name; its elements are those that offset and strides say, whole and in parts;
 * what isn't a tensor is explained. */
#include "storage/checkpoint/torch_file.h"
#include "storage/checkpoint/torch_internal.h"
#include "tests/fuzz/fuzzing.h"

enum { ARCHIVE = 1, LEGACY = 2 };

enum {
    DESCRIPTOR = 1,
    ZIP64 = 2,
    SAME_PLACE = 4,
    DEFLATED = 8,
    SHORTER = 16,
    PADDED = 32,
    LOCAL_SIZES = 64,
    MOVED = 128
};

#define ENTRIES      12
#define MAX_ELEMENTS 5000u

/* ---- archives ---------------------------------------------------------------------------------------------------- */

typedef struct image {
    unsigned char *b;
    size_t n, cap;
} image;

static void put(image *m, const void *data, size_t n)
{
    FUZZ_CHECK(n <= m->cap - m->n);
    if (n)
        memcpy(m->b + m->n, data, n);
    m->n += n;
}

static void put_number(image *m, uint64_t value, size_t bytes)
{
    put(m, &value, bytes); /* little-endian, as the machine */
}

typedef struct entry {
    const uint8_t *name, *data;
    size_t name_bytes, bytes;
    uint8_t flags;
    uint64_t at;
} entry;

static void put_local(image *m, const entry *e)
{
    const size_t padding = e->flags & PADDED ? 40 : 0, size = e->flags & LOCAL_SIZES ? e->bytes : 0;
    put(m, "PK\3\4\24\0", 6);
    put_number(m, e->flags & DESCRIPTOR ? 8 : 0, 2);
    put_number(m, e->flags & DEFLATED ? 8 : 0, 2);
    put_number(m, 0, 8);
    put_number(m, e->flags & DESCRIPTOR ? size : e->bytes, 4);
    put_number(m, e->flags & DESCRIPTOR ? size : e->bytes, 4);
    put_number(m, e->name_bytes, 2);
    put_number(m, padding, 2);
    put(m, e->name, e->name_bytes);
    if (padding) {
        put(m, "FB\44\0", 4);
        for (size_t i = 4; i < padding; i++)
            put(m, "Z", 1);
    }
    put(m, e->data, e->bytes);
    if (e->flags & DESCRIPTOR) {
        put(m, "PK\7\10\0\0\0", 8);
        put_number(m, e->bytes, 4);
        put_number(m, e->bytes, 4);
    }
}

static void put_central(image *m, const entry *e)
{
    const uint64_t bytes = e->flags & SHORTER ? e->bytes / 2 : e->bytes, at = e->at + (e->flags & MOVED ? 1 : 0);
    const int zip64 = (e->flags & ZIP64) != 0;
    put(m, "PK\1\2\24\0\24\0", 8);
    put_number(m, e->flags & DESCRIPTOR ? 8 : 0, 2);
    put_number(m, e->flags & DEFLATED ? 8 : 0, 2);
    put_number(m, 0, 8);
    put_number(m, zip64 ? UINT32_MAX : bytes, 4);
    put_number(m, zip64 ? UINT32_MAX : bytes, 4);
    put_number(m, e->name_bytes, 2);
    put_number(m, zip64 ? 28 : 0, 2);
    put_number(m, 0, 8);
    put_number(m, 0, 2);
    put_number(m, zip64 ? UINT32_MAX : at, 4);
    put(m, e->name, e->name_bytes);
    if (!zip64)
        return;
    put(m, "\1\0\30\0", 4);
    put_number(m, bytes, 8);
    put_number(m, bytes, 8);
    put_number(m, at, 8);
}

static image make_archive(fuzz_input *in)
{
    entry e[ENTRIES];
    size_t n = 0;
    image m = {.cap = 2 * in->left + ENTRIES * 300 + 200};
    m.b = fuzz_alloc(m.cap);
    for (; n < ENTRIES && in->left; n++) {
        e[n].flags = fuzz_u8(in);
        e[n].name = fuzz_bytes(in, fuzz_u8(in), &e[n].name_bytes);
        e[n].data = fuzz_bytes(in, fuzz_u16(in), &e[n].bytes);
        e[n].at = n && (e[n].flags & SAME_PLACE) ? e[n - 1].at : m.n;
        if (e[n].at == m.n)
            put_local(&m, &e[n]);
    }
    const uint64_t directory = m.n;
    for (size_t i = 0; i < n; i++)
        put_central(&m, &e[i]);
    const uint64_t bytes = m.n - directory;
    put(&m, "PK\5\6\0\0\0", 8);
    put_number(&m, n, 2);
    put_number(&m, n, 2);
    put_number(&m, bytes, 4);
    put_number(&m, directory, 4);
    put_number(&m, 0, 2);
    return m;
}

static image make_legacy(const fuzz_input *in)
{
    static const char front[] =
        "\x80\2\x8a\nl\xfc\x9c\x46\xf9 j\xa8P\x19.\x80\2M\xe9\3.\x80\2}(X\20\0\0\0protocol_versionM\xe9\3"
        "X\r\0\0\0little_endian\x88X\n\0\0\0type_sizes}u.";
    image m = {.cap = sizeof front + in->left};
    m.b = fuzz_alloc(m.cap);
    put(&m, front, sizeof front - 1);
    put(&m, in->at, in->left);
    return m;
}

/* ---- properties -------------------------------------------------------------------------------------------------- */

/* Where element i, counted row by row, is in the file. */
static uint64_t place_of(const zo2_torch_file *f, const zo2_torch_tensor *t, uint64_t i)
{
    uint64_t at = t->offset;
    for (uint32_t k = t->rank; k-- > 0;) {
        at += i % t->shape[k] * t->stride[k];
        i /= t->shape[k];
    }
    return f->storage_at[t->storage] + at * t->element_bytes;
}

static void check_elements(const zo2_torch_file *f, uint64_t number, const unsigned char *b, size_t n)
{
    const zo2_torch_tensor *t = &f->state.tensors[f->order[number]];
    const uint64_t size = t->element_bytes, bytes = t->elements * size, half = t->elements / 2 * size;
    unsigned char *whole = fuzz_alloc((size_t)bytes), *parts = fuzz_alloc((size_t)bytes);
    FUZZ_CHECK(FUZZ_OK(zo2_torch_file_read(f, number, 0, bytes, whole)));
    FUZZ_CHECK(FUZZ_OK(zo2_torch_file_read(f, number, half, bytes - half, parts + half)));
    FUZZ_CHECK(FUZZ_OK(zo2_torch_file_read(f, number, 0, half, parts)));
    FUZZ_CHECK(bytes == 0 || memcmp(whole, parts, (size_t)bytes) == 0);
    for (uint64_t i = 0; i < t->elements; i++) {
        const uint64_t at = place_of(f, t, i);
        FUZZ_CHECK(at <= n && size <= n - at && memcmp(whole + i * size, b + at, (size_t)size) == 0);
    }
    free(whole);
    free(parts);
}

static void check_open(const zo2_torch_file *f, const unsigned char *b, size_t n)
{
    char text[300];
    unsigned char byte;
    const uint64_t count = zo2_torch_file_count(f);
    FUZZ_CHECK(zo2_torch_file_find(f, "\n no such tensor") == count);
    for (uint64_t i = 0; i < count; i++) {
        const zo2_stored t = zo2_torch_file_tensor(f, i);
        FUZZ_CHECK(zo2_torch_file_find(f, t.name) == i && t.rank <= ZO2_STORED_MAX_RANK && t.dtype_name[0]);
        FUZZ_CHECK(zo2_torch_file_read(f, i, t.bytes, 1, &byte) == ZO2_ERR_ARG);
        FUZZ_CHECK(zo2_torch_file_read(f, i, 0, UINT64_MAX, &byte) == ZO2_ERR_ARG);
        if (f->state.tensors[f->order[i]].elements <= MAX_ELEMENTS)
            check_elements(f, i, b, n);
    }
    for (uint64_t i = 0; i < f->state.n_opaques; i++)
        FUZZ_CHECK(zo2_torch_file_absent(f, f->state.opaques[i].name, text, sizeof text)[0]);
    FUZZ_CHECK(!zo2_torch_file_absent(f, "\n no such tensor", text, sizeof text)[0]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input in = {data, size};
    const int mode = fuzz_u8(&in);
    image m = {NULL, 0, 0};
    if (mode & ARCHIVE)
        m = make_archive(&in);
    else if (mode & LEGACY)
        m = make_legacy(&in);
    const unsigned char *b = m.b ? m.b : in.at;
    const size_t n = m.b ? m.n : in.left;
    zo2_torch_file *f;
    if (FUZZ_OK(zo2_torch_file_open(&f, fuzz_file(0, b, n))))
        check_open(f, b, n);
    else
        FUZZ_CHECK(!f);
    zo2_torch_file_close(f);
    free(m.b);
    return 0;
}
