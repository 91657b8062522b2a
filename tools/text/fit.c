/* fit.c: see fit.h. */
#include "tools/text/fit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

zo2_status zo2t_bos_parse(const char *arg, const zo2t_tokenizer *t, const zo2_pack_info *model, int32_t *bos)
{
    *bos = -1;
    if (!strcmp(arg, "none"))
        return ZO2_OK;
    int64_t id = t ? zo2t_tokenizer_bos(t) : ZO2T_BOS_UNSAID;
    if (!strcmp(arg, "auto")) {
        if (id == ZO2T_BOS_UNSAID)
            id = model->bos_token_id;
        if (id < 0)
            return ZO2_OK;
    } else {
        char *end;
        errno = 0;
        id = arg[0] >= '0' && arg[0] <= '9' ? strtoll(arg, &end, 10) : -1;
        if (id < 0 || errno || *end)
            return zo2_error(ZO2_ERR_ARG, "BOS \"%s\": use auto, none or a token id", arg);
    }
    if (id >= model->vocab)
        return zo2_error(ZO2_ERR_ARG, "BOS id %lld is outside the model's vocabulary of %u", (long long)id,
                         model->vocab);
    *bos = (int32_t)id;
    return ZO2_OK;
}

zo2_status zo2t_fit_bos(const zo2t_tokenizer *t, const zo2_pack_info *model, zo2t_notes *notes)
{
    const int32_t its = zo2t_tokenizer_bos(t), own = model->bos_token_id;
    if (its == own || (its < 0 && own < 0))
        return ZO2_OK;
    if (its == ZO2T_BOS_UNSAID)
        return zo2t_notes_add(
            notes,
            "the tokenizer's files don't say whether a token goes in front of a text: the model's "
            "bos_token_id %d does; Hugging Face's tokenizer puts none there without a tokenizer_config.json",
            own);
    if (its < 0)
        return zo2t_notes_add(
            notes,
            "the model's bos_token_id is %d, but the tokenizer puts no token in front of a text, so none is: "
            "--bos %d if the model was trained with it",
            own, own);
    char name[32];
    snprintf(name, sizeof name, own < 0 ? "none" : "%d", own);
    return zo2t_notes_add(
        notes,
        "the model's bos_token_id is %s, but the tokenizer puts token %d in front of a text, and so does "
        "--bos auto: --bos %s for the other way",
        name, its, name);
}

zo2_status zo2t_fit_ids(const zo2t_tokenizer *t, const zo2_pack_info *model, zo2t_notes *notes)
{
    const int32_t max = zo2t_tokenizer_max_id(t);
    if ((uint32_t)max < model->vocab)
        return ZO2_OK;
    return zo2t_notes_add(
        notes,
        "the tokenizer has ids up to %d, the model's vocabulary ends with %u: texts with tokens beyond it will be "
        "refused",
        max, model->vocab - 1);
}
