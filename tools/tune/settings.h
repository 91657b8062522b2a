/* settings.h: RUN_DIR/settings.json: what the tool, not the engine, has to remember about a run. The engine's numeric
 * settings (lr, eps, seed, wire, ...) are in the journal; here are how batches are made, and where things were. */
#ifndef ZO2_TOOLS_TUNE_SETTINGS_H
#define ZO2_TOOLS_TUNE_SETTINGS_H

#include "engine/zo2.h"

typedef struct tune_settings {
    /* fixed: a resume refuses others by name */
    uint64_t batch;
    uint32_t seq;
    int32_t bos;         /* -1: none */
    uint64_t train_hash; /* XXH3-64 of the training file */
    uint64_t ids_hash;   /* XXH3-64 of the tokens that were made of it; 0: the run is from before this was remembered */
    /* may change */
    uint64_t steps;     /* where the run is to end */
    char *snapshot_dir; /* NULL: RUN_DIR/snapshots */
    char **spill_dirs;  /* [spill_count], absolute; NULL: masters are all in RAM */
    uint32_t spill_count;
    uint64_t endurance; /* of their drives, bytes, as the user has it; 0: he has not */
    /* for people */
    char *model, *train, *eval; /* paths; eval may be NULL */
    char *
        tune; /* which tensors move, as the user wrote it: with rows=answers in it; NULL: all. The journal has what counts */
    uint64_t model_hash;
} tune_settings;

/* Reads RUN_DIR/settings.json. ZO2_ERR_NOTFOUND if there is none; ZO2_ERR_FORMAT; ZO2_ERR_IO. tune_settings_free() in
 * any case. */
zo2_status tune_settings_load(tune_settings *s, const char *run_dir);

/* Writes it atomically: under a temporary name, synced, renamed. ZO2_ERR_IO. */
zo2_status tune_settings_save(const tune_settings *s, const char *run_dir);

/* Puts a path in *to, absolute where there is such a file ("-", standard input, has no place). NULL: none. */
void tune_remember(char **to, const char *path);
/* Other directories for spilled masters. 1: they changed. */
int tune_settings_set_spill(tune_settings *s, const char *const *dirs, uint32_t n);

void tune_settings_free(tune_settings *s); /* leaves an empty one */

/* RUN_DIR/name, for the caller to free(); NULL when out of memory. */
char *tune_run_path(const char *run_dir, const char *name);

/* Writes bytes to a new file that replaces `path` atomically, synced. ZO2_ERR_IO or ZO2_ERR_NOSPACE. */
zo2_status tune_write_file(const char *path, const char *data, size_t bytes);

#endif
