/* opt.h: the parts of the OPT family's table. Private to this folder. */
#ifndef ZO2_ENGINE_FAMILIES_OPT_OPT_H
#define ZO2_ENGINE_FAMILIES_OPT_OPT_H

#include "engine/forward/batch.h"
#include "engine/forward/forward.h"
#include "engine/model/arch.h"
#include "engine/model/family.h"

/* The learned position table starts with two rows that no real token uses: a token's row is its position + 2. */
#define ZO2_OPT_POSITION_OFFSET 2u

/* The class that Hugging Face loads these tensors with, whatever class wrote them. */
#define ZO2_OPT_CLASS "OPTForCausalLM"

/* The head's name: it is outside the decoder. */
#define ZO2_OPT_HEAD "lm_head.weight"

/* What each does: family.h. */
const char *zo2_opt_published_name(const zo2_family *f, uint32_t i);
void zo2_opt_published(zo2_arch *a, uint32_t i);
zo2_status zo2_opt_read_config(zo2_arch *a, const struct json_t *config, const char *path);
char *zo2_opt_write_config(const zo2_arch *a, zo2_dtype dtype);
zo2_status zo2_opt_build_tensors(zo2_arch *a, const char *what);
const char *zo2_opt_bare_name(const char *name);
int zo2_opt_ignores(const char *name);
int zo2_opt_place_metaseq(const zo2_arch *a, const struct zo2_stored *t, uint32_t i, struct zo2_place *out);
zo2_status zo2_opt_embed(zo2_forward_pass *f, const zo2_micro *mb, zo2_act h);
zo2_status zo2_opt_layer(zo2_forward_pass *f, const zo2_micro *mb, uint32_t layer, zo2_act h);
zo2_status zo2_opt_finish(zo2_forward_pass *f, uint64_t m, zo2_act x, zo2_act y);

#endif
