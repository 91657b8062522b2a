/* fuzz_args.c: what people type: numbers, sizes, times, and the whole command line of zo2-tune train.
 *
 * Input: mode; NUMBERS: one text; else the arguments, one a line, of one command (with POSITIONALS one that takes
 * a file and a text) or with COMMANDS of a tool that has several.
 *
 * Properties: a number is accepted exactly if C's own functions read all of it, with the same value; texts for people
 * fit their buffers; a refused command line says why on stderr, in lines that begin with the program's name, and
 * prints nothing else; an accepted one stored values within their options' limits and prints nothing. */
#include "tests/fuzz/fuzzing.h"
#include "tools/cli/numbers.h"
#include "tools/tune/train.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>

enum { NUMBERS = 1, COMMANDS = 2, POSITIONALS = 4 };

/* ---- numbers ----------------------------------------------------------------------------------------------------- */

static void check_human(uint64_t n, double v)
{
    char out[CLI_TEXT_BYTES];
    double back;
    FUZZ_CHECK(strlen(cli_human_size(out, n)) < sizeof out && *out);
    FUZZ_CHECK(strlen(cli_human_count(out, n)) < sizeof out && *out);
    FUZZ_CHECK(strlen(cli_human_time(out, v)) < sizeof out && *out);
    FUZZ_CHECK(strlen(cli_double_text(out, v)) < sizeof out && *out);
    FUZZ_CHECK(isfinite(v) ? cli_parse_double(out, &back) && back == v : strcmp(out, "null") == 0);
}

static void check_u64(const char *text)
{
    uint64_t got = 12345;
    char *end = NULL;
    errno = 0;
    const int digits = *text && strspn(text, "0123456789") == strlen(text);
    const uint64_t want = digits ? strtoull(text, &end, 10) : 0;
    FUZZ_CHECK(cli_parse_u64(text, &got) == (digits && errno == 0));
    FUZZ_CHECK(got == (digits && errno == 0 ? want : 12345));
    check_human(got, (double)got);
}

static void check_double(const char *text)
{
    double got = 12345, want;
    char *end;
    const int plain = *text && strspn(text, "0123456789+-.eE") == strlen(text);
    want = plain ? strtod(text, &end) : 0;
    FUZZ_CHECK(cli_parse_double(text, &got) == (plain && *end == '\0' && isfinite(want)));
    FUZZ_CHECK(got == (plain && *end == '\0' && isfinite(want) ? want : 12345));
    check_human(0, got);
}

/* The exponent of a size's unit (0 without one), -1 if the text doesn't end in one. */
static int unit_shift(const char *unit)
{
    static const char units[] = "KMGT";
    if (!*unit)
        return 0;
    const char *u = strchr(units, toupper((unsigned char)*unit));
    return u && (!unit[1] || strcmp(unit + 1, "iB") == 0) ? 10 * (int)(u - units + 1) : -1;
}

static void check_size(const char *text)
{
    uint64_t got = 12345;
    const size_t digits = strspn(text, "0123456789");
    const size_t n = digits + (text[digits] == '.' ? 1 + strspn(text + digits + 1, "0123456789") : 0);
    const int shift = unit_shift(text + n);
    if (!cli_parse_size(text, &got)) {
        FUZZ_CHECK(got == 12345);
        return;
    }
    FUZZ_CHECK(n > 0 && shift >= 0 && (shift > 0 || n == digits));
    const long double want = ldexpl(strtold(text, NULL), shift);
    FUZZ_CHECK(fabsl(want - (long double)got) <= 1.0L + want * 0x1p-60L);
    check_human(got, 0);
}

static void check_time(const char *text)
{
    double got = 12345;
    if (!cli_parse_time(text, &got)) {
        FUZZ_CHECK(got == 12345);
        return;
    }
    char *end;
    const double number = strtod(text, &end);
    const double unit = *end == 'm' ? 60 : *end == 'h' ? 3600 : *end == 'd' ? 86400 : 1;
    FUZZ_CHECK(isfinite(got) && got >= 0 && got == number * unit && (!*end || !end[1]));
    check_human(0, got);
}

/* ---- command lines ----------------------------------------------------------------------------------------------- */

static int in_arguments(const char *text, int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (text >= argv[i] && text <= argv[i] + strlen(argv[i]))
            return 1;
    return 0;
}

static void check_list(const cli_list *l, int argc, char **argv)
{
    FUZZ_CHECK(l->n >= 1 && l->n <= CLI_MOST_TEXTS && l->v.text == l->texts[l->n - 1]);
    for (uint32_t i = 0; i < l->n; i++)
        FUZZ_CHECK(*l->texts[i] && in_arguments(l->texts[i], argc, argv));
}

static void check_values(const cli_command *c, int argc, char **argv)
{
    for (const cli_group *g = c->groups; g->options; g++)
        for (const cli_option *o = g->options; o->name; o++) {
            cli_value v;
            memcpy(&v, (const char *)g->settings + o->offset, sizeof v);
            if (!v.given)
                continue;
            FUZZ_CHECK(o->kind == CLI_FLAG ? !v.text : v.text && in_arguments(v.text, argc, argv));
            FUZZ_CHECK(o->kind != CLI_COUNT || (v.u >= o->min && (!o->max || v.u <= o->max)));
            FUZZ_CHECK(o->kind != CLI_SIZE || v.u >= o->min || (strstr(o->value, "|off") && !strcmp(v.text, "off")));
            FUZZ_CHECK(o->kind != CLI_REAL || (isfinite(v.f) && v.f >= 0));
            FUZZ_CHECK(o->kind != CLI_TIME || (isfinite(v.f) && v.f >= 0));
            FUZZ_CHECK(o->kind != CLI_ABOVE0 || (isfinite(v.f) && v.f > 0));
            FUZZ_CHECK(o->kind != CLI_CHOICE || strstr(o->value, v.text));
            if (o->kind == CLI_TEXTS)
                check_list((const cli_list *)(const void *)((const char *)g->settings + o->offset), argc, argv);
        }
}

/* What the options become for the engine: what isn't given stays zero, enumerations are members. */
static void check_engine(const cli_engine_flags *f)
{
    zo2_engine_opts o;
    zo2_engine_opts_init(&o);
    cli_engine_flags_apply(f, &o);
    FUZZ_CHECK(!f->dist.given || o.dist == ZO2_GAUSSIAN || o.dist == ZO2_RADEMACHER);
    FUZZ_CHECK(!f->wire.given || zo2_wire_name(o.wire));
    FUZZ_CHECK(!f->threads.given || (o.threads >= 1 && o.threads <= 4096));
    FUZZ_CHECK(!f->device_mem.given || o.device_bytes == f->device_mem.u);
    FUZZ_CHECK(o.spill_count == f->spill.n && !o.spill_dirs == !f->spill.n);
}

static void check_output(const cli_command *c, int accepted, int status, const char *out, const char *err)
{
    const size_t program = strlen(c->program), bytes = strlen(err);
    if (accepted)
        FUZZ_CHECK(status == CLI_EXIT_OK && !*out && !*err);
    else if (status == CLI_EXIT_OK) /* help or version */
        FUZZ_CHECK(*out && !*err);
    else
        FUZZ_CHECK(status == CLI_EXIT_USAGE && !*out && strncmp(err, c->program, program) == 0 && err[program] == ':' &&
                   err[bytes - 1] == '\n');
}

enum { MAX_ARGS = 40 };

/* The lines of text as arguments; returns how many. text becomes theirs. */
static int split(char *text, char **argv)
{
    static char name[] = "train";
    int argc = 0;
    argv[argc++] = name;
    for (char *next = text; next && argc < MAX_ARGS;) {
        char *line = next, *end = strchr(line, '\n');
        next = end ? end + 1 : NULL;
        if (end)
            *end = '\0';
        argv[argc++] = line;
    }
    argv[argc] = NULL;
    return argc;
}

static void command_line(char *text, int takes_files)
{
    char *argv[MAX_ARGS + 1], *out, *err;
    const int argc = split(text, argv);
    const char *file = argv[0], *second = argv[0]; /* anything but NULL */
    const cli_positional positionals[] = {{"FILE", "a file", &file, false}, {"TEXT", "a text", &second, true}, {0}};
    train_flags flags;
    cli_group groups[TRAIN_GROUPS];
    cli_command c;
    memset(&flags, 0, sizeof flags);
    train_command(&c, groups, &flags);
    if (takes_files)
        c.positionals = positionals;
    int status = -1;
    fuzz_catch_begin();
    const int accepted = cli_parse(&c, argc, argv, &status);
    fuzz_catch_end(&out, &err);
    check_output(&c, accepted, status, out, err);
    if (accepted) {
        check_values(&c, argc, argv);
        check_engine(&flags.engine);
        FUZZ_CHECK(!c.positionals || (file && in_arguments(file, argc, argv)));
        FUZZ_CHECK(!c.positionals || !second || in_arguments(second, argc, argv));
    }
    free(out);
    free(err);
}

/* ---- a tool of several commands ---------------------------------------------------------------------------------- */

enum { RAN = 17 };

static int ran(int argc, char **argv)
{
    FUZZ_CHECK(argc >= 1 && (strcmp(argv[0], "train") == 0 || strcmp(argv[0], "eval") == 0));
    return RAN + argc;
}

static void dispatch(char *text)
{
    static const cli_subcommand list[] = {{"train", "trains", ran}, {"eval", "evaluates", ran}, {0}};
    char *argv[MAX_ARGS + 1], *out, *err;
    const int argc = split(text, argv);
    const cli_command tool = {.program = "tool"};
    const int known = strcmp(argv[1], "train") == 0 || strcmp(argv[1], "eval") == 0;
    if (strcmp(argv[1], CLI_HELP_ROFF) == 0 || strcmp(argv[1], CLI_HELP_COMPLETION) == 0)
        return; /* the build's own requests: they go to every command in turn */
    fuzz_catch_begin();
    int status = cli_dispatch("tool", "does things", list, 1, argv);
    fuzz_catch_end(&out, &err);
    check_output(&tool, 0, status, out, err);
    FUZZ_CHECK(status == CLI_EXIT_USAGE && strstr(err, "missing command"));
    free(out);
    free(err);

    fuzz_catch_begin();
    status = cli_dispatch("tool", "does things", list, argc, argv);
    fuzz_catch_end(&out, &err);
    FUZZ_CHECK(known == (status == RAN + argc - 1));
    check_output(&tool, known, known ? CLI_EXIT_OK : status, out, err);
    free(out);
    free(err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input in = {data, size};
    const int mode = fuzz_u8(&in);
    char *text = fuzz_alloc(in.left + 1);
    if (in.left)
        memcpy(text, in.at, in.left);
    if (mode & NUMBERS) {
        check_u64(text);
        check_double(text);
        check_size(text);
        check_time(text);
    } else if (mode & COMMANDS) {
        dispatch(text);
    } else {
        command_line(text, mode & POSITIONALS);
    }
    free(text);
    return 0;
}
