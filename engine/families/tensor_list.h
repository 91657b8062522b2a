/* tensor_list.h: a model's tensors from a list of rows: what each is, where it stands, its shape. */
#ifndef ZO2_ENGINE_FAMILIES_TENSOR_LIST_H
#define ZO2_ENGINE_FAMILIES_TENSOR_LIST_H

#include "engine/model/arch.h"
#include <stddef.h>

typedef enum zo2_part { ZO2_PART_EMBEDDINGS, ZO2_PART_LAYER, ZO2_PART_HEAD } zo2_part;

typedef struct zo2_tensor_row {
    zo2_role role;
    zo2_part part;
    const char *name;    /* behind the prefix of its part; the head's own matrix (ZO2_ROLE_LM_HEAD) has none */
    uint64_t rows, cols; /* rows 0: a vector */
    int has;             /* 0: this model hasn't got it */
} zo2_tensor_row;

/* Fills a->tensors, n_tensors, n_blocks and parameters: of each part the rows in order, those of a layer once a layer. prefix is that
 * of names in the outer blocks ("model."); a layer's are prefix, "layers.N." and the name. Matrices decay and vectors don't;
 * vectors and positions are exempt from codecs. what: for messages. On failure nothing is allocated. */
zo2_status zo2_tensor_list_build(zo2_arch *a, const char *what, const char *prefix, const zo2_tensor_row *rows,
                                 size_t n);

#endif
