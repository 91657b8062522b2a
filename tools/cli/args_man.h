/* args_man.h: man pages and bash completion made from the option tables that --help shows, so that none of the three can
 * drift from what the parser takes. The build calls them through "--help=roff" and "--help=completion" (args.h). */
#ifndef ZO2_TOOLS_CLI_ARGS_MAN_H
#define ZO2_TOOLS_CLI_ARGS_MAN_H

#include "tools/cli/args.h"

/* One command as roff (man macros): a section of a tool of several commands, or the body of the page of a tool that is
 * one. On stdout. */
void cli_print_roff(const cli_command *c);

/* Head of the page of a tool of several commands: title, synopsis, commands. Each command's cli_print_roff() follows. */
void cli_print_roff_head(const char *tool, const char *summary, const cli_subcommand *list);

/* Lines for tools/man/completion.sh, on stdout: "command NAME", then one line an option and positional:
 * "option --NAME KIND [CHOICE...]", "positional KIND". KIND is flag, value, choice, file or directory. */
void cli_print_completion(const cli_command *c);

#endif
