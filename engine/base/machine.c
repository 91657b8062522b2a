/* machine.c: see machine.h. */
#include "engine/base/machine.h"
#include "engine/base/checked.h"
#include "engine/base/opts.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define MOST_TEXT ((size_t)16 << 20) /* mountinfo of a machine full of containers has megabytes */

/* ---- files ------------------------------------------------------------------------------------------------------- */

static char *read_file(void *ud, const char *path)
{
    (void)ud;
    size_t have = 0, room = 4096;
    FILE *f = fopen(path, "re");
    char *text = f ? malloc(room) : NULL;
    while (text) { /* files of the kernel don't know their size */
        have += fread(text + have, 1, room - have - 1, f);
        if (have < room - 1 || room >= MOST_TEXT)
            break;
        char *more = realloc(text, room *= 2);
        if (!more)
            free(text);
        text = more;
    }
    if (text)
        text[have] = '\0';
    if (f)
        fclose(f);
    return text;
}

zo2_text_files zo2_machine_files(void)
{
    return (zo2_text_files){.read = read_file};
}

/* ---- memory ------------------------------------------------------------------------------------------------------ */

/* Number i of /proc/self/statm, in bytes: 0 is the address space, 5 data and stack. */
static uint64_t statm(const zo2_text_files *files, int i)
{
    uint64_t pages = 0;
    char *text = files->read(files->ud, "/proc/self/statm"), *save = NULL;
    char *field = text ? strtok_r(text, " ", &save) : NULL;
    for (; field && i > 0; i--)
        field = strtok_r(NULL, " ", &save);
    if (field)
        zo2_text_u64(field, NULL, &pages);
    free(text);
    return zo2_mul_u64(pages, (uint64_t)sysconf(_SC_PAGESIZE), &pages) ? pages : 0;
}

static void resource_limit(zo2_limit *l, int resource, uint64_t used, const char *name)
{
    struct rlimit limit;
    if (!getrlimit(resource, &limit) && limit.rlim_cur != RLIM_INFINITY)
        zo2_limit_lower(l, limit.rlim_cur > used ? limit.rlim_cur - used : 0, name, NULL);
}

void zo2_machine_memory(zo2_limit *out, const zo2_text_files *files)
{
    uint64_t kib, bytes;
    *out = (zo2_limit){.value = UINT64_MAX};
    char *text = files->read(files->ud, "/proc/meminfo");
    if (text && zo2_text_u64(text, "MemAvailable:", &kib) && zo2_mul_u64(kib, 1024, &bytes))
        zo2_limit_lower(out, bytes, "/proc/meminfo (MemAvailable)", NULL);
    free(text);
    zo2_cgroup_memory(out, files);
    resource_limit(out, RLIMIT_AS, statm(files, 0), "RLIMIT_AS (ulimit -v)");
    resource_limit(out, RLIMIT_DATA, statm(files, 5), "RLIMIT_DATA (ulimit -d)");
}

/* ---- CPUs -------------------------------------------------------------------------------------------------------- */

void zo2_machine_cpus(zo2_limit *out, const zo2_text_files *files)
{
    cpu_set_t set;
    *out = (zo2_limit){.value = UINT64_MAX};
    if (!sched_getaffinity(0, sizeof set, &set) && CPU_COUNT(&set) > 0)
        zo2_limit_lower(out, (uint64_t)CPU_COUNT(&set), "affinity", NULL);
    else /* more CPUs than a set has places */
        zo2_limit_lower(out, sysconf(_SC_NPROCESSORS_ONLN) > 0 ? (uint64_t)sysconf(_SC_NPROCESSORS_ONLN) : 1,
                        "CPUs online", NULL);
    zo2_cgroup_cpus(out, files);
}

uint32_t zo2_usable_cpus(void)
{
    zo2_limit l;
    zo2_text_files files = zo2_machine_files();
    zo2_machine_cpus(&l, &files);
    return (uint32_t)l.value;
}

/* ---- the interface ----------------------------------------------------------------------------------------------- */

/* 90 % of it; an engine has no budget where nobody knows, but no memory is a budget. */
static uint64_t budget_of(uint64_t available)
{
    uint64_t budget = available / 10 * 9;
    return available == UINT64_MAX ? 0 : budget ? budget : 1;
}

uint64_t zo2_host_budget_bytes(void)
{
    zo2_limit l;
    zo2_text_files files = zo2_machine_files();
    zo2_machine_memory(&l, &files);
    return budget_of(l.value);
}

void zo2_machine_get_sized(zo2_machine *out, size_t size)
{
    zo2_machine own = {.struct_size = sizeof own};
    zo2_limit memory, cpus;
    zo2_text_files files = zo2_machine_files();
    zo2_machine_memory(&memory, &files);
    zo2_machine_cpus(&cpus, &files);
    own.host_budget_bytes = budget_of(memory.value);
    own.cpus = (uint32_t)cpus.value;
    memcpy(own.host_limit, memory.from, sizeof own.host_limit);
    memcpy(own.cpu_limit, cpus.from, sizeof own.cpu_limit);
    zo2_opts_give(out, size, &own, sizeof own);
}
