/* share.h: a pass whose work several processes share: which part of it this one computes, and how the others' values come in
 * (zo2.h, zo2_pass_work). An engine without them computes all of it, and nothing here costs it anything. */
#ifndef ZO2_ENGINE_RUN_SHARE_H
#define ZO2_ENGINE_RUN_SHARE_H

#include "engine/method/probe.h"
#include "engine/run/session.h"

typedef struct zo2_share {
    zo2_pass_work work;
    zo2_probe_plan own; /* the streams of a step that are computed here */
    int shared;         /* 0: the work is done here alone */
    int by_token;       /* values are log-probabilities of loss tokens, not sums of rows */
} zo2_share;

/* Memory for what is exchanged. The core is made. */
zo2_status zo2_share_open(zo2_engine *e);
void zo2_share_close(zo2_engine *e);

/* Of the packed batch: what is computed here, which the core is told. probes: of a step; NULL: an evaluation. by_token: someone wants
 * to see log-probabilities. */
zo2_status zo2_share_begin(zo2_share *s, zo2_engine *e, const zo2_probe_plan *probes, int by_token);
/* After the pass. *row_nll: all streams' sums, [streams][rows], valid until the next pass; NULL: the core has all streams'
 * log-probabilities, in the order of the whole plan. An error is the callback's; nothing has changed. */
zo2_status zo2_share_exchange(zo2_share *s, zo2_engine *e, const double **row_nll);

#endif
