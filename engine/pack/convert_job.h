/* convert_job.h: what the files of a conversion share: convert.c (entry, the folder), convert_map.c (which stored tensor is
 * which), convert_check.c, convert_write.c. Private to engine/pack. */
#ifndef ZO2_ENGINE_PACK_CONVERT_JOB_H
#define ZO2_ENGINE_PACK_CONVERT_JOB_H

#include "engine/model/arch.h"
#include "engine/model/place.h"
#include "engine/pack/pieces.h"
#include "storage/checkpoint/checkpoint.h"

#define ZO2_MAX_CONFIG_BYTES ((uint64_t)128 << 20)

typedef struct zo2_convert_job {
    const char *dir, *out;
    zo2_convert_opts o;
    zo2_arch arch;
    char *config; /* text of config.json */
    size_t config_bytes;
    zo2_checkpoint *source;
    zo2_pieces pieces;
    uint64_t total; /* bytes of weights */
} zo2_convert_job;

/* zo2_pack_convert() with a mapping of its own. place NULL: the architecture's. */
zo2_status zo2_convert_with(const char *dir, const char *out, const zo2_convert_opts *o, zo2_place_fn place);

/* Refuses a folder whose weights are quantised, by what config.json doesn't say: files beside it, and the names of what
 * is stored. */
zo2_status zo2_convert_check_plain(const zo2_convert_job *j);

/* Fills pieces by asking `place` for every stored tensor; every tensor of the model then has all its elements. One warning
 * names what the model has no place for. */
zo2_status zo2_convert_map(zo2_convert_job *j, zo2_place_fn place);

/* Everything else that can be known before writing: shapes, types, room, and that a stored tied head is the embedding.
 * Sets total. */
zo2_status zo2_convert_check(zo2_convert_job *j);

/* The pack: carried files, then weights in canonical order. */
zo2_status zo2_convert_write(zo2_convert_job *j);

/* ZO2_ERR_CANCELLED if the caller wants no more. */
static inline zo2_status zo2_convert_report(const zo2_convert_job *j, uint64_t done)
{
    if (j->o.progress && j->o.progress(j->o.progress_ud, "convert", done, j->total))
        return zo2_error(ZO2_ERR_CANCELLED, "the conversion of %s was cancelled", j->dir);
    return ZO2_OK;
}

#endif
