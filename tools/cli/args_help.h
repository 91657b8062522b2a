/* args_help.h: help texts made from the option tables. */
#ifndef ZO2_TOOLS_CLI_ARGS_HELP_H
#define ZO2_TOOLS_CLI_ARGS_HELP_H

#include "tools/cli/args.h"

/* Usage line, arguments, options by group, notes; on stdout. */
void cli_print_help(const cli_command *c);

/* Is this one that must be given? */
bool cli_is_needed(const cli_option *o);

enum { CLI_PLACEHOLDER_BYTES = 256 };
/* What stands for an option's value in texts: its placeholder, or its choices with "|" between them, which a wire's are made
 * of in `made`. NULL for flags. */
const char *cli_placeholder(const cli_option *o, char made[CLI_PLACEHOLDER_BYTES]);

/* What the placeholders SIZE and TIME mean, for a command that has options with them: one line or "". */
const char *cli_units(const cli_command *c);

/* The commands of a tool; on stdout. */
void cli_print_commands(const char *tool, const char *summary, const cli_subcommand *list);

#endif
