/* split.h: which part of a pass each of several processes computes: a pure function, so that each knows all parts. */
#ifndef ZO2_TOOLS_DIST_SPLIT_H
#define ZO2_TOOLS_DIST_SPLIT_H

#include <stdint.h>

#include "engine/zo2.h"

typedef enum dist_mode {
    DIST_QUERIES = 1, /* each has some of the queries, in all micro-batches */
    DIST_BATCH,       /* all queries, in some of the micro-batches */
    DIST_BOTH,        /* a grid: ranks that follow each other share queries */
} dist_mode;

#define DIST_MODES "queries|batch|both" /* their names, in this order */

typedef struct dist_split {
    dist_mode mode;
    uint32_t ranks;
    const uint64_t *share; /* [ranks]: each above 0, and their sum below 2^31; NULL: equal */
} dist_split;

/* Sets the part of a rank in w. Parts don't overlap and leave nothing out. Sizes go by shares, to the next whole number; where there are
 * fewer queries or micro-batches than ranks, some have none. */
void dist_split_part(const dist_split *s, uint32_t rank, zo2_pass_work *w);
/* Values of a part, in all its streams. */
uint64_t dist_part_values(const zo2_pass_work *w);

#endif
