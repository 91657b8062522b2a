/* freeze.c: zo2-pack freeze. */
#include <stdio.h>

#include "engine/zo2.h"
#include "tools/cli/args.h"
#include "tools/cli/numbers.h"
#include "tools/cli/progress.h"
#include "tools/cli/report.h"
#include "tools/pack/commands.h"
#include "tools/pack/work.h"

typedef struct freeze_flags {
    cli_value wire, tune, threads;
} freeze_flags;

#define AT(member) offsetof(freeze_flags, member)

// clang-format off
static const cli_option options[] = {
    {"wire", NULL, CLI_WIRE, AT(wire), "codec to write them in", CLI_NEEDED, 0},
    {"tune", "CHOICE", CLI_TEXT, AT(tune), "only those that a run with this choice leaves as they are (all)", 0, 0},
    {"threads", "N", CLI_COUNT, AT(threads), "threads (usable CPUs)", 1, 4096},
    {0},
};
// clang-format on

/* What the pack has of this wire now. */
static zo2_status show(const char *path, zo2_wire wire)
{
    zo2_pack *pack = NULL;
    zo2_frozen_wire_info w;
    zo2_status s = zo2_pack_open(&pack, path);
    for (size_t i = 0; s == ZO2_OK && (s = zo2_pack_frozen_wire(pack, i, &w)) == ZO2_OK && w.wire != wire; i++)
        ;
    if (s == ZO2_OK) {
        char count[CLI_TEXT_BYTES], size[CLI_TEXT_BYTES];
        printf("%s: %s wires of %s matrices, %s\n", path, zo2_wire_name(wire), cli_human_count(count, w.matrices),
               cli_human_size(size, w.bytes));
    }
    zo2_pack_close(pack);
    return s;
}

int pack_freeze(int argc, char **argv)
{
    freeze_flags flags = {0};
    const char *path = NULL;
    const cli_positional positionals[] = {{"FILE", "the pack", &path, false}, {0}};
    const cli_group groups[] = {{"Options", options, &flags}, {0}};
    const cli_command command = {
        "zo2-pack freeze",
        "Writes the wires of matrices into a pack, for runs that leave them as they are.",
        positionals,
        groups,
        "A run with --frozen-wire (or --wire) of that codec reads them instead of encoding, with the same bits. The weights' own\n"
        "bits stay, and so does the model hash: runs made from the pack go on. Exports have the weights' own bits.\n"
        "Other wires may be added later. FILE is written anew and replaced when that is complete: what the weights take is\n"
        "shared on XFS and Btrfs, elsewhere copied, which needs as much room again for a while.",
    };
    int status;
    if (!cli_parse(&command, argc, argv, &status))
        return cli_finish(command.program, status);

    pack_work work;
    pack_work_begin(&work, command.program, path, true);
    zo2_freeze_opts o;
    zo2_freeze_opts_init(&o);
    o.wire = zo2_wire_parse(flags.wire.text);
    o.tune = flags.tune.text;
    o.threads = (uint32_t)flags.threads.u;
    pack_work_callbacks(&work, &o.log, &o.log_ud, &o.progress, &o.progress_ud);
    zo2_status s = zo2_pack_freeze(path, &o);
    cli_progress_clear(&work.progress);
    if (s != ZO2_OK) {
        status = cli_fail(command.program, NULL, s);
        fprintf(stderr, "%s is as it was.\n", path);
        return cli_finish(command.program, status);
    }
    s = show(path, o.wire);
    if (s != ZO2_OK)
        status = cli_fail(command.program, NULL, s);
    return cli_finish(command.program, status);
}
