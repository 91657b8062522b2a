/* run_folder.h: what zo2-pack asks of a run directory that the library doesn't know. */
#ifndef ZO2_TOOLS_PACK_RUN_FOLDER_H
#define ZO2_TOOLS_PACK_RUN_FOLDER_H

#include <stdint.h>

#include "tools/cli/args.h"

/* Where zo2-tune was told to put the run's snapshots (its --snapshot, remembered in RUN_DIR/settings.json); malloc'ed.
 * NULL: nowhere in particular, that is in RUN_DIR/snapshots. */
char *pack_run_snapshots(const char *run_dir);

/* The folders that its masters were spilled to: those that are named now, else those that it was told ("spill_dirs" there). */
enum { PACK_MOST_SPILLS = 16 };
typedef struct pack_spills {
    const char *const *dirs;
    uint32_t n;
    char *remembered[PACK_MOST_SPILLS];
} pack_spills;
void pack_spills_find(pack_spills *s, const char *run_dir, const cli_list *named); /* *s stays where it is */
void pack_spills_free(pack_spills *s);

#endif
