/* args.h: command lines from tables. A tool has commands (zo2-pack convert, ...) or is one command itself; a command
 * has groups of options, each a constant table whose rows say where in a settings struct the value goes.
 *
 * Syntax: --name VALUE or --name=VALUE, flags without value, options anywhere, "--" ends them. The last one of an
 * option given twice counts, lists collect. --help and --version work everywhere. */
#ifndef ZO2_TOOLS_CLI_ARGS_H
#define ZO2_TOOLS_CLI_ARGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Requests of the build, not listed in the help: man page source and completion table (args_man.h). */
#define CLI_HELP_ROFF       "--help=roff"
#define CLI_HELP_COMPLETION "--help=completion"

enum { CLI_EXIT_OK = 0, CLI_EXIT_FAILED = 1, CLI_EXIT_USAGE = 2, CLI_EXIT_INTERRUPTED = 130 };

/* What an option brought. All zero: it was absent. text points into argv. */
typedef struct cli_value {
    bool given;
    const char *text; /* the value as written */
    uint64_t u;       /* CLI_COUNT, CLI_SIZE */
    double f;         /* CLI_REAL, CLI_ABOVE0, CLI_TIME (seconds) */
} cli_value;

/* The same of a list: v is the last one's. */
enum { CLI_MOST_TEXTS = 16 };
typedef struct cli_list {
    cli_value v; /* first: what all options have */
    const char *texts[CLI_MOST_TEXTS];
    uint32_t n;
} cli_list;

typedef enum cli_kind {
    CLI_FLAG,
    CLI_TEXT,   /* not empty; must be given if min is CLI_NEEDED */
    CLI_COUNT,  /* integer in [min, max]; max 0 = UINT64_MAX */
    CLI_SIZE,   /* bytes, see cli_parse_size(); at least min. `value` may end in "|off", which is 0 */
    CLI_TIME,   /* seconds */
    CLI_REAL,   /* finite, at least 0 */
    CLI_ABOVE0, /* finite, above 0 */
    CLI_CHOICE, /* one of `value`, separated by "|" */
    CLI_WIRE,   /* the name of a wire of the library; `value` is NULL */
    CLI_TEXTS,  /* CLI_TEXT, as often as there are values: a cli_list */
} cli_kind;

enum { CLI_NEEDED = 1 };

typedef struct cli_option {
    const char *name;  /* without dashes; NULL ends a table */
    const char *value; /* placeholder in the help, choices of CLI_CHOICE; NULL for flags and CLI_WIRE */
    cli_kind kind;
    size_t offset;    /* of the cli_value, or cli_list, in the group's settings */
    const char *help; /* one line, default included */
    uint64_t min, max;
} cli_option;

typedef struct cli_group {
    const char *title;         /* heading in the help; NULL: goes on under the last one */
    const cli_option *options; /* NULL ends the list of groups */
    void *settings;
} cli_group;

typedef struct cli_positional {
    const char *name; /* "FILE", or the words it may be, separated by "|"; NULL ends the list */
    const char *help; /* NULL: not shown, one more of what is before it */
    const char **out; /* NULL stored when absent */
    bool optional;    /* the last one only */
} cli_positional;

typedef struct cli_command {
    const char *program;               /* "zo2-pack convert": begins messages and the usage line */
    const char *summary;               /* one line */
    const cli_positional *positionals; /* NULL: none */
    const cli_group *groups;           /* NULL: none */
    const char *notes;                 /* end of the help, NULL: none */
} cli_command;

/* Reads argv[1 .. argc - 1] and sees that what must be given was. True: go on. False: *exit_status is the process's
 * (0 after --help or --version, 2 after a usage error, which is on stderr by then). */
bool cli_parse(const cli_command *c, int argc, char **argv, int *exit_status);

/* A usage error found later (an option that another one needs). Prints it with a hint at --help; returns
 * CLI_EXIT_USAGE. */
int cli_usage_error(const cli_command *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* A tool of several commands. */
typedef struct cli_subcommand {
    const char *name; /* NULL ends the list */
    const char *summary;
    int (*run)(int argc, char **argv); /* argv[0] is the name */
} cli_subcommand;

int cli_dispatch(const char *tool, const char *summary, const cli_subcommand *list, int argc, char **argv);

#endif
