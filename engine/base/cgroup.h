/* cgroup.h: what control groups leave to this process: containers, jobs of a scheduler, services. Version 1 and 2, and both
 * at once; a group's limits are its own and those of all groups above it. */
#ifndef ZO2_ENGINE_BASE_CGROUP_H
#define ZO2_ENGINE_BASE_CGROUP_H

#include <stdint.h>

/* Files of the system as text: malloc'ed and ended by a NUL byte, NULL if there is no such file. */
typedef struct zo2_text_files {
    char *(*read)(void *ud, const char *path);
    void *ud;
} zo2_text_files;

/* The lowest of several limits, and where it was seen. */
typedef struct zo2_limit {
    uint64_t value;
    char from[256]; /* printable; cut in front, where paths are all alike */
} zo2_limit;

/* Takes (value, "WHERE/NAME") if it is lower. name NULL: WHERE alone. */
void zo2_limit_lower(zo2_limit *l, uint64_t value, const char *where, const char *name);

/* Lowers *l to the bytes that memory limits leave: the limit less what its group uses, without what the kernel can take back
 * at once (page cache, reclaimable slabs). Swap doesn't count: masters in it are slower than none. */
void zo2_cgroup_memory(zo2_limit *l, const zo2_text_files *files);

/* Lowers *l to the CPUs that time quotas leave, rounded up. */
void zo2_cgroup_cpus(zo2_limit *l, const zo2_text_files *files);

/* A number in decimal digits, alone on its line, behind `key` and a space at a line's beginning (key NULL: the text's first
 * line). 0 if there is none; values beyond 64 bits are UINT64_MAX. */
int zo2_text_u64(const char *text, const char *key, uint64_t *out);

#endif
