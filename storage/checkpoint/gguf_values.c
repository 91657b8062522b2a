/* gguf_values.c: what a GGUF file's metadata say, by key and as a type that is asked for; see gguf_meta.h, which has checked them. */
#include "storage/checkpoint/gguf_meta.h"

#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    uint32_t bytes; /* 0: it depends */
} types[ZO2_GGUF_TYPES] = {
    {"u8", 1},     {"i8", 1},       {"u16", 2},      {"i16", 2}, {"u32", 4}, {"i32", 4}, {"f32", 4},
    {"a bool", 1}, {"a string", 0}, {"an array", 0}, {"u64", 8}, {"i64", 8}, {"f64", 8},
};

const char *zo2_gguf_type_name(uint32_t type)
{
    return type < ZO2_GGUF_TYPES ? types[type].name : "of no known type";
}

uint32_t zo2_gguf_type_bytes(uint32_t type)
{
    return type < ZO2_GGUF_TYPES ? types[type].bytes : 0;
}

const char *zo2_gguf_quote(char out[104], zo2_gguf_text t)
{
    size_t n = t.n < 100 ? t.n : 100;
    for (size_t i = 0; i < n; i++)
        out[i] = t.at[i] >= ' ' && t.at[i] <= '~' ? t.at[i] : '?';
    memcpy(out + n, t.n > n ? "..." : "", t.n > n ? 4 : 1);
    return out;
}

/* ---- by key ----------------------------------------------------------------------------------------------------------- */

int zo2_gguf_compare(zo2_gguf_text a, zo2_gguf_text b)
{
    int order = memcmp(a.at, b.at, a.n < b.n ? a.n : b.n);
    return order ? order : (a.n > b.n) - (a.n < b.n);
}

static int compare_key(const void *wanted, const void *value)
{
    return zo2_gguf_compare(*(const zo2_gguf_text *)wanted, ((const zo2_gguf_value *)value)->key);
}

const zo2_gguf_value *zo2_gguf_get(const zo2_gguf_header *h, const char *key)
{
    const zo2_gguf_text wanted = {key, strlen(key)};
    return h->n_values ? bsearch(&wanted, h->values, (size_t)h->n_values, sizeof *h->values, compare_key) : NULL;
}

/* ---- as a type -------------------------------------------------------------------------------------------------------- */

/* Where element i is, and its type; NULL if it has none of a fixed size. */
static const unsigned char *element(const zo2_gguf_value *v, uint64_t i, uint32_t *type)
{
    *type = v->type == ZO2_GGUF_ARRAY ? v->of : v->type;
    return i < v->n && zo2_gguf_type_bytes(*type) ? v->at + i * types[*type].bytes : NULL;
}

int zo2_gguf_uint(const zo2_gguf_value *v, uint64_t i, uint64_t *out)
{
    uint32_t type;
    const unsigned char *at = element(v, i, &type);
    uint64_t value = 0;
    if (!at || type == ZO2_GGUF_F32 || type == ZO2_GGUF_F64 || type == ZO2_GGUF_BOOL)
        return 0;
    memcpy(&value, at, types[type].bytes);
    const int is_signed = type == ZO2_GGUF_I8 || type == ZO2_GGUF_I16 || type == ZO2_GGUF_I32 || type == ZO2_GGUF_I64;
    if (is_signed && value >> (8 * types[type].bytes - 1))
        return 0;
    *out = value;
    return 1;
}

int zo2_gguf_number(const zo2_gguf_value *v, uint64_t i, double *out)
{
    uint32_t type;
    uint64_t whole;
    float single;
    const unsigned char *at = element(v, i, &type);
    if (at && type == ZO2_GGUF_F64) {
        memcpy(out, at, sizeof *out);
    } else if (at && type == ZO2_GGUF_F32) {
        memcpy(&single, at, sizeof single);
        *out = single;
    } else {
        if (!zo2_gguf_uint(v, i, &whole))
            return 0;
        *out = (double)whole;
    }
    return 1;
}

int zo2_gguf_string(const zo2_gguf_value *v, zo2_gguf_text *out)
{
    const unsigned char *at = v->at;
    if (v->type != ZO2_GGUF_STRING)
        return 0;
    *out = zo2_gguf_next(&at);
    return 1;
}

int zo2_gguf_is(zo2_gguf_text t, const char *text)
{
    return t.n == strlen(text) && memcmp(t.at, text, t.n) == 0;
}

zo2_gguf_text zo2_gguf_next(const unsigned char **at)
{
    uint64_t n;
    memcpy(&n, *at, sizeof n);
    const zo2_gguf_text t = {(const char *)*at + sizeof n, (size_t)n};
    *at += sizeof n + n;
    return t;
}
