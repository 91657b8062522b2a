/* commands.h: the commands of zo2-tune. Each gets its own arguments (argv[0] is the command's name) and returns the
 * process's exit status. */
#ifndef ZO2_TOOLS_TUNE_COMMANDS_H
#define ZO2_TOOLS_TUNE_COMMANDS_H

int tune_train(int argc, char **argv);
int tune_warm(int argc, char **argv);
int tune_eval(int argc, char **argv);
int tune_log(int argc, char **argv);
int tune_tokenize(int argc, char **argv);

#endif
