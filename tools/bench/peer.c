/* peer.c: see peer.h. */
#include "tools/bench/peer.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tools/cli/interrupt.h"
#include "tools/cli/report.h"

struct bench_peer {
    char name[48];
    pid_t pid;
    FILE *in, *out; /* as the peer sees them: we write to in */
};

const char *bench_peer_name(const bench_peer *p)
{
    return p->name;
}

void bench_peer_stop(bench_peer *p)
{
    if (!p)
        return;
    if (p->pid > 0 && cli_interrupted())
        kill(p->pid, SIGTERM); /* it may have a minute of work before it */
    if (p->in)
        fclose(p->in); /* the peer reads the end of its input and leaves */
    if (p->out)
        fclose(p->out);
    while (p->pid > 0 && waitpid(p->pid, NULL, 0) < 0 && errno == EINTR)
        ;
    free(p);
}

/* Forks. In the child (returns 0) in and out are the ends to serve with; in the parent (1) p is complete. -1: failed. */
static int start(bench_peer *p, int *in, int *out)
{
    int requests[2], answers[2];
    if (pipe2(requests, O_CLOEXEC)) /* or the next peer keeps this one's requests open, and it never ends */
        return -1;
    if (pipe2(answers, O_CLOEXEC)) {
        close(requests[0]);
        close(requests[1]);
        return -1;
    }
    fflush(NULL);
    p->pid = fork();
    if (p->pid == 0) {
        close(requests[1]);
        close(answers[0]);
        *in = requests[0];
        *out = answers[1];
        return 0;
    }
    close(requests[0]);
    close(answers[1]);
    p->in = fdopen(requests[1], "w");
    p->out = fdopen(answers[0], "r");
    return p->pid > 0 && p->in && p->out ? 1 : -1;
}

/* Reads the greeting. */
static bool greeted(bench_peer *p, const char *name)
{
    char line[256], version[32] = "";
    if (!fgets(line, sizeof line, p->out) || strncmp(line, "ready", 5) != 0)
        return false;
    sscanf(line, "ready %31s", version);
    snprintf(p->name, sizeof p->name, "%s%s%s", name, version[0] ? " " : "", version);
    return true;
}

/* The scripts lie beside the programs: PREFIX/bin and PREFIX/share/zo2/peers, in a build folder as when installed. */
static bool script_path(char *path, size_t size, const char *script)
{
    char self[2048];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n <= 0)
        return false;
    self[n] = 0;
    char *slash = strrchr(self, '/');
    if (!slash)
        return false;
    *slash = 0;
    return (size_t)snprintf(path, size, "%s/%s/%s", self, ZO2_BENCH_PEERS, script) < size;
}

static void become_python(const char *python, const char *script, const char *const *args, int in, int out)
{
    char path[4096];
    const char *argv[16] = {python, path};
    unsigned n = 2;
    if (!script_path(path, sizeof path, script))
        _exit(127);
    while (*args && n < 15)
        argv[n++] = *args++;
    dup2(in, 0);
    dup2(out, 1);
    close(in);
    close(out);
    execvp(python, (char *const *)argv);
    _exit(127);
}

void bench_note_missing(bench *b, const char *label)
{
    for (unsigned i = 0; i < b->n_missing; i++)
        if (strcmp(b->missing[i], label) == 0)
            return;
    if (b->n_missing < sizeof b->missing / sizeof *b->missing)
        snprintf(b->missing[b->n_missing++], sizeof *b->missing, "%s", label);
}

bench_peer *bench_peer_python(bench *b, const char *label, const char *script, const char *const *args)
{
    for (unsigned i = 0; i < 2 && !b->options.no_peers.given; i++) {
        int in, out;
        bench_peer *p = b->python[i][0] ? calloc(1, sizeof *p) : NULL;
        if (!p)
            continue;
        int side = start(p, &in, &out);
        if (side == 0)
            become_python(b->python[i], script, args, in, out);
        if (side == 1 && greeted(p, label))
            return p;
        bench_peer_stop(p);
    }
    bench_note_missing(b, label);
    return NULL;
}

bench_peer *bench_peer_fork(const char *name, int (*serve)(void *ud, FILE *in, FILE *out), void *ud)
{
    int in, out;
    bench_peer *p = calloc(1, sizeof *p);
    if (!p)
        return NULL;
    int side = start(p, &in, &out);
    if (side == 0) {
        FILE *requests = fdopen(in, "r"), *answers = fdopen(out, "w");
        int status = requests && answers ? serve(ud, requests, answers) : 1;
        if (answers)
            fflush(answers);
        _exit(status); /* not our exit handlers, not our buffers */
    }
    if (side == 1 && greeted(p, name))
        return p;
    bench_peer_stop(p);
    return NULL;
}

/* The answer, or NULL: the peer is gone, or Ctrl-C came while it worked. */
static char *next_line(bench_peer *p, char *line, int size)
{
    struct pollfd answer = {.fd = fileno(p->out), .events = POLLIN};
    while (!cli_interrupted())
        if (poll(&answer, 1, 100) > 0)
            return fgets(line, size, p->out); /* lines come one at a time and whole, so none waits in the buffer */
    return NULL;
}

bool bench_peer_ask(bench_peer *p, double *first, double *second, const char *fmt, ...)
{
    char line[256];
    double a = 0, b = 0;
    va_list args;
    va_start(args, fmt);
    vfprintf(p->in, fmt, args);
    va_end(args);
    fputc('\n', p->in);
    bool ok = !fflush(p->in) && next_line(p, line, sizeof line);
    int got = ok ? sscanf(line, "%lf %lf", &a, &b) : 0;
    if (got < (second ? 2 : 1) || !(a >= 0)) {
        if (!cli_interrupted())
            cli_error("zo2-bench", "%s stopped answering%s%s", p->name, ok ? "; it said: " : "", ok ? line : "");
        return false;
    }
    *first = a;
    if (second)
        *second = b;
    return true;
}

/* ---- as a side of a row ---- */

typedef struct request {
    bench_peer *peer;
    char text[256];
} request;

static bool request_run(void *ud, uint64_t passes, double *seconds)
{
    const request *r = ud;
    return bench_peer_ask(r->peer, seconds, NULL, "%s %llu", r->text, (unsigned long long)passes);
}

bool bench_add_peer(bench_row *row, bench_peer *peer, const char *key, double items, const char *fmt, ...)
{
    if (!peer)
        return true;
    request *r = calloc(1, sizeof *r);
    if (!r)
        return false;
    va_list args;
    va_start(args, fmt);
    vsnprintf(r->text, sizeof r->text, fmt, args);
    va_end(args);
    r->peer = peer;
    bench_side *side = bench_add_side(row, key, bench_peer_name(peer));
    side->items = items;
    side->run = request_run;
    side->close = free;
    side->ud = r;
    return true;
}
