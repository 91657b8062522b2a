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
    cli_value wire, tune, threads, remove, drop_source;
} freeze_flags;

#define AT(member) offsetof(freeze_flags, member)

// clang-format off
static const cli_option options[] = {
    {"wire", NULL, CLI_WIRE, AT(wire), "codec to write them in", CLI_NEEDED, 0},
    {"tune", "CHOICE", CLI_TEXT, AT(tune), "only those that a run with this choice leaves as they are (all)", 0, 0},
    {"remove", NULL, CLI_FLAG, AT(remove), "take such wires out of the pack again", 0, 0},
    {"drop-source", NULL, CLI_FLAG, AT(drop_source), "leave FILE as it is, and write OUT, with these wires instead of the matrices' own bits", 0, 0},
    {"threads", "N", CLI_COUNT, AT(threads), "threads (usable CPUs)", 1, 4096},
    {0},
};
// clang-format on

/* Options that need or exclude each other. Returns 0, or the exit status. */
static int check_flags(const cli_command *c, const freeze_flags *f, const char *out)
{
    if (f->drop_source.given && f->remove.given)
        return cli_usage_error(c, "--remove takes wires out, and --drop-source leaves nothing else: choose one");
    if (f->drop_source.given && !out)
        return cli_usage_error(
            c, "--drop-source needs OUT, the name of a new pack: what it leaves out can't be had back from "
               "there, so FILE stays");
    if (!f->drop_source.given && out)
        return cli_usage_error(c, "%s: OUT goes with --drop-source; other wires are written into FILE itself", out);
    return 0;
}

/* What the pack has of this wire now. */
static zo2_status show(const char *path, zo2_wire wire)
{
    zo2_pack *pack = NULL;
    zo2_frozen_wire_info w;
    zo2_status s = zo2_pack_open(&pack, path);
    for (size_t i = 0; s == ZO2_OK && (s = zo2_pack_frozen_wire(pack, i, &w)) == ZO2_OK && w.wire != wire; i++)
        ;
    if (s == ZO2_ERR_NOTFOUND) {
        printf("%s: no %s wires\n", path, zo2_wire_name(wire));
        s = ZO2_OK;
    } else if (s == ZO2_OK) {
        char count[CLI_TEXT_BYTES], size[CLI_TEXT_BYTES];
        printf("%s: %s wires of %s matrices, %s", path, zo2_wire_name(wire), cli_human_count(count, w.matrices),
               cli_human_size(size, w.bytes));
        if (w.dropped)
            printf("; no other bits of %s of them", cli_human_count(count, w.dropped));
        putchar('\n');
    }
    zo2_pack_close(pack);
    return s;
}

int pack_freeze(int argc, char **argv)
{
    freeze_flags flags = {0};
    const char *path = NULL, *out = NULL;
    const cli_positional positionals[] = {
        {"FILE", "the pack", &path, false}, {"OUT", "the new one of --drop-source", &out, true}, {0}};
    const cli_group groups[] = {{"Options", options, &flags}, {0}};
    const cli_command command = {
        "zo2-pack freeze",
        "Writes the wires of matrices into a pack, for runs that leave them as they are.",
        positionals,
        groups,
        "A run with --frozen-wire (or --wire) of that codec reads them instead of encoding, with the same bits. The weights' own\n"
        "bits stay, and so does the model hash: runs made from the pack go on. Exports have the weights' own bits.\n"
        "Other wires may be added later, and all be taken out again. FILE is written anew and replaced when that is complete: on\n"
        "XFS and Btrfs it shares what the weights take, elsewhere that is copied, which needs as much room again for a while.\n"
        "\n"
        "--drop-source makes a small pack to ship: OUT has of these matrices only this wire. Keep FILE: runs made with OUT are\n"
        "runs of both, bit for bit, but exports of whole models, other wires and runs that move these matrices need FILE.\n"
        "Evaluations at the exact weights take what the wire says of them.",
    };
    int status;
    if (!cli_parse(&command, argc, argv, &status))
        return cli_finish(command.program, status);
    status = check_flags(&command, &flags, out);
    if (status)
        return cli_finish(command.program, status);

    pack_work work;
    pack_work_begin(&work, command.program, out ? out : path, !out);
    zo2_freeze_opts o;
    zo2_freeze_opts_init(&o);
    o.wire = zo2_wire_parse(flags.wire.text);
    o.tune = flags.tune.text;
    o.threads = (uint32_t)flags.threads.u;
    o.remove = flags.remove.given;
    o.drop_to = out;
    pack_work_callbacks(&work, &o.log, &o.log_ud, &o.progress, &o.progress_ud);
    zo2_status s = zo2_pack_freeze(path, &o);
    cli_progress_clear(&work.progress);
    if (s != ZO2_OK) {
        status = cli_fail(command.program, NULL, s);
        fprintf(stderr, "%s is as it was.\n", path);
        return cli_finish(command.program, status);
    }
    s = show(out ? out : path, o.wire);
    if (s != ZO2_OK)
        status = cli_fail(command.program, NULL, s);
    return cli_finish(command.program, status);
}
