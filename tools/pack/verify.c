/* verify.c: zo2-pack verify. */
#include <stdio.h>

#include "engine/zo2.h"
#include "tools/cli/args.h"
#include "tools/cli/interrupt.h"
#include "tools/cli/numbers.h"
#include "tools/cli/progress.h"
#include "tools/cli/report.h"
#include "tools/pack/commands.h"

static int verify_file(const char *program, const char *path, cli_progress *progress)
{
    zo2_pack *pack = NULL;
    zo2_pack_info info;
    zo2_status s = zo2_pack_open(&pack, path);
    if (s == ZO2_OK)
        s = zo2_pack_get_info(pack, &info);
    if (s == ZO2_OK)
        s = zo2_pack_verify(pack, cli_progress_work, progress);
    cli_progress_clear(progress);
    zo2_pack_close(pack);
    if (s != ZO2_OK) {
        int status = cli_fail(program, NULL, s);
        if (s == ZO2_ERR_FORMAT)
            fprintf(stderr, "%s is damaged: convert the model again, or restore the file from a copy.\n", path);
        return status;
    }
    char count[CLI_TEXT_BYTES], size[CLI_TEXT_BYTES];
    printf("%s: ok, %s tensors, %s, model hash 0x%016llx\n", path, cli_human_count(count, info.tensors),
           cli_human_size(size, info.file_bytes), (unsigned long long)info.model_hash);
    return CLI_EXIT_OK;
}

static int verify_run(const char *program, const char *run_dir, const char *path)
{
    zo2_status s = zo2_run_verify(run_dir, path);
    if (s != ZO2_OK)
        return cli_fail(program, run_dir, s);
    zo2_run *run = NULL;
    s = zo2_run_open(&run, run_dir);
    if (s != ZO2_OK)
        return cli_fail(program, run_dir, s);
    char count[CLI_TEXT_BYTES];
    printf("%s: ok, %s steps\n", run_dir, cli_human_count(count, zo2_run_steps(run)));
    zo2_run_close(run);
    return CLI_EXIT_OK;
}

int pack_verify(int argc, char **argv)
{
    cli_value run = {0};
    static const cli_option options[] = {
        {"run", "RUN_DIR", CLI_TEXT, 0, "check this run's journal and snapshots too", 0, 0},
        {0},
    };
    const char *path = NULL;
    const cli_positional positionals[] = {{"FILE", "a pack", &path, false}, {0}};
    const cli_group groups[] = {{"Options", options, &run}, {0}};
    const cli_command command = {
        "zo2-pack verify",
        "Reads all of a pack and checks every hash; the first bad chunk is named.",
        positionals,
        groups,
        NULL,
    };
    int status;
    if (!cli_parse(&command, argc, argv, &status))
        return cli_finish(command.program, status);

    cli_progress progress;
    cli_progress_init(&progress, command.program, false);
    cli_interrupt_install();
    status = verify_file(command.program, path, &progress);
    if (status == CLI_EXIT_OK && run.given)
        status = verify_run(command.program, run.text, path);
    return cli_finish(command.program, status);
}
