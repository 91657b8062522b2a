/* args_man.c: see args_man.h. */
#include "tools/cli/args_man.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "engine/zo2.h"
#include "tools/cli/args_help.h"

/* Text as roff shows it literally: no line begins with a control character, hyphens stay hyphens. */
static void roff(const char *text)
{
    bool at_start = true;
    for (const char *p = text; *p; p++) {
        if (at_start && (*p == '.' || *p == '\''))
            fputs("\\&", stdout);
        at_start = *p == '\n';
        if (*p == '\\')
            fputs("\\e", stdout);
        else if (*p == '-')
            fputs("\\-", stdout);
        else
            putchar(*p);
    }
}

static void title(const char *tool)
{
    printf(".TH ");
    for (const char *p = tool; *p; p++)
        putchar(toupper((unsigned char)*p));
    printf(" 1 \"\" \"zo2 %s\" \"User Commands\"\n", zo2_version());
}

static void name_section(const char *tool, const char *summary)
{
    printf(".SH NAME\n%s \\- ", tool);
    size_t n = strlen(summary); /* a name line is no sentence */
    for (size_t i = 0; i < n; i++)
        if (i + 1 < n || summary[i] != '.')
            putchar(i ? summary[i] : tolower((unsigned char)summary[0]));
    putchar('\n');
}

/* A line may end between two choices. */
static void argument(const char *name, bool optional)
{
    printf(optional ? "[\\fI" : "\\fI");
    for (; *name; name++) {
        putchar(*name);
        if (*name == '|')
            fputs("\\:", stdout);
    }
    puts(optional ? "\\fR]" : "\\fR");
}

static void synopsis(const cli_command *c)
{
    puts(".ad l\n.nh"); /* to the end of the page: names and values are no words to be stretched or broken */
    printf(".B ");
    roff(c->program);
    putchar('\n');
    for (const cli_positional *p = c->positionals; p && p->name; p++)
        if (p->help)
            argument(p->name, p->optional);
    for (const cli_group *g = c->groups; g && g->options; g++)
        for (const cli_option *o = g->options; o->name; o++)
            if (cli_is_needed(o)) {
                char made[CLI_PLACEHOLDER_BYTES];
                printf("\\fB\\-\\-%s\\fR ", o->name);
                argument(cli_placeholder(o, made), false);
            }
    printf("[\\fIOPTION\\fR]...\n");
}

static void options(const cli_command *c)
{
    for (const cli_positional *p = c->positionals; p && p->name; p++) {
        if (!p->help)
            continue;
        puts(".TP");
        argument(p->name, false);
        roff(p->help);
        putchar('\n');
    }
    for (const cli_group *g = c->groups; g && g->options; g++) {
        if (g->title)
            printf(".PP\n\\fB%s\\fR\n", g->title);
        for (const cli_option *o = g->options; o->name; o++) {
            printf(".TP\n\\fB\\-\\-");
            roff(o->name);
            printf("\\fR");
            char made[CLI_PLACEHOLDER_BYTES];
            const char *value = cli_placeholder(o, made);
            if (value) {
                printf(" \\fI");
                roff(value);
                printf("\\fR");
            }
            putchar('\n');
            roff(o->help);
            putchar('\n');
        }
    }
}

void cli_print_roff(const cli_command *c)
{
    if (strchr(c->program, ' ')) {
        printf(".SH \"");
        for (const char *p = c->program; *p; p++)
            putchar(toupper((unsigned char)*p));
        printf("\"\n");
        synopsis(c);
        printf(".PP\n");
        roff(c->summary);
        putchar('\n');
    } else {
        title(c->program);
        name_section(c->program, c->summary);
        printf(".SH SYNOPSIS\n");
        synopsis(c);
        printf(".SH OPTIONS\n");
    }
    options(c);
    const char *units = cli_units(c);
    if (*units || c->notes) {
        printf(".PP\n.nf\n");
        if (*units)
            printf("%s\n", units);
        if (c->notes) {
            roff(c->notes);
            puts("");
        }
        printf(".fi\n");
    }
}

void cli_print_roff_head(const char *tool, const char *summary, const cli_subcommand *list)
{
    title(tool);
    name_section(tool, summary);
    printf(".SH SYNOPSIS\n.B %s\n\\fICOMMAND\\fR [\\fIARGUMENT\\fR]...\n.SH COMMANDS\n", tool);
    for (const cli_subcommand *s = list; s->name; s++) {
        printf(".TP\n\\fB%s\\fR\n", s->name);
        roff(s->summary);
        putchar('\n');
    }
    printf(".PP\n\\fB\\-\\-help\\fR after a command shows its options, \\fB\\-\\-version\\fR the version.\n");
}

/* ---- completion ---- */

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && !strcmp(text + n - m, end);
}

static const char *kind_of(const char *placeholder)
{
    if (ends_with(placeholder, "DIR"))
        return "directory";
    static const char *const files[] = {"FILE", "MODEL", "BUNDLE", "OUT"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        if (ends_with(placeholder, files[i]))
            return "file";
    return strchr(placeholder, '.') ? "file" : "value";
}

/* "choice a b c", or what kind of thing a placeholder stands for. */
static void print_kind(const char *placeholder)
{
    if (!strchr(placeholder, '|')) {
        puts(strcmp(placeholder, "flag") ? kind_of(placeholder) : placeholder);
        return;
    }
    printf("choice ");
    for (const char *p = placeholder; *p; p++)
        putchar(*p == '|' ? ' ' : *p);
    putchar('\n');
}

void cli_print_completion(const cli_command *c)
{
    const char *command = strchr(c->program, ' ');
    printf("command %s\n", command ? command + 1 : "-");
    for (const cli_positional *p = c->positionals; p && p->name; p++)
        if (p->help) {
            printf("positional ");
            print_kind(p->name);
        }
    for (const cli_group *g = c->groups; g && g->options; g++)
        for (const cli_option *o = g->options; o->name; o++) {
            char made[CLI_PLACEHOLDER_BYTES];
            printf("option --%s ", o->name);
            print_kind(o->kind == CLI_FLAG ? "flag" : cli_placeholder(o, made));
        }
    printf("option --help flag\n");
}
