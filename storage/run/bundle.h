/* bundle.h: a run without its weights and losses in one file: what turns the model it was made from into the tuned one.
 * RUN.md has the format. */
#ifndef ZO2_STORAGE_RUN_BUNDLE_H
#define ZO2_STORAGE_RUN_BUNDLE_H

#include "storage/io/io.h"
#include "storage/run/journal.h"

#define ZO2_BUNDLE_VERSION 1u

typedef struct zo2_bundlefile zo2_bundlefile;

/* Writes the first `steps` steps of a journal (no more than it has) as a new file that appears complete or not at all.
 * force: an existing one is replaced. progress (may be NULL): "bundle", steps; non-zero cancels. ZO2_ERR_EXISTS,
 * ZO2_ERR_CANCELLED, ZO2_ERR_NOSPACE, ZO2_ERR_IO. */
zo2_status zo2_bundlefile_write(const zo2_io *io, const char *path, const zo2_journal *j, uint64_t steps, int force,
                                zo2_progress_fn progress, void *ud);

/* Reads and checks all of it. A bundle is whole or refused: ZO2_ERR_FORMAT says what is wrong; unlike a journal it is not
 * taken up to where it is damaged. */
zo2_status zo2_bundlefile_open(zo2_bundlefile **out, const zo2_io *io, const char *path);
void zo2_bundlefile_close(zo2_bundlefile *b); /* NULL is fine */

const zo2_run_settings *zo2_bundlefile_settings(const zo2_bundlefile *b);
uint64_t zo2_bundlefile_steps(const zo2_bundlefile *b);
uint64_t zo2_bundlefile_bytes(const zo2_bundlefile *b);
/* Step `step`, less than there are: whether it was skipped, and its coefficients, which are zero if it was. All else that a
 * journal tells of a step is zero. */
void zo2_bundlefile_at(const zo2_bundlefile *b, uint64_t step, zo2_journal_record *r);

#endif
