/* commands.h: the commands of zo2-pack. Each gets its own arguments (argv[0] is the command's name) and returns the
 * process's exit status. */
#ifndef ZO2_TOOLS_PACK_COMMANDS_H
#define ZO2_TOOLS_PACK_COMMANDS_H

int pack_convert(int argc, char **argv);
int pack_synth(int argc, char **argv);
int pack_info(int argc, char **argv);
int pack_verify(int argc, char **argv);
int pack_export(int argc, char **argv);
int pack_apply(int argc, char **argv);
int pack_tokenizer(int argc, char **argv);
int pack_freeze(int argc, char **argv);

#endif
