/* convert.c: a checkpoint's directory to a pack: the order of work. First everything that can be known without reading
 * weights is checked (every tensor there, shape, type), then the weights stream in canonical order, through
 * pack_weights.c. The source's own bits are kept. */
#include "engine/base/finish.h"
#include "engine/base/opts.h"
#include "engine/model/arch.h"
#include "engine/model/place.h"
#include "engine/pack/convert_job.h"
#include "engine/pack/pieces.h"
#include "storage/checkpoint/checkpoint.h"
#include "storage/pack/packfile_zstd.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

void zo2_convert_opts_init_sized(zo2_convert_opts *o, size_t size)
{
    zo2_convert_opts own = {.struct_size = sizeof own};
    zo2_opts_give(o, size, &own, sizeof own);
}

/* Ids that the model can't have, where that is felt: texts are made without the one, and Hugging Face's OPT can't be
 * built with the other. */
static void warn_tokens(const zo2_convert_job *j)
{
    static const char *const keys[] = {"bos_token_id", "pad_token_id"};
    static const char *const meanings[] = {"texts get no such token in front",
                                           "Hugging Face can't load the model or its exports until that is null"};
    const int beyond[] = {j->arch.bos_beyond, j->arch.pad_beyond};
    char text[512];
    for (size_t i = 0; i < sizeof keys / sizeof *keys && j->o.log; i++) {
        if (!beyond[i])
            continue;
        snprintf(text, sizeof text, "%.200s/config.json: \"%s\" is beyond the vocabulary of %" PRIu32 ": %s", j->dir,
                 keys[i], j->arch.vocab, meanings[i]);
        j->o.log(j->o.log_ud, ZO2_LOG_WARNING, text);
    }
}

static zo2_status convert(zo2_convert_job *j, zo2_place_fn place)
{
    zo2_status s;
    if ((s = zo2_checkpoint_recognise(&j->reader, j->dir)) || (s = zo2_convert_config(j)) ||
        (!j->source && (s = zo2_checkpoint_open(&j->source, j->reader, j->dir))) || (s = zo2_convert_check_plain(j)) ||
        (s = zo2_convert_map(j, place)) || (s = zo2_convert_check(j)))
        return s;
    warn_tokens(j);
    return zo2_convert_write(j);
}

zo2_status zo2_convert_with(const char *dir, const char *out, const zo2_convert_opts *o, zo2_place_fn place)
{
    zo2_status s;
    zo2_convert_job j = {.dir = dir, .out = out};
    if (!dir || !out)
        return zo2_error(ZO2_ERR_ARG, "zo2_pack_convert: hf_dir and out are needed");
    zo2_convert_opts_init(&j.o);
    if (!zo2_opts_take(&j.o, sizeof j.o, o))
        return zo2_error(ZO2_ERR_ARG, "zo2_pack_convert: struct_size is not set: use zo2_convert_opts_init()");
    if (!(s = zo2_zstd_level_check("zo2_pack_convert", j.o.zstd_level)))
        s = convert(&j, place);
    zo2_pieces_free(&j.pieces);
    zo2_checkpoint_close(j.source);
    zo2_arch_free(&j.arch);
    free(j.config);
    return s;
}

zo2_status zo2_pack_convert(const char *hf_dir, const char *out, const zo2_convert_opts *o)
{
    return zo2_finish(zo2_convert_with(hf_dir, out, o, NULL));
}
