/* args_help.h: help texts made from the option tables. */
#ifndef ZO2_TOOLS_CLI_ARGS_HELP_H
#define ZO2_TOOLS_CLI_ARGS_HELP_H

#include "tools/cli/args.h"

/* Usage line, arguments, options by group, notes; on stdout. */
void cli_print_help(const cli_command *c);

/* Is this one that must be given? */
bool cli_is_needed(const cli_option *o);

/* What the placeholders SIZE and TIME mean, for a command that has options with them: one line or "". */
const char *cli_units(const cli_command *c);

/* The commands of a tool; on stdout. */
void cli_print_commands(const char *tool, const char *summary, const cli_subcommand *list);

#endif
