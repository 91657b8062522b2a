/* args_help.c: see args_help.h. */
#include "tools/cli/args_help.h"

#include <stdio.h>
#include <string.h>

#include "engine/zo2.h"

enum { HELP_COLUMN = 30 };

/* "  left" padded to the help column, then the text; on a line of its own where left is too long. */
static void print_row(const char *left, const char *text)
{
    int width = printf("  %s", left);
    if (width + 2 > HELP_COLUMN) {
        putchar('\n');
        width = 0;
    }
    printf("%*s%s\n", HELP_COLUMN - width, "", text);
}

bool cli_is_needed(const cli_option *o)
{
    return (o->kind == CLI_TEXT || o->kind == CLI_WIRE) && o->min == CLI_NEEDED;
}

const char *cli_placeholder(const cli_option *o, char made[CLI_PLACEHOLDER_BYTES])
{
    if (o->kind != CLI_WIRE)
        return o->value;
    int end = 0;
    for (int w = 1; zo2_wire_name((zo2_wire)w) && end < CLI_PLACEHOLDER_BYTES; w++)
        end += snprintf(made + end, (size_t)(CLI_PLACEHOLDER_BYTES - end), "%s%s", w > 1 ? "|" : "",
                        zo2_wire_name((zo2_wire)w));
    return made;
}

const char *cli_units(const cli_command *c)
{
    bool size = false, time = false;
    for (const cli_group *g = c->groups; g && g->options; g++)
        for (const cli_option *o = g->options; o->name; o++) {
            size = size || o->kind == CLI_SIZE;
            time = time || o->kind == CLI_TIME;
        }
    if (size && time)
        return "SIZE is in bytes, or 512M, 18G, 1.5T (binary); TIME in seconds, or 90s, 30m, 2h, 1d.";
    return size   ? "SIZE is in bytes, or 512M, 18G, 1.5T (binary)."
           : time ? "TIME is in seconds, or 90s, 30m, 2h, 1d."
                  : "";
}

void cli_print_help(const cli_command *c)
{
    bool any_options = false;
    for (const cli_group *g = c->groups; g && g->options; g++)
        any_options = any_options || g->options->name;

    printf("usage: %s", c->program);
    for (const cli_positional *p = c->positionals; p && p->name; p++)
        if (p->help)
            printf(p->optional ? " [%s]" : " %s", p->name);
    for (const cli_group *g = c->groups; g && g->options; g++)
        for (const cli_option *o = g->options; o->name; o++)
            if (cli_is_needed(o)) {
                char made[CLI_PLACEHOLDER_BYTES];
                printf(" --%s %s", o->name, cli_placeholder(o, made));
            }
    printf("%s\n\n%s\n", any_options ? " [OPTION]..." : "", c->summary);

    if (c->positionals && c->positionals->name)
        putchar('\n');
    for (const cli_positional *p = c->positionals; p && p->name; p++)
        if (p->help)
            print_row(p->name, p->help);
    for (const cli_group *g = c->groups; g && g->options; g++) {
        if (g->title)
            printf("\n%s:\n", g->title);
        for (const cli_option *o = g->options; o->name; o++) {
            char left[40 + CLI_PLACEHOLDER_BYTES], made[CLI_PLACEHOLDER_BYTES];
            const char *value = cli_placeholder(o, made);
            snprintf(left, sizeof left, "--%s%s%s", o->name, value ? " " : "", value ? value : "");
            print_row(left, o->help);
        }
    }
    puts("");
    print_row("--help, --version", "this text; the version");
    const char *units = cli_units(c);
    if (*units || c->notes)
        puts("");
    if (*units)
        puts(units);
    if (c->notes)
        puts(c->notes);
}

void cli_print_commands(const char *tool, const char *summary, const cli_subcommand *list)
{
    printf("usage: %s COMMAND [ARGUMENT]...\n\n%s\n\n", tool, summary);
    for (const cli_subcommand *s = list; s->name; s++)
        print_row(s->name, s->summary);
    printf("\n%s COMMAND --help tells more. --version prints the version.\n"
           "Exit status: 0 done, 1 failed, 2 usage, 130 interrupted.\n",
           tool);
}
