/* tune_count.c: zo2_tune_count(): what a choice of tensors comes to, before there is a run. */
#include "engine/base/finish.h"
#include "engine/base/opts.h"
#include "engine/families/families.h"
#include "engine/model/arch.h"
#include "engine/model/tune.h"

static void count(zo2_tune_info *out, const zo2_arch *model, const zo2_arch *a)
{
    *out = (zo2_tune_info){
        .struct_size = sizeof *out,
        .parameters = model->parameters,
        .moving = a->moving,
        .tensors = model->n_tensors,
        .layers = a->layers,
        .fork_block = a->fork,
        .groups = a->groups,
        .rows = a->n_rows,
        .hidden = a->hidden,
        .master_bytes = a->moving * sizeof(float),
        .token_bytes = zo2_has_trunk(a) ? (uint64_t)a->hidden * sizeof(float) : 0,
    };
    for (uint32_t i = 0; i < a->n_tensors; i++) {
        out->moving_tensors += !a->tensors[i].frozen;
        out->lora_tensors += (uint32_t)zo2_is_lora(&a->tensors[i]);
    }
}

zo2_status zo2_tune_count_sized(const char *arch_or_pack, const char *tune, zo2_tune_info *out, size_t size)
{
    if (!arch_or_pack || !out)
        return zo2_error(ZO2_ERR_ARG, "zo2_tune_count: the architecture and out are needed");
    zo2_arch model = {0}, arch = {0};
    zo2_tune_info own = {.struct_size = sizeof own};
    zo2_status s = zo2_arch_load(&model, arch_or_pack, NULL);
    if (!s)
        s = zo2_arch_tune(&arch, &model, tune, 1);
    if (!s)
        count(&own, &model, &arch);
    zo2_opts_give(out, size, &own, sizeof own); /* a refusal leaves zeros */
    zo2_arch_free(&arch);
    zo2_arch_free(&model);
    return zo2_finish(s);
}
