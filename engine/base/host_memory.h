/* host_memory.h: large blocks of ordinary memory for the masters, the cpu backend's arena and staging: on huge pages
 * where the system has them, and touched before they are used, so that a step never stops for a page fault. */
#ifndef ZO2_ENGINE_BASE_HOST_MEMORY_H
#define ZO2_ENGINE_BASE_HOST_MEMORY_H

#include "engine/base/parallel.h"
#include "engine/zo2.h"

/* Reserves zeroed memory, at least 4 KiB aligned (2 MiB from that size on, for huge pages). bytes > 0. Pages are taken
 * from the system when they are touched. ZO2_ERR_NOMEM names `what`; *out is NULL then. */
zo2_status zo2_host_map(void **out, uint64_t bytes, const char *what);
void zo2_host_unmap(void *memory, uint64_t bytes); /* NULL is fine */

/* Takes the pages of [memory, memory + bytes) of a fresh zo2_host_map() now, in pieces of 8 MiB by all threads: on a
 * machine of several nodes the pages then lie spread over the nodes of the threads, as the work on them will. parallel
 * may be NULL or have no run. Contents stay. */
void zo2_host_touch(void *memory, uint64_t bytes, const zo2_parallel *parallel);

#endif
