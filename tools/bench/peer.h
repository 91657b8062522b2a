/* peer.h: programs measured beside zo2, each in a process of its own that waits for requests: one line in, one line
 * with numbers out. The first line it writes is "ready NAME VERSION" or "missing NAME". */
#ifndef ZO2_TOOLS_BENCH_PEER_H
#define ZO2_TOOLS_BENCH_PEER_H

#include <stdio.h>

#include "tools/bench/bench.h"

typedef struct bench_peer bench_peer;

/* Starts a script of tools/bench/peers with its arguments (NULL-ended) on the first Python that has what it needs.
 * label: what is missing otherwise ("NumPy"). NULL: not installed (noted once in b->missing) or --no-peers. */
bench_peer *bench_peer_python(bench *b, const char *label, const char *script, const char *const *args);

/* Runs serve(ud, in, out) in a forked process: it must write its first line itself, read requests from `in` until the
 * end, and return the exit status. NULL: could not start, or serve() failed before it was ready. Of several the last one
 * is stopped first: it has the pipes of the others open. */
bench_peer *bench_peer_fork(const char *name, int (*serve)(void *ud, FILE *in, FILE *out), void *ud);

/* One request; false if the peer died or answered nonsense (message on stderr). second may be NULL. */
bool bench_peer_ask(bench_peer *p, double *first, double *second, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* The peer as a side of a row: each repeat asks "REQUEST PASSES", the request being formatted here; the answer is the
 * mean seconds of a pass. Without a peer (NULL) nothing is added. The peer stays the caller's. False: out of memory. */
bool bench_add_peer(bench_row *row, bench_peer *peer, const char *key, double items, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));

/* Remembers a peer that isn't installed, once. */
void bench_note_missing(bench *b, const char *label);

const char *bench_peer_name(const bench_peer *p); /* "NumPy 1.24.2" */
void bench_peer_stop(bench_peer *p);              /* ends the process; NULL is fine */

#endif
