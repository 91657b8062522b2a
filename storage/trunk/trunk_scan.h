/* trunk_scan.h: what is in a trunk file. Private to storage/trunk. Files may be anybody's: every number is checked before it is
 * used. */
#ifndef ZO2_STORAGE_TRUNK_TRUNK_SCAN_H
#define ZO2_STORAGE_TRUNK_TRUNK_SCAN_H

#include "storage/trunk/trunk.h"
#include "storage/trunk/trunk_file.h"
#include "storage/trunk/trunk_format.h"
#include "storage/trunk/trunk_index.h"

/* NULL: h is the header of a file of c's run and identity; else why it isn't. */
const char *zo2_trunk_head_fault(const zo2_trunk_head *h, const zo2_trunk_config *c);

/* Goes from record to record of a file of `size` bytes, reads their headers and tells the index; f->seed is set. f->end is then
 * where the first record that isn't whole begins, or the last one ended. Errors: what couldn't be read; f->end is there. */
zo2_status zo2_trunk_scan(zo2_trunk_file *f, uint64_t size, uint32_t part, zo2_trunk_index *index);

#endif
