/* train_dist.h: zo2-tune train --distribute: this process as one of several that share the run. Where a train has none, or t->dist is
 * NULL, nothing here does anything. */
#ifndef ZO2_TOOLS_TUNE_TRAIN_DIST_H
#define ZO2_TOOLS_TUNE_TRAIN_DIST_H

#include <stdbool.h>

#include "tools/cli/args.h"
#include "tools/dist/dist.h"
#include "tools/tune/train.h"

/* What a rank has of its own: it lives as long as the command and its flags, whose texts it replaces. */
typedef struct train_rank {
    dist *d;       /* NULL: alone */
    bool quiet;    /* as given: other ranks are in any case */
    double waited; /* seconds in exchanges, of this session's steps */
    /* of each rank, in this session: steps for which it took longest, pairs of query and micro-batch that it computed, and seconds for that */
    struct rank_work {
        uint64_t slowest, pairs;
        double seconds;
    } * work;
    char program[128];
    char *run, *run_parent, *snapshot, *trace, *spill[CLI_MOST_TEXTS]; /* rank 0 has those that were given */
} train_rank;

/* Joins the others, if --distribute was given; from then on rank 0 alone reports, and other ranks have places of their own: RUN_DIR/rank-N,
 * and so on. 0 or the exit status. train_rank_close() in any case. */
int train_rank_open(train_rank *r, cli_command *c, train_flags *f);
void train_rank_close(train_rank *r, int status);

/* All are as far, with the same settings and data, or all end: own is this rank's exit status. With an engine settings are what it has
 * made of them. */
int train_rank_agree(train *t, int own);
/* Warns where ranks have nothing to do in a step. */
void train_rank_warn(train *t);
/* Rank N's folders, just before something is to be in them. 0 or the exit status. */
int train_rank_make_places(const train *t);
/* After so many steps: where it is time to look, all ranks have the same journal and masters, else ZO2_ERR_MISMATCH, which says who
 * doesn't. (train_check.c) */
zo2_status train_rank_check(train *t, uint64_t steps);
/* After a step: what it cost the ranks, for the metrics and the summary. */
void train_rank_count(train *t, const zo2_step_result *r);
/* A line on stdout about waiting, and about who was waited for; one that proposes a --share where that would make steps a tenth shorter, or
 * more. Nothing without other ranks. */
void train_rank_summary(const train *t);
/* Does this process print? */
bool train_rank_reports(const train *t);

#endif
