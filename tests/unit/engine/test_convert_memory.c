/* test_convert_memory.c: conversion needs memory for a few chunks a thread, however large the model: the peak resident
 * size of a process that does nothing else, and the same bytes whatever the threads. */
#include "tests/unit/engine/hf_dir.h"

#include <sys/resource.h>
#include <sys/wait.h>

#define MIB      ((long)1 << 20)
#define WEIGHTS  (64 * MIB) /* at least */
#define CHUNK    (4 * MIB)
#define OVERHEAD (8 * MIB) /* compressors' tables, stacks, the allocator */

static long peak(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return u.ru_maxrss * 1024;
}

/* Converts in a process of its own; returns by how much its peak grew. */
static long growth(const char *dir, const char *pack, uint32_t threads, int level)
{
    int ends[2];
    long grown = -1;
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        zo2_convert_opts o;
        zo2_convert_opts_init(&o);
        o.threads = threads;
        o.zstd_level = level;
        FILE *reset = fopen("/proc/self/clear_refs", "w"); /* the peak starts at what is resident now */
        if (reset) {
            fputs("5", reset);
            fclose(reset);
        }
        long before = peak();
        grown = zo2_pack_convert(dir, pack, &o) == ZO2_OK ? peak() - before : -1;
        _exit(write(ends[1], &grown, sizeof grown) != sizeof grown);
    }
    assert_int_equal(read(ends[0], &grown, sizeof grown), sizeof grown);
    assert_int_equal(waitpid(child, NULL, 0), child);
    close(ends[0]);
    close(ends[1]);
    assert_true(grown >= 0);
    return grown;
}

static void memory_is_a_few_chunks_a_thread(void **state)
{
    (void)state;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    skip(); /* a sanitizer's own memory is most of what would be measured */
#endif
    if (access("/dev/shm", W_OK) == 0) /* half a GB of files: not to a disk, where there is a choice */
        setenv("TMPDIR", "/dev/shm", 0);
    char *dir = hf_temp();
    const char *synth = hf_path(dir, "synth.zo2"), *hf = hf_path(dir, "hf"), *config = hf_path(dir, "config.json");
    zo2_pack_info info;
    zo2_pack *p;
    hf_copy(TINY "/config.json", config, "\"vocab_size\": 4096", "\"vocab_size\": 180000");
    assert_ok(zo2_pack_synth(config, synth, NULL));
    assert_ok(zo2_pack_open(&p, synth));
    assert_ok(zo2_pack_get_info(p, &info));
    zo2_pack_close(p);
    assert_true((long)info.source_bytes > WEIGHTS);
    assert_ok(zo2_pack_export(synth, hf, NULL));
    for (int level = 0; level < 2; level++) {
        const char *first = NULL;
        for (uint32_t threads = 1; threads <= 3; threads += 2) {
            char name[32];
            snprintf(name, sizeof name, "%d-%u.zo2", level, (unsigned)threads);
            const char *pack = hf_path(dir, name);
            long grown = growth(hf, pack, threads, level), most = (long)threads * (level ? 3 : 1) * CHUNK + OVERHEAD;
            if (grown > most)
                fail_msg("level %d, %u threads: the peak grew by %ld bytes, more than %ld", level, (unsigned)threads,
                         grown, most);
            if (first)
                hf_assert_same_file(first, pack);
            first = pack;
        }
    }
    hf_remove_tree(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(memory_is_a_few_chunks_a_thread)};
    return cmocka_run_group_tests_name("convert_memory", tests, NULL, NULL);
}
