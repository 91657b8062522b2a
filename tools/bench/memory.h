/* memory.h: the memory of a process that is measured. */
#ifndef ZO2_TOOLS_BENCH_MEMORY_H
#define ZO2_TOOLS_BENCH_MEMORY_H

/* Since the process began, or the last reset. */
double bench_peak_resident_bytes(void);

/* What the parent had mapped before a fork doesn't count from now on. */
void bench_reset_peak(void);

#endif
