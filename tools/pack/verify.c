/* verify.c: zo2-pack verify. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "engine/zo2.h"
#include "tools/cli/args.h"
#include "tools/cli/interrupt.h"
#include "tools/cli/numbers.h"
#include "tools/cli/progress.h"
#include "tools/cli/report.h"
#include "tools/pack/commands.h"
#include "tools/pack/run_folder.h"

/* Wires that nothing is there to compare with. */
static void print_unchecked(const zo2_pack *pack)
{
    zo2_frozen_wire_info w;
    for (size_t i = 0; zo2_pack_frozen_wire(pack, i, &w) == ZO2_OK; i++) {
        char count[CLI_TEXT_BYTES];
        if (w.dropped)
            printf(
                "the %s wires of %s matrices have right checksums; their source bits, which they could be compared with, were dropped\n",
                zo2_wire_name(w.wire) ? zo2_wire_name(w.wire) : "unknown", cli_human_count(count, w.dropped));
    }
}

static int verify_file(const char *program, const char *path, cli_progress *progress)
{
    zo2_pack *pack = NULL;
    zo2_pack_info info;
    zo2_status s = zo2_pack_open(&pack, path);
    struct stat st;
    bool a_file = stat(path, &st) == 0 && S_ISREG(st.st_mode);
    if (s == ZO2_OK)
        s = zo2_pack_get_info(pack, &info);
    if (s == ZO2_OK)
        s = zo2_pack_verify(pack, cli_progress_work, progress);
    cli_progress_clear(progress);
    if (s != ZO2_OK) {
        zo2_pack_close(pack);
        int status = cli_fail(program, NULL, s);
        if (s == ZO2_ERR_FORMAT && a_file)
            fprintf(stderr, "%s is damaged, or no pack: convert the model again, or restore the file from a copy.\n",
                    path);
        return status;
    }
    char count[CLI_TEXT_BYTES], size[CLI_TEXT_BYTES];
    printf("%s: ok, %s tensors, %s, model hash 0x%016llx\n", path, cli_human_count(count, info.tensors),
           cli_human_size(size, info.file_bytes), (unsigned long long)info.model_hash);
    print_unchecked(pack);
    zo2_pack_close(pack);
    return CLI_EXIT_OK;
}

static int verify_run(const char *program, const char *run_dir, const char *path, const char *snapshots)
{
    uint32_t count = 0;
    zo2_run *run = NULL;
    zo2_status s = zo2_run_verify(run_dir, path, snapshots, &count);
    if (s == ZO2_OK)
        s = zo2_run_open(&run, run_dir);
    if (s != ZO2_OK)
        return cli_fail(program, NULL, s);
    char steps[CLI_TEXT_BYTES];
    printf("%s: ok, %s steps, %u snapshot%s in %s%s\n", run_dir, cli_human_count(steps, zo2_run_steps(run)), count,
           count == 1 ? "" : "s", snapshots ? snapshots : run_dir, snapshots ? "" : "/snapshots");
    zo2_run_close(run);
    return CLI_EXIT_OK;
}

/* What a run's masters were spilled to, if they were. */
static int verify_spill(const char *program, const char *run_dir, const cli_list *named, cli_progress *progress)
{
    pack_spills spills;
    uint64_t chunks = 0;
    pack_spills_find(&spills, run_dir, named);
    const uint32_t n = spills.n;
    zo2_status s = n ? zo2_run_verify_spill(run_dir, spills.dirs, n, cli_progress_work, progress, &chunks) : ZO2_OK;
    cli_progress_clear(progress);
    pack_spills_free(&spills);
    if (s != ZO2_OK)
        return cli_fail(program, NULL, s);
    char count[CLI_TEXT_BYTES];
    if (n)
        printf("%s: ok, %s spilled chunks in %u folder%s\n", run_dir, cli_human_count(count, chunks), n,
               n == 1 ? "" : "s");
    return CLI_EXIT_OK;
}

int pack_verify(int argc, char **argv)
{
    struct {
        cli_value run, snapshot;
        cli_list spill;
    } flags = {0};
    static const cli_option options[] = {
        {"run", "RUN_DIR", CLI_TEXT, 0, "check this run's journal, snapshots and spilled masters too", 0, 0},
        {"snapshot", "DIR", CLI_TEXT, sizeof(cli_value),
         "the run's snapshots are there (where it was told to put them)", 0, 0},
        {"spill", "DIR", CLI_TEXTS, 2 * sizeof(cli_value),
         "the run's masters were spilled there (where it was told to); may be repeated", 0, 0},
        {0},
    };
    const char *path = NULL;
    const cli_positional positionals[] = {{"FILE", "a pack", &path, false}, {0}};
    const cli_group groups[] = {{"Options", options, &flags}, {0}};
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
    if (!flags.run.given && (flags.snapshot.given || flags.spill.n))
        return cli_usage_error(&command, "--%s needs --run", flags.snapshot.given ? "snapshot" : "spill");

    cli_progress progress;
    cli_progress_init(&progress, command.program, false);
    cli_interrupt_install();
    status = verify_file(command.program, path, &progress);
    if (status == CLI_EXIT_OK && flags.run.given) {
        char *remembered = flags.snapshot.given ? NULL : pack_run_snapshots(flags.run.text);
        status =
            verify_run(command.program, flags.run.text, path, flags.snapshot.given ? flags.snapshot.text : remembered);
        free(remembered);
        if (status == CLI_EXIT_OK)
            status = verify_spill(command.program, flags.run.text, &flags.spill, &progress);
    }
    return cli_finish(command.program, status);
}
