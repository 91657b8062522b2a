/* train_join.c: see train_join.h. A journal is a header, whose bytes 12 to 19 say how long it and a record are, and records of one size
 * (storage/RUN.md); the records of one run are the same wherever they were written, because all ranks made the same steps. */
#include "tools/tune/train_join.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "engine/base/json.h"
#include "tools/cli/args.h"
#include "tools/cli/report.h"
#include "tools/tune/settings.h"

enum { HEADER_BYTES = 256, HEADER_AT = 12, RECORD_AT = 16 };

/* What of a run is in files here. */
typedef struct files {
    char *journal, *settings; /* contents; NULL: there is none */
    uint64_t journal_bytes, settings_bytes;
} files;

/* What others are told of it. */
typedef struct summary {
    uint64_t journal_bytes, journal_hash, settings_bytes;
} summary;

static zo2_status no_memory(void)
{
    return zo2_error(ZO2_ERR_NOMEM, "out of memory");
}

/* A whole file; a missing one is none. */
static zo2_status read_file(const char *run_dir, const char *name, char **text, uint64_t *bytes)
{
    char *path = tune_run_path(run_dir, name);
    if (!path)
        return no_memory();
    FILE *f = fopen(path, "rb");
    struct stat st;
    zo2_status s = f || errno == ENOENT ? ZO2_OK : zo2_error(ZO2_ERR_IO, "%s: %s", path, strerror(errno));
    if (f && (fstat(fileno(f), &st) || !S_ISREG(st.st_mode)))
        s = zo2_error(ZO2_ERR_IO, "%s is not a regular file", path);
    if (f && s == ZO2_OK) {
        *text = calloc(1, (size_t)st.st_size + 1);
        *bytes = *text ? fread(*text, 1, (size_t)st.st_size, f) : 0;
        s = !*text ? no_memory() : ferror(f) ? zo2_error(ZO2_ERR_IO, "cannot read %s", path) : ZO2_OK;
    }
    if (f)
        fclose(f);
    free(path);
    return s;
}

static uint32_t u32_at(const char *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

/* What a torn write may have left behind the last step isn't part of it. The library has checked what is in it. */
static zo2_status read_run(files *f, const char *run_dir)
{
    zo2_run *run = NULL;
    zo2_status s = zo2_run_open(&run, run_dir);
    if (s == ZO2_ERR_NOTFOUND)
        return ZO2_OK;
    if (s == ZO2_OK)
        s = read_file(run_dir, "journal.zo2j", &f->journal, &f->journal_bytes);
    if (s == ZO2_OK && (!f->journal || f->journal_bytes < HEADER_BYTES))
        s = zo2_error(ZO2_ERR_IO, "%s/journal.zo2j changes while it is read", run_dir);
    if (s == ZO2_OK) {
        uint64_t good = u32_at(f->journal + HEADER_AT) + zo2_run_steps(run) * u32_at(f->journal + RECORD_AT);
        if (good > f->journal_bytes)
            s = zo2_error(ZO2_ERR_IO, "%s/journal.zo2j changes while it is read", run_dir);
        else
            f->journal_bytes = good;
    }
    zo2_run_close(run);
    return s ? s : read_file(run_dir, "settings.json", &f->settings, &f->settings_bytes);
}

/* ---- the longest ---- */

static uint32_t longest_of(const summary *all, uint32_t ranks)
{
    uint32_t best = 0;
    for (uint32_t r = 1; r < ranks; r++)
        if (all[r].journal_bytes > all[best].journal_bytes ||
            (all[r].journal_bytes == all[best].journal_bytes && !all[best].settings_bytes))
            best = r;
    return best;
}

static int all_equal(const summary *all, uint32_t ranks)
{
    for (uint32_t r = 1; r < ranks; r++)
        if (all[r].journal_bytes != all[0].journal_bytes || all[r].journal_hash != all[0].journal_hash ||
            !all[r].settings_bytes != !all[0].settings_bytes)
            return 0;
    return 1;
}

/* Rank `from`'s, in memory of the caller's. */
static char *receive(dist *d, const char *own, uint64_t bytes, uint32_t from, int *failed)
{
    char *text = calloc(1, bytes + 1);
    uint32_t who;
    *failed = dist_agree(d, text ? 0 : CLI_EXIT_FAILED, &who);
    if (*failed) {
        free(text);
        return NULL;
    }
    if (dist_rank(d) == from)
        memcpy(text, own, bytes);
    dist_send(d, text, bytes, from);
    return text;
}

/* ---- what becomes the run here ---- */

/* The source's settings with what this rank alone knows: where its snapshots and its spill are. */
static char *merge_settings(const char *source, uint64_t source_bytes, const files *own)
{
    static const char *const of_rank[] = {"snapshot_dir", "spill_dirs", "endurance"};
    json_error_t e;
    json_t *to = zo2_json_parse(source, source_bytes, 0, &e),
           *mine = own->settings ? zo2_json_parse(own->settings, own->settings_bytes, 0, &e) : NULL;
    for (size_t i = 0; i < sizeof of_rank / sizeof *of_rank; i++) {
        json_object_del(to, of_rank[i]);
        if (json_object_get(mine, of_rank[i]))
            json_object_set(to, of_rank[i], json_object_get(mine, of_rank[i]));
    }
    char *text = to ? json_dumps(to, 0) : NULL;
    json_decref(to);
    json_decref(mine);
    return text;
}

static zo2_status write_run_file(const char *run_dir, const char *name, const char *data, uint64_t bytes)
{
    char *path = tune_run_path(run_dir, name);
    zo2_status s = path ? tune_write_file(path, data, bytes) : no_memory();
    free(path);
    return s;
}

/* The journal first: a directory that has other files and no journal is a run that has lost it. */
static zo2_status write_run(const char *run_dir, const files *own, const char *journal, uint64_t journal_bytes,
                            const char *settings, uint64_t settings_bytes)
{
    char *path = tune_run_path(run_dir, "lock");
    if (!path)
        return no_memory();
    zo2_status s = ZO2_OK;
    const int made = mkdir(run_dir, 0777), why = errno;
    int lock = made && why != EEXIST ? -1 : open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (lock < 0)
        s = zo2_error(ZO2_ERR_IO, "%s: %s", run_dir, strerror(errno));
    else if (flock(lock, LOCK_EX | LOCK_NB))
        s = zo2_error(ZO2_ERR_BUSY, "%s is in use by another process", run_dir);
    if (s == ZO2_OK && journal_bytes != own->journal_bytes)
        s = write_run_file(run_dir, "journal.zo2j", journal, journal_bytes);
    char *merged = s == ZO2_OK && settings_bytes ? merge_settings(settings, settings_bytes, own) : NULL;
    if (merged)
        s = write_run_file(run_dir, "settings.json", merged, strlen(merged));
    free(merged);
    if (lock >= 0)
        close(lock);
    free(path);
    return s;
}

static zo2_status take(const train_rank *r, const char *run_dir, const files *own, const char *journal, uint64_t bytes,
                       const char *settings, uint64_t settings_bytes)
{
    if (own->journal_bytes && memcmp(own->journal, journal, own->journal_bytes) != 0)
        return zo2_error(
            ZO2_ERR_MISMATCH,
            "%s has another run than the rank with the longest journal: other settings, or other steps; remove "
            "the one that is not meant",
            run_dir);
    if (r->run_parent && mkdir(r->run_parent, 0777) && errno != EEXIST)
        return zo2_error(ZO2_ERR_IO, "%s: %s", r->run_parent, strerror(errno));
    return write_run(run_dir, own, journal, bytes, settings, settings_bytes);
}

static int end_together(const train_rank *r, const cli_command *c, zo2_status s)
{
    uint32_t who;
    int own = s == ZO2_OK ? 0 : cli_fail(c->program, NULL, s), all = dist_agree(r->d, own, &who);
    if (all && !own && !dist_rank(r->d))
        cli_error(c->program, "rank %u on %s cannot go on: see its message", who, dist_host(r->d, who));
    return all;
}

/* Some ranks lack what `from` has. */
static int spread(const train_rank *r, const cli_command *c, const char *run_dir, const files *own, const summary *all,
                  uint32_t from)
{
    int failed = 0;
    char *journal = receive(r->d, own->journal, all[from].journal_bytes, from, &failed), *settings = NULL;
    if (!failed)
        settings = receive(r->d, own->settings, all[from].settings_bytes, from, &failed);
    if (!failed && dist_rank(r->d) != from)
        failed = end_together(
            r, c, take(r, run_dir, own, journal, all[from].journal_bytes, settings, all[from].settings_bytes));
    else if (!failed)
        failed = end_together(r, c, ZO2_OK);
    if (!failed && !dist_rank(r->d) && !r->quiet)
        fprintf(stderr, "%s: ranks stood at different steps: all go on from where rank %u on %s is\n", c->program, from,
                dist_host(r->d, from));
    free(journal);
    free(settings);
    return failed;
}

int train_join_run(const train_rank *r, const cli_command *c, const char *run_dir)
{
    const uint32_t ranks = dist_ranks(r->d);
    files own = {0};
    summary *all = calloc(ranks, sizeof *all);
    int failed = end_together(r, c, all ? read_run(&own, run_dir) : no_memory());
    if (!failed) {
        const summary mine = {.journal_bytes = own.journal_bytes,
                              .journal_hash = XXH3_64bits(own.journal ? own.journal : "", own.journal_bytes),
                              .settings_bytes = own.settings_bytes};
        dist_gather(r->d, &mine, all, sizeof mine);
        if (!all_equal(all, ranks))
            failed = spread(r, c, run_dir, &own, all, longest_of(all, ranks));
    }
    free(all);
    free(own.journal);
    free(own.settings);
    return failed;
}
