/* lane_write.h: the write lane: a thread that writes chunks which an update has changed, in whatever order they were let go of.
 * It belongs to no pass: what one leaves is written beside the next. Private to this folder. */
#ifndef ZO2_ENGINE_STREAM_LANE_WRITE_H
#define ZO2_ENGINE_STREAM_LANE_WRITE_H

#include "engine/masters/spill_home.h"
#include "engine/stream/lanes.h"
#include "engine/stream/pipeline.h"

/* Starts it. ZO2_ERR_NOMEM, or what zo2_aio_open() says. */
zo2_status zo2_write_lane_start(zo2_writer **out, zo2_pipeline *p, zo2_spill_home *home);
/* Writes and commits what is left, unless it stopped after an error, and ends. NULL is fine. */
void zo2_write_lane_end(zo2_writer *w);

#endif
