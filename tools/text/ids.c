/* ids.c: see ids.h. */
#include "tools/text/ids.h"

#include <stdlib.h>
#include <string.h>

zo2_status zo2t_grow(void **array, size_t *capacity, size_t need, size_t size)
{
    if (need <= *capacity)
        return ZO2_OK;
    size_t n = *capacity ? *capacity : 16;
    while (n < need && n <= SIZE_MAX / 2)
        n *= 2;
    size_t bytes;
    if (n < need)
        n = need;
    if (__builtin_mul_overflow(n, size, &bytes) || bytes > PTRDIFF_MAX)
        return zo2_error(ZO2_ERR_NOMEM, "a list of %zu elements of %zu bytes is too large", need, size);
    void *p = realloc(*array, bytes);
    if (!p)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory (%zu bytes)", bytes);
    *array = p;
    *capacity = n;
    return ZO2_OK;
}

zo2_status zo2t_ids_reserve(zo2t_ids *ids, size_t more)
{
    if (more > SIZE_MAX - ids->n)
        return zo2_error(ZO2_ERR_NOMEM, "too many tokens");
    void *p = ids->id;
    zo2_status s = zo2t_grow(&p, &ids->capacity, ids->n + more, sizeof *ids->id);
    ids->id = p;
    return s;
}

zo2_status zo2t_ids_append(zo2t_ids *ids, const int32_t *id, size_t n)
{
    zo2_status s = zo2t_ids_reserve(ids, n);
    if (s)
        return s;
    if (n)
        memcpy(ids->id + ids->n, id, n * sizeof *id);
    ids->n += n;
    return ZO2_OK;
}

void zo2t_ids_free(zo2t_ids *ids)
{
    free(ids->id);
    *ids = (zo2t_ids){0};
}
