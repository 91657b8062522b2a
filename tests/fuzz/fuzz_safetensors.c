/* fuzz_safetensors.c: safetensors: one file, or an index and its shards.
 *
 * Input: mode; without SHARDS one file: with SEALED its JSON header, to which the length in front and as many bytes of
 * data as it speaks of are added; without, all its bytes. With SHARDS texts separated by 0x1E: the index,
 * then names and headers of the shards by turns.
 *
 * Properties: an opened model covers its data exactly, finds every tensor by name and reads the bytes at its place; an entry of
 * the index that is in none of the files is explained; written again, in one file and in shards, it is the same model. */
#include "storage/checkpoint/safetensors.h"
#include "storage/checkpoint/safetensors_internal.h"
#include "tests/fuzz/fuzzing.h"

#include <jansson.h>
#include <unistd.h>

enum { SEALED = 1, SHARDS = 2 };

#define MAX_DATA ((size_t)1 << 14)

/* Bytes of data that a header speaks of: the largest number behind a comma that is small enough. Only a guess that is
 * right for well-formed headers; a wrong one is an input like any other. */
static size_t guess_data(const char *text, size_t n)
{
    size_t largest = 0;
    for (size_t i = 0; i + 14 < n; i++) {
        if (memcmp(text + i, "\"data_offsets\"", 14) != 0)
            continue;
        size_t at = i + 14, value = 0;
        while (at < n && text[at] != ',' && text[at] != '}')
            at++;
        for (at++; at < n && value <= MAX_DATA && (text[at] == ' ' || (text[at] >= '0' && text[at] <= '9')); at++)
            value = text[at] == ' ' ? value : value * 10 + (size_t)(text[at] - '0');
        if (value <= MAX_DATA && value > largest)
            largest = value;
    }
    return largest;
}

static uint8_t pattern(size_t i)
{
    return (uint8_t)(i * 7 + (i >> 8));
}

/* Length, header, data; malloc'ed. */
static unsigned char *make_file(const char *header, size_t n, size_t *size)
{
    const size_t data = guess_data(header, n);
    const uint64_t length = n;
    unsigned char *b = fuzz_alloc(8 + n + data);
    memcpy(b, &length, 8);
    if (n)
        memcpy(b + 8, header, n);
    for (size_t i = 0; i < data; i++)
        b[8 + n + i] = pattern(i);
    *size = 8 + n + data;
    return b;
}

/* ---- properties -------------------------------------------------------------------------------------------------- */

static void check_tensor(const zo2_safetensors *s, const zo2_st_tensor *t)
{
    const zo2_st_tensor *found = zo2_safetensors_find(s, t->name); /* the first of its name */
    FUZZ_CHECK(found && found <= t && strcmp(found->name, t->name) == 0 && (found == t || found->file < t->file));
    FUZZ_CHECK(t->rank <= ZO2_ST_MAX_RANK);
    uint64_t elements = 1;
    for (uint32_t i = 0; i < t->rank; i++)
        elements *= t->shape[i];
    FUZZ_CHECK(elements == t->elements);
    unsigned char *whole = fuzz_alloc((size_t)t->bytes), last;
    FUZZ_CHECK(FUZZ_OK(zo2_safetensors_read(s, t, 0, t->bytes, whole)));
    FUZZ_CHECK(!t->bytes ||
               (FUZZ_OK(zo2_safetensors_read(s, t, t->bytes - 1, 1, &last)) && last == whole[t->bytes - 1]));
    FUZZ_CHECK(zo2_safetensors_read(s, t, t->bytes, 1, &last) == ZO2_ERR_ARG);
    FUZZ_CHECK(zo2_safetensors_read(s, t, 1, UINT64_MAX, &last) == ZO2_ERR_ARG);
    free(whole);
}

static void check_same(const zo2_safetensors *a, const zo2_safetensors *b)
{
    FUZZ_CHECK(zo2_safetensors_count(a) == zo2_safetensors_count(b));
    for (uint64_t i = 0; i < zo2_safetensors_count(a); i++) {
        const zo2_st_tensor *x = zo2_safetensors_at(a, i), *y = zo2_safetensors_find(b, x->name);
        FUZZ_CHECK(y && strcmp(x->dtype_name, y->dtype_name) == 0 && x->rank == y->rank && x->bytes == y->bytes);
        FUZZ_CHECK(memcmp(x->shape, y->shape, x->rank * sizeof *x->shape) == 0);
        unsigned char *p = fuzz_alloc((size_t)x->bytes), *q = fuzz_alloc((size_t)x->bytes);
        FUZZ_CHECK(FUZZ_OK(zo2_safetensors_read(a, x, 0, x->bytes, p)));
        FUZZ_CHECK(FUZZ_OK(zo2_safetensors_read(b, y, 0, y->bytes, q)));
        FUZZ_CHECK(memcmp(p, q, (size_t)x->bytes) == 0);
        free(p);
        free(q);
    }
}

static void check_rewritten(const zo2_safetensors *s, uint64_t split)
{
    const uint64_t n = zo2_safetensors_count(s);
    zo2_st_tensor *tensors = fuzz_alloc((size_t)n * sizeof *tensors);
    for (uint64_t i = 0; i < n; i++)
        tensors[i] = *zo2_safetensors_at(s, i);
    fuzz_dir_clear();
    zo2_st_writer *w;
    FUZZ_CHECK(FUZZ_OK(zo2_st_writer_open(&w, &fuzz_io, fuzz_dir(), tensors, n, split)));
    for (uint64_t i = 0; i < n; i++) {
        unsigned char *bits = fuzz_alloc((size_t)tensors[i].bytes);
        FUZZ_CHECK(FUZZ_OK(zo2_safetensors_read(s, &tensors[i], 0, tensors[i].bytes, bits)));
        FUZZ_CHECK(FUZZ_OK(zo2_st_writer_append(w, bits, tensors[i].bytes)));
        free(bits);
    }
    FUZZ_CHECK(FUZZ_OK(zo2_st_writer_commit(w)));
    zo2_st_writer_close(w);
    zo2_safetensors *again;
    FUZZ_CHECK(FUZZ_OK(zo2_safetensors_open(&again, fuzz_dir())));
    check_same(s, again);
    zo2_safetensors_close(again);
    free(tensors);
}

/* A name that is in two files and types that came later can't be written. */
static int can_be_written(const zo2_safetensors *s)
{
    int can = 1;
    for (uint64_t i = 0; i < zo2_safetensors_count(s); i++) {
        const zo2_st_tensor *t = zo2_safetensors_at(s, i);
        can &= zo2_safetensors_find(s, t->name) == t && zo2_st_dtype_find(t->dtype_name);
    }
    return can;
}

static void check_open(const zo2_safetensors *s)
{
    const uint64_t n = zo2_safetensors_count(s);
    FUZZ_CHECK(!zo2_safetensors_at(s, n) && !zo2_safetensors_find(s, "\n no such tensor"));
    for (uint64_t i = 0; i < n; i++)
        check_tensor(s, zo2_safetensors_at(s, i));
    if (n > 64 || !can_be_written(s))
        return; /* enough of them are smaller */
    check_rewritten(s, 0);
    check_rewritten(s, 5);
}

static void one_file(fuzz_input *in, int mode)
{
    size_t n = in->left;
    unsigned char *b = NULL;
    if (mode & SEALED)
        b = make_file((const char *)in->at, n, &n);
    zo2_safetensors *s;
    if (FUZZ_OK(zo2_safetensors_open(&s, fuzz_file(0, b ? b : in->at, n)))) {
        uint64_t bytes = 0, header;
        for (uint64_t i = 0; i < zo2_safetensors_count(s); i++)
            bytes += zo2_safetensors_at(s, i)->bytes;
        memcpy(&header, b ? b : in->at, sizeof header);
        FUZZ_CHECK(sizeof header + header + bytes == n); /* nothing is left over */
        check_open(s);
    } else {
        FUZZ_CHECK(!s);
    }
    zo2_safetensors_close(s);
    free(b);
}

/* A name that stays in the folder. */
static void plain_name(char name[80], const char *text, size_t n)
{
    size_t k = 0;
    for (size_t i = 0; i < n && k < 60; i++)
        if (text[i] > ' ' && text[i] != '/' && text[i] != 0x7F)
            name[k++] = text[i];
    name[k] = '\0';
    if (k == 0 || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        strcpy(name, "x.safetensors");
}

static void on_oddity(void *ud, const char *text)
{
    FUZZ_CHECK(text[0]);
    ++*(int *)ud;
}

/* Every tensor of the index is there, or it is said why not. */
static void check_index(const zo2_safetensors *s, const char *text, size_t n)
{
    json_t *index = json_loadb(text, n, 0, NULL), *file;
    const char *name;
    char why[300];
    int oddities = 0;
    json_object_foreach(json_object_get(index, "weight_map"), name, file)
        FUZZ_CHECK(zo2_safetensors_find(s, name) || zo2_safetensors_absent(s, name, why, sizeof why)[0]);
    zo2_safetensors_absent(s, "\n no such tensor", why, sizeof why);
    zo2_safetensors_oddities(s, on_oddity, &oddities);
    FUZZ_CHECK(oddities <= 2);
    json_decref(index);
}

static void shards(fuzz_input *in)
{
    size_t n, file_bytes, index_bytes;
    int single = 0;
    fuzz_dir_clear();
    const char *index = fuzz_text(in, &index_bytes);
    if (index_bytes) /* without index: every *.safetensors of the folder */
        free(fuzz_dir_file("model.safetensors.index.json", index, index_bytes));
    for (int i = 0; i < 8 && in->left; i++) {
        char name[80];
        const char *text = fuzz_text(in, &n);
        plain_name(name, text, n);
        if (strcmp(name, "model.safetensors.index.json") == 0)
            continue;
        single |= strcmp(name, "model.safetensors") == 0; /* it goes before an index */
        text = fuzz_text(in, &n);
        unsigned char *b = make_file(text, n, &file_bytes);
        free(fuzz_dir_file(name, b, file_bytes));
        free(b);
    }
    zo2_safetensors *s;
    if (FUZZ_OK(zo2_safetensors_open(&s, fuzz_dir()))) {
        if (index_bytes && !single)
            check_index(s, index, index_bytes);
        check_open(s); /* the files are open: the folder may be used again */
    } else {
        FUZZ_CHECK(!s);
    }
    zo2_safetensors_close(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input in = {data, size};
    const int mode = fuzz_u8(&in);
    if (mode & SHARDS)
        shards(&in);
    else
        one_file(&in, mode);
    return 0;
}
