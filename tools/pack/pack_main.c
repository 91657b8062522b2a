/* pack_main.c: zo2-pack, which makes, examines and exports packs (*.zo2). */
#include "tools/cli/args.h"
#include "tools/pack/commands.h"

int main(int argc, char **argv)
{
    static const cli_subcommand commands[] = {
        {"convert", "make a pack from a Hugging Face directory", pack_convert},
        {"info", "show what a pack, or a bundle, holds", pack_info},
        {"verify", "check every byte of a pack, and of a run", pack_verify},
        {"export", "write a Hugging Face directory, with a run's weights if wanted", pack_export},
        {"apply", "write the same from a pack and a run's bundle", pack_apply},
        {"tokenizer", "give a pack another tokenizer", pack_tokenizer},
        {"freeze", "write wires of matrices that runs leave as they are into a pack", pack_freeze},
        {"synth", "make a pack of random weights for measurements", pack_synth},
        {0},
    };
    return cli_dispatch("zo2-pack", "Makes, examines and exports packs: converted model files (*.zo2).", commands, argc,
                        argv);
}
