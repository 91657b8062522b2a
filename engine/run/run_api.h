/* run_api.h: an open run directory, as the functions that read one share it. Private to engine/. */
#ifndef ZO2_ENGINE_RUN_RUN_API_H
#define ZO2_ENGINE_RUN_RUN_API_H

#include "engine/zo2.h"
#include "storage/run/journal.h"

struct zo2_run {
    char *dir;
    zo2_journal *journal; /* read-only */
    zo2_engine_opts opts; /* the run's settings */
};

/* Of a step's queries. Whoever makes them again from the journal gets the bits that zo2_step() gave. */
typedef struct zo2_record_means {
    double loss_plus, loss_minus, projected_grad;
} zo2_record_means;
zo2_record_means zo2_record_means_of(const zo2_journal_record *r);

/* ZO2_ERR_MISMATCH unless the run was made from the pack with this model hash (path: for the message). */
zo2_status zo2_run_check_model(const zo2_run *r, uint64_t model_hash, const char *pack_path);

#endif
