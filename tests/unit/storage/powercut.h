/* powercut.h: what a disk may hold after the power fails. From a faulty_io log (with keep_data) it builds the files of
 * a folder as they might be found after a cut behind any operation: what was synced is there; of the rest any subset,
 * torn at sectors of 512 bytes, in any order; names in the order of their operations, as far as the journal of the file
 * system got. A sync that failed loses what it should have written: the pages are clean in memory and were never on the
 * disk. */
#ifndef ZO2_TESTS_UNIT_STORAGE_POWERCUT_H
#define ZO2_TESTS_UNIT_STORAGE_POWERCUT_H

#include "tests/unit/engine/rundir_testing.h"
#include "tests/unit/storage/faulty_io.h"

#include <sys/stat.h>

enum { POWERCUT_ALL, POWERCUT_NONE, POWERCUT_RANDOM }; /* how much of what wasn't synced is there */

#define POWERCUT_NAMES 64

typedef struct powercut_names {
    const char *path[POWERCUT_NAMES];
    int file[POWERCUT_NAMES];
    int n;
} powercut_names;

static inline int powercut_find(const powercut_names *names, const char *path)
{
    for (int i = 0; i < names->n; i++)
        if (strcmp(names->path[i], path) == 0)
            return i;
    return -1;
}

static inline void powercut_forget(powercut_names *names, const char *path)
{
    const int i = powercut_find(names, path);
    if (i < 0)
        return;
    names->n--;
    names->path[i] = names->path[names->n];
    names->file[i] = names->file[names->n];
}

static inline void powercut_name(powercut_names *names, const char *path, int file)
{
    powercut_forget(names, path);
    assert_true(names->n < POWERCUT_NAMES);
    names->path[names->n] = path;
    names->file[names->n++] = file;
}

/* A successful open (of a new file), rename or unlink. */
static inline void powercut_apply(powercut_names *names, const faulty_entry *e, int file)
{
    if (e->op == FAULTY_OPEN)
        powercut_name(names, e->path, file);
    if (e->op == FAULTY_UNLINK)
        powercut_forget(names, e->path);
    if (e->op == FAULTY_RENAME) {
        powercut_forget(names, e->path);
        powercut_name(names, e->path2, file);
    }
}

typedef struct powercut_op { /* what an operation of the log did */
    int file;                /* to this file's contents; -1: nothing */
    int names;               /* to the folder: 1 */
    int state;               /* 0: only in memory, 1: on the disk, 2: lost */
} powercut_op;

static inline void powercut_contents(const faulty_io *f, const powercut_op *ops, size_t k, int file, int mode,
                                     uint64_t *rng, const char *path)
{
    unsigned char *data = calloc(1, 1);
    size_t n = 0;
    for (size_t i = 0; i < k; i++) {
        const faulty_entry *e = &f->log[i];
        if (ops[i].file != file || ops[i].state == 2)
            continue;
        const uint64_t dice = mix(rng);
        const int torn = ops[i].state == 0 && mode == POWERCUT_RANDOM && dice % 4 == 3;
        if (ops[i].state == 0 && (mode == POWERCUT_NONE || (mode == POWERCUT_RANDOM && dice % 4 == 0)))
            continue;
        const size_t end = (size_t)(e->op == FAULTY_PWRITE ? e->off + (uint64_t)e->result : e->off);
        if (end > n || e->op == FAULTY_FTRUNCATE) {
            data = realloc(data, end + 1);
            assert_non_null(data);
            if (end > n)
                memset(data + n, 0, end - n);
            n = end;
        }
        if (e->op != FAULTY_PWRITE)
            continue;
        assert_non_null(e->data);
        for (size_t b = (size_t)e->off; b < end;) {
            size_t sector = (b / 512 + 1) * 512;
            if (sector > end)
                sector = end;
            if (!torn || mix(rng) % 2)
                memcpy(data + b, (unsigned char *)e->data + (b - e->off), sector - b);
            b = sector;
        }
    }
    file_store(path, data, n);
    free(data);
}

/* Empties `to` and puts there the files of folder `from` after a cut behind the first k operations of the log. */
static inline void powercut_image(const faulty_io *f, size_t k, int mode, uint64_t seed, const char *from,
                                  const char *to)
{
    uint64_t rng = seed;
    powercut_op *ops = calloc(k + 1, sizeof *ops);
    int *by_fd = calloc(4096, sizeof *by_fd), files = 0; /* file of a descriptor; -1: the folder */
    powercut_names live = {.n = 0}, disk = {.n = 0};
    assert_non_null(ops);
    assert_non_null(by_fd);
    size_t named = 0, durable = 0; /* operations on names */
    for (size_t i = 0; i < k; i++) {
        const faulty_entry *e = &f->log[i];
        ops[i].file = -1;
        const int sync = e->op & FAULTY_SYNCS;
        if (sync && by_fd[e->fd] < 0) {
            if (e->result == 0)
                durable = named;
        } else if (sync) {
            for (size_t w = 0; w < i; w++)
                if (ops[w].file == by_fd[e->fd] && ops[w].state == 0) {
                    if (e->result == 0)
                        ops[w].state = 1;
                    else if (f->log[w].op == FAULTY_PWRITE)
                        ops[w].state = 2;
                }
        }
        if (e->result < 0)
            continue;
        struct stat st;
        int file = e->path ? powercut_find(&live, e->path) : -1;
        if (file >= 0)
            file = live.file[file];
        switch (e->op) {
        case FAULTY_OPEN:
            if (stat(e->path, &st) == 0 && S_ISDIR(st.st_mode)) {
                by_fd[e->fd] = -1;
            } else {
                ops[i].names = file < 0;
                by_fd[e->fd] = file < 0 ? files++ : file;
                if (ops[i].names)
                    powercut_apply(&live, e, by_fd[e->fd]);
            }
            break;
        case FAULTY_RENAME:
        case FAULTY_UNLINK:
            ops[i].names = 1;
            powercut_apply(&live, e, file);
            break;
        case FAULTY_PWRITE:
        case FAULTY_ALLOCATE:
        case FAULTY_FTRUNCATE: ops[i].file = by_fd[e->fd]; break;
        default: break;
        }
        named += (size_t)ops[i].names;
    }
    /* names: those that were synced, and a prefix of the others */
    size_t reach = mode == POWERCUT_ALL ? named : durable;
    if (mode == POWERCUT_RANDOM)
        reach += mix(&rng) % (named - durable + 1);
    files = 0;
    for (size_t i = 0, seen = 0; i < k && seen < reach; i++) {
        if (!ops[i].names)
            continue;
        seen++;
        const faulty_entry *e = &f->log[i];
        const int at = powercut_find(&disk, e->path);
        powercut_apply(&disk, e, e->op == FAULTY_OPEN ? files++ : at < 0 ? -1 : disk.file[at]);
    }
    scratch_empty(to);
    for (int i = 0; i < disk.n; i++) {
        const char *slash = strrchr(disk.path[i], '/');
        if (!slash || strncmp(disk.path[i], from, strlen(from)) || (size_t)(slash - disk.path[i]) != strlen(from))
            continue;
        char *path = in_dir(to, slash + 1);
        powercut_contents(f, ops, k, disk.file[i], mode, &rng, path);
        free(path);
    }
    free(ops);
    free(by_fd);
}

#endif
