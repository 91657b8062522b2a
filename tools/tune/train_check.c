/* train_check.c: do all ranks still have the same run? Every --check-every steps the chain values of their journals, which stand for all
 * records, and a hash of a part of their masters are compared; the parts take turns. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/cli/args.h"
#include "tools/tune/settings.h"
#include "tools/tune/train_dist.h"

/* Masters of a small model are looked at as a whole, those of a large one in so many parts. */
enum { DEFAULT_EVERY = 100, PARTS = 16 };
#define PART_VALUES (UINT64_C(1) << 22) /* at least: 16 MiB */

/* The last eight bytes of the last record, or of the header (storage/RUN.md, "Chain"): where the journal ends. */
static zo2_status journal_chain(const char *run_dir, uint64_t *out)
{
    char *path = tune_run_path(run_dir, "journal.zo2j");
    if (!path)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory");
    zo2_status s = ZO2_OK;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    off_t end = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);
    if (end < (off_t)sizeof *out || pread(fd, out, sizeof *out, end - (off_t)sizeof *out) != (ssize_t)sizeof *out)
        s = zo2_error(ZO2_ERR_IO, "cannot read the end of %s: %s", path, strerror(errno));
    if (fd >= 0)
        close(fd);
    free(path);
    return s;
}

/* Every rank takes part whatever became of its own number: 0 then, and its error afterwards. */
static zo2_status same(dist *d, const char *what, zo2_status own, uint64_t number)
{
    uint32_t who;
    char why[256];
    strncpy(why, zo2_last_error(), sizeof why - 1);
    why[sizeof why - 1] = '\0';
    const zo2_status any = (zo2_status)dist_agree(d, own, &who);
    if (own != ZO2_OK)
        return zo2_error(own, "%s", why);
    if (any != ZO2_OK)
        return zo2_error(any, "rank %u on %s cannot compare %s: see its message", who, dist_host(d, who), what);
    return dist_same(d, what, number);
}

static zo2_status compare_journals(const train *t)
{
    uint64_t chain = 0;
    zo2_status s = journal_chain(t->flags->run.text, &chain);
    return same(t->rank->d, "the journals", s, chain);
}

static zo2_status compare_masters(const train *t, uint64_t part, uint64_t parts)
{
    uint64_t hash = 0;
    zo2_status s = zo2_masters_hash_part(t->engine, part, parts, &hash);
    return same(t->rank->d, "the masters", s, hash);
}

zo2_status train_rank_check(train *t, uint64_t steps)
{
    const cli_value *given = &t->flags->check_every;
    const uint64_t every = given->given ? given->u : DEFAULT_EVERY;
    dist *d = t->rank->d;
    if (!d || !every || steps % every)
        return ZO2_OK;
    uint64_t parts = t->model.info.parameters / PART_VALUES;
    parts = parts < 1 ? 1 : parts > PARTS ? PARTS : parts;
    zo2_status s = compare_journals(t);
    if (s == ZO2_OK)
        s = compare_masters(t, steps / every % parts, parts);
    if (s != ZO2_ERR_MISMATCH || !train_rank_reports(t))
        return s;
    char text[512];
    strncpy(text, zo2_last_error(), sizeof text - 1);
    text[sizeof text - 1] = '\0';
    return zo2_error(s,
                     "after step %" PRIu64
                     " %s. Bits have changed in its memory or on its disk. Remove that rank's snapshots "
                     "(or its files in --spill), and resume: pack and journal have the weights",
                     steps, text);
}
