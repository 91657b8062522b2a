/* convert_job.h: what the files of a conversion share: convert.c (entry, the folder), convert_map.c (which stored tensor is
 * which), convert_config.c (what the model is), convert_parts.c (shards of tensor parallelism), convert_names.c (what wrappers put
 * around names), convert_missing.c, convert_check.c, convert_write.c. Private to engine/pack. */
#ifndef ZO2_ENGINE_PACK_CONVERT_JOB_H
#define ZO2_ENGINE_PACK_CONVERT_JOB_H

#include "engine/model/arch.h"
#include "engine/model/place.h"
#include "engine/pack/pieces.h"
#include "storage/checkpoint/checkpoint.h"

#include <stdarg.h>
#include <stdio.h>

#define ZO2_MAX_CONFIG_BYTES ((uint64_t)128 << 20)

/* What wrappers of PyTorch put around a model's names when a wrapped one is saved. Zeroed: nothing. */
typedef struct zo2_wrapping {
    int parts;        /* "module.", "_orig_mod." and the like, wherever they stand */
    char prefix[128]; /* in front of what is left, as "base_model.model."; names without it stay as they are */
} zo2_wrapping;

typedef struct zo2_convert_job {
    const char *dir, *out;
    zo2_convert_opts o;
    zo2_arch arch;
    char *config; /* text of config.json */
    size_t config_bytes;
    const zo2_checkpoint_reader *reader; /* of source */
    zo2_checkpoint *source;
    zo2_wrapping wrapping; /* that the names were freed of */
    zo2_pieces pieces;
    uint64_t total; /* bytes of weights */
} zo2_convert_job;

/* zo2_pack_convert() with a mapping of its own. place NULL: the architecture's. */
zo2_status zo2_convert_with(const char *dir, const char *out, const zo2_convert_opts *o, zo2_place_fn place);

/* Sets arch and config: from config.json; where there is none and the source's naming isn't Hugging Face's, from the published model
 * whose tensors it has (source is open then). */
zo2_status zo2_convert_config(zo2_convert_job *j);

/* Refuses a folder with files that say that the weights are quantised. */
zo2_status zo2_convert_check_plain(const zo2_convert_job *j);

/* Fills pieces by asking `place` for every stored tensor; every tensor of the model then has all its elements. If some would be
 * missing under the names as they are, a wrapping is looked for without which none is. Warnings name it, and what the model
 * has no place for. */
zo2_status zo2_convert_map(zo2_convert_job *j, zo2_place_fn place);

/* 1 if the stored tensors are those of arch, each with its shape, under the names that its family has for the source's naming. */
int zo2_convert_fits(zo2_convert_job *j);

/* A stored name without the wrapping: name, a part of it, or buf[n]. Names that don't fit there are left alone. */
const char *zo2_unwrap(const zo2_wrapping *w, const char *name, char *buf, size_t n);

/* The wrappings without which stored tensors would have places in tensors that have no pieces yet, those of most tensors first, at
 * most `max`; returns how many. */
uint32_t zo2_find_wrappings(const zo2_convert_job *j, zo2_place_fn place, zo2_wrapping *out, uint32_t max);

/* ZO2_ERR_NOTFOUND: the model's tensor isn't there, nor are n_more others. What is there instead, and what to do. */
zo2_status zo2_convert_missing(const zo2_convert_job *j, const zo2_tensor *t, uint32_t n_more);

/* Weights are found, but stored tensors that have no place say that they aren't all of it: scales of quantised weights
 * (ZO2_ERR_UNSUPPORTED), adapters (also, or a warning where the model itself is plain). */
zo2_status zo2_convert_leftovers(const zo2_convert_job *j);

/* The shapes of what a tensor is made of, and that all of it has one type. */
zo2_status zo2_convert_check_tensor(const zo2_convert_job *j, uint32_t tensor);

/* Everything else that can be known before writing: shapes, types, room, and that a stored tied head is the embedding.
 * Sets total. */
zo2_status zo2_convert_check(zo2_convert_job *j);

/* 1 if both are what every shard of tensor parallelism has for itself. Copies of other kinds have the same bits or are refused. */
int zo2_convert_is_replica(const zo2_convert_job *j, const zo2_piece_copy *c);

/* Shards of tensor parallelism: ZO2_ERR_FORMAT if one is there twice, or they are of different models; a warning if replicas drifted
 * apart. Nothing to do for other checkpoints. */
zo2_status zo2_convert_check_parts(const zo2_convert_job *j);

/* The pack: carried files, then weights in canonical order. */
zo2_status zo2_convert_write(zo2_convert_job *j);

/* ZO2_ERR_CANCELLED if the caller wants no more. */
static inline zo2_status zo2_convert_report(const zo2_convert_job *j, uint64_t done)
{
    if (j->o.progress && j->o.progress(j->o.progress_ud, "convert", done, j->total))
        return zo2_error(ZO2_ERR_CANCELLED, "the conversion of %s was cancelled", j->dir);
    return ZO2_OK;
}

/* To the caller's log, if there is one. */
__attribute__((format(printf, 2, 3))) static inline void zo2_convert_warn(const zo2_convert_job *j, const char *fmt,
                                                                          ...)
{
    char text[1000];
    va_list args;
    if (!j->o.log)
        return;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    j->o.log(j->o.log_ud, ZO2_LOG_WARNING, text);
}

#endif
