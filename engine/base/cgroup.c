/* cgroup.c: see cgroup.h. /proc/self/cgroup names this process's group in each hierarchy, /proc/self/mountinfo says where the
 * hierarchies are mounted and which group a mount shows at its top: in a container often one in the middle, and then the
 * groups above it can't be seen. What can't be read sets no limit. (Linux: Documentation/admin-guide/cgroup-v2.rst, cgroup-v1.) */
#include "engine/base/cgroup.h"
#include "engine/base/checked.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Version 1 writes "no limit" as the largest multiple of a page; no machine has so much. */
#define NO_MEMORY_LIMIT (UINT64_C(1) << 62)

void zo2_limit_lower(zo2_limit *l, uint64_t value, const char *where, const char *name)
{
    if (value >= l->value)
        return;
    l->value = value;
    char text[PATH_MAX + 64];
    int n = snprintf(text, sizeof text, "%s%s%s", where, name ? "/" : "", name ? name : "");
    size_t room = sizeof l->from - 1, length = n < 0 ? 0 : (size_t)n < sizeof text ? (size_t)n : sizeof text - 1;
    const char *tail = text + (length > room ? length - room : 0);
    for (size_t i = 0; i <= strlen(tail); i++) /* a group's name may be anything */
        l->from[i] = tail[i] && ((unsigned char)tail[i] < 0x20 || tail[i] == 0x7F) ? '?' : tail[i];
}

/* ---- text -------------------------------------------------------------------------------------------------------- */

/* Digits at `at`, ended by a blank, a line's or the text's end. */
static int digits(const char *at, uint64_t *out)
{
    uint64_t n = 0;
    int fits = 1;
    if (*at < '0' || *at > '9')
        return 0;
    for (; *at >= '0' && *at <= '9'; at++)
        fits = fits && zo2_mul_u64(n, 10, &n) && zo2_add_u64(n, (uint64_t)(*at - '0'), &n);
    *out = fits ? n : UINT64_MAX;
    return !*at || strchr(" \t\n", *at) != NULL;
}

int zo2_text_u64(const char *text, const char *key, uint64_t *out)
{
    size_t n = key ? strlen(key) : 0;
    if (!key)
        return digits(text, out);
    for (const char *line = text; line; line++) {
        if (!strncmp(line, key, n) && line[n] == ' ')
            return digits(line + n + strspn(line + n, " "), out);
        if (!(line = strchr(line, '\n')))
            return 0;
    }
    return 0;
}

static char *read_in(const zo2_text_files *files, const char *folder, const char *name)
{
    char path[PATH_MAX];
    int n = snprintf(path, sizeof path, "%s/%s", folder, name);
    return n > 0 && (size_t)n < sizeof path ? files->read(files->ud, path) : NULL;
}

/* The first number of a file. */
static int number_in(const zo2_text_files *files, const char *folder, const char *name, uint64_t *out)
{
    char *text = read_in(files, folder, name);
    int ok = text && zo2_text_u64(text, NULL, out);
    free(text);
    return ok;
}

/* ---- one group --------------------------------------------------------------------------------------------------- */

/* memory.stat's number of either version: version 1 has the sums with the groups below as total_*. */
static uint64_t stat_of(const char *stat, const char *v1, const char *v2)
{
    uint64_t n = 0;
    return zo2_text_u64(stat, v1, &n) || zo2_text_u64(stat, v2, &n) ? n : 0;
}

typedef struct memory_names {
    const char *usage, *limits[2];
} memory_names;

static void memory_of(zo2_limit *l, const zo2_text_files *files, const char *folder, const memory_names *names)
{
    uint64_t used = 0, limit;
    char *stat = read_in(files, folder, "memory.stat");
    if (number_in(files, folder, names->usage, &used) && stat) {
        uint64_t back = 0;
        static const char *const keys[][2] = {{"total_active_file", "active_file"},
                                              {"total_inactive_file", "inactive_file"},
                                              {"slab_reclaimable", "slab_reclaimable"}};
        for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
            uint64_t part = stat_of(stat, keys[i][0], keys[i][1]);
            back += zo2_min_u64(part, used - back);
        }
        used -= back;
    }
    for (int i = 0; i < 2; i++)
        if (names->limits[i] && number_in(files, folder, names->limits[i], &limit) && limit < NO_MEMORY_LIMIT)
            zo2_limit_lower(l, limit > used ? limit - used : 0, folder, names->limits[i]);
    /* Version 1: the lowest limit up to the root, also of groups that a container doesn't see. */
    if (stat && zo2_text_u64(stat, "hierarchical_memory_limit", &limit) && limit < NO_MEMORY_LIMIT)
        zo2_limit_lower(l, limit > used ? limit - used : 0, folder, "memory.stat (hierarchical_memory_limit)");
    free(stat);
}

static void memory_v1(zo2_limit *l, const zo2_text_files *files, const char *folder)
{
    static const memory_names names = {"memory.usage_in_bytes", {"memory.limit_in_bytes", NULL}};
    memory_of(l, files, folder, &names);
}

static void memory_v2(zo2_limit *l, const zo2_text_files *files, const char *folder)
{
    static const memory_names names = {"memory.current", {"memory.max", "memory.high"}};
    memory_of(l, files, folder, &names);
}

static void quota(zo2_limit *l, uint64_t time, uint64_t period, const char *folder, const char *name)
{
    if (time && period)
        zo2_limit_lower(l, time / period + (time % period != 0), folder, name);
}

static void cpus_v1(zo2_limit *l, const zo2_text_files *files, const char *folder)
{
    uint64_t time, period;
    if (number_in(files, folder, "cpu.cfs_quota_us", &time) && number_in(files, folder, "cpu.cfs_period_us", &period))
        quota(l, time, period, folder, "cpu.cfs_quota_us");
}

static void cpus_v2(zo2_limit *l, const zo2_text_files *files, const char *folder)
{
    uint64_t time, period;
    char *text = read_in(files, folder, "cpu.max");
    const char *blank = text ? strchr(text, ' ') : NULL; /* "max 100000", "200000 100000" */
    if (blank && zo2_text_u64(text, NULL, &time) && zo2_text_u64(blank + 1, NULL, &period))
        quota(l, time, period, folder, "cpu.max");
    free(text);
}

/* ---- all groups -------------------------------------------------------------------------------------------------- */

typedef void (*group_fn)(zo2_limit *l, const zo2_text_files *files, const char *folder);

typedef struct walk {
    zo2_limit *limit;
    const zo2_text_files *files;
    const char *controller; /* of version 1 */
    group_fn v1, v2;
} walk;

/* The group's path below what a mount shows. NULL: the mount shows others, as a container's on its host. Where the group is
 * outside of the process's own namespace ("/../x"), the mount at the usual place is what there is to see: "". */
static const char *below(const char *group, const char *top, const char *point)
{
    size_t n = strcmp(top, "/") ? strlen(top) : 0;
    const char *rest = group + n;
    int shown = !strncmp(group, top, n) && (!*rest || *rest == '/') && !strstr(rest, "/..");
    if (shown)
        return strcmp(rest, "/") ? rest : "";
    return strncmp(point, "/sys/fs/cgroup", 14) ? NULL : "";
}

/* The group and those above it, as far as the mount at `point` shows them. */
static void climb(const walk *w, group_fn group, const char *point, const char *rest)
{
    char folder[PATH_MAX];
    int n = rest ? snprintf(folder, sizeof folder, "%s%s", point, rest) : -1;
    if (n < 0 || (size_t)n >= sizeof folder)
        return;
    for (;;) {
        group(w->limit, w->files, folder);
        char *slash = strrchr(folder, '/');
        if (strlen(folder) <= strlen(point) || !slash)
            return;
        *slash = '\0';
    }
}

/* "a,b,c" has the word. */
static int lists(const char *list, const char *word)
{
    size_t n = strlen(word);
    for (const char *at = list;; at++) {
        if (!strncmp(at, word, n) && (!at[n] || at[n] == ','))
            return 1;
        if (!(at = strchr(at, ',')))
            return 0;
    }
}

/* Blanks in paths are written as octal numbers: "\040". */
static void unescape(char *path)
{
    char *to = path;
    for (const char *at = path; *at; at++) {
        unsigned code;
        if (*at == '\\' && strspn(at + 1, "01234567") >= 3 && sscanf(at + 1, "%3o", &code) == 1 && code && code < 256) {
            *to++ = (char)code;
            at += 3;
        } else {
            *to++ = *at;
        }
    }
    *to = '\0';
}

/* A line of mountinfo: "id parent device TOP POINT options [tags...] - TYPE source SUPEROPTIONS". */
static void look_at_mount(const walk *w, char *line, const char *controllers, const char *group)
{
    char *rest = line, *top = NULL, *point = NULL, *save = NULL, *tail = strstr(line, " - ");
    if (!tail)
        return;
    *tail = '\0';
    for (int i = 0; i < 5; i++, rest = NULL) {
        char *field = strtok_r(rest, " ", &save);
        top = i == 3 ? field : top;
        point = i == 4 ? field : point;
    }
    const char *type = strtok_r(tail + 3, " ", &save), *source = strtok_r(NULL, " ", &save);
    const char *options = source ? strtok_r(NULL, " ", &save) : NULL;
    if (!top || !point || !type)
        return;
    unescape(top);
    unescape(point);
    if (!*controllers && !strcmp(type, "cgroup2"))
        climb(w, w->v2, point, below(group, top, point));
    else if (*controllers && !strcmp(type, "cgroup") && options && lists(options, w->controller))
        climb(w, w->v1, point, below(group, top, point));
}

static void look_at_mounts(const walk *w, const char *controllers, const char *group)
{
    char *mounts = w->files->read(w->files->ud, "/proc/self/mountinfo"), *save = NULL;
    for (char *line = mounts ? strtok_r(mounts, "\n", &save) : NULL; line; line = strtok_r(NULL, "\n", &save))
        look_at_mount(w, line, controllers, group);
    free(mounts);
}

/* Lines of /proc/self/cgroup: "number:controllers:path", no controllers in version 2. */
static void look_at_groups(const walk *w)
{
    char *groups = w->files->read(w->files->ud, "/proc/self/cgroup"), *save = NULL;
    for (char *line = groups ? strtok_r(groups, "\n", &save) : NULL; line; line = strtok_r(NULL, "\n", &save)) {
        char *controllers = strchr(line, ':'), *group = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!group)
            continue;
        *group++ = '\0';
        controllers++;
        if (!*controllers || lists(controllers, w->controller))
            look_at_mounts(w, controllers, group);
    }
    free(groups);
}

void zo2_cgroup_memory(zo2_limit *l, const zo2_text_files *files)
{
    look_at_groups(&(walk){l, files, "memory", memory_v1, memory_v2});
}

void zo2_cgroup_cpus(zo2_limit *l, const zo2_text_files *files)
{
    look_at_groups(&(walk){l, files, "cpu", cpus_v1, cpus_v2});
}
