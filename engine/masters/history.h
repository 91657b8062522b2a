/* history.h: the journal as the list of updates that a weight has to take. Replay, the update lane, folding and export
 * all go through it, which is why they agree bit for bit. Skipped steps have no update: positions in the list are
 * looked up by step. */
#ifndef ZO2_ENGINE_MASTERS_HISTORY_H
#define ZO2_ENGINE_MASTERS_HISTORY_H

#include "codec/update.h"
#include "engine/model/arch.h"
#include "storage/run/journal.h"

/* Updates of the tensors of one group, by the steps they were made in. */
typedef struct zo2_history_list {
    uint64_t n, capacity;
    uint64_t *step; /* [n], ascending */
    zo2_update *updates;
} zo2_history_list;

typedef struct zo2_history {
    const zo2_arch *arch;      /* whose tensors are frozen, or take turns; NULL: all move in every step */
    zo2_run_settings settings; /* seed and distribution of the noise, and whose turn it is when */
    uint64_t steps;            /* known steps */
    uint32_t n_lists;          /* as many as there are groups; 0: nothing is known yet */
    zo2_history_list *list;
} zo2_history;

/* An empty history of a run with these settings. arch: the run's own (engine/model/tune.h), NULL: of a whole model; outlives it. */
void zo2_history_init(zo2_history *h, const zo2_run_settings *s, const zo2_arch *arch);
void zo2_history_free(zo2_history *h); /* zeroed is fine */
/* Room for so many steps in all: pushing them then allocates nothing, unless groups take turns. ZO2_ERR_NOMEM; what is there stays.
 * Not concurrent with readers. */
zo2_status zo2_history_reserve(zo2_history *h, uint64_t steps);
/* The next step. ZO2_ERR_NOMEM. Not concurrent with readers. */
zo2_status zo2_history_push(zo2_history *h, const zo2_journal_record *r);
/* The first `steps` steps of a journal. */
zo2_status zo2_history_load(zo2_history *h, const zo2_journal *j, uint64_t steps);

/* The updates that tensors of a group, or a tensor, got in steps [from, to), from <= to <= steps: a pointer into the list (valid until
 * the next push) and their number. None for a frozen tensor. */
const zo2_update *zo2_history_group(const zo2_history *h, uint32_t group, uint64_t from, uint64_t to, uint32_t *count);
const zo2_update *zo2_history_range(const zo2_history *h, uint32_t tensor, uint64_t from, uint64_t to, uint32_t *count);

/* Where groups take turns: the step that a group's tensors are at after `to` steps, that behind its last update. Else `to`. */
uint64_t zo2_history_moved(const zo2_history *h, uint32_t group, uint64_t to);

/* w[n], elements [first, first + n) of a tensor that is at step `from`, brought to step `to`. In place. Thread-safe
 * for readers. */
void zo2_history_apply(const zo2_history *h, uint32_t tensor_id, int decays, uint64_t first, uint64_t n, uint64_t from,
                       uint64_t to, float *w);

#endif
