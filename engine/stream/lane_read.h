/* lane_read.h: what the read lane keeps from pass to pass: its queue, its transfers under way, and what it holds for which pc. Private
 * to this folder. */
#ifndef ZO2_ENGINE_STREAM_LANE_READ_H
#define ZO2_ENGINE_STREAM_LANE_READ_H

#include "engine/masters/spill_home.h"
#include "engine/stream/lanes.h"
#include "engine/stream/pipeline.h"

/* most: chunks of the longest program. ZO2_ERR_NOMEM, or what zo2_aio_open() says. */
zo2_status zo2_reader_create(zo2_reader **out, zo2_spill_home *home, uint32_t most);
void zo2_reader_destroy(zo2_reader *r); /* NULL is fine; its lane has ended */

/* Between passes, on the lane's thread: reads what the next one will need first, if it is like the last one, until one begins. */
void zo2_read_ahead(zo2_pipeline *p, uint64_t seen);

#endif
