/* export_model.h: the model that a run's tensors make, tensor by tensor and group by group: what the run added to the model's list is put
 * where it belongs. Rows of the head that move stand in it, which then is no longer the embedding; adapters are added to
 * their matrices. Private to engine/export. */
#ifndef ZO2_ENGINE_EXPORT_EXPORT_MODEL_H
#define ZO2_ENGINE_EXPORT_EXPORT_MODEL_H

#include "engine/export/export_values.h"
#include "engine/model/arch.h"

/* Memory that grows. */
typedef struct zo2_export_room {
    void *at;
    uint64_t bytes;
} zo2_export_room;

typedef struct zo2_export_model {
    zo2_export_values *v;
    const zo2_arch *arch; /* of the model that is written */
    zo2_arch untied;      /* that, where the run's rows part the head from the embedding; else zeroed */

    /* the tensor in work */
    zo2_dtype to;
    const zo2_tensor *base; /* of the run: its values but for the following */
    const zo2_tensor *rows; /* rows that stand in for its own; NULL: none */
    uint64_t next, end;     /* of v->arch.row: the first that isn't in yet, and the first that wasn't made yet */
    uint64_t moved_at;      /* the first of those made last */
    int adapted;
    uint64_t row;          /* of the group in work: its first */
    zo2_export_room moved; /* rows from moved_at to end, as they are written */
    zo2_export_room a, b;  /* its adapters: floats [rank][columns], [rows][rank] */
    zo2_export_room sum;   /* floats of the group */
    zo2_export_room bits;  /* of it, as they are written */
    zo2_export_room bad;   /* uint64_t [rows]: first element of a row that the type can't hold */
} zo2_export_model;

/* The model of v, which is open and outlives it. On failure it is to be closed too. */
zo2_status zo2_export_model_open(zo2_export_model *m, zo2_export_values *v);
void zo2_export_model_close(zo2_export_model *m); /* zeroed is fine */

/* The type that tensor `id` of m->arch has in the pack, of which it is made. */
zo2_dtype zo2_export_model_source(const zo2_export_model *m, uint32_t id);

/* Begins tensor `id` of m->arch, to be made in this type: its groups follow, from row 0 on. */
zo2_status zo2_export_model_begin(zo2_export_model *m, uint32_t id, zo2_dtype to);
/* Rows of the group that begins at a row. */
uint64_t zo2_export_model_rows(const zo2_export_model *m, uint64_t row);
/* Bits of such a group; valid until the next call. Errors as of zo2_export_values_group(). */
zo2_status zo2_export_model_group(zo2_export_model *m, uint64_t row, uint64_t rows, const void **bits);

#endif
