/* two_processes.c: two processes share a run with a loss of our own, and have the weights that one would have.
 *
 * A step has four queries: four directions, of which each process computes two. What they exchange through a pipe is the log-probability
 * of each loss token. From the same numbers both compute the same losses, write the same record to their journals and make the same update
 * to masters of their own; so at the end their runs are the same, and the same as a run of one process. Instead of the pipe anything will
 * do that carries bytes between machines. */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zo2.h>

enum { ROWS = 2, SEQ = 6, QUERIES = 4 };

typedef struct process {
    uint32_t rank, ranks; /* 0 of 1, or 0 or 1 of 2 */
    int in, out;          /* from the other one, and to it */
} process;

/* Of each query's streams and all micro-batches, so a part is one piece of the values. */
static uint32_t first_query(const process *p, uint32_t rank, uint32_t queries)
{
    return rank * queries / p->ranks;
}

static zo2_status split(void *ud, zo2_pass_work *work)
{
    const process *p = ud;
    work->alone = work->evaluation; /* these aren't shared: each process makes them by itself */
    if (!work->alone) {
        work->query = first_query(p, p->rank, work->queries);
        work->own_queries = first_query(p, p->rank + 1, work->queries) - work->query;
    }
    return ZO2_OK;
}

/* All of it, or nothing: a pipe may carry less than it was asked to. */
static int put(int fd, const void *data, size_t bytes)
{
    for (const char *at = data; bytes;) {
        ssize_t n = write(fd, at, bytes);
        if (n <= 0)
            return 0;
        at += n;
        bytes -= (size_t)n;
    }
    return 1;
}

static int get(int fd, void *data, size_t bytes)
{
    for (char *at = data; bytes;) {
        ssize_t n = read(fd, at, bytes);
        if (n <= 0)
            return 0;
        at += n;
        bytes -= (size_t)n;
    }
    return 1;
}

/* values: [queries][streams][loss tokens]. The first process writes first: both could fill their pipes and wait for ever. */
static zo2_status exchange(void *ud, const zo2_pass_work *work, double *values)
{
    const process *p = ud;
    const uint64_t of_query = work->streams * work->first[work->micros];
    const uint32_t other = 1 - p->rank, from = first_query(p, other, work->queries);
    const uint64_t theirs = (first_query(p, other + 1, work->queries) - from) * of_query;
    double *mine = values + work->query * of_query;
    int good = p->rank == 1 || put(p->out, mine, work->own_queries * of_query * sizeof *mine);
    good = good && get(p->in, values + from * of_query, theirs * sizeof *values);
    if (p->rank == 1)
        good = good && put(p->out, mine, work->own_queries * of_query * sizeof *mine);
    return good ? ZO2_OK : zo2_error(ZO2_ERR_IO, "the other process is gone; resume both");
}

/* The worst of all tokens counts, whatever the others: the largest -log p. */
static zo2_status worst_token(void *ud, const float *logprobs, uint64_t n, double *loss)
{
    (void)ud;
    *loss = 0;
    for (uint64_t i = 0; i < n; i++)
        if (!(-(double)logprobs[i] <= *loss)) /* NaN, too */
            *loss = -(double)logprobs[i];
    return ZO2_OK;
}

static int train(process *p, const char *model, const char *run, int steps)
{
    static const int32_t tokens[ROWS * SEQ] = {2, 36, 691, 1350, 348, 903, 2, 39, 461, 79, 271, 277};
    uint8_t loss[ROWS * SEQ];
    memset(loss, 1, sizeof loss);
    loss[0] = loss[SEQ] = 0; /* nothing predicts a row's first token */
    zo2_engine *engine;
    zo2_engine_opts opts;
    zo2_engine_opts_init(&opts);
    opts.lr = 1e-5;
    opts.seed = 1;
    opts.queries = QUERIES;
    opts.max_rows = ROWS;
    opts.max_seq = SEQ;
    opts.resume = 1;
    opts.loss = worst_token;
    if (p->ranks > 1) {
        opts.split = split;
        opts.exchange = exchange;
        opts.exchange_ud = p;
    }
    const zo2_batch batch = {.struct_size = sizeof batch, .rows = ROWS, .seq = SEQ, .tokens = tokens, .loss = loss};
    zo2_status status = zo2_engine_open(&engine, model, run, &opts);
    for (int i = 0; i < steps && !status; i++) {
        zo2_step_result r = {.struct_size = sizeof r};
        status = zo2_step(engine, &batch, &r);
        if (!status && p->rank == 0)
            printf("step %d: worst token %.4f, projected gradient %.3f\n", (int)r.step,
                   (r.loss_plus + r.loss_minus) / 2, r.projected_grad);
    }
    if (status)
        fprintf(stderr, "two_processes: process %" PRIu32 ": %s\n", p->rank, zo2_last_error());
    zo2_engine_close(engine);
    return status != ZO2_OK;
}

int main(int argc, char **argv)
{
    if (argc < 3 || argc > 5) {
        fprintf(stderr, "usage: two_processes MODEL.zo2 RUN_DIR [SECOND_RUN_DIR [STEPS]]\n"
                        "With a second run directory two processes share the work; without it one does all.\n");
        return 2;
    }
    const int steps = argc == 5 ? atoi(argv[4]) : 10;
    process first = {.rank = 0, .ranks = argc > 3 ? 2 : 1}, second = {.rank = 1, .ranks = 2};
    if (argc == 3)
        return train(&first, argv[1], argv[2], steps);
    int there[2], back[2];
    signal(SIGPIPE, SIG_IGN); /* write() says it, too */
    if (pipe(there) || pipe(back)) {
        perror("two_processes");
        return 1;
    }
    pid_t child = fork(); /* before there is an engine, whose threads a child would not have */
    if (child < 0) {
        perror("two_processes");
        return 1;
    }
    /* Each keeps its own ends alone: so it is told when the other one goes. */
    close(there[child ? 0 : 1]);
    close(back[child ? 1 : 0]);
    if (!child) {
        second.in = there[0];
        second.out = back[1];
        return train(&second, argv[1], argv[3], steps);
    }
    first.in = back[0];
    first.out = there[1];
    int failed = train(&first, argv[1], argv[2], steps), theirs = 0;
    close(first.in);
    close(first.out);
    return waitpid(child, &theirs, 0) != child || theirs || failed;
}
