/* history.h: the journal as the list of updates that a weight has to take. Replay, the update lane, folding and export
 * all go through it, which is why they agree bit for bit. Skipped steps have no update: positions in the list are
 * looked up by step. */
#ifndef ZO2_ENGINE_MASTERS_HISTORY_H
#define ZO2_ENGINE_MASTERS_HISTORY_H

#include "codec/update.h"
#include "storage/run/journal.h"

typedef struct zo2_history {
    uint64_t seed;
    zo2_dist dist;
    uint64_t steps; /* known steps */
    uint64_t capacity;
    uint64_t *position;  /* [capacity + 1]: updates before each step */
    zo2_update *updates; /* [position[steps]] */
} zo2_history;

/* An empty history of a run with these settings. */
void zo2_history_init(zo2_history *h, const zo2_run_settings *s);
void zo2_history_free(zo2_history *h); /* zeroed is fine */
/* Room for so many steps in all: pushing them then allocates nothing. ZO2_ERR_NOMEM; what is there stays. Not concurrent
 * with readers. */
zo2_status zo2_history_reserve(zo2_history *h, uint64_t steps);
/* The next step. ZO2_ERR_NOMEM. Not concurrent with readers. */
zo2_status zo2_history_push(zo2_history *h, const zo2_journal_record *r);
/* The first `steps` steps of a journal. */
zo2_status zo2_history_load(zo2_history *h, const zo2_journal *j, uint64_t steps);

/* The updates of steps [from, to), from <= to <= steps: a pointer into the list (valid until the next push) and their
 * number. */
const zo2_update *zo2_history_range(const zo2_history *h, uint64_t from, uint64_t to, uint32_t *count);

/* w[n], elements [first, first + n) of a tensor that is at step `from`, brought to step `to`. In place. Thread-safe
 * for readers. */
void zo2_history_apply(const zo2_history *h, uint32_t tensor_id, int decays, uint64_t first, uint64_t n, uint64_t from,
                       uint64_t to, float *w);

#endif
