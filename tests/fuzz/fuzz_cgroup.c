/* fuzz_cgroup.c: what the system says of control groups.
 *
 * Input: texts that end with a record separator: /proc/self/cgroup, /proc/self/mountinfo, memory.stat, a file with a limit of
 * memory, its use, cpu.max, and cpu.cfs_quota_us, which serves as the period, too. Every folder has them.
 *
 * Properties: a limit that was lowered says where it was seen, in printable text; one that was not says nothing; no quota
 * leaves less than one CPU. */
#include "engine/base/cgroup.h"
#include "tests/fuzz/fuzzing.h"

#include <stdlib.h>
#include <string.h>

enum { TEXTS = 7 };

typedef struct texts {
    char *text[TEXTS];
} texts;

static char *read_text(void *ud, const char *path)
{
    static const char *const names[] = {"cgroup",
                                        "mountinfo",
                                        "memory.stat",
                                        "memory.max",
                                        "memory.current",
                                        "cpu.max",
                                        "cpu.cfs_quota_us",
                                        "memory.high",
                                        "memory.limit_in_bytes",
                                        "memory.usage_in_bytes",
                                        "cpu.cfs_period_us"};
    static const int which[] = {0, 1, 2, 3, 4, 5, 6, 3, 3, 4, 6};
    const texts *t = ud;
    const char *name = strrchr(path, '/');
    for (size_t i = 0; i < sizeof which / sizeof which[0]; i++)
        if (name && !strcmp(name + 1, names[i]))
            return strdup(t->text[which[i]]);
    return NULL;
}

static void check(const zo2_limit *l, uint64_t before)
{
    FUZZ_CHECK(l->value <= before && (l->value < before) == (l->from[0] != '\0'));
    for (const char *c = l->from; *c; c++)
        FUZZ_CHECK((unsigned char)*c >= 0x20 && *c != 0x7F);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input in = {data, size};
    texts t;
    for (int i = 0; i < TEXTS; i++) {
        size_t bytes;
        const char *at = fuzz_text(&in, &bytes);
        t.text[i] = bytes ? strndup(at, bytes) : strdup("");
    }
    zo2_text_files files = {read_text, &t};
    zo2_limit memory = {.value = UINT64_MAX}, cpus = {.value = 1000};
    zo2_cgroup_memory(&memory, &files);
    zo2_cgroup_cpus(&cpus, &files);
    check(&memory, UINT64_MAX);
    check(&cpus, 1000);
    FUZZ_CHECK(cpus.value >= 1);
    for (int i = 0; i < TEXTS; i++)
        free(t.text[i]);
    return 0;
}
