/* ids.h: a growing list of token ids. {0} is an empty one. */
#ifndef ZO2_TOOLS_TEXT_IDS_H
#define ZO2_TOOLS_TEXT_IDS_H

#include "engine/zo2.h"

typedef struct zo2t_ids {
    int32_t *id; /* [n] */
    size_t n, capacity;
} zo2t_ids;

/* Makes room for `more` ids after the n there are, which stay as they are. ZO2_ERR_NOMEM. */
zo2_status zo2t_ids_reserve(zo2t_ids *ids, size_t more);

/* Appends n ids. ZO2_ERR_NOMEM leaves the list as it was. */
zo2_status zo2t_ids_append(zo2t_ids *ids, const int32_t *id, size_t n);

/* Frees the memory and leaves an empty list. */
void zo2t_ids_free(zo2t_ids *ids);

/* Makes *array hold at least `need` elements of `size` bytes, growing by doubling; *capacity counts elements. On
 * ZO2_ERR_NOMEM the array is as it was. */
zo2_status zo2t_grow(void **array, size_t *capacity, size_t need, size_t size);

#endif
