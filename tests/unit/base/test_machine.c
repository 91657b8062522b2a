/* test_machine.c: what a process may use: memory limits and CPU quotas of control groups as containers, schedulers and
 * services set them, from files that are made up; and the limits of this process. */
#include "engine/base/machine.h"

#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define GIB (UINT64_C(1) << 30)

/* A system: paths and their texts, ended by NULLs. */
typedef struct text_file {
    const char *path, *text;
} text_file;

static char *read_text(void *ud, const char *path)
{
    for (const text_file *f = ud; f->path; f++)
        if (!strcmp(f->path, path))
            return strdup(f->text);
    return NULL;
}

#define SYSTEM(...)                            \
    (zo2_text_files)                           \
    {                                          \
        .read = read_text, .ud = (text_file[]) \
        {                                      \
            __VA_ARGS__,                       \
            {                                  \
                NULL, NULL                     \
            }                                  \
        }                                      \
    }

#define V2_MOUNT "31 23 0:27 / /sys/fs/cgroup rw,nosuid shared:9 master:4 - cgroup2 cgroup2 rw,nsdelegate\n"

static void memory_is(zo2_text_files files, uint64_t bytes, const char *from)
{
    zo2_limit l = {.value = UINT64_MAX};
    zo2_cgroup_memory(&l, &files);
    assert_int_equal(l.value, bytes);
    assert_string_equal(l.from, from);
}

static void cpus_are(zo2_text_files files, uint64_t cpus, const char *from)
{
    zo2_limit l = {.value = 1000};
    zo2_cgroup_cpus(&l, &files);
    assert_int_equal(l.value, cpus);
    assert_string_equal(l.from, from);
}

/* ---- version 2 ---- */

static void the_lowest_of_all_ancestors_counts(void **state)
{
    (void)state;
    zo2_text_files files = SYSTEM(
        {"/proc/self/cgroup", "0::/jobs/a/b\n"}, {"/proc/self/mountinfo", V2_MOUNT},
        {"/sys/fs/cgroup/jobs/a/b/memory.max", "max\n"}, {"/sys/fs/cgroup/jobs/a/memory.max", "8589934592\n"},
        {"/sys/fs/cgroup/jobs/a/memory.current", "1073741824\n"}, {"/sys/fs/cgroup/jobs/memory.max", "17179869184\n"},
        {"/sys/fs/cgroup/jobs/memory.current", "12884901888\n"}, {"/sys/fs/cgroup/jobs/a/b/cpu.max", "max 100000\n"},
        {"/sys/fs/cgroup/jobs/a/cpu.max", "800000 100000\n"}, {"/sys/fs/cgroup/jobs/cpu.max", "250000 100000\n"});
    memory_is(files, 4 * GIB, "/sys/fs/cgroup/jobs/memory.max"); /* 16 - 12 of others; a would leave 8 - 1 */
    cpus_are(files, 3, "/sys/fs/cgroup/jobs/cpu.max");           /* 2.5 */
}

static void what_the_kernel_can_take_back_is_left(void **state)
{
    (void)state;
    memory_is(SYSTEM({"/proc/self/cgroup", "0::/\n"}, {"/proc/self/mountinfo", V2_MOUNT},
                     {"/sys/fs/cgroup/memory.max", "4294967296\n"}, {"/sys/fs/cgroup/memory.current", "3221225472\n"},
                     {"/sys/fs/cgroup/memory.stat", "anon 1073741824\nfile 2147483648\ninactive_file 1073741824\n"
                                                    "active_file 536870912\nslab_reclaimable 536870912\n"}),
              3 * GIB, "/sys/fs/cgroup/memory.max");
    /* more than is used: a snapshot of two files isn't one of one moment */
    memory_is(SYSTEM({"/proc/self/cgroup", "0::/\n"}, {"/proc/self/mountinfo", V2_MOUNT},
                     {"/sys/fs/cgroup/memory.max", "4294967296\n"}, {"/sys/fs/cgroup/memory.current", "1024\n"},
                     {"/sys/fs/cgroup/memory.stat", "inactive_file 4096\nactive_file 18446744073709551615\n"}),
              4 * GIB, "/sys/fs/cgroup/memory.max");
}

static void high_is_a_limit_too(void **state)
{
    (void)state;
    memory_is(SYSTEM({"/proc/self/cgroup", "0::/x\n"}, {"/proc/self/mountinfo", V2_MOUNT},
                     {"/sys/fs/cgroup/x/memory.max", "4294967296\n"}, {"/sys/fs/cgroup/x/memory.high", "3221225472\n"},
                     {"/sys/fs/cgroup/x/memory.current", "0\n"}),
              3 * GIB, "/sys/fs/cgroup/x/memory.high");
}

static void a_used_up_limit_leaves_nothing(void **state)
{
    (void)state;
    memory_is(SYSTEM({"/proc/self/cgroup", "0::/x\n"}, {"/proc/self/mountinfo", V2_MOUNT},
                     {"/sys/fs/cgroup/x/memory.max", "4096\n"}, {"/sys/fs/cgroup/x/memory.current", "8192\n"}),
              0, "/sys/fs/cgroup/x/memory.max");
}

/* ---- version 1, and both ---- */

#define V1_MOUNTS                                                                          \
    "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:10 - cgroup cgroup rw,memory\n" \
    "36 31 0:33 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n" \
    "37 31 0:34 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset\n"
#define V1_GROUPS "9:name=systemd:/u\n5:cpuset:/\n4:memory:/u/job\n2:cpu,cpuacct:/u/job\n0::/u\n"

static void version_1(void **state)
{
    (void)state;
    zo2_text_files files =
        SYSTEM({"/proc/self/cgroup", V1_GROUPS}, {"/proc/self/mountinfo", V1_MOUNTS},
               {"/sys/fs/cgroup/memory/u/job/memory.limit_in_bytes", "9223372036854771712\n"},
               {"/sys/fs/cgroup/memory/u/memory.limit_in_bytes", "6442450944\n"},
               {"/sys/fs/cgroup/memory/u/memory.usage_in_bytes", "3221225472\n"},
               {"/sys/fs/cgroup/memory/u/memory.stat", "inactive_file 1\ntotal_inactive_file 1073741824\n"
                                                       "hierarchical_memory_limit 9223372036854771712\n"},
               {"/sys/fs/cgroup/cpu,cpuacct/u/job/cpu.cfs_quota_us", "-1\n"},
               {"/sys/fs/cgroup/cpu,cpuacct/u/job/cpu.cfs_period_us", "100000\n"},
               {"/sys/fs/cgroup/cpu,cpuacct/u/cpu.cfs_quota_us", "50000\n"},
               {"/sys/fs/cgroup/cpu,cpuacct/u/cpu.cfs_period_us", "100000\n"});
    memory_is(files, 4 * GIB, "/sys/fs/cgroup/memory/u/memory.limit_in_bytes");
    cpus_are(files, 1, "/sys/fs/cgroup/cpu,cpuacct/u/cpu.cfs_quota_us");
}

/* A container sees its group only, which has no limit of its own; its pod's shows in memory.stat. */
static void a_limit_above_what_is_mounted(void **state)
{
    (void)state;
    memory_is(SYSTEM({"/proc/self/cgroup", "4:memory:/kubepods/pod1/c1\n"},
                     {"/proc/self/mountinfo",
                      "35 31 0:32 /kubepods/pod1/c1 /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n"},
                     {"/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"},
                     {"/sys/fs/cgroup/memory/memory.usage_in_bytes", "1073741824\n"},
                     {"/sys/fs/cgroup/memory/memory.stat", "cache 0\nhierarchical_memory_limit 2147483648\n"}),
              GIB, "/sys/fs/cgroup/memory/memory.stat (hierarchical_memory_limit)");
}

static void both_versions_at_once(void **state)
{
    (void)state;
    zo2_text_files files =
        SYSTEM({"/proc/self/cgroup", "4:memory:/a\n0::/b\n"},
               {"/proc/self/mountinfo", "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
                                        "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"},
               {"/sys/fs/cgroup/memory/a/memory.limit_in_bytes", "2147483648\n"},
               {"/sys/fs/cgroup/unified/b/memory.max", "1073741824\n"}, /* not really there, but it would count */
               {"/sys/fs/cgroup/unified/b/cpu.max", "150000 100000\n"});
    memory_is(files, GIB, "/sys/fs/cgroup/unified/b/memory.max");
    cpus_are(files, 2, "/sys/fs/cgroup/unified/b/cpu.max");
}

/* ---- where groups and mounts don't fit ---- */

static void namespaces(void **state)
{
    (void)state;
    static const char *const groups[] = {"0::/\n", "0::/../other\n", "0::/..\n", "0::/gone (deleted)\n"};
    for (size_t i = 0; i < sizeof groups / sizeof groups[0]; i++)
        memory_is(SYSTEM({"/proc/self/cgroup", groups[i]}, {"/proc/self/mountinfo", V2_MOUNT},
                         {"/sys/fs/cgroup/memory.max", "1073741824\n"}),
                  GIB, "/sys/fs/cgroup/memory.max");
    /* a container that was given the host's namespace: its own group is at the mount's top */
    memory_is(SYSTEM({"/proc/self/cgroup", "0::/docker/abc/inner\n"},
                     {"/proc/self/mountinfo", "31 23 0:27 /docker/abc /sys/fs/cgroup rw - cgroup2 cgroup rw\n"},
                     {"/sys/fs/cgroup/inner/memory.max", "2147483648\n"},
                     {"/sys/fs/cgroup/memory.max", "1073741824\n"}),
              GIB, "/sys/fs/cgroup/memory.max");
    /* a host that shows a container's mount, of another group whose name begins alike */
    memory_is(SYSTEM({"/proc/self/cgroup", "0::/docker/abcd\n"},
                     {"/proc/self/mountinfo", V2_MOUNT "99 23 0:27 /docker/abc /var/lib/x rw - cgroup2 cgroup rw\n"},
                     {"/var/lib/x/memory.max", "4096\n"}, {"/sys/fs/cgroup/docker/abcd/memory.max", "1073741824\n"}),
              GIB, "/sys/fs/cgroup/docker/abcd/memory.max");
}

static void names_of_all_kinds(void **state)
{
    (void)state;
    memory_is(SYSTEM({"/proc/self/cgroup", "0::/a b:c\n"},
                     {"/proc/self/mountinfo", "31 23 0:27 / /mnt/my\\040groups rw - cgroup2 x rw\n"},
                     {"/mnt/my groups/a b:c/memory.max", "1073741824\n"}),
              GIB, "/mnt/my groups/a b:c/memory.max");
    char group[700], path[800], from[256];
    memset(group, 'x', sizeof group);
    memcpy(group, "0::/\x1b[31m", 9);
    memcpy(group + sizeof group - 2, "\n", 2);
    snprintf(path, sizeof path, "/sys/fs/cgroup%.*s/memory.max", (int)strlen(group) - 4, group + 3);
    snprintf(from, sizeof from, "%s", path + strlen(path) - 255);
    memory_is(SYSTEM({"/proc/self/cgroup", group}, {"/proc/self/mountinfo", V2_MOUNT}, {path, "1073741824\n"}), GIB,
              from);
    zo2_limit l = {.value = 2};
    zo2_limit_lower(&l, 1, "/a\x1b[31m\n", "memory.max");
    assert_string_equal(l.from, "/a?[31m?/memory.max");
}

/* What makes no sense sets no limit. */
static void hostile_contents(void **state)
{
    (void)state;
    static const char *const limits[] = {"",
                                         "\n",
                                         "max",
                                         "-1\n",
                                         "x",
                                         "1x\n",
                                         "0x10\n",
                                         "99999999999999999999999\n",
                                         "18446744073709551615\n",
                                         "9223372036854771712\n",
                                         " 5\n"};
    static const char *const quotas[] = {
        "",           "max",        "max 100000", "100000", "100000 ",
        "100000 0\n", "0 100000\n", "-1 100000",  "1 x",    "18446744073709551615 1\n"};
    static const char *const mounts[] = {"",
                                         "\n\n",
                                         "-",
                                         " - ",
                                         " - cgroup2",
                                         "1 2 3 - cgroup2 x rw",
                                         "1 2 3 / - cgroup2 x rw",
                                         "1 2 3 / /sys/fs/cgroup rw - ext4 x rw",
                                         "1 2 3 / /sys/fs/cgroup rw cgroup2"};
    static const char *const groups[] = {"", "\n", "0", "0:", "0:/x", ":::", "x:memory:/\n"};
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++)
        memory_is(SYSTEM({"/proc/self/cgroup", "0::/x\n"}, {"/proc/self/mountinfo", V2_MOUNT},
                         {"/sys/fs/cgroup/x/memory.max", limits[i]}, {"/sys/fs/cgroup/memory.current", limits[i]}),
                  UINT64_MAX, "");
    for (size_t i = 0; i < sizeof quotas / sizeof quotas[0]; i++)
        cpus_are(SYSTEM({"/proc/self/cgroup", "0::/x\n"}, {"/proc/self/mountinfo", V2_MOUNT},
                        {"/sys/fs/cgroup/x/cpu.max", quotas[i]}),
                 1000, "");
    for (size_t i = 0; i < sizeof mounts / sizeof mounts[0]; i++)
        memory_is(SYSTEM({"/proc/self/cgroup", "0::/\n"}, {"/proc/self/mountinfo", mounts[i]},
                         {"/sys/fs/cgroup/memory.max", "1\n"}),
                  UINT64_MAX, "");
    for (size_t i = 0; i < sizeof groups / sizeof groups[0]; i++)
        memory_is(SYSTEM({"/proc/self/cgroup", groups[i]}, {"/proc/self/mountinfo", V2_MOUNT},
                         {"/sys/fs/cgroup/x/memory.max", "1\n"}),
                  UINT64_MAX, "");
    memory_is(SYSTEM({"/proc/self/cgroup", "0::/\n"}), UINT64_MAX, "");
    memory_is(SYSTEM({"/nothing", ""}), UINT64_MAX, "");
}

/* ---- the machine ---- */

static void the_machine_is_a_limit(void **state)
{
    (void)state;
    zo2_limit l;
    zo2_text_files files = SYSTEM({"/proc/meminfo", "MemTotal:  9 kB\nMemFree: 7 kB\nMemAvailable:    2097152 kB\n"});
    zo2_machine_memory(&l, &files);
    assert_int_equal(l.value, 2 * GIB);
    assert_string_equal(l.from, "/proc/meminfo (MemAvailable)");
    files = SYSTEM({"/proc/meminfo", "MemTotal: 9 kB\n"}); /* Linux before 3.14 */
    zo2_machine_memory(&l, &files);
    assert_int_equal(l.value, UINT64_MAX);
}

static void affinity_is_a_limit(void **state)
{
    (void)state;
    cpu_set_t before, one;
    zo2_machine m;
    int cpu = 0;
    zo2_machine_get(&m);
    assert_true(m.cpus >= 1 && m.cpu_limit[0] && m.struct_size == sizeof m);
    assert_int_equal(m.cpus, zo2_usable_cpus());
    assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
    while (!CPU_ISSET(cpu, &before))
        cpu++;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
    assert_int_equal(zo2_usable_cpus(), 1);
    assert_int_equal(sched_setaffinity(0, sizeof before, &before), 0);
}

/* In a child, whose limit goes with it. */
static int budget_under(int resource, uint64_t above_used, const char *from)
{
    pid_t child = fork();
    if (!child) {
        zo2_machine m;
        struct rlimit limit;
        unsigned long long pages[6];
        FILE *f = fopen("/proc/self/statm", "re");
        if (!f || fscanf(f, "%llu %llu %llu %llu %llu %llu", pages, pages + 1, pages + 2, pages + 3, pages + 4,
                         pages + 5) != 6)
            _exit(2);
        fclose(f);
        limit.rlim_cur = limit.rlim_max =
            pages[resource == RLIMIT_AS ? 0 : 5] * (unsigned long long)sysconf(_SC_PAGESIZE) + above_used;
        if (setrlimit(resource, &limit))
            _exit(3);
        zo2_machine_get(&m);
        _exit(strcmp(m.host_limit, from) || m.host_budget_bytes < above_used / 2 || m.host_budget_bytes > above_used);
    }
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

static void resource_limits_are_limits(void **state)
{
    (void)state;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    skip(); /* they have terabytes of address space already */
#endif
    assert_int_equal(budget_under(RLIMIT_AS, 64 << 20, "RLIMIT_AS (ulimit -v)"), 0);
    assert_int_equal(budget_under(RLIMIT_DATA, 64 << 20, "RLIMIT_DATA (ulimit -d)"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_lowest_of_all_ancestors_counts),
        cmocka_unit_test(what_the_kernel_can_take_back_is_left),
        cmocka_unit_test(high_is_a_limit_too),
        cmocka_unit_test(a_used_up_limit_leaves_nothing),
        cmocka_unit_test(version_1),
        cmocka_unit_test(a_limit_above_what_is_mounted),
        cmocka_unit_test(both_versions_at_once),
        cmocka_unit_test(namespaces),
        cmocka_unit_test(names_of_all_kinds),
        cmocka_unit_test(hostile_contents),
        cmocka_unit_test(the_machine_is_a_limit),
        cmocka_unit_test(affinity_is_a_limit),
        cmocka_unit_test(resource_limits_are_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
