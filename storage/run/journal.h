/* journal.h: the append-only log of the scalars of every step: with the pack, the state of record of a run. RUN.md has
 * the format. */
#ifndef ZO2_STORAGE_RUN_JOURNAL_H
#define ZO2_STORAGE_RUN_JOURNAL_H

#include "storage/io/io.h"
#include "storage/run/settings_list.h"

/* What fixes the bits of a run; the journal's header. */
typedef struct zo2_run_settings {
    uint64_t model_hash;
#define FIELD(field, type, ...) type field;
    ZO2_RUN_SETTINGS(FIELD) /* as zo2_engine_opts has them; total_steps is 0 with a constant schedule */
#undef FIELD
    const char *
        tune; /* the choice of tensors, as zo2_engine_opts has it; NULL: all. Lives as long as whoever has the settings */
    uint32_t noise_version;
    uint32_t tile_rule; /* version of the rule that chooses TN */
    uint32_t decay_set; /* version of the rule which tensors decay */
} zo2_run_settings;

typedef struct zo2_journal_query {
    double loss_plus, loss_minus;
    float g_raw, g_clipped;
    float c;
} zo2_journal_query;

typedef struct zo2_journal_record {
    uint64_t step;
    uint64_t tokens;
    uint64_t data_position;
    int skipped; /* a loss was not finite: no update */
    float d;
    uint32_t queries;
    zo2_journal_query query[ZO2_MAX_QUERIES];
} zo2_journal_record;

typedef struct zo2_journal zo2_journal;

/* RUN_DIR/journal.zo2j in a malloc'ed string; NULL when out of memory. */
char *zo2_journal_path(const char *run_dir);

/* Creates a journal that must not exist: header written and synced, folder synced. */
zo2_status zo2_journal_create(zo2_journal **out, const zo2_io *io, const char *path, const zo2_run_settings *s);

/* Opens an existing one and loads its valid records. A torn or corrupt LAST record is ignored (writable: cut off; its
 * length is told by zo2_journal_torn_bytes). Damage before the last record: ZO2_ERR_FORMAT naming the record and
 * offset, nothing is cut. writable = 0 works beside a writer. */
zo2_status zo2_journal_open(zo2_journal **out, const zo2_io *io, const char *path, int writable);
void zo2_journal_close(zo2_journal *j);

const zo2_run_settings *zo2_journal_settings(const zo2_journal *j);
uint64_t zo2_journal_steps(const zo2_journal *j);
const zo2_journal_record *zo2_journal_at(const zo2_journal *j,
                                         uint64_t step); /* step < steps; valid until the next append */
uint64_t zo2_journal_torn_bytes(const zo2_journal *j);
/* Chain value after `steps` records (0: the header's): binds a snapshot to the history it was taken from. */
uint64_t zo2_journal_chain(const zo2_journal *j, uint64_t steps);
/* That of a journal with these settings after 0 steps: it names the run before there is a journal. */
uint64_t zo2_journal_first_chain(const zo2_run_settings *s);

/* Memory for so many records in all: appending them then allocates nothing. ZO2_ERR_NOMEM; what is there stays. */
zo2_status zo2_journal_reserve(zo2_journal *j, uint64_t steps);

/* Appends r (r->step must equal steps, r->queries the settings') and fdatasyncs. Only after ZO2_OK may a chunk carry
 * the step's effect. ZO2_ERR_NONFINITE: d or a c of a step that isn't skipped is not finite; nothing is written and the
 * handle stays usable. A failed append is final for this handle (later ones fail too; a failed fsync is never retried);
 * what it left of the record is cut off if possible. */
zo2_status zo2_journal_append(zo2_journal *j, const zo2_journal_record *r);

/* flock on DIR/lock; *fd is closed to release it. ZO2_ERR_BUSY if another process has it. */
zo2_status zo2_run_lock(const char *dir, int *fd);

#endif
