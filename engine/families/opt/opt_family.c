/* opt_family.c: the family's table. */
#include "engine/families/opt/opt_family.h"
#include "engine/families/opt/opt.h"

static const zo2_naming namings[] = {
    {"metaseq", zo2_opt_place_metaseq},
    {NULL, NULL},
};

const zo2_family zo2_family_opt = {
    .model_type = "opt",
    .class_name = ZO2_OPT_CLASS,
    .head_name = ZO2_OPT_HEAD,
    .published_name = zo2_opt_published_name,
    .published = zo2_opt_published,
    .read_config = zo2_opt_read_config,
    .write_config = zo2_opt_write_config,
    .build_tensors = zo2_opt_build_tensors,
    .bare_name = zo2_opt_bare_name,
    .namings = namings,
    .ignores = zo2_opt_ignores,
    .embed = zo2_opt_embed,
    .layer = zo2_opt_layer,
    .finish = zo2_opt_finish,
};
