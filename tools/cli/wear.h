/* wear.h: what a run that spills writes to its drives altogether, beside what they are rated for. */
#ifndef ZO2_TOOLS_CLI_WEAR_H
#define ZO2_TOOLS_CLI_WEAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/zo2.h"

typedef struct cli_wear {
    uint64_t steps;   /* of the whole run */
    uint64_t written; /* bytes in all of them */
    uint64_t rated;   /* bytes that the drives endure; 0: nobody knows */
    bool assumed;     /* by their capacity: 600 TB written for each TB of it */
} cli_wear;

/* endurance: of all drives together, as the user has it; 0: an assumption from the capacity of the directories' file systems,
 * each counted once. */
cli_wear cli_wear_of(const zo2_plan *plan, const zo2_engine_opts *o, uint64_t steps, uint64_t endurance);

static inline bool cli_wear_too_much(const cli_wear *w)
{
    return w->rated && w->written > w->rated;
}

/* What to say of that: a line without its end. Returns out. */
const char *cli_wear_text(char *out, size_t size, const cli_wear *w);

#endif
