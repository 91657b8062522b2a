/* tune_main.c: zo2-tune, which fine-tunes and evaluates models. */
#include "tools/cli/args.h"
#include "tools/tune/commands.h"

int main(int argc, char **argv)
{
    static const cli_subcommand commands[] = {
        {"train", "fine-tune a model on a data file", tune_train},
        {"warm", "compute what a run's steps share, for all lines, before the first of them", tune_warm},
        {"eval", "loss or accuracy of a model, or of a run, on a data file", tune_eval},
        {"log", "show what a run did", tune_log},
        {"tokenize", "show the tokens of a text", tune_tokenize},
        {0},
    };
    return cli_dispatch("zo2-tune",
                        "Fine-tunes a language model, or a part of it, with zeroth-order steps: forward passes only.",
                        commands, argc, argv);
}
