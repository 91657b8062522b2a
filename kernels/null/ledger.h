/* ledger.h: who last wrote and read each byte of the arena, and what is ordered before what: a race detector for
 * lanes.
 *
 * Each lane counts its operations. A lane knows how far the others are surely done (a vector clock): waiting for an event
 * raises that to what the event's lane had done, and seen, when it was recorded; a drain raises all to now. An access
 * is allowed if every conflicting one before it (a write, or a read that it overwrites) is on the same lane or within
 * what the lane has seen, and if bytes that are read were written before. Not thread-safe. */
#ifndef ZO2_KERNELS_NULL_LEDGER_H
#define ZO2_KERNELS_NULL_LEDGER_H

#include "kernels/backend.h"

typedef struct zo2_ledger_segment {
    uint64_t begin, end;
    uint64_t write;                /* stamp of the last write, 0: none */
    uint64_t read[ZO2_LANE_COUNT]; /* stamps of the last read since, by lane */
    uint8_t write_lane;
    uint8_t uploaded; /* the last write was a transfer from the host */
} zo2_ledger_segment;

typedef struct zo2_ledger_clock {
    uint64_t done[ZO2_LANE_COUNT]; /* operations of each lane */
} zo2_ledger_clock;

typedef struct zo2_ledger {
    zo2_ledger_segment *segment; /* ascending, without gaps over [0, bytes) */
    uint64_t n, room;
    zo2_ledger_clock lane[ZO2_LANE_COUNT]; /* lane[l].done[l]: its own count; the others: what it has seen */
} zo2_ledger;

zo2_status zo2_ledger_open(zo2_ledger *g, uint64_t bytes);
void zo2_ledger_close(zo2_ledger *g);

/* The next operation of the lane; its accesses follow. */
void zo2_ledger_tick(zo2_ledger *g, zo2_lane lane);
zo2_ledger_clock zo2_ledger_record(const zo2_ledger *g, zo2_lane lane);
void zo2_ledger_wait(zo2_ledger *g, zo2_lane lane, const zo2_ledger_clock *event);
void zo2_ledger_drain(zo2_ledger *g);

/* NULL if the lane's next operation may read (write) all of [begin, end), else what is wrong. uploaded: it must come
 * from the host. */
const char *zo2_ledger_may_read(const zo2_ledger *g, zo2_lane lane, uint64_t begin, uint64_t end, int uploaded);
const char *zo2_ledger_may_write(const zo2_ledger *g, zo2_lane lane, uint64_t begin, uint64_t end);

/* Notes an access of the lane's current operation. ZO2_ERR_NOMEM: the ledger could not grow and is unchanged. */
zo2_status zo2_ledger_read(zo2_ledger *g, zo2_lane lane, uint64_t begin, uint64_t end);
zo2_status zo2_ledger_write(zo2_ledger *g, zo2_lane lane, uint64_t begin, uint64_t end, int uploaded);

#endif
