/* hf_dir.h: Hugging Face directories for tests: temporary folders, whole files, and models that are loaded, spoilt and
 * written again. Header-only. Failures end the test. */
#ifndef ZO2_TESTS_UNIT_ENGINE_HF_DIR_H
#define ZO2_TESTS_UNIT_ENGINE_HF_DIR_H

#include "engine/zo2.h"
#include "storage/checkpoint/safetensors.h"

#include <dirent.h>
#include <errno.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define FIXTURES ZO2_TEST_DATA "/opt-fixtures/"
#define TINY     ZO2_TEST_DATA "/tiny-opt/model"

/* The status, and words that the message must have. */
#define assert_error(call, status, words)                                                                            \
    do {                                                                                                             \
        zo2_status got_ = (call);                                                                                    \
        const char *text_ = zo2_last_error();                                                                        \
        if (got_ != (status) || !strstr(text_, (words)))                                                             \
            fail_msg("status %d (expected %d), message \"%s\" (expected \"%s\" in it)", got_, status, text_, words); \
    } while (0)

#define assert_ok(call)                                        \
    do {                                                       \
        zo2_status got_ = (call);                              \
        if (got_ != ZO2_OK)                                    \
            fail_msg("status %d: %s", got_, zo2_last_error()); \
    } while (0)

/* ---- folders and files ------------------------------------------------------------------------------------------- */

static inline char *hf_temp(void)
{
    const char *base = getenv("TMPDIR");
    char path[4096];
    snprintf(path, sizeof path, "%s/zo2-test-XXXXXX", base && *base ? base : "/tmp");
    assert_non_null(mkdtemp(path));
    return strdup(path);
}

static inline int hf_remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static inline void hf_remove_tree(char *path)
{
    nftw(path, hf_remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(path);
}

/* "DIR/NAME" in one of many static buffers: valid for the next 63 calls. */
static inline const char *hf_path(const char *dir, const char *name)
{
    static char buffers[64][1024];
    static unsigned next;
    char *buf = buffers[next++ % 64];
    size_t nd = strlen(dir), nn = strlen(name);
    assert_true(nd + nn + 2 <= sizeof *buffers);
    memmove(buf, dir, nd); /* either may be such a buffer */
    buf[nd] = '/';
    memmove(buf + nd + 1, name, nn + 1);
    return buf;
}

static inline char *hf_read(const char *path, size_t *n)
{
    char *data = NULL; /* GCC cannot see that the assertion does not return */
    assert_ok(zo2_io_slurp(path, 1u << 30, &data, n));
    return data;
}

static inline void hf_write(const char *path, const void *data, size_t n)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

static inline void hf_write_text(const char *path, const char *text)
{
    hf_write(path, text, strlen(text));
}

static inline void hf_assert_same_file(const char *a, const char *b)
{
    size_t na, nb;
    char *x = hf_read(a, &na), *y = hf_read(b, &nb);
    assert_int_equal(na, nb);
    assert_memory_equal(x, y, na);
    free(x);
    free(y);
}

/* Entries of a folder but . and .. */
static inline int hf_count_entries(const char *dir)
{
    DIR *d = opendir(dir);
    int n = 0;
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));)
        n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
    closedir(d);
    return n;
}

/* Copies a file and replaces the first `from` in it by `to` (from NULL: a plain copy). */
static inline void hf_copy(const char *source, const char *target, const char *from, const char *to)
{
    size_t n;
    char *text = hf_read(source, &n);
    FILE *f = fopen(target, "wb");
    assert_non_null(f);
    size_t before = 0, length = from ? strlen(from) : 0;
    while (from && before + length <= n && memcmp(text + before, from, length) != 0)
        before++;
    if (before + length > n)
        fail_msg("%s is not in %s", from, source);
    fwrite(text, 1, before, f);
    if (from)
        fputs(to, f);
    fwrite(text + before + length, 1, n - before - length, f);
    assert_int_equal(fclose(f), 0);
    free(text);
}

/* ---- models ------------------------------------------------------------------------------------------------------ */

typedef struct hf_tensor {
    char name[128], dtype[16];
    uint32_t rank;
    uint64_t shape[4], bytes;
    unsigned char *data;
} hf_tensor;

typedef struct hf_model {
    uint32_t n;
    hf_tensor t[256];
} hf_model;

static inline hf_tensor *hf_add(hf_model *m, const char *name, const char *dtype, uint32_t rank, uint64_t rows,
                                uint64_t cols, uint64_t bytes, const void *data)
{
    assert_true(m->n < 256);
    hf_tensor *t = &m->t[m->n++];
    memset(t, 0, sizeof *t);
    snprintf(t->name, sizeof t->name, "%s", name);
    snprintf(t->dtype, sizeof t->dtype, "%s", dtype);
    t->rank = rank;
    t->shape[0] = rank == 1 ? cols : rows;
    t->shape[1] = cols;
    t->bytes = bytes;
    t->data = calloc(1, bytes);
    assert_non_null(t->data);
    if (data)
        memcpy(t->data, data, bytes);
    return t;
}

/* Everything a directory stores. */
static inline hf_model *hf_load(const char *dir)
{
    zo2_safetensors *s;
    hf_model *m = calloc(1, sizeof *m);
    assert_non_null(m);
    assert_ok(zo2_safetensors_open(&s, dir));
    for (uint64_t i = 0; i < zo2_safetensors_count(s); i++) {
        const zo2_st_tensor *t = zo2_safetensors_at(s, i);
        hf_tensor *h =
            hf_add(m, t->name, t->dtype_name, t->rank, t->shape[0], t->shape[t->rank == 1 ? 0 : 1], t->bytes, NULL);
        assert_ok(zo2_safetensors_read(s, t, 0, t->bytes, h->data));
    }
    zo2_safetensors_close(s);
    return m;
}

static inline void hf_free(hf_model *m)
{
    for (uint32_t i = 0; i < m->n; i++)
        free(m->t[i].data);
    free(m);
}

static inline hf_tensor *hf_find(hf_model *m, const char *name)
{
    for (uint32_t i = 0; i < m->n; i++)
        if (strcmp(m->t[i].name, name) == 0)
            return &m->t[i];
    fail_msg("no tensor %s", name);
    abort(); /* GCC cannot see that it does not return */
}

static inline void hf_drop(hf_model *m, const char *name)
{
    hf_tensor *t = hf_find(m, name);
    free(t->data);
    memmove(t, t + 1, (size_t)(m->t + m->n - (t + 1)) * sizeof *t);
    m->n--;
}

/* Writes DIR/model.safetensors by hand: the writer under test refuses some of what tests need. */
static inline void hf_save(const hf_model *m, const char *dir)
{
    char *header = malloc(256 * 256);
    size_t at = 0;
    uint64_t offset = 0;
    assert_non_null(header);
    at += (size_t)sprintf(header, "{");
    for (uint32_t i = 0; i < m->n; i++) {
        const hf_tensor *t = &m->t[i];
        at += (size_t)sprintf(header + at, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[", i ? "," : "", t->name, t->dtype);
        for (uint32_t d = 0; d < t->rank; d++)
            at += (size_t)sprintf(header + at, "%s%llu", d ? "," : "", (unsigned long long)t->shape[d]);
        at += (size_t)sprintf(header + at, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)offset,
                              (unsigned long long)(offset + t->bytes));
        offset += t->bytes;
    }
    at += (size_t)sprintf(header + at, "}");
    while (at % 8)
        header[at++] = ' ';
    uint64_t n = at;
    FILE *f = fopen(hf_path(dir, "model.safetensors"), "wb");
    assert_non_null(f);
    fwrite(&n, sizeof n, 1, f);
    fwrite(header, 1, at, f);
    for (uint32_t i = 0; i < m->n; i++)
        fwrite(m->t[i].data, 1, m->t[i].bytes, f);
    assert_int_equal(fclose(f), 0);
    free(header);
}

#endif
