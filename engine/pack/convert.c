/* convert.c: a checkpoint's directory to a pack: the order of work. First everything that can be known without reading
 * weights is checked (every tensor there, shape, type), then the weights stream in canonical order, through
 * pack_weights.c. The source's own bits are kept. */
#include "engine/base/finish.h"
#include "engine/base/opts.h"
#include "engine/families/families.h"
#include "engine/model/arch.h"
#include "engine/model/place.h"
#include "engine/pack/convert_job.h"
#include "engine/pack/pieces.h"
#include "storage/checkpoint/checkpoint.h"
#include "storage/io/io.h"
#include "storage/pack/packfile_zstd.h"

#include <stdlib.h>

void zo2_convert_opts_init_sized(zo2_convert_opts *o, size_t size)
{
    zo2_convert_opts own = {.struct_size = sizeof own};
    zo2_opts_give(o, size, &own, sizeof own);
}

static zo2_status load_config(zo2_convert_job *j)
{
    char *path = zo2_path_join(j->dir, "config.json");
    if (!path)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory for the name of %s/config.json", j->dir);
    zo2_status s = zo2_io_slurp(path, ZO2_MAX_CARRIED_BYTES, &j->config, &j->config_bytes);
    if (s == ZO2_ERR_NOTFOUND)
        s = zo2_error(s, "%s has no config.json: it isn't a Hugging Face model directory", j->dir);
    if (!s)
        s = zo2_arch_from_config(&j->arch, j->config, j->config_bytes, path);
    free(path);
    return s;
}

static zo2_status convert(zo2_convert_job *j, zo2_place_fn place)
{
    const zo2_checkpoint_reader *reader;
    zo2_status s;
    if ((s = zo2_checkpoint_recognise(&reader, j->dir)) || (s = load_config(j)) ||
        (s = zo2_checkpoint_open(&j->source, reader, j->dir)) || (s = zo2_convert_map(j, place)) ||
        (s = zo2_convert_check(j)))
        return s;
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
