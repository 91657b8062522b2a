/* run_folder.h: what zo2-pack asks of a run directory that the library doesn't know. */
#ifndef ZO2_TOOLS_PACK_RUN_FOLDER_H
#define ZO2_TOOLS_PACK_RUN_FOLDER_H

#include <stdint.h>

/* Where zo2-tune was told to put the run's snapshots (its --snapshot, remembered in RUN_DIR/settings.json); malloc'ed.
 * NULL: nowhere in particular, that is in RUN_DIR/snapshots. */
char *pack_run_snapshots(const char *run_dir);

/* Where it was told to spill masters to ("spill_dirs" there): how many folders; each is malloc'ed. */
enum { PACK_MOST_SPILLS = 16 };
uint32_t pack_run_spills(const char *run_dir, char *dirs[PACK_MOST_SPILLS]);

#endif
