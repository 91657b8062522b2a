/* facts.h: what all processes of a run must have in common, as lines "name TAB value": settings, hashes, versions. */
#ifndef ZO2_TOOLS_DIST_FACTS_H
#define ZO2_TOOLS_DIST_FACTS_H

#include <stdint.h>
#include <stdio.h>

/* Into a stream. A real number is written with all of its bits. */
void dist_fact_text(FILE *out, const char *name, const char *value); /* NULL: unset */
void dist_fact_u64(FILE *out, const char *name, uint64_t value);
void dist_fact_hash(FILE *out, const char *name, uint64_t value);
void dist_fact_f64(FILE *out, const char *name, double value); /* NAN: unset */

/* The first line in which a and b differ: its name and both values, each cut to what fits. 0: none. */
typedef struct dist_difference {
    char name[40], a[80], b[80];
} dist_difference;
int dist_facts_differ(dist_difference *out, const char *a, const char *b);

#endif
