/* tokenizer_check.c: see tokenizer_check.h. */
#include "tools/pack/tokenizer_check.h"

#include <stdio.h>

#include "tools/cli/args.h"
#include "tools/cli/report.h"
#include "tools/text/fit.h"

/* Where tokenizer and model don't fit. */
static zo2_status warn_of_fit(const char *program, const char *dir, const zo2t_tokenizer *t, const zo2_pack_info *model)
{
    zo2t_notes notes = {0};
    zo2_status s = zo2t_fit_bos(t, model, &notes);
    if (s == ZO2_OK)
        s = zo2t_fit_ids(t, model, &notes);
    for (size_t i = 0; i < notes.n; i++)
        cli_warning(program, "%s: %s", dir, notes.text[i]);
    zo2t_notes_free(&notes);
    return s;
}

int pack_tokenizer_check(const char *program, const char *dir, const zo2_pack_info *model, bool needed)
{
    zo2t_tokenizer *t;
    zo2_status s = zo2t_tokenizer_open_folder(&t, dir);
    for (size_t i = 0; s == ZO2_OK && zo2t_tokenizer_note(t, i); i++)
        cli_warning(program, "%s: %s", dir, zo2t_tokenizer_note(t, i));
    if (s == ZO2_OK) {
        s = warn_of_fit(program, dir, t, model);
    } else if ((s == ZO2_ERR_NOTFOUND && !needed) || s == ZO2_ERR_UNSUPPORTED) {
        cli_warning(program, "%s: %s; zo2-tune will take only ready ids with this pack, {\"tokens\": [...]}", dir,
                    zo2_last_error());
        s = ZO2_OK;
    }
    zo2t_tokenizer_close(t);
    if (s == ZO2_OK)
        return CLI_EXIT_OK;
    int status = cli_fail(program, dir, s);
    if (s == ZO2_ERR_FORMAT && !needed)
        fprintf(
            stderr,
            "Nothing was written: zo2-tune would refuse such a pack. Get the file again, or take the tokenizer's files out of "
            "the\nfolder to convert without them.\n");
    return status;
}
