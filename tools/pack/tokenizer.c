/* tokenizer.c: zo2-pack tokenizer. */
#include <stdio.h>

#include "engine/zo2.h"
#include "tools/cli/args.h"
#include "tools/cli/progress.h"
#include "tools/cli/report.h"
#include "tools/pack/commands.h"
#include "tools/pack/tokenizer_check.h"
#include "tools/pack/work.h"

/* Can the folder's tokenizer be used with this pack? Returns the exit status. */
static int check(const char *program, const char *path, const char *dir)
{
    zo2_pack *pack = NULL;
    zo2_pack_info info;
    zo2_status s = zo2_pack_open(&pack, path);
    if (s == ZO2_OK)
        s = zo2_pack_get_info(pack, &info);
    int status = s == ZO2_OK ? pack_tokenizer_check(program, dir, &info, true) : cli_fail(program, NULL, s);
    zo2_pack_close(pack);
    return status;
}

int pack_tokenizer(int argc, char **argv)
{
    const char *path = NULL, *dir = NULL;
    const cli_positional positionals[] = {
        {"FILE", "the pack", &path, false},
        {"DIR", "directory with the tokenizer files", &dir, false},
        {0},
    };
    const cli_group groups[] = {{0}};
    const cli_command command = {
        "zo2-pack tokenizer",
        "Gives a pack another tokenizer, without converting the model again.",
        positionals,
        groups,
        "DIR's tokenizer files and chat template replace all of the pack's; generation_config.json too if it is there.\n"
        "Weights, config.json and the model hash stay, so runs made from the pack do. A run goes on if its training file\n"
        "has the same tokens with the new files, else zo2-tune refuses to resume it.\n"
        "FILE is written anew and replaced when that is complete: on XFS and Btrfs at once, elsewhere by a copy that needs\n"
        "as much room again for a while.",
    };
    int status;
    if (!cli_parse(&command, argc, argv, &status))
        return cli_finish(command.program, status);
    status = check(command.program, path, dir);
    if (status != CLI_EXIT_OK)
        return cli_finish(command.program, status);

    pack_work work;
    pack_work_begin(&work, command.program, path, true);
    zo2_tokenizer_opts o;
    zo2_tokenizer_opts_init(&o);
    pack_work_callbacks(&work, &o.log, &o.log_ud, &o.progress, &o.progress_ud);
    zo2_status s = zo2_pack_set_tokenizer(path, dir, &o);
    cli_progress_clear(&work.progress);
    if (s == ZO2_OK) {
        printf("%s: the tokenizer of %s\n", path, dir);
    } else {
        status = cli_fail(command.program, NULL, s);
        fprintf(stderr, "%s is as it was.\n", path);
    }
    return cli_finish(command.program, status);
}
