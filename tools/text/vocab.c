/* vocab.c: see vocab.h. */
#include "tools/text/vocab.h"
#include "tools/text/bytes.h"
#include "tools/text/ids.h"
#include "tools/text/json_file.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

static size_t slot_of(const zo2t_vocab *v, const char *text, size_t bytes)
{
    size_t at = (size_t)XXH3_64bits(text, bytes) & (v->slots - 1);
    while (v->slot[at]) {
        const zo2t_token *t = &v->token[v->slot[at] - 1];
        if (t->bytes == bytes && !memcmp(v->pool + t->at, text, bytes))
            break;
        at = (at + 1) & (v->slots - 1);
    }
    return at;
}

/* Doubles the table until n tokens leave at least half of it free. */
static zo2_status rehash(zo2t_vocab *v, size_t n)
{
    size_t slots = v->slots ? v->slots : 1024;
    while (slots / 2 < n)
        slots *= 2;
    if (slots == v->slots)
        return ZO2_OK;
    uint32_t *slot = calloc(slots, sizeof *slot);
    if (!slot)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory for %zu tokens", n);
    free(v->slot);
    v->slot = slot;
    v->slots = slots;
    for (size_t i = 0; i < v->n; i++)
        slot[slot_of(v, v->pool + v->token[i].at, v->token[i].bytes)] = (uint32_t)(i + 1);
    return ZO2_OK;
}

/* Place of the first id >= `id` in by_id. */
static size_t lower_bound(const zo2t_vocab *v, int64_t id)
{
    size_t low = 0, high = v->n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (v->token[v->by_id[middle]].id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Checks a token and stores it as the last one, everywhere but in by_id, where room is made. */
static zo2_status append(zo2t_vocab *v, const char *text, size_t bytes, int64_t id, const char *file)
{
    char q[ZO2T_QUOTE_BYTES];
    if (!bytes)
        return zo2_error(ZO2_ERR_FORMAT, "%s: a token is empty", file);
    if (id < 0 || id > INT32_MAX)
        return zo2_error(ZO2_ERR_FORMAT, "%s: token %s has id %lld, ids are 0 to 2147483647", file,
                         zo2t_quote(q, text, bytes), (long long)id);
    if (v->pool_bytes + bytes > UINT32_MAX)
        return zo2_error(ZO2_ERR_FORMAT, "%s: too many tokens", file);

    zo2_status s = rehash(v, v->n + 1);
    void *p = v->token;
    if (!s)
        s = zo2t_grow(&p, &v->capacity, v->n + 1, sizeof *v->token);
    v->token = p;
    p = v->by_id;
    if (!s)
        s = zo2t_grow(&p, &v->by_id_capacity, v->n + 1, sizeof *v->by_id);
    v->by_id = p;
    p = v->pool;
    if (!s)
        s = zo2t_grow(&p, &v->pool_capacity, v->pool_bytes + bytes, 1);
    v->pool = p;
    if (s)
        return s;

    memcpy(v->pool + v->pool_bytes, text, bytes);
    v->token[v->n] = (zo2t_token){(int32_t)id, (uint32_t)v->pool_bytes, (uint32_t)bytes};
    v->pool_bytes += bytes;
    v->slot[slot_of(v, text, bytes)] = (uint32_t)(v->n + 1);
    v->n++;
    return ZO2_OK;
}

static zo2_status same_id(const zo2t_vocab *v, uint32_t i, const char *text, size_t bytes, const char *file)
{
    char q[ZO2T_QUOTE_BYTES], q2[ZO2T_QUOTE_BYTES];
    const zo2t_token *t = &v->token[i];
    return zo2_error(ZO2_ERR_FORMAT, "%s: the tokens %s and %s both have id %d", file,
                     zo2t_quote(q, v->pool + t->at, t->bytes), zo2t_quote(q2, text, bytes), t->id);
}

zo2_status zo2t_vocab_add(zo2t_vocab *v, const char *text, size_t bytes, int64_t id, const char *file)
{
    char q[ZO2T_QUOTE_BYTES];
    int32_t known = zo2t_vocab_find(v, text, bytes);
    if (known >= 0 && known == id)
        return ZO2_OK;
    if (known >= 0)
        return zo2_error(ZO2_ERR_FORMAT, "%s: token %s has id %lld here and %d elsewhere", file,
                         zo2t_quote(q, text, bytes), (long long)id, known);
    size_t place = lower_bound(v, id);
    if (place < v->n && v->token[v->by_id[place]].id == id)
        return same_id(v, v->by_id[place], text, bytes, file);
    zo2_status s = append(v, text, bytes, id, file);
    if (s)
        return s;
    uint32_t last = (uint32_t)(v->n - 1);
    memmove(v->by_id + place + 1, v->by_id + place, (last - place) * sizeof *v->by_id);
    v->by_id[place] = last;
    return ZO2_OK;
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Fills by_id in one go: one insertion per token would take quadratic time on a file with falling ids. */
static zo2_status sort_ids(zo2t_vocab *v, const char *file)
{
    uint64_t *key = malloc((v->n ? v->n : 1) * sizeof *key);
    if (!key)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory for %zu tokens", v->n);
    for (size_t i = 0; i < v->n; i++)
        key[i] = (uint64_t)v->token[i].id << 32 | i;
    qsort(key, v->n, sizeof *key, compare);
    zo2_status s = ZO2_OK;
    for (size_t i = 0; i < v->n && !s; i++) {
        v->by_id[i] = (uint32_t)key[i];
        if (i && key[i] >> 32 == key[i - 1] >> 32) {
            const zo2t_token *t = &v->token[v->by_id[i]];
            s = same_id(v, v->by_id[i - 1], v->pool + t->at, t->bytes, file);
        }
    }
    free(key);
    return s;
}

zo2_status zo2t_vocab_from(zo2t_vocab *v, const json_t *object, const char *file)
{
    *v = (zo2t_vocab){0};
    if (!json_is_object(object))
        return zo2_error(ZO2_ERR_FORMAT, "%s: the vocabulary is not an object {\"token\": id, ...}", file);
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)object, key, value)
    {
        if (!json_is_integer(value)) {
            char q[ZO2T_QUOTE_BYTES];
            return zo2_error(ZO2_ERR_FORMAT, "%s: the id of token %s is not an integer", file,
                             zo2t_quote(q, key, strlen(key)));
        }
        zo2_status s = append(v, key, strlen(key), json_integer_value(value), file);
        if (s)
            return s;
    }
    return v->n ? sort_ids(v, file) : zo2_error(ZO2_ERR_FORMAT, "%s: no tokens", file);
}

zo2_status zo2t_vocab_load(zo2t_vocab *v, const char *json, size_t bytes)
{
    static const char name[] = "vocab.json";
    json_t *root;
    *v = (zo2t_vocab){0};
    zo2_status s = zo2t_json_object(&root, name, &(zo2t_file){json, bytes});
    if (!s)
        s = zo2t_vocab_from(v, root, name);
    json_decref(root);
    return s;
}

int32_t zo2t_vocab_find_first(const zo2t_vocab *v, size_t n, const char *text, size_t bytes)
{
    if (!v->slots)
        return -1;
    uint32_t i = v->slot[slot_of(v, text, bytes)];
    return i && i <= n ? v->token[i - 1].id : -1;
}

int32_t zo2t_vocab_find(const zo2t_vocab *v, const char *text, size_t bytes)
{
    return zo2t_vocab_find_first(v, v->n, text, bytes);
}

const char *zo2t_vocab_text(const zo2t_vocab *v, int64_t id, size_t *bytes)
{
    size_t place = lower_bound(v, id);
    if (place >= v->n)
        return NULL;
    const zo2t_token *t = &v->token[v->by_id[place]];
    if (t->id != id)
        return NULL;
    *bytes = t->bytes;
    return v->pool + t->at;
}

void zo2t_vocab_free(zo2t_vocab *v)
{
    free(v->token);
    free(v->by_id);
    free(v->slot);
    free(v->pool);
    *v = (zo2t_vocab){0};
}
