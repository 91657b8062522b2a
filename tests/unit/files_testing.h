/* files_testing.h: what the tests of files share: status checks, a scratch folder, whole files. Include after cmocka.h.
 */
#ifndef ZO2_TESTS_FILES_TESTING_H
#define ZO2_TESTS_FILES_TESTING_H

#include "storage/io/io.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* These say what went wrong: the library's own message. */
#define OK(call)                                                               \
    do {                                                                       \
        zo2_status ok_status = (call);                                         \
        if (ok_status != ZO2_OK)                                               \
            fail_msg("%s is %d: %s", #call, (int)ok_status, zo2_last_error()); \
    } while (0)
#define FAILS(s, call)                                                                            \
    do {                                                                                          \
        zo2_status fails_status = (call);                                                         \
        if (fails_status != ZO2_ERR_##s)                                                          \
            fail_msg("%s is %d, not ERR_" #s ": %s", #call, (int)fails_status, zo2_last_error()); \
    } while (0)
#define SAYS(text)                                                       \
    do {                                                                 \
        if (!strstr(zo2_last_error(), text))                             \
            fail_msg("\"%s\" is not in \"%s\"", text, zo2_last_error()); \
    } while (0)

/* A fresh folder; in memory where possible, because these tests sync thousands of times. */
static inline char *scratch_make(void)
{
    static const char *const roots[] = {"/dev/shm", "/tmp"};
    for (size_t i = 0; i < 2; i++) {
        char *dir = malloc(64);
        assert_non_null(dir);
        snprintf(dir, 64, "%s/zo2-test-XXXXXX", roots[i]);
        if (mkdtemp(dir))
            return dir;
        free(dir);
    }
    fail_msg("no place for a scratch folder");
    return NULL;
}

/* Removes the files of a folder; returns how many there were. Folders in it stay. */
static inline int scratch_empty(const char *dir)
{
    int n = 0;
    DIR *d = opendir(dir);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));)
        n += unlinkat(dirfd(d), e->d_name, 0) == 0;
    closedir(d);
    return n;
}

static inline void scratch_remove(char *dir)
{
    scratch_empty(dir);
    assert_int_equal(rmdir(dir), 0);
    free(dir);
}

/* Files of a folder whose names contain `part`. */
static inline int count_files(const char *dir, const char *part)
{
    int n = 0;
    DIR *d = opendir(dir);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));)
        n += e->d_name[0] != '.' && strstr(e->d_name, part);
    closedir(d);
    return n;
}

static inline char *in_dir(const char *dir, const char *name)
{
    char *path = zo2_path_join(dir, name);
    assert_non_null(path);
    return path;
}

static inline unsigned char *file_load(const char *path, size_t *n)
{
    char *data;
    OK(zo2_io_slurp(path, (uint64_t)1 << 32, &data, n));
    return (unsigned char *)data;
}

static inline void file_store(const char *path, const void *data, size_t n)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

/* Overwrites bytes of an existing file. */
static inline void file_poke(const char *path, uint64_t off, const void *data, size_t n)
{
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    assert_int_equal(fseek(f, (long)off, SEEK_SET), 0);
    assert_int_equal(fwrite(data, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

/* splitmix64: fixed sequences for sample contents. */
static inline uint64_t mix(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9E3779B97F4A7C15));
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

/* n bytes of a sequence that the seed fixes; malloc'ed. */
static inline unsigned char *sample_bytes(uint64_t seed, size_t n)
{
    unsigned char *p = malloc(n + 8);
    assert_non_null(p);
    for (size_t i = 0; i < n; i += 8) {
        uint64_t v = mix(&seed);
        memcpy(p + i, &v, 8);
    }
    return p;
}

#endif
