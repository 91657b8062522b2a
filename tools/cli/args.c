/* args.c: the option parser; the help text is in args_help.c. */
#include "tools/cli/args.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "engine/zo2.h"
#include "tools/cli/args_help.h"
#include "tools/cli/args_man.h"
#include "tools/cli/numbers.h"
#include "tools/cli/report.h"

int cli_usage_error(const cli_command *c, const char *fmt, ...)
{
    va_list args;
    fprintf(stderr, "%s: ", c->program);
    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);
    fprintf(stderr, " (see %s --help)\n", c->program);
    return CLI_EXIT_USAGE;
}

static const cli_option *find_option(const cli_command *c, const char *name, size_t bytes, void **settings)
{
    for (const cli_group *g = c->groups; g && g->options; g++)
        for (const cli_option *o = g->options; o->name; o++)
            if (strlen(o->name) == bytes && !memcmp(o->name, name, bytes)) {
                *settings = g->settings;
                return o;
            }
    return NULL;
}

static bool is_choice(const char *choices, const char *text)
{
    size_t bytes = strlen(text);
    for (const char *p = choices; bytes;) {
        size_t n = strcspn(p, "|");
        if (n == bytes && !memcmp(p, text, n))
            return true;
        if (!p[n])
            break;
        p += n + 1;
    }
    return false;
}

/* Is it "off", where a size may be that? */
static bool is_off(const cli_option *o, const char *text)
{
    const char *bar = strchr(o->value, '|');
    return bar && !strcmp(bar + 1, "off") && !strcmp(text, "off");
}

/* Converts v->text for option o. False: said so on stderr. */
static bool convert(const cli_command *c, const cli_option *o, cli_value *v)
{
    char low[CLI_TEXT_BYTES], high[CLI_TEXT_BYTES], made[CLI_PLACEHOLDER_BYTES];
    switch (o->kind) {
    case CLI_FLAG: return true;
    case CLI_TEXTS:
    case CLI_TEXT: /* a name or a path: an empty one is a variable that a script forgot to set */
        if (v->text[0])
            return true;
        cli_usage_error(c, "--%s: the value is empty", o->name);
        return false;
    case CLI_COUNT: {
        uint64_t max = o->max ? o->max : UINT64_MAX;
        bool parsed = cli_parse_u64(v->text, &v->u);
        if (parsed && v->u >= o->min && v->u <= max)
            return true;
        bool too_large = parsed ? v->u > max : v->text[0] && !v->text[strspn(v->text, "0123456789")];
        if (max < INT64_MAX || too_large)
            cli_usage_error(c, "--%s: \"%s\" is not a number from %s to %s", o->name, v->text,
                            cli_human_count(low, o->min), cli_human_count(high, max));
        else
            cli_usage_error(c, "--%s: \"%s\" is not a whole number of at least %s", o->name, v->text,
                            cli_human_count(low, o->min));
        return false;
    }
    case CLI_SIZE:
        if (is_off(o, v->text) || (cli_parse_size(v->text, &v->u) && v->u >= o->min))
            return true;
        if (strchr(o->value, '|'))
            cli_usage_error(c, "--%s: \"%s\" is neither off nor a size (bytes, or 18G, 512M, 1.5T)", o->name, v->text);
        else if (o->min > 1)
            cli_usage_error(c, "--%s: \"%s\" is not a size of at least %s (bytes, or 18G, 512M, 1.5T)", o->name,
                            v->text, cli_human_size(low, o->min));
        else
            cli_usage_error(c, "--%s: \"%s\" is not a size (bytes, or 18G, 512M, 1.5T%s)", o->name, v->text,
                            o->min ? "; not 0" : "");
        return false;
    case CLI_TIME:
        if (cli_parse_time(v->text, &v->f))
            return true;
        cli_usage_error(c, "--%s: \"%s\" is not a time (seconds, or 90s, 30m, 2h)", o->name, v->text);
        return false;
    case CLI_REAL:
        if (cli_parse_double(v->text, &v->f) && v->f >= 0)
            return true;
        cli_usage_error(c, "--%s: \"%s\" is not a number of at least 0", o->name, v->text);
        return false;
    case CLI_ABOVE0:
        if (cli_parse_double(v->text, &v->f) && v->f > 0)
            return true;
        cli_usage_error(c, "--%s: \"%s\" is not a number above 0", o->name, v->text);
        return false;
    case CLI_CHOICE:
    case CLI_WIRE:
        if (is_choice(cli_placeholder(o, made), v->text))
            return true;
        fprintf(stderr, "%s: --%s: \"%s\" is not one of ", c->program, o->name, v->text);
        for (const char *p = cli_placeholder(o, made); *p; p++)
            fputs(*p == '|' ? ", " : (char[2]){*p, '\0'}, stderr);
        fprintf(stderr, " (see %s --help)\n", c->program);
        return false;
    }
    return false;
}

/* Stores what option o brought. False: there are too many of it; said so on stderr. */
static bool store(const cli_command *c, const cli_option *o, void *at, const cli_value *v)
{
    memcpy(at, v, sizeof *v);
    if (o->kind != CLI_TEXTS)
        return true;
    cli_list *list = at;
    if (list->n == CLI_MOST_TEXTS) {
        cli_usage_error(c, "--%s is given more than %d times", o->name, CLI_MOST_TEXTS);
        return false;
    }
    list->texts[list->n++] = v->text;
    return true;
}

/* One argument that begins with "--"; may take the next one too (*i moves). */
static bool parse_option(const cli_command *c, int argc, char **argv, int *i)
{
    const char *name = argv[*i] + 2;
    const char *equals = strchr(name, '=');
    size_t bytes = equals ? (size_t)(equals - name) : strlen(name);
    void *settings = NULL;
    const cli_option *o = find_option(c, name, bytes, &settings);
    if (!o) {
        cli_usage_error(c, "unknown option --%.*s", (int)bytes, name);
        return false;
    }
    cli_value v = {.given = true};
    if (o->kind == CLI_FLAG) {
        if (equals) {
            cli_usage_error(c, "--%s takes no value", o->name);
            return false;
        }
    } else if (equals) {
        v.text = equals + 1;
    } else if (*i + 1 < argc) {
        v.text = argv[++*i];
    } else {
        char made[CLI_PLACEHOLDER_BYTES];
        cli_usage_error(c, "--%s needs a value: --%s %s", o->name, o->name, cli_placeholder(o, made));
        return false;
    }
    return convert(c, o, &v) && store(c, o, (char *)settings + o->offset, &v);
}

static void print_version(const cli_command *c)
{
    printf("%.*s %s\n", (int)strcspn(c->program, " "), c->program, zo2_version());
}

bool cli_parse(const cli_command *c, int argc, char **argv, int *exit_status)
{
    const cli_positional *next = c->positionals;
    for (const cli_positional *p = next; p && p->name; p++)
        *p->out = NULL;
    *exit_status = CLI_EXIT_USAGE;
    /* --help first: it works whatever else is on the line */
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        bool help = !strcmp(argv[i], "--help") || !strcmp(argv[i], "-h");
        if (help)
            cli_print_help(c);
        else if (!strcmp(argv[i], "--version"))
            print_version(c);
        else if (!strcmp(argv[i], CLI_HELP_ROFF))
            cli_print_roff(c);
        else if (!strcmp(argv[i], CLI_HELP_COMPLETION))
            cli_print_completion(c);
        else
            continue;
        *exit_status = CLI_EXIT_OK;
        return false;
    }
    bool options = true;
    for (int i = 1; i < argc; i++) {
        if (options && !strcmp(argv[i], "--")) {
            options = false;
        } else if (options && argv[i][0] == '-' && argv[i][1] == '-') {
            if (!parse_option(c, argc, argv, &i))
                return false;
        } else if (options && argv[i][0] == '-' && argv[i][1]) {
            cli_usage_error(c, "unknown option %s", argv[i]);
            return false;
        } else if (next && next->name) {
            if (!argv[i][0] && !next->optional) {
                cli_usage_error(c, "%s is empty", next->name);
                return false;
            }
            *next++->out = argv[i];
        } else {
            cli_usage_error(c, "unexpected argument \"%s\"", argv[i]);
            return false;
        }
    }
    if (next && next->name && !next->optional) {
        cli_usage_error(c, "missing %s", next->name);
        return false;
    }
    for (const cli_group *g = c->groups; g && g->options; g++)
        for (const cli_option *o = g->options; o->name; o++)
            if (cli_is_needed(o) && !((const cli_value *)((const char *)g->settings + o->offset))->given) {
                char made[CLI_PLACEHOLDER_BYTES];
                cli_usage_error(c, "--%s %s is needed: %s", o->name, cli_placeholder(o, made), o->help);
                return false;
            }
    *exit_status = CLI_EXIT_OK;
    return true;
}

/* The same request to every command in turn: the build's way to a whole man page or completion. */
static int ask_all(const cli_subcommand *list, const char *what)
{
    int status = CLI_EXIT_OK;
    for (const cli_subcommand *s = list; s->name && status == CLI_EXIT_OK; s++) {
        char name[64], request[64];
        snprintf(name, sizeof name, "%s", s->name);
        snprintf(request, sizeof request, "%s", what);
        status = s->run(2, (char *[]){name, request, NULL});
    }
    return status;
}

int cli_dispatch(const char *tool, const char *summary, const cli_subcommand *list, int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : NULL;
    cli_fill_closed_streams();
    if (!name) {
        fprintf(stderr, "%s: missing command (see %s --help)\n", tool, tool);
        return CLI_EXIT_USAGE;
    }
    if (!strcmp(name, "--version")) {
        printf("%s %s\n", tool, zo2_version());
        return cli_finish(tool, CLI_EXIT_OK);
    }
    if (!strcmp(name, "--help") || !strcmp(name, "-h")) {
        cli_print_commands(tool, summary, list);
        return cli_finish(tool, CLI_EXIT_OK);
    }
    if (!strcmp(name, CLI_HELP_ROFF)) {
        cli_print_roff_head(tool, summary, list);
        return ask_all(list, name);
    }
    if (!strcmp(name, CLI_HELP_COMPLETION))
        return ask_all(list, name);
    for (const cli_subcommand *s = list; s->name; s++)
        if (!strcmp(s->name, name))
            return s->run(argc - 1, argv + 1);
    fprintf(stderr, "%s: unknown command \"%s\" (see %s --help)\n", tool, name, tool);
    return CLI_EXIT_USAGE;
}
