/* dist.h: this process among those that share a run: it gives and gets the values of a step, and they begin and end together. Every
 * function here is a call that all of them make, in the same order, unless it says otherwise. */
#ifndef ZO2_TOOLS_DIST_DIST_H
#define ZO2_TOOLS_DIST_DIST_H

#include <stddef.h>
#include <stdint.h>

#include "engine/zo2.h"
#include "tools/dist/split.h"

typedef struct dist dist;

/* Joins the others. share: texts of numbers, separated by commas, one for each rank; NULL: equal. ZO2_ERR_UNSUPPORTED: a build without
 * MPI; ZO2_ERR_ARG: shares. */
zo2_status dist_open(dist **out, dist_mode mode, const char *share);
void dist_close(dist *d); /* NULL is fine */

/* Not calls that all make. */
uint32_t dist_rank(const dist *d);
uint32_t dist_ranks(const dist *d);
const char *dist_host(const dist *d, uint32_t rank);

/* Everybody's `bytes` bytes to everybody: all[ranks][bytes]. */
void dist_gather(dist *d, const void *own, void *all, size_t bytes);
/* Rank `from`'s bytes to everybody. */
void dist_send(dist *d, void *data, size_t bytes, uint32_t from);
/* A number that must be the same on all ranks: else ZO2_ERR_MISMATCH, on all of them, which names those that differ from most, or, where
 * there is no majority, from rank 0. what: begins the message, as "the hash of ..." */
zo2_status dist_same(dist *d, const char *what, uint64_t own);
/* Returns 0 if all ranks give 0, else the first one that isn't, and its rank in *who. */
int dist_agree(dist *d, int own, uint32_t *who);
/* Facts (facts.h) of all ranks are those of rank 0: else ZO2_ERR_MISMATCH, on all of them, which names fact, rank and host. */
zo2_status dist_compare(dist *d, const char *facts);

/* ---- a step ---- */

/* The engine's zo2_split_fn and zo2_exchange_fn; ud: the dist. Evaluations aren't shared here. If another rank's step has failed, the
 * exchange returns that status and says which. */
zo2_status dist_split_work(void *ud, zo2_pass_work *work);
zo2_status dist_exchange(void *ud, const zo2_pass_work *work, double *values);
/* After something failed with s here: the others must know, unless they do, because it went round. If it was a step before its exchange they
 * get its status there; if they can't be reached by that they are ended at once, and this doesn't return. Not one that all make. */
void dist_failed(dist *d, zo2_status s);

/* Of the last step: seconds from its split to its exchange, of each rank, [ranks]. */
const double *dist_work_seconds(const dist *d);
/* And pairs of query and micro-batch that a rank had in it. */
uint64_t dist_work_pairs(const dist *d, uint32_t rank);

/* ---- an evaluation ---- */

/* rows[n][width], of which this rank has made those whose number modulo ranks is its own: now all have all. own: what became of that; the
 * first failure of any rank is everybody's. */
zo2_status dist_gather_rows(dist *d, zo2_status own, double *rows, size_t n, size_t width);

#endif
