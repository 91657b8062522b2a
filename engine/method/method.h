/* method.h: what makes a step of zeroth-order optimisation this one and not another: the points at which it evaluates the
 * loss, and what it makes of the losses. The journal records the coefficients, so replay, updates, snapshots and export know
 * no method; the forward pass sees a probe plan, the step a record.
 *
 * A method is a row of zo2_method_get() and a file like spsa.c. Both functions are pure: a resumed run asks again. */
#ifndef ZO2_ENGINE_METHOD_METHOD_H
#define ZO2_ENGINE_METHOD_METHOD_H

#include "engine/method/probe.h"
#include "storage/run/journal.h"

typedef struct zo2_method {
    const char *name;
    /* The streams of a step with this many queries: at most ZO2_MAX_STREAMS, and in no step more, or more groups, or wider
     * ones, than in step 0, which memory is planned for. */
    void (*probes)(uint32_t queries, uint64_t step, zo2_probe_plan *out);
    /* From losses[plan->streams] to the record's query[r->queries]: losses as they are to be reported, projected gradients
     * and coefficients c_q = (float)(lr g_q / Q), with which W <- W - (sum over q of c_q z_q + d W); or r->skipped = 1 where
     * a loss is not finite. r->queries is set. lr: of this step. */
    void (*coefficients)(const zo2_run_settings *s, double lr, const zo2_probe_plan *plan, const double *losses,
                         zo2_journal_record *r);
} zo2_method;

extern const zo2_method zo2_method_spsa; /* spsa.c */

/* The method of a run. There is one so far, and so no setting that names it. */
const zo2_method *zo2_method_get(void);

#endif
