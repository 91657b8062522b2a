/* trunk_rows.h: the rows of each example's residual stream where the trunk ends. They depend on the example alone, so they are kept
 * (storage/trunk) and a later pass begins with them. Private to this folder, and to those who open a core. */
#ifndef ZO2_ENGINE_FORWARD_TRUNK_ROWS_H
#define ZO2_ENGINE_FORWARD_TRUNK_ROWS_H

#include "engine/stream/program.h"
#include "storage/run/journal.h"
#include "storage/trunk/trunk.h"

struct zo2_core;
struct zo2_forward_pass;
struct zo2_micro;

/* Where they are kept. All of it is needed during the call alone. */
typedef struct zo2_core_trunk {
    uint64_t bytes; /* at most; 0: nothing is kept */
    const char *const *dirs;
    uint32_t n_dirs; /* 0: in RAM */
    uint64_t run;    /* names the files */
    int writable;
    zo2_log_fn log;
    void *log_ud;
} zo2_core_trunk;

typedef struct zo2_trunk_rows {
    zo2_trunk *store;   /* NULL: nothing is kept */
    zo2_dtype type;     /* what is kept is rounded to */
    zo2_trunk_key *key; /* [rows of a batch]: by packed example */
    uint8_t *kept;      /* [micro-batches of a batch]: their rows are in host memory */
    uint8_t *bits;      /* what an entry has, where that isn't fp32 */
    /* programs of passes that need nothing of the trunk, by zo2_pass_weights, and of one that needs nothing else */
    zo2_program train, wire, exact, below;
} zo2_trunk_rows;

/* Opens what is kept, and makes the programs. The core has its layouts. config NULL, or a model without a trunk: nothing is kept. */
zo2_status zo2_trunk_rows_open(struct zo2_core *c, const zo2_core_trunk *config, const zo2_run_settings *s);
void zo2_trunk_rows_close(zo2_trunk_rows *t); /* zeroed is fine */

/* Of what is computed here of the packed batch: names its examples, and brings the rows of those that are kept to host memory. exact:
 * values of the weights that the pass computes with. Returns 1 if all are there. */
int zo2_trunk_rows_find(struct zo2_core *c, int exact);
/* Examples of the packed batch that are kept. */
uint64_t zo2_trunk_rows_count(const struct zo2_core *c);
/* After a pass over micro-batches [from, to): keeps rows that it brought to host memory. */
void zo2_trunk_rows_keep(struct zo2_core *c, uint32_t from, uint32_t to);

/* In a pass, before the first block behind the trunk: the rows of a micro-batch's one stream, h, are taken from host memory if they are
 * kept, else rounded as those that are kept would be, and brought there. */
zo2_status zo2_trunk_cross(struct zo2_forward_pass *f, const struct zo2_micro *mb, uint8_t *h);
/* Is a micro-batch's trunk not to be computed? */
int zo2_trunk_is_kept(const struct zo2_forward_pass *f, const struct zo2_micro *mb);

#endif
