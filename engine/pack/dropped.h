/* dropped.h: packs that have of some matrices nothing but stored wires (storage/PACK.md): who can do with that. */
#ifndef ZO2_ENGINE_PACK_DROPPED_H
#define ZO2_ENGINE_PACK_DROPPED_H

#include "engine/model/arch.h"
#include "engine/model/layout.h"
#include "storage/pack/packfile.h"

/* ZO2_ERR_UNSUPPORTED if a run of this model (with its choice) and these wires needs more of a matrix than the pack has: names it, and what
 * there is of it. */
zo2_status zo2_dropped_check_run(const zo2_packfile *file, const zo2_arch *a, zo2_wires wires);

/* The same for whoever needs the source bits of all: `what` is "an export", say. */
zo2_status zo2_dropped_check_none(const zo2_packfile *file, const char *what);

#endif
