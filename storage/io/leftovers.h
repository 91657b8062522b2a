/* leftovers.h: the temporary files that a crash leaves (PATH.tmp-PID of a zo2_outfile). Private to storage. */
#ifndef ZO2_STORAGE_IO_LEFTOVERS_H
#define ZO2_STORAGE_IO_LEFTOVERS_H

#include "storage/io/io.h"

/* Removes the files of dir whose names `ours` accepts and that no process is writing now (a zo2_outfile locks its
 * file). Best effort: what can't be removed stays. A missing folder is fine. */
void zo2_leftovers_remove(const zo2_io *io, const char *dir, int (*ours)(void *ud, const char *name), void *ud);

#endif
