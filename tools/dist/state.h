/* state.h: what a dist is, for the files of this folder. */
#ifndef ZO2_TOOLS_DIST_STATE_H
#define ZO2_TOOLS_DIST_STATE_H

#include "tools/dist/comm.h"
#include "tools/dist/dist.h"

struct dist {
    uint32_t rank, ranks;
    dist_split split;
    uint64_t *share;               /* [ranks], NULL: equal */
    char (*host)[DIST_HOST_BYTES]; /* [ranks] */
    int *count, *at;               /* [ranks]: scratch of a gathering */
    double *own, *all;             /* the same */
    size_t capacity;               /* of each */
    double *seconds;               /* [ranks] */
    int open;                      /* a step has been split and not exchanged yet: the others wait for it */
    int told;                      /* the last failure is known to all */
    zo2_pass_work work;            /* then: the step's */
    uint64_t *first;               /* work.first */
    size_t first_capacity;
    double began;
};

#endif
